"""What a person asks of batch scoring, in words of the command line, understood before anything is read."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from charter.core.errors import UsageError
from charter.flow.cluster import refuse_unknown

_ADDRESS = re.compile(r"^[A-Za-z][A-Za-z0-9+.-]+://")
_MODEL = re.compile(r"(?P<name>[a-z][a-z0-9-]*)(@(?P<which>champion|v[1-9][0-9]*))?")
_ENDINGS = {".parquet": "parquet", ".pq": "parquet", ".csv": "csv"}


@dataclass(frozen=True, slots=True)
class ScoreRequest:
    """A job as it is asked for.

    Attributes
    ----------
    source, target
        A file, a folder, or the address of a database with ``#table``.
    query
        What to ask a database instead of a whole table.
    model
        ``NAME``, ``NAME@champion`` or ``NAME@v3``; None is this workspace's model as released.
    keep
        Columns of the source that stand in the output beside the key.
    as_of
        Moment for rows of entities that bring none, ISO; None is now.
    max_rejected
        Rows, or a share such as ``1%``, that may be rejected; None rejects as many as there are.
    engine
        ``local`` or ``ray``.
    replace
        Whether a target that is there may be replaced.
    restart
        Whether what an earlier attempt left is thrown away.
    """

    source: str
    target: str
    query: str | None = None
    model: str | None = None
    engine: str = "local"
    workers: int | None = None
    rank: bool = False
    bands: bool = False
    explain: bool = False
    warnings: bool = False
    keep: tuple[str, ...] = ()
    as_of: str | None = None
    max_rejected: str | None = None
    replace: bool = False
    restart: bool = False

    def __post_init__(self) -> None:
        refuse_unknown(self.engine)


@dataclass(frozen=True, slots=True)
class Place:
    """Where rows come from or go to.

    Attributes
    ----------
    kind
        ``parquet``, ``csv``, ``folder`` or ``sql``.
    path
        Absolute; None for a database.
    url, table
        Of a database, as given: ``${NAME}`` is not yet replaced, so no secret stands here that was kept out.
    """

    kind: str
    path: Path | None = None
    url: str | None = None
    table: str | None = None

    @property
    def shown(self) -> str:
        """For people and records: without a password."""
        if self.path is not None:
            return str(self.path)
        hidden = re.sub(r"(://[^:/@]*):[^@]*@", r"\1:***@", self.url or "")
        return f"{hidden}#{self.table}" if self.table else hidden


def place(text: str, *, target: bool) -> Place:
    """Understand a source or a target by its form; nothing is looked at but whether there is a folder.

    Raises
    ------
    UsageError
        When the form tells no format.

    Examples
    --------
    >>> place("scores.csv", target=True).kind, place("sqlite:///a.db#scores", target=True).table
    ('csv', 'scores')
    """
    if _ADDRESS.match(text):
        url, _, table = text.partition("#")
        if url.startswith("file://"):
            return place(url.removeprefix("file://"), target=target)
        if target and not table:
            raise UsageError(
                f"{text} names no table", remedy="Write the address as sqlite:///scores.db#table."
            )
        return Place("sql", url=url, table=table or None)
    path = Path(text).expanduser().absolute()
    if text.endswith("/") or path.is_dir() or (target and not path.suffix):
        return Place("folder", path)
    kind = _ENDINGS.get(path.suffix.lower())
    if kind is None:
        raise UsageError(
            f"{text}: the name tells no format that batch scoring knows",
            remedy="Name a .parquet or .csv file, a folder of them, or a database such as sqlite:///scores.db#table.",
        )
    return Place(kind, path)


def refuse_same(source: Place, target: Place) -> None:
    """Refuse to write over what is read: a plan of prices would be gone, and the job could not be repeated.

    Raises
    ------
    UsageError
        When both are one file, one folder or one table, by whatever name.
    """
    if source.path is not None and target.path is not None:
        same = source.path.resolve() == target.path.resolve() or (
            source.path.exists() and target.path.exists() and source.path.samefile(target.path)
        )
    else:
        same = source.table is not None and (source.url, source.table) == (target.url, target.table)
    if same:
        raise UsageError(
            f"{target.shown} is the source; scores would be written over the rows that they are of",
            remedy="Name another target with --to.",
        )


def which_version(model: str | None, name: str) -> int | None:
    """Number of the version that is asked for; None is the one that is released.

    Raises
    ------
    UsageError
        When the text is no model, or another workspace's.
    """
    if model is None:
        return None
    match = _MODEL.fullmatch(model)
    if match is None:
        raise UsageError(
            f"--model {model!r} is not understood", remedy=f"Write {name}@champion or {name}@v3."
        )
    if match["name"] != name:
        raise UsageError(
            f"--model {match['name']}: the model of this folder is {name}",
            remedy="Name the folder of the other model with --in.",
        )
    return None if match["which"] in (None, "champion") else int(match["which"][1:])


def rejection_limit(text: str | None, read: int) -> float | None:
    """Rows that may be rejected of ``read`` rows.

    Raises
    ------
    UsageError
        When the text is neither a number of rows nor a share.

    Examples
    --------
    >>> rejection_limit("10", 1000), rejection_limit("1.5%", 1000), rejection_limit(None, 1000)
    (10.0, 15.0, None)
    """
    if text is None:
        return None
    match = re.fullmatch(r"(\d+)|(\d+(?:\.\d+)?)\s*%", text.strip())
    if match is None:
        raise UsageError(
            f"--max-rejected {text!r} is not understood", remedy="Write a number of rows, or 1%."
        )
    return float(match[1]) if match[1] else float(match[2]) / 100 * read


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Name what differs between two identities, in words."""
    return [
        f"{key.replace('_', ' ')} {_brief(before.get(key))}, now {_brief(now.get(key))}"
        for key in sorted({*before, *now})
        if before.get(key) != now.get(key)
    ]


def _brief(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 40 else f"{text[:12]}..."
