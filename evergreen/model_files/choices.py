"""What `evergreen new` chose, and why, in a few lines for a person."""

from __future__ import annotations

from dataclasses import dataclass

from evergreen.markdown import many
from evergreen.model_files.column_types import quote_name
from evergreen.model_files.inference import Findings
from evergreen.model_files.objective import Objective
from evergreen.spec.gates import ROUTINE_MARGIN


@dataclass(frozen=True, slots=True)
class Choice:
    """One thing that was chosen.

    Attributes:
        about: what it is about, one short word.
        value: what was chosen.
        why: the reason, as a sentence; may be empty.
    """

    about: str
    value: str
    why: str = ""


def describe_choices(findings: Findings, objective: Objective, *, ordered: bool) -> tuple[Choice, ...]:
    """The choices, in the order in which a person reads them."""
    choices = [_features(findings), Choice("metric", objective.metric, objective.metric_why)]
    if objective.loss:
        choices.append(Choice("loss", objective.loss, objective.loss_why))
    if objective.balanced == "always":
        choices.append(Choice("weights", "balanced", "Classes weigh alike, as they do in the metric."))
    elif objective.balanced == "tried":
        choices.append(Choice("weights", "none or balanced", "The search tries both, since a class is rare."))
    if findings.time is not None:
        judges = Choice("judged by", "the newest fifth", f"Rows have a time, in {quote_name(findings.time.name)}.")
    elif ordered:
        choices.append(
            Choice("order", "of the rows", "No column is a time, and rows beside each other have like targets.")
        )
        judges = Choice("judged by", "the last fifth", "What landed first is older.")
    else:
        judges = Choice("judged by", "a random fifth", "Rows have no time, and no order that would matter.")
    choices.append(judges)
    margin = f"The same recipe on newer rows may be {ROUTINE_MARGIN:.0%} worse at most; another has to be better."
    choices.append(Choice("gate", f"routine margin {ROUTINE_MARGIN:g}", margin))
    if ordered:
        choices.append(Choice("deployed", "a refit", "What passed its gates also learns the rows that judged it."))
    return tuple(choices)


def _features(findings: Findings) -> Choice:
    coded = len(findings.categorical) - len(findings.distinct)
    kinds = [many(len(findings.numeric), "number")] if findings.numeric else []
    kinds += [f"{coded} {'category' if coded == 1 else 'categories'}"] if coded else []
    kinds += [many(len(findings.distinct), "text by target", "texts by target")] if findings.distinct else []
    texts = [f"{quote_name(name)} has {count:,} texts" for name, count in findings.distinct.items()]
    becomes = "the mean target" if findings.target.task == "regression" else "the share of each class"
    why = [f"{', '.join(texts[:2])}: each becomes {becomes} of its rows."] if texts else []
    why += [f"{many(len(findings.left_out), 'column')} left out, see below."] if findings.left_out else []
    return Choice("features", ", ".join(kinds), " ".join(why))
