"""The card of a version, as Markdown: what it is, how good, where its limits are, who wanted it, and when it served.

A pure function of `Facts`, which `card_store.py` gathers. It tells aggregates only: figures over many rows,
names of columns, and categories that enough rows share. Text from data and from people stays text.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from evergreen.actor import PERSON, describe_actor, rejection_reason
from evergreen.details.decision import ApprovalDetail
from evergreen.markdown import MARK
from evergreen.registry.version import CANARY
from evergreen.reports.card_facts import (
    Facts,
    common,
    learned_from,
    names_slices,
    said,
    sentence,
    spans,
    told_checks,
    without_slices,
)
from evergreen.templating import environment
from evergreen.verdicts import Verdict

if TYPE_CHECKING:
    from jinja2 import Template

LETTERS = 5_000
"""As long as MLflow's database takes a description."""
_TOP = 10


def card(facts: Facts) -> str:
    """The whole card."""
    spec = facts.spec
    start, end = learned_from(facts)
    least = "least" if spec.metric.kind.greater_is_better else "most"
    return _template().render(
        facts=facts,
        approval=approval(facts),
        bound="" if spec.metric.bound is None else f"; at {least} {spec.metric.bound:g}",
        named=names_slices(spec),
        against={check.name: check.reason for check in facts.judgement.checks} if facts.judgement else {},
        checks=told_checks(facts),
        mark=MARK,
        limits=list(limits(facts)),
        top=_TOP,
        source=source_name(spec.source),
        reason=without_slices(spec, facts.asked.reason) if facts.asked else "",
        window=" to ".join(_when(datetime.fromisoformat(at)) for at in (start, end)) if start else None,
        dirty=", with changes that were not committed" if facts.version.tags.git_dirty else "",
        spans=list(spans(facts)),
    )


@cache
def _template() -> Template:
    templates = environment(Path(__file__).parent / "templates")
    templates.filters |= {"said": said, "when": _when}
    return templates.get_template("card.md.j2")


def brief(text: str) -> str:
    """As many whole sections of a card as a description in MLflow holds."""
    if len(text) <= LETTERS:
        return text
    rest = "\n\nThe rest of this card is among the artifacts of the run: card/card.md\n"
    kept, *sections = text.split("\n\n## ")
    for section in sections:
        if len(kept) + len(section) + len(rest) + 5 > LETTERS:
            break
        kept += f"\n\n## {section}"
    return kept[: LETTERS - len(rest)] + rest


_MOVERS = {
    "retrain": "Evergreen, because it passed every gate",
    CANARY: "Evergreen, because live traffic proved it as good as the champion",
}


def approval(facts: Facts) -> str:
    """Who wanted the version in production, and why, in sentences."""
    version, lines = facts.version, []
    if facts.word is not None:
        by_canary = facts.word.detail_as(ApprovalDetail).canary
        whose = "its canary on live traffic ended: " if by_canary else ""
        lines.append(f"On {_when(facts.word.at)} {whose}{sentence(facts.word.reason)}")
    elif version.tags.declined is not None:
        by = version.tags.declined_by or PERSON
        lines.append(f"It was {sentence(rejection_reason(version.tags.declined or '', by))}")
    promotions = [move for move in facts.moves if move.after == version.number]
    if promotions:
        first = promotions[0]
        mover = _MOVERS.get(first.by) or said(describe_actor(first.by))
        repeated = facts.word is not None and first.reason in facts.word.reason
        why = "" if repeated else f" Reason: {sentence(first.reason)}"
        lines.append(f"Put into production on {_when(first.at)} by {mover}.{why}")
        if first.by == "retrain":
            lines.append('No person was asked: the model file said approval="auto".')
    if not lines and version.status == "PASSED":
        lines.append("Nobody yet: it passed its gates and was not promoted.")
    return " ".join(lines) or f"Nobody: its gates say {said(version.status)}."


def limits(facts: Facts) -> Iterator[str]:
    """What was not shown, not asked, not seen, or is not watched."""
    spec, tags = facts.spec, facts.version.tags
    for check in told_checks(facts):
        if check.status is not Verdict.PASS:
            word = "not proven" if check.status is Verdict.INCONCLUSIVE else "failed"
            yield f"{word}: {said(check.name)}: {said(check.reason)}"
    requirements = [
        ("an absolute bound of the metric", spec.metric.bound),
        ("a limit to over-fitting", spec.gates.overfit),
        ("slices", spec.slices),
    ]
    missing = [name for name, there in requirements if not there]
    if missing:
        yield f"not asked by the model file: {', '.join(missing)}"
    yield from _slice_limits(facts)
    start, end = learned_from(facts)
    if start:
        yield f"it learned from rows of {said(start[:10])} to {said(end[:10])} and knows nothing of other times"
    unwatched = [name for name in spec.features.all if name not in spec.watched]
    if unwatched:
        yield f"drift reports leave out {said(', '.join(unwatched))}"
    if facts.importance:
        yield "of features that say the same, each seems less important than it is"
    if tags.git_dirty:
        yield "it was trained from files that differ from the commit"
    if facts.spec_hash and facts.spec_hash != tags.spec_hash:
        yield "the model file was changed since: purpose, features and limits are told as they are today"


def _slice_limits(facts: Facts) -> Iterator[str]:
    """Which values of the slice columns nobody judged, as far as the reference sample tells."""
    spec = facts.spec
    if facts.judgement is None:
        return
    for column in spec.slices:
        judged = facts.judgement.slices
        unjudged = [name for name in common(facts.profile, column) if f"{column}={name}" not in judged]
        among = f"; among what it learned from: {said(', '.join(unjudged))}" if unjudged else ""
        least = spec.gates.slice_min_rows
        yield f"values of {said(column)} with fewer than {least} holdout rows were not judged on their own{among}"


def source_name(source: object) -> str:
    """The kind of a source, and what it falls back on; never its address, which may hold a password."""
    within = [source_name(part) for part in _parts(source)]
    return type(source).__name__ + (f" ({', '.join(within)})" if within else "")


def _parts(source: object) -> list[object]:
    fields = getattr(type(source), "__dataclass_fields__", {})
    return [part for part in (getattr(source, name) for name in fields) if hasattr(type(part), "fingerprint")]


def _when(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M}"
