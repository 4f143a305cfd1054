"""Deciding what a scoring job is: its source cut into chunks, its columns, and whether it is the one begun before."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from charter.core.clock import iso, parse_iso
from charter.core.digest import digest_json
from charter.core.errors import DataError, UsageError
from charter.core.nearest import did_you_mean
from charter.flow.features import packaged_spec
from charter.flow.recent import judge_calendar
from charter.flow.score_request import Place, ScoreRequest, differences
from charter.flow.workspace import Workspace
from charter.spec.types import SourceSpec

if TYPE_CHECKING:
    import polars as pl

    from charter.serve.batch import Options
    from charter.serve.deployment import DeployedModel
    from charter.serve.io.batch_job import Job
    from charter.serve.io.batch_source import Source
    from charter.serve.types import DecisionRules

_ADDED = (
    "score", "decision", "band", "rank", "row", "reasons", "warnings",
    "as_of", "step", "forecast", "lower", "upper",
)  # fmt: skip
_AS_TEXT = ("category", "text")


def begin(
    workspace: Workspace,
    work: Path,
    model: DeployedModel,
    source: Place,
    target: Place,
    request: ScoreRequest,
) -> Job:
    """Take up the job that the work folder holds, or begin it.

    Raises
    ------
    UsageError
        When the folder holds a job with another source, package or other options.
    DataError
        When the source cannot be read or lacks a column.
    """
    from charter.registry.io.packages import verify
    from charter.serve.batch import CHUNK_ROWS, EXPLAINED_ROWS
    from charter.serve.io.batch_job import Job, finished, read_job, write_job

    if request.restart:
        _clear(work)
    files, fingerprint = _open(workspace, work, source, request)
    identity = {
        "source": source.shown,
        "source fingerprint": fingerprint,
        "query": request.query,
        "target": target.shown,
        "model": f"{model.name} {model.version}",
        "package": verify(model.package, model.trusted_keys).digest,
        "--rank": request.rank,
        "--bands": request.bands,
        "--explain": request.explain,
        "--warnings": request.warnings,
        "--keep": list(request.keep),
        "--as-of": request.as_of,
        # A forecast rests on the past as it is today.
        **({"history": sorted(p.name for p in model.history.values())} if forecasts(model) else {}),
    }
    there = read_job(work)
    if there is not None:
        changed = differences(there.identity, identity)
        if changed and not finished(work):  # killed before it had done anything
            _clear(work)
            return begin(workspace, work, model, source, target, request)
        if changed:
            raise UsageError(
                f"{work} holds an unfinished job that is not this one: {'; '.join(changed)}",
                remedy="Finish it with the same inputs, or give --restart to throw away what it has done.",
            )
        return there
    now = iso(workspace.clock.now())
    columns, options = _options(model, files.schema(), request, now)
    chunks, rows = files.plan(EXPLAINED_ROWS if request.explain else CHUNK_ROWS)
    notes = judge_calendar(model, files, chunks, columns, options) if forecasts(model) else ()
    job = Job(identity, model, files, chunks, rows, columns, options, now, notes)
    write_job(work, job)
    return job


def forecasts(model: DeployedModel) -> bool:
    """Whether the model forecasts series."""
    from charter.serve.bundle import read_bundle

    return read_bundle(model.package).signature.series is not None


def _clear(work: Path) -> None:
    for path in work.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        elif path.name != "lock":
            path.unlink()


def _open(workspace: Workspace, work: Path, source: Place, request: ScoreRequest) -> tuple[Source, str]:
    """The source as files, and what changes whenever its rows do."""
    from charter.data.io.filedigest import file_digest
    from charter.serve.io.batch_source import Source

    if source.path is None:
        from charter.flow.score_sql import stage

        return stage(source, request.query, work)
    if request.query is not None:
        raise UsageError("--query is for databases", remedy="Leave it out, or name a database as the source.")
    if not source.path.exists():
        beside = [p.name for p in source.path.parent.iterdir()] if source.path.parent.is_dir() else []
        hint = did_you_mean(source.path.name, beside).capitalize() if beside else "Check the path."
        raise DataError(f"{source.path} is not there", remedy=hint)
    kind, paths = _folder(source.path) if source.kind == "folder" else (source.kind, (source.path,))
    files = Source(kind, paths)
    files.schema()  # says what is wrong with a damaged file before all of it is read
    digests = {p.name: file_digest(p, workspace.settings.home) for p in paths}
    return files, digest_json(digests) if source.kind == "folder" else digests[source.path.name]


def _folder(folder: Path) -> tuple[str, tuple[Path, ...]]:
    for kind in ("parquet", "csv"):
        paths = tuple(sorted(p for p in folder.glob(f"*.{kind}") if not p.name.startswith(".")))
        if paths:
            return kind, paths
    raise DataError(f"{folder} holds no .parquet and no .csv files", remedy="Check the path.")


def _options(
    model: DeployedModel, schema: pl.Schema, request: ScoreRequest, now: str
) -> tuple[tuple[str, ...], Options]:
    """Choose the columns that are read, and what becomes of them."""
    import polars as pl

    from charter.serve.batch import Contract, Options
    from charter.serve.bundle import read_bundle
    from charter.serve.columns import Wish
    from charter.serve.types import AS_OF

    bundle = read_bundle(model.package)
    _refuse_wishes(bundle.decision, request)
    entity, series = bundle.signature.entity, bundle.signature.series
    if request.as_of is not None and entity is None and series is None:
        raise UsageError(
            "--as-of is for models of entities and for forecasts",
            remedy=f"{model.name} looks at rows as they are.",
        )
    key, declared = _declared(model)
    rename = {old: new for old, new in declared.rename.items() if old in schema and new not in schema}
    named = {rename.get(name, name): dtype for name, dtype in schema.items()}
    Contract(bundle.signature.inputs).refuse(named)
    original = {new: old for old, new in rename.items()}
    wanted = key if entity is None else (entity.column, AS_OF)
    keys = [original.get(name, name) for name in wanted if name in named]
    for name in request.keep:
        if name not in schema:
            raise DataError(
                f"--keep {name}: the source has no such column", remedy=did_you_mean(name, schema)
            )
    keep = tuple(dict.fromkeys([*keys, *request.keep]))
    for name in keep:
        if name in _ADDED:
            raise UsageError(
                f"column {name!r} of the source bears the name of a column that scoring adds",
                remedy="Rename it in the source.",
            )
    reads = [original.get(i.name, i.name) for i in bundle.signature.inputs if i.name in named]
    options = Options(
        keep=keep,
        number=entity is None and (not key or len(keys) < len(key)),
        rank=request.rank,
        wish=Wish(request.bands, request.explain, request.warnings),
        as_of=_moment(request.as_of, now) if entity is not None or request.as_of is not None else None,
        rename=rename,
        formats={name: column.format for name, column in declared.columns.items() if column.format},
        types={
            name: column.type
            for name in keep
            if schema[name] == pl.String
            and (column := declared.columns.get(rename.get(name, name))) is not None
            and column.type not in _AS_TEXT
        },
    )
    return tuple(dict.fromkeys([*reads, *keep])), options


def _declared(model: DeployedModel) -> tuple[tuple[str, ...], SourceSpec]:
    """Key of an observation, and the source that observations come from, by the package's own specification."""
    spec = packaged_spec(model.package)
    observations = spec.data.observations
    name = observations.source
    if name is None:
        assert observations.population is not None
        name = observations.population.source
    key = (*observations.series, observations.time or "") if observations.series else tuple(observations.key)
    return key, spec.data.sources[name]


def _refuse_wishes(rules: DecisionRules | None, request: ScoreRequest) -> None:
    if request.bands and not (rules and rules.bands):
        raise UsageError("--bands: the package declares no bands", remedy="Declare serve.bands and release.")
    if request.explain and not (rules and rules.reasons):
        raise UsageError("--explain: the package gives no reasons", remedy="Set serve.reasons and release.")


def _moment(text: str | None, now: str) -> str:
    try:
        return parse_iso(text or now).replace(tzinfo=None).isoformat()
    except ValueError as error:
        raise UsageError(
            f"--as-of {text!r} is neither a date nor a moment", remedy="Write for example 2011-09-01."
        ) from error
