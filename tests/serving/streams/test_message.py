"""The ids of messages: the same for the same message, others for others, and fit for tables and headers."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from serving.protocols.call import is_request_id
from serving.streams.message import amqp_id, kafka_id, redis_id


@given(st.none() | st.text(max_size=300), st.binary(max_size=50))
def test_an_amqp_message_has_the_id_of_its_sender_or_of_its_body(given_id: str | None, body: bytes) -> None:
    """It is kept as it is where it can be; all else is a digest, which is the same each time."""
    name = amqp_id(given_id, body)
    assert is_request_id(name)
    assert name == amqp_id(given_id, body)
    if is_request_id(given_id):
        assert name == given_id
        assert name == amqp_id(given_id, body + b"x")
    elif not given_id:
        assert name != amqp_id(given_id, body + b"x")


@given(st.text(min_size=1, max_size=200), st.integers(0, 2**40), st.integers(0, 2**20))
def test_a_redis_entry_and_a_kafka_record_have_ids_of_their_place(name: str, first: int, second: int) -> None:
    """Two places have two ids."""
    assert redis_id(name, f"{first}-{second}".encode()) != redis_id(name, f"{first}-{second + 1}".encode())
    assert kafka_id(name, second, first) != kafka_id(name, second, first + 1)
    assert is_request_id(redis_id(name, b"1-0"))
    assert is_request_id(kafka_id(name, second, first))


@given(st.integers(0, 10**12 - 2), st.integers(0, 99))
def test_kafka_ids_rise_with_the_offset(offset: int, partition: int) -> None:
    """As texts: so that they are found by the statistics of files."""
    assert kafka_id("orders", partition, offset) < kafka_id("orders", partition, offset + 1)
