"""What forecasts are used for: levels whose columns series have, and orders within the horizon."""

from __future__ import annotations

from charter.spec.checks.examiner import Examiner, source_kinds
from charter.spec.document import Path

_RESERVED = ("series", "total")


def check_decisions(look: Examiner) -> None:
    """Check the hierarchy and the inventory."""
    spec = look.spec
    forecast = spec.train.task == "forecast"
    for path, given in (
        (("evaluate", "hierarchy"), spec.evaluate.hierarchy),
        (("inventory",), spec.inventory),
    ):
        if given is not None and not forecast:
            look.fault(
                path, f"is for forecasts, and the task is {spec.train.task}", "leave it out", at_key=True
            )
    if forecast:
        _check_levels(look)
        _check_orders(look)


def _check_levels(look: Examiner) -> None:
    hierarchy, plan = look.spec.evaluate.hierarchy, look.spec.data.observations
    if hierarchy is None:
        return
    columns = set(plan.series)
    for name in plan.attributes:
        if name in look.spec.data.sources:
            columns |= set(source_kinds(look.spec.data.sources[name]))
    for level, used in hierarchy.levels.items():
        path: Path = ("evaluate", "hierarchy", "levels", level)
        if level in _RESERVED:
            look.fault(
                path, "is a level that is always there", "leave it out, or call it otherwise", at_key=True
            )
        for i, column in enumerate(used):
            look.known((*path, i), column, columns, "is no column of a series or its attributes")
        if set(used) == set(plan.series):
            look.fault(path, "is the series themselves, which are always there", "leave it out", at_key=True)


def _check_orders(look: Examiner) -> None:
    stock, horizon = look.spec.inventory, look.spec.data.observations.horizon
    if stock is None:
        return
    periods = stock.lead_time + stock.review
    if horizon is not None and periods > horizon:
        look.fault(
            ("inventory", "lead_time"),
            f"and review are {periods} periods together, and the horizon is {horizon}",
            "lengthen data.observations.horizon",
        )
    if stock.markdown and stock.shelf_life is None:
        look.fault(
            ("inventory", "markdown"), "is never lost: units keep for ever", "add shelf_life", at_key=True
        )
