"""Predictions as Redis keys: `prefix:id` holds a row's prediction as JSON.

Every batch that contains a row sets its key again. A batch that was half written is therefore completed by writing it
again.
"""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from evergreen import naming
from evergreen.errors import EvergreenError

if TYPE_CHECKING:
    import pyarrow as pa
    from redis import Redis

PROBABILITY = "probability_"
"""Names of the columns of probabilities begin with this; the class follows."""

ROWS = 1_000
"""Keys that are sent at a time."""

_CONNECT_SECONDS = 10
_ANSWER_SECONDS = 60


@dataclass(frozen=True, slots=True)
class KeyDestination:
    """An environment's keys of one Redis database; their prefix follows the `#` of its URL."""

    environment: str
    url: str = field(repr=False)

    @property
    def name(self) -> str:
        """Host, database and prefix."""
        parts = urlsplit(self.url)
        return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}#{parts.fragment}"

    def check(self) -> None:
        """Check that the server answers."""
        with self._connect() as client:
            client.ping()

    def write(self, _batch: str, _schema: pa.Schema, rows: Iterator[pa.Table]) -> None:
        """Set one key a row."""
        prefix = urlsplit(self.url).fragment
        with self._connect() as client:
            for chunk in rows:
                for batch in chunk.to_batches(max_chunksize=ROWS):
                    client.mset(
                        {
                            naming.redis_key(self.environment, prefix, row["id"]): _to_json(row)
                            for row in batch.to_pylist()
                        }
                    )

    @contextlib.contextmanager
    def _connect(self) -> Iterator[Redis]:
        """A client; an error while it is open becomes one line, without the URL."""
        if not urlsplit(self.url).fragment:
            raise EvergreenError(
                "The destination's URL does not say how the keys begin.",
                "Add a prefix: redis://host:6379/0#bike_demand",
            )
        try:
            import redis
        except ImportError:
            raise EvergreenError(
                "Redis keys need the redis extra, which is not installed.", 'Run: pip install ".[redis]"'
            ) from None
        try:
            with redis.Redis.from_url(
                self.url.partition("#")[0],
                socket_connect_timeout=_CONNECT_SECONDS,
                socket_timeout=_ANSWER_SECONDS,
            ) as client:
                yield client
        except ValueError:
            raise EvergreenError(
                f"{self.name} is not a Redis URL.", "Give one such as redis://host:6379/0#prefix"
            ) from None
        except redis.exceptions.AuthenticationError:
            raise EvergreenError(f"{self.name} refuses this user and password.", "Check them in the URL.") from None
        except (redis.exceptions.ConnectionError, redis.exceptions.TimeoutError):
            raise EvergreenError(f"{self.name} cannot be reached.", "Start its server, or check the address.") from None
        except redis.exceptions.RedisError as error:
            raise EvergreenError(
                f"{self.name} did not accept the keys ({type(error).__name__}).", "Look into Redis' own log."
            ) from None


def _to_json(row: Mapping[str, Any]) -> str:
    """A row as JSON; a number that is not finite is null."""
    by_class = {name.removeprefix(PROBABILITY): value for name, value in row.items() if name.startswith(PROBABILITY)}
    fields = {
        "prediction": _finite_or_none(row["prediction"]),
        "probability": {name: _finite_or_none(value) for name, value in by_class.items()} or None,
        "version": row["version"],
        "scored_at": row["scored_at"].isoformat(),
    }
    return json.dumps(fields, allow_nan=False)


def _finite_or_none(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value
