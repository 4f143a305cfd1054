"""What candidate and champion did since a leg began, from the prediction log and the outcomes."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from charter.core.clock import naive
from charter.flow.logs import log_folder
from charter.flow.outcomes import kept_outcomes
from charter.flow.workspace import Workspace
from charter.registry.traffic import Traffic

if TYPE_CHECKING:
    from collections.abc import Sequence

    import polars as pl

    from charter.iterate.guards import Shown, Signals
    from charter.spec.types import ModelSpec

LOGGED = (
    "id",
    "row",
    "entity",
    "as_of",
    "time",
    "version",
    "stage",
    "arm",
    "score",
    "decision",
    "fallback",
    "latency_us",
)
"""Columns of the log that tell of answers; all others are inputs."""


def answered(workspace: Workspace, spec: ModelSpec, traffic: Traffic, since: datetime) -> pl.DataFrame:
    """Rows that candidate and champion answered since then, in this stage, with ``role``.

    ``role`` is ``candidate`` for what the candidate scored, given out or not, ``champion`` for what the champion
    answered in its own arm, and ``stand-in`` for what it answered in the candidate's place. Rows of units without an
    arm are left out. Of rows that are there twice, as those of a process that ended before it had said that it was
    done, or of a client that says an identifier again, the first counts.

    ``unit`` says which rows are no independent draws: those of a unit, or of a request where none is declared. Where
    the log does not hold the unit, they may all be of one.
    """
    import polars as pl

    from charter.serve.log_reader import scan

    rows = scan(log_folder(workspace), model=spec.name, since=naive(since), shadow=True)
    own = [arm for arm, version in traffic.arms.items() if version == traffic.champion]
    dealt = pl.col("arm").is_in(own) if traffic.arms else pl.col("arm").is_null()
    tried = [arm for arm, version in traffic.arms.items() if version == traffic.candidate]
    champion = pl.col("version") == traffic.champion
    role = (
        pl.when(pl.col("version") == traffic.candidate)
        .then(pl.lit("candidate"))
        .when(champion & dealt)
        .then(pl.lit("champion"))
        .when(champion & pl.col("arm").is_in(tried))
        .then(pl.lit("stand-in"))
    )
    there = rows.collect_schema().names()
    kept = [c for c in there if c in LOGGED or c == f"input_{traffic.stratum}"]
    found = (
        rows.filter(pl.col("stage") == traffic.stage)
        .select(*kept, _unit(spec, traffic, there).alias("unit"), role.alias("role"))
        .collect()
        .sort("time", maintain_order=True)
        .unique(["id", "row", "version"], keep="first", maintain_order=True)
        # Of what a shadow could not read nothing is logged, but whoever answered it has its unit.
        .with_columns(pl.col("unit").fill_null(pl.col("unit").max().over("id", "row")))
        .with_columns(pl.coalesce("unit", "id"))
    )
    return found.filter(pl.col("role").is_not_null())


def signals(workspace: Workspace, spec: ModelSpec, traffic: Traffic, since: datetime) -> Signals:
    """What guards are held against."""
    from charter.iterate.guards import Signals

    rows = answered(workspace, spec, traffic, since)
    compared = _compared(rows) if traffic.stage == "shadow" else (0, 0, 0.0)
    champion, candidate = (_shown(workspace, spec, rows, role) for role in ("champion", "candidate"))
    return Signals(champion, candidate, *compared, meant=_meant(traffic, rows))


def _unit(spec: ModelSpec, traffic: Traffic, there: Sequence[str]) -> pl.Expr:
    import polars as pl

    rollout, experiment = spec.release.rollout, spec.release.experiment
    unit = traffic.unit
    if (
        unit is None and rollout is not None
    ):  # a shadow deals nothing out, and its units are those of the next stage
        unit = rollout.unit
        if unit is None and rollout.experiment is not None and experiment is not None:
            unit = experiment.unit
    if unit is None:
        return pl.col("id")
    if f"input_{unit}" in there:
        return pl.col(f"input_{unit}").cast(pl.String)
    return pl.col("entity") if unit == spec.data.observations.entity and "entity" in there else pl.lit("")


def _meant(traffic: Traffic, rows: pl.DataFrame) -> float | None:
    """Share of requests that a canary's candidate is meant to answer where strata have shares of their own.

    By the champion's requests alone, each standing for 1 / (its share): what a candidate leaves unanswered must not
    change what is expected of it.
    """
    import polars as pl

    dealt = traffic.assignment
    if traffic.stage != "canary" or dealt is None or not dealt.strata:
        return None
    arm = next(arm for arm, version in traffic.arms.items() if version == traffic.candidate)
    own = {name: one.shares.get(arm, 0.0) for name, one in dealt.strata.items()}
    column = f"input_{traffic.stratum}"
    if column not in rows.columns:
        return min(own.values())
    share = pl.col(column).cast(pl.String).replace_strict(own, default=dealt.arms.shares.get(arm, 0.0))
    asked = rows.filter(pl.col("role") == "champion").unique("id").select(share.alias("share"))["share"]
    told = asked.to_numpy()
    return float((told / (1 - told)).sum() / (1 / (1 - told)).sum()) if len(told) else None


def with_outcomes(workspace: Workspace, spec: ModelSpec, rows: pl.DataFrame) -> pl.DataFrame:
    """Answers whose outcome is known and due, with ``outcome``."""
    import polars as pl

    from charter.flow.windows import due
    from charter.monitor.outcomes import join, latest

    moment = pl.coalesce("as_of", "time") if "as_of" in rows.columns else pl.col("time")
    joined = join(rows, latest(kept_outcomes(workspace, spec.name)))
    return joined.with_columns(moment.alias("moment")).filter(
        pl.col("outcome").is_not_null() & due(spec, naive(workspace.clock.now()))
    )


def worth(spec: ModelSpec, rows: pl.DataFrame) -> pl.Expr | None:
    """Worth of a decision with a known outcome; None where the specification states none."""
    import polars as pl

    if spec.value is None or spec.train.task != "binary":
        return None
    per = spec.value.per_decision
    said, was = pl.col("decision") == "positive", pl.col("outcome") == "1"
    return (
        pl.when(said & was)
        .then(per.true_positive)
        .when(said)
        .then(per.false_positive)
        .when(was)
        .then(per.false_negative)
        .otherwise(per.true_negative)
        .cast(pl.Float64)
    )


def _shown(workspace: Workspace, spec: ModelSpec, rows: pl.DataFrame, role: str) -> Shown:
    import numpy as np
    import polars as pl

    from charter.iterate.guards import Draws, Shown

    own = rows.filter(pl.col("role") == role)
    # Whom the champion had to stand in for has waited for both, and was failed even if the candidate left no trace.
    asked = rows.filter((pl.col("role") == role) | ((pl.col("role") == "stand-in") & (role == "candidate")))
    failed = (pl.col("fallback") | (pl.col("role") == "stand-in")).any()
    requests = asked.group_by("id", maintain_order=True).agg(
        failed.alias("failed"), pl.col("latency_us").max(), pl.col("unit").first()
    )
    value, valued = np.empty(0), own.clear()
    each = worth(spec, own)
    if each is not None and own.height:
        valued = with_outcomes(workspace, spec, own.filter(pl.col("decision").is_not_null()))
        value = valued.select(each).to_series().to_numpy()
    return Shown(
        requests.height,
        int(requests["failed"].sum()),
        requests["latency_us"].drop_nulls().cast(pl.Float64).to_numpy() / 1000,
        own["score"].drop_nulls().to_numpy(),
        value,
        Draws(
            _draws(requests),
            _draws(requests.drop_nulls("latency_us")),
            _draws(own.drop_nulls("score")),
            _draws(valued),
        ),
    )


def _draws(rows: pl.DataFrame) -> float:
    from charter.iterate.guards import draws

    return draws(rows["unit"].value_counts()["count"].to_numpy())


def _compared(rows: pl.DataFrame) -> tuple[int, int, float]:
    """Rows that both have decided, those that they decided otherwise, and how many draws they are worth."""
    import polars as pl

    said = {
        role: rows.filter((pl.col("role") == role) & pl.col("decision").is_not_null()).select(
            "id", "row", "unit", pl.col("decision").alias(role)
        )
        for role in ("champion", "candidate")
    }
    both = said["champion"].join(said["candidate"], on=["id", "row"])
    return both.height, int((both["champion"] != both["candidate"]).sum()), _draws(both)
