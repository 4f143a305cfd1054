"""Forecasts that were given, from the log and from files, with the actual values that have come since."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from charter.core.errors import UsageError
from charter.flow.released import released_model
from charter.flow.track import read_written
from charter.flow.workspace import Workspace
from charter.spec.loader import Loaded
from charter.spec.types import ModelSpec

if TYPE_CHECKING:
    import polars as pl

    from charter.data.grid import SeriesPlan
    from charter.evaluate.types import Estimate, ForecastReport

_INPUT = "input_"
_SHOWN = 10
METRIC = "wmape"


@dataclass(frozen=True, slots=True)
class Followed:
    """What forecasts are held against.

    Attributes
    ----------
    sources
        As they are today, regular: the newest actual values among them.
    """

    plan: SeriesPlan
    sources: Mapping[str, pl.DataFrame]

    def attach(self, rows: pl.DataFrame, now: datetime) -> pl.DataFrame:
        """Add ``series``, ``step``, ``target``, ``outcome`` (text), ``known_at`` and ``due`` to forecasts.

        A value is known once its period is over. The same forecast given twice, for a series, an origin and a step,
        counts as given last; the earlier ones are left out.
        """
        import polars as pl

        from charter.data.grid import name_series

        plan, grid = self.plan, self.plan.grid
        if _INPUT + plan.time in rows.columns:
            keys = [pl.col(_INPUT + key).alias(key) for key in plan.keys]
            target = pl.col(_INPUT + plan.time).cast(pl.Datetime("us"))
            named = rows.with_columns(keys).with_columns(name_series(plan.keys).alias("__series"))
            kept = {c: pl.col(c) if c in rows.columns else pl.lit(None) for c in ("series", "target")}
            rows = named.with_columns(
                pl.when(pl.col(_INPUT + plan.time).is_null())
                .then(kept["series"])
                .otherwise("__series")
                .alias("series"),
                pl.coalesce(target, kept["target"].cast(pl.Datetime("us"))).alias("target"),
            ).drop("__series", *plan.keys)
        number = grid.number(pl.col("target"))
        known = (
            self.sources[plan.source]
            .select(
                "series",
                grid.number(pl.col(plan.time)).alias("__period"),
                pl.col(plan.label).cast(pl.Float64).alias("__actual"),
            )
            .drop_nulls()
        )
        over = grid.start(number + 1)
        return (
            rows.with_columns(
                number.alias("__period"),
                (number - grid.number(pl.col("moment")) - plan.gap + 1).cast(pl.Int32).alias("step"),
            )
            .filter(pl.col("step").is_between(1, plan.horizon))
            .sort("time", "id", "row")
            .unique(["version", "series", "moment", "step"], keep="last", maintain_order=True)
            .join(known, on=["series", "__period"], how="left", maintain_order="left")
            .with_columns(over.alias("known_at"), (over <= now).alias("due"))
            .with_columns(pl.when("due").then(pl.col("__actual").cast(pl.String)).alias("outcome"))
            .drop("__period", "__actual")
        )

    def report(self, rows: pl.DataFrame, spec: ModelSpec) -> ForecastReport | None:
        """Hold a window's forecasts against what came, and against methods that look at one series alone."""
        import polars as pl

        from charter.evaluate.forecast import evaluate_forecast
        from charter.flow.judge_forecast import baselines, names_of

        known = rows.filter(pl.col("outcome").is_not_null() & pl.col("score").is_finite()).select(
            "series", pl.col("moment").alias("as_of"), "step", "target",
            pl.col("outcome").cast(pl.Float64).alias("actual"), pl.col("score").alias("forecast"),
            *(c for c in ("lower", "upper") if c in rows.columns and not rows[c].is_null().all()),
        )  # fmt: skip
        if known.is_empty():
            return None
        said = baselines(self.sources, self.plan, known["as_of"].unique().sort().to_list())
        frame = known.join(said, on=["series", "as_of", "step"], how="left", maintain_order="left")
        frame = frame.with_columns(pl.col(names_of(frame)).fill_nan(None))
        return evaluate_forecast(
            frame,
            baselines=[name for name in names_of(frame) if frame[name].is_finite().any()],
            level=spec.train.interval,
            metric=METRIC,
            confidence=spec.monitor.confidence,
            resamples=200,
            seed=spec.train.seed,
        )

    def exceptions(self, rows: pl.DataFrame, spec: ModelSpec) -> list[dict[str, Any]]:
        """Series that somebody should look at, from all forecasts of a version up to a window; the surest first."""
        import polars as pl

        from charter.core.errors import DataError
        from charter.monitor.forecasts import track

        if not {"lower", "upper"} <= set(rows.columns):
            return []
        earlier = rows.select("series", pl.col("moment").alias("as_of"), "step", "target",
                              pl.col("score").alias("forecast"), "lower", "upper").drop_nulls()  # fmt: skip
        came = rows.filter(pl.col("outcome").is_not_null()).select(
            "series", "target", pl.col("outcome").cast(pl.Float64).alias("actual")
        ).unique(["series", "target"])  # fmt: skip
        try:
            found = track(earlier, came, share=spec.train.interval)
        except DataError:  # no forecast has met its actual value yet
            return []
        return found.exceptions.select("series", "kind", "text").head(_SHOWN).to_dicts()


def follow(workspace: Workspace, loaded: Loaded) -> Followed:
    """Read the sources of the released forecast anew."""
    import polars as pl

    from charter.data.grid import on_grid, series_plan
    from charter.flow.features import packaged_spec
    from charter.flow.recent import with_recent_history

    model = with_recent_history(workspace, released_model(workspace, loaded))
    plan = series_plan(packaged_spec(model.package).data)
    assert plan is not None
    return Followed(
        plan, on_grid({name: pl.read_parquet(path) for name, path in model.history.items()}, plan)
    )


def forecasts_in_files(workspace: Workspace, spec: ModelSpec, plan: SeriesPlan) -> pl.DataFrame | None:
    """Forecasts that scheduled runs wrote, in the form of the log; None where the specification names no files.

    Each counts for the version that served at its origin, or for the first where its origin is older than any.
    """
    import polars as pl

    parts = []
    for pattern in spec.monitor.forecasts:
        for file in sorted(workspace.root.glob(pattern)):
            frame = read_written(file, plan)
            parts.append(
                frame.with_columns(id=pl.lit(f"file:{file.relative_to(workspace.root)}")).with_row_index(
                    "row"
                )
            )
    if not parts:
        return None
    with workspace.records(spec.name, readonly=True) as records:
        served = [(d.at.replace(tzinfo=None), f"v{d.version}") for d in records.deployments()]
    if not served:
        raise UsageError("nothing is released, so no version answers for the files of monitor.forecasts")
    versions = pl.DataFrame(served, schema={"since": pl.Datetime("us"), "version": pl.String}, orient="row")
    rows = pl.concat(parts).sort("as_of").join_asof(
        versions.sort("since"), left_on="as_of", right_on="since", strategy="backward"
    )  # fmt: skip
    return rows.select(
        "id", pl.col("row").cast(pl.UInt32), pl.col("as_of").alias("time"),
        pl.lit(spec.name).alias("model"), pl.col("version").fill_null(served[0][1]),
        pl.col("forecast").alias("score"), "lower", "upper", pl.lit(value=False).alias("fallback"),
        pl.lit([], dtype=pl.List(pl.String)).alias("warnings"), "series", "target",
        pl.col("as_of").alias("input_as_of"),
    )  # fmt: skip


def measures_of(report: ForecastReport) -> dict[str, float]:
    """Numbers that a rule can name: ``wmape_at(1-2)`` by block of the horizon, ``value_added(seasonal naive)``."""
    found: dict[str, float | None] = {}
    for part in report.blocks:
        for metric in ("wmape", "bias", "interval_coverage"):
            one: Estimate | None = part.metrics.get(metric)
            found[f"{metric}_at({part.value})"] = one.value if one is not None else None
    for added in report.overall.added:
        found[f"value_added({added.baseline})"] = added.improvement.value
    return {name: value for name, value in found.items() if value is not None}


def report_json(report: ForecastReport) -> dict[str, Any]:
    """What is kept of a window's report."""
    return {
        "metric": report.metric,
        "n": report.n,
        "series": report.series,
        "origins": report.origins,
        "level": report.level,
        "parts": [
            {
                "by": p.by,
                "value": p.value,
                "n": p.n,
                "metrics": {name: asdict(one) for name, one in p.metrics.items()},
                "added": [asdict(one) for one in p.added],
            }
            for p in (report.overall, *report.blocks)
        ],
    }
