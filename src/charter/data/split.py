"""Which rows train and which test, and the folds among the training rows. Seeded, stable, the same on every machine."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from datetime import date, datetime, timedelta
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import polars as pl

from charter.core.errors import DataError
from charter.spec.moments import fixed
from charter.spec.types import Split

ROW = "__row"
"""Column with the stable id of a row, made from its key and moment."""
SPLIT = "__split"
"""Column with the side of a row: ``train``, ``test`` or ``unused``."""

_FEWER_FOLDS = "Lower train.split.folds."

Indices: TypeAlias = npt.NDArray[np.int64]
Moments: TypeAlias = npt.NDArray[np.datetime64]


def assign_split(frame: pl.DataFrame, split: Split, label: str, seed: int, as_of: str = "as_of") -> pl.Series:
    """Say for each row whether it trains, tests, or takes no part.

    Random and grouped: the row's id (or its group) and the seed are hashed to a number in [0, 1); below ``test`` the
    row tests. So a row keeps its side when others are added or removed, and the shares hold in expectation, within
    each class too: with 30,000 rows and a test share of 0.2 the share of a class of 22 % differs by about 0.5 points
    (one standard deviation). ``stratify`` is met exactly by `folds`.

    Time: rows from ``train_from`` to the end of ``train_until`` train, rows from ``test_from`` to the end of
    ``test_until`` test.

    Parameters
    ----------
    frame
        One row per observation; needs `ROW` (random), the group column (grouped) or ``as_of`` (time).
    label
        Column of the label; rows without one are ``unused``.

    Returns
    -------
    ``"train"``, ``"test"`` or ``"unused"`` per row.

    Raises
    ------
    DataError
        When a column is not there, or one side is empty.

    Examples
    --------
    >>> frame = pl.DataFrame({ROW: [f"id={i}" for i in range(1000)], "y": [0, 1] * 500})
    >>> side = assign_split(frame, Split(kind="random", test=0.2), "y", seed=7)
    >>> int((side == "test").sum())
    187
    >>> bool((assign_split(frame.head(400), Split(kind="random", test=0.2), "y", seed=7) == side.head(400)).all())
    True
    """
    match split.kind:
        case "time":
            moment = _column(frame, as_of, "a time split").cast(pl.Datetime("us"))
            # The type has seen to it that both dates are there.
            train = moment < _midnight_after(fixed(split.train_until or date.min))
            if split.train_from is not None:
                train = train & (moment >= _midnight(fixed(split.train_from)))
            test = moment >= _midnight(fixed(split.test_from or date.max))
            if split.test_until is not None:
                test = test & (moment < _midnight_after(fixed(split.test_until)))
        case "grouped":
            position = _positions(_column(frame, str(split.group), "a grouped split").cast(pl.String), seed)
            test = position < float(split.test or 0.0)
            train = ~test
        case _:
            test = _positions(_column(frame, ROW, "a random split"), seed) < float(split.test or 0.0)
            train = ~test
    known = _column(frame, label, "the split").is_not_null()
    sides = pl.DataFrame({"train": train & known, "test": test & known})
    named = pl.when(pl.col("train")).then(pl.lit("train")).when(pl.col("test")).then(pl.lit("test"))
    result = sides.select(named.otherwise(pl.lit("unused")).alias("__split")).to_series()
    for side in ("train", "test"):
        if not (result == side).any():
            raise DataError(
                f"the split leaves no {side} rows out of {frame.height:,} ({int(known.sum()):,} with a known label)",
                remedy="Check train.split against the period and the size of the data.",
            )
    return result


def folds(
    frame: pl.DataFrame,
    split: Split,
    y: npt.NDArray[np.generic],
    seed: int,
    *,
    as_of: str = "as_of",
    known_after: timedelta = timedelta(0),
) -> list[tuple[Indices, Indices]]:
    """Cut the training rows into folds for validation.

    Random: by rank of the row's hash; with ``stratify`` within each class, so that class counts of any two folds
    differ by at most one. Grouped: by rank of the group's hash, a group is never cut. Time: validation blocks follow
    each other and each is judged by a model of rows before it whose labels were known by then:
    ``as_of + known_after <= first as_of of the block``.

    Parameters
    ----------
    frame
        Training rows; shape (n, ...).
    y
        Labels, shape (n,); classes for ``stratify``.
    known_after
        How long after ``as_of`` a label is known; time splits only.

    Returns
    -------
    ``split.folds`` pairs of row indices (training, validation), each ascending.

    Raises
    ------
    DataError
        When there are too few rows, groups or moments.
    """
    k = split.folds
    if split.kind == "time":
        return _time_folds(_column(frame, as_of, "a time split"), k, known_after)
    if split.kind == "grouped":
        groups = _column(frame, str(split.group), "a grouped split").cast(pl.String).fill_null("")
        names = groups.unique().to_list()
        if len(names) < k:
            raise DataError(
                f"{k} folds need as many groups, and {split.group} has {len(names)}", remedy=_FEWER_FOLDS
            )
        ranked = sorted(names, key=lambda name: hash_text(seed + 1, name))
        fold_of = {name: i % k for i, name in enumerate(ranked)}
        fold = np.array([fold_of[name] for name in groups], dtype=np.int64)
    else:
        if frame.height < k:
            raise DataError(f"{k} folds need as many rows, and there are {frame.height}", remedy=_FEWER_FOLDS)
        # Another seed than the split's: there, training rows are those with a large hash.
        order = np.argsort(
            [hash_text(seed + 1, row) for row in _column(frame, ROW, "a random split")], kind="stable"
        )
        if split.stratify:
            # Classes one after another, each in hash order: dealing out in turn gives every fold its share of each.
            order = order[np.argsort(np.asarray(y)[order], kind="stable")]
        fold = np.empty(frame.height, dtype=np.int64)
        fold[order] = np.arange(frame.height) % k
    return [(np.flatnonzero(fold != i), np.flatnonzero(fold == i)) for i in range(k)]


def origin_folds(
    origin: Indices, target: Indices, fitted: npt.NDArray[np.bool_], judged: Iterable[int]
) -> list[tuple[Indices, Indices]]:
    """Cut the rows of a forecast into folds of a growing window.

    A fold judges the rows of one origin, by a model of the rows whose target was known then: what will happen in use.

    Parameters
    ----------
    origin, target : ndarray of int64, shape (n,)
        Numbers of the first period that is not known, and of the one that is forecast.
    fitted
        Shape (n,): rows that models are fitted on; the others are there to be judged.
    judged
        Origins of the folds.

    Returns
    -------
    A pair of row indices (training, validation) for each of ``judged``.

    Raises
    ------
    DataError
        When the periods do not suffice.

    Examples
    --------
    >>> target = np.arange(1, 21).repeat(2)
    >>> origin = target - np.tile([0, 1], 20)
    >>> [(int(target[fit].max()), target[valid].tolist()) for fit, valid in
    ...  origin_folds(origin, target, np.ones(40, bool), [14, 17])]
    [(13, [14, 15]), (16, [17, 18])]
    """
    found = [(np.flatnonzero(fitted & (target < at)), np.flatnonzero(origin == at)) for at in judged]
    if any(not len(fit) or not len(valid) for fit, valid in found):
        raise DataError(
            f"train.split: {len(found)} folds need more periods than the "
            f"{int(target.max()) - int(target.min()) + 1} that training has",
            remedy="Lower train.split.folds or fold_periods.",
        )
    return found


def _time_folds(moments: pl.Series, k: int, known_after: timedelta) -> list[tuple[Indices, Indices]]:
    at = moments.cast(pl.Datetime("us")).to_numpy().astype("datetime64[us]")
    known = at + np.timedelta64(known_after)
    distinct, counts = np.unique(at, return_counts=True)
    sorted_known = np.sort(known)
    rows_before = np.searchsorted(sorted_known, distinct, side="right")
    # The first model should see a fair part of the rows; where the period is too short for that, whatever there is.
    for least in (len(at) // (k + 1), len(at) // (2 * (k + 1)), 1):
        eligible = rows_before >= max(least, 1)
        if eligible.sum() >= k:
            break
    else:
        raise DataError(
            f"{k} folds need {k} moments whose past labels are known; {int(eligible.sum())} of {len(distinct)} are "
            f"{known_after.days} days after the first",
            remedy=f"{_FEWER_FOLDS} Or start the cut-offs earlier.",
        )
    blocks = _even_blocks(distinct[eligible], counts[eligible], k)
    return [
        (np.flatnonzero(known <= block[0]), np.flatnonzero((at >= block[0]) & (at <= block[-1])))
        for block in blocks
    ]


def _even_blocks(
    moments: npt.NDArray[np.datetime64], counts: npt.NDArray[np.int64], k: int
) -> list[npt.NDArray[np.datetime64]]:
    """Cut moments into k runs, none empty, of about equal row counts."""
    ends = np.cumsum(counts)
    blocks = []
    start = 0
    for left in range(k, 0, -1):
        done = ends[start - 1] if start else 0
        goal = done + (ends[-1] - done) / left
        end = int(np.argmin(np.abs(ends - goal))) + 1
        end = min(max(end, start + 1), len(moments) - (left - 1))
        blocks.append(moments[start : len(moments) if left == 1 else end])
        start = end
    return blocks


def _positions(ids: pl.Series, seed: int) -> pl.Series:
    texts = ids.fill_null("")
    distinct = texts.unique(maintain_order=True)
    where = {text: hash_text(seed, text) / 2**64 for text in distinct}
    return pl.Series("position", [where[text] for text in texts], dtype=pl.Float64)


def hash_text(seed: int, text: str) -> int:
    """64-bit BLAKE2b of seed and text: unlike a frame library's hash it is the same for ever."""
    return int.from_bytes(
        hashlib.blake2b(text.encode(), digest_size=8, key=str(seed).encode()).digest(), "big"
    )


def _column(frame: pl.DataFrame, name: str, why: str) -> pl.Series:
    if name not in frame.columns:
        raise DataError(
            f"{why} needs column {name!r}, which the data set does not have", remedy=_known(frame.columns)
        )
    return frame[name]


def _known(columns: Iterable[str]) -> str:
    return f"It has {', '.join(list(columns)[:12])}"


def _midnight(day: date) -> datetime:
    return datetime.combine(day, datetime.min.time())


def _midnight_after(day: date) -> datetime:
    return _midnight(day) + timedelta(days=1)
