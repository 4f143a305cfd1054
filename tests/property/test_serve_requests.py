"""No request breaks the server, and no company changes a row's answer."""

from __future__ import annotations

import asyncio
import json
import sys
from datetime import date
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parents[1] / "unit" / "serve"))

from serve_models import GOOD, acall, make_churn, make_credit, serve

FUZZ = settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
PREDICT = "/api/v1/predict/"


@pytest.fixture(scope="module")
def credit(tmp_path_factory):
    return make_credit(tmp_path_factory.mktemp("credit"))


@pytest.fixture(scope="module")
def churn(tmp_path_factory):
    return make_churn(tmp_path_factory.mktemp("churn"))


@pytest.fixture(scope="module")
def application(credit, churn):
    return serve(credit, churn)


@pytest.fixture(scope="module")
def scorers(credit, churn):
    return {e.spec.name: e.scorer() for e in (credit, churn)}


scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.sampled_from([2**63, -(2**63) - 1, 10**400, 1e308, -1e308, 5e-324, -0.0]),
    st.floats(),
    st.text(max_size=20),
    st.sampled_from(
        ["", "1", "2", "true", "NaN", "2015-01-01", "0001-01-01", "9999-12-31T23:59:59-14:00", "x" * 5000]
    ),
)
values = st.recursive(
    scalars,
    lambda v: st.lists(v, max_size=3) | st.dictionaries(st.text(max_size=5), v, max_size=3),
    max_leaves=5,
)
fields = st.sampled_from([*GOOD, "who", "as_of", "Limit", ""])
objects = st.builds(
    lambda base, changes, gone: {k: v for k, v in {**base, **changes}.items() if k not in gone},
    st.sampled_from([GOOD, {"who": 3}, {}]),
    st.dictionaries(fields, values, max_size=3),
    st.sets(fields, max_size=1),
)
documents = st.one_of(objects, st.lists(objects, max_size=4), values)
bodies = st.one_of(
    st.binary(max_size=60),
    documents.map(lambda d: json.dumps(d).encode()),
    documents.map(lambda d: json.dumps(d, ensure_ascii=False).encode("utf-8", "surrogatepass")),
    st.builds(lambda d, n: json.dumps(d).encode()[:n], documents, st.integers(0, 80)),
    st.builds(
        lambda d, at, junk: (b := json.dumps(d).encode())[:at] + junk + b[at + 1 :],
        documents,
        st.integers(0, 80),
        st.binary(max_size=3),
    ),
    st.sampled_from([b"[" * 5000, b'{"limit":' * 5000, b"[" * 900 + b"]" * 900, b"\xef\xbb\xbf{}", b"\x00"]),
)


@FUZZ
@given(bodies, st.sampled_from(["credit-test", "churn-test"]), st.sampled_from(["", "explain=true"]))
def test_any_body_gets_an_answer_or_a_reason(application, body, model, query):
    status, _, content = asyncio.run(acall(application, PREDICT + model, body, query=query))
    answer = json.loads(content)
    if status == 200:
        for one in answer if isinstance(answer, list) else [answer]:
            assert one["score"] is None or 0 <= one["score"] <= 1
            assert one["decision"] in ("positive", "negative")
    else:
        assert status in (400, 413, 422)
        assert answer["error"]["message"]
        assert answer["error"]["rule"]


@FUZZ
@given(
    st.text(max_size=20),
    st.sampled_from(["GET", "POST", "HEAD", "PUT", "OPTIONS"]),
    st.dictionaries(
        st.sampled_from(["content-type", "content-length", "x-request-id", "accept"]),
        st.text(st.characters(max_codepoint=255), max_size=20),
    ),
    st.text(st.characters(max_codepoint=127), max_size=20),
)
def test_any_path_header_and_query_gets_an_answer_or_a_reason(application, path, method, headers, query):
    for start in ("/", PREDICT, PREDICT + "credit-test"):
        status, _, content = asyncio.run(
            acall(application, start + path, b"{}", method=method, headers=headers, query=query)
        )
        assert status < 500
        if status >= 400 and method != "HEAD":
            assert json.loads(content)["error"]["message"]


@FUZZ
@given(st.lists(st.integers(0, 599), min_size=1, max_size=40), st.data())
def test_a_rows_answer_does_not_depend_on_its_company(credit, churn, scorers, rows, data):
    for example in (credit, churn):
        scorer = scorers[example.spec.name]
        frame = example.dataset[[r % example.dataset.height for r in rows]].select(scorer.signature.names)
        together = scorer.run(frame, explain=True)
        at = data.draw(st.integers(0, len(rows) - 1))
        alone = scorer.run(frame[at], explain=True)
        assert alone.score[0] == together.score[at]
        assert alone.reasons[0] == together.reasons[at]
        assert alone.decision[0] == together.decision[at]


@FUZZ
@given(
    st.fixed_dictionaries(
        {
            "limit": st.floats(1000, 1e12),
            "late": st.integers(-2, 9),
            "grade": st.sampled_from(["1", "2", "3"]),
            "city": st.none() | st.text(st.characters(codec="utf-8"), min_size=1, max_size=5),
            "bill": st.none() | st.floats(allow_nan=False, allow_infinity=False),
            "online": st.booleans(),
            "joined": st.dates(min_value=date(2000, 1, 1)),
        }
    )
)
def test_a_request_scores_as_the_row_in_a_frame(scorers, application, row):
    body = json.dumps({**row, "joined": row["joined"].isoformat()}).encode()
    status, _, content = asyncio.run(acall(application, PREDICT + "credit-test", body))
    answer = json.loads(content)
    assert status == 200, answer
    schema = {"city": pl.String, "bill": pl.Float64, "limit": pl.Float64}
    score = scorers["credit-test"].score(pl.DataFrame([row], schema_overrides=schema))["score"].item()
    assert answer["score"] == score or (answer["score"] is None and (score is None or np.isnan(score)))
