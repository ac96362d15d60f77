"""The card of a version, as Markdown: what it is, how good, where its limits are, who wanted it, and when it served.

A pure function of `Facts`, which `card_store.py` gathers. It tells aggregates only: figures over many rows,
names of columns, and categories that enough rows share. Text from data and from people stays text.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime

from evergreen import naming
from evergreen.actor import PERSON, describe_actor, rejection_reason
from evergreen.evaluation.judgement import Judgement
from evergreen.markdown import MARK, number, table
from evergreen.reports.card_facts import (
    Facts,
    common,
    learned_from,
    names_slices,
    plain,
    said,
    sentence,
    spans,
    told_checks,
    without_slices,
)
from evergreen.verdicts import Verdict

LETTERS = 5_000
"""As long as MLflow's database takes a description."""
_TOP = 10


def card(facts: Facts) -> str:
    """The whole card."""
    version = facts.version
    purpose = said(facts.purpose, 2_000) or "The model file does not say what it is for (description)."
    parts = [
        f"# {version.label}\n\n{purpose}",
        _what(facts),
        _section("Who approved it, and why", approval(facts)),
        _metrics(facts),
        _gates(facts),
        _limits(facts),
        _importance(facts),
        _data(facts),
        _training(facts),
        _production(facts),
        _section(
            "How to rebuild it",
            f"`evergreen rebuild {version.model} {version.number}` trains it again from the data version, the code, "
            "the parameters and the seed above, and says whether it predicts the same.",
        ),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


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


def approval(facts: Facts) -> str:
    """Who wanted the version in production, and why, in sentences."""
    version, lines = facts.version, []
    if facts.word is not None:
        lines.append(f"On {_when(facts.word.at)} {sentence(facts.word.reason)}")
    elif version.tags.declined is not None:
        by = version.tags.declined_by or PERSON
        lines.append(f"It was {sentence(rejection_reason(version.tags.declined or '', by))}")
    made = [move for move in facts.moves if move.after == version.number]
    if made:
        first = made[0]
        mover = "Evergreen, because it passed every gate" if first.by == "retrain" else said(describe_actor(first.by))
        known = facts.word is not None and first.reason in facts.word.reason
        why = "" if known else f" Reason: {sentence(first.reason)}"
        lines.append(f"Put into production on {_when(first.at)} by {mover}.{why}")
        if first.by == "retrain":
            lines.append('No person was asked: the model file said approval="auto".')
    if not lines and version.status == "PASSED":
        lines.append("Nobody yet: it passed its gates and was not promoted.")
    return " ".join(lines) or f"Nobody: its gates say {said(version.status)}."


def _section(title: str, body: str) -> str:
    return f"## {title}\n\n{body}" if body else ""


def _listed(rows: Sequence[tuple[str, object]]) -> str:
    """Two columns: what it is called and what it is; a row without a value is left out."""
    return table(("what", "value"), [(plain(name), plain(number(value))) for name, value in rows if number(value)])


def _what(facts: Facts) -> str:
    spec, version = facts.spec, facts.version
    metric = spec.metric
    bound = (
        "" if metric.bound is None else f"; at {'least' if metric.kind.greater_is_better else 'most'} {metric.bound:g}"
    )
    rows: list[tuple[str, object]] = [
        ("status", f"{version.status}{''.join(f', {alias}' for alias in facts.aliases)}"),
        ("task", f"{spec.task} of {spec.target}"),
        ("judged by", f"{metric.name}, {'more' if metric.kind.greater_is_better else 'less'} is better{bound}"),
        ("numbers it sees", ", ".join(spec.features.numeric)),
        ("categories it sees", ", ".join(spec.features.categorical)),
        *facts.stated.items(),
    ]
    return _section("What it is", _listed(rows))


def _metrics(facts: Facts) -> str:
    found, name = facts.judgement, said(facts.spec.metric.name)
    if found is None:
        return _section("How good it is", "Its gates were not applied: nothing was measured.")
    spread = f" (95 %: {number(found.spread[0])} to {number(found.spread[1])})" if found.spread else ""
    value = f"{number(found.value) or 'not measured'}{spread}"
    lines = [f"- on {found.rows} holdout rows, none of them trained on: {name} {value}"]
    lines += [
        f"- in training, on {number(facts.trained.metrics.get('train_rows')) or 'its'} rows: {name} {number(value)}"
        for key, value in facts.trained.metrics.items()
        if key == naming.train_metric(facts.spec.metric.name)
    ]
    lines += [
        f"- {check.name}: {said(check.reason)}" for check in found.checks if check.name in ("baseline", "champion")
    ]
    if found.champion_value is None:
        lines.append("- champion: there was none to compare with")
    return _section("How good it is", "\n".join(lines) + _slices(facts, found))


def _slices(facts: Facts, found: Judgement) -> str:
    if not found.slices or not names_slices(facts.spec):
        return ""
    against = {check.name.removeprefix("slice "): check for check in found.checks if check.name.startswith("slice ")}
    rows = [
        (plain(name), value, plain(against[name].reason) if name in against else "there was none")
        for name, value in found.slices.items()
    ]
    return f"\n\n{table(('slice', said(facts.spec.metric.name), 'against the champion'), rows)}"


def _gates(facts: Facts) -> str:
    if facts.judgement is None:
        return ""
    rows = [
        (plain(check.name), MARK[check.status], check.value, check.bound, plain(check.reason))
        for check in told_checks(facts)
    ]
    return _section("Gates", table(("gate", "status", "value", "bound", "reason"), rows))


def _limits(facts: Facts) -> str:
    return _section("Limits", "\n".join(f"- {line}" for line in limits(facts)))


def limits(facts: Facts) -> Iterator[str]:
    """What was not shown, not asked, not seen, or is not watched."""
    spec, tags = facts.spec, facts.version.tags
    for check in told_checks(facts):
        if check.status is not Verdict.PASS:
            word = "not proven" if check.status is Verdict.INCONCLUSIVE else "failed"
            yield f"{word}: {said(check.name)}: {said(check.reason)}"
    asked = [
        ("an absolute bound of the metric", spec.metric.bound),
        ("a limit to over-fitting", spec.gates.overfit),
        ("slices", spec.slices),
    ]
    missing = [name for name, there in asked if not there]
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
        left = [name for name in common(facts.profile, column) if f"{column}={name}" not in judged]
        among = f"; among what it learned from: {said(', '.join(left))}" if left else ""
        least = spec.gates.slice_min_rows
        yield f"values of {said(column)} with fewer than {least} holdout rows were not judged on their own{among}"


def _importance(facts: Facts) -> str:
    found = sorted((facts.importance or {}).items(), key=lambda item: (-item[1], item[0]))[:_TOP]
    if not found:
        return ""
    note = "How much the metric worsens when a column's values are shuffled among rows that it was not trained on."
    heading = "column", f"loss of {said(facts.spec.metric.name)}"
    rows = table(heading, [(plain(name), value) for name, value in found])
    return _section("What it leans on", f"{note}\n\n{rows}")


def _data(facts: Facts) -> str:
    tags = facts.version.tags
    start, end = learned_from(facts)
    rows: list[tuple[str, object]] = [
        ("source", source_name(facts.spec.source)),
        ("window (UTC)", " to ".join(_when(datetime.fromisoformat(at)) for at in (start, end)) if start else None),
        ("rows known then", tags.data_rows),
        ("rows trained on", facts.trained.metrics.get("train_rows")),
        ("rows that judged", facts.judgement.rows if facts.judgement else None),
        ("Delta version", tags.data_version),
        ("digest", tags.data_digest),
    ]
    return _section("Data", _listed(rows))


def source_name(source: object) -> str:
    """The kind of a source, and what it falls back on; never its address, which may hold a password."""
    within = [source_name(part) for part in _parts(source)]
    return type(source).__name__ + (f" ({', '.join(within)})" if within else "")


def _parts(source: object) -> list[object]:
    fields = getattr(type(source), "__dataclass_fields__", {})
    return [part for part in (getattr(source, name) for name in fields) if hasattr(type(part), "fingerprint")]


def _training(facts: Facts) -> str:
    tags, asked = facts.version.tags, facts.asked
    packages = tags.packages
    dirty = ", with changes that were not committed" if tags.git_dirty else ""
    rows: list[tuple[str, object]] = [
        ("trained for", tags.reason),
        ("when (UTC)", _when(asked.at) if asked else None),
        ("came of it", f"{asked.outcome}: {without_slices(facts.spec, asked.reason)}" if asked else None),
        ("parameters", ", ".join(f"{key}={value}" for key, value in facts.trained.params.items())),
        ("seed", tags.seed),
        ("model file", tags.spec_hash),
        ("commit", f"{tags.git_commit}{dirty}" if tags.git_commit else None),
        ("sha256", tags.sha256),
        ("decision", tags.decision_id),
        ("flow run", tags.flow_run),
        ("packages", ", ".join(f"{name} {version}" for name, version in packages.items())),
    ]
    return _section("How it was trained", _listed(rows))


def _production(facts: Facts) -> str:
    rows = [
        (
            _when(begun.at),
            "still" if ended is None else _when(ended.at),
            plain(f"{begun.action} by {describe_actor(begun.by)}: {begun.reason}"),
            ""
            if ended is None
            else plain(f"{ended.action} of version {ended.after} by {describe_actor(ended.by)}: {ended.reason}"),
        )
        for begun, ended in spans(facts)
    ]
    body = table(("from (UTC)", "until", "how it came", "how it went"), rows) if rows else "It was never in production."
    return _section("In production", body)


def _when(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M}"
