"""What a sound specification leaves open or passes over: no fault, but its author should know of it."""

from __future__ import annotations

from collections.abc import Iterator

from charter.core.text import some
from charter.spec.document import Path
from charter.spec.expression import ExpressionError, parse
from charter.spec.faults import Fault
from charter.spec.parts import dotted, flatten
from charter.spec.scope import Scope, scope
from charter.spec.types import ModelSpec

UNWRITTEN = "To be written"
"""How a text begins that only a person can write and nobody has: ``charter init --data`` drafts such."""
_OPEN = "is to be written"
_NAMED = 8


def is_written(text: str | None) -> bool:
    """Whether a text says something.

    Examples
    --------
    >>> is_written("One invoice in five is paid late."), is_written("To be written: what goes wrong?")
    (True, False)
    """
    return bool(text) and not str(text).startswith(UNWRITTEN)


def notices(spec: ModelSpec) -> list[Fault]:
    """Name what is written nowhere yet, protected columns that the model sees, columns without a feature, poor units.

    Returns
    -------
    Each with its place and what to do, in no order; the loader places them in the file.
    """
    names = scope(spec)
    return [*_unwritten(spec), *_protected(spec, names), *_unused(spec, names), *_units(spec)]


def _unwritten(spec: ModelSpec) -> Iterator[Fault]:
    columns: dict[Path, list[str]] = {}
    for path, value in flatten(spec):
        for text in value if isinstance(value, list) else [value]:
            if not isinstance(text, str) or is_written(text) or not text:
                continue
            if path[:2] == ("data", "sources") and path[3:4] == ("columns",):
                columns.setdefault(path[:4], []).append(str(path[4]))
            else:
                yield Fault(path, _OPEN, text.removeprefix(UNWRITTEN).lstrip(": "), at_key=True)
            break
    for path, found in columns.items():
        yield Fault(path, f"{_OPEN}, the description of {len(found)}", some(found, _NAMED), at_key=True)


def _protected(spec: ModelSpec, names: Scope) -> Iterator[Fault]:
    """Protected columns that the model sees as they are."""
    source = spec.data.observations.source or ""
    for name in spec.data.protected:
        seen = name in names.candidates and name not in spec.features.exclude
        if seen and source in spec.data.sources and name in spec.data.sources[source].columns:
            hint = f"add {name} to features.exclude, or say in the card why the model must see it"
            path: Path = ("data", "sources", source, "columns", name)
            yield Fault(path, "is protected, and the model sees it", hint, at_key=True)


def _unused(spec: ModelSpec, names: Scope) -> Iterator[Fault]:
    """Columns of text and moments that nothing reads: they cannot be features as they are."""
    observations = spec.data.observations
    source = spec.data.sources.get(observations.source or "")
    if source is None or observations.series:
        return
    read = {*spec.features.exclude, *spec.features.encode, *spec.train.reweigh, spec.train.split.group}
    for text in (*spec.features.rows.values(), *source.derive.values(), *spec.evaluate.slices):
        try:
            read |= set(parse(text).names)
        except ExpressionError:  # a fault that the checks have told
            continue
    for name, column in source.columns.items():
        if name in read or name not in names.candidates:
            continue
        word = '"' + name + '"' if not name.isidentifier() else name
        path: Path = ("data", "sources", observations.source or "", "columns", name)
        if column.type == "text":
            hint = (
                f"encode it (features.encode: {{{name}: hashing}}), take a number of it "
                f"(features.rows: {{length: LENGTH({word})}}), or list it in features.exclude"
            )
            yield Fault(path, "is text, which gives no feature by itself", hint, at_key=True)
        elif column.type in ("date", "datetime"):
            parts = "MONTH", "ISODOW", *(("HOUR",) if column.type == "datetime" else ())
            shown = ", ".join(f"EXTRACT({part} FROM {word})" for part in parts)
            hint = (
                f"take parts of it in features.rows: {shown}, or EXTRACT(EPOCH FROM {word}) for seconds; "
                "or list it in features.exclude"
            )
            yield Fault(path, f"is a {column.type}, which gives no feature by itself", hint, at_key=True)


def _units(spec: ModelSpec) -> Iterator[Fault]:
    """Units that name nobody: rows that share a value of a feature are many, or all of them one."""
    release, observations = spec.release, spec.data.observations
    source = spec.data.sources.get(observations.source or "")
    if source is None or observations.series:
        return
    units: dict[Path, str | None] = {
        ("release", "rollout", "unit"): release.rollout.unit if release.rollout is not None else None,
        ("release", "experiment", "unit"): release.experiment.unit
        if release.experiment is not None
        else None,
        ("serve", "explore", "unit"): spec.serve.explore.unit if spec.serve.explore is not None else None,
    }
    telling = [name for name in observations.key if name in source.columns] or ["COLUMN"]
    hint = (
        f"let requests hold who is meant, such as serve.identifiers: [{', '.join(telling)}], and name that; values "
        "that many share deal out few units, and shift what each version sees"
    )
    for path, name in units.items():
        column = source.columns.get(name or "")
        if name is None or column is None or name in spec.serve.identifiers:
            continue
        few = f"with {len(column.values)} values " if column.values else ""
        yield Fault(path, f"is {name}, a field {few}that the model reads and that names nobody", hint)


def open_text(notice: Fault) -> bool:
    """Whether a notice is of a text that nobody has written."""
    return notice.message.startswith(_OPEN)


def shown(fault: Fault) -> str:
    """One notice in words, with its path.

    Examples
    --------
    >>> shown(Fault(("purpose", "problem"), "is to be written", "what goes wrong?"))
    'purpose.problem is to be written: what goes wrong?'
    """
    return f"{dotted(fault.path)} {fault.message}" + (f": {fault.hint}" if fault.hint else "")
