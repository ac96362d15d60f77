"""A name is kept as a person's, whatever it says, and told as one."""

from __future__ import annotations

import getpass

import pytest

from evergreen.actor import approval_reason, describe_actor, login_name, person, person_name


@pytest.mark.parametrize(
    ("name", "kept", "told"),
    [
        ("", "person", "a person"),
        (" \n", "person", "a person"),
        (" Ann\n\x1b[31m B ", "person: Ann [31m B", "Ann [31m B, a person"),
        ("retrain", "person: retrain", "retrain, a person"),
        ("person", "person: person", "person, a person"),
        ("x" * 99 + " yz", "person: " + "x" * 99, "x" * 99 + ", a person"),
        ("\ud800\u202eAnn", "person: Ann", "Ann, a person"),
    ],
)
def test_a_name_is_one_line_of_a_person(name: str, kept: str, told: str) -> None:
    """Bounded, printable, and never the word by which Evergreen itself is kept."""
    assert (person(name), describe_actor(person(name))) == (kept, told)
    assert person_name(kept) == kept.removeprefix("person").removeprefix(": ")


@pytest.mark.parametrize("by", ["retrain", "shadow", "script"])
def test_evergreen_itself_has_no_name(by: str) -> None:
    """What moved a version and was no person is told as it was kept."""
    assert (describe_actor(by), person_name(by)) == (by, "")


def test_a_word_names_who_gave_it() -> None:
    """Without a name it was a person."""
    assert approval_reason("fine", person("Ann")) == "approved by Ann: fine"
    assert approval_reason("fine", "person") == "approved by a person: fine"


@pytest.mark.parametrize("error", [KeyError, OSError, ImportError])
def test_a_user_without_a_name(error: type[Exception], monkeypatch: pytest.MonkeyPatch) -> None:
    """Containers run under user ids that the system has no name for: the person is one without a name."""

    def fail() -> str:
        raise error("getpwuid(): uid not found")

    monkeypatch.setattr(getpass, "getuser", fail)
    assert not login_name()
    assert person(login_name()) == "person"
