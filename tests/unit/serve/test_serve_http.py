from __future__ import annotations

import asyncio
import json
import random
import re
from collections.abc import Callable
from datetime import date, datetime
from typing import Any

import numpy as np
import polars as pl
import pytest
from serve_models import GOOD, acall, call

from charter.serve.app import Application, ServerLimits
from charter.serve.batcher import Batcher, Limits
from charter.serve.decode import Decoder
from charter.serve.served import Served
from charter.serve.types import Input, Signature

PREDICT = "/api/v1/predict/credit-test"


def body(**changes: Any) -> bytes:
    return json.dumps({k: v for k, v in {**GOOD, **changes}.items() if v is not ...}).encode()


def test_one_object_gives_one_answer(application):
    status, headers, content = call(application, body=body())
    answer = json.loads(content)
    assert status == 200
    assert headers["x-request-id"] == "fixed-id"
    assert list(answer) == [
        "id",
        "prediction",
        "score",
        "decision",
        "band",
        "reasons",
        "model",
        "version",
        "warnings",
    ]
    assert (answer["id"], answer["model"], answer["version"]) == ("fixed-id", "credit-test", "v1")
    assert answer["decision"] == "negative"
    assert 0 < answer["score"] < 0.5
    assert answer["warnings"] == []


def test_a_list_gives_a_list_with_ids_and_explained_on_demand(application):
    many = b"[" + body() + b", " + body(late=7) + b"]"
    status, _, content = call(
        application, body=many, query="explain=true", headers={"x-request-id": "abc"}, chunk=10
    )
    first, second = json.loads(content)
    assert status == 200
    assert (first["id"], second["id"]) == ("abc-0", "abc-1")
    assert second["decision"] == "positive"
    assert second["reasons"][0]["text"] == "months late = 7 raises the score"
    assert len(first["reasons"]) == 3


def test_the_answer_is_the_scorers_to_the_bit(application, credit):
    rows = credit.dataset.select(*GOOD).head(60)
    expected = credit.scorer().score(rows)["score"].to_list()
    text = json.dumps(
        [{k: v if k != "joined" else v.isoformat() for k, v in r.items()} for r in rows.to_dicts()]
    )
    _, _, content = call(application, body=text.encode())
    assert [a["score"] for a in json.loads(content)] == expected


def test_entities_are_looked_up(application, churn):
    row = churn.dataset.select("who", "as_of").row(0)
    asked = json.dumps({"who": row[0], "as_of": row[1].isoformat() + "Z"}).encode()
    _, _, content = call(application, "/api/v1/predict/churn-test", asked)
    assert json.loads(content)["score"] == churn.scorer().score(churn.dataset[:1])["score"].item()
    day = row[1].date().isoformat()
    _, _, again = call(
        application, "/api/v1/predict/churn-test", json.dumps({"who": row[0], "as_of": day}).encode()
    )
    assert json.loads(again)["score"] == json.loads(content)["score"]


def test_leniency_is_the_same_as_strict_spelling(application):
    plain = call(application, body=body(grade="2"))[2]
    for changed in (body(late=1.0, grade=2.0), body(joined="2015-05-05", limit=20000.0)):
        assert json.loads(call(application, body=changed)[2])["score"] == json.loads(plain)["score"]
    null = json.loads(call(application, body=body(city=None))[2])["score"]
    assert json.loads(call(application, body=body(city=...))[2])["score"] == null
    assert json.loads(call(application, body=body(city=""))[2])["score"] == null


REFUSED: list[tuple[str, Callable[[], dict[str, Any]], int, str, str]] = [
    ("no body", lambda: {"body": b""}, 400, "json", "the body is empty"),
    ("cut off", lambda: {"body": body()[:-5]}, 400, "json", "truncated"),
    ("not JSON", lambda: {"body": b'{"limit": 1,}'}, 400, "json", "byte 12"),
    ("NaN", lambda: {"body": b'{"limit": NaN}'}, 400, "finite", "NaN at byte 10"),
    ("Infinity", lambda: {"body": b'{"limit": -Infinity}'}, 400, "finite", "-Infinity at byte 10"),
    ("broken UTF-8", lambda: {"body": b'{"city": "\xff"}'}, 400, "utf-8", "byte 10 is 0xff"),
    ("nested", lambda: {"body": b"[" * 100_000}, 400, "depth", "nested too deeply"),
    ("nested value", lambda: {"body": b'{"limit": ' + b"[" * 100_000}, 400, "depth", "nested too deeply"),
    ("number", lambda: {"body": b"3"}, 422, "type", "send an object or a list"),
    ("empty list", lambda: {"body": b"[]"}, 422, "rows", "list is empty"),
    ("list of numbers", lambda: {"body": b"[1]"}, 422, "type", r"rows\[0\] is 1; send an object"),
    ("many rows", lambda: {"body": b"[" + b"{}," * 20_000 + b"{}]"}, 413, "rows", "20001 rows; at most 10000"),
    ("huge", lambda: {"body": b" " * 9_000_000}, 413, "body size", "larger than 8388608 bytes"),
    ("huge in chunks", lambda: {"body": b" " * 9_000_000, "chunk": 1_000_000}, 413, "body size", "larger"),
    ("declared huge", lambda: {"headers": {"content-length": "9" * 12}}, 413, "body size", "larger"),
    ("bad length", lambda: {"headers": {"content-length": "-1"}}, 400, "content length", "not a number"),
    ("form", lambda: {"headers": {"content-type": "text/plain"}}, 415, "content type", "'text/plain'"),
    ("no type", lambda: {"headers": {"content-type": None}}, 415, "content type", "no content type"),
    ("GET", lambda: {"method": "GET"}, 405, "method", "GET is not allowed here; send POST"),
    ("unknown model", lambda: {"path": PREDICT + "s"}, 404, "model", "did you mean credit-test"),
    ("no model", lambda: {"path": "/api/v1/predict/"}, 404, "model", "allowed: churn-test, credit-test"),
    ("unknown path", lambda: {"path": "/api/v2"}, 404, "path", "nothing at '/api/v2'"),
    ("wrong verb", lambda: {"path": "/healthz"}, 405, "method", "POST is not allowed"),
    ("parameter", lambda: {"query": "explian=1"}, 422, "unknown parameter", "did you mean explain"),
    ("parameter value", lambda: {"query": "explain=maybe"}, 422, "boolean", "must be true or false"),
    ("unknown field", lambda: {"body": body(limt=3)}, 422, "unknown field", "limt is not a field .*did you mean limit"),
    ("missing", lambda: {"body": body(late=...)}, 422, "required", "late is missing; .* a whole number"),
    ("null", lambda: {"body": body(limit=None)}, 422, "not null", "limit is null; it must be a number"),
    ("text", lambda: {"body": body(limit="x")}, 422, "type float", 'limit is "x"; it must be a number'),
    ("boolean", lambda: {"body": body(late=True)}, 422, "type integer", "late is true"),
    ("fraction", lambda: {"body": body(late=1.5)}, 422, "type integer", "late is 1.5"),
    ("too small", lambda: {"body": body(limit=10)}, 422, ">= 1000", "limit is 10; it must be >= 1000"),
    ("too large", lambda: {"body": body(late=10)}, 422, "<= 9", "late is 10; it must be <= 9"),
    ("category", lambda: {"body": body(grade="4")}, 422, "one of 1, 2, 3", 'grade is "4"; allowed: 1, 2, 3'),
    ("blank category", lambda: {"body": body(grade="")}, 422, "type category", "grade is"),
    ("date", lambda: {"body": body(joined="yesterday")}, 422, "type date", "a date such as"),
    ("early date", lambda: {"body": body(joined="1999-12-31")}, 422, ">= 2000-01-01", "1999-12-31"),
    ("list", lambda: {"body": body(city=[1])}, 422, "type category", r"city is \[1\]"),
    ("whole too large", lambda: {"body": body(late=10**30)}, 422, "type integer", "late is"),
    ("float too large", lambda: {"body": body()[:-1] + b', "bill": 1e999}'}, 422, "range", "too large"),
    ("second row", lambda: {"body": b"[" + body() + b"," + body(late=99) + b"]"}, 422, "<= 9", r"rows\[1\]\.late"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("what", "request_", "status", "rule", "message"), REFUSED, ids=[r[0] for r in REFUSED]
)
def test_what_is_wrong_is_named(application, what, request_, status, rule, message):
    got, headers, content = call(application, **{"body": body(), **request_()})
    error = json.loads(content)["error"]
    assert (got, error["rule"]) == (status, rule)
    assert re.search(message, error["message"])
    assert headers["content-type"] == "application/json"
    assert status != 405 or "allow" in headers


def test_all_faults_are_named_at_once(application):
    _, _, content = call(application, body=body(limit="x", late=None, extra=1))
    errors = json.loads(content)["errors"]
    assert [e["field"] for e in errors] == ["extra", "limit", "late"]


def test_beside_the_hot_path(application):
    assert call(application, "/healthz", method="GET")[0] == 200
    assert call(application, "/readyz", method="GET")[0] == 503
    listed = json.loads(call(application, "/api/v1/models", method="GET")[2])["models"]
    assert [m["name"] for m in listed] == ["churn-test", "credit-test"]
    call(application, body=body())
    call(application, body=b"{")
    text = call(application, "/metrics", method="GET")[2].decode()
    assert 'charter_requests_total{model="credit-test",status="200"} 1.0' in text
    assert 'charter_requests_total{model="credit-test",status="400"} 1.0' in text
    assert 'charter_predictions_total{decision="negative",model="credit-test",version="v1"} 1.0' in text
    assert 'charter_errors_total{model="credit-test",rule="json"} 1.0' in text


def test_lifespan_warms_up_and_drains(application):
    async def life() -> tuple[list[str], bool, bool]:
        messages = asyncio.Queue()
        sent: list[str] = []

        async def send(message: dict[str, Any]) -> None:
            sent.append(message["type"])

        task = asyncio.create_task(application({"type": "lifespan"}, messages.get, send))
        await messages.put({"type": "lifespan.startup"})
        while not sent:
            await asyncio.sleep(0.01)
        ready = application.ready
        await messages.put({"type": "lifespan.shutdown"})
        await task
        return sent, ready, application.ready

    assert asyncio.run(life()) == (["lifespan.startup.complete", "lifespan.shutdown.complete"], True, False)


def test_the_document_describes_what_is_accepted(application):
    document = json.loads(call(application, "/openapi.json", method="GET")[2])
    post = document["paths"][PREDICT]["post"]
    content = post["requestBody"]["content"]["application/json"]
    assert content["schema"]["oneOf"][0]["required"] == ["limit", "late", "grade", "online", "joined"]
    for name in ("one", "many"):
        example = json.dumps(content["examples"][name]["value"]).encode()
        assert call(application, body=example)[0] == 200
    page = call(application, "/docs", method="GET")
    assert page[0] == 200
    assert not re.search(rb"(src|href)=", page[2])
    assert "default-src 'none'" in page[1]["content-security-policy"]


def test_a_model_that_fails_without_fallback_is_503(credit, monkeypatch, caplog):
    scorer = credit.scorer()
    scorer.rules = type(scorer.rules)(threshold=0.5)
    monkeypatch.setattr(scorer._model, "predict", lambda X: 1 / 0)
    status, headers, content = call(Application([Served("credit-test", "v1", scorer)]), body=body())
    assert (status, headers["retry-after"]) == (503, "1")
    assert json.loads(content)["error"]["rule"] == "model"


def test_a_fallback_answers_with_a_warning(credit, monkeypatch):
    scorer = credit.scorer()
    monkeypatch.setattr(scorer._model, "predict", lambda X: X[:, 0] * np.nan)
    status, _, content = call(Application([Served("credit-test", "v1", scorer)]), body=body(late=5))
    answer = json.loads(content)
    assert status == 200
    assert answer["score"] is None
    assert answer["decision"] == "positive"
    assert answer["warnings"] == ["the model gave no finite score; the fallback rule answered"]


def test_requests_that_come_together_are_scored_together(credit):
    served = Served("credit-test", "v1", credit.scorer())
    sizes: list[int] = []

    def run(rows: Any, explain: Any) -> Any:
        sizes.append(len(rows))
        return served.run(rows, explain)

    rows = served.decoder.decode(body()).rows

    async def together() -> list[float]:
        batcher = Batcher(run, Limits(batch_rows=16))
        answers = await asyncio.gather(*(batcher.submit(rows, explain=i % 2 == 0) for i in range(40)))
        assert [bool(s.reasons[at]) for s, at in answers] == [i % 2 == 0 for i in range(40)]
        assert batcher.waiting_rows == 0
        return [s.score[at] for s, at in answers]

    scores = asyncio.run(together())
    assert sizes == [16, 16, 8]
    assert set(scores) == {served.run(rows, np.array([False])).score[0]}


def test_too_much_is_answered_with_retry_after(credit):
    application = Application(
        [Served("credit-test", "v1", credit.scorer())],
        limits=ServerLimits(batch=Limits(batch_rows=4, queue_rows=8)),
    )

    async def flood() -> list[tuple[int, dict[str, str]]]:
        answers = await asyncio.gather(*(acall(application, body=body()) for _ in range(20)))
        return [(status, headers) for status, headers, _ in answers]

    answers = asyncio.run(flood())
    assert sorted({status for status, _ in answers}) == [200, 503]
    assert all(headers["retry-after"] == "1" for status, headers in answers if status == 503)
    assert sum(status == 200 for status, _ in answers) == 8


def test_a_large_list_is_scored_beside_the_loop(credit):
    application = Application(
        [Served("credit-test", "v1", credit.scorer())], limits=ServerLimits(batch=Limits(batch_rows=4))
    )
    status, _, content = call(application, body=b"[" + b",".join([body()] * 9) + b"]")
    assert status == 200
    assert len({a["score"] for a in json.loads(content)}) == 1


def test_categories_and_dates_stand_in_frames_as_in_training(credit):
    from charter.data.cast import DTYPES as TRAINING
    from charter.serve.values import DTYPES

    assert dict(TRAINING) == DTYPES
    frame = Served("c", "v1", credit.scorer()).decoder.read(body())
    assert frame.schema["joined"] == pl.Date


def test_a_frame_is_the_same_however_many_rows_it_is_made_of():
    kinds: dict[str, list[Any]] = {
        "integer": [1, -(2**63), 2**63 - 1],
        "float": [1.5, 2, 2**60 + 1, -0.0],
        "boolean": [True, False],
        "category": ["a", "é"],
        "text": ["", "x\ny"],
        "date": [date(2020, 2, 29)],
        "datetime": [
            datetime.fromisoformat("2020-02-29T01:02:03.000456"),
            datetime.fromisoformat("1900-01-01"),
        ],
    }
    decoder = Decoder(Signature(tuple(Input(kind, kind, nullable=True) for kind in kinds)))
    rng = random.Random(7)
    rows = [tuple(rng.choice([*values, None]) for values in kinds.values()) for _ in range(100)]
    many = decoder.frame(rows)
    assert pl.concat([decoder.frame([row]) for row in rows]).equals(many)
    assert pl.concat([decoder.frame(rows[i : i + 10]) for i in range(0, 100, 10)]).equals(many)
    assert decoder.frame([]).schema == many.schema
