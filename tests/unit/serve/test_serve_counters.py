from __future__ import annotations

import json
import stat
from dataclasses import replace
from datetime import UTC, datetime

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from log_models import logged, post, reference, requests
from serve_models import GOOD, call

from charter.data.profile import profile
from charter.serve.counters import Counters, Reference, combine, count, nothing
from charter.serve.io.counters import CounterThread, read_counters
from charter.serve.log_reader import scan
from charter.serve.observe import Ticket
from charter.serve.policy import LogPolicy
from charter.serve.prediction_log import Batch


def close(a: Counters, b: Counters) -> bool:
    """Equal, but for the last bits of means and deviations."""

    def same(x, y) -> bool:
        if isinstance(x, float) and isinstance(y, float):
            return x == pytest.approx(y, rel=1e-9, nan_ok=True)
        if isinstance(x, dict) and isinstance(y, dict):
            return x.keys() == y.keys() and all(same(x[k], y[k]) for k in x)
        if isinstance(x, list) and isinstance(y, list):
            return len(x) == len(y) and all(map(same, x, y))
        return bool(x == y)

    return same(a.to_json(), b.to_json())


def test_counters_of_two_workers_are_the_profile_of_what_is_in_the_log(credit, tmp_path):
    asked = requests(credit, 300)
    for part in (asked[:120], asked[120:]):
        application, recorder, _ = logged(credit, tmp_path, LogPolicy("durable"))
        assert {s for s, _ in post(application, [*part[:40], part[40:]])} == {200}
    known = reference(credit)
    rows = scan(tmp_path).collect()
    scorer = credit.scorer()
    inputs = rows.select(pl.col(f"input_{n}").alias(n) for n in scorer.signature.names)
    features = scorer.features(inputs)
    restricted = known.restricted(features.columns)
    names = list(restricted.features.columns)
    found = recorder.profile("credit-test", "v1")
    assert found is not None
    assert found.rows == rows.height == 300
    assert found.decisions == dict(rows["decision"].value_counts().iter_rows())
    expected = count(
        features.select(names),
        rows["score"],
        rows["decision"].to_list(),
        rows["fallback"].to_list(),
        rows["warnings"].to_list(),
        restricted,
    )
    assert close(found, expected)
    again = profile(features.select(names), restricted.features)
    assert found.features.columns["late"].counts == again.columns["late"].counts
    assert found.features.columns["city"].values == again.columns["city"].values
    assert len(list((tmp_path / "profiles").rglob("*.json"))) == 2


def test_what_is_out_of_range_missing_or_unseen_is_counted_by_feature(credit, tmp_path):
    application, recorder, metrics = logged(credit, tmp_path)
    strange = {**GOOD, "limit": 5e6, "bill": None, "city": "Atlantis"}
    post(application, [strange, strange, GOOD])
    found = recorder.profile("credit-test", "v1")
    assert found is not None
    assert found.warned == 2
    assert {k: v for k, v in found.outside.items() if v} == {"limit": 2}
    assert {k: v for k, v in found.unseen.items() if v} == {"city": 2}
    assert found.features.columns["bill"].missing == 2
    text = metrics.text().decode()
    for line in (
        'charter_feature_outside_total{feature="limit",model="credit-test",version="v1"} 2.0',
        'charter_feature_unseen_total{feature="city",model="credit-test",version="v1"} 2.0',
        'charter_feature_missing_total{feature="bill",model="credit-test",version="v1"} 2.0',
        'charter_profiled_rows_total{model="credit-test",version="v1"} 3.0',
    ):
        assert line in text


def test_rows_that_a_fallback_answers_are_not_what_the_model_saw(credit, tmp_path):
    application, recorder, _ = logged(credit, tmp_path)
    scorer = application.models[0].scorer
    whole = scorer._model.predict
    post(application, [GOOD])
    scorer._model.predict = lambda X: 1 / 0
    try:
        post(application, [{**GOOD, "late": 9}, GOOD])
    finally:
        scorer._model.predict = whole
    found = recorder.profile("credit-test", "v1")
    assert found is not None
    assert (found.rows, found.fallbacks) == (3, 2)
    assert found.features.columns["late"].count == found.score.columns["score"].count == 1


def test_the_profile_route_answers_what_is_counted(credit, tmp_path):
    application, _, _ = logged(credit, tmp_path)
    post(application, requests(credit, 5))
    get = "/api/v1/models/credit-test/profile"
    status, _, body = call(application, get, method="GET")
    answer = json.loads(body)
    assert (status, answer["model"], answer["version"], answer["profile"]["rows"]) == (
        200,
        "credit-test",
        "v1",
        5,
    )
    today = datetime.now(UTC).date().isoformat()
    assert json.loads(call(application, get, method="GET", query=f"since={today}")[2])["profile"] is not None
    for query in ("until=2001-01-01", "version=v9"):
        assert json.loads(call(application, get, method="GET", query=query)[2])["profile"] is None
    status, _, body = call(application, get, method="GET", query="since=yesterday")
    assert (status, json.loads(body)["error"]["field"]) == (422, "since")
    assert call(application, "/api/v1/models/other/profile", method="GET")[0] == 404
    assert get in json.loads(call(application, "/openapi.json", method="GET")[2])["paths"]


def test_a_server_without_a_log_keeps_no_counters(application):
    status, _, body = call(application, "/api/v1/models/credit-test/profile", method="GET")
    assert (status, json.loads(body)["error"]["rule"]) == (404, "model")


class Meter:
    def profiled(self, model, version, found):
        pass


def batch(scored, at: str) -> Batch:
    moment = int(datetime.fromisoformat(at).replace(tzinfo=UTC).timestamp() * 1e6)
    return Batch([Ticket.now("r", len(scored))], scored, moment, 0.0)


def test_days_are_counted_by_themselves_and_kept_over_restarts(credit, tmp_path):
    scorer, known = credit.scorer(), reference(credit)
    scored = scorer.run(credit.dataset.select(scorer.signature.names).head(10))
    days = ("2026-03-01T10:00", "2026-03-01T23:59:59", "2026-03-02T00:00", "2026-03-01T09:00")
    for at in days:  # the clock is set back at the end
        counters = CounterThread(tmp_path, Meter())
        counters.put(("m", "v1"), known, [batch(scored, at)])
        counters.flush()
        counters.flush()
    one = CounterThread(tmp_path, Meter())
    for at in days:
        one.put(("m", "v1"), known, [batch(scored, at)])
        one.flush()
    second = datetime(2026, 3, 2, tzinfo=UTC).date()
    for since, rows in ((None, 80), (second, 20)):
        found = read_counters(tmp_path, "m", "v1", since=since)
        assert found is not None
        assert found.rows == rows
    assert read_counters(tmp_path, "m", "v2") is None
    for path in tmp_path.rglob("*.json"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_version_whose_data_is_odd_stops_neither_answers_nor_the_counting_of_others(credit, tmp_path):
    scorer, known = credit.scorer(), reference(credit)
    scored = scorer.run(credit.dataset.select(scorer.signature.names).head(10))
    assert scored.features is not None
    fewer = replace(scored, features=scored.features[:, 1:])
    counters, at = CounterThread(tmp_path, Meter()), "2026-03-01T10:00"
    counters.put(("m", "odd"), known, [batch(scored, at), batch(fewer, at)])
    counters.put(("m", "later"), known, [batch(scored, at)])
    counters.put(("m", "later"), known, [batch(fewer, at)])
    counters.put(("m", "good"), known, [batch(scored, at)])
    counters.flush()
    found = {version: read_counters(tmp_path, "m", version) for version in ("odd", "later", "good")}
    assert found["good"] is not None
    assert found["good"].rows == 10
    assert found["odd"] is found["later"] is None


def test_counters_read_back(credit, tmp_path):
    known = reference(credit)
    empty = nothing(known)
    assert Counters.from_json(json.loads(json.dumps(empty.to_json()))) == empty
    assert (
        Reference.from_json({"features": known.features.to_json(), "score": known.score.to_json()}) == known
    )
    with pytest.raises(ValueError, match="schema_version 7"):
        Counters.from_json({**empty.to_json(), "schema_version": 7})


values = st.one_of(st.none(), st.floats(-1e6, 1e6, width=32), st.sampled_from([float("nan"), float("inf")]))
table = st.lists(st.tuples(values, st.sampled_from(["a", "b", "z", None]), st.booleans()), max_size=30)
KNOWN = pl.DataFrame({"x": [1.0, 2.0, 5.0, 100.0], "s": ["a", "b", "a", None]})
REFERENCE = Reference(profile(KNOWN), profile(pl.DataFrame({"score": [0.1, 0.2, 0.9]})))


def counted(rows) -> Counters:
    frame = pl.DataFrame(
        {"x": [r[0] for r in rows], "s": [r[1] for r in rows]}, schema={"x": pl.Float64, "s": pl.String}
    )
    n = len(rows)
    return count(
        frame,
        pl.Series("score", [0.5] * n, dtype=pl.Float64),
        ["positive" if r[2] else None for r in rows],
        [False] * n,
        [["w"] if r[2] else [] for r in rows],
        REFERENCE,
    )


@settings(max_examples=60, deadline=None)
@given(table, table)
def test_counting_in_parts_is_counting_at_once(a, b):
    assert close(combine(counted(a), counted(b)), counted(a + b))
    assert close(combine(nothing(REFERENCE), counted(a)), counted(a))
