"""One window of a released version, measured from the log: quality, worth, operations, drift against training."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from charter.core.errors import CharterError
from charter.flow.context import read_json
from charter.flow.logs import log_folder
from charter.flow.views import version_number
from charter.flow.workspace import Workspace
from charter.spec.types import ModelSpec

if TYPE_CHECKING:
    import polars as pl

    from charter.core.decision import Check
    from charter.data.profile import Profile
    from charter.flow.again import Again
    from charter.flow.followed import Followed
    from charter.monitor.report import Measurement, Operations
    from charter.monitor.seen import Seen

_INPUT = "input_"
_DAYS_PER_MONTH = 365.25 / 12
_WINDOW = {"day": "1d", "week": "1w", "month": "1mo"}
LENGTH = {"day": timedelta(days=1), "week": timedelta(weeks=1), "month": timedelta(days=31)}
"""Of a window, at the most."""


def answers(
    workspace: Workspace,
    spec: ModelSpec,
    *,
    beside: pl.DataFrame | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
) -> pl.LazyFrame:
    """Logged answers with the moment that they are for and the window that it lies in.

    Parameters
    ----------
    beside
        Answers that stand in no log.
    since, until
        Only what was answered between them (naive UTC): no other day is read.
    """
    import polars as pl

    from charter.serve.log_reader import scan

    found = scan(log_folder(workspace), model=spec.name, since=since, until=until)
    if beside is not None:
        found = pl.concat([found, beside.lazy()], how="diagonal_relaxed")
    there = found.collect_schema().names()
    origin = "input_as_of" if spec.train.task == "forecast" else "as_of"
    moment = pl.coalesce(origin, "time") if origin in there else pl.col("time")
    window = moment.dt.truncate(_WINDOW[spec.monitor.every])
    return found.with_columns(moment.alias("moment"), window.alias("window"))


def due(spec: ModelSpec, now: datetime) -> pl.Expr:
    """Whether the outcome of an answer should be known."""
    import polars as pl

    return (pl.col("moment") + pl.lit(spec.data.label.wait) <= pl.lit(now)).alias("due")


def due_of(waits: Mapping[str, timedelta], now: datetime) -> pl.Expr:
    """The same, of answers of several versions: each waits for as long as it says."""
    import polars as pl

    wait = pl.col("version").replace_strict(waits, default=None, return_dtype=pl.Duration("us"))
    return (pl.col("moment") + wait <= pl.lit(now)).alias("due")


@dataclass(frozen=True, slots=True)
class Reference:
    """What a version saw and said in training."""

    seen: Seen
    classes: tuple[str, ...]
    again: Again | str
    """Or why its answers cannot be computed again."""


def reference(workspace: Workspace, spec: ModelSpec, version: str, folder: Path) -> Reference:
    """Read what a version saw and said in training out of its bundle.

    Parameters
    ----------
    folder
        Of the monitor, where what is learned about a version is kept.
    """
    from charter.flow.again import again
    from charter.monitor.seen import Seen

    blobs = workspace.blobs()
    with workspace.records(spec.name, readonly=True) as records:
        bundle = records.version(version_number(version)).bundle
    kept = read_json(blobs, bundle, "profile.json")
    classes = tuple(read_json(blobs, bundle, "scoring.json")["classes"])
    try:
        second = again(workspace, spec, version, folder)
    except CharterError as error:  # a second look is worth less than the first
        second = error.message
    return Reference(Seen.from_json(kept), classes, second)


def year_before(start: datetime, spec: ModelSpec) -> datetime:
    """Start of the window of the same season a year ago: of the same month, or the same day of the week."""
    if spec.monitor.every == "month":
        return start.replace(year=start.year - 1)
    return start - timedelta(weeks=52)


def end_of(start: pl.Expr, spec: ModelSpec) -> pl.Expr:
    """First moment after a window."""
    return start.dt.offset_by(_WINDOW[spec.monitor.every])


def known_by(end: datetime, asked: pl.DataFrame, spec: ModelSpec) -> pl.DataFrame:
    """Of answers with their outcomes, those that had come by a moment: whose time had passed, and that were known."""
    import polars as pl

    return asked.filter(pl.col("outcome").is_not_null() & (pl.col("known_at") <= end)).filter(
        due(spec, end).alias("due")
    )


def measure(
    rows: pl.DataFrame,
    spec: ModelSpec,
    trained: Reference,
    *,
    past: pl.DataFrame,
    before: Sequence[Seen],
    year_ago: Seen | None,
    followed: Followed | None,
    dealt_by: Collection[str] = (),
    key: str,
    version: str,
    start: datetime,
) -> Measurement:
    """Measure a window.

    Parameters
    ----------
    rows
        Answers of the window, with ``outcome`` and ``due``.
    past
        Earlier answers whose outcome was known by the end of the window.
    before, year_ago
        What was seen and said in the windows before it, oldest first, and a year ago; in the bins of ``trained``.
    followed
        What forecasts are held against; None for other tasks.
    dealt_by
        Fields by which versions are dealt out while one is tried: then they differ from training by design.
    key
        Digest of what it is made from.
    """
    import polars as pl

    from charter.data.profile import profile
    from charter.flow.followed import measures_of, report_json
    from charter.monitor.concept import Losses, excess, rarer_share
    from charter.monitor.feedback import feedback
    from charter.monitor.quality import quality, worth
    from charter.monitor.report import Measurement
    from charter.monitor.seen import Seen, drift_of

    rows = rows.with_columns((pl.col("decision") == "positive").alias("flagged"))
    end: datetime = pl.select(end_of(pl.lit(start), spec)).item()
    months = (end - start) / timedelta(days=_DAYS_PER_MONTH)
    inputs, reference = _inputs(rows), trained.seen
    second = trained.again if isinstance(trained.again, str) else trained.again.look(rows)
    checks: list[Check] = []
    figures: dict[str, float] = {}
    missing: dict[str, str] = {}
    if isinstance(second, str):
        missing["skew"] = second
    else:
        checks.append(second.skew.check(spec.monitor.drift.skew_share))
        figures["skew_share"] = second.skew.share
        if second.importance is not None:
            checks.append(second.importance.check(spec.monitor.drift.importance_ndcg))
            figures["importance_ndcg"] = second.importance.ndcg
    made = None if isinstance(second, str) else second.features
    seen = Seen(_profile(inputs, made, reference.features), profile(rows.select("score"), reference.score))
    confidence, limits = spec.monitor.confidence, spec.monitor.drift
    dealt = "stage" in rows.columns and rows["stage"].is_in(["canary", "experiment"]).any()
    for name in sorted(set(dealt_by) & set(reference.features.columns)) if dealt else ():
        limits = limits.model_copy(update={"ignore": (*limits.ignore, name)})
        missing[f"drift of {name}"] = "versions were dealt out by it"
    held = followed.report(rows, spec) if followed is not None else None
    forecast: dict[str, Any] = {}
    if followed is not None and held is not None:
        figures |= measures_of(held)
        forecast = report_json(held) | {
            "exceptions": followed.exceptions(pl.concat([past, rows], how="diagonal_relaxed"), spec)
        }
        figures["exceptions"] = float(len(forecast["exceptions"]))
    mature = rows.filter(pl.col("due") & pl.col("outcome").is_not_null() & pl.col("score").is_finite()).sort(
        "moment", "id", "row"
    )
    return Measurement(
        key=key,
        version=version,
        start=start,
        end=end,
        answered_from=cast("datetime", rows["moment"].min()),
        months=months,
        quality=quality(
            rows,
            spec,
            classes=trained.classes,
            past=past,
            losses=None if isinstance(trained.again, str) else trained.again.losses(rows, confidence),
            confidence=confidence,
            realised=held.overall.metrics if held is not None else None,
        ),
        worth=worth(rows, spec, months=months, rule=_rule(inputs, spec)),
        operations=_operations(rows),
        drift=drift_of(seen, reference, limits, before=before, year_ago=year_ago),
        feedback=feedback(rows) if spec.train.task == "binary" else None,
        forecast=forecast or None,
        losses=Losses.of(excess(mature, spec.train.task), rarer_share(mature, spec.train.task)),
        profile=seen.to_json(),
        checks=tuple(checks),
        figures=figures,
        not_measured=missing,
    )


def seen_again(rows: pl.DataFrame, trained: Reference) -> Seen:
    """What a version sees in answers that another one gave, and what it would have said itself.

    Parameters
    ----------
    rows
        Of the log, with the requests. What cannot be told from them is left out: features that are made from more than
        the log holds, and scores, where the version cannot answer again.
    """
    from charter.data.profile import Profile, profile
    from charter.monitor.seen import Seen

    second = trained.again if isinstance(trained.again, str) else trained.again.look(rows)
    said = Profile(0, {}) if isinstance(second, str) else profile(second.scores, trained.seen.score)
    made = None if isinstance(second, str) else second.features
    return Seen(_profile(_inputs(rows), made, trained.seen.features), said)


def _inputs(rows: pl.DataFrame) -> pl.DataFrame:
    """Requests as they were, as far as they are logged."""
    import polars as pl

    return rows.select(pl.col(f"^{_INPUT}.*$").name.map(lambda name: name.removeprefix(_INPUT)))


def _profile(inputs: pl.DataFrame, made: pl.DataFrame | None, reference: Profile) -> Profile:
    """Profile all inputs and, of features that no log holds, those of the answers that were computed again."""
    from charter.data.profile import Profile, profile

    columns = reference.columns
    known = profile(inputs.select(c for c in inputs.columns if c in columns), reference)
    if made is None:
        return known
    others = made.select(c for c in made.columns if c in columns and c not in known.columns)
    return Profile(inputs.height, {**known.columns, **profile(others, reference).columns})


def _operations(rows: pl.DataFrame) -> Operations:
    import polars as pl

    from charter.monitor.report import Operations

    latency = rows["latency_us"].drop_nulls() / 1000
    p50, p95, p99 = (latency.quantile(q, "linear") for q in (0.5, 0.95, 0.99))
    fallback, warned = rows.select(pl.col("fallback").mean(), (pl.col("warnings").list.len() > 0).mean()).row(
        0
    )
    return Operations(p50, p95, p99, float(fallback or 0.0), float(warned or 0.0))


def _rule(inputs: pl.DataFrame, spec: ModelSpec) -> pl.Series | None:
    """What today's rule would have decided; None without a rule, or where the log lacks what it reads."""
    import polars as pl

    from charter.spec.expression import parse
    from charter.train.baseline import rule

    text = spec.purpose.today.rule
    if text is None or not set(parse(text).names) <= set(inputs.columns):
        return None
    return pl.Series("rule", rule(inputs, text)["decision"]).cast(pl.Boolean)
