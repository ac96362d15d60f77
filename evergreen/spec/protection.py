"""What a model file protects its model by, and what it leaves out, so that a gap is seen before it matters."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from evergreen.spec.gates import Gates
from evergreen.spec.model import ModelSpec


@dataclass(frozen=True, slots=True)
class Protection:
    """What is on and off; None for what only a served model can have, of one that is not served.

    Attributes:
        gates: the metric has a bound, or a gate asks for more than the defaults do.
        slices: groups of rows are judged on their own.
        shadow: a promotion that proves harmful is taken back by itself.
        performance: a champion that became worse calls for a retraining.
        approval: a candidate that passed its gates is not in production at once: a person or live traffic decides.
        canary: it meets live traffic first.
        log: what is served is kept, and compared with what lands later for the same keys.
    """

    gates: bool
    slices: bool
    shadow: bool
    performance: bool
    approval: bool
    canary: bool | None
    log: bool | None

    @property
    def on(self) -> tuple[str, ...]:
        """The names of what is on."""
        return tuple(name for name, value in asdict(self).items() if value)

    @property
    def off(self) -> tuple[str, ...]:
        """The names of what is off."""
        return tuple(name for name, value in asdict(self).items() if value is False)

    @property
    def score(self) -> str:
        """How much is on, of what this model can have, such as `4 of 7`."""
        return f"{len(self.on)} of {len(self.on) + len(self.off)}"

    def to_json(self) -> dict[str, Any]:
        """The score and the names."""
        return {"score": self.score, "on": list(self.on), "off": list(self.off)}


def protection_of(spec: ModelSpec) -> Protection:
    """What a model file switches on; nothing but the file is looked at."""
    served = spec.serve is not None
    return Protection(
        gates=spec.metric.bound is not None or _is_stricter(spec.gates),
        slices=bool(spec.slices),
        shadow=spec.shadow.windows > 0 and spec.shadow.rollback,
        performance="performance" in spec.retraining.triggers,
        approval=spec.approval.mode != "auto",
        canary=spec.approval.mode == "canary" if served else None,
        log=_is_compared(spec) if served else None,
    )


def _is_stricter(gates: Gates) -> bool:
    """Whether a gate asks for something that no gate asks for by default."""
    asked = gates.overfit is not None or gates.baseline is not None or gates.persistence == "beat"
    usual = Gates()
    bounded = gates.latency_ms < usual.latency_ms or gates.size_mb < usual.size_mb
    return asked or bounded or gates.description or bool(gates.tags)


def _is_compared(spec: ModelSpec) -> bool:
    return spec.serve is not None and spec.serve.log > 0 and bool(spec.keys) and spec.skew.max_share < 1
