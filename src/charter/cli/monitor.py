"""Commands on what happens after release: monitor, outcomes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from charter.cli.output import JSON, elsewhere, emit, say, table
from charter.cli.policy import policy
from charter.core.text import some

if TYPE_CHECKING:
    from charter.flow.brought import Kind
    from charter.flow.monitor import MonitorReport

SPEC = typer.Option(Path(), "--in", help="The model's folder.")
_WINDOWS = 20
"""In a table."""


def register(app: typer.Typer) -> None:
    """Add the commands."""
    monitor = typer.Typer(
        help="How the released model does: drift, quality, money, alerts.",
        no_args_is_help=True,
        rich_markup_mode=None,
    )
    monitor.command("run")(run)
    monitor.command("status")(status)
    monitor.command("report")(report)
    monitor.command("export")(export)
    monitor.command("policy")(policy)
    app.add_typer(monitor, name="monitor")
    outcomes = typer.Typer(help="What really happened.", no_args_is_help=True, rich_markup_mode=None)
    outcomes.command("import")(outcomes_import)
    outcomes.command("withdraw")(outcomes_withdraw)
    app.add_typer(outcomes, name="outcomes")
    kpi = typer.Typer(help="Key figures that come from outside.", no_args_is_help=True, rich_markup_mode=None)
    kpi.command("import")(kpi_import)
    kpi.command("withdraw")(kpi_withdraw)
    app.add_typer(kpi, name="kpi")
    app.command()(simulate)


def run(
    spec: Path = SPEC,
    metrics_url: str | None = typer.Option(
        None, "--metrics-url", help="The server's /metrics, for memory, processor time, errors and instances."
    ),
    identity: str | None = typer.Option(
        None, "--as", metavar="NAME", help="Identity that goes back where a rule's action is rollback."
    ),
    as_json: bool = JSON,
) -> None:
    """Measure what is new, judge every window, tell whom it concerns; exit 1 while a critical alert is on."""
    from charter.cli.progress import progress
    from charter.flow.monitor import run as carry_out
    from charter.flow.workspace import Workspace

    workspace = Workspace.at(spec)
    found = carry_out(
        workspace, workspace.load(), progress(quiet=as_json), metrics_url=metrics_url, identity=identity
    )
    if as_json:
        emit(found.to_json())
    else:
        say(
            f"{found.measured:,} window{'s' if found.measured != 1 else ''} measured, {len(found.windows):,} in all."
        )
        for event in found.told:
            say(f"  {event.turn}  {event.name}  {event.version}  {event.observed}  ({event.required})")
        if found.left_out:
            say(f"  ! {found.left_out}.")
        if found.undelivered:
            say(f"  {found.undelivered:,} notices were taken by nobody yet; see `charter alerts list`.")
        _standing(found)
    if any(a.rule.spec.severity == "critical" and a.version == found.serving for a in found.firing):
        raise typer.Exit(1)


def status(spec: Path = SPEC, as_json: bool = JSON) -> None:
    """Say where the model stands by what was measured so far; changes nothing."""
    from charter.flow.monitor import status as read
    from charter.flow.workspace import Workspace

    workspace = Workspace.at(spec)
    found = read(workspace, workspace.load())
    if as_json:
        emit(found.to_json())
    else:
        _standing(found)


def report(
    spec: Path = SPEC,
    audience: str = typer.Option("all", "--for", help="operations, data-science, business, or all."),
    form: str = typer.Option("terminal", "--format", help="terminal, json or html."),
    to: Path | None = typer.Option(
        None,
        "--to",
        callback=elsewhere,
        help="File for a page of HTML; default MODEL-AUDIENCE.html in the folder.",
    ),
    as_json: bool = JSON,
) -> None:
    """Report to one audience: what changed, how sure that is, what it costs, what to do next."""
    from charter.core.errors import UsageError
    from charter.core.nearest import did_you_mean
    from charter.flow.audience import report as write
    from charter.flow.audience import write_page
    from charter.flow.workspace import Workspace
    from charter.monitor.facts import AUDIENCES

    if form not in ("terminal", "json", "html"):
        raise UsageError(f"--format is {form!r}", remedy=did_you_mean(form, ("terminal", "json", "html")))
    if to is not None and (form != "html" or audience == "all"):
        raise UsageError("--to names the file of one page", remedy="Add --format html and --for AUDIENCE.")
    workspace = Workspace.at(spec)
    loaded = workspace.load()
    pages = [write(workspace, loaded, a) for a in (AUDIENCES if audience == "all" else (audience,))]
    if form == "html":
        for page in pages:
            say(str(write_page(workspace, page, to)))
    elif as_json or form == "json":
        emit({page.audience: page.to_json() for page in pages})
    else:
        from charter.cli.audience import show

        for i, page in enumerate(pages):
            if i:
                say()
            show(page)


def export(
    to: Path = typer.Option(..., "--to", callback=elsewhere, help="Folder to write to."),
    spec: Path = SPEC,
    as_json: bool = JSON,
) -> None:
    """Write the alert rules for Prometheus, a dashboard for Grafana, and the newest measures as gauges."""
    from charter.flow.monitor import export as write
    from charter.flow.workspace import Workspace

    workspace = Workspace.at(spec)
    files = [str(path) for path in write(workspace, workspace.load(), to)]
    if as_json:
        emit(files)
        return
    for file in files:
        say(file)


def outcomes_import(
    file: str | None = typer.Argument(None, help="CSV, Parquet, JSON lines or Arrow."),
    sql: str | None = typer.Option(None, "--sql", help="A query instead of a file."),
    url: str | None = typer.Option(
        None, "--url", help="Address of its database; ${NAME} is taken from the environment."
    ),
    column: str | None = typer.Option(
        None, "--outcome", help="Column of what happened; by default the label's name."
    ),
    spec: Path = SPEC,
    as_json: bool = JSON,
) -> None:
    """Import what really happened, by request id or by entity and as_of; again, late or corrected does no harm."""
    from charter.flow.outcomes import import_outcomes
    from charter.flow.workspace import Workspace

    workspace = Workspace.at(spec)
    found = import_outcomes(workspace, workspace.load(), file=file, sql=sql, url=url, column=column)
    if as_json:
        emit(found.to_json())
        return
    say(f"{found.read:,} outcomes read, {found.new:,} of them new; {found.total:,} known in all.")
    if found.unknown:
        say(f"  {found.unknown:,} belong to no logged prediction; they are kept until one is.")
    if found.early:
        say(
            f"  {found.early:,} are known before they count: label.known_after has passed for all of them on "
            f"{found.counted_from:%Y-%m-%d %H:%M} UTC."
        )
    say("Next: `charter monitor run`.")


def kpi_import(
    file: str = typer.Argument(..., help="CSV, Parquet, JSON lines or Arrow with date, value and kpi."),
    name: str | None = typer.Option(None, "--kpi", help="The figure that all values are of."),
    spec: Path = SPEC,
    as_json: bool = JSON,
) -> None:
    """Import values of key figures that the specification declares as external; again or corrected does no harm."""
    from charter.flow.kpis import import_kpis
    from charter.flow.workspace import Workspace

    workspace = Workspace.at(spec)
    found = import_kpis(workspace, workspace.load(), file, name=name)
    if as_json:
        emit(found.to_json())
        return
    say(f"{found.read:,} values read, {found.new:,} of them new; {found.total:,} known in all.")
    say("Next: `charter monitor report --for business`.")


def outcomes_withdraw(
    file: str = typer.Argument(..., help="A file of .charter/outcomes, such as 00000002.parquet."),
    reason: str = typer.Option(..., "--reason", help="Why."),
    spec: Path = SPEC,
) -> None:
    """Let an import count no longer: of a file that is damaged or lost, or that should not have been imported."""
    from charter.flow.brought import OUTCOMES

    _withdraw(spec, OUTCOMES, file, reason)


def kpi_withdraw(
    file: str = typer.Argument(..., help="A file of .charter/outcomes, such as kpis-00000002.json."),
    reason: str = typer.Option(..., "--reason", help="Why."),
    spec: Path = SPEC,
) -> None:
    """Let an import of key figures count no longer."""
    from charter.flow.brought import KPIS

    _withdraw(spec, KPIS, file, reason)


def _withdraw(spec: Path, kind: Kind, file: str, reason: str) -> None:
    from charter.flow.brought import withdraw
    from charter.flow.workspace import Workspace

    workspace = Workspace.at(spec)
    withdraw(workspace, workspace.load().spec.name, kind, file, reason=reason)
    say(f"{file} counts no longer. What it held is imported anew: `{kind.command} import FILE`.")


def simulate(
    to: Path = typer.Option(..., "--to", help="New folder for a copy of the workspace, in which it happens."),
    start: str | None = typer.Option(None, "--from", help="First day; by default the first after training."),
    until: str | None = typer.Option(
        None, "--until", help="Last day; by default the last with a known outcome."
    ),
    fault: list[str] | None = typer.Option(
        None,
        "--fault",
        help="KIND:COLUMN:SIZE@DAY; kinds: shift, scale, missing, new_category, schema, and without a column concept, "
        "delay, outage.",
    ),
    server: bool = typer.Option(False, "--server", help="Ask a real server over HTTP."),
    spec: Path = SPEC,
    as_json: bool = JSON,
) -> None:
    """Replay real rows that training has not seen, in accelerated time, with late outcomes and, if you like, faults."""
    from charter.cli.progress import progress
    from charter.flow.simulate import simulate as carry_out
    from charter.flow.workspace import Workspace
    from charter.monitor.faults import Fault

    workspace = Workspace.at(spec)
    found = carry_out(
        workspace,
        workspace.load(),
        to=to,
        start=_day(start, "--from"),
        until=_day(until, "--until"),
        faults=[Fault.parse(text) for text in fault or ()],
        server=server,
        progress=progress(lines=True),
    )
    if as_json:
        emit(found.to_json())
        return
    say(f"{found.answered:,} rows answered over {len(found.final.windows)} windows, in {found.folder}")
    for status_code, count in sorted(found.refused.items()):
        say(f"  {count:,} requests were refused with {status_code}")
    if found.lost:
        say(f"  {found.lost:,} were asked while nobody answered")
    for name, day in found.first_told().items():
        say(f"  {day}  {name} was told")
    _quality(found.final)
    _business(found.final)


def _day(text: str | None, option: str) -> date | None:
    from charter.core.errors import UsageError

    try:
        return date.fromisoformat(text) if text is not None else None
    except ValueError:
        raise UsageError(f"{option} is {text!r}; it must be a day such as 2026-03-01") from None


def _standing(found: MonitorReport) -> None:
    from charter.cli.audience import show_advice

    say(f"{found.model}  {found.serving or 'nothing'} serves")
    if found.firing:
        rows = [
            (a.rule.spec.severity, a.rule.name, a.version, f"since {a.since:%Y-%m-%d}" if a.since else "", a.observed,
             str(a.rule.rule))
            for a in found.firing
        ]  # fmt: skip
        table(rows, head=("alert", "", "version", "", "observed", "rule"))
    else:
        say("  no alert is on")
    show_advice(found.advice)


def _quality(found: MonitorReport) -> None:
    say("quality: estimated before outcomes | realised on mature ones, with intervals")
    rows = []
    shown_windows = _telling(found.windows)
    for w in shown_windows:
        q = w["quality"]
        names = [
            n for n in ("roc_auc", "recall", "precision", "wmape", "root_mean_squared_error") if _there(q, n)
        ]
        names += [n for n in q["realised"] if n not in names]
        shown = [f"{n} {_both(q['estimated'].get(n), q['realised'].get(n))}" for n in names[:2]]
        moved = list(dict.fromkeys(f["column"] for f in w["drift"] if f["level"]))
        drift = some(moved)
        rows.append((*_head(w), f"{q['maturity']:.0%}", *shown, *[""] * (2 - len(shown)), drift or "none"))
    table(rows, head=("window", "version", "answers", "mature", "", "", "drift"), right=(2, 3))
    _left_out(found, shown_windows)


def _telling(windows: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Windows to be shown of many: those that drifted or surprised, and the last, oldest first."""
    if len(windows) <= _WINDOWS:
        return list(windows)
    told = [
        i for i, w in enumerate(windows) if w["quality"]["surprise"] or any(f["level"] for f in w["drift"])
    ]
    last = range(len(windows) - _WINDOWS // 2, len(windows))
    early = [i for i in told if i not in last][-_WINDOWS // 2 :]
    return [windows[i] for i in (*early, *last)]


def _left_out(found: MonitorReport, shown: Sequence[Any]) -> None:
    if len(shown) < len(found.windows):
        say(
            f"  {len(shown)} of {len(found.windows)} windows: the last, and of the others the newest that drifted or "
            "surprised. All: `charter monitor status --json`."
        )


def _business(found: MonitorReport) -> None:
    rows, total, shown = [], 0.0, _telling(found.windows)
    for w in found.windows:
        worth = w["worth"]
        if worth is None:
            continue
        total += worth["benefit"]
        if w not in shown:
            continue
        rows.append(
            (*_head(w)[:2], f"{worth['decisions']:,}", _money(worth["known"]), _money(worth["expected"]),
             _money(worth["costs"]), _money(worth["alone"]), _money(worth["benefit"]), _money(worth["case"]),
             _money(total))
        )  # fmt: skip
    if not rows:
        say("business: the specification states no value of decisions")
        return
    say(
        f"business, in {found.windows[-1]['worth']['currency']}: benefit is known + expected - costs - left alone"
    )
    head = (
        "window",
        "version",
        "decisions",
        "known",
        "expected",
        "costs",
        "left alone",
        "benefit",
        "business case",
        "in all",
    )
    table(rows, head=head, right=(2, 3, 4, 5, 6, 7, 8, 9))


def _head(window: Mapping[str, Any]) -> tuple[str, str, str]:
    return window["start"][:10], window["version"], f"{window['quality']['rows']:,}"


def _there(quality: Mapping[str, Any], name: str) -> bool:
    return name in quality["realised"] or name in quality["estimated"]


def _both(estimated: Mapping[str, Any] | None, realised: Mapping[str, Any] | None) -> str:
    return f"{_interval(estimated)} | {_interval(realised)}"


def _interval(found: Mapping[str, Any] | None) -> str:
    if found is None or found["value"] is None:
        return "-"
    if found["low"] is None:
        return f"{found['value']:.3f}"
    return f"{found['value']:.3f} [{found['low']:.3f}, {found['high']:.3f}]"


def _money(value: float | None) -> str:
    return "-" if value is None else f"{value:,.0f}"
