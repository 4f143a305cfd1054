"""Experiments for the command line: how large, and what a file of results says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from charter.core.effect import Effect
from charter.core.errors import DataError, UsageError
from charter.core.measure import Measure
from charter.core.settings import Settings

if TYPE_CHECKING:
    import polars as pl

    from charter.iterate.types import ExperimentPlan, ExperimentReport
    from charter.spec.types import ExperimentSpec, ModelSpec

_TRUTH = {"true": 1.0, "false": 0.0}
_MOST_ARMS = 20


def parse_arms(text: str) -> dict[str, float]:
    """Read ``control=0.5,new=0.5``.

    Examples
    --------
    >>> parse_arms("control=0.9, new=0.1")
    {'control': 0.9, 'new': 0.1}
    """
    arms: dict[str, float] = {}
    for entry in text.split(","):
        arm, equals, share = (part.strip() for part in entry.partition("="))
        try:
            arms[arm] = float(share)
        except ValueError:
            equals = ""
        if not arm or not equals:
            raise UsageError(
                f"{text!r} is not a list of arms", remedy="Write for example 'control=0.5,new=0.5'."
            )
    return arms


def parse_guardrails(texts: Sequence[str]) -> dict[Measure, Effect]:
    """Read ``retention: -1%``: the metric, and the most that it may move in the wrong direction."""
    found = {}
    for text in texts:
        metric, colon, most = text.rpartition(":")
        if not colon:
            raise UsageError(
                f"{text!r} is not a guardrail",
                remedy="Write for example 'retention: -1%' (must not fall by more) or 'p95(latency_ms): +10%'.",
            )
        found[parse_measure(metric)] = parse_effect(most)
    return found


def parse_measure(text: str) -> Measure:
    """Read a measure given on the command line."""
    try:
        return Measure.parse(text)
    except ValueError as error:
        raise UsageError(str(error)) from error


def parse_effect(text: str) -> Effect:
    """Read a change given on the command line."""
    try:
        return Effect.parse(text)
    except ValueError as error:
        raise UsageError(str(error)) from error


def declared(spec: ModelSpec) -> ExperimentSpec:
    """Return the experiment of a specification.

    Raises
    ------
    UsageError
        When it declares none.
    """
    if spec.release.experiment is None:
        raise UsageError(
            "the specification declares no experiment",
            remedy="Add release.experiment, or give the options; see docs/experiments.md.",
        )
    return spec.release.experiment


def read_results(file: Path, settings: Settings | None = None) -> pl.DataFrame:
    """Read a file of results: CSV, Parquet, JSON lines or Arrow, packed or not.

    Columns of a text format become numbers where every value is one (``true`` and ``false`` are 1 and 0).

    Raises
    ------
    DataError
        When the file is not there, empty, damaged, or of an unknown format.
    """
    from charter.core.nearest import advice
    from charter.data.io.sources import read
    from charter.spec.types import SourceSpec

    if "://" not in str(file) and not file.is_file():
        beside = [p.name for p in file.parent.iterdir()] if file.parent.is_dir() else []
        raise DataError(
            f"{file}: there is no such file", remedy=advice(file.name, beside) or "Check the path."
        )
    # With duplicates to be looked for every column is read, under its own name; none is declared here.
    source = SourceSpec(uri=str(file), columns={}, duplicates="drop")
    frame = read(source, Path.cwd(), settings or Settings.from_environment())
    if frame.height == 0:
        raise DataError(f"{file} has no rows", remedy="Check how the file was written.")
    return frame


def as_numbers(frame: pl.DataFrame, names: Sequence[str]) -> pl.DataFrame:
    """Turn text columns into numbers, since a text format says of no column what it is.

    Raises
    ------
    DataError
        For a value that is none, with its row.
    """
    import polars as pl

    changed = []
    for name in names:
        if name not in frame.columns or frame.schema[name] != pl.String:
            continue
        text = frame[name].str.strip_chars()
        text = pl.select(pl.when(text == "").then(None).otherwise(text)).to_series()
        number = text.cast(pl.Float64, strict=False)
        truth = text.str.to_lowercase().replace_strict(_TRUTH, default=None, return_dtype=pl.Float64)
        value = pl.select(pl.coalesce(number, truth)).to_series().alias(name)
        wrong = (value.is_null() & text.is_not_null()).arg_true()
        if len(wrong):
            raise DataError(
                f"column {name!r} holds {text[int(wrong[0])]!r} in row {int(wrong[0]) + 1:,}, which is no number",
                remedy=f"{len(wrong):,} rows are like it; write numbers, or true and false, or nothing.",
            )
        changed.append(value)
    return frame.with_columns(changed)


def shares_of(
    frame: pl.DataFrame, arm: str, shares: Mapping[str, float], control: str | None
) -> dict[str, float]:
    """Shares by arm, the control first: as given, or all arms of the file alike.

    Raises
    ------
    UsageError
        When the control is not said and no arm is called so, or the column does not look like arms.
    """
    import polars as pl

    if arm not in frame.columns:
        from charter.core.nearest import did_you_mean

        raise DataError(f"the results have no column {arm!r}", remedy=did_you_mean(arm, frame.columns))
    found = shares or dict.fromkeys(sorted(frame[arm].cast(pl.String).drop_nulls().unique().to_list()), 1.0)
    if not 2 <= len(found) <= _MOST_ARMS:
        raise UsageError(
            f"column {arm!r} holds {len(found):,} different values, which is no experiment",
            remedy=f"Name the column of the arm, of which there are 2 to {_MOST_ARMS}.",
        )
    name = control or next((known for known in ("control", "champion") if known in found), "")
    if name not in found:
        raise UsageError(
            f"{name!r} is not one of the arms {', '.join(found)}"
            if name
            else f"which of the arms {', '.join(found)} is the control?",
            remedy=f"Say so, for example `--control {next(iter(found))}`.",
        )
    whole = sum(found.values())
    ordered = {name: found[name], **{a: s for a, s in found.items() if a != name}}
    return {a: s / whole for a, s in ordered.items()} if not shares else ordered


def analyse_file(frame: pl.DataFrame, plan: ExperimentPlan) -> ExperimentReport:
    """Read results by a plan."""
    from charter.iterate.analysis import analyse

    columns = [c for m in (plan.primary, *plan.guardrails) for c in m.columns]
    return analyse(as_numbers(frame, [*columns, *([plan.covariate] if plan.covariate else [])]), plan)
