"""Self-contained pages of HTML: templates that escape everything, and charts as paths of numbers. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from charter.core.text import in_lines


def render(template: str, package: str, page: Mapping[str, Any]) -> str:
    """Fill a template of ``package`` (``charter.data`` holds the frame of all pages); all values are escaped."""
    from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined

    loaders = [PackageLoader(name, "templates") for name in dict.fromkeys((package, "charter.data"))]
    templates = Environment(
        loader=ChoiceLoader(loaders),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_shown,
    )
    return templates.get_template(template).render(page=page)


def _shown(value: Any) -> Any:
    """Show what a screen would obey, such as marks of writing direction in the name of a column."""
    return type(value)(in_lines(value)) if isinstance(value, str) else value


def bars(heights: Sequence[float], *, width: float = 300.0, height: float = 80.0) -> str:
    """Draw bars from the bottom as one SVG path.

    Examples
    --------
    >>> bars([1, 2], width=10, height=4)
    'M0.0 4V2.0H5.0V4zM5.0 4V0.0H10.0V4z'
    """
    most = max(heights, default=0)
    if not most:
        return ""
    step = width / len(heights)
    return "".join(
        f"M{i * step:.1f} {height:g}V{height - height * h / most:.1f}H{(i + 1) * step:.1f}V{height:g}z"
        for i, h in enumerate(heights)
        if h
    )


def number(value: float | None) -> str:
    """Write a number with four significant digits, thousands separated.

    Examples
    --------
    >>> number(1234567.0), number(0.000123456), number(12.0), number(None)
    ('1,234,567', '0.0001235', '12', '')
    """
    if value is None:
        return ""
    if float(value).is_integer() and abs(value) < 1e15:
        return f"{int(value):,}"
    return f"{value:,.1f}" if 1e4 <= abs(value) < 1e15 else f"{value:.4g}"


def share(part: float, whole: float) -> str:
    """Write a part as a share.

    Examples
    --------
    >>> share(1, 8), share(1, 30000), share(0, 0)
    ('12.5%', '0.003%', '0.0%')
    """
    value = part / whole if whole else 0.0
    return f"{value:.1%}" if value >= 0.001 or not value else f"{value:.3%}"


def moment(seconds: float) -> str:
    """Write seconds since 1970 as a date, with the time where it is not midnight.

    Examples
    --------
    >>> moment(0), moment(3600.0)
    ('1970-01-01', '1970-01-01 01:00')
    """
    try:
        at = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds)
    except OverflowError:  # Polars' datetimes reach further than Python's
        return f"{seconds:.4g} s"
    return f"{at:%Y-%m-%d}" if at.hour == at.minute == 0 else f"{at:%Y-%m-%d %H:%M}"
