"""Lines over windows with their intervals, as paths of one small picture. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

WIDTH, HEIGHT = 300.0, 90.0
Values = Sequence[float | None]


@dataclass(frozen=True, slots=True)
class Series:
    """One line.

    Attributes
    ----------
    values
        One for each window, None where there is none.
    low, high
        Interval around each value; empty for none.
    """

    name: str
    values: Values
    low: Values = ()
    high: Values = ()


@dataclass(frozen=True, slots=True)
class Trend:
    """A picture.

    Attributes
    ----------
    lines
        Name, path of the line, path of its interval and circles of windows that stand alone, at most two.
    limit
        Height of what is required, or None.
    bottom, top
        Values at the edges.
    """

    lines: tuple[tuple[str, str, str, tuple[tuple[float, float], ...]], ...]
    limit: float | None
    bottom: float
    top: float


def trend(series: Sequence[Series], *, limit: float | None = None, zero: bool = False) -> Trend | None:
    """Draw lines over windows at equal steps; None where no value is known.

    Parameters
    ----------
    limit
        Drawn as a level line, and always inside the picture.
    zero
        Whether 0 must be inside.

    Examples
    --------
    >>> picture = trend([Series("p95", [10, 20, None, 10])])
    >>> picture.lines[0][1], picture.lines[0][3]
    ('M0.0 90.0L100.0 0.0', ((300.0, 90.0),))
    """
    shown = [v for s in series for v in (*s.values, *s.low, *s.high) if v is not None and math.isfinite(v)]
    if not shown:
        return None
    shown += [limit] if limit is not None else []
    shown += [0.0] if zero else []
    bottom, top = min(shown), max(shown)
    scale = HEIGHT / (top - bottom) if top > bottom else 0.0

    def y(value: float) -> float:
        return HEIGHT - (value - bottom) * scale if scale else HEIGHT / 2

    count = max(len(s.values) for s in series)
    step = WIDTH / (count - 1) if count > 1 else 0.0
    lines = []
    for one in series:
        runs = _runs(one.values)
        path = "".join(_path([(i * step, y(v)) for i, v in run]) for run in runs if len(run) > 1)
        alone = tuple((round(i * step, 1), round(y(v), 1)) for run in runs if len(run) == 1 for i, v in run)
        lines.append((one.name, path, _band(one, step, y), alone))
    return Trend(tuple(lines), y(limit) if limit is not None else None, bottom, top)


def _runs(values: Values) -> list[list[tuple[int, float]]]:
    """Stretches of values without a gap."""
    runs: list[list[tuple[int, float]]] = [[]]
    for i, value in enumerate(values):
        if value is None or not math.isfinite(value):
            runs.append([])
        else:
            runs[-1].append((i, value))
    return [run for run in runs if run]


def _path(points: Sequence[tuple[float, float]]) -> str:
    return "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in points)


def _band(one: Series, step: float, y: Callable[[float], float]) -> str:
    """Outline of the intervals; that of a window alone is a quarter step wide to each side."""
    found, run = "", []
    for i, (low, high) in enumerate([*zip(one.low, one.high, strict=True), (None, None)]):
        if low is not None and high is not None:
            run.append((i * step, y(low), y(high)))
            continue
        if len(run) == 1:
            ((x, bottom, top),) = run
            run = [(x - step / 4, bottom, top), (x + step / 4, bottom, top)]
        if run:
            found += (
                _path([*((x, top) for x, _, top in run), *((x, low) for x, low, _ in reversed(run))]) + "z"
            )
        run = []
    return found
