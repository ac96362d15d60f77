"""Statistical significance: what chance alone can do to a window that has not drifted.

A threshold on an effect size does not know how few rows it was taken from, and a report on fifty columns gives chance
fifty times as many openings as a report on one. So nothing counts as drift that chance could bring about. The level is
one for the whole report and is divided evenly (Bonferroni): a column's verdict then depends on how many others there
are, and not on what is found in them.

The large-sample distribution of a score is no guide in small windows: with 100 rows and categories of 40 % down to 3 %,
an unshifted population stability index exceeds its 0.999 quantile in 6 draws of 100 (400,000 draws). The likelihood
ratio of the same bins keeps what it promises to within a factor of 2, down to one in 15,000.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

FAMILY = 0.01
"""Of a hundred reports on windows without drift, at most one may find a drifted column, however many columns it has."""

CHECKS = 4
"""Of every column: its bins, the category that grew the most, missing values, unknown values."""


def level(columns: int) -> float:
    """The p-value that a single check has to reach in a report on so many columns."""
    return FAMILY / (CHECKS * max(columns, 1))


def score_bound(bins: int, sizes: tuple[int, int], method: str, at: float) -> float:
    """The score that chance exceeds with probability `at`, for large samples.

    Without a shift the population stability index is distributed as (1/n + 1/m) times chi-squared with bins - 1
    degrees of freedom: Yurdakul and Naranjo (2020), Journal of Risk Model Validation 14(4). To second order the
    Kullback-Leibler divergence is half of it, and the Hellinger and Jensen-Shannon distances the root of its eighth.
    """
    from scipy.special import chdtri

    psi = float(chdtri(max(bins - 1, 1), at)) * sum(1 / size for size in sizes)
    return {"psi": psi, "kl_div": psi / 2}.get(method, math.sqrt(psi / 8))


def g_test_pvalue(old: pd.Series, new: pd.Series) -> float:
    """The p-value of two columns of bins under one distribution: the G-test, a likelihood ratio (Wilks 1938).

    Nulls are left out.
    """
    import pandas as pd
    from scipy.stats import chi2_contingency

    counts = pd.concat([old.value_counts(), new.value_counts()], axis=1).fillna(0)
    if len(counts) < 2:
        return 1.0
    return float(chi2_contingency(counts.to_numpy(), correction=False, lambda_="log-likelihood").pvalue)


def largest_growth_pvalue(old: pd.Series, new: pd.Series) -> float:
    """The p-value of the category that grew the most surprisingly, allowing for there being so many categories."""
    before, after = old.value_counts(), new.value_counts()
    from scipy.stats import hypergeom

    known = before.reindex(after.index).fillna(0).to_numpy()
    tails = hypergeom.sf(after.to_numpy() - 1, len(old) + len(new), after.to_numpy() + known, len(new))
    return min(1.0, float(tails.min()) * before.index.union(after.index).size)


def fisher_pvalue(count: int, rows: int, known: int, among: int) -> float:
    """The p-value of `count` of `rows` where the reference has `known` of `among`: Fisher's exact test, one-sided."""
    from scipy.stats import hypergeom

    return float(hypergeom.sf(count - 1, rows + among, count + known, rows))
