"""What is wrong with a request, in words; the patient twin of the compiled decoder."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any

import msgspec

from charter.core.nearest import did_you_mean
from charter.serve.problem import MAX_FAULTS, Fault, Refused, refuse, shown
from charter.serve.strict import refuse_repeated
from charter.serve.types import Input
from charter.serve.values import INT64, category_text, limits, moment

_KINDS = {
    "integer": "a whole number",
    "float": "a number",
    "boolean": "true or false",
    "category": "a category: text or a whole number",
    "text": "text",
    "date": "a date such as 2011-09-01",
    "datetime": "a moment such as 2011-09-01T12:00:00Z or a day such as 2011-09-01",
}
_MISSING = object()
_NOT_FINITE = re.compile(rb"[-+]?(NaN|Infinity|nan|inf)\b")
_BYTE = re.compile(r"\(byte (\d+)\)")


def read_rows(body: bytes, inputs: Sequence[Input], *, max_rows: int) -> list[tuple[Any, ...]]:
    """Read a request without haste.

    Returns
    -------
    Rows with values converted, in the order of ``inputs``.

    Raises
    ------
    Refused
        400 for what is no JSON, 413 for too many rows, 422 with up to `MAX_FAULTS` faults of fields.
    """
    content = parse_json(body)
    refuse_repeated(body)
    single = isinstance(content, dict)
    if not single and not isinstance(content, list):
        raise refuse(
            422,
            "type",
            f"the request is {shown(content)}; send an object or a list of objects",
            value=content,
        )
    records = [content] if single else content
    if not records:
        raise refuse(422, "rows", "the list is empty; send at least one object", value=content)
    if len(records) > max_rows:
        raise refuse(
            413,
            "rows",
            f"the list has {len(records)} rows; at most {max_rows} are allowed",
            remedy="Send several requests, or score a file with batch scoring.",
        )
    faults: list[Fault] = []
    rows = []
    for index, record in enumerate(records):
        rows.append(_row(record, inputs, "" if single else f"rows[{index}]", faults))
        if len(faults) >= MAX_FAULTS:
            break
    if faults:
        raise Refused(422, faults[:MAX_FAULTS])
    return rows


def parse_json(body: bytes) -> Any:
    """Read JSON.

    Raises
    ------
    Refused
        400, saying at which byte the text stops being JSON.
    """
    if not body.strip():
        raise refuse(400, "json", "the body is empty; send a JSON object or a list of objects")
    try:
        body.decode()
    except UnicodeDecodeError as error:
        raise refuse(
            400, "utf-8", f"the body is not UTF-8: byte {error.start} is {body[error.start]:#04x}"
        ) from None
    try:
        return msgspec.json.decode(body)
    except RecursionError:
        raise refuse(
            400, "depth", "the body is nested too deeply; a request is an object of plain values"
        ) from None
    except msgspec.MsgspecError as error:
        message = str(error)
        place = _BYTE.search(message)
        # The reader stops within "-Infinity" after its sign.
        found = _NOT_FINITE.search(body, max(int(place[1]) - 1, 0), int(place[1]) + 9) if place else None
        if found:
            value = found[0].decode()
            raise refuse(
                400,
                "finite",
                f"{value} at byte {found.start()} is not JSON; a missing number is null",
                value=value,
            ) from None
        if "out of range" in message:
            raise refuse(422, "range", "a number is too large for 64 bits") from None
        raise refuse(
            400, "json", f"the body is not JSON: {message.removeprefix('JSON is malformed: ')}"
        ) from None
    except UnicodeDecodeError:
        raise refuse(400, "utf-8", "the body is not UTF-8") from None


def _row(record: Any, inputs: Sequence[Input], where: str, faults: list[Fault]) -> tuple[Any, ...]:
    if not isinstance(record, dict):
        faults.append(
            Fault(
                where, shown(record), "type", f"{where or 'the request'} is {shown(record)}; send an object"
            )
        )
        return ()
    prefix = f"{where}." if where else ""
    known = {i.name for i in inputs}
    for name in record:
        if name not in known:
            # The name is the sender's own text: shortened and escaped like a value.
            label = shown(name)[1:-1]
            hint = did_you_mean(name[:200], known)
            message = f"{prefix}{label} is not a field of this model; {hint}"
            faults.append(Fault(prefix + label, shown(record[name]), "unknown field", message))
    values = []
    for field in inputs:
        value = record.get(field.name, _MISSING)
        outcome = _value(value, field, prefix + field.name)
        if isinstance(outcome, Fault):
            faults.append(outcome)
            outcome = None
        values.append(outcome)
    return tuple(values)


def _value(value: Any, field: Input, where: str) -> Any:
    if value is _MISSING:
        if field.nullable:
            return None
        return Fault(
            where, None, "required", f"{where} is missing; it is required and is {_KINDS[field.type]}"
        )
    if value is None:
        if field.nullable:
            return None
        return Fault(where, "null", "not null", f"{where} is null; it must be {_KINDS[field.type]}")
    converted = _convert(value, field)
    if converted is None and value == "" and field.nullable:
        return None
    if converted is None:
        large = (
            isinstance(value, int) and not isinstance(value, bool) and field.type in ("integer", "category")
        )
        rule = f"{_KINDS[field.type]}{' of at most 64 bits' if large else ''}"
        message = f"{where} is {shown(value)}; it must be {rule}"
        return Fault(where, shown(value), f"type {field.type}", message)
    if field.values is not None and field.type == "category" and converted not in field.values:
        hint = did_you_mean(converted[:200], field.values, limit=12)
        return Fault(
            where, shown(value), f"one of {', '.join(field.values)}", f"{where} is {shown(value)}; {hint}"
        )
    return _limited(value, converted, field, where)


def _limited(value: Any, converted: Any, field: Input, where: str) -> Any:
    low: Any = field.min
    high: Any = field.max
    if field.type in ("date", "datetime"):
        low, high = limits(field.min, field.max, field.type)
    if low is not None and converted < low:
        rule = f">= {field.min}"
    elif high is not None and converted > high:
        rule = f"<= {field.max}"
    else:
        return converted
    return Fault(where, shown(value), rule, f"{where} is {shown(value)}; it must be {rule}")


def _convert(value: Any, field: Input) -> Any:
    """The value as it stands in a frame; None when it is of another type."""
    match field.type, value:
        case "boolean", bool():
            return value
        case "category", bool() | str():
            return category_text(value)
        case (("integer" | "float"), bool()):
            return None
        case (("integer" | "category"), float()) if value.is_integer():
            return _convert(int(value), field)
        case (("integer" | "category"), int()) if INT64[0] <= value <= INT64[1]:
            return value if field.type == "integer" else category_text(value)
        case "float", int() | float():
            try:
                return float(value) if math.isfinite(float(value)) else None
            except OverflowError:
                return None
        case "text", str():
            return value
        case (("date" | "datetime"), str()):
            try:
                return moment(value, field.type)
            except (ValueError, OverflowError):
                return None
        case _:
            return None
