"""Reading SQLite records with the standard library alone.

An idle ``plan`` only asks for a handful of rows; importing SQLAlchemy would cost it half of its time.
The conformance suite proves that this reader and `database.Database` give the same answers.
"""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from urllib.parse import quote

from charter.core.errors import UsageError
from charter.registry.ports import Row, Store

BUSY_SECONDS = 30.0
_SIDE_BYTES = 65_536
"""What the index of a write-ahead log (32 KB) and its first page may take."""


def sqlite_path(url: str) -> Path | None:
    """File of a SQLite address; None when the address is of another database.

    Raises
    ------
    UsageError
        For a database in memory: records that vanish with the process would prove nothing.
    """
    scheme, _, rest = url.partition("://")
    if scheme.partition("+")[0] != "sqlite":
        return None
    name = rest.removeprefix("/").partition("?")[0]
    if name in ("", ":memory:"):
        raise UsageError(
            f"records address {url!r} keeps nothing",
            remedy="Name a file: sqlite:////absolute/path/records.sqlite",
        )
    return Path(name)


class SqliteReader:
    """Read-only `Store` on a SQLite file at the present version of the schema."""

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            # A writable handle cleans its side files up on closing; query_only keeps our word not to write.
            self._connection = self._connect("rw")
        except sqlite3.OperationalError:
            try:
                self._connection = self._connect("ro")
            except sqlite3.OperationalError as error:
                raise cannot_open(path, error) from error

    def _connect(self, mode: str) -> sqlite3.Connection:
        uri = f"file:{quote(str(self._path))}?mode={mode}"
        connection = sqlite3.connect(uri, uri=True, timeout=BUSY_SECONDS, isolation_level=None)
        try:
            connection.execute("PRAGMA query_only = ON")
            connection.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchall()
        except sqlite3.OperationalError:
            connection.close()
            raise
        except sqlite3.DatabaseError as error:
            connection.close()
            raise not_a_database(self._path, error) from error
        connection.row_factory = sqlite3.Row
        return connection

    @property
    def empty(self) -> bool:
        """Whether the file holds no table at all."""
        return self._connection.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchone() is None

    def revision(self) -> str | None:
        """Version of the schema; None for an empty file."""
        known = self._connection.execute(
            "SELECT 1 FROM sqlite_master WHERE name = 'alembic_version'"
        ).fetchone()
        found = (
            self._connection.execute("SELECT version_num FROM alembic_version").fetchone() if known else None
        )
        return str(found[0]) if found else None

    def rows(
        self, table: str, where: Row | None = None, *, order: Sequence[str] = (), limit: int | None = None
    ) -> list[Row]:
        """See `Store.rows`. Names of tables and columns are constants of our own code, values are bound."""
        where = dict(where or {})
        text = f"SELECT * FROM {table}"  # noqa: S608
        if where:
            text += " WHERE " + " AND ".join(f'"{column}" = ?' for column in where)
        if order:
            text += " ORDER BY " + ", ".join(
                f'"{o.lstrip("-")}" {"DESC" if o[0] == "-" else "ASC"}' for o in order
            )
        if limit is not None:
            text += f" LIMIT {int(limit)}"
        try:
            found = self._connection.execute(text, list(where.values())).fetchall()
        except sqlite3.DatabaseError as error:
            raise not_a_database(self._path, error) from error
        return [dict(row) for row in found]

    def insert(self, table: str, values: Row) -> None:
        """Refuse."""
        raise reading_only(table)

    def update(self, table: str, values: Row, where: Row) -> int:
        """Refuse."""
        raise reading_only(table)

    def transaction(self) -> AbstractContextManager[Store]:
        """Refuse."""
        raise reading_only("records")

    def close(self) -> None:
        """Close the file."""
        self._connection.close()


class NoStore:
    """Records of a workspace that has none yet: nothing to read, nothing may be written."""

    def rows(
        self, table: str, where: Row | None = None, *, order: Sequence[str] = (), limit: int | None = None
    ) -> list[Row]:
        """Return nothing."""
        return []

    def insert(self, table: str, values: Row) -> None:
        """Refuse."""
        raise reading_only(table)

    def update(self, table: str, values: Row, where: Row) -> int:
        """Refuse."""
        raise reading_only(table)

    def transaction(self) -> AbstractContextManager[Store]:
        """Refuse."""
        raise reading_only("records")

    def close(self) -> None:
        """Nothing is held."""


def cannot_open(path: Path, error: BaseException) -> UsageError:
    """Say why records cannot be opened although they are there."""
    if path.is_file() and shutil.disk_usage(path.parent).free < _SIDE_BYTES:
        return UsageError(
            f"{path}: No space left on device, and SQLite needs some kilobytes beside the records even to read them",
            remedy="Make room on the disk and run again; nothing is lost.",
        )
    return UsageError(
        f"records file {path} cannot be opened: {error}", remedy="Check your rights on its folder."
    )


def not_a_database(path: Path, error: BaseException) -> UsageError:
    """Say that a file is damaged or is something else."""
    return UsageError(
        f"records file {path} cannot be read as a SQLite database: {error}",
        remedy="Restore it from a backup, or move it away: `charter apply` starts new records.",
    )


def reading_only(what: str) -> UsageError:
    """Say that nothing may be written here."""
    return UsageError(
        f"{what}: the records were opened for reading only", remedy="Open them with readonly=False."
    )
