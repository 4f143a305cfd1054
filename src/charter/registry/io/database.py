"""Records in SQLite or PostgreSQL through SQLAlchemy Core.

One writer at a time: a write transaction begins with ``BEGIN IMMEDIATE`` (SQLite) or an advisory lock
(PostgreSQL), so that "read the last number, add the next" is safe between processes.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, exc, insert, make_url, select, text, update

from charter.core.errors import Busy, CharterError, UsageError
from charter.registry.io import schema
from charter.registry.io.sqlite import BUSY_SECONDS, not_a_database, reading_only, sqlite_path
from charter.registry.io.tables import METADATA
from charter.registry.ports import Row, Store

WRITER_LOCK = 0x43_68_61_72  # "Char": our advisory lock within a PostgreSQL database


class Database:
    """Read-write `Store`."""

    def __init__(
        self, engine: Engine, path: Path | None, *, readonly: bool = False, wait_seconds: float | None = None
    ) -> None:
        self._engine = engine
        self._path = path
        self._readonly = readonly
        self._wait = wait_seconds

    @classmethod
    def connect(cls, url: str, wait_seconds: float | None = None) -> Database:
        """Connect, and bring the schema to the present version if it is older or not there.

        Parameters
        ----------
        wait_seconds
            How long to wait for another process that writes; None is half a minute.

        Raises
        ------
        UsageError
            When the address is malformed, nobody answers there, or a newer Charter wrote the records.
        """
        path = sqlite_path(url)
        database = cls(_engine(url, path, wait_seconds), path, wait_seconds=wait_seconds)
        try:
            with database._told():
                found = database._revision()
                if found != schema.HEAD:
                    schema.refuse_newer(found)
                    database._migrate()
        except BaseException:  # interrupted, too, no connection may stay open
            database.close()
            raise
        return database

    @classmethod
    def look(cls, url: str) -> Database | None:
        """Connect for reading only, changing nothing; None when there are no records yet.

        Raises
        ------
        UsageError
            As `connect`, and when the records must first be brought to the present version.
        """
        path = sqlite_path(url)
        database = cls(_engine(url, path), path, readonly=True)
        try:
            with database._told():
                found = database._revision()
            if found is None:
                database.close()
                return None
            schema.refuse_newer(found)
            schema.refuse_older(found)
        except BaseException:  # interrupted, too, no connection may stay open
            database.close()
            raise
        return database

    def rows(
        self, table: str, where: Row | None = None, *, order: Sequence[str] = (), limit: int | None = None
    ) -> list[Row]:
        """See `Store.rows`."""
        with self._told(), self._engine.connect() as connection:
            return _rows(connection, table, where, order, limit)

    def insert(self, table: str, values: Row) -> None:
        """See `Store.insert`."""
        with self.transaction() as store:
            store.insert(table, values)

    def update(self, table: str, values: Row, where: Row) -> int:
        """See `Store.update`."""
        with self.transaction() as store:
            return store.update(table, values, where)

    @contextmanager
    def transaction(self) -> Iterator[Store]:
        """See `Store.transaction`.

        Raises
        ------
        Busy
            When another process holds the records for longer than half a minute.
        UsageError
            When the records were opened for reading only.
        """
        if self._readonly:
            raise reading_only("records")
        with self._told(), self._engine.connect() as connection, connection.begin():
            self._lock(connection)
            yield _Transaction(connection)

    def close(self) -> None:
        """Close all connections."""
        self._engine.dispose()

    def _lock(self, connection: Connection) -> None:
        if self._path is not None:
            connection.exec_driver_sql("BEGIN IMMEDIATE")
        else:
            wait = BUSY_SECONDS if self._wait is None else self._wait
            limit = {"limit": f"{int(wait * 1000)}ms"}
            connection.execute(text("SELECT set_config('lock_timeout', :limit, true)"), limit)
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": WRITER_LOCK})

    def _revision(self) -> str | None:
        with self._engine.connect() as connection:
            return schema.revision(connection)

    def _migrate(self) -> None:
        if self._path is not None:
            _write_ahead(self._engine)
        with self._engine.connect() as connection, connection.begin():
            self._lock(connection)
            if schema.revision(connection) != schema.HEAD:  # another process may have been faster
                schema.upgrade(connection)

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Turn the database's own errors into ours, which say what to do."""
        try:
            yield
        except exc.OperationalError as error:
            reason = str(error.orig).strip().splitlines()[0]
            if any(word in reason for word in ("locked", "busy", "lock timeout")):
                raise Busy(
                    f"records {self._where()} are held by another process",
                    remedy="Wait for it to end, then try again.",
                ) from error
            raise UsageError(
                f"records {self._where()} cannot be used: {reason}",
                remedy="Check the address (CHARTER_RECORDS_URL), the rights on the folder, the space on the disk.",
            ) from error
        except exc.IntegrityError as error:
            raise CharterError(
                f"records {self._where()} refuse an inconsistent entry: {error.orig}"
            ) from error
        except exc.DatabaseError as error:
            if self._path is not None and any(sign in str(error) for sign in ("not a database", "malformed")):
                raise not_a_database(self._path, error.orig or error) from error
            raise

    def _where(self) -> str:
        if self._path is not None:
            return str(self._path)
        # What stands after "?" may be a password too, which SQLAlchemy shows.
        return self._engine.url.set(query={}).render_as_string(hide_password=True)


class _Transaction:
    """A `Store` bound to one open write transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def rows(
        self, table: str, where: Row | None = None, *, order: Sequence[str] = (), limit: int | None = None
    ) -> list[Row]:
        return _rows(self._connection, table, where, order, limit)

    def insert(self, table: str, values: Row) -> None:
        self._connection.execute(insert(METADATA.tables[table]).values(dict(values)))

    def update(self, table: str, values: Row, where: Row) -> int:
        target = METADATA.tables[table]
        statement = update(target).values(dict(values)).where(*(target.c[k] == v for k, v in where.items()))
        return self._connection.execute(statement).rowcount

    @contextmanager
    def transaction(self) -> Iterator[Store]:
        yield self

    def close(self) -> None:
        """Whoever began the transaction ends it."""


def _rows(
    connection: Connection, table: str, where: Row | None, order: Sequence[str], limit: int | None
) -> list[Row]:
    target = METADATA.tables[table]
    statement = select(target).where(*(target.c[k] == v for k, v in (where or {}).items()))
    for name in order:
        column = target.c[name.lstrip("-")]
        statement = statement.order_by(column.desc() if name[0] == "-" else column)
    if limit is not None:
        statement = statement.limit(limit)
    return [dict(row) for row in connection.execute(statement).mappings()]


def _engine(url: str, path: Path | None, wait_seconds: float | None = None) -> Engine:
    wait = BUSY_SECONDS if wait_seconds is None else wait_seconds
    try:
        address = make_url(url)
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            engine = create_engine(address, connect_args={"timeout": wait})
            event.listen(engine, "connect", _prepare_sqlite)
            return engine
        if address.get_backend_name() in ("postgresql", "postgres"):
            within = {"connect_timeout": max(math.ceil(wait), 2)}
            address = address.set(drivername="postgresql+psycopg")
            return create_engine(address, pool_pre_ping=True, connect_args=within)
    except (exc.ArgumentError, ValueError) as error:
        raise UsageError(
            "the records address cannot be read",  # not shown: it may hold a password
            remedy="Write sqlite:////absolute/path or postgresql://user:password@host/database.",
        ) from error
    raise UsageError(
        f"records cannot be kept in {address.get_backend_name()!r}", remedy="Use sqlite:// or postgresql://."
    )


def _prepare_sqlite(connection: Any, _record: object) -> None:
    connection.isolation_level = (
        None  # we say BEGIN IMMEDIATE ourselves; sqlite3 must not begin anything behind us
    )
    connection.execute("PRAGMA foreign_keys = ON")
    # Durable at every commit: the audit's anchor, written after it, must never be ahead of the database.
    connection.execute("PRAGMA synchronous = FULL")


def _write_ahead(engine: Engine) -> None:
    """Switch to write-ahead logging. Switching needs the file alone and does not wait, so we do."""
    deadline = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            with engine.connect() as connection:
                connection.exec_driver_sql("PRAGMA journal_mode = WAL").fetchall()
            return
        except exc.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > deadline:
                raise
            time.sleep(0.02)
