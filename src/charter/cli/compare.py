"""Comparing two versions on the command line."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from charter.cli.output import JSON, emit, say, show_decision, table
from charter.cli.progress import progress

if TYPE_CHECKING:
    from charter.evaluate.comparison import MetricChange, ModelComparison, SliceChange
    from charter.evaluate.types import Estimate
    from charter.flow.workspace import Workspace
    from charter.spec.loader import Loaded

_RESOURCES = {"latency_p95_ms": "p95 latency, ms", "memory_mb": "memory, MB", "package_mb": "package, MB"}


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(compare)


def compare(
    champion: str = typer.Argument("", help="The version that serves, for example v1."),
    candidate: str = typer.Argument("", help="The version that is to replace it, for example v2."),
    spec: Path = typer.Option(Path(), "--in", help="The model's folder."),
    as_json: bool = JSON,
) -> None:
    """Compare two versions on the same held-out rows, and say whether the second may replace the first.

    Without versions: put all of them beside each other, and say which are worth choosing from.
    """
    from charter.core.errors import UsageError
    from charter.flow.compare import compare_versions
    from charter.flow.views import with_lines
    from charter.flow.workspace import Workspace

    workspace = Workspace.at(spec)
    loaded = workspace.load()
    if not champion:
        _show_tradeoffs(workspace, loaded, as_json=as_json)
        return
    if not candidate:
        raise UsageError(
            f"{champion} is compared with nothing",
            remedy=f"Name two versions, for example `charter compare {champion} v2`, or none to see all.",
        )
    shown = progress(quiet=as_json)
    found = compare_versions(workspace, loaded, champion, candidate, progress=shown)
    if as_json:
        emit(found.to_json())
    else:
        outcome = found.decision.evidence["outcome"]
        compared = found.comparison
        say(f"{outcome}: {compared.candidate} in place of {compared.champion}")
        show_decision(with_lines(found.decision, loaded.source), indent=2)
        _print(compared)
    raise typer.Exit(0 if found.decision.allows else 1)


def _show_tradeoffs(workspace: Workspace, loaded: Loaded, *, as_json: bool) -> None:
    from charter.flow.tradeoffs import tradeoffs

    found = tradeoffs(workspace, loaded)
    if as_json:
        emit(found.to_json())
        return
    metric = found.standings[0].metric
    table(
        [
            (s.version, s.learner, f"{s.value:.4f}", f"{s.latency_p95_ms:.3g}", f"{s.memory_mb:.0f}",
             f"{s.package_mb:.3g}", s.snapshot[:8], "yes" if s.on_front else "")
            for s in found.standings
        ],
        head=("version", "learner", f"{metric} (folds)", *_RESOURCES.values(), "rows", "on the front"),
        indent=0, right=(2, 3, 4, 5),
    )  # fmt: skip
    say(
        "on the front: no other version on the same rows is at least as good in all of this, and better in some"
    )
    if found.left_out:
        say(f"left out, since not evaluated by {metric}: {', '.join(found.left_out)}")


def _print(found: ModelComparison) -> None:
    units = f", {found.units:,} independent" if found.clustered else ""
    say(f"both on the same {found.n:,} held-out rows{units}, intervals at {found.confidence:.0%}")
    table(
        [_metric(c) for c in found.metrics],
        head=("metric", found.champion, found.candidate, "difference", "gain", "p"),
    )
    _print_common(found)
    shift = found.shift
    rows = [
        ("moved", f"{_estimate(shift.share, percent=True)} of rows by more than {shift.by:.4g}"),
        ("on average", f"{shift.mean:+.4g}"),
        ("PSI", f"{shift.psi:.4f}"),
    ]
    if shift.flipped is not None:
        rows.append(("decided otherwise", f"{_estimate(shift.flipped, percent=True)} of rows"))
    if found.decisions is not None and found.decisions.p_value is not None:
        rows.append(
            (
                "right decisions",
                f"{_estimate(found.decisions.difference)}, McNemar p = {found.decisions.p_value:.4f}",
            )
        )
    say("answers")
    table(rows)
    if found.slices:
        say(f"slices by {found.primary}")
        table([_slice(s) for s in found.slices], head=("slice", "rows", "difference", "p"), right=(1,))
    for name, (before, after) in (found.resources or {}).items():
        if before is not None and after is not None:
            say(f"  {_RESOURCES[name]}: {before:.4g} to {after:.4g}")
    for remark in found.remarks:
        say(f"  {remark}")


def _print_common(found: ModelComparison) -> None:
    for change, what in (
        (found.common_rows, "on the rows that have every feature of both"),
        (found.common_features, "with the features that only one sees taken away"),
    ):
        if change is not None:
            say(f"  {what}: {change.metric} {_estimate(change.compared.difference)}")


def _metric(change: MetricChange) -> tuple[str, ...]:
    compared = change.compared
    values = [f"{v:,.4f}" if v is not None else "" for v in (compared.b, compared.a)]
    p = f"{compared.p_value:.4f}" if compared.p_value is not None else ""
    gain = _estimate(change.gain, percent=True) if change.gain.value is not None else ""
    return change.metric, *values, _estimate(compared.difference), gain, p


def _slice(change: SliceChange) -> tuple[str, ...]:
    name = change.slice if change.value == "true" else f"{change.slice} = {change.value}"
    difference = _estimate(change.change.compared.difference) if change.change is not None else change.note
    return name, f"{change.n:,}", difference, f"{change.p_value:.4f}" if change.p_value is not None else ""


def _estimate(estimate: Estimate, *, percent: bool = False) -> str:
    from charter.iterate.words import estimated

    return estimated(estimate, relative=percent, sign="" if percent and estimate.method == "wilson" else "+")
