"""Reading an experiment that runs: who was given which version, and what came of it.

The arm of a unit is the one that the server gave it. Metrics come from the log and the outcomes (``outcome`` or the
label's name, ``value``, ``latency_ms``, ``fallback``, ``flagged``), and from a file of results where one was brought
in: it holds units and metrics, and who was in which arm is not taken from it.

A file is evidence that somebody chose: only the one that decides is named in the decision by its digest, and it is not
read where units that had been given a version by then are missing from it.
"""

from __future__ import annotations

import io
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from charter.core.clock import naive
from charter.core.decision import Check, Decision, Verdict
from charter.core.digest import Digest
from charter.core.errors import CharterError, DataError, Refusal
from charter.flow.arms import LOGGED, with_outcomes, worth
from charter.flow.logs import log_folder
from charter.flow.rolling import Rolling, rolling
from charter.flow.workspace import Workspace
from charter.spec.loader import Loaded

if TYPE_CHECKING:
    import polars as pl

    from charter.iterate.types import ExperimentReport
    from charter.registry.types import AuditEvent
    from charter.spec.types import ExperimentSpec, ModelSpec

RESULTS = "experiment.results"
COMPLETE = 0.95
"""Share of the units of the experiment that a file must tell of: who is missing may not be missing by chance."""


def read(workspace: Workspace, now: Rolling) -> tuple[ExperimentReport | None, Decision]:
    """Read the experiment as far as it has come.

    Returns
    -------
    The report, None where there is nothing to read, and the decision. Results that cannot be read are nothing known of
    it: whoever damages a file must not keep the guards beside it from being judged.
    """
    from polars.exceptions import PolarsError

    try:
        return _read(workspace, now)
    except (CharterError, PolarsError, ValueError) as damage:
        told = damage.message if isinstance(damage, CharterError) else str(damage).partition("\n")[0]
        return None, _unread(
            f"the results cannot be read: {told}; `charter experiment results FILE` brings in others"
        )


def _read(workspace: Workspace, now: Rolling) -> tuple[ExperimentReport | None, Decision]:
    from charter.iterate.analysis import analyse
    from charter.iterate.declared import plan

    experiment = now.loaded.spec.release.experiment
    if experiment is None:
        return None, _unread("no experiment is declared")
    planned = plan(experiment)
    frame, brought = results(workspace, now)
    missing = [c for c in _wanted(experiment) if c not in frame.columns]
    if missing:
        bring = "`charter experiment results FILE` brings them in"
        return None, _unread(f"nothing known of {', '.join(missing)}; {bring}")
    if frame.height == 0 or set(frame["arm"].unique()) != set(planned.shares):
        return None, _unread("not every arm has a unit yet")
    if brought is not None and brought.verdict is not Verdict.PASS:
        return None, Decision.of("experiment", [brought], {"outcome": "keep running"})
    report = analyse(frame, planned)
    if brought is None:
        return report, report.decision
    checks = (*report.decision.checks, brought)
    return report, Decision.of("experiment", checks, report.decision.evidence)


def _wanted(experiment: ExperimentSpec) -> list[str]:
    """Columns that the reading takes, each once."""
    from charter.iterate.declared import plan

    planned = plan(experiment)
    metrics = [c for m in (planned.primary, *planned.guardrails) for c in m.columns]
    covariate = [planned.covariate] if planned.covariate is not None else []
    return list(dict.fromkeys([*metrics, *planned.segments, *covariate]))


def _unread(note: str) -> Decision:
    check = Check("experiment", "no results", "won", Verdict.UNKNOWN, note=note)
    return Decision.of("experiment", [check], {"outcome": "keep running"})


def results(workspace: Workspace, now: Rolling) -> tuple[pl.DataFrame, Check | None]:
    """One row for each answer (or, with a file of results, each of its rows) of a unit that is in an arm.

    Returns
    -------
    The rows, and of a file how many units it tells of, with its digest.
    """
    import polars as pl

    from charter.serve.log_reader import scan

    spec, traffic = now.loaded.spec, now.traffic
    experiment = spec.release.experiment
    assert experiment is not None
    rows = scan(log_folder(workspace), model=spec.name, since=naive(now.deployment.at)).filter(
        (pl.col("stage") == traffic.stage) & pl.col("arm").is_in(list(traffic.arms))
    )
    asked = {f"input_{name}" for name in (experiment.unit, experiment.stratum, *_wanted(experiment))}
    kept = [c for c in rows.collect_schema().names() if c in LOGGED or c in asked]
    found = _with_unit(rows.select(kept).collect(), experiment, spec)
    found = found.filter(pl.col(experiment.unit).is_not_null())
    own = f"input_{experiment.stratum}"
    if experiment.strata and own in found.columns:
        # Strata with shares of their own would look like a fault of the assignment.
        found = found.filter(
            ~pl.col(own).cast(pl.String).is_in(list(experiment.strata)).fill_null(value=False)
        )
    brought = newest(workspace, now)
    if brought is None:
        return _measured(workspace, spec, found), None
    exposed = found.group_by(experiment.unit).agg(pl.col("arm").first(), pl.col("time").min())
    table = _named(workspace, spec, experiment, _table(workspace, brought))
    told = table.join(exposed.drop("time"), on=experiment.unit)
    return told, complete(exposed, table, experiment, brought)


def complete(
    exposed: pl.DataFrame, table: pl.DataFrame, experiment: ExperimentSpec, event: AuditEvent
) -> Check:
    """Hold a file of results against the units that were given a version before it was brought in.

    Parameters
    ----------
    exposed
        A row for each unit: its name and ``time``, when it was first answered (naive UTC).
    table
        The file, with the unit and the primary metric.
    """
    import polars as pl

    from charter.iterate.declared import plan

    known = [pl.col(c).is_not_null() for c in plan(experiment).primary.columns if c in table.columns]
    told = table.filter(*known)[experiment.unit]
    due = exposed.filter(pl.col("time") <= naive(event.at))[experiment.unit]
    share = float(due.is_in(told.unique().implode()).mean() or 0.0) if due.len() else 0.0  # type: ignore[arg-type]
    observed = f"{share:.1%} of {due.len():,} units, file {event.detail['digest']}"
    verdict = Verdict.PASS if share >= COMPLETE else Verdict.UNKNOWN
    note = "" if share >= COMPLETE else "who is missing may not be missing by chance; bring in a file of all"
    return Check("results", observed, f"{COMPLETE:.0%} at least", verdict, note=note)


def bring(workspace: Workspace, loaded: Loaded, file: Path, *, name: str | None = None) -> dict[str, Any]:
    """Keep a file of results for the experiment that runs; the newest one counts.

    Parameters
    ----------
    name
        Identity of whoever brings them in; asked for where ``release.rollout.roles.step`` names a role, since they
        decide as a step does.

    Raises
    ------
    Refusal
        When no experiment runs, or whoever asks does not hold the role.
    DataError
        When the file lacks the unit, or a metric, or holds what could not be read later.
    """
    from charter.flow.experiment import read_results
    from charter.flow.moves import moving
    from charter.flow.rollout import stepper
    from charter.iterate.declared import plan

    with moving(
        workspace, loaded, loaded.spec.name, "bring in results", name, partial(stepper, workspace, loaded)
    ) as act:
        now = rolling(workspace, loaded, act.records)
        if now is None or now.traffic.stage != "experiment":
            raise Refusal("no experiment is running", remedy="`charter rollout status` says what is tried.")
        experiment = now.loaded.spec.release.experiment
        assert experiment is not None
        frame, planned = read_results(file, workspace.settings), plan(experiment)
        wanted = [experiment.unit, *(c for m in (planned.primary, *planned.guardrails) for c in m.columns)]
        for column in wanted:
            if column not in frame.columns:
                raise DataError(f"{file} has no column {column!r}", remedy=f"It needs {', '.join(wanted)}.")
        refuse_unreadable(frame, experiment, file)
        kept = io.BytesIO()
        frame.drop("arm", strict=False).write_parquet(kept)
        digest = workspace.blobs().put_bytes(kept.getvalue())
        detail = {
            "model": loaded.spec.name, "digest": digest, "rows": frame.height, "experiment": now.traffic.name,
        }  # fmt: skip
        act.trail.append(
            at=workspace.clock.now(), actor=act.name, action=RESULTS, subject=now.traffic.name, detail=detail
        )
    return detail


def refuse_unreadable(frame: pl.DataFrame, experiment: ExperimentSpec, file: Path) -> None:
    """Refuse results before they are kept, where the experiment could not be read by them.

    Raises
    ------
    DataError
        For a unit that is neither text nor a whole number, a metric that is no number or not finite, or a column of
        lists, objects or bytes.
    """
    import polars as pl

    from charter.flow.experiment import as_numbers

    for name, dtype in frame.schema.items():
        if dtype.is_nested() or dtype in (pl.Binary, pl.Object, pl.Unknown):
            raise DataError(
                f"{file}: column {name!r} holds {dtype}, which no experiment is read by",
                remedy="Write text, numbers or moments, one a row.",
            )
    unit = frame.schema[experiment.unit]
    if not (unit.is_integer() or unit in (pl.String, pl.Categorical, pl.Enum)):
        raise DataError(
            f"{file}: the unit {experiment.unit!r} is of type {unit}, and no request names one like that",
            remedy="Write units as the requests do: text, or whole numbers.",
        )
    names = [n for n in _wanted(experiment) if n in frame.columns and n not in experiment.segments]
    numbers = as_numbers(frame, names)
    for name in names:
        if not (numbers.schema[name].is_numeric() or numbers.schema[name] == pl.Boolean):
            raise DataError(
                f"{file}: column {name!r} holds {numbers.schema[name]}, and a metric is a number",
                remedy="Write 0 and 1, true and false, or numbers.",
            )
        if odd := int((~numbers[name].cast(pl.Float64).is_finite()).sum()):
            raise DataError(
                f"{file}: column {name!r} holds {odd:,} values that are not finite",
                remedy="Repair them, or leave them empty where nothing is known.",
            )


def newest(workspace: Workspace, now: Rolling) -> AuditEvent | None:
    """Newest results of this very trial: one before it may have had its name."""
    since = now.deployment.at
    with workspace.records(now.loaded.spec.name, readonly=True) as records:
        mine = (e for e in records.events() if e.action == RESULTS and e.subject == now.traffic.name)
        return max((e for e in mine if e.at >= since), key=lambda e: e.sequence, default=None)


def _table(workspace: Workspace, event: AuditEvent) -> pl.DataFrame:
    import polars as pl

    return pl.read_parquet(io.BytesIO(workspace.blobs().get(Digest(str(event.detail["digest"])))))


def _with_unit(rows: pl.DataFrame, experiment: ExperimentSpec, spec: ModelSpec) -> pl.DataFrame:
    """Name the column of the unit as the specification does; null where it is not logged."""
    import polars as pl

    unit, logged = experiment.unit, f"input_{experiment.unit}"
    is_entity = unit == spec.data.observations.entity and "entity" in rows.columns
    name = logged if logged in rows.columns else "entity" if is_entity else None
    column = pl.col(name).cast(pl.String) if name is not None else pl.lit(None, pl.String)
    return rows.with_columns(column.alias(unit))


def _named(
    workspace: Workspace, spec: ModelSpec, experiment: ExperimentSpec, frame: pl.DataFrame
) -> pl.DataFrame:
    """Name units as the log does: by their pseudonym where it keeps no names."""
    import polars as pl

    from charter.flow.experiment import as_numbers
    from charter.iterate.declared import plan

    unit, planned = experiment.unit, plan(experiment)
    numbers = [c for m in (planned.primary, *planned.guardrails) for c in m.columns]
    frame = as_numbers(frame, numbers).with_columns(pl.col(unit).cast(pl.String))
    columns = (c for s in spec.data.sources.values() for n, c in s.columns.items() if n == unit)
    if spec.serve.log.personal == "hash" and any(c.sensitivity == "personal" for c in columns):
        from charter.serve.io.secret import load_secret
        from charter.serve.prediction_log import pseudonyms

        return frame.with_columns(pseudonyms(frame[unit], load_secret(log_folder(workspace))).alias(unit))
    return frame


def _measured(workspace: Workspace, spec: ModelSpec, rows: pl.DataFrame) -> pl.DataFrame:
    """Metrics that the log and the outcomes tell."""
    import polars as pl

    known = with_outcomes(workspace, spec, rows)
    each = worth(spec, known)
    label = spec.data.label.name
    outcome = pl.col("outcome").cast(pl.Float64, strict=False)
    of_outcome = [outcome.alias("__outcome"), *([each.alias("value")] if each is not None else [])]
    found = rows.join(
        known.select("id", "row", *of_outcome), on=["id", "row"], how="left", maintain_order="left"
    )
    said = [
        pl.col("__outcome").alias("outcome"),
        pl.col("__outcome").alias(label),
        (pl.col("latency_us") / 1000).alias("latency_ms"),
        pl.col("fallback").cast(pl.Float64),
        (pl.col("decision") == "positive").cast(pl.Float64).alias("flagged"),
    ]
    inputs = [pl.col(c).alias(c.removeprefix("input_")) for c in found.columns if c.startswith("input_")]
    taken = {"outcome", label, "latency_ms", "fallback", "flagged", "value"}
    return found.with_columns(*said, *(i for i in inputs if i.meta.output_name() not in taken))
