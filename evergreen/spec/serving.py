"""How a model is served online."""

from __future__ import annotations

from typing import Literal

from evergreen.spec.fields import Frozen, PositiveInt, Share


class Serve(Frozen):
    """A model with this section is served by `evergreen serve` and `evergreen up`.

    Attributes:
        rows: what a request brings: `arriving`, the columns as they arrive, on which `prepare` runs as in batch
            scoring; `contract`, the contract's columns that are features, ready for the pipeline: `prepare` does not
            run, and a row takes microseconds. Without `prepare` both are the same.
        max_rows: a request with more rows is refused.
        log: the share of requests that are kept in the lake with their features and answers; they are what labels,
            performance and the shadow are held against.
    """

    rows: Literal["arriving", "contract"] = "arriving"
    max_rows: PositiveInt = 10_000
    log: Share = 1.0
