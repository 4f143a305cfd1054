"""Commands that build: plan, apply, status, show, history, reproduce, demo, data."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from charter.cli import data as look
from charter.cli.output import JSON, elsewhere, emit, say, show_decision, table
from charter.cli.spec import tell_notices

if TYPE_CHECKING:
    from charter.flow.plan import Plan, Step
    from charter.flow.workspace import Workspace
    from charter.spec.loader import Loaded

SPEC = typer.Argument(Path(), help="A folder with model.yaml, or the specification itself.")
WAIT = typer.Option(
    0.0, "--wait", min=0, help="Seconds to wait for another process that holds the workspace."
)


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(plan)
    app.command()(apply)
    app.command()(status)
    app.command()(show)
    app.command()(history)
    app.command()(lineage)
    app.command()(reproduce)
    app.command()(demo)
    data = typer.Typer(
        help="Tables: of the catalogue, of the snapshot, or your own.",
        no_args_is_help=True,
        rich_markup_mode=None,
    )
    data.command("list")(data_list)
    data.command("fetch")(data_fetch)
    data.command("report")(data_report)
    look.register(data)
    app.add_typer(data, name="data")


def plan(spec: Path = SPEC, as_json: bool = JSON) -> None:
    """Say what would happen and why, stage by stage; changes nothing."""
    from charter.flow.observe import current_plan
    from charter.flow.workspace import Workspace

    workspace = Workspace.at(spec)
    loaded = workspace.load()
    with workspace.records(loaded.spec.name, readonly=True) as records:
        _print_plan(workspace, loaded, current_plan(workspace, loaded, records), records, as_json=as_json)


def _print_plan(workspace: Workspace, loaded: Loaded, found: Plan, records: Any, *, as_json: bool) -> None:
    from charter.core.digest import short
    from charter.flow.explain import explain
    from charter.flow.observe import applied_spec
    from charter.spec.diff import diff
    from charter.spec.parts import spec_digest

    before = applied_spec(workspace, records)
    changes = diff(before, loaded.spec) if before is not None else []
    told = explain(found, loaded.spec, changes, loaded.source.where)
    now = short(spec_digest(loaded.spec))
    if as_json:
        emit({"spec": spec_digest(loaded.spec), **told.to_json()})
        return
    since = ""
    if before is not None and spec_digest(before) != spec_digest(loaded.spec):
        since = f" (changed since {short(spec_digest(before))})"
    say(f"{told.name:<64} spec {now}{since}")
    table([(x.symbol, x.stage, x.what, x.remark) for x in told.lines])
    tell_notices(loaded, whole=False)
    say(told.closing)


REASON = typer.Option(
    "", "--reason", help="Why a version may follow that the redeployment rules leave to a person."
)


ENGINE = typer.Option(
    "local", "--engine", help="local: this process; ray: a Ray cluster. The result is the same."
)
WORKERS = typer.Option(
    None, "--workers", min=1, max=1024, help="Processes of the cluster; default all its processors."
)


def apply(
    spec: Path = SPEC,
    wait: float = WAIT,
    reason: str = REASON,
    engine: str = ENGINE,
    workers: int | None = WORKERS,
    as_json: bool = JSON,
) -> None:
    """Do what the plan says; stop at a failed requirement or a missing approval (exit 1), and resume from there."""
    from charter.cli.progress import progress
    from charter.flow.apply import apply as carry_out
    from charter.flow.cluster import spread_over
    from charter.flow.workspace import Workspace

    workspace = Workspace.at(spec)
    loaded = workspace.load()
    if not as_json:
        tell_notices(loaded, whole=False)
    heard = (lambda _step, _seconds: None) if as_json else (lambda step, seconds: tell(step, seconds, loaded))
    with spread_over(engine, workers) as spread:
        outcome = carry_out(
            workspace,
            loaded,
            progress=progress(quiet=as_json),
            heard=heard,
            wait_seconds=wait,
            reason=reason,
            spread=spread,
        )
    stopped = outcome.stopped
    if as_json:
        emit(
            {
                "name": loaded.spec.name,
                "ran": [s.value for s in outcome.ran],
                "stopped_at": stopped.stage.value if stopped else None,
                "decision": stopped.decision.to_json() if stopped and stopped.decision else None,
            }
        )
    else:
        closing(outcome.plan, stopped)
    if stopped:
        raise typer.Exit(1)


def tell(step: Step, seconds: float, loaded: Loaded) -> None:
    """Print a finished step; a refused one with each check."""
    from charter.flow.explain import describe
    from charter.flow.plan import STAGING, Action, Stage
    from charter.flow.views import with_lines
    from charter.govern.approval import signatures

    took = f"{seconds:.1f} s" if seconds >= 0.05 else "up to date"
    if step.decision is not None:
        total, open_ = len(step.decision.checks), len(step.decision.reasons)
        met = f"{total - open_} of {total} requirements met"
        sign = "NO" if step.action is Action.REFUSED else "ok"
        say(
            f"  {sign} {step.stage.value:<9} {signatures(step.decision) if step.stage is Stage.APPROVE else met}"
        )
        if step.action is Action.REFUSED or (step.stage is Stage.GATE and seconds):
            show_decision(with_lines(step.decision, loaded.source))
    elif step.result is not None:
        say(f"  ok {step.stage.value:<9} {describe(step.stage, step.result)}   {took}")
    else:
        waits = f"waits for the rollout of {step.inputs[STAGING]}" if STAGING in step.inputs else "serves"
        say(f"  ok {step.stage.value:<9} package {step.inputs['package'][:8]} {waits}")


def closing(found: Plan, stopped: Step | None) -> None:
    """Print where it ended and what to do next."""
    from charter.flow.plan import STAGING, TRIED, Stage
    from charter.govern.approval import asked

    staging = found.step(Stage.RELEASE).inputs.get(STAGING)
    if stopped is None and TRIED in found.step(Stage.RELEASE).inputs:
        say(f"{staging} is being tried. `charter rollout status` says how it stands.")
        return
    if stopped is None and staging is not None:
        say(f"{staging} is approved, and what serves stays. Next: `charter rollout start {staging}`.")
        return
    if stopped is not None and stopped.stage is Stage.RELEASE and stopped.decision is not None:
        why = stopped.decision.reasons[0]
        say(f"Stopped at release: {why.observed}; {why.note}.")
        return
    if stopped is None:
        say(
            "What the specification says is what is released. Next: `charter serve`, `charter predict --json '{...}'`."
        )
        return
    version = found.step(Stage.TRAIN).result
    name = f"v{version.summary['version']}" if version else "VERSION"
    if stopped.stage is Stage.APPROVE and stopped.decision is not None and not asked(stopped.decision):
        say(
            "Stopped at approve: the records are not what was recorded. See all of it: `charter audit verify`."
        )
    elif stopped.stage is Stage.APPROVE and stopped.decision is not None:
        missing = stopped.decision.reasons[0].name if stopped.decision.reasons else "STAGE"
        say(
            f"Stopped at approve: nothing is released before the specification's approvers have signed {name}."
        )
        say(
            f"Sign: `charter approve {name} --stage {missing} --as NAME`. See who is missing: `charter show {name}`."
        )
    else:
        say(f"Stopped at {stopped.stage.value}: the model does not meet your own requirements.")
        say(f"See how far it is: `charter show {name}`. Change the model or the requirement and apply again.")


def status(spec: Path = SPEC, as_json: bool = JSON) -> None:
    """Say what serves, since when, and what stands in the way of the next version."""
    from charter.flow.views import status as view
    from charter.flow.workspace import Workspace

    workspace = Workspace.at(spec)
    found = view(workspace, workspace.load())
    if as_json:
        emit(found.to_json())
        return
    table(found.rows())
    for remark in found.remarks:
        say(f"  ! {remark}")


def show(
    version: str = typer.Argument(..., help="A version, for example v3."),
    spec: Path = typer.Option(Path(), "--in", help="The model's folder."),
    fairness: bool = typer.Option(False, "--fairness", help="Only the fairness tables."),
    slices: bool = typer.Option(False, "--slices", help="Only the slices."),
    features: bool = typer.Option(False, "--features", help="Only the features, all of them, by importance."),
    as_json: bool = JSON,
) -> None:
    """Show a version: quality with intervals, baselines, features, slices, fairness, requirements, signatures."""
    from charter.cli.show import print_version
    from charter.flow.views import version_view
    from charter.flow.workspace import Workspace

    workspace = Workspace.at(spec)
    loaded = workspace.load()
    view = version_view(workspace, loaded, version)
    if as_json:
        emit(view.to_json())
    else:
        only = "fairness" if fairness else "slices" if slices else "features" if features else None
        print_version(view, only=only, value=loaded.spec.value)


def history(
    spec: Path = SPEC,
    at: str | None = typer.Option(
        None, "--at", help="What served then, to whom, and why: a day, 2026-03-01T12:00Z, or 2h ago."
    ),
    as_json: bool = JSON,
) -> None:
    """List the versions and what served when."""
    from charter.flow.views import history as view
    from charter.flow.workspace import Workspace

    workspace = Workspace.at(spec)
    if at is not None:
        from charter.cli.rollout import show_past
        from charter.flow.replay import at as replay

        show_past(replay(workspace, workspace.load(), at), as_json=as_json)
        return
    found = view(workspace, workspace.load())
    if as_json:
        emit(found.to_json())
        return
    say("versions")
    table(found.versions, head=("version", "made", "learner", "quality", "bundle", "status"))
    if found.deployments:
        say("releases")
        table(found.deployments, head=("version", "since", "by", "package", "tried"))


def lineage(
    version: str = typer.Argument(..., help="A version, for example v3."),
    spec: Path = typer.Option(Path(), "--in", help="The model's folder."),
    openlineage: Path | None = typer.Option(
        None, "--openlineage", callback=elsewhere, help="Write OpenLineage events, one a line."
    ),
    as_json: bool = JSON,
) -> None:
    """Follow a version back to its sources: which rows, features, model, judgement and package, by digest."""
    from charter.flow.lineage import export_openlineage
    from charter.flow.lineage import lineage as follow
    from charter.flow.workspace import Workspace

    workspace = Workspace.at(spec)
    loaded = workspace.load()
    if openlineage is not None:
        say(f"{openlineage}: {export_openlineage(workspace, loaded, version, openlineage)} events")
        return
    found = follow(workspace, loaded, version)
    if as_json:
        emit(found.to_json())
        return
    table(found.rows(), head=("stage", "output", "made", "by", "from"))


def reproduce(
    version: str = typer.Argument(..., help="A version, for example v3."),
    spec: Path = typer.Option(Path(), "--in", help="The model's folder."),
    as_json: bool = JSON,
) -> None:
    """Build a version again from its recorded specification and rows, and compare byte for byte."""
    from charter.cli.progress import progress
    from charter.flow.reproduce import reproduce as build_again
    from charter.flow.workspace import Workspace

    workspace = Workspace.at(spec)
    report = build_again(workspace, workspace.load(), version, progress=progress(quiet=as_json))
    if as_json:
        emit(report.to_json())
    else:
        for line in report.lines():
            say(line)
    if not report.identical:
        raise typer.Exit(1)


def demo(
    blueprint: str = typer.Argument("customer-churn", help="A reference system."),
    folder: Path | None = typer.Option(None, "--in", help="Where to build it; default demo/BLUEPRINT."),
    port: int = typer.Option(8000, "--port", min=0, max=65535),
    serve: bool = typer.Option(True, "--serve/--no-serve", help="Leave the server running until Ctrl-C."),
) -> None:
    """Run a reference system end to end on real data: check, plan, apply, approve, serve, predict."""
    from charter.cli.demo import run

    run(blueprint, folder or Path("demo") / blueprint, port=port, stay=serve)


def data_list(as_json: bool = JSON) -> None:
    """List the catalogue: licence, size, and whether the set is on this machine."""
    from charter.core.settings import Settings
    from charter.data.catalogue import DATASETS
    from charter.data.io.fetch import find_dataset

    settings = Settings.from_environment()
    here = {name: find_dataset(name, settings) for name in DATASETS}
    if as_json:
        emit([{"name": d.name, "title": d.title, "rows": d.rows, "licence": d.licence, "citation": d.citation,
               "path": str(here[d.name]) if here[d.name] else None} for d in DATASETS.values()])  # fmt: skip
        return
    table(
        [
            (d.name, f"{d.rows:,}", d.licence, "here" if here[d.name] else "to fetch", d.title)
            for d in DATASETS.values()
        ],
        head=("name", "rows", "licence", "where", "title"),
        right=(1,),
    )


def data_fetch(name: str = typer.Argument(..., help="A set of the catalogue."), as_json: bool = JSON) -> None:
    """Bring a data set onto this machine and verify its checksum."""
    from charter.cli.progress import progress
    from charter.core.settings import Settings
    from charter.data.catalogue import dataset
    from charter.data.io.fetch import dataset_path

    info = dataset(name)
    path = dataset_path(name, Settings.from_environment(), progress(quiet=as_json))
    if as_json:
        emit({"name": name, "path": str(path)})
        return
    say(str(path))
    say(f"{info.title}. {info.licence}. {info.citation}")


def data_report(
    spec: Path = SPEC,
    quarantined: str | None = typer.Option(
        None, "--quarantined", help="A source whose rows set aside are written."
    ),
    to: Path | None = typer.Option(
        None, "--to", callback=elsewhere, help="Parquet file for them; default SOURCE.quarantine.parquet."
    ),
    as_json: bool = JSON,
) -> None:
    """Say what became of the rows that were read: kept, duplicate, out of scope, quarantined; and the rules broken."""
    from charter.core.io.files import write_atomic
    from charter.flow.views import data_report as view
    from charter.flow.views import quarantined_rows
    from charter.flow.workspace import Workspace

    workspace = Workspace.at(spec)
    loaded = workspace.load()
    if quarantined is not None:
        target = to or Path(f"{quarantined}.quarantine.parquet")
        write_atomic(target, quarantined_rows(workspace, loaded, quarantined))
        say(str(target))
        return
    found = view(workspace, loaded)
    if as_json:
        emit(found.to_json())
        return
    table(
        found.rows(),
        head=("source", "read", "kept", "duplicate", "out of scope", "quarantined"),
        right=range(1, 6),
    )
    if found.violations():
        say("rules broken")
        table(found.violations())
    for name in found.quarantined:
        say(f"Rows set aside, with reasons: `charter data report --quarantined {name}`.")
