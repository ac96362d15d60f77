"""How rows that arrive on a broker are scored."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, model_validator

from evergreen.spec.fields import Frozen
from evergreen.storage.credentials import holds_secret


class Stream(Frozen):
    """Rows of a queue are scored one message after another by `evergreen stream` and `evergreen up`.

    An address is `amqp://host:5672/vhost#queue` (RabbitMQ), `redis://host:6379/0#stream`, `kafka://host:9092#topic`,
    or `env:NAME`, a variable that holds one of these. One with a password has to be in a variable.

    Attributes:
        source: where rows come from.
        target: where predictions go to.
        dead_letters: where refused messages go to; None for the model's quarantine table.
        batch: messages that are predicted and committed together, at most.
        wait: seconds that the first message of a batch waits for others.
        claim: seconds after which a message that another consumer of a Redis stream took, and has not acknowledged, is
            taken over.
    """

    source: str
    target: str
    dead_letters: str | None = None
    batch: Annotated[int, Field(gt=0, le=1_000)] = 1_000
    wait: Annotated[float, Field(gt=0, le=60)] = 1.0
    claim: Annotated[float, Field(ge=1, le=3_600)] = 30.0

    @model_validator(mode="after")
    def _no_secret(self) -> Self:
        for name in ("source", "target", "dead_letters"):
            if holds_secret(getattr(self, name) or ""):
                raise ValueError(f"{name}: it holds a password; put it into a variable and name that one: env:NAME")
        return self
