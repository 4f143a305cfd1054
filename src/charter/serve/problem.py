"""What is wrong with a request, field by field."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from charter.core.errors import RequestError

MAX_FAULTS = 20
_MAX_SHOWN = 80


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault: the field as a path (``rows[3].LIMIT_BAL``), the value as it came, the rule that it breaks."""

    field: str
    value: str | None
    rule: str
    message: str

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return {"field": self.field, "value": self.value, "rule": self.rule, "message": self.message}


class Refused(RequestError):
    """A request that is answered with 4xx (or 503), and every fault that was found."""

    def __init__(self, status: int, faults: Sequence[Fault], *, remedy: str | None = None) -> None:
        first = faults[0]
        super().__init__(first.message, field=first.field, status=status, remedy=remedy)
        self.faults = tuple(faults)

    def to_json(self) -> dict[str, Any]:
        """``{"error": first fault}``, and ``errors`` with all of them where there are several."""
        error = self.faults[0].to_json()
        if self.remedy:
            error["remedy"] = self.remedy
        if len(self.faults) == 1:
            return {"error": error}
        return {"error": error, "errors": [f.to_json() for f in self.faults]}


def refuse(
    status: int, rule: str, message: str, *, field: str = "", value: Any = None, remedy: str | None = None
) -> Refused:
    """Build a `Refused` with one fault."""
    return Refused(
        status, [Fault(field, None if value is None else shown(value), rule, message)], remedy=remedy
    )


def shown(value: Any) -> str:
    """Write a value as JSON would, shortened; for messages.

    Examples
    --------
    >>> shown("x"), shown(None), shown([1, 2])
    ('"x"', 'null', '[1, 2]')
    """
    try:
        text = json.dumps(_beginning(value), ensure_ascii=False)
    except (TypeError, ValueError, RecursionError):
        text = repr(type(value).__name__)
    # A lone surrogate cannot be sent as UTF-8.
    text = text.encode("utf-8", "backslashreplace").decode()
    return text if len(text) <= _MAX_SHOWN else f"{text[:_MAX_SHOWN]}..."


def _beginning(value: Any) -> Any:
    """As much of a value as can be shown: writing out megabytes to show eighty characters would keep others waiting."""
    match value:
        case str():
            return value[: _MAX_SHOWN + 1]
        case list():
            return [_beginning(v) for v in value[: _MAX_SHOWN // 2]]
        case dict():
            return {_beginning(k): _beginning(v) for k, v in islice(value.items(), _MAX_SHOWN // 2)}
        case _:
            return value
