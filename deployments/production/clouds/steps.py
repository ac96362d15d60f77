"""The steps of a plan, and the command-line tools that carry them out."""

from __future__ import annotations

import json
import shlex
import shutil
import subprocess
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from evergreen.errors import EvergreenError

DEADLINE = 3600.0
"""Seconds that a platform may take for a step; it starts machines for it."""
_TOLD, _LONGEST = 4, 600
"""Lines of what a tool said that an error repeats, and characters."""


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a plan.

    Attributes:
        what: it does, as a phrase.
        words: of the command that does it.
        when: it is done; empty for always.
        before: the words of a command whose output it reads.
    """

    what: str
    words: tuple[str, ...]
    when: str = ""
    before: tuple[str, ...] = ()

    @property
    def command(self) -> str:
        """The command for a shell."""
        return " | ".join(shlex.join(words) for words in (self.before, self.words) if words)


class Progress(Protocol):
    """Who is told how it goes."""

    def done(self, line: str) -> None:
        """A step is done: its word, a colon, and what was done."""

    def waiting(self, line: str) -> None:
        """What is being waited for now."""


class FailedStepError(EvergreenError):
    """A step that failed for good: what it began is to be removed again."""


def require_tools(names: Iterable[str]) -> None:
    """Refuse to begin where a command-line tool is missing.

    Raises:
        EvergreenError: it names all that are missing.
    """
    missing = [name for name in names if shutil.which(name) is None]
    if missing:
        raise EvergreenError(
            f"Not installed here: {', '.join(missing)}. Nothing was done.",
            "Install it, or run the commands of the plan where it is: leave out --yes to see them.",
        )


def run_tool(words: Sequence[str], progress: Progress, *, given: str = "", deadline: float = DEADLINE) -> str:
    """Run a command until it ends, and return what it wrote to its standard output.

    Args:
        words: of the command.
        progress: is told how long it has taken.
        given: its standard input.
        deadline: seconds until it is ended.

    Raises:
        FailedStepError: it failed; the message repeats the end of what it said.
        EvergreenError: it took too long.
    """
    began = time.monotonic()
    short = " ".join(words[:4])
    with subprocess.Popen(
        words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        text: str | None = given
        try:
            while True:
                try:
                    told, errors = process.communicate(text, timeout=1.0)
                    break
                except subprocess.TimeoutExpired:
                    text = None
                    taken = time.monotonic() - began
                    progress.waiting(f"{short}, {taken:.0f} s")
                    if taken > deadline:
                        raise EvergreenError(
                            f"{short} has not ended after {deadline:.0f} s; the platform may still be at it.",
                            "Look there, and run the same command again: it continues from what is there.",
                        ) from None
        except BaseException:
            process.terminate()
            raise
    if process.returncode:
        raise FailedStepError(
            f"{short} failed with status {process.returncode}: {_reason(errors)}",
            f"Run it by hand to see more: {shlex.join(words)}",
        )
    return told


def _reason(errors: str) -> str:
    """What a tool said of its failure: from its first line of an error on, or its last lines."""
    lines = [line.strip() for line in errors.splitlines() if line.strip()]
    first = next((place for place, line in enumerate(lines) if line.lower().startswith("error")), None)
    told = lines[-_TOLD:] if first is None else lines[first : first + _TOLD]
    return " ".join(told)[:_LONGEST] or "it said nothing."


def read_json(words: Sequence[str], progress: Progress) -> Any:
    """Run a command that answers with JSON.

    Raises:
        FailedStepError: it failed, or answered with something else.
    """
    told = run_tool(words, progress)
    try:
        return json.loads(told)
    except ValueError:
        raise FailedStepError(
            f"{' '.join(words[:4])} answered with no JSON: {told[:200]!r}.", f"Run it by hand: {shlex.join(words)}"
        ) from None


def require_prediction(answer: Any, of: str) -> None:
    """Refuse an answer that is not one prediction.

    Raises:
        FailedStepError: it names what was answered.
    """
    predictions = answer.get("predictions") if isinstance(answer, dict) else None
    if not isinstance(predictions, list) or len(predictions) != 1:
        raise FailedStepError(
            f"{of} answers the example row with no prediction, but with {json.dumps(answer)[:200]}.",
            "Its log on the platform says why.",
        )


def undo(steps: Sequence[Step], progress: Progress) -> str:
    """Carry out what removes what was begun, the last first; returns what is told of it."""
    told = []
    for step in reversed(steps):
        try:
            run_tool(step.words, progress)
            told.append(f"Done about it: {step.what[0].lower()}{step.what[1:]}.")
        except EvergreenError as error:
            told.append(f"This may be left, and is removed by {step.command}: {error.what}")
    return " ".join(told) or "What was there before is as it was."
