"""Forecasts of series without a past: rehearsed on series whose past is hidden, with intervals from what came of that.

A new series gets the forecasts of its siblings (see `charter.train.siblings`) under its own prices and promotions, each
moved by what is known to differ, and of these the mean of the middle. How wrong that is cannot be told from errors of
series with a past. So the folds rehearse it: some series are treated as if they were new, with all that shares a key's
value with them (a new store: no product of it has a past), their siblings are found among the others, and the fold's
model answers. Nothing is fitted for it, since what the model reads is the past of others.

Intervals are split-conformal, for each kind of newness by itself: a new store, a new product, a new pair of both. All
series of a new store share its surprise, so exchangeable are the stores: each of G has the weight 1 / (G + 1), shared
by its rows, and the rest of the weight lies at infinity (Lee, Barber & Willett, "Distribution-free inference with
hierarchical data", 2023). Errors count with either sign, on the scale of log(1 + label). With fewer than `MANY_UNITS`
the bound would be the largest error seen or nearly so, which one product that never sold makes useless, and above a
share of G / (G + 1) there is none: then it is the quantile of the errors, at most that of 90 %, widened as Student's
prediction interval of G is wider than one of a known variance (right for errors that are about normal). Of pairs of a
new store and a new product G is the fewer of both, since pairs of one store share its surprise. Below `FEWEST_UNITS`
there is none. Errors hardly grow with the step, since the level is what is not known: all steps have one interval.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from charter.data.grid import AS_OF, SERIES, STEP, SeriesPlan, name_series
from charter.spec.newness import kinds
from charter.train.calibrate import Calibration
from charter.train.conformal import EVERYBODY, LEVELS, Cell, ConformalIntervals
from charter.train.siblings import Families, Kin, Likeness, middle
from charter.train.units import corrected

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

FEWEST_UNITS, MANY_UNITS = 4, 20
"""Independent cases (stores, say) below which a kind of newness has no interval of its own, and a conformal one."""
REHEARSED_SERIES, REHEARSED_STEPS = 40, 3
"""Series of each origin and kind of newness that are treated as new, and steps of each."""
SCHEMA_VERSION = 1
_SEEN = 0.9
"""Largest share whose quantile is read off a few errors; what is promised beyond it is reckoned."""


@dataclass(frozen=True, slots=True)
class ColdStart:
    """How series without a past are forecast; kept in the bundle.

    Attributes
    ----------
    likeness
        How siblings are found.
    transform
        What the model learned: ``log1p`` of the label, or ``none``.
    calibration
        From log(1 + label) to the label's unit: to the median or the mean, as out-of-fold errors of such series demand.
    intervals
        By kind of newness, see `kind_code`; None where too few cases could be rehearsed.
    """

    likeness: Likeness
    transform: str
    calibration: Calibration
    intervals: ConformalIntervals | None

    def on_scale(self, learned: Floats) -> Floats:
        """Bring what the model says to the scale of log(1 + label)."""
        return on_scale(learned, self.transform)

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "schema_version": SCHEMA_VERSION,
            "likeness": self.likeness.to_json(),
            "transform": self.transform,
            "calibration": self.calibration.to_json(),
            "intervals": self.intervals.to_json() if self.intervals is not None else None,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> ColdStart:
        """Inverse of `to_json`."""
        kept = data["intervals"]
        return cls(
            Likeness.from_json(data["likeness"]),
            data["transform"],
            Calibration.from_json(data["calibration"]),
            ConformalIntervals.from_json(kept) if kept is not None else None,
        )


@dataclass(frozen=True, slots=True, eq=False)
class Borrowed:
    """Rows of series without a past, and the siblings whose past they borrow: m pairs.

    Attributes
    ----------
    row
        int64 [m], ascending: the row, 0..n-1.
    keys
        m rows: the sibling's keys, as text.
    moved
        float64 [m]: what is added to the sibling's forecast on the scale of log(1 + label).
    unknown
        int64 [n]: the keys whose values nobody has seen, as a bit each.
    """

    row: Integers
    keys: pl.DataFrame
    moved: Floats
    unknown: Integers

    def questions(self, rows: pl.DataFrame) -> pl.DataFrame:
        """Ask about the siblings what is asked about the n rows: m rows."""
        asked = rows[self.row]
        return asked.with_columns(self.keys[k].cast(rows.schema[k]) for k in self.keys.columns)

    def answer(self, said: Floats) -> Floats:
        """Put the siblings' m forecasts, on the scale of log(1 + label), together: float64 [n], NaN without any."""
        return np.maximum(middle(said + self.moved, self.row, len(self.unknown)), 0.0)

    def siblings(self) -> Integers:
        """How many each row has, int64 [n]."""
        return np.bincount(self.row, minlength=len(self.unknown))


def borrow(families: Families, rows: pl.DataFrame, hidden: Integers | None = None) -> Borrowed:
    """Find siblings of rows.

    Parameters
    ----------
    rows
        n rows of requests, located (see `charter.features.forecasts.locate`): keys, ``series``, ``as_of``, attributes,
        what is known ahead.
    hidden
        Shape (n,): treat the row's series as new. 0 hides its own past, else that of all series that share the value
        of a key whose bit is set. None hides nothing.
    """
    plan, n = families.plan, rows.height
    origins = rows.select(plan.grid.number(pl.col(AS_OF))).to_series().to_numpy()
    named, marks = families.coded(rows), families.marks(rows)
    series = rows[SERIES].to_numpy()
    row: list[Integers] = []
    keys: list[pl.DataFrame] = []
    moved: list[Floats] = []
    unknown = np.zeros(n, np.int64)
    for own, kin in _groups(families, origins, named, series, hidden):
        found = families.of(kin, [k[own] for k in named], marks[own])
        unknown[own] = found.unknown
        row.append(own[found.row])
        moved.append(found.moved)
        keys.append(
            pl.DataFrame(
                {
                    k: pl.Series(known, dtype=pl.String).gather(code[found.place])
                    for k, known, code in zip(plan.keys, families.values, kin.keys, strict=True)
                }
            )
        )
    if not row:
        empty = pl.DataFrame(schema=dict.fromkeys(plan.keys, pl.String))
        return Borrowed(np.empty(0, np.int64), empty, np.empty(0), unknown)
    place = np.concatenate(row)
    order = np.argsort(place, kind="stable")
    return Borrowed(place[order], pl.concat(keys)[order], np.concatenate(moved)[order], unknown)


def _groups(
    families: Families,
    origins: Integers,
    keys: Sequence[Integers],
    series: npt.NDArray[Any],
    hidden: Integers | None,
) -> Iterator[tuple[Integers, Kin]]:
    """Rows that share an origin and what is hidden, and the series that are there for them."""
    for origin in np.unique(origins).tolist():
        at = np.flatnonzero(origins == origin)
        kin = families.before(origin)
        if hidden is None:
            yield at, kin
            continue
        cases: dict[tuple[Any, ...], list[int]] = {}
        for i in at.tolist():
            bits = tuple((bit, int(k[i])) for bit, k in enumerate(keys) if int(hidden[i]) >> bit & 1)
            cases.setdefault(bits or (series[i],), []).append(i)
        for case, members in cases.items():
            if hidden[members[0]]:
                away = np.any([kin.keys[bit] == code for bit, code in case], axis=0)
            else:
                away = kin.names == case[0]
            yield np.array(members, np.int64), kin.without(away)


def draw(
    rows: pl.DataFrame,
    plan: SeriesPlan,
    seed: int,
    *,
    series: int = REHEARSED_SERIES,
    steps: int = REHEARSED_STEPS,
) -> tuple[Integers, Integers]:
    """Choose rows to be treated as new, by a seed: of each origin and kind of newness some series, of each some steps.

    Parameters
    ----------
    rows
        ``series``, ``as_of``, ``step``.

    Returns
    -------
    row, hidden : ndarray of int64
        Places among the rows, and the code of what is hidden (see `borrow`).
    """
    names = rows[SERIES].rank("dense").to_numpy()
    order = np.lexsort((rows[STEP].to_numpy(), names))
    origins = rows.select(plan.grid.number(pl.col(AS_OF))).to_series().to_numpy()
    found: list[Integers] = []
    hidden: list[Integers] = []
    for origin in np.unique(origins).tolist():
        own = order[origins[order] == origin]
        for code in kinds(plan.keys):
            rng = np.random.default_rng([seed, abs(origin), code])
            some = rng.permutation(np.unique(names[own]))[:series]
            lots = pl.DataFrame({"row": own, "series": names[own], "lot": rng.random(len(own))})
            lots = lots.filter(np.isin(names[own], some)).sort("lot")
            chosen = lots.group_by("series", maintain_order=True).head(steps)["row"].sort().to_numpy()
            found.append(chosen)
            hidden.append(np.full(len(chosen), code, np.int64))
    return np.concatenate(found), np.concatenate(hidden)


@dataclass(frozen=True, slots=True, eq=False)
class Rehearsal:
    """Rows that folds judge, treated as new.

    Attributes
    ----------
    rows
        The n rows: ``series``, keys, ``as_of``, ``step``, the label under ``actual``.
    fold
        int64 [n], which fold judges each.
    borrowed
        Their siblings.
    questions
        m rows with the model's features: the siblings, under the rows' prices and promotions.
    """

    rows: pl.DataFrame
    fold: Integers
    borrowed: Borrowed
    questions: pl.DataFrame

    def of_fold(self, number: int) -> pl.DataFrame:
        """Questions that a fold's model answers."""
        return self.questions.filter(pl.Series(self.fold[self.borrowed.row] == number))

    def in_order(self, said: Sequence[Floats]) -> Floats:
        """Put answers, fold by fold, into the order of the questions: float64 [m]."""
        asked = self.fold[self.borrowed.row]
        found = np.full(len(asked), np.nan)
        for number, one in enumerate(said):
            found[asked == number] = one
        return found


def learn_cold_start(
    rehearsal: Rehearsal,
    learned: Floats,
    families: Families,
    *,
    transform: str,
    level: float,
    metric: str,
    horizon: int,
) -> ColdStart:
    """Learn from a rehearsal how wrong forecasts of new series are.

    Parameters
    ----------
    learned
        float64 [m]: what the folds' models said to the questions, on the scale that is learned.
    level
        Share of actual values that the intervals are to hold.
    metric
        Of the search: whether the forecast is a median or a mean, see `charter.train.units.corrected`.
    """
    said = rehearsal.borrowed.answer(on_scale(learned, transform))
    actual = rehearsal.rows["actual"].to_numpy().astype(np.float64)
    known = np.isfinite(said) & np.isfinite(actual)
    calibration = Calibration("log1p")
    if known.any() and float(np.abs(actual[known]).sum()) > 0:
        calibration = corrected("log1p", said[known], actual[known], metric)
    unit = units(rehearsal.rows, families.plan.keys, rehearsal.borrowed.unknown)
    intervals = fit_intervals(
        np.log1p(actual[known]) - said[known],
        rehearsal.borrowed.unknown[known],
        unit[known],
        level=level,
        horizon=horizon,
    )
    return ColdStart(families.likeness, transform, calibration, intervals)


def on_scale(learned: Floats, transform: str) -> Floats:
    """Bring what is learned (``log1p`` of the label, or itself) to the scale of log(1 + label)."""
    above = np.maximum(learned, 0.0)
    return above if transform == "log1p" else np.log1p(above)


def units(rows: pl.DataFrame, keys: Sequence[str], unknown: Integers) -> npt.NDArray[np.str_]:
    """What each row's surprise is shared by: the values of the keys that are new, or the series where none is.

    Values are joined by ``/`` as those of `charter.data.grid.name_series`, so that no two can run together.
    """
    found = rows[SERIES].cast(pl.String).to_numpy().astype(object)
    for code in np.unique(unknown[unknown > 0]).tolist():
        own = np.flatnonzero(unknown == code)
        new = [key for bit, key in enumerate(keys) if code >> bit & 1]
        found[own] = rows[own].select(name_series(new)).to_series().to_numpy()
    return found.astype(str)


def _independent(unit: npt.NDArray[np.str_], code: int) -> int:
    """How many independent cases some units are: of pairs of a new store and a new product the fewer of both.

    Pairs that share a store share its surprise.
    """
    different = np.unique(unit)
    if code == 0:
        return len(different)
    values = [one.split("/") for one in different.tolist()]
    return min(len(set(part)) for part in zip(*values, strict=True))


def fit_intervals(
    residual: Floats, kind: Integers, unit: npt.NDArray[np.str_], *, level: float, horizon: int
) -> ConformalIntervals | None:
    """Intervals by kind of newness; see the module.

    Parameters
    ----------
    residual
        float64 [n]: log(1 + actual) less what was said.
    kind, unit
        Shape (n,): the kind of newness of each row, and what its surprise is shared by.

    Returns
    -------
    Groups are codes of kinds as text; a kind of too few units takes the widest of the others. None where all are.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> unit = np.repeat(np.arange(40).astype(str), 5)
    >>> errors = rng.normal(0, 0.5, 40).repeat(5) + rng.normal(0, 0.1, 200)
    >>> found = fit_intervals(errors, np.ones(200, int), unit, level=0.9, horizon=2)
    >>> 0.6 < found.cells[0].upper < 1.0, found.groups, found.steps
    (True, ('1',), (1, 2))
    """
    made: dict[str, tuple[int, float, tuple[float, ...]]] = {}
    for code in np.unique(kind).tolist():
        own = kind == code
        cases = _independent(unit[own], code)
        if cases >= FEWEST_UNITS:
            made[str(code)] = (int(own.sum()), *_bound(residual[own], unit[own], cases, level))
    if not made:
        return None
    made[EVERYBODY] = max(made.values(), key=lambda one: one[1])
    cells = tuple(
        Cell(name, step, n, 1, horizon, -bound, bound, table)
        for name, (n, bound, table) in sorted(made.items())
        for step in range(1, horizon + 1)
    )
    return ConformalIntervals(level, "log1p", "unknown", 0.0, cells)


def _bound(
    residual: Floats, unit: npt.NDArray[np.str_], cases: int, level: float
) -> tuple[float, tuple[float, ...]]:
    """Bound of the absolute error, and the quantiles of the error, each unit counting the same."""
    _, code, size = np.unique(unit, return_inverse=True, return_counts=True)
    weight = 1.0 / size[code]
    score = np.abs(residual)
    order = np.argsort(score, kind="stable")
    reached = np.cumsum(weight[order]) / len(size)
    # Of G cases and the one to come the last may err without bound.
    promise, further, wider = level * (cases + 1) / cases, 1.0, 1.0
    if cases < MANY_UNITS or promise > 1:
        promise = min(level, _SEEN)
        further, wider = _wider(cases, level, promise), _wider(cases, promise, promise)
    place = min(int(np.searchsorted(reached, promise - 1e-9)), len(score) - 1)
    both, share = np.concatenate([-score, score]) * wider, np.concatenate([weight, weight])
    ranked = np.argsort(both, kind="stable")
    below = (np.cumsum(share[ranked]) - share[ranked] / 2) / share.sum()
    table = np.interp(LEVELS, below, both[ranked])
    return further * float(score[order[place]]), tuple(np.maximum.accumulate(table).tolist())


def _wider(cases: int, level: float, share: float) -> float:
    """Student's prediction interval of ``level`` over the interval of ``share`` of errors whose variance is known."""
    from scipy.stats import norm, t

    reach = t.ppf((1 + level) / 2, cases - 1) * np.sqrt(1 + 1 / cases)
    return float(reach / norm.ppf((1 + share) / 2))
