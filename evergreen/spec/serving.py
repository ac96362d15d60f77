"""How a model is served online."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from evergreen.spec.canary import Canary
from evergreen.spec.fields import Frozen, PositiveInt, Share
from evergreen.spec.stream import Stream
from evergreen.storage.credentials import holds_secret


class Lookup(Frozen):
    """Where features are fetched that a request leaves out, by a key of its rows.

    Attributes:
        url: `redis://host:6379/0#prefix`, where `prefix:KEY` holds a JSON object; `database-URL#table`, where a row has
            the key in the column of that name; or `env:NAME`, a variable that holds one of these.
        key: the column of the request that names the row.
        columns: what is fetched where a row lacks it; empty for every feature.
        seconds: until what did not come is missing, as the contract allows.
    """

    url: str
    key: str
    columns: tuple[str, ...] = ()
    seconds: Annotated[float, Field(gt=0, le=10)] = 0.2

    @model_validator(mode="after")
    def _no_secret(self) -> Self:
        if holds_secret(self.url):
            raise ValueError("url: it holds a password; put it into a variable and name that one: env:NAME")
        return self


class Serve(Frozen):
    """A model with this section is served by `evergreen serve` and `evergreen up`.

    Attributes:
        rows: what a request brings: `arriving`, the columns as they arrive, on which `prepare` runs as in batch
            scoring; `contract`, the contract's columns that are features, ready for the pipeline: `prepare` does not
            run, and a row takes microseconds. Without `prepare` both are the same.
        prepare_row: `prepare` for one row: from the columns as they arrive, as JSON has them, to the contract's. A
            row then takes microseconds as well, once it is seen to do on 32 of them what `prepare` does.
        lookup: where features are fetched that a request leaves out; None where it brings all.
        max_rows: a request with more rows is refused.
        log: the share of requests that are kept in the lake with their features and answers; they are what labels,
            performance and the shadow are held against.
        canary: how a challenger meets live traffic; it takes `approval="canary"`.
        stream: the rows that arrive on a broker, which are scored beside those that are asked for; None for none.
    """

    rows: Literal["arriving", "contract"] = "arriving"
    prepare_row: Callable[[dict[str, Any]], Mapping[str, Any]] | None = None
    lookup: Lookup | None = None
    max_rows: PositiveInt = 10_000
    log: Share = 1.0
    canary: Canary | None = None
    stream: Stream | None = None

    @model_validator(mode="after")
    def _prepares_what_arrives(self) -> Self:
        if self.prepare_row is not None and self.rows == "contract":
            raise ValueError("prepare_row: with rows='contract' nothing is prepared; leave one of them out")
        return self
