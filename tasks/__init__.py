"""The steps of the flows. Each holds policy only: cache key, retries, timeout, what is logged."""

from __future__ import annotations

from typing import Any

from evergreen.errors import EvergreenError


def passing(_task: Any, _run: Any, state: Any) -> bool:
    """Whether a failure is worth another try: what a person has to mend does not mend itself."""
    return not isinstance(state.result(raise_on_failure=False), EvergreenError)
