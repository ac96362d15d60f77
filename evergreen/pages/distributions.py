"""How each column's values are spread, in the champion's reference and in the rows that a drift report was about.

Shares only: no row leaves this module. Both sides are cut at the same edges.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from evergreen.data.frames import to_float64, to_text
from evergreen.data.observations import Observations
from evergreen.decision import Decision
from evergreen.drift.check import drift_question
from evergreen.errors import EvergreenError
from evergreen.registry.client import Registry
from evergreen.registry.version import Version
from evergreen.settings import Settings
from evergreen.spec.model import ModelSpec
from evergreen.training.predict import predict
from evergreen.training.reference import PREDICTION, REFERENCE, SAMPLE_ROWS

if TYPE_CHECKING:
    import pandas as pd

BINS = 24
CATEGORIES = 12
VALUES = 64
"""So many distinct numbers have a bin each; more share equal bins."""
OTHER = "(all others)"
OUTER = 0.005
"""Share of either side's values that may lie beyond the outermost edges, and is counted in the outermost bins."""


@dataclass(frozen=True, slots=True)
class Distribution:
    """One column on both sides.

    Attributes:
        names: of the bars: categories, or the values of a number that has few; empty where there are edges.
        edges: of the bins of a number, one more than there are bins.
        reference: share of the values in each bar or bin, 0 to 1.
        current: likewise.
        rows: compared, in the reference and in the current window.
        missing: share of these without a value.
    """

    name: str
    names: tuple[str, ...]
    edges: tuple[float, ...]
    reference: tuple[float, ...]
    current: tuple[float, ...]
    rows: tuple[int, int]
    missing: tuple[float, float]


def distributions(
    settings: Settings, spec: ModelSpec, registry: Registry, report: Decision, kinds: Mapping[str, str]
) -> tuple[tuple[Distribution, ...], str]:
    """Every column of a stored drift report, and why there are none or not all; empty where there are.

    Args:
        report: the decision; its champion and its snapshot say which rows.
        kinds: `numeric` or `categorical`, by column; in the order in which they are wanted.
    """
    try:
        champion = registry.get(spec.name, report.champion or 0)
        before, after = _sides(settings, spec, registry, champion, report)
    except (EvergreenError, OSError) as error:
        return (), f"The rows that were compared cannot be read any more. {error}"
    note = ""
    if PREDICTION in kinds:
        try:
            pipeline = registry.load(champion, spec)
            before, after = (
                side.assign(**{PREDICTION: predict(pipeline, spec, side).values}) for side in (before, after)
            )
        except Exception as error:
            # The pipeline is the user's own; what it cannot do takes nothing from the other columns.
            note = f"The champion's predictions are left out ({type(error).__name__})."
    wanted = [name for name in kinds if name in before and name in after]
    return tuple(spread(name, kinds[name], before[name], after[name]) for name in wanted), note


def _sides(
    settings: Settings, spec: ModelSpec, registry: Registry, champion: Version, report: Decision
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The champion's reference and the sample of current rows that the report was made of."""
    import pandas as pd

    observations = Observations(settings.lake_uri, spec)
    _, window = drift_question(spec, champion, observations.snapshot(report.snapshot), report.at)
    current, _ = window.sample(observations, SAMPLE_ROWS, seed=spec.seed)
    return pd.read_parquet(registry.files(champion) / REFERENCE), current


def spread(name: str, kind: str, reference: pd.Series, current: pd.Series) -> Distribution:
    """One column's distribution on both sides; `kind` is `numeric` or `categorical`."""
    if kind == "numeric":
        try:
            sides = [to_float64(side) for side in (reference, current)]
        except (TypeError, ValueError):
            return _of_texts(name, to_text(reference), to_text(current))
        return _of_numbers(name, *(side.mask(np.isinf(side)) for side in sides))
    return _of_texts(name, to_text(reference), to_text(current))


def _of_numbers(name: str, old: pd.Series, new: pd.Series) -> Distribution:
    facts = (len(old), len(new)), (float(old.isna().mean()), float(new.isna().mean()))
    sides = [side.dropna().to_numpy() for side in (old, new)]
    values = np.unique(np.concatenate(sides))
    if len(values) <= CATEGORIES:
        shares = [_shares([float((side == value).sum()) for value in values]) for side in sides]
        return Distribution(name, tuple(f"{value:g}" for value in values), (), shares[0], shares[1], *facts)
    filled = [side for side in sides if len(side)]
    low = min(float(np.quantile(side, OUTER)) for side in filled)
    high = max(float(np.quantile(side, 1 - OUTER)) for side in filled)
    low, high = (low, high) if low < high else (float(values[0]), float(values[-1]))
    inside = values[(values >= low) & (values <= high)]
    edges = _between(inside) if 1 < len(inside) <= VALUES else np.linspace(low, high, BINS + 1)
    shares = [_shares(np.histogram(np.clip(side, edges[0], edges[-1]), edges)[0].tolist()) for side in sides]
    return Distribution(name, (), tuple(float(f"{edge:.5g}") for edge in edges), shares[0], shares[1], *facts)


def _between(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Edges halfway between few distinct values, a bin each: equal ones would leave some empty."""
    middles = (values[1:] + values[:-1]) / 2
    return np.concatenate([[2 * values[0] - middles[0]], middles, [2 * values[-1] - middles[-1]]])


def _of_texts(name: str, old: pd.Series, new: pd.Series) -> Distribution:
    facts = (len(old), len(new)), (float(old.isna().mean()), float(new.isna().mean()))
    counts = [side.dropna().value_counts() for side in (old, new)]
    share = counts[0].div(max(counts[0].sum(), 1)).add(counts[1].div(max(counts[1].sum(), 1)), fill_value=0.0)
    ranked = sorted(share.items(), key=lambda item: (-item[1], str(item[0])))
    keys = [key for key, _ in ranked[: len(ranked) if len(ranked) <= CATEGORIES else CATEGORIES]]
    bars = [[float(side.get(key, 0)) for key in keys] for side in counts]
    names = [str(key) for key in keys]
    if len(ranked) > CATEGORIES:
        bars = [[*bar, float(side.sum() - sum(bar))] for bar, side in zip(bars, counts, strict=True)]
        names.append(OTHER)
    return Distribution(name, tuple(names), (), _shares(bars[0]), _shares(bars[1]), *facts)


def _shares(counts: Sequence[float]) -> tuple[float, ...]:
    total = sum(counts)
    return tuple(round(count / total, 4) if total else 0.0 for count in counts)
