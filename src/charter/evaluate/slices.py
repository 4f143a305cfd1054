"""Parts of the test rows: where the model is worst, and whether that is more than chance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import polars as pl

from charter.core.errors import DataError
from charter.core.nearest import did_you_mean
from charter.data.expressions import compile_expression
from charter.data.metrics import Sample, direction
from charter.evaluate.intervals import estimate, from_replicates
from charter.evaluate.resample import Draws, Replicates
from charter.evaluate.types import Estimate, Integers, SliceResult

MISSING = "(missing)"
_MOST_NUMBERS = 20
_MOST_VALUES = 50


@dataclass(frozen=True, slots=True)
class SliceRows:
    """The rows of one slice, ascending."""

    slice: str
    value: str
    rows: Integers


def slice_rows(frame: pl.DataFrame, texts: Sequence[str]) -> list[SliceRows]:
    """Find the rows of each slice.

    Parameters
    ----------
    frame
        Test rows, with the columns that the slices name.
    texts
        A column: one slice per value, ``(missing)`` among them. Numbers of more than 20 distinct values are cut at
        their quartiles; of other columns with more than 50 values the rest is one slice, ``(other)``.
        Or a condition, such as ``AGE < 30``: the rows where it is true.

    Raises
    ------
    DataError
        When a column is missing, or a condition is not true or false.

    Examples
    --------
    >>> frame = pl.DataFrame({"SEX": ["1", "2", "1"], "AGE": [20, 40, 60]})
    >>> [(s.slice, s.value, s.rows.tolist()) for s in slice_rows(frame, ["SEX", "AGE < 50"])]
    [('SEX', '1', [0, 2]), ('SEX', '2', [1]), ('AGE < 50', 'true', [0, 1])]
    """
    found = []
    for text in texts:
        if text in frame.columns:
            labels = column_labels(frame[text])
            found += [SliceRows(text, label, _where(labels == label)) for label in _in_order(labels)]
        else:
            found.append(SliceRows(text, "true", _where(_condition(frame, text))))
    return found


def _in_order(labels: pl.Series) -> list[str]:
    def key(label: str) -> tuple[bool, float, str]:
        try:
            return label == MISSING, float(label), label
        except ValueError:
            return label == MISSING, float("inf"), label

    return sorted(labels.unique().to_list(), key=key)


def _where(mask: pl.Series) -> Integers:
    return np.flatnonzero(mask.fill_null(value=False).to_numpy()).astype(np.int64)


def _condition(frame: pl.DataFrame, text: str) -> pl.Series:
    try:
        mask = frame.select(compile_expression(text).alias("mask"))["mask"]
    except pl.exceptions.ColumnNotFoundError as error:
        name = str(error).split('"')[1] if '"' in str(error) else text
        raise DataError(
            f"slice {text!r}: the test rows have no column {name!r}", remedy=did_you_mean(name, frame.columns)
        ) from error
    except pl.exceptions.PolarsError as error:
        raise DataError(f"slice {text!r} cannot be computed: {str(error).splitlines()[0]}") from error
    if mask.dtype != pl.Boolean or len(mask) != frame.height:
        raise DataError(
            f"slice {text!r} is neither a column nor a condition", remedy="Write for example 'AGE < 30'."
        )
    return mask


def column_labels(column: pl.Series) -> pl.Series:
    """Name the slice of each row by the column's value, or range of values."""
    if column.dtype.is_numeric() and column.n_unique() > _MOST_NUMBERS + column.has_nulls():
        return _quartiles(column)
    text = column.cast(pl.String)
    counts = text.drop_nulls().value_counts().sort(["count", column.name], descending=[True, False])
    if len(counts) > _MOST_VALUES:
        kept = counts[column.name].head(_MOST_VALUES - 1).implode()
        text = pl.select(
            pl.when(text.is_null() | text.is_in(kept)).then(text).otherwise(pl.lit("(other)"))
        ).to_series()
    return text.fill_null(MISSING).alias("label")


def _quartiles(column: pl.Series) -> pl.Series:
    values = column.cast(pl.Float64).fill_nan(None)
    # Edges are values that occur, so that they read well.
    cuts = sorted({float(q) for s in (0.25, 0.5, 0.75) if (q := values.quantile(s, "nearest")) is not None})
    least, most = (float(v) for v in (values.min(), values.max()) if isinstance(v, int | float))
    cuts = [cut for cut in cuts if cut > least]
    edges = [least, *cuts, most]
    labels = []
    for i, (low, high) in enumerate(pairwise(edges)):
        end = "]" if i == len(edges) - 2 else ")"
        labels.append(f"{i + 1}: [{_number(low)}, {_number(high)}{end}")
    place = np.searchsorted(np.array(cuts), values.fill_null(0.0).to_numpy(), side="right")
    named = pl.Series("label", [labels[i] for i in place.tolist()], dtype=pl.String)
    missing = values.is_null()
    return pl.select(pl.when(missing).then(pl.lit(MISSING)).otherwise(named).alias("label")).to_series()


def _number(value: float) -> str:
    return str(int(value)) if value.is_integer() and abs(value) < 1e15 else f"{value:.6g}"


def judge_slices(
    slices: Sequence[SliceRows],
    sample: Sample,
    replicates: Sequence[Replicates],
    overall: Replicates,
    draws: Draws,
    *,
    primary: str,
    metrics: Sequence[str],
    min_rows: int,
    confidence: float,
) -> tuple[SliceResult, ...]:
    """Measure each slice, and test its gap to all rows.

    Parameters
    ----------
    replicates, overall
        ``primary`` on the resamples, of each slice and of all rows; the same resamples, so that the gap is paired.

    Notes
    -----
    The p-value takes the gap as normal with the standard deviation of its resamples, and is corrected for the number
    of slices judged (Holm, 1979).
    """
    whole = float(sample.measure((primary,), np.ones((1, sample.n)))[0, 0])
    results: list[SliceResult] = []
    tests: dict[int, float] = {}
    for one, own in zip(slices, replicates, strict=True):
        part = sample.take(one.rows)
        points = part.measure(metrics, np.ones((1, part.n)))[:, 0].tolist()
        found = {name: p if np.isfinite(p) else None for name, p in zip(metrics, points, strict=True)}
        nothing = Estimate(found[primary], None, None, "none", part.n)
        gap, note = Estimate(None, None, None, "none", part.n), ""
        main = nothing
        if part.n < min_rows:
            note = f"too small to judge: {part.n} rows, {min_rows} needed"
        else:
            main = estimate((primary,), part, own, draws, confidence=confidence, rows=one.rows)[primary]
            note = main.note if main.value is None else ""
        judged = part.n >= min_rows and main.value is not None
        if judged and main.value is not None:
            (boot, jack), (all_boot, all_jack) = own.of(primary), overall.of(primary)
            units = len(np.unique(draws.unit[one.rows])) if draws.clustered else part.n
            gap = from_replicates(
                main.value - whole,
                boot - all_boot,
                jack - all_jack,
                confidence=confidence,
                n=part.n,
                units=units,
            )
            if gap.low is not None:
                tests[len(results)] = _p_value(main.value - whole, boot - all_boot)
        results.append(
            SliceResult(
                slice=one.slice,
                value=one.value,
                n=part.n,
                positives=None if sample.score.ndim == 2 or not _is_binary(sample) else int(part.y.sum()),
                judged=judged,
                primary=main,
                gap=gap,
                p_value=None,
                metrics=found,
                note=note,
            )
        )
    return _with_p_values(results, holm(tests))


def _is_binary(sample: Sample) -> bool:
    return bool(np.isin(sample.y, (0.0, 1.0)).all())


def _p_value(gap: float, boot: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> float:
    from scipy.special import ndtr

    spread = float(np.std(boot[np.isfinite(boot)], ddof=1))
    if spread == 0:
        return 1.0 if gap == 0 else 0.0
    return float(2 * ndtr(-abs(gap) / spread))


def holm(p_values: Mapping[int, float]) -> dict[int, float]:
    """Correct p-values for their number (Holm, 1979): sorted, the i-th of m is multiplied by m - i, never falling.

    Examples
    --------
    >>> holm({0: 0.01, 1: 0.04, 2: 0.03})
    {0: 0.03, 2: 0.06, 1: 0.06}
    """
    corrected: dict[int, float] = {}
    so_far = 0.0
    for i, (key, p) in enumerate(sorted(p_values.items(), key=lambda item: (item[1], item[0]))):
        so_far = max(so_far, min(1.0, p * (len(p_values) - i)))
        corrected[key] = so_far
    return corrected


def _with_p_values(results: list[SliceResult], p_values: Mapping[int, float]) -> tuple[SliceResult, ...]:
    return tuple(replace(result, p_value=p_values.get(i)) for i, result in enumerate(results))


def worst_of(slices: Sequence[SliceResult], primary: str) -> SliceResult | None:
    """Name the judged slice with the worst primary metric; None where none is judged."""
    judged = [s for s in slices if s.judged and s.primary.value is not None]
    sign = 1.0 if direction(primary) == "up" else -1.0
    return min(judged, key=lambda s: sign * (s.primary.value or 0.0), default=None)


def slices_note(slices: Sequence[SliceResult], confidence: float) -> str:
    """Say what looking at many slices does to chance."""
    judged, small = sum(s.judged for s in slices), sum(not s.judged for s in slices)
    if not slices:
        return ""
    chance = judged * (1 - confidence)
    counted = f"{judged} {'slice' if judged == 1 else 'slices'} judged, {small} not"
    if judged < 2:
        return f"{counted}."
    return (
        f"{counted}; each interval holds by itself, so about {chance:.1f} of {judged} would "
        "miss by chance alone. The worst of many slices looks worse than it is; p-values are corrected (Holm)."
    )
