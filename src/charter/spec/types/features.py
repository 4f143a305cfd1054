"""What the model sees."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from charter.spec.types.words import Column, Expression, Name, Part, Sentence, WindowText


class WindowSpec(Part):
    """An aggregate of an entity's past events, one feature per window: ``<name>_<window>``."""

    source: Name
    aggregate: Expression
    """Over the events of the window; ``age_days`` is the age of an event in days at the moment of observation."""
    over: tuple[WindowText, ...] = Field(min_length=1)
    where: Expression | None = None
    default: float | None = None
    """Value where the entity has no event in the window; None means missing."""
    by: tuple[Column, ...] = ()
    """Of series: aggregate over all series that share these of their columns, such as ``[brand]`` for a product in all
    stores; unless stated, over one series."""
    description: Sentence | None = None


class LagSpec(Part):
    """Values of a series at whole periods.

    Features: ``<name>_lag_<k>`` counted back from the origin, ``<name>_season_<s>`` from the target. Nothing at or
    after the origin is read, except columns of ``observations.known_ahead``.
    """

    value: Expression
    """Over a row of the series, such as ``LN(units)``; with ``by`` an aggregate over rows, such as ``AVG(price)``."""
    back: tuple[Annotated[int, Field(ge=1, le=5000)], ...] = ()
    """Periods counted back from the origin: 1 is the last one known."""
    season: tuple[Annotated[int, Field(ge=0, le=5000)], ...] = ()
    """Periods counted back from the target, at least ``gap + horizon``; fewer, down to 0 for the target's own period,
    where the value reads only columns known ahead."""
    by: tuple[Column, ...] = ()
    """Aggregate over all series that share these of their columns; unless stated, the value is the series' own."""
    description: Sentence | None = None

    @model_validator(mode="after")
    def _some(self) -> LagSpec:
        if not self.back and not self.season:
            raise ValueError("needs 'back' (counted from the origin) or 'season' (counted from the target)")
        return self


def _place(text: str) -> str:
    if re.fullmatch(r"[A-Z]{2}(-[A-Z0-9]{1,3})?", text) is None:
        raise ValueError(f"{text!r} is not a country or a part of one; write it as in ISO 3166: US, US-IL")
    return text


PlaceText = Annotated[str, AfterValidator(_place)]
"""A country or a part of one, in ISO 3166."""


class CalendarSpec(Part):
    """What the calendar says of the period that is forecast."""

    parts: tuple[Literal["day_of_week", "day_of_year", "week", "month", "quarter"], ...] = ()
    """Each gives its number, ``calendar_week``, and its place in the cycle, ``calendar_week_sin`` and
    ``calendar_week_cos``."""
    holidays: PlaceText | None = None
    """A country (``US``) or a part of one (``US-IL``), in ISO 3166: ``holiday_next_days`` to the next public holiday
    from the first day of the period, ``holiday_last_days`` since the last one before it, ``holidays_within`` the
    period."""

    @model_validator(mode="after")
    def _some(self) -> CalendarSpec:
        if not self.parts and self.holidays is None:
            raise ValueError("needs 'parts' or 'holidays'")
        return self


Encoding = Literal["numeric", "one_hot", "ordinal", "target", "hashing", "drop"]


class SelectSpec(Part):
    """Which features are left out, decided on training folds only."""

    drop_correlated_above: Annotated[float, Field(gt=0, le=1)] | None = None
    """Of each pair whose absolute Spearman correlation is higher, the one less related to the label is dropped."""
    top: Annotated[int, Field(ge=1)] | None = None
    """Keep the so many most important."""


class FeatureSpec(Part):
    """What the model sees."""

    rows: dict[Name, Expression] = {}
    """New features from the columns and windows of the same observation."""
    windows: dict[Name, WindowSpec] = {}
    lags: dict[Name, LagSpec] = {}
    """Forecasts: values of the series' own past."""
    calendar: CalendarSpec | None = None
    """Forecasts: week, month and holidays of the period ahead."""
    exclude: tuple[Column, ...] = ()
    """Columns of the observation that the model must not see. Keys, times and the label never are features."""
    encode: dict[Column, Encoding] = {}
    """Default: numbers as they are, categories one-hot up to 32 values and target-encoded above."""
    scale: Literal["none", "standard"] = "none"
    """Linear learners scale by themselves."""
    impute: Literal["none", "median"] = "none"
    """Learners that cannot read missing values impute by themselves."""
    select: SelectSpec = SelectSpec()
