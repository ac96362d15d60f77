"""Run the commands of a case, and compare what they answer with what commit 6801be8 answered.

`make.py` records with it, `test_golden.py` compares.
"""

from __future__ import annotations

import csv
import json
import math
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from typer.testing import CliRunner

from deployments.cli.main import app
from tests.golden.cases import Case, Command
from tests.golden.state import HERE, INPUTS, MADE_AT

ANSWERS = HERE / "answers"
REWORDED: Mapping[str, str] = {
    '"version (\\d+) waits for a person\'s word"': '"Version \\1 waits for a person\'s approval."',
    '"a retraining is called for"': '"A retraining is called for."',
    '"nothing is to be done"': '"Nothing is to be done."',
    '"nothing: it cannot be said yet"': '"Nothing is done: it cannot be said yet."',
    r'"version (\d+) stays; the next window is looked at too"': (
        r'"Version \1 stays champion. The next window is looked at too."'
    ),
    r'"version (\d+) stays; this was the last look"': r'"Version \1 stays champion. This was the last look."',
    r'"version (\d+) is to be champion again"': r'"Version \1 is to be the champion again."',
    '"these rows are not used"': '"These rows are not used."',
    '"nothing of it is used"': '"Nothing of the batch is used."',
    r'"version (\d+) (is|becomes) champion; before: none"': r'"Version \1 becomes the first champion."',
    r'"version (\d+) (is|becomes) champion; before: (version \d+)"': (
        r'"Version \1 becomes the champion, in place of \3."'
    ),
    r'"version (\d+) is champion again; before: (version \d+)"': (
        r'"Version \1 becomes the champion again, in place of \2."'
    ),
    r'"version (\d+) becomes champion"': r'"The champion becomes version \1."',
    r'"version (\d+) is out of the running"': r'"No promotion: version \1 is out of the running."',
    r'"version (\d+) is not promoted; champion stays: (version \d+)"': (
        r'"Version \1 is not promoted. The champion stays \2."'
    ),
    r'"version (\d+) is not promoted, for nothing is proven; champion stays: (version \d+)"': (
        r'"Version \1 is not promoted, because nothing is proven. The champion stays \2."'
    ),
    r'"version (\d+) is not promoted, for nothing is proven; champion stays: none"': (
        r'"Version \1 is not promoted, because nothing is proven. There is no champion."'
    ),
    r'"no retraining"': '"No retraining."',
    r'"no retraining: (.*?)"': r'"No retraining: \1."',
    '"a run is started"': '"A run is started."',
    '"a person is told"': '"A person is told."',
    r'"given up: the alias was not moved to (version \d+)"': (
        r'"The move was given up: the alias was not moved to \1."'
    ),
    '"begun, and its run was killed: the next run finishes it or gives it up"': (
        '"The move was begun, and its run was killed. The next run finishes it or gives it up."'
    ),
    r"UTC: retraining: promoted, version (\d+); ": r"UTC: a retraining made version \1 the champion: ",
    r"UTC: retraining: rejected, version (\d+); ": r"UTC: a retraining made version \1, which was rejected: ",
    r"UTC: retraining: inconclusive, version (\d+); ": (
        r"UTC: a retraining made version \1, of which nothing is proven: "
    ),
    r"UTC: retraining: awaiting-approval, version (\d+); ": (
        r"UTC: a retraining made version \1, which waits for a person's approval: "
    ),
    r"UTC: promoted: version (\d+)( in place of version \d+)?, by retrain: first": (
        r"UTC: version \1 was promoted\2, by retrain: its retraining was the first one"
    ),
    r"UTC: promoted: version (\d+)( in place of version \d+)?, by retrain: schedule": (
        r"UTC: version \1 was promoted\2, by retrain: its retraining was started by the schedule"
    ),
    r"UTC: promoted: version (\d+)( in place of version \d+)?, by retrain: ": (
        r"UTC: version \1 was promoted\2, by retrain: its retraining was started for "
    ),
    r"UTC: promoted: version (\d+)( in place of version \d+)?, by ": r"UTC: version \1 was promoted\2, by ",
    r"UTC: rolled back to version (\d+)( in place of version \d+)?, by ": r"UTC: version \1 is champion again\2, by ",
    r"UTC: did it help: (\w+); ": r"UTC: the check of the promotion says \1: ",
    r"UTC: the move to version (\d+) was begun: aborted": r"UTC: the promotion of version \1 was begun and given up",
    r"UTC: the move to version (\d+) was begun: unfinished": (
        r"UTC: the promotion of version \1 was begun and not finished"
    ),
    "UTC: held back: ": "UTC: it was held back: ",
    "UTC: reconciled: ": "UTC: it was taken up again: ",
}
"""Regular expressions of recorded sentences, and the sentence that takes their place.

Add a pair here when a sentence that the code composes for each answer (such as `decided` of `why`) gets other words. A
sentence that was stored, such as a decision's reason, is never reworded.
"""
REWORDED_BY_RUNS: Mapping[str, str] = {"1 required tags are set": "1 required tag is set"}
"""The same for sentences that a run composes and stores: for the cases that run a flow only."""
ADDED = {"explanation", "cpu_seconds"}
"""Fields that answers have had only since; where one is there, the recorded answer need not have it."""
SURROUNDINGS = {"git commit", "machine", "python"} | set(
    "scikit-learn scipy pandas numpy mlflow evidently prefect deltalake skops".split()
)
"""Differences that `rebuild` reports and that follow from where the test runs; they are not compared."""

_VOLATILE = "differs in each run"

Answer = dict[str, Any]


def ask(case: Case, home: Path) -> list[Answer]:
    """Run a case on a copy of the state; `home` is `EVERGREEN_HOME` and the working folder."""
    case.before(home)
    return [_ask(command, home) for command in case.commands]


def record(case: Case, answers: Sequence[Answer]) -> None:
    """Keep answers as the right ones."""
    ANSWERS.mkdir(exist_ok=True)
    (ANSWERS / f"{case.name}.json").write_text(json.dumps(answers, indent=1, sort_keys=True) + "\n")


def differences(case: Case, answers: Sequence[Answer]) -> list[str]:
    """One line for each place where an answer is not the recorded one."""
    text = (ANSWERS / f"{case.name}.json").read_text()
    reworded = {**REWORDED, **(REWORDED_BY_RUNS if case.flows else {})}
    for sentence, replacement in reworded.items():
        text = re.sub(sentence, replacement, text)
    # A link to a report leads into the home of now; that version's led to where the report was made.
    text = text.replace(f"{MADE_AT}/reports/", "HOME/reports/")
    recorded = {answer["command"]: answer for answer in json.loads(text)}
    lines = []
    for answer in answers:
        command = answer["command"]
        lines += [f"{command}: {line}" for line in _compare(recorded[command], answer, "", close=case.flows)]
    return lines


def _ask(command: Command, home: Path) -> Answer:
    words = [word.replace("INPUTS", str(INPUTS)) for word in shlex.split(command.words)]
    result = CliRunner().invoke(app, [*words, "--json"])
    if not result.stdout.strip():
        raise AssertionError(f"{command.words} answered nothing: {result.output}") from result.exception
    rows = _rows(home / command.file, stored=command.stored_rows) if command.file else []
    told = _comparable(json.loads(result.stdout), command, home)
    return {"command": command.words, "status": result.exit_code, "told": told, "rows": rows}


def _rows(file: Path, *, stored: bool) -> list[str]:
    """The rows of a CSV file of predictions, as text."""
    volatile = {} if stored else {"run_id": _VOLATILE, "scored_at": _VOLATILE}
    with file.open(newline="") as handle:
        rows = [row | volatile for row in csv.DictReader(handle)]
    return [", ".join(f"{name} {value}" for name, value in row.items()) for row in rows]


def _comparable(told: Any, command: Command, home: Path) -> Any:
    """An answer without what differs in each run, or follows from where the test runs."""
    for path in command.volatile:
        *parents, last = path.split(".")
        part = told
        for name in parents:
            part = _inside(part, name)
        if isinstance(part, dict) and part.get(last) is not None:
            part[last] = _VOLATILE
    if command.words.startswith("rebuild") and "differences" in told:
        told["differences"] = [one for one in told["differences"] if not _follows_from_here(one)]
    return json.loads(json.dumps(told).replace(json.dumps(str(home))[1:-1], "HOME"))


def _follows_from_here(difference: Mapping[str, str]) -> bool:
    """Whether a difference comes from where the test runs: another processor adds floats in another order."""
    if difference["name"] in SURROUNDINGS:
        return True
    try:
        then, now = float(difference["then"]), float(difference["now"])
    except ValueError:
        return False
    return difference["name"].startswith("search at") and math.isclose(then, now, rel_tol=1e-12)


def _inside(part: Any, name: str) -> Any:
    """A field of an object; of a list, the element of this index or name."""
    if isinstance(part, dict):
        return part[name]
    if name.lstrip("-").isdigit():
        return part[int(name)]
    return next((one for one in part if one["name"] == name), None)


def _compare(then: Any, now: Any, place: str, *, close: bool) -> Iterator[str]:
    if isinstance(then, dict) and isinstance(now, dict):
        for name in sorted({*then, *now}):
            if name in then and name in now:
                yield from _compare(then[name], now[name], f"{place}.{name}", close=close)
            elif name in then or name not in ADDED:
                yield f"{place}.{name} {'is new' if name in now else 'is gone'}"
    elif isinstance(then, list) and isinstance(now, list):
        if len(then) != len(now):
            yield f"{place} had {len(then)} elements and has {len(now)}"
        for number, (one, other) in enumerate(zip(then, now, strict=False)):
            yield from _compare(one, other, f"{place}.{number}", close=close)
    elif type(then) is not type(now) or (then != now and not (close and _is_close(then, now))):
        yield f"{place} was {then!r} and is {now!r}"


def _is_close(then: Any, now: Any) -> bool:
    return isinstance(then, float) and math.isclose(then, now, rel_tol=1e-9, abs_tol=1e-12)
