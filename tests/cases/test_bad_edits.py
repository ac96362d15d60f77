"""Bad edits of a good model file: each is one line with file, line and field, before anything is read or fitted.

Read them aloud: what is wrong, where it is, what to do next. No message is a traceback, and none blames the data or the
database.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

import models
from evergreen.data.contract import schema_of
from evergreen.errors import ModelFileError
from evergreen.spec.model import ModelSpec
from evergreen.training import fit
from evergreen.training.pipeline_checks import require_fittable

GOOD = Path(models.__file__).with_name("iris.py").read_text(encoding="utf-8")
Edit = tuple[str, str]

EDITS: dict[str, tuple[Sequence[Edit], str]] = {
    "a field's name": (
        [("features=", "feature=")],
        "FILE, line 42: feature: there is no such field; did you mean features? Correct feature there.",
    ),
    "a section's field": (
        [("numeric=MEASURES", "numerical=MEASURES")],
        "FILE, line 42: features.numerical: there is no such field; did you mean numeric? Correct "
        "features.numerical there.",
    ),
    "a missing field": (
        [("    pipeline=pipeline,\n", "")],
        "FILE, line 36: pipeline: the field is missing. Correct pipeline there.",
    ),
    "a choice": (
        [('task="classification"', 'task="clasification"')],
        "FILE, line 38: task: it is 'clasification', and should be 'regression' or 'classification'; did "
        "you mean 'classification'? Correct task there.",
    ),
    "a metric's name": (
        [('name="accuracy"', 'name="acuracy"')],
        "FILE, line 44: metric.name: 'acuracy' is not the name of a metric, and there is no function; did "
        "you mean 'accuracy'? Correct metric.name there.",
    ),
    "a bound that no value reaches": (
        [('Metric(name="accuracy", bound=0.9)', 'Metric(name="roc_auc", bound=1.5)')],
        "FILE, line 44: metric.bound: it is 1.5, and roc_auc is from 0 to 1. Correct metric.bound there.",
    ),
    "a bound in percent": (
        [("bound=0.9", "bound=90")],
        "FILE, line 44: metric.bound: it is 90, and accuracy is from 0 to 1; for 90 percent write 0.9. "
        "Correct metric.bound there.",
    ),
    "a bound that is a text": (
        [("bound=0.9", 'bound="high"')],
        "FILE, line 44: metric.bound: it is 'high', and should be a valid number, unable to parse string as"
        " a number. Correct metric.bound there.",
    ),
    "a metric of another task": (
        [('Metric(name="accuracy", bound=0.9)', 'Metric(name="rmse", bound=0.9)')],
        "FILE, line 44: metric: 'rmse' is for regression, and task is 'classification'. Correct metric there.",
    ),
    "a metric of one's own without a direction": (
        [('Metric(name="accuracy", bound=0.9)', 'Metric(name="cost", function=lambda y, p: 0.0)')],
        "FILE, line 44: metric.greater_is_better: say True or False for a metric of your own. Correct "
        "metric.greater_is_better there.",
    ),
    "a share beyond one": (
        [("share=0.2", "share=2")],
        "FILE, line 45: holdout.share: it is 2, and should be less than 1. Correct holdout.share there.",
    ),
    "blocks of time without a time": (
        [('strategy="random"', 'strategy="blocked"')],
        "FILE, line 45: holdout.strategy: it counts in time, and the model has no time column; name it with"
        " time='COLUMN'. Correct holdout.strategy there.",
    ),
    "the answer among the features": (
        [('target="species"', 'target="petal_width_cm"')],
        "FILE, line 42: features: the target 'petal_width_cm' is among them; the model would see the "
        "answer. Correct features there.",
    ),
    "a column twice": (
        [("numeric=MEASURES", "numeric=(*MEASURES, MEASURES[0])")],
        "FILE, line 42: features: sepal_length_cm is named twice. Correct features there.",
    ),
    "a text for a tuple": (
        [("MODEL = ModelSpec(", 'MODEL = ModelSpec(\n    slices="species",')],
        "FILE, line 37: slices: it is 'species', and should be a tuple: write ('species',). Correct slices there.",
    ),
    "a schema for a function": (
        [("contract=contract", "contract=contract()")],
        "FILE, line 40: contract: it is a DataFrameSchema; give the function itself, without parentheses. "
        "Correct contract there.",
    ),
    "a path for a source": (
        [('source=Bundled("iris")', 'source="iris.csv"')],
        "FILE, line 39: source: it is 'iris.csv', and should be a source of evergreen.sources, such as "
        "Folder('NAME', pattern='*.csv'). Correct source there.",
    ),
    "a data set that is not there": (
        [('Bundled("iris")', 'Bundled("irsi")')],
        "FILE, line 39: source: 'irsi' is not bundled with scikit-learn. Choose one of iris, breast_cancer,"
        " diabetes, wine, digits.",
    ),
    "a name that is not the file's": (
        [('name="iris"', 'name="irises"')],
        "FILE, line 37: name: it is 'irises', and the file is iris.py. Give both the same name.",
    ),
    "a name with a capital": (
        [('name="iris"', 'name="Iris"')],
        "FILE, line 37: name: it is 'Iris'; use lower-case letters, digits and underscores, at most 63, a "
        "letter first. Correct name there.",
    ),
    "an unknown class": (
        [("import DriftThresholds,", "import DriftThreshold,")],
        "FILE, line 8: ImportError: cannot import name 'DriftThreshold' from 'evergreen.spec'; did you mean"
        " DriftThresholds? Correct that line.",
    ),
    "an unknown name": (
        [("numeric=MEASURES", "numeric=MEASURE")],
        "FILE, line 42: NameError: name 'MEASURE' is not defined; did you mean MEASURES? Correct that line.",
    ),
    "a library that is not installed": (
        [("from evergreen.sources import", "import lightgbmm\nfrom evergreen.sources import")],
        "FILE, line 7: lightgbmm is not installed here. Install it, or correct the import.",
    ),
    "a comma": (
        [('target="species",', 'target="species"')],
        "FILE, line 41: invalid syntax. Perhaps you forgot a comma? Correct that line.",
    ),
    "no MODEL": (
        [("MODEL = ", "SPEC = ")],
        "FILE: it has no MODEL = ModelSpec(...). Add it; models/iris.py is an example.",
    ),
    "a negative wait": (
        [("MODEL = ModelSpec(", 'MODEL = ModelSpec(\n    retraining={"cooldown": -3},')],
        "FILE, line 37: retraining.cooldown: it is -3 seconds, and should be greater than or equal to 0 "
        "seconds. Correct retraining.cooldown there.",
    ),
    "a policy that is none": (
        [("MODEL = ModelSpec(", 'MODEL = ModelSpec(\n    retraining={"policy": "weekly"},')],
        "FILE, line 37: retraining.policy: 'weekly' is neither a policy nor a function; see "
        "docs/backtest.md. Correct retraining.policy there.",
    ),
    "more reports than there are": (
        [("min_rows=30", "min_rows=30, confirm=3")],
        "FILE, line 46: drift.confirm: 3 of the last 1 reports can never fail. Correct drift.confirm there.",
    ),
    "a constructor's argument": (
        [("n_estimators=50", "n_estimator=50")],
        "FILE, line 32, in pipeline(): TypeError: RandomForestClassifier.__init__() got an unexpected "
        "keyword argument 'n_estimator'; did you mean n_estimators? Correct that line.",
    ),
    "a constructor's value": (
        [("n_estimators=50", 'n_estimators="many"')],
        "FILE, line 26: pipeline: step 'model': The 'n_estimators' parameter of RandomForestClassifier must"
        " be an int in the range [1, inf). Got 'many' instead. Correct pipeline there.",
    ),
    "a lambda in the pipeline": (
        [
            ('("scale", StandardScaler())', '("log", FunctionTransformer(lambda x: x + 1))'),
            ("import StandardScaler", "import FunctionTransformer"),
        ],
        "FILE, line 33: pipeline: step 'log' holds a lambda as func, which cannot be stored with the model;"
        " name a function at module level. Correct pipeline there.",
    ),
    "a local function in the pipeline": (
        [
            ("    forest =", "    def plus(x):\n        return x + 1\n\n    forest ="),
            ('("scale", StandardScaler())', '("log", FunctionTransformer(plus))'),
            ("import StandardScaler", "import FunctionTransformer"),
        ],
        "FILE, line 32: pipeline: step 'log' holds the local function plus as func, which cannot be stored "
        "with the model; name a function at module level. Correct pipeline there.",
    ),
    "a function that nobody trusts": (
        [
            ("MODEL = ModelSpec(", "def plus(x):\n    return x + 1\n\n\nMODEL = ModelSpec("),
            ('("scale", StandardScaler())', '("log", FunctionTransformer(plus))'),
            ("import StandardScaler", "import FunctionTransformer"),
        ],
        "FILE, line 51: trusted: the pipeline holds models.iris.plus; if you trust it, write "
        "trusted=('models.iris.plus',). Correct trusted there.",
    ),
    "a pipeline without Pipeline": (
        [('return Pipeline([("scale", StandardScaler()), ("model", forest)])', "return forest")],
        "FILE, line 26: pipeline() returned a RandomForestClassifier, and should return a Pipeline of "
        "scikit-learn. Return Pipeline([('model', ...)]).",
    ),
    "a grid's parameter": (
        [
            ("MODEL = ModelSpec(", 'MODEL = ModelSpec(\n    search=Search(grid={"scale__with_means": (True, False)}),'),
            ("Holdout, Metric", "Holdout, Search, Metric"),
        ],
        "FILE, line 37: search.grid.scale__with_means: the pipeline has no such parameter; step 'scale' has"
        " scale__copy, scale__with_mean, scale__with_std; did you mean scale__with_mean? Correct "
        "search.grid.scale__with_means there.",
    ),
    "a grid's value": (
        [
            ("MODEL = ModelSpec(", 'MODEL = ModelSpec(\n    search=Search(grid={"model__max_depth": (3, "deep")}),'),
            ("Holdout, Metric", "Holdout, Search, Metric"),
        ],
        "FILE, line 37: search.grid.model__max_depth: The 'max_depth' parameter of RandomForestClassifier "
        "must be an int in the range [1, inf) or None. Got 'deep' instead. Correct "
        "search.grid.model__max_depth there.",
    ),
    "weights that the estimator does not take": (
        [
            (
                "MODEL = ModelSpec(",
                'MODEL = ModelSpec(\n    time="at",\n    training=Training(half_life=timedelta(days=9)),',
            ),
            ("Holdout, Metric", "Holdout, Training, Metric"),
            ("from typing", "from datetime import timedelta\nfrom typing"),
            ('columns | {"species"', 'columns | {"at": pa.Column("datetime64[us, UTC]"), "species"'),
            ("sklearn.ensemble import RandomForestClassifier", "sklearn.neighbors import KNeighborsClassifier"),
            ("RandomForestClassifier(n_estimators=50, random_state=seed)", "KNeighborsClassifier()"),
        ],
        "FILE, line 39: training.half_life: it weighs rows by their age, and KNeighborsClassifier, the step"
        " 'model', takes no sample_weight; leave it out, use training.last, or take another estimator. "
        "Correct training.half_life there.",
    ),
    "probabilities that the estimator does not give": (
        [
            ('Metric(name="accuracy", bound=0.9)', 'Metric(name="roc_auc", bound=0.9)'),
            ("sklearn.ensemble import RandomForestClassifier", "sklearn.svm import LinearSVC"),
            ("RandomForestClassifier(n_estimators=50, random_state=seed)", "LinearSVC(random_state=seed)"),
        ],
        "FILE, line 44: metric: 'roc_auc' needs the probability of each class, and LinearSVC, the step "
        "'model', gives none; take an estimator with predict_proba, or a metric such as 'accuracy' or 'f1'."
        " Correct metric there.",
    ),
    "a regressor for classes": (
        [
            ("RandomForestClassifier\n", "RandomForestRegressor\n"),
            ("forest = RandomForestClassifier", "forest = RandomForestRegressor"),
        ],
        "FILE, line 38: task: it is 'classification', and RandomForestRegressor, the step 'model', is a "
        "regressor. Correct task there.",
    ),
    "a column that the contract lacks": (
        [("numeric=MEASURES", 'numeric=(*MEASURES, "petal_lenght_cm")')],
        "FILE, line 42: features.numeric: contract() has no column 'petal_lenght_cm'; did you mean "
        "'petal_length_cm'? Correct features.numeric there.",
    ),
    "a contract that fails": (
        [("0, 30", "0, LONGEST")],
        "FILE, line 22, in contract(): NameError: name 'LONGEST' is not defined. Correct contract() there.",
    ),
    "a metric beside that is none": (
        [
            ("min_rows=30)", 'min_rows=30),\n    performance=PerformanceThresholds(also=(Metric(name="f2"),))'),
            ("ModelSpec\n\nif", "ModelSpec, PerformanceThresholds\n\nif"),
        ],
        "FILE, line 47: metric.name: 'f2' is not the name of a metric, and there is no function; the "
        "metrics are accuracy, average_precision, balanced_accuracy, brier, f1, log_loss, mae, mape, "
        "median_ae, mse, precision, r2, recall, rmse, roc_auc. Correct metric.name there.",
    ),
    "five at once": (
        [
            ('task="classification"', 'task="clasification"'),
            ("bound=0.9", "bound=9"),
            ("share=0.2", "share=2"),
            ("features=", "feature="),
            ("min_rows=30", "min_row=30"),
        ],
        "FILE has 5 mistakes: line 38: task: it is 'clasification', and should be 'regression' or "
        "'classification'; did you mean 'classification'?; line 42: feature: there is no such field; did "
        "you mean features?; line 44: metric.bound: it is 9, and accuracy is from 0 to 1; line 45: "
        "holdout.share: it is 2, and should be less than 1; line 46: drift.min_row: there is no such field;"
        " did you mean min_rows? Correct each of them.",
    ),
}


@pytest.fixture
def never_fitted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fail where anything is fitted."""

    def fail(*_args: object, **_options: object) -> None:
        raise AssertionError("something was fitted")

    monkeypatch.setattr(fit, "_fit_one", fail)


def _check(folder: Path) -> ModelSpec:
    """Everything that a model file is asked before a fit."""
    spec = models.load("iris", folder).spec
    schema_of(spec)
    require_fittable(spec)
    return spec


def _told(folder: Path, edits: Sequence[Edit]) -> str:
    """What the edited file is told, wherever that is found first; the file itself is called FILE."""
    text = GOOD
    for before, after in edits:
        assert before in text, before
        text = text.replace(before, after, 1)
    (folder / "iris.py").write_text(text, encoding="utf-8")
    with pytest.raises(ModelFileError) as caught:
        _check(folder)
    return str(caught.value).replace(str(folder / "iris.py"), "FILE")


@pytest.mark.parametrize("name", EDITS)
@pytest.mark.usefixtures("never_fitted")
def test_a_bad_edit_is_one_line(tmp_path: Path, name: str) -> None:
    """The whole message."""
    edits, message = EDITS[name]
    assert _told(tmp_path, edits) == message
    assert "\n" not in message
    assert not {"Traceback", "database", "registry", "quarantine"} & set(message.split())


def test_the_good_file_is_good(tmp_path: Path) -> None:
    """Unedited it passes everything that the edits are refused by."""
    (tmp_path / "iris.py").write_text(GOOD, encoding="utf-8")
    assert _check(tmp_path).file == str(tmp_path / "iris.py")
