"""Who moved a version or rejected it: a person, with a name if one was given, or Evergreen itself.

Stored as `person` or `person: NAME`, so that no person's name can be mistaken for one of Evergreen's own actors
(`retrain`, `shadow`). A name is what somebody typed; it proves nothing.
"""

from __future__ import annotations

import getpass

PERSON = "person"
MAX_NAME_LENGTH = 100
_NAMED = f"{PERSON}: "


def clean_name(name: str) -> str:
    """Reduce a name to one line of at most 100 printable characters; the result may be empty."""
    readable = "".join(letter if letter.isprintable() else " " for letter in name)
    return " ".join(readable.split())[:MAX_NAME_LENGTH].rstrip()


def login_name() -> str:
    """The login name of whoever runs this process; empty where the system does not know it, as in many containers."""
    try:
        return getpass.getuser()
    except (ImportError, KeyError, OSError):
        return ""


def person(name: str) -> str:
    """A person as an actor is stored; `name` may be empty."""
    cleaned = clean_name(name)
    return f"{_NAMED}{cleaned}" if cleaned else PERSON


def person_name(actor: str) -> str:
    """The name of a stored person; empty where none was given, and for Evergreen itself."""
    return actor.removeprefix(_NAMED) if actor.startswith(_NAMED) else ""


def describe_actor(actor: str) -> str:
    """A stored actor as a reader sees it: a person is always called one; Evergreen's own actors keep their names."""
    name = person_name(actor)
    return f"{name}, a person" if name else "a person" if actor == PERSON else actor


def describe_start(reason: str) -> str:
    """What started a retraining, from the reason that was given for it; without one it is `manual`."""
    known = {"manual": "started by hand", "schedule": "started by the schedule", "first": "the first one"}
    if reason in known:
        return known[reason]
    return f"started for {reason}" if reason in ("drift", "performance", "data") else f"started for: {reason}"


def approval_reason(reason: str, actor: str) -> str:
    """The reason of an approval, with who approved."""
    return f"approved by {person_name(actor) or 'a person'}: {reason}"


def rejection_reason(reason: str, actor: str) -> str:
    """The reason of a rejection, with who rejected."""
    return f"rejected by {person_name(actor) or 'a person'}: {reason}"
