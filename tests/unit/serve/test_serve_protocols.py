from __future__ import annotations

import json
import re
import struct
import warnings

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from serve_models import GOOD, Example, call, make_other, serve

from charter.registry.io.packages import build, sign
from charter.registry.signing import Signer
from charter.serve.deployment import DeployedModel, Deployment
from charter.serve.io.loading import write_deployment
from charter.serve.io.server import start

INFER = "/v2/models/credit-test/infer"
TYPES = {
    "limit": "FP64",
    "late": "INT64",
    "grade": "INT64",
    "city": "BYTES",
    "bill": "FP64",
    "online": "BOOL",
}
DATATYPES = {**TYPES, "joined": "BYTES"}


def tensors(rows: list[dict], **changes) -> dict:
    inputs = [
        {"name": n, "datatype": DATATYPES[n], "shape": [len(rows)], "data": [r[n] for r in rows]}
        for n in GOOD
    ]
    return {"id": "q1", "inputs": inputs, **changes}


def native(application, rows) -> list[dict]:
    return json.loads(call(application, body=json.dumps(rows).encode())[2])


def test_tensors_as_json_answer_as_the_native_route(application):
    rows = [GOOD, {**GOOD, "late": 7, "bill": None}]
    status, headers, content = call(application, INFER, json.dumps(tensors(rows)).encode())
    answer = json.loads(content)
    assert (status, headers["content-type"]) == (200, "application/json")
    assert (answer["model_name"], answer["model_version"], answer["id"]) == ("credit-test", "v1", "q1")
    outputs = {o["name"]: o["data"] for o in answer["outputs"]}
    expected = native(application, rows)
    assert outputs["score"] == [a["score"] for a in expected]
    assert outputs["decision"] == [a["decision"] for a in expected]
    assert [json.loads(r)[0]["text"] for r in outputs["reasons"][1:]] == [expected[1]["reasons"][0]["text"]]
    wanted = tensors(rows, outputs=[{"name": "score"}])
    assert [
        o["name"] for o in json.loads(call(application, INFER, json.dumps(wanted).encode())[2])["outputs"]
    ] == ["score"]


def test_metadata_and_health(application):
    application.ready = True

    def get(path: str):
        status, _, content = call(application, path, method="GET")
        return status, json.loads(content)

    assert get("/v2")[1]["extensions"] == ["binary_tensor_data"]
    assert [get(f"/v2/health/{x}")[0] for x in ("live", "ready")] == [200, 200]
    status, about = get("/v2/models/credit-test")
    assert (status, about["versions"]) == (200, ["v1"])
    assert about["inputs"][0] == {"name": "limit", "datatype": "FP64", "shape": [-1]}
    assert get("/v2/models/credit-test/versions/v1/ready")[0] == 200
    assert get("/v2/models/credit-test/versions/v9/ready")[0] == 404
    assert "did you mean" in get("/v2/models/credit-tset")[1]["error"]
    assert get(INFER)[0] == 405
    assert call(application, "/ping", method="GET")[0] == 200
    assert call(application, "/version", method="GET")[2].decode().count(".") >= 1
    application.ready = False
    assert call(application, "/v2/health/ready", method="GET")[0] == 503
    assert call(application, "/ping", method="GET")[0] == 503


def faulty(**changes) -> bytes:
    document = tensors([GOOD])
    document["inputs"][0] = {**document["inputs"][0], **changes}
    return json.dumps(document).encode()


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        (b"{", 400, "no JSON"),
        (b"[" * 100_000, 400, "nested too deeply"),
        (b"3", 422, "send an object"),
        (b"{}", 422, "inputs must be a list"),
        (b'{"inputs": [1]}', 422, "must be an object"),
        (faulty(name=3), 422, "name is 3"),
        (faulty(datatype="FP99"), 422, "allowed: BYTES, BOOL"),
        (faulty(shape=[2]), 422, "has 1 values, its shape says 2"),
        (faulty(shape=[1, 2]), 422, r"must be \[rows\]"),
        (faulty(shape=[True]), 422, r"must be \[rows\]"),
        (faulty(data=3), 422, "data must be a list"),
        (faulty(data=[float("nan")]), 422, "finite"),
        (faulty(data=[500.0]), 422, r"limit is 500"),
        (faulty(name="late"), 422, "is there twice"),
        (faulty(name="limmit"), 422, "did you mean limit"),
        (faulty(parameters={"binary_data_size": 8}), 400, "not within the body"),
        (json.dumps(tensors([GOOD], outputs=[{"name": "scor"}])).encode(), 422, "allowed: prediction, score"),
        (json.dumps(tensors([GOOD], outputs=3)).encode(), 422, "outputs is 3"),
        (json.dumps(tensors([GOOD], id=3)).encode(), 422, "id is 3"),
        (json.dumps(tensors([GOOD], id="\x1b[31m")).encode(), 422, "up to 128 letters"),
        (json.dumps(tensors([GOOD], id="x" * 200)).encode(), 422, "up to 128 letters"),
    ],
)
def test_wrong_tensors_are_refused_in_the_protocols_form(application, body, status, said):
    found, _, content = call(application, INFER, body)
    error = json.loads(content)["error"]
    assert found == status
    assert isinstance(error, str)
    assert re.search(said, error), error


@pytest.mark.parametrize("tail", [b"\x00" * 7, struct.pack("<I", 99) + b"x", struct.pack("<I", 1) + b"\xff"])
def test_wrong_binary_tensors_are_refused(application, tail):
    document = tensors([GOOD])
    tensor = document["inputs"][3]
    del tensor["data"]
    tensor["parameters"] = {"binary_data_size": len(tail)}
    head = json.dumps(document).encode()
    for length, extra in ((str(len(head)), b""), (str(len(head)), b"more"), ("x", b""), ("999999", b"")):
        headers = {"inference-header-content-length": length}
        assert call(application, INFER, head + tail + extra, headers=headers)[0] == 400


def test_several_classes_are_a_matrix(tmp_path):
    application = serve(make_other(tmp_path, "multiclass"))
    rows = [{k: v for k, v in GOOD.items() if k not in ("grade", "joined")}] * 2
    inputs = [
        {"name": n, "datatype": DATATYPES[n], "shape": [2, 1], "data": [[r[n]] for r in rows]}
        for n in rows[0]
    ]
    status, _, content = call(
        application, "/v2/models/multiclass-test/infer", json.dumps({"inputs": inputs}).encode()
    )
    assert status == 200, content
    scores = next(o for o in json.loads(content)["outputs"] if o["name"] == "scores")
    assert scores["shape"] == [2, 3]
    assert sum(scores["data"][:3]) == pytest.approx(1)


@pytest.mark.parametrize(
    "document",
    [
        {"dataframe_split": {"columns": list(GOOD), "data": [list(GOOD.values())]}},
        {
            "dataframe_split": {"columns": list(GOOD), "index": [0], "data": [list(GOOD.values())]},
            "params": {},
        },
        {"dataframe_records": [GOOD]},
        {"instances": [GOOD]},
        {"inputs": [GOOD]},
        {"inputs": {k: [v] for k, v in GOOD.items()}},
        {"inputs": {k: [[v]] for k, v in GOOD.items()}},
    ],
)
def test_invocations_take_what_mlflow_takes(credit, document):
    application = serve(credit)
    status, _, content = call(application, "/invocations", json.dumps(document).encode())
    assert status == 200, content
    [answer] = json.loads(content)["predictions"]
    assert answer["score"] == native(application, [GOOD])[0]["score"]


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        (b"{", 400, "no JSON"),
        (b'{"instances": [{"limit": NaN}]}', 422, "limit is null"),
        (b'{"instances": [{"limit": -Infinity}]}', 400, "-Infinity"),
        (b"{}", 422, "exactly one of dataframe_split"),
        (b'{"instances": [], "inputs": []}', 422, "exactly one of"),
        (b'{"instances": [], "parms": 1}', 422, "'parms'"),
        (b'{"instances": [], "params": {"a": 1}}', 422, "'params'"),
        (b'{"instances": []}', 422, "empty"),
        (b'{"instances": 3}', 422, "list of objects"),
        (b'{"inputs": [[1, 2]]}', 422, "without names"),
        (b'{"inputs": {"limit": [1, 2], "late": [1]}}', 422, "differ in length"),
        (b'{"dataframe_split": 3}', 422, "must hold columns"),
        (b'{"dataframe_split": {"columns": ["a", "a"], "data": []}}', 422, "names a column twice"),
        (b'{"dataframe_split": {"columns": ["a"], "data": [[1, 2]]}}', 422, r"data[0] has not 1 values"),
        (b'{"instances": [{"limit": 3}]}', 422, "limit is 3"),
    ],
)
def test_wrong_invocations_are_refused_in_mlflows_form(credit, body, status, said):
    found, _, content = call(serve(credit), "/invocations", body)
    document = json.loads(content)
    assert found == status
    assert document["error_code"] == "BAD_REQUEST"
    assert said in document["message"]


def test_what_mlflow_writes_for_a_missing_value_is_missing(credit):
    application = serve(credit)
    split = {"columns": list(GOOD), "data": [list({**GOOD, "bill": float("nan")}.values())]}
    status, _, content = call(application, "/invocations", json.dumps({"dataframe_split": split}).encode())
    assert status == 200, content
    [answer] = json.loads(content)["predictions"]
    assert answer["score"] == native(application, [{**GOOD, "bill": None}])[0]["score"]


def test_a_path_that_is_not_there_is_refused_in_the_form_of_its_protocol(application):
    for path in ("/v2/models/credit-test/stats", "/v2/repository/index", "/v2/nothing"):
        status, _, content = call(application, path, method="GET")
        assert status == 404
        assert f"there is nothing at '{path}'" in json.loads(content)["error"]
    own = json.loads(call(application, "/api/nothing", method="GET")[2])
    assert own["error"]["rule"] == "path"
    assert (
        "/v2/models/{model}/infer"
        in json.loads(call(application, "/zzz", method="GET")[2])["error"]["message"]
    )


def test_invocations_need_to_know_the_model(application):
    assert call(application, "/invocations", b"{}")[0] == 404


@pytest.fixture(scope="module")
def url(credit: Example, tmp_path_factory):
    base = tmp_path_factory.mktemp("real")
    signer = Signer("ann", Ed25519PrivateKey.generate())
    build(credit.folder, {}, base / "p", name="credit-test", digests={}, code_version="0", environment={})
    sign(base / "p", signer)
    model = DeployedModel("credit-test", "v1", base / "p", {}, {"ann": signer.public_key})
    write_deployment(base / "d.json", Deployment((model,)))
    running = start(base / "d.json", log=base / "server.log")
    yield running.url
    running.stop()


@pytest.mark.filterwarnings("ignore")
def test_tritons_own_client_works_unmodified(url, credit):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        http = pytest.importorskip("tritonclient.http", reason="tritonclient[http] is not installed")
    rows = credit.dataset.select(*GOOD).drop_nulls().head(20)
    client = http.InferenceServerClient(url.removeprefix("http://"))
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("credit-test", "v1")
    assert client.get_server_metadata()["name"] == "charter"
    names = {i["name"]: i["datatype"] for i in client.get_model_metadata("credit-test")["inputs"]}
    expected = credit.scorer().score(rows)
    for binary in (True, False):
        inputs = []
        for name, datatype in names.items():
            if datatype == "BYTES":
                values = np.array([str(v) for v in rows[name].to_list()], dtype=np.object_)
            else:
                values = rows[name].to_numpy()
            tensor = http.InferInput(name, [rows.height], datatype)
            tensor.set_data_from_numpy(values, binary_data=binary)
            inputs.append(tensor)
        every = client.infer("credit-test", inputs)
        chosen = client.infer(
            "credit-test",
            inputs,
            outputs=[http.InferRequestedOutput("score", binary_data=binary)],
            request_id="7",
        )
        assert every.as_numpy("score").tolist() == expected["score"].to_list()
        assert [d.decode() for d in every.as_numpy("decision")] == expected["decision"].to_list()
        assert chosen.as_numpy("score").tolist() == expected["score"].to_list()
        assert chosen.get_response()["id"] == "7"
    with pytest.raises(http.InferenceServerException, match="is missing"):
        client.infer("credit-test", inputs[:2])
    with pytest.raises(http.InferenceServerException) as failure:
        client.get_inference_statistics("credit-test")
    assert "there is nothing at '/v2/models/credit-test/stats'" in str(failure.value)
    client.close()


@pytest.mark.filterwarnings("ignore")
def test_mlflows_own_client_works_unmodified(url, credit):
    rows = credit.dataset.select(*GOOD).drop_nulls().head(5)
    host, port = url.removeprefix("http://").split(":")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        scoring = pytest.importorskip(
            "mlflow.pyfunc.scoring_server.client", reason="needs mlflow with pyfunc"
        )
    client = scoring.ScoringServerClient(host, int(port))
    client.wait_server_ready(timeout=10)
    assert client.get_version().strip()
    data = [{k: v.isoformat() if k == "joined" else v for k, v in row.items()} for row in rows.to_dicts()]
    answer = client.invoke(data)
    found = [p["score"] for p in json.loads(answer.to_json())["predictions"]]
    assert found == credit.scorer().score(rows)["score"].to_list()
    frame = pytest.importorskip("pandas").DataFrame(data).assign(bill=float("nan"))
    found = [p["score"] for p in json.loads(client.invoke(frame).to_json())["predictions"]]
    assert found == credit.scorer().score(rows.with_columns(bill=None))["score"].to_list()
