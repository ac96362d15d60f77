"""A recipe is what makes a model: what shapes the fit changes it, and what only watches or judges does not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

import models
from evergreen.model_files import recipe

SOURCE = '''"""A model."""

from __future__ import annotations

from evergreen.sources import Folder
from evergreen.spec import Features, Gates, Holdout, Metric, ModelSpec, Search, Training

DEPTH = 3
ALARM = 0.3


def scaled(frame):
    """Nothing is scaled."""
    return frame


def mondays(context):
    """A policy."""
    return context.now.weekday() == 0


def contract():
    import pandera.pandas as pa

    return pa.DataFrameSchema({"x": pa.Column(float), "y": pa.Column(float)})


def pipeline(seed):
    from sklearn.pipeline import make_pipeline
    from sklearn.tree import DecisionTreeRegressor

    return make_pipeline(DecisionTreeRegressor(max_depth=DEPTH, random_state=seed))


MODEL = ModelSpec(
    name="toy",
    description="A toy.",
    task="regression",
    source=Folder("toy"),
    prepare=scaled,
    contract=contract,
    target="y",
    features=Features(numeric=("x",)),
    pipeline=pipeline,
    search=Search(grid={"decisiontreeregressor__max_depth": (2, 3)}),
    metric=Metric(name="mae", bound=9.0),
    gates=Gates(margin=0.0),
    holdout=Holdout(share=0.2, min_rows=30),
    training=Training(min_rows=50),
    seed=1,
)
'''

Write = Callable[..., str]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write a model file with some texts replaced, load it, and give its recipe; other files are written beside it."""

    def recipe_of(*changes: tuple[str, str], name: str = "toy", source: str = SOURCE, **beside: str) -> str:
        text = source
        for before, after in changes:
            assert before in text
            text = text.replace(before, after)
        for stem, content in beside.items():
            (tmp_path / f"{stem}.py").write_text(content)
        (tmp_path / f"{name}.py").write_text(text)
        return models.load(name, tmp_path).recipe

    return recipe_of


@pytest.mark.parametrize(
    ("before", "after"),
    [
        pytest.param("DEPTH = 3", "DEPTH = 3  # levels", id="a comment"),
        pytest.param('"""A model."""', '"""Another text."""', id="the docstring"),
        pytest.param('    """Nothing is scaled."""\n', "", id="a function's docstring"),
        pytest.param("    seed=1,\n", "    seed=(\n        1\n    ),\n", id="layout"),
        pytest.param("A toy.", "Better.", id="description"),
        pytest.param("Gates(margin=0.0)", "Gates(margin=0.1, routine_margin=0.2)", id="gates"),
        pytest.param("bound=9.0", "bound=8.0", id="the absolute bound"),
        pytest.param("min_rows=30", "min_rows=40", id="rows to be judged by"),
        pytest.param("Training(min_rows=50)", "Training(min_rows=60)", id="rows to learn from at least"),
        pytest.param('Folder("toy")', 'Folder("elsewhere")', id="source"),
        pytest.param("    seed=1,\n", '    seed=1,\n    slices=("x",),\n', id="slices"),
        pytest.param("ALARM = 0.3", "ALARM = 0.4", id="a constant that nothing uses"),
        pytest.param("weekday() == 0", "weekday() == 1", id="a function that nothing uses"),
    ],
)
def test_what_shapes_no_fit_keeps_the_recipe(write: Write, before: str, after: str) -> None:
    """Comments, layout, texts, and whatever only describes, judges or watches."""
    assert write((before, after)) == write()


def test_a_threshold_and_a_policy_are_no_recipe(write: Write) -> None:
    """Drift thresholds, shadow and a policy of one's own are added, with what they need."""
    changed = write(
        ("ModelSpec, Search", "ModelSpec, DriftThresholds, Retraining, Shadow, Search"),
        ("weekday() == 0", "weekday() == 4 and context.rows > LEAST"),
        ("ALARM = 0.3", "ALARM = 0.3\nLEAST = 100"),
        (
            "seed=1",
            "seed=1, drift=DriftThresholds(share=ALARM), retraining=Retraining(policy=mondays), shadow=Shadow()",
        ),
    )
    assert changed == write()


@pytest.mark.parametrize(
    ("before", "after"),
    [
        pytest.param("DEPTH = 3", "DEPTH = 4", id="a constant of the pipeline"),
        pytest.param("    return frame\n", "    return frame.dropna()\n", id="prepare"),
        pytest.param('"y": pa.Column(float)', '"y": pa.Column(int, coerce=True)', id="contract"),
        pytest.param('numeric=("x",)', 'categorical=("x",)', id="features"),
        pytest.param("(2, 3)", "(2, 3, 4)", id="search"),
        pytest.param("share=0.2", "share=0.3", id="holdout"),
        pytest.param("min_rows=50)", "min_rows=50, last=timedelta(days=9))", id="training"),
        pytest.param('name="mae"', 'name="rmse"', id="metric"),
        pytest.param("seed=1", "seed=2", id="seed"),
        pytest.param("seed=1", 'seed=1, keys=("x",)', id="keys"),
        pytest.param("DEPTH = 3", "DEPTH = 3\nprint()", id="a statement that may do anything"),
    ],
)
def test_what_shapes_the_fit_is_the_recipe(write: Write, before: str, after: str) -> None:
    """Pipeline, prepare, contract, features, search, training, holdout, metric, seed, keys."""
    source = SOURCE.replace("from evergreen.sources", "from datetime import timedelta\n\nfrom evergreen.sources")
    source = source.replace("MODEL = ", "WEEK = timedelta(days=7)\nMODEL = ").replace("seed=1,", "seed=1, time='x',")
    assert write((before, after), source=source) != write(source=source)


def test_a_value_from_outside_of_the_file_counts(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same text that comes to another seed is another recipe."""
    source = SOURCE.replace("seed=1", 'seed=int(os.environ["TOY_SEED"])').replace("DEPTH = 3", "import os\n\nDEPTH = 3")
    monkeypatch.setenv("TOY_SEED", "1")
    first = write(source=source)
    monkeypatch.setenv("TOY_SEED", "2")
    assert write(source=source) != first


def test_what_is_imported_from_the_project_counts(write: Write) -> None:
    """A file beside the model file, and one that this one imports, whatever the way; other files do not."""
    source = SOURCE.replace(
        "    return frame\n", "    from models.shared_steps import clean\n\n    return clean(frame)\n"
    )
    steps = "from . import columns_of_ours as ours\n\n\ndef clean(frame):\n    return frame[ours.NAMES]\n"
    beside = {"shared_steps": steps, "columns_of_ours": 'NAMES = ["x", "y"]\n', "stranger": "A = 1\n"}
    first = write(source=source, **beside)
    assert write(source=source, **beside | {"stranger": "A = 2\n"}) == first
    assert write(source=source, **beside | {"columns_of_ours": '# both\nNAMES = ["x", "y"]\n'}) == first
    assert write(source=source, **beside | {"columns_of_ours": 'NAMES = ["y", "x"]\n'}) != first
    assert write(source=source, **beside | {"shared_steps": steps.replace("frame[", "frame.copy()[")}) != first


def test_a_package_of_the_project_counts(write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A package on Python's path that is no library is read, but only the files that are imported."""
    package = tmp_path / "ours" / "our_features_of_the_toy"
    package.mkdir(parents=True)
    monkeypatch.syspath_prepend(package.parent)
    for name, text in (("__init__", ""), ("lags", "LAG = 1\n"), ("other", "A = 1\n")):
        (package / f"{name}.py").write_text(text)
    source = SOURCE.replace(
        "    return frame\n", "    from our_features_of_the_toy.lags import LAG\n\n    return frame\n"
    )
    first = write(source=source)
    (package / "other.py").write_text("A = 2\n")
    assert write(source=source) == first
    (package / "lags.py").write_text("LAG = 2\n")
    assert write(source=source) != first
    (package / "lags.py").write_text("LAG = (\n")
    assert write(source=source) != first


def test_a_derived_model_follows_its_origin(write: Write) -> None:
    """`OTHER.model_copy(update=...)`: what the origin fits counts, what it or the copy watches by does not."""
    derived = """from evergreen.spec import Gates
from models.toy import MODEL as OTHER

MODEL = OTHER.model_copy(update={"name": "derived", "seed": 5, "gates": Gates(margin=0.1)})
"""
    write()
    first = write(name="derived", source=derived)
    assert write(("margin=0.1", "margin=0.2"), name="derived", source=derived) == first
    assert write(('"seed": 5', '"seed": 6'), name="derived", source=derived) != first
    write(("margin=0.0", "margin=0.3"))
    assert write(name="derived", source=derived) == first
    write(("DEPTH = 3", "DEPTH = 4"))
    assert write(name="derived", source=derived) != first


@pytest.mark.parametrize(("version", "same"), [("9.1.7", True), ("9.2.0", False), ("10.1.0", False)])
def test_a_minor_version_of_a_library_counts(
    write: Write, monkeypatch: pytest.MonkeyPatch, version: str, same: bool
) -> None:
    """scikit-learn, and what else the file imports: another minor version may fit another model, a patch does not."""
    monkeypatch.setattr(recipe, "version", lambda _name: "9.1.0")
    first = write()
    monkeypatch.setattr(recipe, "version", lambda _name: version)
    assert (write() == first) is same


def test_a_library_is_known_by_the_name_of_its_distribution() -> None:
    """The name that is imported may be another one than that of the package."""
    assert recipe._minor_version("sklearn") == recipe._minor_version("scikit-learn") != ""
    assert recipe._minor_version("yaml") != ""
    assert recipe._minor_version("of_no_package") == ""


def test_the_shipped_models_read_the_same_twice() -> None:
    """A recipe depends on nothing that a second load changes, and says which model it is."""
    folder = Path(models.__file__).parent
    once, again = ({name: models.load(name, folder).recipe for name in models.names(folder)} for _ in range(2))
    assert once == again
    assert len(set(once.values())) == len(once)
