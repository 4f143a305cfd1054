"""The forms in which a prediction may be asked for; all of them become rows, and answers in their own form again."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from charter.serve.decode import Decoded
from charter.serve.http import JSON, Scope, require_json
from charter.serve.problem import Refused
from charter.serve.scored import Scored
from charter.serve.served import Served

Headers = Sequence[tuple[bytes, bytes]]


class Asked(NamedTuple):
    """A request in rows.

    Attributes
    ----------
    request_id
        Identifier that the body brings, if any.
    form
        What the protocol needs to answer in the form that was asked for.
    """

    rows: Decoded
    request_id: str | None = None
    form: Any = None


class Form(Protocol):
    """A protocol: how bytes become rows, and answers bytes."""

    name: str

    def read(self, scope: Scope, body: bytes, served: Served) -> Asked:
        """Read a request; raises `Refused` for what is wrong with it."""
        ...

    def write(
        self, served: Served, scored: Scored, start: int, asked: Asked, answer_id: str
    ) -> tuple[bytes, Headers]:
        """Answer a request: the body, and its headers besides the length."""
        ...

    def refused(self, error: Refused) -> bytes:
        """Say what is wrong, in the protocol's form."""
        ...


class Native:
    """``/api/v1/predict``: an object or a list of objects."""

    name = "predict"

    def read(self, scope: Scope, body: bytes, served: Served) -> Asked:
        """Read an object or a list of objects."""
        require_json(scope)
        return Asked(served.decoder.decode(body))

    def write(
        self, served: Served, scored: Scored, start: int, asked: Asked, answer_id: str
    ) -> tuple[bytes, Headers]:
        """Answer an object by an object, a list by a list."""
        return served.encode(scored, start, asked.rows, answer_id), _JSON_HEADERS

    def refused(self, error: Refused) -> bytes:
        """``{"error": {...}}``."""
        return problem_json(error.to_json())


_JSON_HEADERS: Headers = ((b"content-type", JSON),)


def problem_json(document: Mapping[str, Any]) -> bytes:
    """Write a problem; what cannot be sent as UTF-8 is escaped."""
    return json.dumps(document, ensure_ascii=False).encode("utf-8", "backslashreplace")
