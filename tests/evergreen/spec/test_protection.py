"""What a model file protects by is told from the file alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from evergreen.spec.canary import Canary
from evergreen.spec.gates import Gates
from evergreen.spec.metric import Metric
from evergreen.spec.monitoring import Shadow, Skew
from evergreen.spec.protection import protection_of
from evergreen.spec.retraining import Approval, Retraining
from evergreen.spec.serving import Serve


def test_a_file_without_anything_has_the_shadow_alone(make_spec: Callable[..., Any]) -> None:
    """A model that is not served is not asked for a canary or a log; a served one is."""
    bare = protection_of(make_spec())
    assert bare.on == ("shadow",)
    assert bare.off == ("gates", "slices", "performance", "approval")
    assert bare.score == "1 of 5"
    served = protection_of(make_spec(serve=Serve()))
    assert served.to_json() == {
        "score": "2 of 7",
        "on": ["shadow", "log"],
        "off": ["gates", "slices", "performance", "approval", "canary"],
    }


@pytest.mark.parametrize(
    ("changes", "part"),
    [
        ({"metric": Metric(name="mae", bound=3.0)}, "gates"),
        ({"gates": Gates(overfit=0.1)}, "gates"),
        ({"gates": Gates(baseline=len)}, "gates"),
        ({"gates": Gates(persistence="beat")}, "gates"),
        ({"gates": Gates(latency_ms=5.0)}, "gates"),
        ({"gates": Gates(tags=("owner",))}, "gates"),
        ({"gates": Gates(description=True)}, "gates"),
        ({"slices": ("kind",)}, "slices"),
        ({"retraining": Retraining(triggers=("drift", "performance"))}, "performance"),
        ({"approval": Approval(mode="manual")}, "approval"),
    ],
)
def test_each_part_is_switched_on_by_its_field(make_spec: Callable[..., Any], changes: Any, part: str) -> None:
    """One field, one part; nothing else changes."""
    before, after = protection_of(make_spec()), protection_of(make_spec(**changes))
    assert set(after.on) - set(before.on) == {part}
    assert set(before.off) - set(after.off) == {part}


@pytest.mark.parametrize(
    ("changes", "part"),
    [
        ({"shadow": Shadow(windows=0)}, "shadow"),
        ({"shadow": Shadow(rollback=False)}, "shadow"),
        ({"serve": Serve(log=0)}, "log"),
        ({"keys": ()}, "log"),
        ({"skew": Skew(max_share=1)}, "log"),
    ],
)
def test_what_cannot_act_is_off(make_spec: Callable[..., Any], changes: Any, part: str) -> None:
    """A shadow that takes nothing back, a log of no rows, rows without keys, a comparison that reports nothing."""
    assert part in protection_of(make_spec(serve=Serve())).on
    assert part in protection_of(make_spec(**{"serve": Serve()} | changes)).off


def test_gates_that_ask_for_less_are_off(make_spec: Callable[..., Any]) -> None:
    """A margin, or a longer time, lets more through."""
    assert "gates" in protection_of(make_spec(gates=Gates(margin=0.1, latency_ms=900.0, persistence="tell"))).off


def test_a_canary_is_an_approval_too(make_spec: Callable[..., Any]) -> None:
    """Live traffic decides in place of a person."""
    found = protection_of(make_spec(serve=Serve(canary=Canary()), approval=Approval(mode="canary")))
    assert {"approval", "canary", "log"} <= set(found.on)
