"""Experiments: how large they must be, and what their results say."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import typer

from charter.cli.output import JSON, emit, say, show_decision, table
from charter.core.errors import UsageError

if TYPE_CHECKING:
    from charter.iterate.power import Design, Question
    from charter.iterate.types import ArmEffect, ExperimentPlan, ExperimentReport

_SPEC = typer.Option(None, "--in", help="A model's folder: as its release.experiment declares it.")
FOLDER = typer.Option(Path(), "--in", help="The model's folder.")
NAME = typer.Option(None, "--as", help="The identity that acts.")
REASON = typer.Option("", "--reason", help="Why; kept in the audit trail.")
_WEEKS = (1, 2, 4, 8)


def register(app: typer.Typer) -> None:
    """Add the commands."""
    experiment = typer.Typer(
        help="Compare by experiment: its size, and its results.", no_args_is_help=True, rich_markup_mode=None
    )
    experiment.command("design")(design)
    experiment.command("analyse")(analyse)
    experiment.command("start")(start)
    experiment.command("results")(results)
    experiment.command("status")(status)
    experiment.command("stop")(stop)
    app.add_typer(experiment, name="experiment")


def design(
    baseline: float | None = typer.Option(None, "--baseline", help="The metric today, for example 0.05."),
    mde: str | None = typer.Option(
        None, "--mde", help="Smallest change that matters: +10% of the baseline, or -0.005 in its unit."
    ),
    spread: float | None = typer.Option(
        None, "--spread", help="Standard deviation between units; left out for a proportion."
    ),
    arms: str = typer.Option("control=0.5,new=0.5", "--arms", help="Shares by arm, the control first."),
    alpha: float = typer.Option(0.05, "--alpha", help="Chance of a false finding, two-sided."),
    power: float = typer.Option(0.8, "--power", help="Chance to find the change when it is there."),
    correlation: float = typer.Option(
        0.0, "--correlation", help="Of the metric with a covariate known before (CUPED)."
    ),
    sequential: bool = typer.Option(False, "--sequential", help="Results may be read at any time."),
    traffic: str | None = typer.Option(None, "--traffic", help="New units, for example '5000 per day'."),
    spec: Path | None = _SPEC,
    as_json: bool = JSON,
) -> None:
    """Say how many units an experiment needs, how long it takes, and what a shorter one would see."""
    from charter.flow.experiment import declared, parse_arms, parse_effect
    from charter.iterate.declared import question, units_per_day
    from charter.iterate.power import Question
    from charter.iterate.power import design as size

    if spec is not None:
        from charter.flow.workspace import Workspace

        known = declared(Workspace.at(spec).load().spec)
        asked, traffic = question(known), traffic or known.traffic
    elif baseline is None or mde is None:
        raise UsageError(
            "the size depends on what the metric is today and on the change that matters",
            remedy="Give for example `--baseline 0.05 --mde +10%`, or `--in` a model that declares an experiment.",
        )
    else:
        asked = Question(
            baseline, parse_effect(mde), parse_arms(arms), spread, alpha, power, correlation, sequential
        )
    try:
        per_day = units_per_day(traffic) if traffic is not None else None
    except ValueError as error:
        raise UsageError(str(error)) from error
    found = size(asked, units_per_day=per_day)
    shorter = _shorter(asked, per_day)
    if as_json:
        emit({**found.to_json(), "shorter": [{"days": d, "units": n, "mde": e} for d, n, e in shorter]})
        return
    _print_design(found, per_day, shorter)


def _shorter(asked: Question, per_day: float | None) -> list[tuple[int, int, float]]:
    """What could be seen in some whole numbers of weeks: days, units, smallest change in the metric's unit."""
    from charter.iterate.power import smallest_effect

    if per_day is None:
        return []
    rows = []
    for weeks in _WEEKS:
        units = int(per_day * 7 * weeks * sum(asked.shares.values()))
        try:
            rows.append((7 * weeks, units, smallest_effect(asked, units).size))
        except UsageError:  # so few units show no change whatever
            continue
    return rows


def _print_design(found: Design, per_day: float | None, shorter: list[tuple[int, int, float]]) -> None:
    asked = found.question
    say(f"{found.total:,} units in {len(found.units)} arms to see a change of {asked.mde}")
    rows = [(f"  {arm}", f"{n:,}") for arm, n in found.units.items()]
    rows += [
        (
            "metric today",
            f"{asked.baseline:g}" + (f", spread {asked.spread:g}" if asked.spread is not None else ""),
        ),
        ("with the change", f"{asked.target:g}"),
        ("chances", f"{asked.alpha:g} to find what is not there, {asked.power:g} to find what is"),
        ("must overcome", f"{found.boundary:.3f} standard errors"),
    ]
    if asked.correlation:
        rows.append(("covariate", f"takes {asked.correlation**2:.0%} of the variance"))
    if asked.sequential:
        rows.append(
            (
                "any time",
                f"at most {found.inflation:.2f} times a single look's size; a large change stops earlier",
            )
        )
    if found.days is not None and per_day is not None:
        weeks = math.ceil(found.days / 7)
        rows.append(
            ("duration", f"{found.days:,} days at {per_day:,.0f} units a day; run whole weeks: {weeks:,}")
        )
    table(rows)
    if shorter:
        say("what other durations would see")
        relative = [f"{change / asked.baseline:+.1%}" if asked.baseline else "" for _, _, change in shorter]
        table(
            [
                (f"{days} days", f"{units:,} units", f"{change:+.4g}", percent)
                for (days, units, change), percent in zip(shorter, relative, strict=True)
            ],
            right=(1, 2, 3),
        )


def analyse(
    file: Path = typer.Argument(..., help="Results: CSV, Parquet, JSON lines; one row a unit, or several."),
    unit: str | None = typer.Option(None, "--unit", help="Column of who was assigned."),
    arm: str = typer.Option("arm", "--arm", help="Column of the arm."),
    metric: str | None = typer.Option(
        None, "--metric", help="What decides: a column, 'clicks / views', 'p95(latency_ms)'."
    ),
    control: str | None = typer.Option(None, "--control", help="The arm to compare with."),
    shares: str | None = typer.Option(
        None, "--shares", help="Intended shares, a=0.9,b=0.1; all alike when left out."
    ),
    better: Literal["up", "down"] = typer.Option("up", "--better", help="Which direction is better."),
    mde: str | None = typer.Option(
        None,
        "--mde",
        help="Smallest change that matters, +1% or -0.5; its sign says which direction is better.",
    ),
    guardrail: list[str] = typer.Option(
        [], "--guardrail", help="'retention: -1%': may fall by less. Repeatable."
    ),
    covariate: str | None = typer.Option(None, "--covariate", help="Known before the exposure (CUPED)."),
    segment: list[str] = typer.Option(
        [], "--segment", help="Show the effect by this column, too. Repeatable."
    ),
    alpha: float = typer.Option(0.05, "--alpha", help="Chance of a false finding, two-sided."),
    sequential: bool = typer.Option(False, "--sequential", help="Results are read more than once."),
    planned: int | None = typer.Option(
        None, "--planned", min=2, help="Units that the design asked for, all arms."
    ),
    spec: Path | None = _SPEC,
    as_json: bool = JSON,
) -> None:
    """Read the results of an experiment and say what to do: ship, do not ship, keep running, or invalid."""
    from charter.core.effect import Effect
    from charter.flow.experiment import (
        analyse_file,
        declared,
        parse_arms,
        parse_effect,
        parse_guardrails,
        parse_measure,
        read_results,
        shares_of,
    )
    from charter.iterate.declared import plan as planned_by
    from charter.iterate.types import ExperimentPlan, Outcome

    frame = read_results(file)
    if spec is not None:
        from charter.flow.workspace import Workspace

        plan: ExperimentPlan = planned_by(declared(Workspace.at(spec).load().spec), arm=arm)
    elif unit is None or metric is None:
        raise UsageError(
            "results are read by unit and metric",
            remedy="Give for example `--unit user_id --metric converted`, or `--in` a model's folder.",
        )
    else:
        change: Effect | None = parse_effect(mde) if mde is not None else None
        plan = ExperimentPlan(
            unit,
            arm,
            shares_of(frame, arm, parse_arms(shares) if shares is not None else {}, control),
            parse_measure(metric),
            change,
            change.direction if change is not None else 1.0 if better == "up" else -1.0,
            parse_guardrails(guardrail),
            covariate,
            tuple(segment),
            alpha,
            sequential,
            planned,
        )
    report = analyse_file(frame, plan)
    if as_json:
        emit(report.to_json())
    else:
        _print_report(report)
    raise typer.Exit(0 if report.outcome is Outcome.SHIP else 1)


def start(
    version: str = typer.Argument(..., help="An approved version, for example v4."),
    name: str | None = NAME,
    reason: str = REASON,
    spec: Path = FOLDER,
    as_json: bool = JSON,
) -> None:
    """Deal units out between the version that serves and another, as release.experiment declares."""
    from charter.cli.rollout import show
    from charter.flow.experiment_run import start as begin
    from charter.flow.workspace import Workspace

    workspace = Workspace.at(spec)
    show(begin(workspace, workspace.load(), version, name=name, reason=reason), as_json=as_json)


def results(
    file: Path = typer.Argument(
        ..., help="Units and metrics: CSV, Parquet, JSON lines. Arms are not taken from it."
    ),
    name: str | None = NAME,
    spec: Path = FOLDER,
    as_json: bool = JSON,
) -> None:
    """Bring in what came of the units of the experiment that runs, where the log and the outcomes do not tell."""
    from charter.flow.trial import bring
    from charter.flow.workspace import Workspace

    workspace = Workspace.at(spec)
    found = bring(workspace, workspace.load(), file, name=name)
    if as_json:
        emit(found)
        return
    say(f"{found['rows']:,} rows are kept for {found['experiment']}: `charter experiment status` reads them.")


def status(spec: Path = FOLDER, as_json: bool = JSON) -> None:
    """Read the experiment that runs, as far as it has come; changes nothing."""
    from charter.cli.rollout import show
    from charter.flow.experiment_run import status as look
    from charter.flow.workspace import Workspace

    workspace = Workspace.at(spec)
    found, report = look(workspace, workspace.load())
    if as_json:
        emit({**found.to_json(), "report": report.to_json() if report is not None else None})
    elif report is not None:
        _print_report(report)
    else:
        show(found, as_json=False)


def stop(name: str | None = NAME, reason: str = REASON, spec: Path = FOLDER, as_json: bool = JSON) -> None:
    """End the experiment that runs: the champion answers everything, and the verdict is kept."""
    from charter.cli.rollout import show
    from charter.flow.experiment_run import stop as end
    from charter.flow.workspace import Workspace

    workspace = Workspace.at(spec)
    show(end(workspace, workspace.load(), name=name, reason=reason), as_json=as_json)


def _print_report(report: ExperimentReport) -> None:
    from charter.iterate.words import estimated, figure

    plan = report.plan
    about = f" {report.arm}" if report.arm else ""
    say(f"{report.outcome.value}{about}: {sum(a.units for a in report.arms):,} units by {plan.unit}")
    show_decision(report.decision, indent=2)
    metrics = list(report.arms[0].metrics)
    if metrics:
        say(f"arms, intervals at {1 - plan.alpha:.0%}")
        table(
            [(a.arm, f"{a.units:,}", *(estimated(a.metrics[m]) for m in metrics)) for a in report.arms],
            head=("arm", "units", *metrics),
            right=(1,),
        )
        spread = report.arms[0].spread
        if spread is not None and report.arms[0].metrics[str(plan.primary)].method != "wilson":
            say(f"  spread of {plan.primary} between units of {plan.control}: {figure(spread)}")
    if report.effects:
        say(f"effects against {plan.control}")
        table([_effect(e) for e in report.effects], head=("arm", "metric", "difference", "relative", "p"))
    if report.segments:
        say(f"effects on {plan.primary} by segment")
        table(
            [(f"{e.segment} = {e.value}", *_effect(e)) for e in report.segments],
            head=("segment", "arm", "metric", "difference", "relative", "p"),
        )
    for remark in report.remarks:
        say(f"  {remark}")


def _effect(effect: ArmEffect) -> tuple[str, ...]:
    from charter.iterate.words import estimated

    p = "" if effect.p_value is None else "< 0.0001" if effect.p_value < 1e-4 else f"{effect.p_value:.4f}"
    relative = (
        estimated(effect.relative, relative=True, sign="+") if effect.relative.value is not None else ""
    )
    return effect.arm, effect.metric, estimated(effect.difference, sign="+"), relative, p
