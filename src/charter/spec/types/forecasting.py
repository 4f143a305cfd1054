"""What forecasts are used for: sums that people look at, and stock."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from charter.spec.types.words import Column, Money, Name, Part


class HierarchySpec(Part):
    """Sums of series that are forecast, too; the sum of all (``total``) always is."""

    levels: dict[Name, Annotated[tuple[Column, ...], Field(min_length=1)]] = Field(min_length=1)
    """Name of a level to the columns whose values make its sums: ``{brand: [brand], zone: [zone]}``. They are columns
    of ``observations.series`` or attributes."""
    reconcile: Literal["best", "bottom_up", "wls_struct", "wls_var", "mint_shrink"] = "best"
    """How forecasts of the sums are made to add up: the sums of the series' forecasts (``bottom_up``), or these weighed
    against moving averages by MinTrace. ``best`` is whichever did better out of fold."""


class Inventory(Part):
    """What a unit sold, kept and missing is worth, and when it can be ordered; forecasts of demand."""

    currency: Annotated[str, StringConstraints(pattern=r"^[A-Z]{3}$")]
    margin: Annotated[Money, Field(gt=0)]
    """Gained with a unit sold."""
    holding_per_period: Annotated[Money, Field(gt=0)]
    """Lost with a unit in stock at the end of a period."""
    stockout: Annotated[Money, Field(ge=0)] = 0.0
    """Lost with a unit asked for and not there, beside its margin."""
    markdown: Annotated[Money, Field(ge=0)] = 0.0
    """Lost with a unit that is older than ``shelf_life``."""
    lead_time: Annotated[int, Field(ge=0, le=100)] = 1
    """Periods from an order to its arrival; 0 arrives before the period begins."""
    review: Annotated[int, Field(ge=1, le=100)] = 1
    """Periods from one order to the next."""
    shelf_life: Annotated[int, Field(ge=1, le=1000)] | None = None
    """Periods that a unit keeps; for ever unless stated."""
