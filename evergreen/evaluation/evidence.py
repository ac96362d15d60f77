"""What the gates judge a candidate by."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from evergreen.data.clusters import Clusters
from evergreen.data.predictions import Predictions
from evergreen.evaluation.persistence import NaiveForecast
from evergreen.evaluation.refit import DeployedFit
from evergreen.spec.metric import Array


@dataclass(frozen=True, slots=True, eq=False)
class Evidence:
    """Everything the gates look at; every array is over the same n holdout rows.

    Attributes:
        y: the truth.
        candidate: what the candidate predicts.
        champion: what the champion predicts; None while there is none.
        baseline: what a dummy, or a business rule, predicts.
        slices: column -> its value in each row.
        groups: rows that are alike, such as those of a day; None where rows are independent.
        overlap: how many of the rows the candidate or the champion was trained on, by their keys, or by their whole
            content where there are none.
        copies: how many of the rows stand word for word among the others of the holdout; 0 with keys.
        order: why these rows are no fair random sample; empty where nothing speaks against it.
        train_value: the candidate's metric on its training rows.
        latency_ms: median time of a prediction of one row.
        size_mb: size of the stored model.
        tags: the version's tags.
        description: the version's description.
        integrity: empty when the stored artifact reloads and repeats its predictions, else what is wrong.
        learned_before: of a candidate that was carried over, how many rows of the holdout are left out because it, or
            the champion, has learned them.
        same_as_champion: the candidate is the champion's version.
        deployed: of the fit that is deployed, where it is not the one that is judged; then latency and size are its
            own, and all else is of the judged fits of the candidate and the champion.
        naive: what repeating a label predicts, where the model file asks for it.
        rule: what a person's own rule predicts; None without one.
        routine: the candidate is of the champion's recipe, fitted on newer rows.
    """

    y: Array
    candidate: Predictions
    champion: Predictions | None
    baseline: Predictions
    slices: Mapping[str, Array]
    groups: Clusters | Array | None
    overlap: int
    copies: int
    order: str
    train_value: float
    latency_ms: float
    size_mb: float
    tags: Mapping[str, str]
    description: str
    integrity: str
    same_as_champion: bool
    deployed: DeployedFit | None = None
    routine: bool = False
    learned_before: int = 0
    naive: tuple[NaiveForecast, ...] = ()
    rule: Predictions | None = None
