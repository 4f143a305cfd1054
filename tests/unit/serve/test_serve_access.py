from __future__ import annotations

import datetime as dt
import json
import ssl
import time
from pathlib import Path

import httpx
import jwt
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from serve_models import GOOD, call

from charter.core.errors import UsageError
from charter.registry.io.packages import build, sign
from charter.registry.signing import Signer
from charter.serve.access import Gate, keys_from_text, keys_to_text, new_key, scope_for
from charter.serve.app import Application
from charter.serve.deployment import DeployedModel, Deployment
from charter.serve.io.access import AccessPolicy, Porter, read_keys
from charter.serve.io.loading import write_deployment
from charter.serve.io.server import check_access, main, start
from charter.serve.problem import Refused
from charter.serve.tokens import JwtTokens

BODY = json.dumps(GOOD).encode()


def key(name: str = "core", *scopes: str, rate: float | None = None):
    return new_key(name, scopes or ("predict",), created_at="2026-01-01T00:00:00Z", rate=rate)


def guard(application: Application, gate: Gate) -> Application:
    application.gate = gate
    return application


def test_a_key_is_kept_as_a_digest_and_reads_back():
    made, token = key("core", "predict", "metrics", rate=5)
    text = keys_to_text([made])
    assert token.split("_", 2)[2] not in text
    assert keys_from_text(text) == (made,)
    assert token.startswith(f"ck_{made.key_id}_")
    assert token != key()[1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((" ", ["predict"], None), "needs a name"),
        (("a", [], None), "has no scope"),
        (("a", ["predikt"], None), "did you mean predict"),
        (("a", ["predict"], 0.0), "above 0"),
        (("a", ["predict"], float("nan")), "above 0"),
    ],
)
def test_wrong_keys_are_refused(arguments, message):
    name, scopes, rate = arguments
    with pytest.raises(UsageError, match=message):
        new_key(name, scopes, created_at="x", rate=rate)


@pytest.mark.parametrize(
    "text", ["{", "[]", '{"schema_version": 2, "keys": []}', '{"schema_version": 1, "keys": [1]}']
)
def test_wrong_key_files_are_refused(text):
    with pytest.raises(UsageError):
        keys_from_text(text)


def test_a_request_needs_a_key_with_the_scope(application):
    made, token = key()
    metrics, metrics_token = key("prometheus", "metrics")
    admin, admin_token = key("root", "admin")
    guard(application, Gate([made, metrics, admin]))
    status, headers, body = call(application, body=BODY)
    error = json.loads(body)["error"]
    assert (status, headers["www-authenticate"], error["rule"]) == (401, "Bearer", "key")
    assert "charter key create" in error["remedy"]
    for headers in (
        {"x-api-key": token},
        {"authorization": f"Bearer {token}"},
        {"authorization": f"bearer  {token}"},
    ):
        assert call(application, body=BODY, headers=headers)[0] == 200
    wrong = [token[:-1], token + "x", token.replace("ck_", "ck"), f"ck_{made.key_id}_", "ck", "Basic x", "é"]
    for bad in wrong:
        assert call(application, body=BODY, headers={"x-api-key": bad})[0] == 401
        assert call(application, body=BODY, headers={"authorization": bad})[0] == 401
    assert call(application, body=BODY, headers={"x-api-key": metrics_token})[0] == 403
    for path, expected in (
        ("/metrics", 403),
        ("/openapi.json", 200),
        ("/api/v1/models", 200),
        ("/docs", 200),
    ):
        assert call(application, path, method="GET", headers={"x-api-key": token})[0] == expected
        assert call(application, path, method="GET", headers={"x-api-key": admin_token})[0] == 200
        assert call(application, path, method="GET")[0] == 401
    assert call(application, "/metrics", method="GET", headers={"x-api-key": metrics_token})[0] == 200
    assert call(application, "/healthz", method="GET")[0] == 200
    assert call(application, "/nowhere", method="GET")[0] == 401
    assert scope_for("/v2/models/m/versions/v1/ready") is None


def test_a_caller_gets_what_its_rate_allows():
    now = [100.0]
    slow, slow_token = key("slow", rate=4)
    other, other_token = key("other")
    gate = Gate([slow, other], rate=100, share=0.5, clock=lambda: now[0])

    said: list[tuple[int, str]] = []

    def tries(token: str, count: int) -> int:
        let_in = 0
        for _ in range(count):
            try:
                gate.admit({"headers": [(b"x-api-key", token.encode())]}, "predict")
                let_in += 1
            except Refused as error:
                said.append((error.status, error.message))
        return let_in

    assert tries(slow_token, 10) == 2
    now[0] += 0.5
    assert tries(slow_token, 10) == 1
    now[0] += 100
    assert tries(slow_token, 10) == 2
    assert tries(other_token, 60) == 50
    assert {status for status, _ in said} == {429}
    assert "key slow asks more than 4 times a second" in said[0][1]


@pytest.fixture(scope="module")
def provider():
    private = ec.generate_private_key(ec.SECP256R1())
    public = json.loads(jwt.algorithms.ECAlgorithm.to_jwk(private.public_key()))
    jwks = json.dumps({"keys": [{**public, "kid": "k1", "alg": "ES256", "use": "sig"}]})
    return private, jwks


def token(private, *, kid: str = "k1", algorithm: str = "ES256", **claims) -> str:
    claims = {
        "sub": "svc",
        "exp": time.time() + 600,
        "iss": "https://id",
        "aud": "charter",
        "scope": "openid predict",
        **claims,
    }
    return jwt.encode(
        {k: v for k, v in claims.items() if v is not None}, private, algorithm=algorithm, headers={"kid": kid}
    )


def test_a_token_of_the_identity_provider_is_believed(application, provider):
    private, jwks = provider
    guard(application, Gate(tokens=JwtTokens(jwks, issuer="https://id", audience="charter")))

    def ask(given: str) -> int:
        return call(application, body=BODY, headers={"authorization": f"Bearer {given}"})[0]

    good = token(private)
    assert [ask(good), ask(good)] == [200, 200]
    assert ask(token(private, scope=None, roles=["admin", 3])) == 200
    assert ask(token(private, scope="openid")) == 403
    stranger = ec.generate_private_key(ec.SECP256R1())
    refused = [
        token(private, exp=time.time() - 60), token(private, exp=None), token(private, iss="https://evil"),
        token(private, aud="other"), token(private, aud=None), token(private, kid="k2"), token(stranger),
        token("s" * 64, algorithm="HS256"), good[:-4], "a.b.c", "x",
    ]  # fmt: skip
    none = jwt.encode({"sub": "x", "exp": time.time() + 600}, None, algorithm="none")
    assert [ask(t) for t in [*refused, none]] == [401] * (len(refused) + 1)


@pytest.mark.parametrize(
    "text", ["{", "{}", '{"keys": []}', '{"keys": [{"kty": "oct", "k": "c2VjcmV0"}]}', "[]"]
)
def test_a_jwks_without_public_keys_is_refused(text):
    with pytest.raises(UsageError, match="JWKS"):
        JwtTokens(text)


def test_the_gate_follows_its_files(tmp_path):
    path = tmp_path / "keys.json"
    made, given = key()
    porter = Porter(AccessPolicy(keys=path))
    asked = {"headers": [(b"x-api-key", given.encode())]}
    with pytest.raises(Exception, match="not one of this server's"):
        porter.gate.admit(asked, "predict")
    path.write_text(keys_to_text([made]))
    porter.look()
    assert porter.gate.admit(asked, "predict").name == "key core"
    path.write_text("{")
    porter.look()
    assert porter.gate.admit(asked, "predict").name == "key core"
    path.unlink()
    porter.look()
    with pytest.raises(Exception, match="not one of this server's"):
        porter.gate.admit(asked, "predict")


def test_a_server_open_to_others_asks_for_keys(tmp_path):
    with pytest.raises(UsageError, match="nobody would be asked for a key"):
        check_access("0.0.0.0", None, insecure=False)
    check_access("0.0.0.0", None, insecure=True)
    check_access("::1", None, insecure=False)
    with pytest.raises(UsageError, match="there is none"):
        check_access("0.0.0.0", AccessPolicy(keys=tmp_path / "none.json"), insecure=False)
    with pytest.raises(UsageError, match=r"none\.jwks"):
        check_access("0.0.0.0", AccessPolicy(jwks=tmp_path / "none.jwks"), insecure=False)
    assert read_keys(tmp_path / "none.json") == ()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--tls-cert", "c.pem"], "belong together"),
        (["--tls-cert", "c.pem", "--tls-key", "k.pem"], "there is no such file"),
        (["--issuer", "x"], "need --jwks"),
        (["--rate", "3"], "told apart"),
        (["--host", "0.0.0.0"], "open to other machines"),
    ],
)
def test_options_that_cannot_work_are_told(options, message, capsys):
    assert main(["d.json", *options]) == 2
    assert message in capsys.readouterr().err


def certificate(folder: Path) -> tuple[Path, Path]:
    private = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = dt.datetime.now(dt.UTC)
    made = (
        x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(private.public_key())
        .serial_number(1).not_valid_before(now - dt.timedelta(days=1)).not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(private, hashes.SHA256())
    )  # fmt: skip
    pem = serialization.Encoding.PEM
    (folder / "c.pem").write_bytes(made.public_bytes(pem))
    (folder / "k.pem").write_bytes(
        private.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return folder / "c.pem", folder / "k.pem"


def test_files_that_are_no_certificate_are_refused_before_a_worker_starts(tmp_path, capsys):
    (tmp_path / "c.pem").write_text("no certificate")
    pair = ["--tls-cert", str(tmp_path / "c.pem"), "--tls-key", str(tmp_path / "c.pem")]
    assert main([str(tmp_path / "d.json"), *pair]) == 2
    assert "no certificate and its key" in capsys.readouterr().err


def test_tls_and_keys_end_to_end(credit, tmp_path):
    signer = Signer("ann", Ed25519PrivateKey.generate())
    build(credit.folder, {}, tmp_path / "p", name="credit-test", digests={}, code_version="0", environment={})
    sign(tmp_path / "p", signer)
    model = DeployedModel("credit-test", "v1", tmp_path / "p", {}, {"ann": signer.public_key})
    write_deployment(tmp_path / "d.json", Deployment((model,)))
    made, given = key()
    (tmp_path / "keys.json").write_text(keys_to_text([made]))
    cert, private = certificate(tmp_path)
    options = ["--tls-cert", str(cert), "--tls-key", str(private), "--keys", str(tmp_path / "keys.json")]
    running = start(tmp_path / "d.json", log=tmp_path / "server.log", options=options)
    try:
        trust = ssl.create_default_context(cafile=str(cert))
        url = running.url.replace("127.0.0.1", "localhost")
        assert url.startswith("https://")
        with httpx.Client(base_url=url, verify=trust) as client:
            assert client.post("/api/v1/predict/credit-test", json=GOOD).status_code == 401
            client.headers["x-api-key"] = given
            assert client.post("/api/v1/predict/credit-test", json=GOOD).status_code == 200
            (tmp_path / "keys.json").write_text(keys_to_text([]))
            limit = time.monotonic() + 10
            while client.post("/api/v1/predict/credit-test", json=GOOD).status_code != 401:
                assert time.monotonic() < limit
                time.sleep(0.05)
    finally:
        running.stop()
