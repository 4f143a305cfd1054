"""A model card as a CycloneDX 1.6 bill of materials (ML-BOM, ECMA-424), for the registers of an organisation. Pure.

The model is the subject (``metadata.component``) with its model card; the data that it was made from and the libraries
that it was made with are components; approvals, rollouts and incidents are annotations. What nobody has written is left
out, as the format has no word for it, and listed under the property ``charter:missing``.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping
from typing import Any

from charter import __version__

SPEC_VERSION = "1.6"
NAMESPACE = uuid.UUID("5a5d6c1e-7d4b-5c0e-9d3e-3f6d0f0a9c11")
"""Under which a package's digest names its bill, so that the same package always has the same."""
TASKS: Mapping[str, str] = {
    "binary": "binary classification",
    "multiclass": "multi-class classification",
    "regression": "regression",
    "forecast": "time-series forecasting",
}
Json = dict[str, Any]


def bom(card: Mapping[str, Any]) -> Json:
    """Write a card as a bill of materials.

    Parameters
    ----------
    card
        What `charter.govern.card.document` made; ``environment`` may stand beside.

    Examples
    --------
    The same card gives the same bill, its serial number included.
    """
    model = card["model"]
    name = f"{model['name']}@{model['version']}"
    sources = list(_sources(card))
    libraries = list(_libraries(card.get("environment") or {}))
    digest = model["digests"].get("package") or model["digests"]["bundle"]
    return {
        "$schema": f"http://cyclonedx.org/schema/bom-{SPEC_VERSION}.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": SPEC_VERSION,
        "serialNumber": f"urn:uuid:{uuid.uuid5(NAMESPACE, digest)}",
        "version": 1,
        "metadata": {
            "timestamp": model["made"],
            "tools": {"components": [{"type": "application", "name": "charter", "version": __version__}]},
            "supplier": _supplier(model["owner"]),
            "component": _model(card, name, digest, sources),
        },
        "components": [*sources, *libraries],
        "dependencies": [
            {"ref": name, "dependsOn": [c["bom-ref"] for c in (*sources, *libraries)]},
            *({"ref": c["bom-ref"]} for c in (*sources, *libraries)),
        ],
        "annotations": list(_annotations(card, name)),
    }


def _supplier(owner: Mapping[str, str]) -> Json:
    kind = "email" if "@" in owner["contact"] and " " not in owner["contact"] else "name"
    return {"name": owner["team"], "contact": [{kind: owner["contact"]}]}


def _model(card: Mapping[str, Any], name: str, digest: str, sources: list[Json]) -> Json:
    model = card["model"]
    found: Json = {
        "type": "machine-learning-model",
        "bom-ref": name,
        "name": model["name"],
        "version": model["version"],
        "description": model["summary"],
        "hashes": [{"alg": "SHA-256", "content": digest}],
        "modelCard": {
            "bom-ref": f"{name}/model-card",
            "modelParameters": _parameters(card, sources),
            "quantitativeAnalysis": {"performanceMetrics": list(_metrics(card))},
            "considerations": _considerations(card),
            "properties": list(_properties(card)),
        },
    }
    if licences := _written(card, "licence"):
        found["licenses"] = [{"license": {"name": text}} for text in licences]
    return found


def _parameters(card: Mapping[str, Any], sources: list[Json]) -> Json:
    trained = card["training"]["found"]
    return {
        "approach": {"type": "supervised"},
        "task": TASKS.get(card["model"]["task"], card["model"]["task"]),
        "architectureFamily": str(trained.get("learner") or ", ".join(card["training"]["learners"])),
        "datasets": [{"ref": source["bom-ref"]} for source in sources],
        "inputs": [{"format": "table row"}],
        "outputs": [{"format": "number" if card["model"]["task"] in ("regression", "forecast") else "probability"}],
    }  # fmt: skip


def _metrics(card: Mapping[str, Any]) -> Iterator[Json]:
    """Metrics overall, the primary one by slice, and differences between groups."""
    performance = card["performance"]
    for one in performance["metrics"]:
        yield from _metric(one["name"], one)
    for one in card["slices"]["rows"]:
        yield from _metric(performance["primary"], one["primary"], f"{one['slice']} = {one['value']}")
    for by in card["fairness"]["by"]:
        for one in by["differences"]:
            yield from _metric(one["name"], one, f"by {by['attribute']}")


def _metric(kind: str, estimate: Mapping[str, Any], slice_: str = "") -> Iterator[Json]:
    """One measured figure as the text that JSON writes of it; nothing where there is no figure."""
    if estimate.get("value") is None:
        return
    found: Json = {"type": kind, "value": repr(estimate["value"])}
    if slice_:
        found["slice"] = slice_
    if estimate.get("low") is not None and estimate.get("high") is not None:
        found["confidenceInterval"] = {
            "lowerBound": repr(estimate["low"]),
            "upperBound": repr(estimate["high"]),
        }
    yield found


def _considerations(card: Mapping[str, Any]) -> Json:
    limits = [*_written(card, "limitations"), *_said(card["purpose"]["limits"])]
    limits += [f"out of scope: {text}" for text in _written(card, "out_of_scope")]
    ethics = [_risk(one["concern"], one["mitigation"]) for one in card["ethics"]]
    feared = (*_said(card["purpose"]["harms"]), *_said(card["purpose"]["risks"]))
    ethics += [_risk(text, None) for text in feared]
    words = {
        "group": "groupAtRisk",
        "benefits": "benefits",
        "harms": "harms",
        "mitigation": "mitigationStrategy",
    }
    found = {
        "users": list(card["purpose"]["users"]),
        "useCases": _written(card, "intended_use") or [card["purpose"]["decision"]],
        "technicalLimitations": limits,
        "performanceTradeoffs": _written(card, "tradeoffs"),
        "ethicalConsiderations": ethics,
        "fairnessAssessments": [
            {words[key]: text for key, text in one.items() if text is not None} for one in card["groups"]
        ],
    }
    return {key: value for key, value in found.items() if value}


def _risk(name: str, mitigation: str | None) -> Json:
    return {"name": name} | ({"mitigationStrategy": mitigation} if mitigation is not None else {})


def _properties(card: Mapping[str, Any]) -> Iterator[Json]:
    """What the format has no field for."""
    found = {
        "charter:status": card["model"]["status"],
        "charter:gate": card["requirements"]["verdict"],
        "charter:approvals": card["approvals"]["verdict"],
        "charter:verification": card["verification"].get("verdict") or "missing",
        "charter:verification:report": card["verification"].get("report"),
        "charter:rows": card["performance"]["rows"],
        "charter:confidence": card["performance"]["confidence"],
        "charter:threshold": (card["performance"]["threshold"] or {}).get("threshold"),
        **{f"charter:{name}": value for name, value in card["serving"]["measured"].items()},
        **{f"charter:digest:{name}": digest for name, digest in card["model"]["digests"].items()},
        **{f"charter:{name}": "; ".join(_written(card, name)) or None
           for name in ("update_schedule", "compliance", "references", "contacts")},
    }  # fmt: skip
    yield from ({"name": name, "value": str(value)} for name, value in found.items() if value is not None)
    yield from ({"name": "charter:missing", "value": place} for place in card["unwritten"])


def _sources(card: Mapping[str, Any]) -> Iterator[Json]:
    for source in card["data"]["sources"]:
        sensitive = [f"personal: {c}" for c in source["personal"]]
        sensitive += [f"protected: {c}" for c in source["protected"]]
        description = source["description"]
        data: Json = {"type": "dataset", "name": source["name"]}
        if sensitive:
            data["sensitiveData"] = sensitive
        found: Json = {
            "type": "data",
            "bom-ref": f"data/{source['name']}",
            "name": source["name"],
            "data": [data],
        }
        if not description.startswith("missing: "):
            found["description"] = description
        yield found | {"properties": [{"name": "charter:origin", "value": source["origin"]}]}


def _libraries(environment: Mapping[str, Any]) -> Iterator[Json]:
    for name, version in sorted((environment.get("distributions") or {}).items()):
        url = f"pkg:pypi/{name}@{version}".replace("+", "%2B")
        yield {"type": "library", "bom-ref": url, "name": name, "version": version, "purl": url}


def _annotations(card: Mapping[str, Any], name: str) -> Iterator[Json]:
    """Approvals, what was done with the version, and incidents, each with who and when."""
    told = [
        (
            one["signed_at"],
            one["identity"],
            f"{one['verdict']} {one['stage']} as {one['role']}{_because(one)}",
        )
        for one in card["signatures"]
    ]
    told += [(e["at"], e["actor"], f"{e['words']} {e['verdict']}".strip()) for e in card["history"]]
    team = card["model"]["owner"]["team"]
    told += [
        (i["opened_at"], team, f"incident {i['name']} ({i['severity']}, {i['status']}): {i['title']}")
        for i in card["incidents"]
    ]
    for number, (at, who, text) in enumerate(sorted(told), 1):
        yield {
            "bom-ref": f"{name}/annotation/{number}",
            "subjects": [name],
            "annotator": {"individual": {"name": who}},
            "timestamp": at,
            "text": text,
        }


def _because(signature: Mapping[str, Any]) -> str:
    return f": {signature['reason']}" if signature["reason"] else ""


def _written(card: Mapping[str, Any], section: str) -> list[str]:
    return _said(card["statements"][section])


def _said(lines: list[str]) -> list[str]:
    return [line for line in lines if not line.startswith("missing: ")]
