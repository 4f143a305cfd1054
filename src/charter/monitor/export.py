"""What was measured, and the rules on it, for Prometheus and Grafana. Pure: text and plain data.

What the server measures itself (latency, errors, fallbacks) is asked of its own metrics, second by second. What only
the monitor knows (quality, drift, money) it writes as gauges for Prometheus' textfile collector.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from charter.monitor.alerts import Rule
from charter.spec.alerts import ANY, Condition

GAUGE = "charter_monitor_measure"
LAST_PASS = "charter_monitor_last_pass_timestamp_seconds"  # noqa: S105 - a metric, not a password
LIVE = (
    "p50_latency_ms",
    "p95_latency_ms",
    "p99_latency_ms",
    "error_share",
    "refused_share",
    "fallback_share",
)
"""Measures that the server's own metrics give at any moment."""


def textfile(model: str, windows: Iterable[Mapping[str, Any]], *, last_pass: datetime) -> str:
    """Gauges of the newest window of each version, in Prometheus' text format.

    Parameters
    ----------
    windows
        As they are kept, in order; of versions that answer, since a rule on a gauge that stands still never ends.
    last_pass
        Aware.

    Examples
    --------
    >>> from datetime import UTC
    >>> window = {"version": "v1", "measures": {"psi(AGE)": 0.25}}
    >>> print(textfile("loans", [window], last_pass=datetime(2026, 1, 1, tzinfo=UTC)).splitlines()[2])
    charter_monitor_measure{model="loans",version="v1",measure="psi",of="AGE"} 0.25
    """
    newest = {one["version"]: one["measures"] for one in windows}
    lines = [f"# HELP {GAUGE} Newest value of what the monitor measures", f"# TYPE {GAUGE} gauge"]
    for version, measures in newest.items():
        for name, value in sorted(measures.items()):
            word, _, rest = name.partition("(")
            labels = {"model": model, "version": version, "measure": word, "of": rest.removesuffix(")")}
            lines.append(f"{GAUGE}{{{_labels(labels)}}} {float(value)!r}")
    lines += [f"# HELP {LAST_PASS} When the monitor last finished a pass", f"# TYPE {LAST_PASS} gauge"]
    lines.append(f"{LAST_PASS}{{{_labels({'model': model})}}} {last_pass.timestamp()!r}")
    return "\n".join(lines) + "\n"


def prometheus_rules(
    model: str, rules: Sequence[Rule], *, window: timedelta, stopped_after: timedelta
) -> str:
    """Alerting rules of a model, in YAML as ``promtool check rules`` takes it; one more tells of a silent monitor.

    Parameters
    ----------
    window
        Length of the monitor's windows.
    stopped_after
        A monitor that has finished no pass for so long has stopped.
    """
    import yaml

    found = [_alert(model, one, window) for one in rules]
    own = _labels({"model": model})
    silent = round(stopped_after.total_seconds())
    found.append(
        {
            "alert": _word(model, "monitor_stopped"),
            "expr": f"time() - {LAST_PASS}{{{own}}} > {silent} or absent({LAST_PASS}{{{own}}})",
            "for": "5m",
            "labels": {"severity": "critical", "action": "notify", "model": model},
            "annotations": {"summary": f"{model}: the monitor has finished no pass for {stopped_after}"},
        }
    )
    document = {"groups": [{"name": f"charter-{model}", "rules": found}]}
    return str(yaml.safe_dump(document, sort_keys=False, width=1000))


def dashboard(model: str, metrics: Sequence[str]) -> str:
    """A Grafana dashboard of a model, as JSON: operations, quality, drift, money.

    Parameters
    ----------
    metrics
        Quality metrics to draw, estimated and realised.
    """
    own = _labels({"model": model})
    shares = [(_live(n, own), n) for n in ("error_share", "refused_share", "fallback_share")]
    panels: list[tuple[str, list[tuple[str, str]], str]] = [
        ("Requests a second", [_rates("requests", "status", own)], "reqps"),
        ("Latency", [(_live(f"{p}_latency_ms", own), p) for p in ("p50", "p95", "p99")], "ms"),
        ("Answers by decision", [_rates("predictions", "decision", own)], "reqps"),
        ("Errors and fallbacks", shares, "percentunit"),
    ]
    for metric in metrics:
        realised = (f'{GAUGE}{{{own},measure="{metric}"}}', "realised {{version}}")
        estimated = (f'{GAUGE}{{{own},measure="estimated",of="{metric}"}}', "estimated {{version}}")
        panels.append((metric, [realised, estimated], "none"))
    panels += [
        ("Outcomes known", [(f'{GAUGE}{{{own},measure="maturity"}}', "{{version}}")], "percentunit"),
        ("Drift (PSI)", [(f'topk(10, {GAUGE}{{{own},measure="psi"}})', "{{of}}")], "none"),
        ("Benefit a month", [(f'{GAUGE}{{{own},measure="benefit_per_month"}}', "{{version}}")], "none"),
    ]
    document = {
        "uid": f"charter-{model}"[:40],
        "title": f"Charter: {model}",
        "tags": ["charter"],
        "schemaVersion": 39,
        "version": 1,
        "editable": True,
        "refresh": "1m",
        "time": {"from": "now-24h", "to": "now"},
        "templating": {
            "list": [{"name": "source", "type": "datasource", "query": "prometheus", "label": "Prometheus"}]
        },
        "panels": [_panel(i, title, queries, unit) for i, (title, queries, unit) in enumerate(panels)],
    }
    return json.dumps(document, indent=2) + "\n"


def _rates(metric: str, by: str, own: str) -> tuple[str, str]:
    return f"sum by ({by}) (rate(charter_{metric}_total{{{own}}}[5m]))", f"{{{{{by}}}}}"


def _panel(place: int, title: str, queries: Sequence[tuple[str, str]], unit: str) -> dict[str, Any]:
    source = {"type": "prometheus", "uid": "${source}"}
    return {
        "id": place + 1,
        "type": "timeseries",
        "title": title,
        "datasource": source,
        "gridPos": {"h": 8, "w": 12, "x": 12 * (place % 2), "y": 8 * (place // 2)},
        "fieldConfig": {"defaults": {"unit": unit}, "overrides": []},
        "options": {"legend": {"displayMode": "list", "placement": "bottom"}, "tooltip": {"mode": "multi"}},
        "targets": [
            {"refId": chr(65 + i), "datasource": source, "expr": expr, "legendFormat": legend}
            for i, (expr, legend) in enumerate(queries)
        ],
    }


def _alert(model: str, one: Rule, window: timedelta) -> dict[str, Any]:
    rule, spec = one.rule, one.spec
    expr = _expression(model, rule.condition)
    if rule.when is not None:
        expr = f"({expr}) and on (model, version) ({_expression(model, rule.when)})"
    lasting = rule.lasting or (rule.windows - 1) * window
    labels = {"severity": spec.severity, "action": spec.action, "model": model}
    described = {"description": spec.description} if spec.description else {}
    return {
        "alert": _word(model, one.name),
        "expr": expr,
        **({"for": f"{round(lasting.total_seconds())}s"} if lasting else {}),
        "labels": {**labels, **({"group": spec.group} if spec.group else {})},
        "annotations": {"summary": f"{model}: {rule}", **described},
    }


def _expression(model: str, condition: Condition) -> str:
    if condition.name in LIVE:
        return f"{_live(condition.name, _labels({'model': model}))} {condition.limit}"
    labels = {"model": model, "measure": condition.measure}
    if condition.of is not None and condition.of != ANY:
        labels["of"] = condition.of
    return f"{GAUGE}{{{_labels(labels)}}} {condition.limit}"


def _live(measure: str, own: str) -> str:
    """Ask the server's metrics of the last five minutes; ``own`` are the labels of the model."""

    def rate(metric: str, more: str = "") -> str:
        return f"rate(charter_{metric}{{{own}{more}}}[5m])"

    match measure:
        case "error_share":
            failed = rate("requests_total", ',status=~"5.."')
            return f"sum({failed}) / sum({rate('requests_total')})"
        case "refused_share":
            refused = rate("requests_total", ',status=~"400|422"')
            return f"sum({refused}) / sum({rate('requests_total')})"
        case "fallback_share":
            return f"sum({rate('fallbacks_total')}) / sum({rate('predictions_total')})"
        case _:
            quantile = int(measure[1:3]) / 100
            return f"1000 * histogram_quantile({quantile}, sum by (le) ({rate('request_seconds_bucket')}))"


def _word(model: str, name: str) -> str:
    return re.sub(r"\W", "_", f"{model}_{name}")


def _labels(labels: Mapping[str, str]) -> str:
    return ",".join(f"{name}={json.dumps(value, ensure_ascii=False)}" for name, value in labels.items())
