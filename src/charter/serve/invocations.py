"""MLflow's scoring protocol: ``POST /invocations`` as ``mlflow models serve`` answers it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from charter.serve.http import JSON, Scope, require_json
from charter.serve.problem import Refused, refuse, shown
from charter.serve.protocols import Asked, Headers, problem_json
from charter.serve.scored import Scored
from charter.serve.served import Served
from charter.serve.strict import read_document

FORMS = ("dataframe_split", "dataframe_records", "instances", "inputs")


class Invocations:
    """A data frame or a list of objects in, ``{"predictions": [...]}`` out, one object a row."""

    name = "invocations"

    def read(self, scope: Scope, body: bytes, served: Served) -> Asked:
        """Read one of the four forms; ``params`` are MLflow's and must be empty."""
        require_json(scope)
        document = read_document(body, _not_finite)
        forms = [f for f in FORMS if isinstance(document, dict) and f in document]
        if len(forms) != 1:
            raise refuse(422, "form", f"send an object with exactly one of {', '.join(FORMS)}")
        unknown = [k for k in document if k not in (*FORMS, "params")]
        if unknown or document.get("params"):
            name = unknown[0][:80] if unknown else "params"
            raise refuse(422, "unknown field", f"{name!r} is nothing that this model takes", field=name)
        rows = _rows(forms[0], document[forms[0]])
        return Asked(served.decoder.decode(msgspec.json.encode(rows)))

    def write(
        self, served: Served, scored: Scored, start: int, asked: Asked, answer_id: str
    ) -> tuple[bytes, Headers]:
        """Answer by an object for each row, as MLflow answers a data frame."""
        many = asked.rows.__class__(asked.rows.rows, single=False)
        body = b'{"predictions":' + served.encode(scored, start, many, answer_id) + b"}"
        return body, ((b"content-type", JSON),)

    def refused(self, error: Refused) -> bytes:
        """MLflow's form of an error, and the faults beside it."""
        code = "BAD_REQUEST" if error.status < 500 else "INTERNAL_ERROR"
        return problem_json({"error_code": code, "message": error.message, **error.to_json()})


def _rows(form: str, data: Any) -> list[Any]:
    if form == "dataframe_split":
        return _split(data)
    if isinstance(data, dict) and form == "inputs":
        return _columns(data)
    if form == "inputs" and isinstance(data, list) and data and not isinstance(data[0], dict):
        raise refuse(
            422, "type", "inputs is a list without names; send objects or columns by name", field=form
        )
    if not isinstance(data, list):
        raise refuse(422, "type", f"{form} is {shown(data)}; it must be a list of objects", field=form)
    return data


def _split(data: Any) -> list[Any]:
    columns = data.get("columns") if isinstance(data, dict) else None
    rows = data.get("data") if isinstance(data, dict) else None
    if (
        not isinstance(columns, list)
        or not isinstance(rows, list)
        or not all(isinstance(c, str) for c in columns)
    ):
        raise refuse(
            422,
            "type",
            "dataframe_split must hold columns (names) and data (a list of rows)",
            field="dataframe_split",
        )
    if len(set(columns)) != len(columns):
        raise refuse(
            422, "repeated", "dataframe_split.columns names a column twice", field="dataframe_split.columns"
        )
    for k, row in enumerate(rows):
        if not isinstance(row, list) or len(row) != len(columns):
            raise refuse(
                422, "shape", f"dataframe_split.data[{k}] has not {len(columns)} values",
                field=f"dataframe_split.data[{k}]", value=row,
            )  # fmt: skip
    return [dict(zip(columns, row, strict=True)) for row in rows]


def _columns(data: Mapping[str, Any]) -> list[Any]:
    values = {name: v if isinstance(v, list) else [v] for name, v in data.items()}
    values = {
        name: [x[0] if isinstance(x, list) and len(x) == 1 else x for x in v] for name, v in values.items()
    }
    if len({len(v) for v in values.values()}) > 1:
        raise refuse(422, "shape", "the columns of inputs differ in length", field="inputs")
    return [dict(zip(values, row, strict=True)) for row in zip(*values.values(), strict=True)]


def _not_finite(text: str) -> None:
    """MLflow's client writes a missing value of a data frame as NaN, and its server reads it so."""
    if text == "NaN":
        return
    raise ValueError(f"{text} is no JSON; send null where a value is missing")
