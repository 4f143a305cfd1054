"""The words that every part of the specification is made of."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    StringConstraints,
    Tag,
    WithJsonSchema,
)

from charter.core.quantity import Requirement, parse_duration, parse_latest, parse_volume

SPEC_VERSION = 1


class Part(BaseModel):
    """Base: frozen, closed, documented by attribute docstrings."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=False)


def _requirement(text: str) -> str:
    return str(Requirement.parse(text))


def _duration(text: str) -> str:
    parse_duration(text)
    return text.replace(" ", "")


def _window(text: str) -> str:
    return text if text == "all" else _duration(text)


def _volume(text: str) -> str:
    parse_volume(text)
    return text


def _latest(text: str) -> str:
    back = parse_latest(text).days
    return f"latest - {back}d" if back else "latest"


def _kind_of_moment(value: Any) -> str:
    return "latest" if isinstance(value, str) and value.strip().startswith("latest") else "date"


def _text(value: Any) -> Any:
    """YAML reads an unquoted category such as 1 or true as a number or truth value; a category is text."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return str(value)
    return value


Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$", max_length=64)]
"""A word that can stand in an expression without quotes."""
Slug = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9]*(-[a-z0-9]+)*$", max_length=64)]
"""Lower-case words joined by hyphens; safe as a folder, a route and a metric label."""
Column = Annotated[str, StringConstraints(min_length=1, max_length=128)]
Expression = Annotated[str, StringConstraints(min_length=1, max_length=2000)]
RequirementText = Annotated[
    str,
    AfterValidator(_requirement),
    WithJsonSchema({"type": "string", "pattern": "^\\s*(>=|<=|>|<|==)\\s*[-+.0-9]"}),
]
DurationText = Annotated[
    str,
    AfterValidator(_duration),
    WithJsonSchema({"type": "string", "pattern": "^\\s*[0-9]+\\s*(ms|[smhdw])\\s*$"}),
]
Moment = Annotated[
    Annotated[date, Tag("date")]
    | Annotated[
        str,
        AfterValidator(_latest),
        WithJsonSchema({"type": "string", "pattern": "^\\s*latest\\s*(-\\s*[0-9]+\\s*[dw]\\s*)?$"}),
        Tag("latest"),
    ],
    Discriminator(_kind_of_moment),
]
"""A date, or ``latest - 90d``: so long before the day of the newest row, so that it follows the data."""
WindowText = Annotated[
    str,
    AfterValidator(_window),
    WithJsonSchema({"type": "string", "pattern": "^(all|\\s*[0-9]+\\s*(ms|[smhdw])\\s*)$"}),
]
"""A duration, or ``all`` for the entity's whole past."""
VolumeText = Annotated[
    str,
    AfterValidator(_volume),
    WithJsonSchema({"type": "string", "pattern": "^\\s*[0-9.]+\\s+per\\s+(day|week|month|year)\\s*$"}),
]
Category = Annotated[str, BeforeValidator(_text), WithJsonSchema({"type": ["string", "number", "boolean"]})]
Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Money = Annotated[float, Field(allow_inf_nan=False)]
Sentence = Annotated[str, StringConstraints(min_length=1, strip_whitespace=True)]


def days_between(earlier: Moment, later: Moment) -> timedelta | None:
    """How much later ``later`` is; None where one is a date and the other follows the data.

    Examples
    --------
    >>> days_between("latest - 90d", "latest").days
    90
    """
    if isinstance(earlier, date) and isinstance(later, date):
        return later - earlier
    if isinstance(earlier, str) and isinstance(later, str):
        return parse_latest(earlier) - parse_latest(later)
    return None
