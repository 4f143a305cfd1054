"""What people ask of the records: status, one version, the history. Reading only."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from itertools import takewhile
from typing import TYPE_CHECKING, Any

from charter.core.clock import iso
from charter.core.decision import Decision
from charter.core.digest import Digest, short
from charter.core.errors import UsageError
from charter.flow.observe import current_plan, judge_approvals, proven
from charter.flow.plan import Stage
from charter.flow.retrain_review import under_review
from charter.flow.workspace import Workspace
from charter.registry.traffic import Traffic
from charter.spec.loader import Loaded, Source
from charter.spec.types import ModelSpec

if TYPE_CHECKING:
    from charter.registry.io.blobs import Blobs
    from charter.registry.io.records import Records
    from charter.registry.types import Deployment, ModelVersion, StageResult


def version_number(text: str) -> int:
    """Read ``v3`` or ``3``.

    Raises
    ------
    UsageError
        When it is neither.
    """
    match = re.fullmatch(r"v?([1-9][0-9]{0,8})", text)
    if match is None:
        raise UsageError(
            f"{text!r} is not a version", remedy="Write for example v3; `charter history` lists them."
        )
    return int(match[1])


def with_lines(decision: Decision, source: Source) -> Decision:
    """Point each check at its present line in the specification; records keep the path, since lines move."""
    checks = tuple(
        replace(c, where=source.where(tuple(c.where.split(".")))) if c.where else c for c in decision.checks
    )
    return replace(decision, checks=checks)


@dataclass(frozen=True, slots=True)
class Status:
    """What serves, and what stands in the way of what should."""

    name: str
    serving: str | None
    since: str | None
    stages: tuple[tuple[str, str, str], ...]
    remarks: tuple[str, ...]

    def rows(self) -> list[tuple[str, ...]]:
        """Lines for people."""
        head = (self.name, f"{self.serving} is released", f"since {self.since}") if self.serving else (
            self.name, "nothing is released yet", "")  # fmt: skip
        return [head, *(("", f"{symbol} {stage}", what) for symbol, stage, what in self.stages)]

    def to_json(self) -> dict[str, Any]:
        """Plain data for machines."""
        return {
            "name": self.name,
            "serving": self.serving,
            "since": self.since,
            "stages": [
                {"stage": stage, "symbol": symbol, "what": what} for symbol, stage, what in self.stages
            ],
            "remarks": list(self.remarks),
        }


def status(workspace: Workspace, loaded: Loaded) -> Status:
    """Say what serves, since when, and how far the specification is from being released."""
    from charter.flow.explain import explain

    with workspace.records(loaded.spec.name, readonly=True) as records:
        plan = current_plan(workspace, loaded, records)
        deployments = records.deployments()
        waits = under_review(records, loaded.spec.name)
    deployment = deployments[-1] if deployments else None
    told = explain(plan, loaded.spec, [], loaded.source.where)
    remarks = _beside(loaded.spec, deployment) if deployment is not None else []
    if plan.next is not None:
        remarks.append(f"{plan.next.stage} is out of date: `charter plan` says why, `charter apply` does it")
    if plan.refused is not None and plan.refused.decision is not None:
        remarks += [f"{c.name}: {c.observed}, required {c.required}" for c in plan.refused.decision.reasons]
    if waits is not None:
        remarks.append(
            f"{waits.candidate} waits for a person since run {waits.number} of retraining: "
            f"`charter compare {waits.champion} {waits.candidate}`"
        )
    return Status(
        loaded.spec.name,
        f"v{deployment.version}" if deployment else None,
        iso(_serves_since(deployments))[:19] + "Z" if deployments else None,
        tuple((x.symbol, x.stage, x.what) for x in told.lines),
        tuple(remarks),
    )


def _serves_since(deployments: Sequence[Deployment]) -> datetime:
    """Since when the version that serves does: what was tried beside it meanwhile changed nothing of that."""
    newest = deployments[-1]
    return list(takewhile(lambda d: d.package == newest.package, reversed(deployments)))[-1].at


def _beside(spec: ModelSpec, deployment: Deployment) -> list[str]:
    """What a person should know who reads that a version is released: it is stopped, or another one is tried."""
    traffic, since = deployment.traffic, f"since {iso(deployment.at)[:19]}Z"
    if traffic.get("stage") == "stopped":
        return [f"the model is stopped {since}: `charter rollout resume` lets it answer again"]
    if not traffic.get("candidate"):
        return []
    where = "rollout" if spec.release.rollout is not None else "experiment"
    return [
        f"{traffic['candidate']} is tried beside it ({traffic['stage']}) {since}: `charter {where} status`"
    ]


@dataclass(frozen=True, slots=True)
class VersionView:
    """Everything that is known of a version."""

    version: ModelVersion
    train: Mapping[str, Any]
    evaluation: Mapping[str, Any] | None
    measurement: Mapping[str, Any] | None
    gate: Decision | None
    approvals: Decision | None
    serving: bool
    standing: str
    candidates: Mapping[str, Any] = field(default_factory=dict)
    """The search: metric, winner, baselines, importance of each feature, candidates."""
    judged_alike: int = 1
    """Models that were judged on held-out rows of the same snapshot, this one included."""

    def to_json(self) -> dict[str, Any]:
        """Plain data for machines."""
        v = self.version
        return {
            "version": v.name,
            "status": self.standing,
            "created_at": iso(v.created_at),
            "bundle": v.bundle,
            "package": v.package,
            "serving": self.serving,
            "train": dict(self.train),
            "evaluation": self.evaluation,
            "measurement": self.measurement,
            "gate": self.gate.to_json() if self.gate else None,
            "approvals": self.approvals.to_json() if self.approvals else None,
            "candidates": dict(self.candidates),
            "judged_alike": self.judged_alike,
        }


def standing(version: ModelVersion, deployed: Deployment | None) -> str:
    """Say where a version stands: what serves is released, whatever was judged of it since."""
    if deployed is not None and deployed.version == version.number:
        return (
            "released"
            if version.status in ("released", "waiting", "approved")
            else f"released, {version.status} since"
        )
    return version.status


def version_view(workspace: Workspace, loaded: Loaded, version: str) -> VersionView:
    """Collect what is recorded of a version.

    Raises
    ------
    Refusal
        When the records are not what the audit trail tells: nothing is shown that may be forged.
    """
    blobs = workspace.blobs()
    with workspace.records(loaded.spec.name, readonly=True) as records:
        proven(workspace, records)
        found = records.version(version_number(version))
        trained = trained_result(records, found)
        evaluated = result_of(records, Stage.EVALUATE, "train", trained.output)
        judged = result_of(records, Stage.GATE, "evaluate", evaluated.output) if evaluated else None
        deployment = records.deployment()
        approvals = judge_approvals(workspace, loaded, records, found.package) if found.package else None
        return VersionView(
            version=found,
            train=dict(trained.summary),
            evaluation=tree_json(blobs, evaluated.output, "evaluation.json") if evaluated else None,
            measurement=tree_json(blobs, evaluated.output, "measurement.json") if evaluated else None,
            gate=with_lines(Decision.from_json(judged.summary["decision"]), loaded.source)
            if judged
            else None,
            approvals=approvals,
            serving=deployment is not None and deployment.package == found.package,
            standing=standing(found, deployment),
            candidates=tree_json(blobs, trained.output, "candidates.json"),
            judged_alike=judged_alike(records, trained),
        )


def judged_alike(records: Records, trained: StageResult) -> int:
    """Count the models that held-out rows of one snapshot have judged: the best of many looks better than it is."""
    snapshot_of = {str(r.output): r.inputs["snapshot"] for r in records.results(Stage.FEATURES)}
    snapshot = snapshot_of.get(trained.inputs["features"])
    judged = {
        r.inputs["train"]
        for r in records.results(Stage.EVALUATE)
        if snapshot_of.get(r.inputs["features"]) == snapshot
    }
    return len(judged | {trained.output})


def trained_result(records: Records, version: ModelVersion) -> StageResult:
    """Return the latest train result that gave a version."""
    for result in records.results(Stage.TRAIN):
        if result.summary.get("bundle") == version.bundle:
            return result
    raise UsageError(
        f"the training of {version.name} is not in these records", remedy="See `charter history`."
    )


def features_result(records: Records, trained: StageResult) -> StageResult:
    """Return the features that a training read."""
    return _made(records, Stage.FEATURES, trained.inputs["features"])


def snapshot_result(records: Records, features: StageResult) -> StageResult:
    """Return the snapshot that features were made from."""
    return _made(records, Stage.SNAPSHOT, features.inputs["snapshot"])


def _made(records: Records, stage: Stage, output: str) -> StageResult:
    for result in records.results(stage):
        if result.output == output:
            return result
    raise UsageError(
        f"the {stage} with output {short(output)} is not in these records",
        remedy="Was its row removed? `charter audit verify`; `charter apply` makes it again.",
    )


def result_of(records: Records, stage: Stage, needs: str, digest: str) -> StageResult | None:
    """Return the result of a stage that was made from ``digest`` and used last."""
    return next((r for r in records.results(stage) if r.inputs.get(needs) == digest), None)


def tree_json(blobs: Blobs, tree: Digest, name: str) -> Any:
    """Read a JSON file out of a tree."""
    return json.loads(blobs.get(blobs.tree(tree)[name]))


@dataclass(frozen=True, slots=True)
class History:
    """Versions and releases as rows of text."""

    versions: tuple[tuple[str, ...], ...]
    deployments: tuple[tuple[str, ...], ...]

    def to_json(self) -> dict[str, Any]:
        """Plain data for machines."""
        names = ("version", "created_at", "learner", "quality", "bundle", "status")
        return {
            "versions": [dict(zip(names, row, strict=True)) for row in self.versions],
            "releases": [
                dict(zip(("version", "since", "by", "package", "tried"), row, strict=True))
                for row in self.deployments
            ],
        }


def history(workspace: Workspace, loaded: Loaded) -> History:
    """List the versions and what was released when."""
    with workspace.records(loaded.spec.name, readonly=True) as records:
        versions, deployed = [], records.deployment()
        for v in records.versions():
            s = trained_result(records, v).summary
            quality = f"{s['metric']} {s['value']:.3f}"
            versions.append(
                (
                    v.name,
                    iso(v.created_at)[:19],
                    str(s["learner"]),
                    quality,
                    short(v.bundle),
                    standing(v, deployed),
                )
            )
        releases = [
            (f"v{d.version}", iso(d.at)[:19], d.actor, short(d.package), _tried(d.traffic))
            for d in records.deployments()
        ]
    return History(tuple(versions), tuple(releases))


def _tried(traffic: Mapping[str, Any]) -> str:
    """Say what a deployment tries beside the version that serves."""
    if not traffic:
        return ""
    dealt = Traffic.from_json(traffic)
    shares = dealt.assignment.arms.shares if dealt.assignment is not None else {}
    share = next((f" {s * 100:.4g}%" for arm, s in shares.items() if dealt.arms[arm] == dealt.candidate), "")
    return f"{dealt.candidate} {dealt.stage}{share}" if dealt.candidate is not None else dealt.stage


@dataclass(frozen=True, slots=True)
class DataReport:
    """What became of the rows that were read for the snapshot used last, source by source."""

    snapshot: Digest
    sources: Mapping[str, Mapping[str, Any]]
    quarantined: tuple[str, ...]
    """Sources of which rows were set aside."""

    def rows(self) -> list[tuple[str, ...]]:
        """One line per source: read, kept, and why the others were not."""
        counts = ("rows_read", "rows_kept", "duplicates", "filtered", "quarantined")
        return [(name, *(f"{found[c]:,}" for c in counts)) for name, found in self.sources.items()]

    def violations(self) -> list[tuple[str, ...]]:
        """One line per broken rule."""
        return [
            (f"{name}.{v['column']}" if v["column"] else name, v["rule"], f"{v['count']:,} rows", v["policy"],
             "; ".join(v["examples"]))
            for name, found in self.sources.items()
            for v in found["violations"]
        ]  # fmt: skip

    def to_json(self) -> dict[str, Any]:
        """Plain data for machines."""
        return {
            "snapshot": self.snapshot,
            "sources": dict(self.sources),
            "quarantined": list(self.quarantined),
        }


def data_report(workspace: Workspace, loaded: Loaded) -> DataReport:
    """Read what is recorded of the snapshot used last.

    Raises
    ------
    UsageError
        When there is no snapshot yet.
    """
    blobs = workspace.blobs()
    snapshot = _latest_snapshot(workspace, loaded)
    sources = tree_json(blobs, snapshot, "report.json")
    aside = tuple(name for name in sources if f"{name}.quarantine.parquet" in blobs.tree(snapshot))
    return DataReport(snapshot, sources, aside)


def quarantined_rows(workspace: Workspace, loaded: Loaded, source: str) -> bytes:
    """Return the rows of a source that were set aside, as Parquet, each with its number and the reason.

    Raises
    ------
    UsageError
        When no row of that source was set aside.
    """
    found = workspace.blobs().tree(_latest_snapshot(workspace, loaded)).get(f"{source}.quarantine.parquet")
    if found is None:
        raise UsageError(
            f"no row of {source!r} was quarantined", remedy="`charter data report` lists what was set aside."
        )
    return workspace.blobs().get(found)


def _latest_snapshot(workspace: Workspace, loaded: Loaded) -> Digest:
    with workspace.records(loaded.spec.name, readonly=True) as records:
        result = records.latest(Stage.SNAPSHOT)
    if result is None:
        raise UsageError("there is no snapshot yet", remedy="`charter apply` makes one.")
    return result.output
