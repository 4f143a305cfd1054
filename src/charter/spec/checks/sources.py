"""Sources: contracts that make sense, expressions over existing columns, keys and references."""

from __future__ import annotations

from datetime import date

from charter.spec.checks.examiner import Examiner, source_kinds
from charter.spec.checks.kinds import OF_TYPE
from charter.spec.document import Path
from charter.spec.functions import Kind
from charter.spec.types import ColumnSpec, SourceSpec

RESERVED = frozenset({"as_of", "age_days"})
"""Names that Charter gives to columns of its own; those beginning with two underscores are its own, too."""


def check_sources(look: Examiner) -> None:
    """Check every source by itself, then the references between them."""
    for name, source in look.spec.data.sources.items():
        path: Path = ("data", "sources", name)
        for column, contract in source.columns.items():
            _check_column((*path, "columns", column), contract, look)
        _check_names(path, source, look)
        _check_expressions(path, source, look)
        _check_references(path, source, look)


def is_reserved(name: str) -> bool:
    """Whether the name is one of Charter's own."""
    return name in RESERVED or name.startswith("__")


def _check_column(path: Path, column: ColumnSpec, look: Examiner) -> None:
    kind = OF_TYPE[column.type]
    if column.format is not None and kind != "time":
        look.fault(
            (*path, "format"), f"is for dates, and the column is {column.type}", "leave it out", at_key=True
        )
    if column.values is not None:
        if column.type != "category":
            look.fault((*path, "values"), f"is for categories, and the column is {column.type}", "use type: category",
                       at_key=True)  # fmt: skip
        elif not column.values:
            look.fault((*path, "values"), "allows nothing", "name the categories", at_key=True)
        for i, value in enumerate(column.values):
            if value in column.values[:i]:
                look.fault((*path, "values", i), f"{value} stands twice", "leave one out")
    bounds = {"min": column.min, "max": column.max}
    for word, bound in bounds.items():
        if bound is None:
            continue
        if kind not in ("number", "time"):
            look.fault(
                (*path, word), f"is for numbers and dates, and the column is {column.type}", at_key=True
            )
        elif (kind == "time") != isinstance(bound, date):
            wanted = "a date" if kind == "time" else "a number"
            look.fault((*path, word), f"must be {wanted}, since the column is {column.type}")
    low, high = column.min, column.max
    both_dates = isinstance(low, date) and isinstance(high, date)
    both_numbers = isinstance(low, float | int) and isinstance(high, float | int)
    if (both_dates or both_numbers) and low > high:  # type: ignore[operator]  # same type by the line above
        look.fault(
            (*path, "min"), f"is {_plain(low)}, larger than max {_plain(high)}: no value fits", "swap them"
        )


def _plain(bound: object) -> str:
    return f"{bound:g}" if isinstance(bound, float) else str(bound)


def _check_names(path: Path, source: SourceSpec, look: Examiner) -> None:
    for old, new in source.rename.items():
        if old in source.columns and old not in source.rename.values():
            look.fault((*path, "columns", old), f"is renamed to {new}", f"name it {new} here", at_key=True)
        if new not in source.columns and look.names_known:
            look.fault((*path, "rename", old), f"{new} is not one of the columns", "declare it under columns")
    doubled = [new for new in source.rename.values() if list(source.rename.values()).count(new) > 1]
    for new in dict.fromkeys(doubled):
        old = [old for old, to in source.rename.items() if to == new][-1]
        look.fault((*path, "rename", old), f"{new} is given to two columns", "choose another name")
    for name in source.derive:
        if name in source.columns:
            look.fault(
                (*path, "derive", name),
                "is already a column of the source",
                "choose another name",
                at_key=True,
            )
    _check_row_number(path, source, look)
    for part, names in (("columns", source.columns), ("derive", source.derive)):
        for name in names:
            if is_reserved(name):
                look.fault(
                    (*path, part, name), "is a name of Charter's own", "choose another name", at_key=True
                )


def _check_row_number(path: Path, source: SourceSpec, look: Examiner) -> None:
    name, path = source.row_number, (*path, "row_number")
    if name is None:
        return
    column = source.columns.get(name)
    if column is None:
        look.fault(path, f"{name} is not one of the columns", f"declare it: {name}: {{type: integer}}")
    elif column.type != "integer":
        look.fault(path, f"{name} is declared as {column.type}", "declare it as integer")
    if name in source.rename.values() or name in source.derive:
        look.fault(path, f"{name} is already the name of another column", "choose another name")
    if source.sql is not None:
        look.fault(path, "is for files, whose rows have an order", "let the query give a key", at_key=True)
    if source.duplicates != "keep":
        look.fault(path, "makes every row another one, and 'duplicates' looks for equal ones",
                   "leave one of the two out", at_key=True)  # fmt: skip


def _check_expressions(path: Path, source: SourceSpec, look: Examiner) -> None:
    before: dict[str, Kind] = {name: OF_TYPE[column.type] for name, column in source.columns.items()}
    later = set(source.derive)
    for name, text in source.derive.items():
        # A derived column may use only those before it, since they are computed in the order of the file.
        ahead = dict.fromkeys(later, "which is derived only further down")
        ahead[name] = "which is the column itself"
        for declared in source.columns:
            ahead.pop(declared, None)
        nowhere = "which the source does not have"
        before[name] = look.expression(
            (*path, "derive", name), text, before, nowhere=nowhere, forbidden=ahead
        )
        later.discard(name)
    kinds = source_kinds(source)
    nowhere = "which the source does not have"
    if source.where is not None:
        look.expression((*path, "where"), source.where, kinds, nowhere=nowhere, wants="truth")
    for name, text in source.rules.items():
        look.expression((*path, "rules", name), text, kinds, nowhere=nowhere, wants="truth")


def _check_references(path: Path, source: SourceSpec, look: Examiner) -> None:
    kinds = source_kinds(source)
    for i, name in enumerate(source.key):
        if look.known((*path, "key", i), name, kinds, "is not a column of the source"):
            _check_key((*path, "key", i), name, source, look)
    if source.time is not None and look.known(
        (*path, "time"), source.time, kinds, "is not a column of the source"
    ):
        check_time((*path, "time"), source.time, kinds, look)
    if source.fresh_within is not None and source.time is None:
        look.fault(
            (*path, "fresh_within"), "needs 'time': which column says when a row became known", at_key=True
        )
    for i, foreign in enumerate(source.foreign_keys):
        at = (*path, "foreign_keys", i)
        here = look.known((*at, "column"), foreign.column, kinds, "is not a column of the source")
        other_name, _, column = foreign.references.partition(".")
        other = look.source((*at, "references"), other_name)
        if other is None:
            continue
        other_kinds = source_kinds(other)
        there = look.known((*at, "references"), column, other_kinds, f"is not a column of {other_name}")
        if (
            here
            and there
            and {kinds[foreign.column], other_kinds[column]} in ({"number", "text"}, {"time", "text"})
        ):
            look.fault(
                (*at, "references"),
                f"is {other_kinds[column]}, but {foreign.column} is {kinds[foreign.column]}",
            )


def _check_key(path: Path, name: str, source: SourceSpec, look: Examiner) -> None:
    column = source.columns.get(name)
    if column is not None and column.type == "float":
        look.fault(path, f"{name} is a float, which cannot identify a row", "use integer, text or category")


def check_time(path: Path, name: str, kinds: dict[str, Kind], look: Examiner) -> None:
    """Note a fault unless the column is a date or a datetime."""
    if kinds[name] not in ("time", "any"):
        look.fault(
            path, f"{name} is not a time", "give it the type date or datetime, with a format where it is text"
        )
