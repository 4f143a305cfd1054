"""The model card: one document from specification, evaluation, decisions and signatures; as HTML, Markdown or JSON.

Pure. Every number on a card was measured or recorded; nothing is typed in. What a person should have stated and did not
is printed as missing, with the place in the specification where it belongs.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Literal

from charter.core.clock import iso
from charter.core.decision import Decision
from charter.core.digest import plain
from charter.core.errors import UsageError
from charter.core.nearest import did_you_mean
from charter.govern.chart import calibration_points, roc_points
from charter.govern.gates import FAIRNESS_LIMITS, number
from charter.govern.horizon import horizon_rows, horizon_words
from charter.govern.incident import Incident
from charter.registry.types import Approval, ModelVersion
from charter.spec.vocabulary import METRICS

if TYPE_CHECKING:
    from jinja2 import Environment

    from charter.spec.types import ModelSpec, SourceSpec

Form = Literal["html", "markdown", "json"]
FORMS: Mapping[str, str] = {"html": "card.html.j2", "markdown": "card.md.j2", "json": ""}
SCHEMA_VERSION = 1


def card(
    spec: ModelSpec,
    evaluation: Mapping[str, Any],
    decision: Decision,
    approvals: Decision,
    *,
    version: ModelVersion,
    signed: Sequence[Approval] = (),
    incidents: Sequence[Incident] = (),
    measurement: Mapping[str, Any] | None = None,
    facts: Mapping[str, Mapping[str, Any]] | None = None,
    form: str = "html",
) -> str:
    """Write the model card. The same arguments give the same text.

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
    measurement
        Latency, memory and size of the packaged model.
    facts
        Stage name to its recorded summary: ``snapshot``, ``features``, ``train``.
    form
        ``html`` (self-contained, light and dark, printable), ``markdown`` or ``json``.

    Raises
    ------
    UsageError
        For another form.
    """
    if form not in FORMS:
        raise UsageError(f"a model card cannot be written as {form!r}", remedy=did_you_mean(form, FORMS))
    content = document(
        spec,
        evaluation,
        decision,
        approvals,
        version=version,
        signed=signed,
        incidents=incidents,
        measurement=measurement,
        facts=facts,
    )
    if form == "json":
        return json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    return templates(form).get_template(FORMS[form]).render(card=content)


def document(
    spec: ModelSpec,
    evaluation: Mapping[str, Any],
    decision: Decision,
    approvals: Decision,
    *,
    version: ModelVersion,
    signed: Sequence[Approval] = (),
    incidents: Sequence[Incident] = (),
    measurement: Mapping[str, Any] | None = None,
    facts: Mapping[str, Mapping[str, Any]] | None = None,
) -> dict[str, Any]:
    """Return the card as plain JSON; see `card` for the arguments."""
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
            "slices": _slices(evaluation),
            "fairness": _fairness(spec, evaluation),
            "requirements": decision.to_json(),
            "approvals": approvals.to_json(),
            "signatures": [_signature(one) for one in signed],
            "incidents": [_incident(one) for one in incidents],
            "serving": _serving(spec, evaluation, measurement or {}),
            "compliance": _compliance(spec),
            "update_schedule": _stated((), "update schedule: the specification does not state one yet"),
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
    return {
        "problem": purpose.problem,
        "objective": purpose.objective,
        "decision": purpose.decision,
        "users": list(purpose.users),
        "process_today": purpose.today.process,
        "rule_today": purpose.today.rule,
        "limits": _stated(purpose.limits, "purpose.limits: where the model must not be used"),
        "harms": _stated(purpose.harms, "purpose.harms: what a wrong answer does to whom"),
        "risks": _stated(purpose.risks, "purpose.risks"),
        "assumptions": _stated(purpose.assumptions, "purpose.assumptions"),
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
        "features": dict(facts.get("features", {})),
    }


def _source(name: str, source: SourceSpec) -> dict[str, Any]:
    by_class: dict[str, list[str]] = {}
    for column, declared in source.columns.items():
        by_class.setdefault(declared.sensitivity, []).append(column)
    return {
        "name": name,
        "origin": source.dataset or source.uri or "a query",
        "description": source.description or f"missing: data.sources.{name}.description",
        "consent": source.consent or f"missing: data.sources.{name}.consent, the legal basis",
        "columns": len(source.columns),
        "personal": by_class.get("personal", []),
        "protected": by_class.get("protected", []),
    }


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
        "words": horizon_words(report),
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
        "measured": {k: measurement.get(k) for k in ("latency_p95_ms", "memory_mb", "package_mb")},
        "value": evaluation.get("value"),
    }


def _compliance(spec: ModelSpec) -> dict[str, Any]:
    protected = sorted(
        column
        for source in spec.data.sources.values()
        for column, declared in source.columns.items()
        if declared.sensitivity == "protected"
    )
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


def _stated(words: Sequence[str], place: str) -> list[str]:
    return list(words) or [f"missing: {place}"]


def _estimate(found: Any) -> dict[str, Any]:
    if not isinstance(found, Mapping):
        found = {"value": found}
    return {key: found.get(key) for key in ("value", "low", "high")}


def templates(form: str) -> Environment:
    """Templates of this package, for ``html`` or ``markdown``, with the filters that write values for people."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    found = Environment(
        loader=PackageLoader("charter.govern", "templates"),
        autoescape=form == "html",  # noqa: S701  # Markdown has its own escaping: the filter `cell`
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    found.filters.update(number=_number, interval=_interval, cell=_cell, words=_words, percent=_percent)
    return found


def _number(value: Any) -> str:
    """Write a recorded fact: a number as people read it, a list or mapping with its items side by side."""
    if value is None:
        return "unknown"
    if isinstance(value, Mapping):
        return ", ".join(f"{_words(name)} {_number(item)}" for name, item in value.items()) or "none"
    if isinstance(value, list | tuple):
        return ", ".join(map(_number, value)) or "none"
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    return f"{value:,}" if isinstance(value, int) else number(value)


def _percent(share: Any) -> str:
    return f"{share * 100:g} %" if isinstance(share, int | float) else "unknown"


def _interval(found: Mapping[str, Any]) -> str:
    low, high = found.get("low"), found.get("high")
    if low is None or high is None:
        return _number(found.get("value"))
    return f"{_number(found.get('value'))} [{_number(low)}, {_number(high)}]"


def _cell(text: Any) -> str:
    """Make text safe inside a Markdown table or paragraph."""
    flat = " ".join(str(text).split())
    for special in ("\\", "|", "`", "*", "_", "<", ">", "[", "]"):
        flat = flat.replace(special, f"\\{special}")
    return flat


def _words(name: Any) -> str:
    return str(name).replace("_", " ")
