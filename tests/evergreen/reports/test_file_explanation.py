"""What a model file says, read aloud: columns and their use, what is left out, the rules, and what has no rule."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import models
from evergreen.reports.file_explanation import FileExplanation, explain_file
from evergreen.sources import Folder
from evergreen.spec import DriftThresholds, Gates, Holdout, Metric
from evergreen.spec.canary import Canary
from evergreen.spec.retraining import Approval, Retraining
from evergreen.spec.serving import Lookup, Serve
from evergreen.spec.training import Training

FILE = Path(models.__file__).parent / "iris.py"


@pytest.fixture
def explain(tmp_path: Path) -> Any:
    """Explain iris with some fields changed: explain(slices=("x",))."""

    def run(**changes: Any) -> FileExplanation:
        spec = models.load("iris", FILE.parent).spec.model_copy(update=changes)
        return explain_file(spec, FILE, tmp_path, ("retrain-iris runs.",))

    return run


def test_each_column_has_its_use(explain: Any) -> None:
    """Type, use and checks of every column of the contract; the data have no other columns."""
    found = explain(slices=("species",))
    uses = {column.name: (column.type, column.use) for column in found.columns}
    assert uses["species"] == ("text", "target, slice")
    assert uses["petal_width_cm"] == ("number", "numeric feature")
    assert "in_range" in found.columns[0].checks[0]
    assert found.left_out == ()
    assert found.looked_at == "The columns of the data are those of Bundled."
    assert [rules.title for rules in found.rules][-1] == "Runs"


def test_columns_of_the_data_that_are_not_used_are_named(tmp_path: Path, explain: Any) -> None:
    """By the header of the newest file, with the reason of the model file's own comment; what lacks is named, too."""
    (tmp_path / "flowers").mkdir()
    file = tmp_path / "flowers" / "week.csv"
    names = "sepal_length_cm,sepal_width_cm,petal_length_cm,species,note,height"
    file.write_text(f"{names}\n1,2,3,setosa,a,5\n2,2,3,setosa,b,5\n")
    written = tmp_path / "iris.py"
    written.write_text('FEATURES = 1\n#   "note": an identifier: 2 different texts in 2 rows\n')
    spec = models.load("iris", FILE.parent).spec.model_copy(update={"source": Folder("flowers")})
    found = explain_file(spec, written, tmp_path, ())
    assert {column.name: column.why for column in found.left_out} == {
        "note": "an identifier: 2 different texts in 2 rows",
        "height": "not in the contract: to use it, add it to contract() and to the features",
    }
    assert found.looked_at == (
        "The columns of the data are those of week.csv. They lack 'petal_width_cm', which the contract asks for."
    )
    file.unlink()
    assert "holds no file that matches '*' yet" in explain_file(spec, written, tmp_path, ()).looked_at


def test_what_is_not_protected_is_said(explain: Any) -> None:
    """Each gap as a whole sentence that names the field which closes it."""
    gaps = explain(metric=Metric(name="accuracy"), drift=DriftThresholds(columns=("sepal_width_cm",))).gaps
    for words in (
        "There is no absolute bound",
        "There are no slices",
        "There is no bound on overfitting",
        "There is no approval",
        "There are no keys",
        "There is no time column",
        "Labels are taken to come with their rows",
        "Drift does not look at sepal_length_cm, petal_length_cm, petal_width_cm",
        "No retraining follows on performance",
    ):
        assert [gap for gap in gaps if gap.startswith(words)], words
    assert all(gap[0].isupper() for gap in gaps)


def test_what_is_protected_is_no_gap(explain: Any) -> None:
    """What the file asks for stands among its rules, and is no gap any more."""
    found = explain(
        metric=Metric(name="accuracy", bound=0.9),
        gates=Gates(overfit=0.1, margin=0.01, tags=("owner",), description=True),
        slices=("species",),
        retraining=Retraining(triggers=("drift", "performance"), cooldown=timedelta(minutes=90)),
        approval=Approval(mode="manual"),
    )
    assert not [gap for gap in found.gaps if "bound" in gap or "slices" in gap or "approval" in gap]
    rules = {each.title: each.sentences for each in found.rules}
    assert "It has to be at least 0.9, and better than a constant prediction." in rules["Metric and gates"]
    assert (
        "A candidate has to be proven not to be more than 1.0% worse than the champion, at a level of 0.05."
        in rules["Metric and gates"]
    )
    assert "Training and holdout may differ by 0.1 at most." in rules["Metric and gates"]
    assert "Beside a schedule, drift and performance start a retraining." in rules["Retraining"]
    assert "After one, the next one for the same trigger waits for 90 minutes." in rules["Retraining"]
    assert "A person approves a candidate; the run waits 3 days for that." in rules["Retraining"]
    assert not [sentence for sentence in rules["Split"] if "fitted once more" in sentence]


def test_a_refit_is_told(explain: Any) -> None:
    """Which fit is judged and which is deployed stands with the split."""
    rules = {each.title: each.sentences for each in explain(training=Training(refit=True)).rules}
    assert rules["Split"][-1] == (
        "The gates judge this fit. What is deployed is fitted once more with the same parameters, and learns the rows "
        "that judged as well."
    )


def test_how_a_model_is_served_is_told(explain: Any) -> None:
    """What a request brings, and what is looked up; nothing of a model that is not served."""
    quiet = {each.title for each in explain().rules}
    assert "Serving" not in quiet
    serve = Serve(lookup=Lookup(url="env:FEATURES", key="id", columns=("x",)), log=0.5)
    told = {each.title: " ".join(each.sentences) for each in explain(serve=serve).rules}["Serving"]
    assert told == (
        "It is served over HTTP; a request brings the columns of the contract that are features. "
        "Of 'x', what a request leaves out is looked up by 'id'. "
        "Of the requests 50% are kept; only these can be held against their labels."
    )
    keyed = {each.title: each.sentences for each in explain(serve=serve, keys=("species",)).rules}["Serving"]
    assert keyed[-1].startswith("What was asked is compared with what lands later by 'species': ")
    assert keyed[-1].endswith(" more than 1% of the rows is told.")


def test_a_canary_is_told(explain: Any) -> None:
    """Which shares a candidate answers, or that it answers nothing, and how long it has."""
    for canary, how in (
        (Canary(), "answers 5 %, 25 %, 50 %, 100 % of the requests, step by step"),
        (Canary(mode="shadow"), "predicts in the shadow"),
    ):
        rules = explain(approval="canary", serve=Serve(canary=canary), keys=("species",)).rules
        told = {each.title: each.sentences for each in rules}["Retraining"]
        assert told[-1] == f"A candidate meets live traffic first: it {how}, and has 2 weeks to prove itself."


def test_a_random_holdout_of_ordered_rows_is_a_gap(tmp_path: Path, explain: Any) -> None:
    """Seen in the first rows of the newest file, whatever the type of the target; a sorted file is no sign of time."""
    (tmp_path / "flowers").mkdir()
    file = tmp_path / "flowers" / "week.csv"
    source = Folder("flowers")
    runs = np.repeat(np.random.default_rng(0).choice(["setosa", "virginica"], 60), 5)
    for target, told in (
        (runs, True),
        (np.sort(runs), False),
        (runs[np.random.default_rng(1).permutation(300)], False),
    ):
        file.write_text("species\n" + "\n".join(target) + "\n")
        gaps = explain(source=source).gaps
        assert any(gap.startswith("In week.csv rows that follow each other have alike targets") for gap in gaps) is told
    assert not [gap for gap in explain(source=source, holdout=Holdout()).gaps if "alike" in gap]
    file.write_text("other\n1\n2\n")
    assert not [gap for gap in explain(source=source).gaps if "alike" in gap]


def test_a_gap_between_the_sides_is_said(explain: Any) -> None:
    """How long it is."""
    rules = {each.title: each.sentences for each in explain(holdout=Holdout(gap=timedelta(days=30))).rules}
    assert "Rows within 30 days of such a row are neither learned nor judged." in rules["Split"]
