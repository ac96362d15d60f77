"""Addresses: one form for three brokers, secrets in variables, and never in what is shown."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from evergreen.errors import EvergreenError
from evergreen.spec import Serve, Stream
from serving.streams.address import read_address
from serving.streams.run import read_plan


@pytest.mark.parametrize(
    ("text", "broker", "url", "name", "shown"),
    [
        ("amqp://host:5672/#orders", "amqp", "amqp://host:5672/", "orders", "amqp://host:5672/#orders"),
        ("amqp://u:p@host/vhost?heartbeat=9#orders", "amqp", "amqp://u:p@host/vhost?heartbeat=9", "orders",
         "amqp://host/vhost#orders"),
        ("amqps://host#a#b", "amqp", "amqps://host", "a#b", "amqps://host#a#b"),
        ("redis://:secret@host:6379/0#orders", "redis", "redis://:secret@host:6379/0", "orders",
         "redis://host:6379/0#orders"),
        ("rediss://host#orders", "redis", "rediss://host", "orders", "rediss://host#orders"),
        ("kafka://one:9092,two:9092#orders", "kafka", "kafka://one:9092,two:9092", "orders",
         "kafka://one:9092,two:9092#orders"),
    ],
)  # fmt: skip
def test_an_address_is_a_broker_and_a_name(text: str, broker: str, url: str, name: str, shown: str) -> None:
    """The part behind # is the queue, stream or topic; user, password and options are not shown."""
    address = read_address(text, "source")
    assert (address.broker, address.url, address.name) == (broker, url, name)
    assert str(address) == shown
    assert repr(address) == f"Address({shown})"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "is no URL"),
        ("orders", "is no URL"),
        ("http://host/#orders", "begins with 'http'://, which is no broker"),
        ("nats://user:geheim@host#orders", "begins with 'nats'://"),
        ("geheim!://host#orders", "is no URL"),
        ("amqp://host", "does not say which queue"),
        ("amqp://host/#", "does not say which queue"),
        ("amqp://#orders", "names no host"),
        ("redis:///0#orders", "names no host"),
        ("amqp://host:99999/#orders", "a port that is none"),
        ("amqp://host:geheim/#orders", "a port that is none"),
        ("amqp://user:geheim@:5672/#orders", "names no host"),
        ("kafka://user:geheim@host:9092#orders", "which are not passed on to Kafka"),
        ("env:EVERGREEN_TEST_UNSET", "is not set"),
    ],
)
def test_what_is_no_address_is_told_without_its_secrets(text: str, why: str) -> None:
    """One sentence says what is wrong and one what to write."""
    with pytest.raises(EvergreenError) as raised:
        read_address(text, "source")
    assert why in raised.value.what
    assert raised.value.fix
    assert "geheim" not in str(raised.value)


@given(st.text(max_size=40))
def test_any_text_is_an_address_or_refused(text: str) -> None:
    """Nothing else is raised."""
    try:
        address = read_address(f"amqp://{text}", "source")
    except EvergreenError:
        return
    assert address.name


def test_a_variable_holds_an_address(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the name in it, or beside it."""
    monkeypatch.setenv("ORDERS", "amqp://user:geheim@host/")
    assert read_address("env:ORDERS#orders", "source").url == "amqp://user:geheim@host/"
    monkeypatch.setenv("ORDERS", "amqp://user:geheim@host/#orders")
    assert str(read_address("env:ORDERS", "source")) == "amqp://host/#orders"


@pytest.mark.parametrize("field", ["source", "target", "dead_letters"])
def test_a_model_file_holds_no_password(field: str) -> None:
    """It goes into a variable; the section is part of `Serve`."""
    fields = {"source": "env:A", "target": "env:B", "dead_letters": None}
    assert Serve(stream=Stream(**fields)).stream.batch == 1_000  # type: ignore[arg-type, union-attr]
    with pytest.raises(ValidationError, match="holds a password; put it into a variable") as raised:
        Stream(**fields | {field: "amqp://user:geheim@host/#a"})  # type: ignore[arg-type]
    assert "geheim" not in raised.value.errors()[0]["msg"]


def test_what_is_published_is_not_read_again() -> None:
    """A target or dead letters that are the source would never come to an end."""
    where = "redis://host/0#orders"
    with pytest.raises(EvergreenError, match="would be read again"):
        read_plan("toy", Stream(source=where, target=where))
    with pytest.raises(EvergreenError, match="would be read again"):
        read_plan("toy", Stream(source=where, target="redis://host/0#to", dead_letters=where))
