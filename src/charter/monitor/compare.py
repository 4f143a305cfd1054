"""Comparing a profile of current rows with one of reference rows: training, the window before, a year ago. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np
import numpy.typing as npt

from charter.data.column import ColumnProfile
from charter.data.distance import (
    chi_square,
    jensen_shannon,
    ks_of_counts,
    pooled,
    psi,
    wasserstein_of_counts,
)
from charter.data.profile import Profile
from charter.monitor.drift_types import Measured, Role
from charter.monitor.significance import chi_square_p, two_shares_p, unseen_p

Floats = npt.NDArray[np.float64]
OTHER_BINS = (
    "the two were counted in other bins: `charter data profile FILE --like REFERENCE` takes the reference's"
)
_NAMED = 3


def compare(
    reference: Profile, current: Profile, *, role: Role = "feature", ignore: Collection[str] = ()
) -> tuple[Measured, ...]:
    """Measure how far each column of the reference has moved.

    Parameters
    ----------
    reference, current
        The current one is best made with ``profile(frame, reference)``: then both have the same bins. Where they have
        not, effects are told for bins that are made to fit, and no significance.
    ignore
        Columns to leave out.

    Returns
    -------
    Up to three aspects a column: its distribution (not of moments, which always move on), its share of missing values,
    and categories that the reference does not have.

    Examples
    --------
    >>> import polars as pl
    >>> from charter.data.profile import profile
    >>> before = profile(pl.DataFrame({"x": range(1000)}))
    >>> after = profile(pl.DataFrame({"x": range(200, 1200)}), before)
    >>> {k: round(v, 2) for k, v in compare(before, after)[0].effects.items()}
    {'psi': 1.22, 'jensen_shannon': 0.39, 'ks': 0.2, 'wasserstein': 0.69}
    """
    found: list[Measured] = []
    for name, before in reference.columns.items():
        if name in ignore:
            continue
        after = current.columns.get(name)
        if after is None:
            gone = Measured(name, before.kind, "absent", {}, None, before.count, current.rows, role)
            found.append(gone)
            continue
        if before.kind != "moment":
            found.append(_distribution(name, before, after, role))
        found.append(_missing(name, before, after, role))
        if before.kind == "categorical":
            unseen = _unseen(name, before, after, role)
            found += [unseen] if unseen is not None else []
    return tuple(found)


def _distribution(name: str, before: ColumnProfile, after: ColumnProfile, role: Role) -> Measured:
    fits = (before.edges, before.values.keys()) == (after.edges, after.values.keys())
    a, b = np.asarray(cells(before, before)), np.asarray(cells(after, before))
    effects = {"psi": psi(a, b), "jensen_shannon": jensen_shannon(a, b)}
    if before.kind != "categorical":
        effects["ks"] = ks_of_counts(a, b)
        spread = before.standard_deviation
        if spread:
            effects["wasserstein"] = _wasserstein(before, after, a, b) / spread
    statistic, freedom = chi_square(*pooled(a, b, ordered=before.kind != "categorical"))
    enough = freedom > 0 or int(((a + b) > 0).sum()) == 1  # one value on both sides is no change
    known = fits and enough and before.present > 0 and after.present > 0
    return Measured(
        name,
        before.kind,
        "distribution",
        {k: v for k, v in effects.items() if np.isfinite(v)},
        chi_square_p(statistic, freedom) if known else None,
        before.present,
        after.present,
        role,
        freedom,
        note="" if known else "too few values to compare" if fits else OTHER_BINS,
    )


def cells(column: ColumnProfile, like: ColumnProfile) -> Floats:
    """Counts of a column in the bins, or by the known values and others, of another.

    Where the edges differ, values count as evenly spread over their bins.
    """
    if like.kind == "categorical":
        counts: Mapping[str, int] = {**column.others, **column.values}
        known = np.array([counts.get(value, 0) for value in like.values], dtype=np.float64)
        return np.append(known, max(column.present - known.sum(), 0.0))
    if column.edges == like.edges:
        return np.asarray(column.counts, dtype=np.float64)
    return np.diff(_below(column, np.asarray(like.edges)), prepend=0.0, append=float(column.present))


def _below(column: ColumnProfile, points: Floats) -> Floats:
    """Values below each point, taken for evenly spread inside a bin."""
    if not column.present or column.low is None or column.high is None:
        return np.zeros(len(points))
    inner = [(e, n) for e, n in zip(column.edges, np.cumsum(column.counts), strict=False)
             if column.low < e < column.high]  # fmt: skip
    places = [column.low, *(e for e, _ in inner), column.high]
    heights = [0.0, *(float(n) for _, n in inner), float(column.present)]
    if column.low == column.high:
        return np.where(points > column.low, float(column.present), 0.0)
    return np.interp(points, places, heights)


def _wasserstein(before: ColumnProfile, after: ColumnProfile, a: Floats, b: Floats) -> float:
    """At least the difference of the means, which is exact; else from the middles of the bins.

    No value outside the outer edges is known; they are taken to be as far out as the next bin is wide. Bins of few
    distinct values begin with their value.
    """
    edges = np.asarray(before.edges)
    apart = abs(after.mean - before.mean)
    if len(edges) < 2:
        return apart
    if edges[-1] == np.nextafter(edges[-2], np.inf):
        places = np.concatenate([edges[:1], edges])
    else:
        outer = [2 * edges[0] - edges[1], *edges, 2 * edges[-1] - edges[-2]]
        places = (np.asarray(outer[:-1]) + np.asarray(outer[1:])) / 2
    return max(wasserstein_of_counts(places, a, b), apart)


def _missing(name: str, before: ColumnProfile, after: ColumnProfile, role: Role) -> Measured:
    n, m = before.count, after.count
    every, both = before.missing + after.missing, n + m
    change = after.missing / m - before.missing / n if n and m else 0.0
    p = two_shares_p(before.missing, n, after.missing, m) if n and m else None
    return Measured(
        name,
        before.kind,
        "missing",
        {"change": change},
        p,
        n,
        m,
        role,
        base=every / both if both else 0.0,
        note="" if p is not None else "no rows to compare",
    )


def _unseen(name: str, before: ColumnProfile, after: ColumnProfile, role: Role) -> Measured | None:
    """Rows whose category the reference does not have; None where the reference cannot tell."""
    if before.other and before.distinct is None:
        return None
    if sum(before.others.values()) != before.other or not after.present or not before.present:
        return None  # of the reference's others only a sample is known
    known = {**before.others, **before.values}
    seen_there = {v for v, n in known.items() if n}
    counted = {**after.others, **after.values}
    strange = {v: n for v, n in counted.items() if n and v not in seen_there}
    complete = sum(after.others.values()) == after.other
    rows = sum(strange.values()) if complete else after.present - sum(counted.get(v, 0) for v in seen_there)
    once = sum(n == 1 for n in known.values())
    named = sorted(strange, key=lambda v: (-strange[v], v))[:_NAMED]
    return Measured(
        name,
        "categorical",
        "unseen",
        {"share": rows / after.present},
        unseen_p(rows, after.present, once, before.present),
        before.present,
        after.present,
        role,
        note=", ".join(named),
    )
