"""From a table of results to what each unit did: one row a unit, whatever the table has."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import polars as pl

from charter.core.decision import Check, Verdict
from charter.core.errors import DataError
from charter.core.measure import Measure
from charter.core.nearest import did_you_mean
from charter.evaluate.types import Floats
from charter.iterate.types import ExperimentPlan

MOST_MIXED = 0.01
"""Share of units seen in several arms above which the assignment itself is in doubt."""


@dataclass(frozen=True, slots=True)
class Results:
    """A table of results, checked.

    Attributes
    ----------
    rows
        Rows of units that are in one arm of the plan, with ``__unit`` (a number) and ``__arm``.
    counts
        Units by arm, in the plan's order.
    repeated
        Whether some unit has several rows.
    """

    rows: pl.DataFrame
    counts: dict[str, int]
    checks: tuple[Check, ...]
    remarks: tuple[str, ...]
    repeated: bool


def read_results(frame: pl.DataFrame, plan: ExperimentPlan) -> Results:
    """Check a table of results, and leave out what belongs to no arm or to several.

    Raises
    ------
    DataError
        For a column that is missing, is not a number, or holds an infinite one; or an arm without a unit.
    """
    measures = (plan.primary, *plan.guardrails)
    numbers = dict.fromkeys(
        [c for m in measures for c in m.columns] + ([plan.covariate] if plan.covariate else [])
    )
    _refuse_missing(frame, [plan.unit, plan.arm, *numbers, *plan.segments])
    named = frame.with_columns(
        pl.col(plan.arm).cast(pl.String).alias("__arm"), *(_number(frame, name) for name in numbers)
    ).filter(pl.col(plan.unit).is_not_null() & pl.col("__arm").is_not_null())
    known = named.filter(pl.col("__arm").is_in(list(plan.shares)))
    remarks = []
    if (nameless := frame.height - named.height) > 0:
        remarks.append(f"{nameless:,} rows without a unit or an arm are left out")
    if (other := named.height - known.height) > 0:
        remarks.append(f"{other:,} rows of arms that the plan does not have are left out")
    arms_of = known.group_by(plan.unit).agg(pl.col("__arm").n_unique().alias("arms"))
    mixed = arms_of.filter(pl.col("arms") > 1)
    pure = known.join(mixed, on=plan.unit, how="anti") if mixed.height else known
    rows = pure.with_columns((pl.col(plan.unit).rank("dense") - 1).cast(pl.Int64).alias("__unit"))
    found = dict(rows.group_by("__arm").agg(pl.col("__unit").n_unique()).iter_rows())
    counts = {arm: int(found.get(arm, 0)) for arm in plan.shares}
    for arm, count in counts.items():
        if count == 0:
            raise DataError(
                f"no unit is in the arm {arm!r}",
                remedy=did_you_mean(arm, sorted(set(named["__arm"].to_list()))),
            )
    return Results(
        rows,
        counts,
        (_purity(mixed.height, arms_of.height),),
        tuple(remarks),
        repeated=rows.height > sum(counts.values()),
    )


def per_unit(
    rows: pl.DataFrame, measure: Measure, covariate: str | None, segments: Iterable[str] = ()
) -> pl.DataFrame:
    """Add up rows by unit.

    Returns
    -------
    DataFrame
        One row a unit whose metric is known: ``__unit``, ``__arm``, ``y`` (sum), ``x`` (sum of the denominator, or
        rows), ``z`` (the covariate, its mean where it is missing), and the segments' columns.
    """
    weight = pl.col(measure.denominator).sum() if measure.denominator else pl.len()
    known = rows.filter(pl.all_horizontal(pl.col(c).is_not_null() for c in measure.columns))
    before = pl.col(covariate).mean() if covariate is not None else pl.lit(0.0)
    found = known.group_by("__unit", maintain_order=True).agg(
        pl.col("__arm").first(),
        pl.col(measure.column).sum().alias("y"),
        weight.cast(pl.Float64).alias("x"),
        before.alias("z"),
        *(pl.col(name).first() for name in segments),
    )
    # Who has no past is told from the others by nothing that the arm did.
    return found.with_columns(pl.col("z").fill_null(pl.col("z").mean()).fill_null(0.0))


def numbers_of(frame: pl.DataFrame, arm: str, *names: str) -> tuple[Floats, ...]:
    """Columns of one arm as arrays."""
    own = frame.filter(pl.col("__arm") == arm)
    return tuple(np.asarray(own[name].to_numpy(), dtype=np.float64) for name in names)


def _refuse_missing(frame: pl.DataFrame, names: Iterable[str]) -> None:
    for name in names:
        if name not in frame.columns:
            raise DataError(f"the results have no column {name!r}", remedy=did_you_mean(name, frame.columns))


def _number(frame: pl.DataFrame, name: str) -> pl.Expr:
    dtype = frame.schema[name]
    if not (dtype.is_numeric() or dtype == pl.Boolean):
        raise DataError(
            f"column {name!r} holds {dtype}, and a metric is a number",
            remedy="Write 0 and 1, true and false, or numbers.",
        )
    values = frame[name].cast(pl.Float64)
    if (infinite := int(values.is_infinite().sum())) > 0:
        raise DataError(
            f"column {name!r} holds {infinite} infinite numbers", remedy="Repair them, or leave them empty."
        )
    return pl.col(name).cast(pl.Float64).fill_nan(None)


def _purity(mixed: int, units: int) -> Check:
    share = mixed / units if units else 0.0
    verdict = Verdict.PASS if mixed == 0 else Verdict.WARN if share <= MOST_MIXED else Verdict.FAIL
    note = {
        Verdict.WARN: "those units are left out",
        Verdict.FAIL: "units do not keep their arm; mend the assignment before reading any result",
    }.get(verdict, "")
    return Check(
        "one arm a unit",
        f"{mixed:,} of {units:,} units were seen in several arms",
        f"at most {MOST_MIXED:.0%}",
        verdict,
        note=note,
    )
