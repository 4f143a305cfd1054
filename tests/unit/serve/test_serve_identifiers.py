"""A request may say whom a row is about: no feature reads it, a rollout deals it out, the log keeps it as it must."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from serve_models import CREDIT, GOOD, Example, accounts, call, make

from charter.registry.allocation import Allocation
from charter.registry.assignment import Assignment
from charter.registry.traffic import Traffic
from charter.serve.app import Application
from charter.serve.io.recorder import Recorder
from charter.serve.log_reader import scan
from charter.serve.metrics import Metrics
from charter.serve.observe import Ticket
from charter.serve.policy import LogPolicy
from charter.serve.served import Served
from charter.train.learners.logistic import LogisticRegressionLearner

PLAIN = "/api/v1/predict/credit-test"


@pytest.fixture(scope="module")
def named(tmp_path_factory: pytest.TempPathFactory) -> Example:
    document = copy.deepcopy(CREDIT)
    document["data"]["sources"]["accounts"]["columns"]["ID"] |= {"min": 1, "sensitivity": "personal"}
    document["serve"] |= {"identifiers": ["ID"], "reasons_for": "asked"}
    return make(
        tmp_path_factory.mktemp("named"), document, {"accounts": accounts()}, LogisticRegressionLearner()
    )


@pytest.fixture(scope="module")
def application(named: Example) -> Application:
    return Application([Served(named.spec.name, "v1", named.scorer())])


def ask(application: Application, path: str, document: Any) -> tuple[int, Any]:
    status, _, content = call(application, path, json.dumps(document).encode())
    return status, json.loads(content)


def tensors(row: dict[str, Any]) -> dict[str, Any]:
    kinds = {bool: "BOOL", int: "INT64", float: "FP64", str: "BYTES"}
    return {"inputs": [{"name": n, "datatype": "FP64" if n == "limit" else kinds[type(v)], "shape": [1], "data": [v]}
                       for n, v in row.items()]}  # fmt: skip


def test_it_may_be_left_out_and_no_feature_reads_it(named: Example) -> None:
    last = named.scorer().signature.inputs[-1]
    assert (last.name, last.nullable, last.seen_min, last.sensitivity) == ("ID", True, None, "personal")


@pytest.mark.parametrize(
    ("path", "form"),
    [
        (PLAIN, lambda row: row),
        ("/v2/models/credit-test/infer", tensors),
        ("/invocations", lambda row: {"dataframe_records": [row]}),
    ],
)
def test_every_protocol_takes_it_and_answers_alike(application, path, form):
    def scores(row: dict[str, Any]) -> Any:
        status, answer = ask(application, path, form(row))
        assert status == 200, answer
        if "outputs" in answer:
            return next(o["data"] for o in answer["outputs"] if o["name"] == "score")
        return answer["score"] if "score" in answer else answer["predictions"][0]["score"]

    without = scores(GOOD)
    assert scores({**GOOD, "ID": 7}) == without == scores({**GOOD, "ID": 2_000_000_000})


@pytest.mark.parametrize("value", [0, "seven", 1.5])
def test_its_contract_holds(application, value):
    status, problem = ask(application, PLAIN, {**GOOD, "ID": value})
    assert status in (400, 422)
    assert "ID" in json.dumps(problem)


def test_a_canary_deals_it_out_and_gives_nobody_to_the_champion(named):
    half = Assignment("try-v2", Allocation.of({"champion": 0.5, "candidate": 0.5}))
    traffic = Traffic("canary", "v1", "v2", "ID", half, {"champion": "v1", "candidate": "v2"}, "try")
    models = [Served(named.spec.name, version, named.scorer(), package="ab" * 32) for version in ("v1", "v2")]
    application = Application(models, traffic={named.spec.name: traffic})
    rows = [{**GOOD, "ID": number} for number in range(1, 21)]
    told = [answer["version"] for answer in ask(application, PLAIN, rows)[1]]
    assert told == [traffic.version_for(number)[0] for number in range(1, 21)]
    assert set(told) == {"v1", "v2"}
    assert ask(application, PLAIN, GOOD)[1]["version"] == "v1"


def test_the_log_keeps_it_as_its_sensitivity_says(named, tmp_path):
    served = Served(
        named.spec.name, "v1", named.scorer(), package="ab" * 32, log=LogPolicy("relaxed", "hash", True)
    )
    recorder = Recorder(tmp_path, Metrics())
    rows = [{**GOOD, "ID": number} for number in (7, 7, 8)] + [GOOD]
    scored = served.scorer.run(served.decoder.frame(served.decoder.decode(json.dumps(rows).encode()).rows))
    recorder.observe(served, [Ticket.now("a", 4)], scored)
    recorder.close()
    first, again, other, nobody = scan(tmp_path).collect()["input_ID"].to_list()
    assert first == again != other
    assert str(first) != "7"
    assert nobody is None
