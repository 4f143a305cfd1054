"""The top factors of a score in words and numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from charter.serve.types import Reason, Scalar


def top_reasons(
    names: Sequence[str],
    contributions: npt.NDArray[np.float64],
    values: Sequence[Scalar],
    *,
    count: int,
    factors: Mapping[str, str],
) -> list[Reason]:
    """Choose the largest contributions of one row.

    Parameters
    ----------
    names, contributions : float64 [f], values
        Features, how far each moved the score (log-odds, or units of the target), and their values in this row.
    count
        At most so many; a feature that moved nothing is no reason.
    factors
        Features in words; a feature without words is called by its name.

    Examples
    --------
    >>> r = top_reasons(["use"], np.array([0.5]), [0.93], count=1, factors={"use": "share of the line in use"})
    >>> r[0].text
    'share of the line in use = 0.93 raises the score'
    """
    # A stable sort, so that equal contributions come in the order of the features.
    order = np.argsort(-np.abs(contributions), kind="stable")[:count]
    chosen = [i for i in order.tolist() if contributions[i] != 0 and np.isfinite(contributions[i])]
    return [_reason(names[i], values[i], float(contributions[i]), factors) for i in chosen]


def _reason(name: str, value: Scalar, contribution: float, factors: Mapping[str, str]) -> Reason:
    words = factors.get(name, name)
    said = f"{words} is missing" if value is None else f"{words} = {in_words(value)}"
    verb = "raises" if contribution > 0 else "lowers"
    joint = ", which" if value is None else ""
    return Reason(name, value, contribution, f"{said}{joint} {verb} the score")


def in_words(value: Scalar) -> str:
    """Write a value for a reader: four significant digits, thousands separated.

    Examples
    --------
    >>> in_words(0.93333), in_words(120000.0), in_words(True), in_words("BE")
    ('0.9333', '120,000', 'yes', 'BE')
    """
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}" if abs(value) >= 10_000 else str(value)
    if isinstance(value, float):
        if abs(value) >= 1e15:
            return f"{value:.4g}"
        if abs(value) >= 1000:
            return f"{value:,.0f}" if abs(value) >= 10_000 else f"{value:.0f}"
        return f"{value:.4g}"
    return str(value)
