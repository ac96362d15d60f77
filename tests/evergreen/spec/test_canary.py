"""What a model file may say of a canary: every fault is one sentence, before anything is fitted."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

import models
from evergreen.errors import ModelFileError
from evergreen.spec.canary import Canary, canary_of
from evergreen.spec.model import ModelSpec
from evergreen.spec.serving import Serve

PROJECT = Path(__file__).resolve().parents[3]
Make = Callable[..., ModelSpec]


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"steps": (25, 5)}, "steps: (25, 5) has to rise from step to step"),
        ({"steps": (5, 5, 100)}, "has to rise from step to step"),
        ({"steps": ()}, "at least 1 item"),
        ({"steps": (0, 100)}, "greater than or equal to 1"),
        ({"steps": (50, 101)}, "less than or equal to 100"),
        ({"margin": 0.0}, "greater than 0"),
        ({"level": 0.5}, "less than 0.5"),
        ({"hold": timedelta(0)}, "has to be longer than zero"),
        (
            {"metric": "roc_auc"},
            "'roc_auc' is no mean over rows; the metrics that are one are accuracy, brier",
        ),
        ({"metric": "mea"}, "'mea' is no mean over rows"),
        ({"step": (5,)}, "step"),
    ],
)
def test_a_fault_of_the_section_is_named(fields: dict[str, Any], words: str) -> None:
    """With its field and what is taken instead."""
    with pytest.raises(ValidationError) as error:
        Canary(**fields)
    assert words in str(error.value)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"approval": "canary"}, "the model is not served; add serve=Serve()"),
        ({"approval": "canary", "serve": Serve(), "keys": ()}, "without keys=... none is found"),
        ({"approval": "canary", "serve": Serve(log=0.0)}, "log=0 keeps no answer"),
        ({"serve": Serve(canary=Canary())}, "canary=... is never used without approval='canary'"),
        (
            {"approval": "canary", "serve": Serve(canary=Canary(metric="log_loss"))},
            "'log_loss' is a metric of classification, not of regression",
        ),
    ],
)
def test_fields_that_do_not_go_together_are_named(make_spec: Make, fields: dict[str, Any], words: str) -> None:
    """What the canary needs of the rest of the file."""
    with pytest.raises(ValidationError) as error:
        make_spec(**fields)
    assert words in str(error.value)


def test_a_fault_within_the_section_is_not_taken_for_its_absence(tmp_path: Path) -> None:
    """One mistake is told once: the model is served, though wrongly."""
    text = (PROJECT / "models" / "bike_demand.py").read_text()
    text = text.replace('serve=Serve(rows="contract")', 'approval="canary", serve=Serve(canary=Canary(steps=(50, 10)))')
    (tmp_path / "bike_demand.py").write_text(text.replace("    Serve,\n", "    Canary,\n    Serve,\n", 1))
    with pytest.raises(ModelFileError) as error:
        models.load_spec("bike_demand", tmp_path)
    assert "canary.steps: (50, 10) has to rise from step to step" in str(error.value)
    assert "not served" not in str(error.value)


def test_a_model_without_the_section_has_its_defaults(make_spec: Make) -> None:
    """The section alone makes the difference."""
    assert canary_of(make_spec(approval="canary", serve=Serve())) == Canary()
    assert canary_of(make_spec(approval="canary", serve=Serve(canary=Canary(margin=0.1)))).margin == 0.1
