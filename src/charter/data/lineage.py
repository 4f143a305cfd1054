"""Lineage in the shape of OpenLineage run events, from what a stage did. Pure: whoever sends them does so elsewhere.

See https://openlineage.io/spec/2-0-2/OpenLineage.json.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from charter.core.clock import iso
from charter.spec.expression import ExpressionError, parse
from charter.spec.types import ModelSpec, SourceSpec

PRODUCER = "urn:charter-ml"
_SCHEMA = "https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/RunEvent"
_FACETS = "https://openlineage.io/spec/facets"

EventType = Literal["START", "COMPLETE", "FAIL", "ABORT"]


@dataclass(frozen=True, slots=True)
class DatasetNode:
    """A table in the graph.

    Attributes
    ----------
    namespace, name
        Together its identity, for example ``file`` and ``data/lines.parquet``.
    uri
        Where it is, without secrets.
    fields
        Column to type name.
    version
        Digest of the content.
    parents
        Column to the input columns it was made from, each ``(namespace, name, column)``.
    """

    namespace: str
    name: str
    uri: str = ""
    fields: Mapping[str, str] = field(default_factory=dict)
    version: str = ""
    parents: Mapping[str, Sequence[tuple[str, str, str]]] = field(default_factory=dict)


def run_event(
    *,
    event: EventType,
    job: str,
    key: str,
    at: datetime,
    inputs: Iterable[DatasetNode] = (),
    outputs: Iterable[DatasetNode] = (),
    namespace: str = "charter",
    error: str = "",
) -> dict[str, Any]:
    """One run event of a stage.

    Parameters
    ----------
    job
        ``<model>.<stage>``.
    key
        The stage's input digest; the run's id is a UUID made from job and key, so that START and COMPLETE of the same
        work belong together without anybody keeping the id.
    at
        When it happened, aware.

    Examples
    --------
    >>> from datetime import UTC
    >>> made = run_event(event="COMPLETE", job="churn.snapshot", key="ab12", at=datetime(2026, 1, 1, tzinfo=UTC))
    >>> made["job"], made["run"]["runId"]
    ({'namespace': 'charter', 'name': 'churn.snapshot'}, 'b1fad9df-bf44-5436-ac1d-a1b832f0e965')
    """
    run: dict[str, Any] = {"runId": str(uuid.uuid5(uuid.NAMESPACE_URL, f"{namespace}/{job}/{key}"))}
    if error:
        run["facets"] = {
            "errorMessage": _facet("1-0-1/ErrorMessageRunFacet", message=error, programmingLanguage="PYTHON")
        }
    return {
        "eventType": event,
        "eventTime": iso(at),
        "producer": PRODUCER,
        "schemaURL": _SCHEMA,
        "run": run,
        "job": {"namespace": namespace, "name": job},
        "inputs": [_dataset(node) for node in inputs],
        "outputs": [_dataset(node) for node in outputs],
    }


def source_node(name: str, source: SourceSpec, *, fingerprint: str = "") -> DatasetNode:
    """The table that a source reads, with its declared columns under their original names."""
    original = {new: old for old, new in source.rename.items()}
    fields = {original.get(c, c): spec.type for c, spec in source.columns.items() if c not in source.derive}
    if source.dataset is not None:
        namespace, table, uri = "catalogue", source.dataset, ""
    elif source.sql is not None:
        # The address in the specification holds ${NAME} where secrets would stand.
        namespace, table, uri = "sql", name, str(source.url)
    else:
        uri = str(source.uri)
        scheme, _, rest = uri.rpartition("://")
        namespace, table = scheme or "file", rest
    return DatasetNode(namespace, table, uri, fields, fingerprint)


def snapshot_node(spec: ModelSpec, name: str, *, digest: str = "") -> DatasetNode:
    """The prepared table of a source, each column with the source columns it comes from."""
    source = spec.data.sources[name]
    origin = source_node(name, source)
    original = {new: old for old, new in source.rename.items()}
    parents: dict[str, list[tuple[str, str, str]]] = {}
    fields = {column: str(c.type) for column, c in source.columns.items()}
    for column in source.columns:
        if column not in source.derive:
            parents[column] = [(origin.namespace, origin.name, original.get(column, column))]
    for column, text in source.derive.items():
        used = [parent for c in columns_used(text) for parent in parents.get(c, [])]
        parents[column] = list(dict.fromkeys(used))
        fields.setdefault(column, "derived")
    return DatasetNode("charter", f"{spec.name}.{name}", "", fields, digest, parents)


def columns_used(text: str) -> tuple[str, ...]:
    """Columns that an expression reads; none when it cannot be read.

    Examples
    --------
    >>> columns_used("a / (b + a)")
    ('a', 'b')
    """
    try:
        return parse(text).names
    except ExpressionError:
        return ()


def _dataset(node: DatasetNode) -> dict[str, Any]:
    facets: dict[str, Any] = {}
    if node.fields:
        fields = [{"name": name, "type": kind} for name, kind in node.fields.items()]
        facets["schema"] = _facet("1-1-1/SchemaDatasetFacet", fields=fields)
    if node.uri:
        facets["dataSource"] = _facet("1-0-1/DatasourceDatasetFacet", name=node.namespace, uri=node.uri)
    if node.version:
        facets["version"] = _facet("1-0-1/DatasetVersionDatasetFacet", datasetVersion=node.version)
    if node.parents:
        columns = {
            column: {"inputFields": [{"namespace": n, "name": t, "field": f} for n, t, f in parents]}
            for column, parents in node.parents.items()
        }
        facets["columnLineage"] = _facet("1-2-0/ColumnLineageDatasetFacet", fields=columns)
    return {"namespace": node.namespace, "name": node.name, "facets": facets}


def _facet(kind: str, **content: Any) -> dict[str, Any]:
    name = kind.partition("/")[2]
    return {"_producer": PRODUCER, "_schemaURL": f"{_FACETS}/{kind}.json#/$defs/{name}", **content}
