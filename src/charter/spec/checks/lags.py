"""Features of series: lags, seasons and groups of series that read nothing from the future, and the calendar."""

from __future__ import annotations

from datetime import timedelta

from charter.core.quantity import parse_duration, span
from charter.spec.checks.examiner import Examiner, source_kinds
from charter.spec.document import Path
from charter.spec.expression import ExpressionError, parse
from charter.spec.scope import calendar_features, known_columns, lag_names, window_features
from charter.spec.types import LagSpec

_FEATURES: Path = ("features",)
_LONGEST = {
    "day": (1, "7d and 28d"),
    "week": (7, "4w and 52w"),
    "month": (31, "92d for 3 months, 184d for 6, 366d for 12"),
}
"""Days that a period may have, and what windows over such periods look like."""


def check_lags(look: Examiner) -> None:
    """Check ``lags``, ``calendar``, and the groups that windows and lags are taken over."""
    features, plan = look.spec.features, look.spec.data.observations
    if not plan.series:
        stated = {"lags": bool(features.lags), "calendar": features.calendar is not None}
        for word in (word for word, is_there in stated.items() if is_there):
            look.fault((*_FEATURES, word), "is for series, and these observations are none",
                       "name the columns of a series in data.observations.series", at_key=True)  # fmt: skip
        for name, window in features.windows.items():
            if window.by:
                look.fault((*_FEATURES, "windows", name, "by"), "is for series, and these observations are none",
                           "leave it out", at_key=True)  # fmt: skip
        return
    for name, window in features.windows.items():
        path: Path = (*_FEATURES, "windows", name)
        _check_group((*path, "by"), window.by, look)
        source = look.spec.data.sources.get(window.source)
        own = source_kinds(source) if source is not None else {}
        lacking = [key for key in window.by or plan.series if key in plan.series and key not in own]
        if source is not None and lacking and look.names_known:
            look.fault((*path, "source"), f"{window.source} has no column {lacking[0]}, by which series are told apart",
                       "name in 'by' the columns of the series that it has")  # fmt: skip
        if window.source == plan.source:
            _check_reach((*path, "over"), window.over, plan.every or "week", look)
    for name, lag in features.lags.items():
        _check_lag((*_FEATURES, "lags", name), name, lag, look)
    _check_names(look)


def _check_reach(path: Path, over: tuple[str, ...], every: str, look: Examiner) -> None:
    """A window over the series must hold a period wherever it ends: one row stands at the beginning of each."""
    days, enough = _LONGEST[every]
    for i, text in enumerate(over):
        if text != "all" and (reach := parse_duration(text)) < timedelta(days=days):
            look.fault((*path, i), f"is {text}, {span(reach)}: shorter than a {every}, so that no row may lie in it",
                       f"windows are lengths of time, such as {enough}")  # fmt: skip


def _check_group(path: Path, by: tuple[str, ...], look: Examiner) -> None:
    for i, column in enumerate(by):
        look.known(
            (*path, i), column, look.spec.data.observations.series, "is not one of the columns of a series"
        )
        if column in by[:i]:
            look.fault((*path, i), f"{column} stands twice", "leave one out")


def _check_lag(path: Path, name: str, lag: LagSpec, look: Examiner) -> None:
    plan = look.spec.data.observations
    _check_group((*path, "by"), lag.by, look)
    for word in ("back", "season"):
        numbers: tuple[int, ...] = getattr(lag, word)
        for i, number in enumerate(numbers):
            if number in numbers[:i]:
                look.fault((*path, word, i), f"{number} stands twice", "leave one out")
    source = look.spec.data.sources.get(plan.source or "")
    if source is None:
        return
    kinds = source_kinds(source)
    if not lag.by and _aggregates(lag.value):
        look.fault((*path, "value"), "aggregates over rows, and a series has one row a period",
                   "name in 'by' what the series share, or use features.windows")  # fmt: skip
        return
    look.expression((*path, "value"), lag.value, kinds, nowhere="which the series do not have", wants="number",
                    aggregate=bool(lag.by))  # fmt: skip
    _check_seasons(path, lag, look)


def _check_seasons(path: Path, lag: LagSpec, look: Examiner) -> None:
    """A season must be over when the forecast is made, unless everything it reads is known ahead."""
    plan, known = look.spec.data.observations, known_columns(look.spec.data)
    least = plan.gap + (plan.horizon or 0)
    try:
        late = [c for c in parse(lag.value).names if c not in known.columns and c not in known.derived]
    except ExpressionError:
        return
    for i, season in enumerate(lag.season):
        if late and season < least:
            look.fault((*path, "season", i),
                       f"is {season}, but {late[0]} of {season} {plan.every}s before the last target is not known yet",
                       f"at least {least} (gap and horizon), or add {late[0]} to observations.known_ahead")  # fmt: skip


def _aggregates(text: str) -> bool:
    try:
        return parse(text).aggregates
    except ExpressionError:
        return False


def _check_names(look: Examiner) -> None:
    """No two features bear one name, nor that of a column."""
    plan, features = look.spec.data.observations, look.spec.features
    source = look.spec.data.sources.get(plan.source or "")
    taken = dict.fromkeys(source_kinds(source) if source is not None else {}, "is a column of the series")
    taken |= {
        feature: f"window {window} makes, too" for feature, window in window_features(look.spec).items()
    }
    taken |= dict.fromkeys(calendar_features(look.spec), "the calendar makes, too")
    for name, lag in features.lags.items():
        for feature in dict.fromkeys(lag_names(name, lag.back, lag.season)):
            if feature in taken:
                look.fault((*_FEATURES, "lags", name), f"makes {feature}, which {taken[feature]}",
                           "choose another name", at_key=True)  # fmt: skip
            taken.setdefault(feature, f"lag {name} makes, too")
