"""The past that forecasts rest on, read anew: with every new period in the sources the newest origin moves on."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from charter.core.decision import Decision
from charter.core.errors import DataError, Refusal
from charter.core.progress import Progress
from charter.flow.context import write_rows
from charter.flow.features import packaged_spec
from charter.flow.workspace import Workspace

if TYPE_CHECKING:
    from charter.data.grid import SeriesPlan
    from charter.serve.batch import Options
    from charter.serve.deployment import DeployedModel
    from charter.serve.io.batch_source import Chunk, Source

_SHOWN = 3


def with_recent_history(
    workspace: Workspace, model: DeployedModel, progress: Progress | None = None
) -> DeployedModel:
    """Give a released forecast the series as its sources hold them now; other models stay as they are.

    Sources and contract are those of the release. What was read is kept as blobs, so that the run can be repeated.

    Raises
    ------
    Refusal
        When the rows break the contract.
    DataError
        When a source cannot be read, or its series are not regular.
    """
    from charter.data.grid import on_grid, results, series_plan
    from charter.data.io.prepared import prepare_sources

    spec = packaged_spec(model.package)
    plan = series_plan(spec.data)
    if plan is None:
        return model
    blobs = workspace.blobs()
    history = {}
    with tempfile.TemporaryDirectory(prefix="charter-") as temporary:
        folder = Path(temporary)
        prepared = prepare_sources(
            spec.data.sources,
            workspace.root,
            workspace.settings,
            now=workspace.clock.now(),
            folder=folder / "judged",
            results=results(spec.data),
            progress=progress,
        )
        decision = Decision.of(
            "data contract", [c for p in prepared.values() for c in p.report.decision(".".join).checks]
        )
        if not decision.allows:
            raise Refusal(
                "the data breaks the contract of the release", decision=decision, remedy="Correct the source."
            )
        on_grid(
            {name: p.frame.collect() for name, p in prepared.items()}, plan
        )  # says what is wrong beforehand
        for name, found in prepared.items():
            write_rows(found.frame, folder / f"{name}.parquet")
            history[name] = blobs.path(blobs.put_file(folder / f"{name}.parquet"))
    return replace(model, history=history)


def judge_calendar(
    model: DeployedModel, source: Source, chunks: Iterable[Chunk], columns: Sequence[str], options: Options
) -> tuple[str, ...]:
    """Refuse rows to be forecast that leave series or periods out, or lie outside the horizon.

    A row that breaks the contract would be set aside, and its series lack a period: sums over the other series would
    pass for whole. So it is refused as a hole is, whatever else of it is known.

    Parameters
    ----------
    source, chunks
        Rows to be forecast.
    columns
        What is read of them.
    options
        What becomes of them; ``as_of`` is the origin of rows without one.

    Returns
    -------
    What to know of the rows as a whole; see `charter.serve.series.SeriesPast.notes`.

    Raises
    ------
    DataError
        Naming series and period; see `charter.data.grid.check_future`.
    """
    import polars as pl

    from charter.data.grid import AS_OF, check_future
    from charter.serve.batch import Contract
    from charter.serve.bundle import read_bundle
    from charter.serve.io.loading import read_history
    from charter.serve.series import SeriesPast

    signature = read_bundle(model.package).signature
    plan = signature.series
    if plan is None:
        return ()
    contract = Contract(signature.inputs, options.formats)
    asked = [*plan.keys, plan.time, AS_OF]
    parts, shown = [], []
    broken: dict[str, int] = {}
    for chunk in chunks:
        raw = source.read(chunk, columns).rename(dict(options.rename), strict=False)
        judged, reasons, found = contract.judge(raw)
        parts.append(judged.select(c for c in judged.columns if c in asked))
        for rule, count in found.items():
            broken[rule] = broken.get(rule, 0) + count
        if reasons is not None:
            wrong = raw.with_columns(reasons.alias("__reasons")).filter(reasons.list.len() > 0)
            shown += [_in_words(row, plan) for row in wrong.head(_SHOWN).iter_rows(named=True)]
    if broken:
        raise DataError(
            f"rows to be forecast break the contract: {'; '.join(shown[:_SHOWN])}. Rules broken: "
            f"{'; '.join(f'{rule} ({count:,} rows)' for rule, count in broken.items())}",
            remedy="Mend them, or leave the whole series out: its sums would lack what is set aside.",
        )
    rows = pl.concat(parts)
    if rows.is_empty():
        raise DataError("there are no rows to forecast", remedy="Bring a row for each series and period.")
    past = SeriesPast(plan, read_history(model.package, model.history.get))
    rows = past.fill(rows, options.as_of)
    notes: list[str] = []
    for _, own in sorted(rows.partition_by(AS_OF, as_dict=True).items()):
        check_future(own, plan, past.closed)
        notes += past.notes(own)
    past.locate(rows)
    return tuple(dict.fromkeys(notes))


def _in_words(row: Mapping[str, Any], plan: SeriesPlan) -> str:
    series = "/".join(str(row[key]) for key in plan.keys)
    return f"series {series} in {row[plan.time]}: {', '.join(row['__reasons'])}"
