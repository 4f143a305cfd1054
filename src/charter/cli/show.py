"""How a version is shown on a terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from charter.cli.output import say, show_decision, table
from charter.flow.views import VersionView
from charter.framing.value import compute_per_million
from charter.govern.horizon import horizon_rows, horizon_words, over_time_words

if TYPE_CHECKING:
    from charter.spec.types import Value

MOST_FEATURES = 8
"""Of a version shown whole."""


def print_version(view: VersionView, *, only: str | None = None, value: Value | None = None) -> None:
    """Print a version: quality, baselines, features, slices, fairness, requirements, signatures."""
    evaluation = view.evaluation
    if only is None:
        _head(view)
        _compute(view.measurement or {}, value)
    if only in (None, "features"):
        _features(view.candidates["importance"], most=None if only else MOST_FEATURES)
    if only == "features":
        return
    if evaluation is None:
        say("Not evaluated yet: `charter apply`.")
        return
    if only is None:
        _quality(evaluation)
        if view.judged_alike > 1:
            say(
                f"  {view.judged_alike} models have been judged on held-out rows of this snapshot: "
                "the best of several looks better than it is"
            )
    if only is None and evaluation.get("forecast"):
        _horizon(evaluation["forecast"])
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
    say(f"{v.name}  {t['learner']}  {view.standing}{'  serves' if view.serving else ''}")
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


def _compute(measurement: Mapping[str, Any], value: Value | None) -> None:
    """Print what a request works, and what that costs where the specification prices an hour of a processor."""
    if "cpu_ms" not in measurement:
        return
    price = value.costs.compute_per_hour if value is not None else None
    cost = ""
    if value is not None and price is not None:
        million = compute_per_million(measurement["cpu_ms"], price)
        cost = f": {value.currency} {million:,.3g} for a million, asked for one by one (without network and HTTP)"
    say(f"  compute  {measurement['cpu_ms']:.2f} ms of one processor a request{cost}")


def _features(importance: Mapping[str, float], *, most: int | None) -> None:
    say(f"features by share of importance, {len(importance)} in all")
    ranked = sorted(importance.items(), key=lambda one: (-one[1], one[0]))
    table([(name, f"{share:.1%}") for name, share in ranked[:most]], right=(1,))
    if most is not None and len(ranked) > most:
        say(f"  {len(ranked) - most} more: `--features`")


def _estimate(e: Mapping[str, Any]) -> str:
    if e["value"] is None:
        return "not defined"
    if e.get("low") is None:
        return _number(e["value"])
    return f"{_number(e['value'])} [{_number(e['low'])}, {_number(e['high'])}]"


def _number(value: float) -> str:
    """Write money and counts without decimals that nobody reads, shares with four."""
    decimals = 0 if abs(value) >= 1000 else 2 if abs(value) >= 10 else 4
    return f"{value:,.{decimals}f}"


def _quality(evaluation: Mapping[str, Any]) -> None:
    baselines = evaluation["baselines"]
    positives = evaluation["positives"]
    say(
        f"quality on {evaluation['n']:,} held-out rows"
        + (f", {positives:,} positive" if positives is not None else "")
        + f", intervals at {evaluation['confidence']:.0%}"
    )
    rows = [
        (name, _estimate(own), *(_estimate(b[name]) if name in b else "" for b in baselines.values()))
        for name, own in evaluation["metrics"].items()
    ]
    table(rows, head=("metric", "model", *baselines))
    against, threshold = evaluation["against_baseline"], evaluation["threshold"]
    if against:
        better = _estimate(against["difference"])
        say(f"  against {against['baseline']}: {against['metric']} {better}")
    if (worth := evaluation.get("value")) is not None:
        made, idle = worth["net_value_per_month"], worth["without_model_per_month"]
        say(
            f"  net value counts every outcome from 0: {worth['currency']} {made:,.0f} a month less costs, and "
            f"{idle:,.0f} where nobody is flagged; so the net benefit over flagging nobody, which `charter assess` "
            f"speaks of, is {made - idle:,.0f}"
        )
    if threshold:
        say(
            f"  threshold {threshold['threshold']:.4f} (for {threshold['objective']}), chosen on out-of-fold rows"
        )


def _horizon(report: Mapping[str, Any]) -> None:
    say(f"by horizon: {horizon_words(report)}")
    covered = f"inside {report['level']:.0%} interval" if report["level"] is not None else ""
    head = ("steps", "rows", report["metric"], "bias", covered, "hardest baseline", "error less by")
    rows = [
        (
            one.steps,
            f"{one.n:,}",
            _estimate(one.error),
            _estimate(one.bias),
            "" if one.coverage is None else _percent(one.coverage),
            "" if one.other is None else f"{one.baseline} {one.other:,.4f}",
            "" if one.improvement is None else _percent(one.improvement),
        )
        for one in horizon_rows(report)
    ]
    used = [i for i in range(len(head)) if any(row[i] for row in rows)]
    table([[row[i] for i in used] for row in rows], head=[head[i] for i in used], right=(1,))
    if told := over_time_words(report):
        say(f"  {told}")


def _percent(e: Mapping[str, Any]) -> str:
    if e["value"] is None:
        return "not defined"
    if e.get("low") is None:
        return f"{e['value']:.1%}"
    return f"{e['value']:.1%} [{e['low']:.1%}, {e['high']:.1%}]"


def _slices(evaluation: Mapping[str, Any]) -> None:
    if not evaluation["slices"]:
        return
    say(f"slices by {evaluation['primary']}")
    rows = [
        (_slice(s), f"{s['n']:,}", _estimate(s["primary"]) if s["judged"] else "not judged", s["note"] or "")
        for s in evaluation["slices"]
    ]
    table(rows, head=("slice", "rows", evaluation["primary"], ""), right=(1,))
    if evaluation["worst_slice"]:
        say(f"  worst: {_slice(evaluation['worst_slice'])}")
    say(f"  {evaluation['slices_note']}")


def _slice(found: Mapping[str, Any]) -> str:
    return found["slice"] if found["value"] in (None, "", "true") else f"{found['slice']} = {found['value']}"


def _fairness(evaluation: Mapping[str, Any]) -> None:
    for attribute, found in (evaluation.get("fairness") or {}).items():
        say(f"fairness by {attribute}")
        table(
            [
                (
                    g["group"],
                    f"{g['n']:,}",
                    f"{g['positives']:,}",
                    *(_rate(g[k]) for k in ("selection_rate", "tpr", "fpr")),
                )
                for g in found["groups"]
            ],
            head=("group", "rows", "positives", "selected", "true positive rate", "false positive rate"),
            right=(1, 2, 3, 4, 5),
        )
        table([(k, _estimate(found[k])) for k in found if isinstance(found[k], dict) and "value" in found[k]])


def _rate(value: Any) -> str:
    rate = value["value"] if isinstance(value, dict) else value
    return "too few" if rate is None else f"{rate:.3f}"
