"""Predictions as Redis keys: `prefix:id` holds a row's prediction as JSON.

A key is set anew by every batch that has its row, so that a batch which was written half is mended by writing it again.
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
"""How the columns of probabilities begin; the class follows."""
ROWS = 1_000
"""So many keys are sent at a time."""
_CONNECT_SECONDS = 10
_ANSWER_SECONDS = 60


@dataclass(frozen=True, slots=True)
class KeyTarget:
    """Keys of one Redis database, whose prefix is named behind the `#` of its URL."""

    url: str = field(repr=False)

    @property
    def name(self) -> str:
        """Host, database and prefix."""
        parts = urlsplit(self.url)
        return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}#{parts.fragment}"

    def check(self) -> None:
        """Whether the server answers."""
        with self._connected() as client:
            client.ping()

    def write(self, _batch: str, _schema: pa.Schema, rows: Iterator[pa.Table]) -> None:
        """Set one key a row."""
        prefix = urlsplit(self.url).fragment
        with self._connected() as client:
            for chunk in rows:
                for part in chunk.to_batches(max_chunksize=ROWS):
                    told = {naming.redis_key(prefix, row["id"]): _value(row) for row in part.to_pylist()}
                    client.mset(told)

    @contextlib.contextmanager
    def _connected(self) -> Iterator[Redis]:
        """A client; what goes wrong is one line, without the URL."""
        if not urlsplit(self.url).fragment:
            raise EvergreenError(
                "The target's URL does not say how the keys begin.", "Such as redis://host:6379/0#bike_demand"
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
            raise EvergreenError(f"{self.name} is not a Redis URL.", "Such as redis://host:6379/0#prefix") from None
        except redis.exceptions.AuthenticationError:
            raise EvergreenError(f"{self.name} refuses this user and password.", "Check them in the URL.") from None
        except (redis.exceptions.ConnectionError, redis.exceptions.TimeoutError):
            raise EvergreenError(f"{self.name} cannot be reached.", "Start its server, or check the address.") from None
        except redis.exceptions.RedisError as error:
            raise EvergreenError(
                f"{self.name} did not take the keys ({type(error).__name__}).", "Look into Redis' own log."
            ) from None


def _value(row: Mapping[str, Any]) -> str:
    """A row as JSON; what is not finite is null."""
    known = {name.removeprefix(PROBABILITY): value for name, value in row.items() if name.startswith(PROBABILITY)}
    told = {
        "prediction": _finite(row["prediction"]),
        "probability": {name: _finite(value) for name, value in known.items()} or None,
        "version": row["version"],
        "scored_at": row["scored_at"].isoformat(),
    }
    return json.dumps(told, allow_nan=False)


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value
