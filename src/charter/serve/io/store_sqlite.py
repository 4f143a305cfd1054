"""Features by entity in a SQLite file: for one machine, read by all workers while a new set is being written."""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from charter.core.clock import Clock, SystemClock
from charter.serve.ports import Chunk, Found, Freshness, StoreDown
from charter.serve.vectors import moment_of, pack, since_1970, unpack

KEEP_DAYS = 30
"""Vectors of a feature set that nobody has materialised for so long are removed."""
_TABLES = (
    "CREATE TABLE IF NOT EXISTS vectors (feature_set TEXT, entity TEXT, record BLOB NOT NULL,"
    " PRIMARY KEY (feature_set, entity)) WITHOUT ROWID",
    "CREATE TABLE IF NOT EXISTS materialised (feature_set TEXT PRIMARY KEY, as_of INTEGER NOT NULL,"
    " entities INTEGER NOT NULL, written_at INTEGER NOT NULL)",
)


class SqliteStore:
    """`charter.serve.ports.OnlineStore` in one file (write-ahead log: readers never wait for a writer).

    Parameters
    ----------
    path
        The file; made by the first `put_many`, its folder as well. Readers, too, must be allowed to write in that
        folder: SQLite keeps there what they share with the writer.
    feature_set
        Digest under which vectors are kept and found.
    width
        Numbers of a vector.
    timeout_s
        How long a reader waits for the file's lock, which only a recovery after a crash holds.
    """

    def __init__(
        self, path: Path, feature_set: str, width: int, *, timeout_s: float = 0.1, clock: Clock | None = None
    ) -> None:
        self._path, self._feature_set, self._width = path, feature_set, width
        self._timeout_s, self._clock = timeout_s, clock or SystemClock()
        self._reader: sqlite3.Connection | None = None
        self._inode = -1
        self._lock = threading.Lock()

    def put_many(self, as_of: datetime, chunks: Iterable[Chunk]) -> Freshness:
        """Replace all vectors in one transaction; remove feature sets that are long out of use."""
        moment = since_1970(as_of)
        now = since_1970(self._clock.now().replace(tzinfo=None))
        with self._told():
            self._path.parent.mkdir(parents=True, exist_ok=True)
            # Another materialisation may be under way; it is waited for.
            connection = sqlite3.connect(self._path, timeout=60, isolation_level=None)
            try:
                connection.execute("PRAGMA journal_mode = WAL")
                connection.execute("PRAGMA synchronous = NORMAL")
                connection.execute("BEGIN IMMEDIATE")
                for table in _TABLES:
                    connection.execute(table)
                connection.execute("DELETE FROM vectors WHERE feature_set = ?", (self._feature_set,))
                _forget(connection, now - KEEP_DAYS * 86_400_000_000)
                count = 0
                for entities, vectors in chunks:
                    rows = (
                        (self._feature_set, entity, record)
                        for entity, record in zip(entities, pack(moment, vectors), strict=True)
                    )
                    connection.executemany("INSERT INTO vectors VALUES (?, ?, ?)", rows)
                    count += len(entities)
                connection.execute(
                    "INSERT OR REPLACE INTO materialised VALUES (?, ?, ?, ?)",
                    (self._feature_set, moment, count, now),
                )
                connection.execute("COMMIT")
            finally:
                connection.close()  # without COMMIT nothing has happened
        return Freshness(as_of, count)

    def get_many(self, entities: Sequence[str]) -> Found:
        """Look up entities by one query."""
        found: dict[str, bytes] = {}
        with self._reading() as connection:
            if connection is not None:
                found = dict(
                    connection.execute(
                        "SELECT entity, record FROM vectors"
                        " WHERE feature_set = ? AND entity IN (SELECT value FROM json_each(?))",
                        (self._feature_set, json.dumps(list(entities))),
                    )
                )
        return unpack([found.get(entity) for entity in entities], self._width)

    def freshness(self) -> Freshness | None:
        """Tell what was materialised last."""
        with self._reading() as connection:
            row = (
                connection
                and connection.execute(
                    "SELECT as_of, entities FROM materialised WHERE feature_set = ?", (self._feature_set,)
                ).fetchone()
            )
        return Freshness(moment_of(row[0]), row[1]) if row else None

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._drop()

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection | None]:
        """Lend the one connection for reading; None while there is no file, or nothing in it."""
        with self._lock, self._told():
            try:
                yield self._connected()
            except sqlite3.Error:
                self._drop()  # the next reader begins anew
                raise

    def _connected(self) -> sqlite3.Connection | None:
        try:
            inode = self._path.stat().st_ino
        except FileNotFoundError:
            self._drop()
            return None
        if self._reader is None or inode != self._inode:  # the file may have been put there anew
            self._drop()
            # One connection, used by one thread at a time.
            reader = sqlite3.connect(
                f"{self._path.absolute().as_uri()}?mode=ro", uri=True, timeout=self._timeout_s,
                isolation_level=None, check_same_thread=False,
            )  # fmt: skip
            tables = reader.execute(
                "SELECT count(*) FROM sqlite_master WHERE name = 'materialised'"
            ).fetchone()
            if not tables[0]:
                reader.close()
                return None
            self._reader, self._inode = reader, inode
        return self._reader

    def _drop(self) -> None:
        if self._reader is not None:
            self._reader.close()
            self._reader = None

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            raise StoreDown(
                f"the feature store {self._path} cannot be used: {error}",
                remedy="Check the file and your rights on it, or remove it and run `charter features materialise`.",
            ) from error


def _forget(connection: sqlite3.Connection, before: int) -> None:
    """Remove the feature sets that were last materialised before a moment."""
    old = "SELECT feature_set FROM materialised WHERE written_at < ?"
    connection.execute(f"DELETE FROM vectors WHERE feature_set IN ({old})", (before,))  # noqa: S608 - constants
    connection.execute("DELETE FROM materialised WHERE written_at < ?", (before,))
