"""Who moved a version or said no to it: a person, by name where one was given, or Evergreen itself.

Kept as `person` or `person: NAME`, so that no name is taken for one of Evergreen's own (`retrain`, `shadow`). A name is
what somebody gave, and no proof of who it was.
"""

from __future__ import annotations

PERSON = "person"
LONGEST = 100
_NAMED = f"{PERSON}: "


def tidy(name: str) -> str:
    """A name as one line of printable characters, at most 100 of them; may be empty."""
    readable = "".join(letter if letter.isprintable() else " " for letter in name)
    return " ".join(readable.split())[:LONGEST].rstrip()


def by_person(name: str) -> str:
    """How a person is kept."""
    known = tidy(name)
    return f"{_NAMED}{known}" if known else PERSON


def named(by: str) -> str:
    """The name of the person that was kept; empty where none was given, or where it is Evergreen itself."""
    return by.removeprefix(_NAMED) if by.startswith(_NAMED) else ""


def who(by: str) -> str:
    """Who it was, in words: a person is said to be one, whatever the name; Evergreen's own as it is kept."""
    name = named(by)
    return f"{name}, a person" if name else "a person" if by == PERSON else by


def approved_because(reason: str, by: str) -> str:
    """How an approval is told."""
    return f"approved by {named(by) or 'a person'}: {reason}"


def rejected_because(reason: str, by: str) -> str:
    """How a rejection is told."""
    return f"rejected by {named(by) or 'a person'}: {reason}"
