"""What a stored pipeline may hold: known types, what the model file says, what the promotion log vouches for."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from deltalake import write_deltalake

from evergreen.errors import ModelFileError
from evergreen.ledger.promotions import Move, Promotions
from evergreen.registry import trust
from evergreen.registry.artifacts import PIPELINE, load_pipeline, packed, sha256
from evergreen.registry.client import Registry
from evergreen.registry.promotion import promote, roll_back
from evergreen.registry.version import Version, VersionTags
from evergreen.settings import Settings
from evergreen.spec.data import Features
from evergreen.spec.model import ModelSpec
from evergreen.verdicts import Verdict

Make = Callable[..., Any]
NOW = datetime(2026, 1, 1, tzinfo=UTC)
SCORE = "numpy.nan_to_num"
FITS = [
    ("sklearn.ensemble", "RandomForestRegressor", {"n_estimators": 2}),
    ("sklearn.ensemble", "HistGradientBoostingClassifier", {"max_iter": 2}),
    ("sklearn.ensemble", "GradientBoostingClassifier", {"n_estimators": 2}),
    ("sklearn.neighbors", "KNeighborsRegressor", {}),
    ("sklearn.calibration", "CalibratedClassifierCV", {}),
    ("sklearn.linear_model", "TweedieRegressor", {}),
    ("sklearn.preprocessing", "SplineTransformer", {}),
    ("lightgbm", "LGBMClassifier", {"n_estimators": 2, "verbose": -1}),
    ("lightgbm", "LGBMRegressor", {"n_estimators": 2, "verbose": -1}),
    ("xgboost", "XGBClassifier", {"n_estimators": 2}),
    ("xgboost", "XGBRegressor", {"n_estimators": 2}),
    ("catboost", "CatBoostClassifier", {"iterations": 2, "verbose": 0, "allow_writing_files": False}),
    ("catboost", "CatBoostRegressor", {"iterations": 2, "verbose": 0, "allow_writing_files": False}),
]


@pytest.mark.parametrize(("library", "name", "options"), FITS)
def test_common_models_need_no_line_of_their_own(
    tmp_path: Path, library: str, name: str, options: dict[str, Any]
) -> None:
    """Where the library is installed, a fitted model is stored and loaded again, and answers the same."""
    from sklearn.linear_model import Ridge
    from sklearn.pipeline import Pipeline

    kind = getattr(pytest.importorskip(library, reason=f"{library} is not installed"), name)
    x = np.random.default_rng(0).normal(size=(60, 2))
    steps = [("model", kind(**options))]
    fitted = Pipeline(steps if hasattr(kind, "predict") else [*steps, ("ridge", Ridge())])
    fitted.fit(x, (x[:, 0] > 0).astype(int))
    (tmp_path / PIPELINE).write_bytes(packed(fitted, "models/toy.py", ()))
    again = load_pipeline(tmp_path, sha256(tmp_path / PIPELINE), (), "toy")
    assert np.array_equal(again.predict(x), fitted.predict(x))


def _composed() -> dict[str, Any]:
    """Pipelines as people write them, each with something in it that skops alone refuses."""
    from sklearn import calibration, compose, ensemble, feature_selection, gaussian_process, linear_model
    from sklearn.experimental import enable_iterative_imputer  # noqa: F401
    from sklearn.impute import IterativeImputer
    from sklearn.model_selection import GridSearchCV, TimeSeriesSplit, TunedThresholdClassifierCV
    from sklearn.neighbors import KNeighborsRegressor
    from sklearn.pipeline import make_pipeline

    ridge, logistic, forest = linear_model.Ridge(), linear_model.LogisticRegression(), ensemble.RandomForestRegressor(3)
    numbers = compose.make_column_selector(dtype_include="number")
    kernel = gaussian_process.kernels.RBF() + gaussian_process.kernels.WhiteKernel()
    best = feature_selection.SelectKBest
    return {
        "voting": ensemble.VotingRegressor([("ridge", ridge), ("forest", forest)]),
        "stacking": ensemble.StackingClassifier([("logistic", logistic)]),
        "threshold": TunedThresholdClassifierCV(logistic, scoring="f1"),
        "temperature": calibration.CalibratedClassifierCV(logistic, method="temperature"),
        "grid": GridSearchCV(ridge, {"alpha": [1, 2]}, scoring="neg_mean_absolute_error", cv=TimeSeriesSplit(3)),
        "best columns": make_pipeline(best(feature_selection.f_regression, k=1), ridge),
        "informative columns": make_pipeline(best(feature_selection.mutual_info_classif, k=1), logistic),
        "columns by type": make_pipeline(compose.ColumnTransformer([("numbers", "passthrough", numbers)]), ridge),
        "imputer": make_pipeline(IterativeImputer(), ridge),
        "kernels": gaussian_process.GaussianProcessRegressor(kernel),
        "city blocks": KNeighborsRegressor(algorithm="ball_tree", metric="manhattan"),
        "categories": ensemble.HistGradientBoostingRegressor(max_iter=2, categorical_features=["b"]),
    }


def test_pipelines_as_people_write_them_need_no_line_of_their_own(tmp_path: Path) -> None:
    """Ensembles, searches, thresholds, selected columns, kernels: stored and loaded again, they answer the same."""
    rng = np.random.default_rng(0)
    x = pd.DataFrame({"a": rng.integers(0, 9, 60), "b": rng.integers(0, 9, 60)})
    y = (x["a"] > 4).astype(int)
    for name, pipeline in _composed().items():
        fitted = pipeline.fit(x, y)
        (tmp_path / PIPELINE).write_bytes(packed(fitted, "models/toy.py", ()))
        again = load_pipeline(tmp_path, sha256(tmp_path / PIPELINE), (), "toy")
        assert np.array_equal(again.predict(x), fitted.predict(x)), name


def test_what_executes_text_among_its_data_is_not_known() -> None:
    """Distributions of SciPy do so when they are loaded: a model file that holds one has to say so itself."""
    from scipy.stats import uniform
    from sklearn.linear_model import Ridge
    from sklearn.model_selection import RandomizedSearchCV

    x = np.random.default_rng(0).normal(size=(60, 2))
    drawn = RandomizedSearchCV(Ridge(), {"alpha": uniform(0, 1)}, n_iter=2).fit(x, x[:, 0])
    with pytest.raises(ModelFileError, match=r"scipy\.stats\._continuous_distns\.uniform_gen"):
        packed(drawn, "models/toy.py", ())


def test_each_known_type_is_there() -> None:
    """A name that a new version of a library no longer has would be a line that protects nobody and helps nobody."""
    missing = []
    for name in trust.known_types():
        module, _, attribute = name.rpartition(".")
        if not hasattr(importlib.import_module(module), attribute):
            missing.append(name)
    assert missing == []


def test_types_of_an_absent_library_are_not_known(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is not installed is in no list, so that nothing is loaded by its name."""
    monkeypatch.setitem(trust.KNOWN, "no_such_library", ("no_such_library.Model",))
    trust.known_types.cache_clear()
    assert "no_such_library.Model" not in trust.known_types()
    assert "sklearn.tree._tree.Tree" in trust.known_types()


def _selected(seed: int) -> Any:
    from sklearn.linear_model import Ridge
    from sklearn.pipeline import Pipeline
    from sklearn.preprocessing import FunctionTransformer

    return Pipeline([("best", FunctionTransformer(np.nan_to_num)), ("model", Ridge())])


class Story:
    """A version that needed `SCORE` when it was registered, and a model file that does not say so any more."""

    def __init__(self, settings: Settings, registry: Registry, make_spec: Make, version: Version) -> None:
        self.settings, self.registry, self.version = settings, registry, version
        self.before: ModelSpec = make_spec(pipeline=_selected, features=Features(numeric=("x",)), trusted=(SCORE,))
        self.now: ModelSpec = make_spec(features=Features(numeric=("x",)))
        self.log = Promotions(settings.lake_uri, "toy")

    def promote(self) -> Version:
        passed = self.registry.conclude(self.version, Verdict.PASS, "", {})
        promote(self.before, self.registry, self.log, passed, reason="better", by="test", now=NOW, lock=nullcontext())
        return passed

    def refusal(self, version: Version, **changes: Any) -> str:
        """What is said of loading it by today's model file."""
        registry = Registry(self.settings.model_copy(update=changes))
        with pytest.raises(ModelFileError) as told:
            registry.load(version, self.now)
        with pytest.raises(ModelFileError) as early:
            registry.require_trusted(version, self.now)
        assert str(told.value) == str(early.value)
        return str(told.value)


@pytest.fixture
def story(settings: Settings, registry: Registry, make_spec: Make, make_rows: Make, make_version: Make) -> Story:
    """A version that is registered and not promoted."""
    before = make_spec(pipeline=_selected, features=Features(numeric=("x",)), trusted=(SCORE,))
    return Story(settings, registry, make_spec, make_version(before, make_rows(100)))


def test_the_former_champion_is_loaded_by_the_log(story: Story) -> None:
    """List and sha256 are in the tags and in the log; they agree, so the model file need not know the type any more."""
    champion = story.promote()
    assert champion.tags.trusted == (SCORE,)
    assert [(line.trusted, line.sha256) for line in story.log.all()] == [((SCORE,), champion.tags.sha256)] * 2
    story.registry.require_trusted(champion, story.now)
    assert story.registry.load(champion, story.now).steps[0][0] == "best"
    assert trust.champion_problem(story.log, story.now, trust_log=True) == ""


def test_it_is_rolled_back_to_by_the_log(story: Story) -> None:
    """A rollback loads what it goes back to."""
    first = story.promote()
    later = Move("later", NOW, "promote", "done", 1, 2, "by hand", "d", "test")
    story.log.write(later)
    moved = roll_back(
        story.now, story.registry, story.log, first.number, reason="worse", by="me", now=NOW, lock=nullcontext()
    )
    assert (moved.after, moved.trusted) == (1, (SCORE,))


def test_never_promoted_means_the_model_file_alone(story: Story) -> None:
    """A tag of the version's own vouches for nothing."""
    assert story.refusal(story.version) == (
        f"toy version 1 cannot be loaded: it holds {SCORE}, which models/toy.py does not trust, and it was never "
        "promoted, so that the promotion log says nothing of it. "
        f"If you trust it, write in models/toy.py: trusted=('{SCORE}',)"
    )
    assert story.registry.load(story.version, story.before).steps[0][0] == "best"


def test_a_setting_forbids_to_go_by_the_log(story: Story) -> None:
    """`EVERGREEN_TRUST_LOG=false` leaves the model file alone."""
    champion = story.promote()
    said = story.refusal(champion, trust_log=False)
    assert (
        "which models/toy.py does not trust, and EVERGREEN_TRUST_LOG=false forbids to go by the promotion log" in said
    )
    assert trust.champion_problem(story.log, story.now, trust_log=False) == said


@pytest.mark.parametrize("tag", ["trusted", "sha256", "judged_sha256"])
def test_a_changed_tag_is_not_gone_by(story: Story, tag: str) -> None:
    """Whoever changes an artifact and its tags cannot change the log with them."""
    champion = story.promote()
    changed = {"trusted": (*(champion.tags.trusted or ()), "os.system"), "sha256": "0" * 64, "judged_sha256": "0" * 64}[
        tag
    ]
    forged = replace(champion, tags=replace(champion.tags, **{tag: changed}))
    with pytest.raises(ModelFileError, match="its tags differ from the promotion log"):
        trust.require_vouched(forged, (SCORE,), story.log, file="models/toy.py", trust_log=True)


def test_the_list_of_the_log_is_all_that_it_vouches_for(story: Story) -> None:
    """Another type than those of the list is refused, whatever the tags say."""
    champion = story.promote()
    with pytest.raises(ModelFileError, match="the promotion log does not have them either"):
        trust.require_vouched(champion, ("os.system",), story.log, file="models/toy.py", trust_log=True)


def test_a_log_of_before_goes_on(settings: Settings) -> None:
    """A log without the columns is read, and gets them with its next line; earlier lines say nothing."""
    log = Promotions(settings.lake_uri, "toy")
    line = {
        "line": 1,
        "id": "a",
        "at": pd.Timestamp(NOW),
        "action": "promote",
        "phase": "done",
        "before": 0,
        "after": 1,
    }
    former = log.table.schema
    for name in ("trusted", "sha256", "judged_sha256"):
        former = former.remove(former.get_field_index(name))
    rows = pd.DataFrame([line | {"reason": "r", "decision_id": "d", "by": "retrain"}])
    write_deltalake(log.table.uri, pa.Table.from_pandas(rows, schema=former, preserve_index=False))
    assert [(move.after, move.sha256, move.trusted) for move in log.all()] == [(1, "", None)]
    version = Version("toy", 1, "", "", VersionTags(trusted=(SCORE,)), "")
    with pytest.raises(ModelFileError, match="it was promoted before the promotion log kept such lists"):
        trust.require_vouched(version, (SCORE,), log, file="models/toy.py", trust_log=True)
    log.write(Move("b", NOW, "promote", "done", 1, 2, "r", "d", "retrain", "5" * 64, (SCORE,)))
    assert [(move.sha256, move.trusted) for move in log.all()] == [("", None), ("5" * 64, (SCORE,))]


def test_an_absent_library_is_named(story: Story) -> None:
    """No list helps where the library is not there."""
    version = replace(story.version, tags=VersionTags(trusted=("no_such_library.Model",)))
    with pytest.raises(ModelFileError) as caught:
        story.registry.require_trusted(version, story.now)
    assert caught.value.what == "toy version 1 cannot be loaded: no_such_library is not installed here."
