"""A first specification from one's own table: what the table tells is filled in, what only a person knows is asked."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

from charter.core.errors import DataError, UsageError
from charter.core.nearest import advice
from charter.core.settings import Settings
from charter.spec.checks.sources import is_reserved

if TYPE_CHECKING:
    import polars as pl

    from charter.data.draft import DraftColumn
    from charter.data.eda.types import TargetView

_TARGETS = ("target", "label", "class", "outcome", "y")
_POSITIVE = ("yes", "true", "1", "y", "t", "positive")
_TEST_SHARE = 0.2
_FEWEST = 50
_LABELS = 50


@dataclass(frozen=True, slots=True)
class Table:
    """What a table tells a draft.

    Attributes
    ----------
    source, uri
        What the specification calls the table, and where it finds it.
    columns
        Those that can be declared, in the order of the file.
    left_out
        Columns that cannot, with why.
    target, task, positive, classes
        What is predicted.
    key, time
        What identifies a row, and when it was; ``row_number`` where Charter is to number the rows.
    days
        Of a split by time: first day, last training day, first test day, last day.
    exclude
        Columns that are kept from the model, with why.
    """

    source: str
    uri: str
    rows: int
    columns: Mapping[str, DraftColumn]
    left_out: Mapping[str, str]
    target: str
    task: str
    positive: str | None
    classes: tuple[str, ...]
    key: tuple[str, ...]
    row_number: str | None
    time: str | None
    days: tuple[date, date, date, date] | None
    exclude: Mapping[str, str]
    rename: Mapping[str, str]
    said: tuple[str, ...]


def look(
    file: Path,
    folder: Path,
    settings: Settings,
    *,
    target: str | None = None,
    key: Sequence[str] = (),
    time: str | None = None,
) -> Table:
    """Read a table and find out what can be known of it.

    Parameters
    ----------
    folder
        Where the specification will stand; the file is named relative to it.
    target, key, time
        Columns, where the caller knows; else they are looked for.

    Raises
    ------
    UsageError
        When a column that is named is not there, or nothing says what is to be predicted.
    DataError
        When the file cannot be read, or holds nothing to learn from.
    """
    import polars as pl

    from charter.data.draft import draft_column, key_columns
    from charter.data.io.sources import read
    from charter.spec.types import SourceSpec

    if not file.is_file():
        raise UsageError(
            f"{file}: there is no such file", remedy="Name a CSV, Parquet, JSON Lines or Arrow file."
        )
    path = os.path.relpath(file.resolve(), folder.resolve())
    frame = read(SourceSpec(uri=str(file.resolve()), columns={}, duplicates="drop"), file.parent, settings)
    _has_columns(frame, file)
    rename = {name: f"{name.strip('_')}_" for name in frame.columns if is_reserved(name)}
    frame = frame.rename(rename)
    for name in (*filter(None, (target, time)), *key):
        if name not in frame.columns:
            raise UsageError(f"{file}: there is no column {name!r}", remedy=advice(name, frame.columns))
    columns: dict[str, DraftColumn] = {}
    left_out: dict[str, str] = {}
    for series in frame.get_columns():
        column = draft_column(series)
        if column is None:
            plain = series.dtype == pl.String or series.null_count() == series.len()
            left_out[series.name] = "no row has a value" if plain else f"it holds {series.dtype}"
        else:
            columns[series.name] = column
    said: list[str] = []
    target = target or _target(columns, said)
    if target not in columns:
        raise DataError(f"{file}: {target} cannot be predicted: {left_out[target]}")
    view, columns[target] = _as_label(frame, columns[target], said)
    found_key = tuple(key) or key_columns(frame, columns, but=(target,))
    number = None
    if not found_key:
        number = next(n for n in ("row", "row_number", "row_of_the_file") if n not in frame.columns)
        found_key = (number,)
        said.append(
            f"key: no column identifies a row, so its number in the file does ({number}); --key names columns"
        )
    elif not key:
        said.append(f"key: {found_key[0]} (a value in every row, none twice); --key names another")
    time, days = _time(frame, columns, time, but=(target, *found_key), said=said)
    typed = _typed(frame, columns)
    exclude = _kept_out(typed, columns, view, but=(target, *found_key, time))
    word = re.sub(r"\W+", "_", file.name.partition(".")[0], flags=re.ASCII)[:64]
    return Table(
        word if re.match(r"[A-Za-z_]", word) and not is_reserved(word) else "table",
        path if len(Path(path).parts) < 12 else str(file.resolve()),
        frame.height, columns, left_out, target,
        {"number": "regression", "binary": "binary", "classes": "multiclass"}[view.kind],
        _positive(view, said), tuple(sorted(name for name, _ in view.classes)),
        found_key, number, time, days, exclude, rename, tuple(said),
    )  # fmt: skip


def _has_columns(frame: pl.DataFrame, file: Path) -> None:
    if frame.height < _FEWEST:
        raise DataError(
            f"{file}: {frame.height:,} rows are too few to learn from and to test on",
            remedy=f"Bring {_FEWEST} at least; a model worth having takes hundreds.",
        )
    if frame.width == 1 and (found := re.search(r"[;\t|]", frame.columns[0])) is not None:
        raise DataError(
            f"{file}: fields seem to be parted by {found[0]!r}, and a CSV's are parted by commas",
            remedy="Write it anew with commas, or as Parquet.",
        )
    if frame.width < 2:
        raise DataError(
            f"{file}: a single column tells nothing", remedy="A table has a target and what tells it."
        )


def _target(columns: Mapping[str, DraftColumn], said: list[str]) -> str:
    """The column to be predicted, where its name says so."""
    named = [name for name in columns if name.lower() in _TARGETS]
    if len(named) != 1:
        two = [name for name, column in columns.items() if column.distinct == 2]
        hint = f" Columns of two values: {', '.join(two[:8])}." if two else ""
        raise UsageError(
            "which column is to be predicted?",
            remedy=f"Name it: --target {(two or list(columns))[-1]}.{hint}",
        )
    said.append(f"target: {named[0]}, by its name; --target names another")
    return named[0]


def _as_label(frame: pl.DataFrame, column: DraftColumn, said: list[str]) -> tuple[TargetView, DraftColumn]:
    """What kind of target it is, and its column as a label is declared: classes are categories."""
    from charter.data.eda.target import view_target
    from charter.data.summary import summarise

    typed = _typed(frame.select(column.name), {column.name: column})[column.name]
    view = view_target(typed, summarise(typed, None))
    if view.kind == "number" or column.type == "float":
        said.append(f"task: regression, since {column.name} is a number of {column.distinct:,} values")
        view = replace(view, kind="number", classes=())
        return view, replace(column, low=column.low if column.low == 0 else None, high=None)
    if len(view.classes) < 2 or column.distinct > _LABELS:
        what = "one value only" if len(view.classes) < 2 else f"{column.distinct:,} values and is no number"
        raise DataError(f"{column.name} has {what}: it cannot be predicted", remedy="Name another: --target.")
    names = tuple(sorted(name for name, _ in view.classes))
    kind = "binary" if len(names) == 2 else "multiclass"
    said.append(f"task: {kind}, since {column.name} has {len(names)} values: {', '.join(names[:6])}")
    if column.type == "boolean":
        return view, column
    return view, replace(column, type="category", values=names, low=None, high=None, format=None)


def _positive(view: TargetView, said: list[str]) -> str | None:
    if view.kind != "binary":
        return None
    names = [name for name, _ in view.classes]
    found = next((n for n in names if n.lower() in _POSITIVE), None)
    why = "by its name" if found is not None else "the rarer one"
    found = found or names[-1]
    said.append(f"positive: {found}, {why}; data.label.positive names it")
    return found


def _time(
    frame: pl.DataFrame,
    columns: Mapping[str, DraftColumn],
    asked: str | None,
    *,
    but: Sequence[str],
    said: list[str],
) -> tuple[str | None, tuple[date, date, date, date] | None]:
    """The column that says when a row was, and the days at which its split cuts."""
    moments = [n for n, c in columns.items() if c.type in ("date", "datetime") and n not in but]
    if asked is None:
        whole = [n for n in moments if not columns[n].missing and columns[n].sensitivity is None]
        if len(moments) != 1 or not whole:
            if moments:
                said.append(f"split: at random; to split by time, --time {moments[0]} says when a row was")
            return None, None
        asked = whole[0]
        said.append(f"time: {asked}, the only date; the newest rows test. --time names another")
    elif asked not in columns or columns[asked].type not in ("date", "datetime"):
        raise UsageError(f"--time: {asked} holds no dates that can be read", remedy="Name a column of dates.")
    elif columns[asked].missing:
        raise UsageError(
            f"--time: {asked} is missing in {columns[asked].missing:,} rows",
            remedy="Name a column without gaps.",
        )
    import polars as pl

    from charter.data.draft import newest

    days = _typed(frame.select(asked), {asked: columns[asked]})[asked].cast(pl.Date).sort()
    first, last = days[0], newest(days)
    until = days[int((1 - _TEST_SHARE) * (days.len() - 1))]
    later = days.filter(days > until)
    if not later.len() or until == first:
        said.append(f"split: at random, since nearly all rows are of one day ({until})")
        return asked, None
    return asked, (first, until, later[0], last)


def _typed(frame: pl.DataFrame, columns: Mapping[str, DraftColumn]) -> pl.DataFrame:
    """The rows with the types of the draft."""
    import polars as pl

    from charter.data.cast import cast
    from charter.data.draft import NULL_WORDS

    found = []
    for name, column in columns.items():
        read = cast(name, frame.schema[name], column.spec())
        if column.null_words and frame.schema[name] == pl.String:
            read = pl.when(~pl.col(name).str.strip_chars().is_in(NULL_WORDS)).then(read)
        found.append(read.alias(name))
    return frame.select(found)


def _kept_out(
    typed: pl.DataFrame, columns: Mapping[str, DraftColumn], view: TargetView, *, but: Sequence[str | None]
) -> dict[str, str]:
    """Columns that the model must not see, with why."""
    from charter.data.eda.target import leak

    found: dict[str, str] = {}
    for name, column in columns.items():
        if name in but:
            continue
        if column.sensitivity is not None:
            found[name] = column.sensitivity
        elif column.distinct == 1:
            found[name] = "the same in every row"
        elif column.type != "text" and leak(typed, view, name):
            found[name] = f"tells {view.name} by itself: known only afterwards?"
    return found


def taken(table: Table) -> tuple[str, ...]:
    """What was taken from the table or left out, a line each, for the person who goes on."""
    left = [f"{name} is left out: {why}" for name, why in table.left_out.items()]
    kept = [f"{name} is kept from the model: {why}" for name, why in table.exclude.items()]
    return (*table.said, *left, *kept)
