"""How a version is shown on a terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from charter.cli.output import say, show_decision, table
from charter.flow.views import VersionView


def print_version(view: VersionView, *, only: str | None = None) -> None:
    """Print a version: quality, baselines, slices, fairness, requirements, signatures."""
    evaluation = view.evaluation
    if only is None:
        _head(view)
    if evaluation is None:
        say("Not evaluated yet: `charter apply`.")
        return
    if only is None:
        _quality(evaluation)
    if only in (None, "slices"):
        _slices(evaluation)
    if only in (None, "fairness"):
        _fairness(evaluation)
    if only is not None:
        return
    if view.gate is not None:
        say("requirements")
        show_decision(view.gate, indent=2)
    if view.approvals is not None:
        say("signatures")
        show_decision(view.approvals, indent=2)


def _head(view: VersionView) -> None:
    v, t = view.version, view.train
    say(f"{v.name}  {t['learner']}  {v.status}{'  serves' if view.serving else ''}")
    table(
        [
            ("bundle", v.bundle[:16]),
            ("package", v.package[:16] if v.package else "not packaged"),
            ("search", f"{t['trials']} trials, best {t['metric']} {t['value']:.4f} out of fold"),
            ("parity", f"trained and exported differ by at most {t['parity']['max_abs_difference']:.1e}"),
        ]
    )
    if view.measurement:
        m = view.measurement
        say(
            f"  budget   p95 {m['latency_p95_ms']:.1f} ms a request, {m['memory_mb']:.0f} MB of memory, "
            f"{m['package_mb']:.1f} MB on disk"
        )


def _estimate(e: Mapping[str, Any]) -> str:
    if e["value"] is None:
        return "not defined"
    if e.get("low") is None:
        return f"{e['value']:,.4f}"
    return f"{e['value']:,.4f} [{e['low']:,.4f}, {e['high']:,.4f}]"


def _quality(evaluation: Mapping[str, Any]) -> None:
    baselines = evaluation["baselines"]
    say(f"quality on {evaluation['n']:,} held-out rows" + (
        f", {evaluation['positives']:,} positive" if evaluation.get("positives") is not None else ""))  # fmt: skip
    rows = []
    for name, estimate in evaluation["metrics"].items():
        others = [_estimate(b["metrics"][name]) if name in b["metrics"] else "" for b in baselines.values()]
        rows.append((name, _estimate(estimate), *others))
    table(rows, head=("metric", "model", *baselines))
    if evaluation.get("threshold"):
        say(f"  threshold {evaluation['threshold']['threshold']:.4f}, chosen on out-of-fold rows")


def _slices(evaluation: Mapping[str, Any]) -> None:
    if not evaluation["slices"]:
        return
    say(f"slices by {evaluation['primary']}")
    table(
        [
            (s["name"], f"{s['n']:,}", _estimate(s["metric"]) if s.get("metric") else s.get("note", "too few rows"))
            for s in evaluation["slices"]
        ],
        head=("slice", "rows", evaluation["primary"]),
        right=(1,),
    )
    if evaluation.get("worst_slice"):
        say(f"  worst: {evaluation['worst_slice']}")


def _fairness(evaluation: Mapping[str, Any]) -> None:
    for attribute, found in (evaluation.get("fairness") or {}).items():
        say(f"fairness by {attribute}")
        table(
            [
                (g["group"], f"{g['n']:,}", f"{g['positives']:,}", *(_rate(g[k]) for k in ("selection_rate", "tpr", "fpr")))
                for g in found["groups"]
            ],
            head=("group", "rows", "positives", "selected", "true positive rate", "false positive rate"),
            right=(1, 2, 3, 4, 5),
        )
        table([(k, _estimate(found[k])) for k in found if k not in ("groups", "note") and isinstance(found[k], dict)])


def _rate(value: Any) -> str:
    rate = value["value"] if isinstance(value, dict) else value
    return "too few" if rate is None else f"{rate:.3f}"
