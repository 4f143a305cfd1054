"""The Open Inference Protocol, version 2: named tensors in, named tensors out, as JSON or in binary.

Every field of the signature is a tensor of shape [n] or [n, 1]. The binary extension is Triton's: a JSON head whose
length stands in ``Inference-Header-Content-Length``, then the tensors' bytes one after the other.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import numpy as np

from charter.serve.http import JSON, Scope, header, is_plain_id
from charter.serve.problem import Refused, refuse, shown
from charter.serve.protocols import Asked, Form, Headers, Native, problem_json
from charter.serve.scored import Scored
from charter.serve.served import Served
from charter.serve.strict import read_document

EXTENSIONS = ("binary_tensor_data",)
PLATFORM = "charter_onnx"
MIXED = "mixed"
"""In place of the version where rows of one request were answered by several; the parameters say which by which."""
_HEAD_LENGTH = b"inference-header-content-length"
_BINARY = b"application/octet-stream"
_DTYPES = {
    "BOOL": "?", "INT8": "<i1", "INT16": "<i2", "INT32": "<i4", "INT64": "<i8", "UINT8": "<u1", "UINT16": "<u2",
    "UINT32": "<u4", "UINT64": "<u8", "FP16": "<f2", "FP32": "<f4", "FP64": "<f8",
}  # fmt: skip
_OF_FIELD = {"integer": "INT64", "float": "FP64", "boolean": "BOOL"}


class OpenInference:
    """``POST /v2/models/{model}[/versions/{version}]/infer``."""

    name = "infer"

    def read(self, scope: Scope, body: bytes, served: Served) -> Asked:
        """Read tensors into rows."""
        head, tail = _split(scope, body)
        document = _document(head)
        columns: dict[str, list[Any]] = {}
        at = 0
        for k, tensor in enumerate(_list(document, "inputs")):
            name, values, used = _column(tensor, f"inputs[{k}]", tail[at:])
            if name in columns:
                raise refuse(422, "repeated", f"tensor {name[:80]!r} is there twice", field=f"inputs[{k}]")
            columns[name], at = values, at + used
        if at != len(tail):
            raise refuse(
                400,
                "binary size",
                f"{len(tail) - at} bytes after the last tensor belong to none",
                field="inputs",
            )
        rows = _rows(columns, served)
        wanted, binary = _outputs(document, served)
        request_id = document.get("id")
        if request_id is not None and not isinstance(request_id, str):
            raise refuse(
                422, "type", f"id is {shown(request_id)}; it must be text", field="id", value=request_id
            )
        if request_id is not None and not is_plain_id(request_id):
            raise refuse(
                422, "id", "id must be up to 128 letters, digits and -_.:", field="id", value=request_id[:200]
            )
        decoded = served.decoder.decode(msgspec.json.encode(rows))
        return Asked(decoded, request_id, (wanted, binary))

    def write(
        self, served: Served, scored: Scored, start: int, asked: Asked, answer_id: str
    ) -> tuple[bytes, Headers]:
        """Answer by the tensors that were asked for, in the form that was asked for."""
        wanted, binary = asked.form
        count = len(asked.rows.rows)
        made = output_columns(served, scored, start, count)
        outputs, blobs = [], []
        for name in wanted:
            datatype, width, values = made[name]
            tensor: dict[str, Any] = {"name": name, "datatype": datatype, "shape": [count, *width]}
            if binary[name]:
                blobs.append(_packed(datatype, values))
                tensor["parameters"] = {"binary_data_size": len(blobs[-1])}
            else:
                tensor["data"] = values
            outputs.append(tensor)
        document: dict[str, Any] = {
            "model_name": served.name,
            "model_version": served.version,
            "id": asked.request_id or answer_id,
            "outputs": outputs,
        }
        if scored.versions is not None:
            several = len(set(scored.versions)) > 1
            document["model_version"] = MIXED if several else scored.versions[0]
            document["parameters"] = {"model_versions": list(scored.versions)}
        head = msgspec.json.encode(document)  # NaN becomes null
        if not blobs:
            return head, ((b"content-type", JSON),)
        length = str(len(head)).encode()
        return b"".join([head, *blobs]), ((b"content-type", _BINARY), (_HEAD_LENGTH, length))

    def refused(self, error: Refused) -> bytes:
        """The protocol's errors are one text; the faults stand beside it."""
        text = error.message if error.remedy is None else f"{error.message}. {error.remedy}"
        return problem_json({"error": text, "errors": [f.to_json() for f in error.faults]})


def model_metadata(served: Served, versions: Sequence[str]) -> dict[str, Any]:
    """Describe a model's tensors, and what of this machine could change its scores."""
    return {
        "name": served.name,
        "versions": list(versions),
        "platform": PLATFORM,
        "inputs": [
            {"name": i.name, "datatype": _OF_FIELD.get(i.type, "BYTES"), "shape": [-1]}
            for i in served.scorer.signature.inputs
        ],
        "outputs": [
            {"name": n, "datatype": datatype, "shape": [-1, *width]}
            for n, (datatype, width) in output_types(served).items()
        ],
        "properties": {"environment_differences": "; ".join(served.differences)},
    }


def output_types(served: Served) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Datatype of each output, and its shape after the rows."""
    value = "FP64" if served.scorer.bundle.task in ("regression", "forecast") else "BYTES"
    types: dict[str, tuple[str, tuple[int, ...]]] = {"prediction": (value, ()), "score": ("FP64", ())}
    if served.scorer.bundle.task == "multiclass":
        types["scores"] = ("FP64", (len(served.scorer.bundle.classes),))
    if served.scorer.bundle.intervals is not None:
        types |= {"lower": ("FP64", ()), "upper": ("FP64", ())}
    text: tuple[str, tuple[int, ...]] = ("BYTES", ())
    return {**types, "decision": text, "band": text, "reasons": text, "warnings": text}


def output_columns(
    served: Served, scored: Scored, start: int, count: int
) -> dict[str, tuple[str, tuple[int, ...], list[Any]]]:
    """Datatype, shape after the rows, and values of each output; what is missing is NaN, or empty text."""
    rows = slice(start, start + count)
    score = scored.score[rows]
    types = output_types(served)
    values: dict[str, list[Any]] = {
        "prediction": [_missing(v, types["prediction"][0]) for v in scored.prediction[rows]],
        "score": score.tolist(),
        "decision": [v or "" for v in scored.decision[rows]],
        "band": [v or "" for v in scored.band[rows]],
        "reasons": [msgspec.json.encode(r).decode() for r in scored.reasons[rows]],
        "warnings": [msgspec.json.encode(w).decode() for w in scored.warnings[rows]],
    }
    if "scores" in types:
        k = types["scores"][1][0]
        matrix = np.full((count, k), np.nan) if scored.scores is None else scored.scores[rows]
        values["scores"] = matrix.ravel().tolist()
    if "lower" in types and scored.bounds is not None:
        values |= {
            end: ends[rows].tolist() for end, ends in zip(("lower", "upper"), scored.bounds, strict=True)
        }
    return {name: (*types[name], values[name]) for name in types}


def refused_at(path: str, error: Refused) -> bytes:
    """Say what is wrong with a request that is no prediction: under ``/v2`` as the protocol does, else as we do."""
    form: Form = OpenInference() if path == "/v2" or path.startswith("/v2/") else Native()
    return form.refused(error)


def _missing(value: Any, datatype: str) -> Any:
    if datatype == "FP64":
        return float("nan") if value is None else float(value)
    return "" if value is None else str(value)


def _split(scope: Scope, body: bytes) -> tuple[bytes, bytes]:
    length = header(scope, _HEAD_LENGTH)
    if length is None:
        return body, b""
    if not length.isdigit() or len(length) > 12 or int(length) > len(body):
        raise refuse(
            400, "header length", "Inference-Header-Content-Length is no length within the body",
            field="inference-header-content-length", value=length.decode("latin-1"),
        )  # fmt: skip
    return body[: int(length)], body[int(length) :]


def _document(head: bytes) -> Mapping[str, Any]:
    document = read_document(head, lambda _: float("nan"))
    if not isinstance(document, dict):
        raise refuse(422, "type", f"the request is {shown(document)}; send an object with inputs")
    return document


def _list(document: Mapping[str, Any], name: str) -> list[Any]:
    found = document.get(name)
    if not isinstance(found, list) or not found:
        raise refuse(422, "required", f"{name} must be a list of tensors", field=name, value=found)
    return found


def _column(tensor: Any, field: str, tail: bytes) -> tuple[str, list[Any], int]:
    """Name, values, and how many bytes of the tail they took."""
    if not isinstance(tensor, dict):
        raise refuse(422, "type", f"{field} is {shown(tensor)}; it must be an object", field=field)
    name, datatype, shape = tensor.get("name"), tensor.get("datatype"), tensor.get("shape")
    if not isinstance(name, str):
        raise refuse(
            422, "required", f"{field}.name is {shown(name)}; it must be text", field=f"{field}.name"
        )
    if not isinstance(datatype, str) or (datatype != "BYTES" and datatype not in _DTYPES):
        raise refuse(
            422, "datatype", f"{field}.datatype is {shown(datatype)}; allowed: BYTES, {', '.join(_DTYPES)}",
            field=f"{field}.datatype",
        )  # fmt: skip
    whole = isinstance(shape, list) and all(type(s) is int and s >= 0 for s in shape)
    if not whole or not shape or any(s != 1 for s in shape[1:]):
        raise refuse(
            422,
            "shape",
            f"{field}.shape is {shown(shape)}; it must be [rows] or [rows, 1]",
            field=f"{field}.shape",
        )
    parameters = tensor.get("parameters") or {}
    size = parameters.get("binary_data_size") if isinstance(parameters, dict) else None
    if size is None:
        values, used = _flat(tensor.get("data"), field), 0
    else:
        if type(size) is not int or not 0 <= size <= len(tail):
            raise refuse(
                400,
                "binary size",
                f"{field}: binary_data_size {shown(size)} is not within the body",
                field=field,
            )
        values, used = _unpacked(str(datatype), tail[:size], field), size
    if len(values) != shape[0]:
        raise refuse(
            422,
            "shape",
            f"{field} has {len(values)} values, its shape says {shape[0]}",
            field=f"{field}.shape",
        )
    return name, values, used


def _flat(data: Any, field: str) -> list[Any]:
    if not isinstance(data, list):
        raise refuse(
            422, "required", f"{field}.data must be a list of values", field=f"{field}.data", value=data
        )
    return [v[0] if isinstance(v, list) and len(v) == 1 else v for v in data]


def _unpacked(datatype: str, content: bytes, field: str) -> list[Any]:
    if datatype != "BYTES":
        kind = np.dtype(_DTYPES[datatype])
        if len(content) % kind.itemsize:
            raise refuse(400, "binary size", f"{field}: {len(content)} bytes are no {datatype}", field=field)
        return list(np.frombuffer(content, kind).tolist())
    texts: list[Any] = []
    at = 0
    while at < len(content):
        end = at + 4
        size = struct.unpack("<I", content[at:end])[0] if end <= len(content) else len(content)
        if end + size > len(content):
            raise refuse(400, "binary size", f"{field}: a text is cut off at byte {at}", field=field)
        try:
            texts.append(content[end : end + size].decode())
        except UnicodeDecodeError as error:
            raise refuse(400, "utf-8", f"{field}: text {len(texts)} is not UTF-8", field=field) from error
        at = end + size
    return texts


def _packed(datatype: str, values: Sequence[Any]) -> bytes:
    if datatype != "BYTES":
        return np.array(values, dtype=_DTYPES[datatype]).tobytes()
    texts = [v.encode("utf-8", "backslashreplace") for v in values]
    return b"".join(part for t in texts for part in (struct.pack("<I", len(t)), t))


def _rows(columns: Mapping[str, list[Any]], served: Served) -> list[dict[str, Any]]:
    lengths = {name: len(values) for name, values in columns.items()}
    if len(set(lengths.values())) > 1:
        said = ", ".join(f"{n[:40]} {k}" for n, k in list(lengths.items())[:5])
        raise refuse(422, "shape", f"tensors differ in rows: {said}", field="inputs")
    nullable = {i.name for i in served.scorer.signature.inputs if i.nullable}
    for name, values in columns.items():
        for k, value in enumerate(values):
            if isinstance(value, float) and value - value != 0:
                if value != value and name in nullable:
                    values[k] = None
                    continue
                raise refuse(
                    422, "finite", f"{name[:80]}[{k}] is {value}; it must be a finite number", field=name[:80],
                )  # fmt: skip
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def _outputs(document: Mapping[str, Any], served: Served) -> tuple[list[str], dict[str, bool]]:
    """Names of the outputs, and which of them go in binary."""
    known = output_types(served)
    parameters = document.get("parameters")
    all_binary = isinstance(parameters, dict) and parameters.get("binary_data_output") is True
    asked = document.get("outputs")
    if asked is None or asked == []:
        return list(known), dict.fromkeys(known, all_binary)
    if not isinstance(asked, list):
        raise refuse(
            422, "type", f"outputs is {shown(asked)}; it must be a list", field="outputs", value=asked
        )
    binary: dict[str, bool] = {}
    for k, output in enumerate(asked):
        name = output.get("name") if isinstance(output, dict) else None
        if not isinstance(name, str) or name not in known:
            raise refuse(
                422,
                "output",
                f"outputs[{k}] is {shown(name)}; allowed: {', '.join(known)}",
                field=f"outputs[{k}]",
            )
        own = output.get("parameters")
        binary[name] = (
            own.get("binary_data") is True if isinstance(own, dict) and "binary_data" in own else all_binary
        )
    return list(binary), binary
