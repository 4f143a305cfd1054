"""What is tried beside the champion: who answers, what is logged, and that no failure of it reaches a user."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from log_models import post, requests
from serve_models import GOOD, acall, call

from charter.core.errors import UsageError
from charter.flow import serving
from charter.registry.allocation import Allocation
from charter.registry.assignment import Assignment
from charter.registry.traffic import Traffic
from charter.serve.app import Application
from charter.serve.bundle import read_bundle
from charter.serve.io.recorder import Recorder
from charter.serve.log_reader import scan
from charter.serve.metrics import Metrics
from charter.serve.observe import Dealt, Ticket
from charter.serve.problem import Refused
from charter.serve.scorer import Scorer
from charter.serve.served import Served
from charter.serve.types import Input


# ------------------------------------------------------------------------------------------------ the log
@pytest.fixture
def served(credit) -> Served:
    return Served(credit.spec.name, "v2", credit.scorer(), package="ab" * 32)


def test_the_log_tells_arms_and_keeps_what_nobody_was_given_from_who_counts(credit, served, tmp_path):
    recorder = Recorder(tmp_path, Metrics())
    rows = [tuple(served.decoder.decode(b"[" + _json(r) + b"]").rows[0]) for r in requests(credit, 5)]
    scored = served.scorer.run(served.decoder.frame(rows))
    scored.fallback[1] = scored.fallback[3] = True
    tickets = [
        Ticket("split", 2, "predict", time.perf_counter(), Dealt("canary", "candidate", (4, 7), backed=True)),
        Ticket("plain", 1, "predict", time.perf_counter()),
        Ticket("alone", 1, "predict", time.perf_counter(), Dealt("canary", None)),
        Ticket("seen", 1, "predict", time.perf_counter(), Dealt("shadow", "shadow")),
    ]
    recorder.observe(served, tickets, scored)
    recorder.close()
    columns = ("id", "row", "stage", "arm", "fallback")
    whole = scan(tmp_path, shadow=True).select(columns).collect().rows()
    assert whole == [
        ("split", 4, "canary", "candidate", False),
        ("split", 7, "canary", "shadow", True),
        ("plain", 0, None, None, False),
        ("alone", 0, "canary", None, True),
        ("seen", 0, "shadow", "shadow", False),
    ]
    decisions = scan(tmp_path).select(columns).collect().rows()
    assert decisions == [row for row in whole if row[3] != "shadow"]


def _json(row: object) -> bytes:
    import msgspec

    return msgspec.json.encode(row)


def test_a_log_from_before_there_were_arms_is_read(credit, served, tmp_path, monkeypatch):
    from charter.serve.prediction_log import OWN

    older = {name: dtype for name, dtype in OWN.items() if name not in ("stage", "arm")}
    recorder = Recorder(tmp_path, Metrics())
    with monkeypatch.context() as before:
        before.setattr("charter.serve.prediction_log.OWN", older)
        scored = served.scorer.run(served.decoder.frame(served.decoder.decode(_json(GOOD)).rows))
        recorder.observe(served, [Ticket.now("old", 1)], scored)
        recorder.close()
    found = scan(tmp_path).collect()
    assert found["id"].to_list() == ["old"]
    assert found["arm"].to_list() == [None]


# ------------------------------------------------------------------------------------------------ who answers
ARMS = {"champion": "v1", "candidate": "v2"}
HALF = Assignment("try-v2", Allocation.of({"champion": 0.5, "candidate": 0.5}))
PLAIN = "/api/v1/predict/credit-test"


def dealt(unit: str | None = "late", stage: str = "canary", share: float | None = None) -> dict[str, Traffic]:
    assignment = HALF
    if share is not None:
        assignment = Assignment("try-v2", Allocation.of({"champion": 1 - share, "candidate": share}))
    return {"credit-test": Traffic(stage, "v1", "v2", unit, assignment, ARMS, "try")}  # type: ignore[arg-type]


def versions(credit, run: Any = None) -> list[Served]:
    """Champion and candidate; ``run`` replaces what the candidate does."""
    models = [
        Served(credit.spec.name, version, credit.scorer(), package="ab" * 32) for version in ARMS.values()
    ]
    if run is not None:
        models[1].run = run  # type: ignore[method-assign]
    return models


def late(*values: int) -> list[dict[str, Any]]:
    return [{**GOOD, "late": value} for value in values]


EXPECTED = {n: dealt()["credit-test"].version_for(n)[0] for n in range(-2, 10)}
WHERE = {version: [n for n in EXPECTED if EXPECTED[n] == version] for version in ARMS.values()}
MIXED = [WHERE["v2"][0], WHERE["v1"][0], WHERE["v2"][1], WHERE["v1"][1], WHERE["v2"][0]]


def test_the_unit_decides_and_keeps_its_version(credit):
    application = Application(versions(credit), traffic=dealt())
    for _ in range(2):
        told = {
            n: json.loads(call(application, body=json.dumps(late(n)[0]).encode())[2])["version"]
            for n in EXPECTED
        }
        assert told == EXPECTED
    for version in ARMS.values():
        pinned = json.loads(
            call(application, f"{PLAIN}/versions/{version}", json.dumps(late(*EXPECTED)).encode())[2]
        )
        assert {answer["version"] for answer in pinned} == {version}


def test_a_request_of_several_rows_is_split_and_answered_in_order(credit, tmp_path):
    recorder = Recorder(tmp_path, Metrics())
    application = Application(versions(credit), traffic=dealt(), observer=recorder)
    rows = [{**row, "limit": 5000.0 + i} for i, row in enumerate(late(*MIXED))]
    alone = Application(versions(credit))
    expected = json.loads(call(alone, body=json.dumps(rows).encode())[2])
    [(status, answers)] = post(application, [rows])
    assert status == 200
    assert [a["version"] for a in answers] == ["v2", "v1", "v2", "v1", "v2"]
    without = [{k: v for k, v in a.items() if k not in ("id", "version")} for a in answers]
    assert without == [{k: v for k, v in a.items() if k not in ("id", "version")} for a in expected]
    request_id = answers[0]["id"].rpartition("-")[0]
    assert [a["id"] for a in answers] == [f"{request_id}-{i}" for i in range(5)]
    found = scan(tmp_path).sort("row").collect()
    assert found["version"].to_list() == ["v2", "v1", "v2", "v1", "v2"]
    assert found["arm"].to_list() == ["candidate", "champion", "candidate", "champion", "candidate"]
    assert found["row"].to_list() == [0, 1, 2, 3, 4]
    assert set(found["id"]) == {request_id}
    assert set(found["stage"]) == {"canary"}
    assert found["input_limit"].to_list() == [5000.0 + i for i in range(5)]


def test_all_protocols_split(credit):
    application = Application(versions(credit), traffic=dealt("late", "experiment"))
    names = list(GOOD)
    split = {"dataframe_split": {"columns": names, "data": [list(r.values()) for r in late(*MIXED)]}}
    answers = json.loads(call(application, "/invocations", json.dumps(split).encode())[2])["predictions"]
    assert [a["version"] for a in answers] == ["v2", "v1", "v2", "v1", "v2"]
    kinds = {"limit": "FP64", "late": "INT64", "bill": "FP64", "online": "BOOL"}
    columns = {n: [r[n] if n in kinds else str(r[n]) for r in late(*MIXED)] for n in names}
    tensors = [
        {"name": n, "datatype": kinds.get(n, "BYTES"), "shape": [5], "data": columns[n]}
        for n in names
    ]  # fmt: skip
    whole = json.loads(
        call(application, "/v2/models/credit-test/infer", json.dumps({"inputs": tensors}).encode())[2]
    )
    assert whole["model_version"] == "mixed"
    assert whole["parameters"] == {"model_versions": ["v2", "v1", "v2", "v1", "v2"]}
    scores = next(o for o in whole["outputs"] if o["name"] == "score")["data"]
    assert scores == [a["score"] for a in answers]


def test_requests_without_a_unit_go_to_the_champion_and_without_a_column_by_their_id(credit):
    application = Application(versions(credit), traffic=dealt("city", share=1.0))
    named, nameless = ({**GOOD, "city": city} for city in ("Ghent", None))
    assert json.loads(call(application, body=json.dumps(named).encode())[2])["version"] == "v2"
    assert json.loads(call(application, body=json.dumps(nameless).encode())[2])["version"] == "v1"
    application.replace(application.models, dealt(None))
    told = {}
    for n in range(20):
        body = json.dumps([GOOD, GOOD]).encode()
        answers = json.loads(call(application, body=body, headers={"x-request-id": f"r{n}"})[2])
        told[f"r{n}"] = {a["version"] for a in answers}
    assert told == {f"r{n}": {dealt(None)["credit-test"].version_for(f"r{n}")[0]} for n in range(20)}


# ------------------------------------------------------------------------------------------------ what fails
def _raise(_rows: Any, _explain: Any) -> Any:
    raise RuntimeError("broken")


@pytest.mark.parametrize("rows", [1, 5, 300])
def test_the_champion_answers_for_a_candidate_that_raises(credit, tmp_path, rows):
    recorder = Recorder(tmp_path, Metrics())
    application = Application(versions(credit, _raise), traffic=dealt("late", share=1.0), observer=recorder)
    alone = Application(versions(credit))
    expected = json.loads(call(alone, body=json.dumps([GOOD] * rows).encode())[2])
    [(status, answers)] = post(application, [[GOOD] * rows])
    assert status == 200
    assert {a["version"] for a in answers} == {"v1"}
    assert answers[0]["score"] == expected[0]["score"]
    said = "v2 could not answer: the model failed (RuntimeError); v1 answered"
    assert all(a["warnings"] == [*e["warnings"], said] for a, e in zip(answers, expected, strict=True))
    given = scan(tmp_path).collect()
    assert set(given.select("version", "arm", "fallback").rows()) == {("v1", "candidate", False)}
    assert given.height == rows
    tried = scan(tmp_path, version="v2", shadow=True).collect()
    assert set(tried.select("arm", "fallback", "decision").rows()) == {("shadow", True, None)}
    assert tried["row"].to_list() == list(range(rows))


def test_only_the_rows_that_fail_are_answered_by_the_champion(credit, tmp_path):
    recorder = Recorder(tmp_path, Metrics())
    models = versions(credit)
    scores = models[1].run

    def some(rows: Sequence[tuple[Any, ...]], explain: Any) -> Any:
        scored = scores(rows, explain)
        for i, row in enumerate(rows):
            scored.fallback[i] = 3 in row
        return scored

    models[1].run = some  # type: ignore[method-assign]
    application = Application(models, traffic=dealt("late", share=1.0), observer=recorder)
    [(_, answers)] = post(application, [late(1, 3, 2, 3)])
    assert [a["version"] for a in answers] == ["v2", "v1", "v2", "v1"]
    assert [len(a["warnings"]) for a in answers] == [0, 1, 0, 1]
    found = scan(tmp_path).sort("row").collect()
    assert found.select("row", "version", "arm").rows() == [
        (0, "v2", "candidate"), (1, "v1", "candidate"), (2, "v2", "candidate"), (3, "v1", "candidate"),
    ]  # fmt: skip


def test_nobody_waits_for_a_candidate_that_hangs(credit, monkeypatch):
    monkeypatch.setattr("charter.serve.routing.TRIED_SECONDS", 60)
    let_go = threading.Event()

    def hang(_rows: Any, _explain: Any) -> Any:
        let_go.wait(60)
        raise RuntimeError

    application = Application(versions(credit, hang), traffic=dealt())
    patient, quick = (json.dumps(late(WHERE[v][0])[0]).encode() for v in ("v2", "v1"))

    async def ask() -> None:
        waiting = asyncio.create_task(acall(application, PLAIN, patient))
        status, _, body = await acall(application, PLAIN, quick)
        assert (status, json.loads(body)["version"]) == (200, "v1")
        assert not waiting.done()
        let_go.set()
        status, _, body = await waiting
        assert (status, json.loads(body)["version"]) == (200, "v1")

    asyncio.run(ask())


def test_the_champion_answers_in_time_for_a_candidate_that_hangs(credit, monkeypatch):
    monkeypatch.setattr("charter.serve.routing.TRIED_SECONDS", 0.05)
    let_go = threading.Event()
    application = Application(versions(credit, lambda *_: let_go.wait(60)), traffic=dealt("late", share=1.0))
    try:
        for _ in range(6):  # more than may hang at once: then it is not asked any more
            status, _, body = call(application, body=json.dumps(GOOD).encode())
            answer = json.loads(body)
            assert (status, answer["version"]) == (200, "v1")
            assert answer["warnings"] == [
                "v2 could not answer: the model did not answer in time; v1 answered"
            ]
    finally:
        let_go.set()


@pytest.fixture
def wider(credit) -> list[Served]:
    """Champion, and a candidate that also takes (and needs) a field ``age``."""
    bundle = read_bundle(credit.folder)
    signature = replace(bundle.signature, inputs=(*bundle.signature.inputs, Input("age", "integer", min=18)))
    other = Scorer(replace(bundle, signature=signature))
    return [
        Served(credit.spec.name, "v1", credit.scorer()),
        Served(credit.spec.name, "v2", other),
    ]


def test_a_field_that_only_the_candidate_takes_is_no_fault_while_it_is_tried(wider):
    application = Application(wider, traffic=dealt())
    rows = [{**row, "age": 40} for row in late(*MIXED)]
    answers = json.loads(call(application, body=json.dumps(rows).encode())[2])
    assert [a["version"] for a in answers] == ["v2", "v1", "v2", "v1", "v2"]
    assert [a["warnings"] for a in answers] == [[]] * 5
    application.replace(wider, {})
    assert call(application, body=json.dumps(rows).encode())[0] == 422


def test_the_champion_answers_whom_the_candidate_cannot_read(wider):
    application = Application(wider, traffic=dealt())
    answers = json.loads(call(application, body=json.dumps(late(*MIXED)).encode())[2])
    assert {a["version"] for a in answers} == {"v1"}
    assert "v2 could not answer: " in answers[0]["warnings"][0]
    assert "age" in answers[0]["warnings"][0]
    assert answers[1]["warnings"] == []
    status, _, body = call(application, body=json.dumps({**GOOD, "age": 40, "shoe": 1}).encode())
    assert (status, json.loads(body)["error"]["field"]) == (422, "age")


def test_what_is_wrong_with_a_request_is_still_its_fault(credit):
    application = Application(versions(credit, _raise), traffic=dealt())
    status, _, body = call(application, body=json.dumps({**GOOD, "late": 99}).encode())
    assert (status, json.loads(body)["error"]["field"]) == (422, "late")
    assert call(application, body=b"{}", headers={"content-type": "text/plain"})[0] == 415


# ------------------------------------------------------------------------------------------------ other stages
def test_stopped_leaves_every_route_to_the_fallback(credit, tmp_path):
    recorder = Recorder(tmp_path, Metrics())
    application = Application(versions(credit, _raise), observer=recorder)
    application.replace(application.models, {"credit-test": Traffic("stopped", "v1")})
    for path in (PLAIN, f"{PLAIN}/versions/v2"):
        [(status, answer)] = post(application, [{**GOOD, "late": 4}], path)
        assert (status, answer["decision"], answer["score"]) == (200, "positive", None)
        assert answer["warnings"][-1] == "credit-test is stopped; the fallback rule answered"
    assert set(scan(tmp_path).select("stage", "arm", "fallback").collect().rows()) == {
        ("stopped", None, True)
    }
    application.replace(application.models, {})
    assert post(application, [GOOD])[0][1]["score"] is not None


def test_a_model_that_is_stopped_without_a_fallback_says_so(credit, monkeypatch):
    models = versions(credit)
    for model in models:
        monkeypatch.setattr(model.scorer, "rules", type(model.scorer.rules)(0.5))
    application = Application(models, traffic={"credit-test": Traffic("stopped", "v1")})
    status, _, body = call(application, body=json.dumps(GOOD).encode())
    assert (status, json.loads(body)["error"]["rule"]) == (503, "stopped")
    with pytest.raises(Refused, match="is stopped and declares no fallback"):
        models[0].answer(json.dumps(GOOD).encode(), stopped=True)


@pytest.mark.parametrize("stopped", [False, True])
def test_an_answer_without_a_server_leaves_a_stopped_model_to_the_fallback(credit, monkeypatch, stopped):
    traffic = {"credit-test": Traffic("stopped", "v1")} if stopped else {}
    monkeypatch.setattr(serving, "released", lambda *_: SimpleNamespace(traffic=traffic))
    monkeypatch.setattr("charter.serve.io.loading.load_models", lambda _: versions(credit))
    body = json.dumps({**GOOD, "late": 4}).encode()
    answer = serving.answer(SimpleNamespace(load=lambda: None), body, explain=False)
    assert (answer["score"] is None) is stopped
    assert any("is stopped" in warning for warning in answer.get("warnings") or ()) is stopped


def test_a_server_where_nothing_is_tried_takes_the_way_it_took(credit):
    application = Application(versions(credit), traffic={"credit-test": Traffic("full", "v1")})
    route = application.route("credit-test")
    assert (route.arms, route.shadow, route.dealt) == (None, None, None)
    assert route is application.route("credit-test/versions/v1")


@pytest.mark.parametrize(
    ("unit", "said"),
    [
        ("lat", "traffic.unit 'lat' is no field of requests to credit-test v1; did you mean late?"),
        ("limit", "traffic.unit 'limit' is of type float, which has no one way to be written"),
    ],
)
def test_a_unit_that_cannot_be_dealt_out_changes_nothing(credit, unit, said):
    application = Application(versions(credit))
    with pytest.raises(UsageError) as caught:
        application.replace(application.models, dealt(unit))
    assert said in str(caught.value)
    assert application.traffic == {}
    assert json.loads(call(application, body=json.dumps(GOOD).encode())[2])["version"] == "v1"


def test_a_candidate_that_leaks_is_asked_no_more_and_the_champion_answers(credit, monkeypatch):
    held = [0, 0]

    def run(rows, explain):
        held[1] += 1
        held[0] += 300 * 1024 * 1024  # as though every batch kept so much
        return Served.run(models[1], rows, explain)

    models = versions(credit, run)
    monkeypatch.setattr("charter.serve.routing.growth", lambda: lambda: held[0])
    application = Application(models, traffic=dealt())
    body = json.dumps(late(WHERE["v2"][0])[0]).encode()
    told = [json.loads(call(application, body=body)[2]) for _ in range(4)]
    assert [t["version"] for t in told] == ["v2", "v2", "v1", "v1"]
    assert held[1] == 2, "it is asked no more"
    assert "v2 could not answer: the model was let go" in told[2]["warnings"][0]
    ready = json.loads(call(application, "/readyz", method="GET")[2])
    assert "grew by 629 MB" in ready["let_go"]["credit-test v2"]
    application.replace(models[:1])
    assert "let_go" not in json.loads(call(application, "/readyz", method="GET")[2])
