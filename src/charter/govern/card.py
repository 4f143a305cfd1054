"""The model card: one document from specification, evaluation, decisions, signatures and the audit trail.

Pure. Every number on a card was measured or recorded; nothing is typed in. What a person should have stated and did not
is printed as missing, with the place in the specification where it belongs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from charter.core.clock import iso
from charter.core.decision import Decision
from charter.core.digest import plain
from charter.framing.value import compute_per_million
from charter.govern.card_history import history, verification
from charter.govern.card_sections import OF_PURPOSE, missing, place, statements, unwritten, written
from charter.govern.chart import calibration_points, roc_points
from charter.govern.gates import FAIRNESS_LIMITS
from charter.govern.horizon import horizon_rows, horizon_words, over_time_words
from charter.govern.incident import Incident
from charter.govern.uses import uses
from charter.registry.types import Approval, AuditEvent, ModelVersion
from charter.spec.notices import is_written
from charter.spec.vocabulary import METRICS

if TYPE_CHECKING:
    from charter.spec.types import ExploreSpec, ModelSpec, SourceSpec

SCHEMA_VERSION = 2


def document(
    spec: ModelSpec,
    evaluation: Mapping[str, Any],
    decision: Decision,
    approvals: Decision,
    *,
    version: ModelVersion,
    signed: Sequence[Approval] = (),
    incidents: Sequence[Incident] = (),
    events: Sequence[AuditEvent] = (),
    measurement: Mapping[str, Any] | None = None,
    facts: Mapping[str, Mapping[str, Any]] | None = None,
    decisions: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Put the card together as plain data. The same arguments give the same card.

    Parameters
    ----------
    evaluation
        ``Evaluation.to_json()``.
    decision, approvals
        Of the gate, and of the signatures.
    version
        What the card is about.
    signed
        The signatures of this version, oldest first.
    incidents
        Of the model, oldest first.
    events
        The audit trail by sequence: what was done with the version, and what its last verification found.
    measurement
        Latency, memory and size of the packaged model.
    facts
        Stage name to its recorded summary: ``snapshot``, ``features``, ``train``.
    decisions
        What a forecast is used for, learned and measured.
    """
    facts = facts or {}
    found: dict[str, Any] = plain(
        {
            "schema_version": SCHEMA_VERSION,
            "model": _model(spec, version),
            "purpose": _purpose(spec),
            "data": _data(spec, facts),
            "training": _training(spec, facts.get("train", {})),
            "performance": _performance(evaluation),
            "horizon": _horizon(evaluation.get("forecast")),
            "uses": uses(spec, decisions),
            "slices": _slices(evaluation),
            "fairness": _fairness(spec, evaluation),
            "requirements": decision.to_json(),
            "approvals": approvals.to_json(),
            "signatures": [_signature(one) for one in signed],
            "incidents": [_incident(one) for one in incidents],
            "serving": _serving(spec, evaluation, measurement or {}),
            "compliance": _compliance(spec),
            "statements": statements(spec),
            "ethics": [one.model_dump() for one in spec.card.ethics],
            "groups": [one.model_dump() for one in spec.card.groups],
            "unwritten": [".".join(place(section)) for section in unwritten(spec)],
            "verification": verification(events, version.package),
            "history": history(events, spec.name, version.name),
        }
    )
    return found


def _model(spec: ModelSpec, version: ModelVersion) -> dict[str, Any]:
    return {
        "name": spec.name,
        "version": version.name,
        "status": version.status,
        "summary": spec.summary,
        "task": spec.train.task,
        "owner": spec.owner.model_dump(),
        "made": iso(version.created_at),
        "digests": {
            name: digest
            for name in ("bundle", "package", "evaluation", "gate", "spec")
            if (digest := getattr(version, name)) is not None
        },
    }


def _purpose(spec: ModelSpec) -> dict[str, Any]:
    purpose = spec.purpose
    texts = {name: getattr(purpose, name) for name in ("problem", "objective", "decision")}
    return {
        **{name: _said(text) or f"missing: purpose.{name}" for name, text in texts.items()},
        "users": [user for user in purpose.users if is_written(user)] or ["missing: purpose.users"],
        "process_today": _said(purpose.today.process) or "missing: purpose.today.process",
        "rule_today": purpose.today.rule,
        **{section: list(written(spec, section)) or [missing(section)] for section in OF_PURPOSE},
        "stakeholders": dict(spec.stakeholders) or {"missing": "stakeholders"},
    }


def _data(spec: ModelSpec, facts: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    label = spec.data.label
    return {
        "sources": [_source(name, source) for name, source in spec.data.sources.items()],
        "label": label.model_dump(mode="json", exclude_none=True),
        "observations": spec.data.observations.model_dump(
            mode="json", exclude_none=True, exclude_defaults=True
        ),
        "split": spec.train.split.model_dump(mode="json", exclude_none=True),
        "excluded": list(spec.features.exclude),
        "snapshot": dict(facts.get("snapshot", {})),
        "features": {k: v for k, v in facts.get("features", {}).items() if v not in (None, [])},
    }


def _source(name: str, source: SourceSpec) -> dict[str, Any]:
    by_class: dict[str, list[str]] = {}
    for column, declared in source.columns.items():
        by_class.setdefault(declared.sensitivity, []).append(column)
    return {
        "name": name,
        "origin": source.dataset or source.uri or "a query",
        "description": _said(source.description) or f"missing: data.sources.{name}.description",
        "consent": _said(source.consent) or f"missing: data.sources.{name}.consent, the legal basis",
        "columns": len(source.columns),
        "personal": by_class.get("personal", []),
        "protected": by_class.get("protected", []),
    }


def _said(text: str | None) -> str | None:
    return text if is_written(text) else None


def _training(spec: ModelSpec, facts: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "learners": list(spec.train.learners),
        "seed": spec.train.seed,
        "imbalance": spec.train.imbalance,
        "calibrate": spec.train.calibrate,
        "monotone": dict(spec.train.monotone),
        "found": {name: value for name, value in facts.items() if name not in ("run", "version", "bundle")},
    }


def _performance(evaluation: Mapping[str, Any]) -> dict[str, Any]:
    metrics = evaluation.get("metrics") or {}
    threshold = evaluation.get("threshold") or {}
    baselines = evaluation.get("baselines") or {}
    return {
        "rows": evaluation.get("n"),
        "positives": evaluation.get("positives"),
        "confidence": evaluation.get("confidence"),
        "primary": evaluation.get("primary"),
        "metrics": [
            {
                "name": name,
                "means": METRICS[name].means if name in METRICS else "",
                "better": METRICS[name].better if name in METRICS else "",
                **_estimate(found),
                "baselines": {b: _estimate((of or {}).get(name))["value"] for b, of in baselines.items()},
            }
            for name, found in metrics.items()
        ],
        "baselines": list(baselines),
        "against_baseline": evaluation.get("against_baseline"),
        "threshold": {k: threshold.get(k) for k in ("threshold", "objective", "met")} if threshold else None,
        "confusion": evaluation.get("confusion"),
        "roc": roc_points(evaluation),
        "calibration": calibration_points(evaluation),
    }


def _horizon(report: Mapping[str, Any] | None) -> dict[str, Any] | None:
    if not report:
        return None
    return {
        "metric": report["metric"],
        "level": report["level"],
        "words": "; ".join(filter(None, (horizon_words(report), over_time_words(report)))),
        "rows": [asdict(one) for one in horizon_rows(report)],
    }


def _slices(evaluation: Mapping[str, Any]) -> dict[str, Any]:
    keep = ("slice", "value", "n", "positives", "judged", "note")
    rows = [
        {**{k: one.get(k) for k in keep}, "primary": _estimate(one.get("primary"))}
        for one in evaluation.get("slices") or ()
    ]
    worst = evaluation.get("worst_slice")
    return {
        "rows": rows,
        "worst": {k: worst.get(k) for k in ("slice", "value", "n")} if worst else None,
        "note": evaluation.get("slices_note") or "",
    }


def _fairness(spec: ModelSpec, evaluation: Mapping[str, Any]) -> dict[str, Any]:
    declared = spec.evaluate.fairness
    if declared is None:
        return {"missing": "evaluate.fairness: nobody has asked for a comparison of groups", "by": []}
    measured = evaluation.get("fairness") or {}
    return {
        "by": [
            {
                "attribute": attribute,
                "groups": [_group(group) for group in (measured.get(attribute) or {}).get("groups") or ()],
                "differences": [
                    {
                        "name": limit,
                        **_estimate((measured.get(attribute) or {}).get(limit)),
                        "required": getattr(declared, limit) or "not limited",
                    }
                    for limit in FAIRNESS_LIMITS
                ],
            }
            for attribute in declared.by
        ]
    }


def _group(group: Mapping[str, Any]) -> dict[str, Any]:
    rates = {name: _estimate(group.get(name)) for name in ("selection_rate", "tpr", "fpr")}
    return {**{k: group.get(k) for k in ("group", "n", "positives", "note")}, **rates}


def _serving(
    spec: ModelSpec, evaluation: Mapping[str, Any], measurement: Mapping[str, Any]
) -> dict[str, Any]:
    fallback = spec.serve.fallback
    return {
        "reasons": spec.serve.reasons,
        "reasons_for": spec.serve.reasons_for,
        "bands": dict(spec.serve.bands),
        "fallback": fallback.model_dump(exclude_none=True) if fallback else {"missing": "serve.fallback"},
        "budget": spec.budget.model_dump(exclude_none=True),
        "measured": {k: measurement.get(k) for k in ("latency_p95_ms", "memory_mb", "package_mb")}
        | _compute(spec, measurement),
        "value": evaluation.get("value"),
        **({"exploration": _exploration(spec.serve.explore)} if spec.serve.explore is not None else {}),
    }


def _compute(spec: ModelSpec, measurement: Mapping[str, Any]) -> dict[str, Any]:
    """What a request works, and what that costs where an hour of a processor has a price."""
    if measurement.get("cpu_ms") is None:
        return {}
    price = spec.value.costs.compute_per_hour if spec.value is not None else None
    found: dict[str, Any] = {"cpu_ms": measurement["cpu_ms"]}
    if spec.value is not None and price is not None:
        million = compute_per_million(measurement["cpu_ms"], price)
        found["compute_for_a_million_requests"] = f"{million:,.3g} {spec.value.currency}"
    return found


def _exploration(explore: ExploreSpec) -> str:
    """Say which decisions chance turns around: whoever is decided about may want to know."""
    which = "decisions" if explore.turn == "both" else f"{explore.turn} decisions"
    near = "" if explore.within == 1 else f" within {explore.within:g} of the threshold"
    return f"{explore.share:.1%} of the {which}{near} are turned around by chance"


def _compliance(spec: ModelSpec) -> dict[str, Any]:
    protected = sorted(spec.data.protected)
    suitability = spec.suitability
    answers = {
        name: answer.model_dump()
        for name in type(suitability).model_fields
        if (answer := getattr(suitability, name))
    }
    return {
        "suitability": answers or {"missing": "suitability"},
        "protected": protected,
        "protected_not_excluded": [c for c in protected if c not in spec.features.exclude],
        "reasons_per_decision": spec.serve.reasons,
    }


def _signature(approval: Approval) -> dict[str, Any]:
    return {
        "stage": approval.stage,
        "identity": approval.identity,
        "role": approval.role,
        "verdict": approval.verdict,
        "reason": approval.reason,
        "signed_at": iso(approval.signed_at),
    }


def _incident(one: Incident) -> dict[str, Any]:
    return {
        "name": one.name,
        "title": one.title,
        "severity": one.severity,
        "opened_at": iso(one.opened_at),
        "status": "open" if one.closed is None else "closed",
        "cause": one.closed.cause if one.closed is not None else "",
    }


def _estimate(found: Any) -> dict[str, Any]:
    if not isinstance(found, Mapping):
        found = {"value": found}
    return {key: found.get(key) for key in ("value", "low", "high")}
