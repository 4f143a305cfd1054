"""Say in plain words what pydantic found, one problem per place, with what to write instead."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from charter.spec.document import Path
from charter.spec.shape import choices, homes_of, model_at

_KINDS = {
    "string_type": ("text", ""),
    "int_type": ("a whole number", "for example 5"),
    "int_from_float": ("a whole number", "for example 5"),
    "float_type": ("a number", "for example 0.5"),
    "bool_type": ("true or false", ""),
    "date_type": ("a date", "for example 2011-03-01"),
    "date_parsing": ("a date", "for example 2011-03-01"),
    "date_from_datetime_parsing": ("a date", "for example 2011-03-01"),
    "tuple_type": ("a list", "write [a, b]"),
    "dict_type": ("a mapping of keys to values", "write {key: value}"),
    "model_type": ("a mapping of keys to values", "write {key: value}"),
    "finite_number": ("a finite number", ""),
}
_LIMITS = {
    "greater_than": ("gt", "must be greater than"),
    "greater_than_equal": ("ge", "must be at least"),
    "less_than": ("lt", "must be less than"),
    "less_than_equal": ("le", "must be at most"),
}


@dataclass(frozen=True, slots=True)
class Fault:
    """A problem that is not yet placed.

    Attributes
    ----------
    at_key
        Whether the key (else the value) is to be underlined.
    text, offset, width
        The value as text, and the characters of it to underline; width 0 is the whole value.
    repair
        Key to use instead, or word to use as the value, so that the rest can be checked; None leaves the part out.
    """

    path: Path
    message: str
    hint: str = ""
    at_key: bool = False
    text: str = ""
    offset: int = 0
    width: int = 0
    repair: str | None = None


def faults(errors: Sequence[Mapping[str, Any]], data: Any) -> list[Fault]:
    """Translate the errors of a validation of ``data``.

    Errors at one place (the branches of a union) become one fault.
    """
    by_place: dict[Path, list[Mapping[str, Any]]] = {}
    for error in errors:
        by_place.setdefault(_path(error, data), []).append(error)
    found = [_fault(path, group, data) for path, group in by_place.items()]
    # A key that was only misspelt is not missing, too.
    mended = {
        (*fault.path[:-1], fault.repair) for fault in found if fault.at_key and fault.repair is not None
    }
    return [fault for fault in found if fault.path not in mended]


def nearest(word: str, options: Sequence[str]) -> str | None:
    """The option that ``word`` was most likely meant to be."""
    close = get_close_matches(word, options, n=1, cutoff=0.6)
    if not close:
        lowered = {option.lower(): option for option in options}
        close = [lowered[match] for match in get_close_matches(word.lower(), list(lowered), n=1, cutoff=0.6)]
    return close[0] if close else None


def suggest(word: str, options: Sequence[str], label: str = "allowed", limit: int = 24) -> str:
    """Name the nearest option and the others.

    Examples
    --------
    >>> suggest("flot", ["integer", "float"])
    'did you mean float? others: integer'
    """
    ordered = sorted(set(options))
    if not ordered:
        return f"{label}: nothing"
    close = nearest(word, ordered)
    if close is not None:  # the others are then only a reminder
        ordered = [option for option in ordered if option != close]
        limit = min(limit, 6)
    words = f"{', '.join(ordered[:limit])}{', ...' if len(ordered) > limit else ''}"
    if close is None:
        return f"{label}: {words}"
    return f"did you mean {close}? others: {words}" if ordered else f"did you mean {close}?"


def _path(error: Mapping[str, Any], data: Any) -> Path:
    """Path in the file: pydantic's has names of union branches, too."""
    path: list[str | int] = []
    node = data
    for key in error["loc"]:
        inside = isinstance(node, dict) and key in node
        if inside or (isinstance(node, list) and isinstance(key, int) and 0 <= key < len(node)):
            path.append(key)
            node = node[key]
        elif error["type"] == "missing" and key == error["loc"][-1]:
            path.append(key)
    return tuple(path)


def _fault(path: Path, group: Sequence[Mapping[str, Any]], data: Any) -> Fault:
    error = group[0]
    kind: str = error["type"]
    context: Mapping[str, Any] = error.get("ctx", {})
    if error["loc"] and error["loc"][-1] == "[key]":
        return _key_fault(path, kind, context)
    if kind == "extra_forbidden":
        return _extra(path, data)
    if kind == "missing":
        model = model_at(path[:-1])
        words = choices(model, str(path[-1])) if model is not None and path[-1] in model.model_fields else ()
        return Fault(path, "is missing", f"one of {', '.join(words)}" if words else "", at_key=True)
    if kind == "literal_error":
        options = [part.strip("'") for part in str(context["expected"]).replace(" or ", ", ").split(", ")]
        word = str(error["input"])
        message = f"is {_shown(error['input'])}, which is not allowed"
        return Fault(path, message, suggest(word, options), repair=nearest(word, options))
    if all(e["type"] in _KINDS for e in group):
        return _kind_fault(path, group)
    if kind in _LIMITS:
        limit, words_ = _LIMITS[kind]
        return Fault(path, f"{words_} {_number(context[limit])}, not {_shown(error['input'])}")
    return _text_fault(path, error)


def _kind_fault(path: Path, group: Sequence[Mapping[str, Any]]) -> Fault:
    value = group[0]["input"]
    names = list(dict.fromkeys(_KINDS[e["type"]][0] for e in group))
    if value is None:
        return Fault(
            path,
            f"is empty; it must be {' or '.join(names)}",
            "give it a value or leave the key out",
            at_key=True,
        )
    hint = _KINDS[group[0]["type"]][1]
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if group[0]["type"] == "string_type" and number and _is_requirement(path):
        names = ["a requirement"]
        hint = f'with an operator, in quotes: ">= {_shown(value)}" or "<= {_shown(value)}"'
    elif group[0]["type"] == "string_type" and isinstance(value, int | float):
        hint = f"in quotes it is text: {_quoted(value)}"
    elif isinstance(value, str) and len(group) == 1 and _unquoted(value, group[0]["type"]):
        hint = f"without quotes: {value}"
    elif group[0]["type"] == "model_type" and (model := model_at(path)) is not None:
        hint = f"keys: {', '.join(model.model_fields)}"
    elif names == ["a list"] and isinstance(value, str | int | float):
        hint = f"write [{value}]"
    return Fault(
        path,
        f"must be {' or '.join(names)}, not {_shown(value)}",
        hint,
        at_key=isinstance(value, dict | list),
    )


def _is_requirement(path: Path) -> bool:
    above = path[-2] if len(path) > 1 else ""
    return path[-1] == "require" or above in ("require", "subject_to", "fairness")


def _text_fault(path: Path, error: Mapping[str, Any]) -> Fault:
    kind: str = error["type"]
    if kind == "value_error":
        message, _, hint = str(error["ctx"]["error"]).partition("; ")
        return Fault(path, message, hint, at_key=isinstance(error["input"], dict | list))
    if kind == "string_pattern_mismatch":
        return Fault(path, *_pattern(str(error["ctx"]["pattern"]), _shown(error["input"])))
    if kind in ("too_short", "string_too_short"):
        return Fault(path, "must not be empty", at_key=True)
    if kind in ("too_long", "string_too_long"):
        return Fault(path, f"is longer than {error['ctx']['max_length']}", at_key=kind == "too_long")
    message = str(error["msg"])
    return Fault(path, message[:1].lower() + message[1:], at_key=isinstance(error["input"], dict | list))


def _extra(path: Path, data: Any) -> Fault:
    model = model_at(path[:-1])
    parent = data
    for key in path[:-1]:
        parent = parent[key]
    known = sorted(model.model_fields) if model is not None else []
    place = ".".join(str(key) for key in path[:-1]) or "a specification"
    homes = homes_of(str(path[-1]))
    if 0 < len(homes) <= 2:
        return Fault(path, f"is not a key of {place}", f"it belongs at {' or '.join(homes)}", at_key=True)
    close = nearest(str(path[-1]), known)
    repair = close if close is not None and close not in parent else None
    return Fault(
        path, f"is not a key of {place}", suggest(str(path[-1]), known, "keys"), at_key=True, repair=repair
    )


def _key_fault(path: Path, kind: str, context: Mapping[str, Any]) -> Fault:
    if kind == "string_pattern_mismatch":
        return Fault(path, *_pattern(str(context["pattern"]), "the key"), at_key=True)
    return Fault(path, "must have a key of 1 to 128 characters", at_key=True)


def _pattern(pattern: str, shown: str) -> tuple[str, str]:
    if pattern.startswith("^[a-z]"):
        return f"is {shown}, which is not lower-case words joined by hyphens", "write for example credit-risk"
    if "\\." in pattern:
        return f"is {shown}, which is not source.column", "write for example customers.id"
    if pattern == "^[A-Z]{3}$":
        return f"is {shown}, which is not a currency of three capital letters", "write for example EUR"
    return (
        f"is {shown}, which is not a plain word",
        "letters, digits and underscores, not beginning with a digit",
    )


def _shown(value: Any) -> str:
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        return "a list"
    if isinstance(value, dict):
        return "a mapping"
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _quoted(value: float | bool) -> str:
    return f'"{_shown(value)}"'


def _number(value: Any) -> str:
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _unquoted(text: str, kind: str) -> bool:
    if kind == "bool_type":
        return text in ("true", "false")
    if kind not in ("int_type", "float_type"):
        return False
    try:
        float(text)
    except ValueError:
        return False
    return True
