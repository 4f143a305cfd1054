"""Numbers as people read them."""

from __future__ import annotations

from charter.evaluate.types import Estimate


def figure(value: float, sign: str = "") -> str:
    """Write four digits that count, and no exponent for large numbers.

    Examples
    --------
    >>> figure(0.0082013, "+"), figure(6_004_818.7), figure(12.0)
    ('+0.008201', '6,004,819', '12')
    """
    return f"{value:{sign},.0f}" if abs(value) >= 1000 else f"{value:{sign}.4g}"


def percent(value: float, sign: str = "") -> str:
    """Write a share of one with two decimals.

    Examples
    --------
    >>> percent(-0.04312, "+")
    '-4.31%'
    """
    return f"{value:{sign}.2%}"


def estimated(estimate: Estimate, *, relative: bool = False, sign: str = "") -> str:
    """Write an estimate with its interval; its note where it has no value.

    Examples
    --------
    >>> estimated(Estimate(0.25, 0.2, 0.31, "wilson", 100))
    '0.25 [0.2, 0.31]'
    """
    if estimate.value is None:
        return estimate.note
    show = percent if relative else figure
    if estimate.low is None or estimate.high is None:
        return show(estimate.value, sign)
    return f"{show(estimate.value, sign)} [{show(estimate.low, sign)}, {show(estimate.high, sign)}]"
