"""Walk the types of a specification as one walks its file."""

from __future__ import annotations

import ast
import inspect
import json
import sys
import types as python_types
from collections.abc import Iterator
from functools import cache
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, TypeAdapter, ValidationError

from charter.spec import types
from charter.spec.types import ModelSpec

ANY = "*"
"""Stands in a pattern for every key of a mapping and every entry of a list."""


def model_at(path: tuple[str | int, ...]) -> type[BaseModel] | None:
    """Type whose keys may stand at ``path``, or None where there is a value, a list or a free mapping.

    Examples
    --------
    >>> model_at(("data", "sources", "accounts")).__name__
    'SourceSpec'
    """
    kind: Any = ModelSpec
    for key in path:
        model = _model(kind)
        if model is not None:
            if key not in model.model_fields:
                return None
            kind = model.model_fields[str(key)].annotation
        else:
            kind = _entry(kind)
    return _model(kind)


def leaves() -> Iterator[tuple[str, ...]]:
    """Yield the pattern of every value that a specification can hold, `ANY` for free keys and list entries.

    Lists and mappings of plain values are one leaf.

    Examples
    --------
    >>> ("data", "sources", "*", "columns", "*", "type") in set(leaves())
    True
    """
    yield from _leaves(ModelSpec, ())


def homes_of(key: str) -> list[str]:
    """Where a key of this name may stand, as dotted patterns.

    Examples
    --------
    >>> homes_of("folds")
    ['train.split.folds']
    """
    found = {leaf[: i + 1] for leaf in leaves() for i, name in enumerate(leaf) if name == key}
    return sorted(".".join(path) for path in found)


def _leaves(kind: Any, path: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    model = _model(kind)
    if model is not None:
        for name, field in model.model_fields.items():
            yield from _leaves(field.annotation, (*path, name))
        return
    entry = _entry(kind)
    if entry is not None and _model(entry) is not None:
        yield from _leaves(entry, (*path, ANY))
    else:
        yield path


def _model(kind: Any) -> type[BaseModel] | None:
    """The model behind Annotated and ``| None``."""
    kind = _bare(kind)
    return kind if isinstance(kind, type) and issubclass(kind, BaseModel) else None


def _entry(kind: Any) -> Any:
    """Type of a mapping's values or a list's entries, or None."""
    kind = _bare(kind)
    arguments = get_args(kind)
    if get_origin(kind) is dict:
        return arguments[1]
    return arguments[0] if get_origin(kind) is tuple else None


def _bare(kind: Any) -> Any:
    while get_origin(kind) in (Annotated, Union, python_types.UnionType):
        if get_origin(kind) is Annotated:
            kind = get_args(kind)[0]
        else:
            options = [option for option in get_args(kind) if option is not type(None)]
            if len(options) != 1:
                return None
            kind = options[0]
    return kind


_STAND_INS: tuple[Any, ...] = ("x", 0.5, 5, "1d", ">= 0", "2011-03-01", "1 per day", "EUR", False, [], {})


def stand_in_at(path: tuple[str | int, ...]) -> Any:
    """Some valid value for a required field, so that the rest can be checked; None where none is needed or found."""
    model = model_at(path[:-1])
    if model is None or path[-1] not in model.model_fields:
        return None
    field = model.model_fields[str(path[-1])]
    if not field.is_required():
        return None
    kind: Any = Annotated[field.annotation, *field.metadata] if field.metadata else field.annotation
    adapter: TypeAdapter[Any] = TypeAdapter(kind)
    for value in _STAND_INS:
        try:
            adapter.validate_json(json.dumps(value), strict=True)
        except ValidationError:
            continue
        return value
    return None


def choices(model: type[BaseModel], name: str) -> tuple[str, ...]:
    """Allowed words of a field, empty where it is free.

    Examples
    --------
    >>> choices(types.TrainSpec, "task")
    ('binary', 'multiclass', 'regression')
    """
    kind = _bare(model.model_fields[name].annotation)
    return tuple(str(word) for word in get_args(kind)) if get_origin(kind) is Literal else ()


@cache
def descriptions() -> dict[tuple[str, str], str]:
    """What each field means: the text below it in `types`, by type and field.

    Read from the source when needed, since doing so while importing would cost every command its time.

    Examples
    --------
    >>> descriptions()["Today", "rule"].startswith("Executable")
    True
    """
    found: dict[tuple[str, str], str] = {}
    homes = {
        getattr(types, name).__module__ for name in types.__all__ if inspect.isclass(getattr(types, name))
    }
    parsed = (ast.parse(inspect.getsource(sys.modules[home])) for home in sorted(homes))
    for node in (node for tree in parsed for node in tree.body if isinstance(node, ast.ClassDef)):
        for field, below in zip(node.body, node.body[1:], strict=False):
            if (
                isinstance(field, ast.AnnAssign)
                and isinstance(field.target, ast.Name)
                and isinstance(below, ast.Expr)
            ):
                text = below.value.value if isinstance(below.value, ast.Constant) else None
                if isinstance(text, str):
                    found[node.name, field.target.id] = inspect.cleandoc(text)
    return found
