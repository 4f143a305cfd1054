"""What candidate and champion did since a leg began, from the prediction log and the outcomes."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from charter.flow.logs import log_folder
from charter.flow.outcomes import outcomes_folder
from charter.flow.workspace import Workspace
from charter.registry.traffic import Traffic

if TYPE_CHECKING:
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

    ``role`` is ``candidate`` for all that the candidate was asked: what it scored, given out or not, and what it
    refused, so that the champion stood in, as if by a fallback. It is ``champion`` for what the champion answered in
    its own arm. Rows of units without an arm are left out.
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
        .then(pl.lit("stood in"))
    )
    there = rows.collect_schema().names()
    kept = [c for c in there if c in LOGGED or c == f"input_{traffic.unit}"]
    found = (
        rows.filter(pl.col("stage") == traffic.stage).select(kept).with_columns(role.alias("role")).collect()
    )
    scored = found.filter(pl.col("role").is_in(["candidate", "champion"]))
    refused = found.filter(pl.col("role") == "stood in").join(
        scored.filter(pl.col("role") == "candidate"), on=["id", "row"], how="anti"
    )
    nothing = [pl.lit(None, dtype=found.schema[c]).alias(c) for c in ("score", "decision", "latency_us")]
    asked = refused.with_columns(*nothing, role=pl.lit("candidate"), fallback=pl.lit(value=True))
    return pl.concat([scored, asked])


def signals(workspace: Workspace, spec: ModelSpec, traffic: Traffic, since: datetime) -> Signals:
    """What guards are held against."""
    from charter.iterate.guards import Signals

    rows = answered(workspace, spec, traffic, since)
    compared, differing = _compared(rows) if traffic.stage == "shadow" else (0, 0)
    champion, candidate = (_shown(workspace, spec, rows, role) for role in ("champion", "candidate"))
    return Signals(champion, candidate, compared, differing)


def with_outcomes(workspace: Workspace, spec: ModelSpec, rows: pl.DataFrame) -> pl.DataFrame:
    """Answers whose outcome is known and due, with ``outcome``."""
    import polars as pl

    from charter.flow.windows import due
    from charter.monitor.io import outcomes as store
    from charter.monitor.outcomes import join, latest

    moment = pl.coalesce("as_of", "time") if "as_of" in rows.columns else pl.col("time")
    joined = join(rows, latest(store.read(outcomes_folder(workspace, spec.name))))
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

    from charter.iterate.guards import Shown

    own = rows.filter(pl.col("role") == role)
    # Whom the champion had to stand in for has waited for both, and was failed even if the candidate left no trace.
    asked = rows.filter((pl.col("role") == role) | ((pl.col("role") == "stand-in") & (role == "candidate")))
    failed = (pl.col("fallback") | (pl.col("role") == "stand-in")).any()
    requests = asked.group_by("id", maintain_order=True).agg(
        failed.alias("failed"), pl.col("latency_us").max()
    )
    value = np.empty(0)
    each = worth(spec, own)
    if each is not None and own.height:
        known = with_outcomes(workspace, spec, own.filter(pl.col("decision").is_not_null()))
        value = known.select(each).to_series().to_numpy()
    return Shown(
        requests.height,
        int(requests["failed"].sum()),
        requests["latency_us"].drop_nulls().cast(pl.Float64).to_numpy() / 1000,
        own["score"].drop_nulls().to_numpy(),
        value,
    )


def _compared(rows: pl.DataFrame) -> tuple[int, int]:
    """Rows that both have decided, and those that they decided otherwise."""
    import polars as pl

    said = {
        role: rows.filter((pl.col("role") == role) & pl.col("decision").is_not_null()).select(
            "id", "row", pl.col("decision").alias(role)
        )
        for role in ("champion", "candidate")
    }
    both = said["champion"].join(said["candidate"], on=["id", "row"])
    return both.height, int((both["champion"] != both["candidate"]).sum())


def naive(moment: datetime) -> datetime:
    """Moment as the log has it: UTC, and not told so."""
    return moment.astimezone(UTC).replace(tzinfo=None)
