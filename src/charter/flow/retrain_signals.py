"""What is known when it is asked whether to retrain: windows of the monitor, age, rows, earlier runs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from charter.core.errors import UsageError
from charter.flow.kept import monitor_folder
from charter.flow.monitor import status
from charter.flow.observe import current_plan, fingerprint_sources
from charter.flow.plan import Stage
from charter.flow.rolling import traffic_of
from charter.flow.views import features_result, snapshot_result, trained_result
from charter.flow.workspace import Workspace
from charter.iterate.retrain_runs import runs
from charter.iterate.retraining import Condition, Signals
from charter.spec.alerts import AlertRule
from charter.spec.loader import Loaded
from charter.spec.types import AlertSpec, ModelSpec

if TYPE_CHECKING:
    from charter.monitor.alerts import Alert, Rule
    from charter.registry.io.records import Records
    from charter.registry.types import StageResult


def signals(workspace: Workspace, loaded: Loaded) -> Signals:
    """Read everything that the triggers look at; changes nothing.

    Raises
    ------
    UsageError
        When nothing is released.
    Refusal
        When the audit trail, by which runs are counted, is not whole.
    """
    from charter.flow.release import trusted_keys

    spec = loaded.spec
    fingerprints = fingerprint_sources(workspace, loaded)
    with workspace.records(spec.name, readonly=True) as records:
        deployment = records.deployment()
        if deployment is None:
            raise UsageError(
                "nothing is released, so there is nothing to train anew",
                remedy="`charter apply` makes a first version.",
            )
        trusted_keys(workspace, records)  # refuses records that were tampered with: they count the runs
        champion = records.version(deployment.version)
        made_of = _snapshot_of(records, trained_result(records, champion))
        step = current_plan(workspace, loaded, records, fingerprints).step(Stage.TRAIN)
        return Signals(
            now=workspace.clock.now(),
            champion=champion.name,
            made_at=champion.created_at,
            conditions=_conditions(workspace, loaded, champion.name),
            new_rows=_new_rows(workspace, loaded, made_of, fingerprints),
            tried=traffic.candidate if (traffic := traffic_of(deployment)) is not None else None,
            stopped=traffic is not None and traffic.stage == "stopped",
            again=f"v{step.result.summary['version']}" if step.result is not None else None,
            runs=runs(records.events(), spec.name),
        )


def rules(spec: ModelSpec) -> tuple[Rule, ...]:
    """Conditions that call for training: those of ``retrain.when``, and alerts whose action is ``retrain``."""
    from charter.monitor import alerts

    own = [
        alerts.Rule(
            name, AlertRule.parse(text), AlertSpec(when=text, action="retrain"), ("retrain", "when", name)
        )
        for name, text in spec.retrain.when.items()
    ]
    return (*own, *(r for r in alerts.rules(spec) if r.spec.action == "retrain"))


def has_trigger(spec: ModelSpec) -> bool:
    """Whether the specification names anything that makes training due."""
    policy = spec.retrain
    return any((policy.every, policy.max_age, policy.new_rows)) or bool(rules(spec))


def _conditions(workspace: Workspace, loaded: Loaded, champion: str) -> tuple[Condition, ...]:
    """Judge the rules over the champion's windows alone: what an earlier version went through is no reason."""
    from charter.monitor.alerts import judge
    from charter.monitor.report import stored_windows

    wanted = rules(loaded.spec)
    watched = (monitor_folder(workspace, loaded.spec.name) / "last_pass").exists()
    kept = [w for w in status(workspace, loaded).windows if w["version"] == champion] if watched else []
    found = {a.rule.name: a for a in judge(stored_windows(kept), wanted)[0]}
    return tuple(_condition(rule, found.get(rule.name), len(kept)) for rule in wanted)


def _condition(rule: Rule, alert: Alert | None, windows: int) -> Condition:
    said = alert is not None and bool(alert.observed)
    silent = f"in none of {windows} windows" if windows else "no window is measured yet"
    return Condition(
        rule.name,
        str(rule.rule),
        alert.firing if alert is not None and said else None,
        alert.observed if alert is not None and said else silent,
        ".".join(rule.where),
    )


def _snapshot_of(records: Records, trained: StageResult) -> StageResult:
    features = features_result(records, trained)
    return snapshot_result(records, features)


def _new_rows(
    workspace: Workspace, loaded: Loaded, made_of: StageResult, fingerprints: Mapping[str, str]
) -> int | None:
    """Count rows that came since, reading only sources that have changed; None where nobody asks for the number."""
    if loaded.spec.retrain.new_rows is None:
        return None
    from charter.data.io.sources import read

    before: Mapping[str, Any] = made_of.summary["read"]
    new = 0
    for name, source in loaded.spec.data.sources.items():
        if made_of.inputs.get(f"source {name}") != fingerprints[name]:
            new += read(source, workspace.root, workspace.settings).height - int(before.get(name, 0))
    return new
