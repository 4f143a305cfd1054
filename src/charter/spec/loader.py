"""Load a specification: every fault at once, in the order of the file, each at its place."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path as File
from typing import Any

from pydantic import ValidationError

from charter.core.errors import Problem, SpecError, UsageError
from charter.spec.check import find
from charter.spec.document import MAX_BYTES, Path, Place, Source, read
from charter.spec.faults import Fault, faults
from charter.spec.shape import stand_in_at
from charter.spec.types import ModelSpec

__all__ = ["Loaded", "Source", "load", "loads"]

_DECIDE_MUCH: frozenset[Path] = frozenset({("train", "task"), ("value",)})
"""Without these too many other words would seem wrong."""
_ROUNDS = 4


@dataclass(frozen=True, slots=True)
class Loaded:
    """A valid specification, and where each of its words stands."""

    spec: ModelSpec
    source: Source


def load(path: File) -> Loaded:
    """Load a specification from a file in UTF-8.

    Raises
    ------
    UsageError
        When there is no such file or it cannot be read.
    SpecError
        When it is no valid specification; lists every fault found.
    """
    path = File(path)
    try:
        if path.is_file() and path.stat().st_size > MAX_BYTES:
            raise SpecError(
                [Problem((), "the file is larger than 1 MB", "is it a specification?", 1, 1)], file=str(path)
            )
        data = path.read_bytes()
    except FileNotFoundError:
        raise UsageError(f"{path}: there is no such file", remedy="`charter init` starts one.") from None
    except OSError as error:
        raise UsageError(f"{path}: cannot be read ({error.strerror})") from error
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        hint = "is it a text file?" if b"\0" in data else "save it as UTF-8"
        problem = Problem((), f"the file is not UTF-8 (byte {error.start})", hint, line, 1)
        raise SpecError([problem], file=str(path)) from None
    return loads(text, str(path))


def loads(text: str, file: str = "model.yaml") -> Loaded:
    """Load a specification from text; ``file`` is the name to show.

    Raises
    ------
    SpecError
        When it is no valid specification; lists every fault found.
    """
    data, source, doubled = read(text, file)
    try:
        spec = _validate(data)
    except ValidationError as error:
        found = faults(error.errors(include_url=False), data)
        further = _beyond(data, found, source)
        raise _refusal([*doubled, *_placed(found, source), *further], source) from None
    problems = [*doubled, *_placed(find(spec), source)]
    if problems:
        raise _refusal(problems, source)
    return Loaded(spec, source)


def kept(content: bytes | str) -> ModelSpec:
    """Read a specification as records and packages keep it: JSON that was checked before it was written.

    Raises
    ------
    UsageError
        When it has a field that this version does not know, or lacks one that it asks for: another Charter wrote it.
    """
    try:
        return ModelSpec.model_validate(json.loads(content))
    except ValidationError as error:
        first = error.errors()[0]
        raise UsageError(
            f"the records hold a specification that this Charter cannot read: {'.'.join(map(str, first['loc']))}: "
            f"{first['msg']}",
            remedy="Another version of Charter wrote it. Use that version here, or `charter apply` in a new folder.",
        ) from error


def _validate(data: dict[str, Any]) -> ModelSpec:
    # JSON's strict mode fits YAML: lists may become tuples and text dates, but "4" is no number and true is not 1.
    return ModelSpec.model_validate_json(json.dumps(data), strict=True)


def _beyond(data: dict[str, Any], found: list[Fault], source: Source) -> list[Problem]:
    """Cross-check what is left when the faults are mended as the hints say, filled in, or left out."""
    if any(fault.path in _DECIDE_MUCH or not fault.path for fault in found):
        return []
    repaired = copy.deepcopy(data)
    renamed: dict[Path, Path] = {}
    names_known = True
    for _ in range(_ROUNDS):  # a mended key may show that its value is wrong, too
        for fault in sorted(found, key=_from_behind, reverse=True):
            mended = _repair(repaired, fault, renamed)
            names_known &= mended or fault.path[0] not in ("data", "features")
        try:
            spec = _validate(repaired)
        except ValidationError as error:
            found = faults(error.errors(include_url=False), repaired)
            if any(not fault.path for fault in found):
                return []
        else:
            # Where a part was left out, a name may only seem unknown.
            return _placed([_back(fault, renamed) for fault in find(spec, names_known=names_known)], source)
    return []


def _from_behind(fault: Fault) -> list[tuple[int, str]]:
    """Order by which later list entries are left out before earlier ones, so that indices stay true."""
    return [(key, "") if isinstance(key, int) else (0, key) for key in fault.path]


def _repair(data: dict[str, Any], fault: Fault, renamed: dict[Path, Path]) -> bool:
    """Repair one fault in place; False when something was made up or left out."""
    parent: Any = data
    try:
        for key in fault.path[:-1]:
            parent = parent[key]
    except (KeyError, IndexError, TypeError):  # a part above was left out before
        return False
    last: Any = fault.path[-1]
    if fault.repair is not None and fault.at_key:
        parent[fault.repair] = parent.pop(last)
        renamed[(*fault.path[:-1], fault.repair)] = fault.path
        return True
    if fault.repair is not None:
        parent[last] = fault.repair
        return True
    stand_in = stand_in_at(fault.path)
    if stand_in is not None:
        parent[last] = stand_in
    elif isinstance(parent, dict):
        parent.pop(last, None)
    elif isinstance(last, int) and last < len(parent):
        del parent[last]
    return False


def _back(fault: Fault, renamed: dict[Path, Path]) -> Fault:
    """Name the place as the file names it."""
    for length in range(len(fault.path), 0, -1):
        if fault.path[:length] in renamed:
            return replace(fault, path=renamed[fault.path[:length]] + fault.path[length:])
    return fault


def _placed(found: Iterable[Fault], source: Source) -> list[Problem]:
    return [Problem(f.path, f.message, f.hint, *_place(f, source)) for f in found]


def _place(fault: Fault, source: Source) -> Place:
    if fault.width:
        return source.inside(fault.path, fault.text, fault.offset, fault.width)
    return source.place(fault.path) if fault.at_key else source.value(fault.path)


def _refusal(problems: list[Problem], source: Source) -> SpecError:
    ordered = sorted(dict.fromkeys(problems), key=lambda p: (p.line, p.column))
    return SpecError(ordered, file=source.file, lines=source.lines)
