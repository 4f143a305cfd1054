"""Rules, gauges and a dashboard for Prometheus and Grafana."""

from __future__ import annotations

import json
import shutil
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from charter.monitor.alerts import rules
from charter.monitor.export import dashboard, prometheus_rules, textfile
from charter.spec.types import ModelSpec

WEEK = timedelta(weeks=1)


def exported(spec: ModelSpec) -> str:
    return prometheus_rules("loans", rules(spec), window=WEEK, stopped_after=2 * WEEK)


def test_rules_keep_their_limits_conditions_and_lasting(loans_spec: ModelSpec) -> None:
    (group,) = yaml.safe_load(exported(loans_spec))["groups"]
    found = {r["alert"]: r for r in group["rules"]}
    assert found["loans_mine"]["expr"] == 'charter_monitor_measure{model="loans",measure="psi"} > 0.2'
    assert found["loans_mine"]["for"] == "604800s"
    quality = found["loans_requires_roc_auc"]
    assert quality["expr"] == (
        '(charter_monitor_measure{model="loans",measure="high",of="roc_auc"} < 0.7) and on (model, version) '
        '(charter_monitor_measure{model="loans",measure="maturity"} >= 0.8)'
    )
    assert quality["labels"]["severity"] == "critical"
    assert "charter_request_seconds_bucket" in found["loans_budget_latency"]["expr"]
    assert "absent(" in found["loans_monitor_stopped"]["expr"]


def test_promtool_takes_the_rules(loans_spec: ModelSpec, tmp_path: Path) -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not installed (Debian: prometheus)")
    (tmp_path / "rules.yml").write_text(exported(loans_spec))
    ran = subprocess.run(
        [promtool, "check", "rules", tmp_path / "rules.yml"], capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr


def test_gauges_are_read_back_as_they_were_measured() -> None:
    windows = [
        {"version": "v1", "measures": {"roc_auc": 0.5}},
        {"version": "v1", "measures": {"roc_auc": 0.75, 'psi(a "b" \\ c)': 0.1}},
        {"version": "v2", "measures": {"rows": 10.0}},
    ]
    text = textfile("loans", windows, last_pass=datetime(2026, 1, 1, tzinfo=UTC))
    measures, last = text_string_to_metric_families(text)
    found = {(s.labels["version"], s.labels["measure"], s.labels["of"]): s.value for s in measures.samples}
    assert found == {("v1", "roc_auc", ""): 0.75, ("v1", "psi", 'a "b" \\ c'): 0.1, ("v2", "rows", ""): 10.0}
    assert last.samples[0].value == datetime(2026, 1, 1, tzinfo=UTC).timestamp()


def test_the_dashboard_asks_for_what_there_is() -> None:
    found = json.loads(dashboard("loans", ["roc_auc", "recall"]))
    assert len({p["id"] for p in found["panels"]}) == len(found["panels"])
    places = [(p["gridPos"]["x"], p["gridPos"]["y"]) for p in found["panels"]]
    assert len(set(places)) == len(places)
    asked = [t["expr"] for p in found["panels"] for t in p["targets"]]
    assert all('model="loans"' in expr for expr in asked)
    assert sum('of="recall"' in expr for expr in asked) == 1
