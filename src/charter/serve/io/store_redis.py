"""Features by entity in Redis: one hash per feature set, for servers on several machines."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any
from uuid import uuid4

from charter.core.errors import UsageError
from charter.serve.policy import without_secrets
from charter.serve.ports import Chunk, Found, Freshness, StoreDown
from charter.serve.vectors import moment_of, pack, since_1970, unpack

KEEP_SECONDS = 30 * 86_400
"""Vectors of a feature set that nobody has materialised for so long are removed."""
_META = b"meta"
"""Field of the hash beside the entities: ``as_of,entities``. The fields of entities begin with ``=``."""
_WRITE_ROWS = 1000
_WRITE_SECONDS = 30.0


class RedisStore:
    """`charter.serve.ports.OnlineStore` in a Redis server.

    A feature set is one hash, so that a new materialisation takes the old one's place in one step (``RENAME``) and a
    batch of requests is one ``HMGET``.

    Parameters
    ----------
    url
        ``redis://``, ``rediss://`` or ``unix://``; may hold a password, which no message shows.
    feature_set
        Digest under which vectors are kept and found.
    width
        Numbers of a vector.
    timeout_s
        To connect, and to wait for an answer while serving. Nothing is tried twice: the next request will.

    Raises
    ------
    UsageError
        When the address is none, or the package ``redis`` is not installed.
    """

    def __init__(self, url: str, feature_set: str, width: int, *, timeout_s: float = 0.1) -> None:
        self._key = f"charter:features:{feature_set}".encode()
        self._width = width
        self._shown = without_secrets(url)
        self._reader = _client(url, timeout_s)
        self._writer = _client(url, _WRITE_SECONDS)

    def put_many(self, as_of: datetime, chunks: Iterable[Chunk]) -> Freshness:
        """Write a hash under a name of its own, then let it take the place of the old one."""
        moment, count = since_1970(as_of), 0
        work = self._key + b":" + uuid4().hex.encode()
        with self._told():
            # What a killed writer leaves goes away by itself.
            with self._writer.pipeline(transaction=True) as pipe:
                pipe.hset(work, _META, b"").expire(work, 86_400).execute()
            for entities, vectors in chunks:
                pairs = zip(map(_field, entities), pack(moment, vectors), strict=True)
                while part := dict(itertools.islice(pairs, _WRITE_ROWS)):
                    self._writer.hset(work, mapping=part)
                count += len(entities)
            with self._writer.pipeline(transaction=True) as pipe:
                pipe.hset(work, _META, f"{moment},{count}".encode())
                pipe.expire(work, KEEP_SECONDS)
                if self._writer.exists(self._key):
                    # To rename onto a large hash would hold up every reader while its memory is freed.
                    pipe.rename(self._key, work + b":old")
                pipe.rename(work, self._key)
                pipe.unlink(work + b":old")
                pipe.execute()
        return Freshness(as_of, count)

    def get_many(self, entities: Sequence[str]) -> Found:
        """Look up entities by one command."""
        records: list[bytes | None] = []
        if entities:
            with self._told():
                records = self._reader.hmget(self._key, [_field(e) for e in entities])
        return unpack(records, self._width)

    def freshness(self) -> Freshness | None:
        """Tell what was materialised last."""
        with self._told():
            meta = self._reader.hget(self._key, _META)
        if not meta:
            return None
        moment, _, count = meta.partition(b",")
        return Freshness(moment_of(int(moment)), int(count))

    def close(self) -> None:
        """Close all connections."""
        self._reader.close()
        self._writer.close()

    @contextmanager
    def _told(self) -> Iterator[None]:
        from redis.exceptions import RedisError

        try:
            yield
        except (RedisError, OSError) as error:
            raise StoreDown(
                f"the feature store {self._shown} cannot be used: {type(error).__name__}",
                remedy="Check that the server runs and lets us in.",
            ) from error


def _field(entity: str) -> bytes:
    return b"=" + entity.encode()


def _client(url: str, timeout_s: float) -> Any:
    try:
        import redis
        from redis.backoff import NoBackoff
        from redis.retry import Retry
    except ImportError as error:
        raise UsageError(
            "the feature store in Redis needs the package 'redis'",
            remedy="Install charter-ml[redis], or choose serve.features.store: sqlite.",
        ) from error
    try:
        return redis.Redis.from_url(
            url,
            socket_timeout=timeout_s,
            socket_connect_timeout=timeout_s,
            retry=Retry(NoBackoff(), 0),
            decode_responses=False,
        )
    except ValueError as error:  # its message may quote the address
        raise UsageError(
            f"{without_secrets(url)} is no address of Redis", remedy="Write for example redis://host:6379/0."
        ) from error
