from __future__ import annotations

import asyncio
import errno
import json
import os
import stat
from datetime import UTC, date, datetime, timedelta

import polars as pl
import pytest
from log_models import logged, post, requests
from serve_models import GOOD, NOW, acall, call

from charter.core.errors import UsageError
from charter.serve.arrow import decode, encode, schema_of, walk
from charter.serve.io.log_writer import LogWriter
from charter.serve.io.secret import load_secret
from charter.serve.io.segments import SegmentWriter, is_open, segments
from charter.serve.log_reader import scan
from charter.serve.policy import LogPolicy
from charter.serve.prediction_log import pseudonyms

FRAME = pl.DataFrame(
    {"time": [datetime.fromisoformat("2026-03-01")] * 3, "x": [1, None, 3], "s": ["a", "b", None]}
)


# ------------------------------------------------------------------------------------------------ messages
def test_a_stream_is_read_by_any_arrow_reader(tmp_path):
    head, batch = encode(FRAME)
    (tmp_path / "s.arrows").write_bytes(head + batch + batch)
    assert pl.read_ipc_stream(tmp_path / "s.arrows").equals(pl.concat([FRAME, FRAME]))
    assert schema_of(head + batch) == FRAME.schema
    assert schema_of(head[:-1]) is None


def test_wherever_a_stream_is_cut_the_whole_batches_before_count():
    head, batch = encode(FRAME)
    stream = head + batch + batch
    for length in range(len(stream) + 1):
        found = walk(stream[:length])
        whole = (length - len(head)) // len(batch) if length >= len(head) else 0
        assert found.batches == whole
        assert found.good_bytes + found.torn_bytes == length
        assert decode(stream[:length], found).height == 3 * whole


@pytest.mark.parametrize("byte", [0, 0xFF])
def test_a_damaged_batch_is_left_out_and_those_behind_it_are_found(byte):
    head, batch = encode(FRAME)
    for at in range(0, len(batch), 7):
        damaged = bytearray(batch)
        damaged[at] ^= byte or 0x55
        data = head + batch + bytes(damaged) + batch
        found = walk(data)
        assert (found.batches, found.torn_bytes) == (2, len(batch))
        assert decode(data, found).equals(pl.concat([FRAME, FRAME]))


def test_zeros_and_noise_are_no_batches():
    head, batch = encode(FRAME)
    for noise in (bytes(4096), b"\xff" * 4096, batch[8:], b"\xff\xff\xff\xff" + bytes(60)):
        assert walk(head + noise).batches == 0
        assert walk(head + noise + bytes(-len(noise) % 8) + batch).batches == 1
        assert walk(noise).batches <= 0
    assert walk(b"").spans == ()


# ----------------------------------------------------------------------------------------------- what is logged
@pytest.mark.parametrize("mode", ["durable", "relaxed"])
def test_each_answer_is_in_the_log_with_what_was_asked(credit, tmp_path, mode):
    application, _, metrics = logged(credit, tmp_path, LogPolicy(mode))
    bodies = [*requests(credit, 40), requests(credit, 300), [GOOD, GOOD]]
    answers = post(application, bodies)
    assert {status for status, _ in answers} == {200}
    rows = scan(tmp_path).collect()
    assert rows.height == 40 + 300 + 2
    found = {(r["id"], r["row"]): r for r in rows.iter_rows(named=True)}
    for body, (_, answer) in zip(bodies, answers, strict=True):
        many = body if isinstance(body, list) else [body]
        for i, (asked, told) in enumerate(
            zip(many, answer if isinstance(body, list) else [answer], strict=True)
        ):
            identifier = told["id"].rpartition("-")[0] if isinstance(body, list) else told["id"]
            row = found[identifier, i]
            assert (row["score"], row["decision"], row["band"]) == (
                told["score"],
                told["decision"],
                told["band"],
            )
            assert (row["model"], row["version"], row["package"]) == ("credit-test", "v1", "ab" * 32)
            assert (row["route"], row["fallback"], row["warnings"]) == ("predict", False, told["warnings"])
            assert row["input_limit"] == asked["limit"]
            assert row["input_joined"] == date.fromisoformat(asked["joined"])
            assert row["latency_us"] > 0
            assert abs(row["time"] - datetime.now(UTC).replace(tzinfo=None)) < timedelta(minutes=1)
    assert b'charter_log_rows_total{model="credit-test"} 342.0' in metrics.text()


def test_the_inputs_in_the_log_are_typed_and_score_the_same_again(credit, tmp_path):
    application, _, _ = logged(credit, tmp_path)
    post(application, requests(credit, 50))
    rows = scan(tmp_path).collect()
    signature = credit.scorer().signature
    inputs = rows.select(pl.col(f"input_{n}").alias(n) for n in signature.names)
    assert inputs.schema["bill"] == pl.Float64
    assert inputs.schema["joined"] == pl.Date
    assert credit.scorer().score(inputs)["score"].equals(rows["score"])


def test_a_fallback_and_its_warning_are_logged(credit, tmp_path):
    application, _, _ = logged(credit, tmp_path)
    scorer = application.models[0].scorer
    whole = scorer._model.predict
    scorer._model.predict = lambda X: 1 / 0
    try:
        ((status, answer),) = post(application, [{**GOOD, "late": 9}])
    finally:
        scorer._model.predict = whole
    assert (status, answer["score"], answer["decision"]) == (200, None, "positive")
    (row,) = scan(tmp_path).collect().to_dicts()
    assert (row["fallback"], row["score"], row["decision"]) == (True, None, "positive")
    assert row["warnings"] == answer["warnings"]


def test_refused_requests_are_not_in_the_log(credit, tmp_path):
    application, _, _ = logged(credit, tmp_path)
    assert [s for s, _ in post(application, [{"limit": 3}, GOOD])] == [422, 200]
    assert scan(tmp_path).collect().height == 1


def test_nothing_is_logged_when_the_specification_says_so(credit, tmp_path):
    application, recorder, _ = logged(credit, tmp_path, LogPolicy("none"))
    assert post(application, [GOOD])[0][0] == 200
    assert scan(tmp_path).collect().is_empty()
    counted = recorder.profile("credit-test", "v1")
    assert counted is not None
    assert counted.rows == 1


def test_inputs_can_be_left_out(credit, tmp_path):
    application, _, _ = logged(credit, tmp_path, LogPolicy("durable", inputs=False))
    post(application, [GOOD])
    rows = scan(tmp_path).collect()
    assert rows.height == 1
    assert not [n for n in rows.columns if n.startswith("input_")]


def test_relaxed_rows_are_with_the_operating_system_within_a_tenth_of_a_second(credit, tmp_path):
    application, _, _ = logged(credit, tmp_path, LogPolicy("relaxed"))

    async def go() -> int:
        for _ in range(2):  # the second comes while the writer is at work, the first while it rests
            await acall(application, body=json.dumps(GOOD).encode())
        await asyncio.sleep(0.1)
        return scan(tmp_path).collect().height

    # A busy machine may be late; it must not be late every time.
    assert any(asyncio.run(go()) >= 2 * (i + 1) for i in range(20))


# ---------------------------------------------------------------------------------------------- personal fields
@pytest.mark.parametrize("personal", ["drop", "hash", "keep"])
def test_personal_inputs_are_dropped_hashed_or_kept(churn, tmp_path, personal):
    application, _, _ = logged(churn, tmp_path, LogPolicy("durable", personal))
    bodies = [{"who": 3}, {"who": 3, "as_of": "2025-08-01T00:00:00"}, {"who": 4}]
    answers = post(application, bodies, "/api/v1/predict/churn-test")
    assert {s for s, _ in answers} == {200}
    rows = scan(tmp_path).collect().sort("as_of", "id")
    assert set(rows["as_of"].to_list()) == {NOW.replace(tzinfo=None), datetime.fromisoformat("2025-08-01")}
    people = {a["id"]: b["who"] for b, (_, a) in zip(bodies, answers, strict=True)}
    asked = [people[i] for i in rows["id"].to_list()]
    if personal == "drop":
        assert "input_who" not in rows.columns
        assert "entity" not in rows.columns
        return
    if personal == "keep":
        assert rows["input_who"].to_list() == asked
        assert rows["entity"].to_list() == [str(who) for who in asked]
        return
    secret = load_secret(tmp_path)
    assert rows["input_who"].to_list() == pseudonyms(pl.Series(asked), secret).to_list()
    assert rows["entity"].equals(rows["input_who"].alias("entity"))
    assert rows["entity"].n_unique() == 2


def test_a_warning_does_not_tell_what_is_hashed(credit, tmp_path):
    application, _, _ = logged(credit, tmp_path)
    table = application.observer._table(application.models[0])
    object.__setattr__(table, "_personal", frozenset({"limit"}))
    ((_, answer),) = post(application, [{**GOOD, "limit": 123456789.0, "late": 9}])
    assert any("123456789" in w for w in answer["warnings"])
    (row,) = scan(tmp_path).collect().to_dicts()
    assert row["warnings"] == ["limit is not like what training saw", answer["warnings"][1]]
    assert "late = 9" in row["warnings"][1]


def test_a_pseudonym_needs_the_key_and_tells_equal_from_different():
    values = pl.Series([7, 8, None, 7])
    first, second = pseudonyms(values, b"a" * 32), pseudonyms(values, b"b" * 32)
    assert first[0] == first[3] != first[1]
    assert first[2] is None
    assert first[0] != second[0]
    assert pseudonyms(pl.Series(["7"]), b"a" * 32)[0] == first[0]
    assert pseudonyms(pl.Series([None], dtype=pl.Int64), b"a" * 32).to_list() == [None]


def test_the_key_is_made_once_and_is_its_owners(tmp_path):
    key = load_secret(tmp_path / "log")
    assert load_secret(tmp_path / "log") == key
    path = tmp_path / "log" / "pseudonyms.key"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    path.chmod(0o644)
    with pytest.raises(UsageError, match="can be read by others"):
        load_secret(tmp_path / "log")
    path.chmod(0o600)
    path.write_bytes(b"short")
    with pytest.raises(UsageError, match="holds 5 bytes; a key has 32"):
        load_secret(tmp_path / "log")


# ------------------------------------------------------------------------------------------------------ segments
def test_a_segment_ends_when_it_is_large_old_or_of_another_schema(tmp_path):
    writer = SegmentWriter(tmp_path, "m", "v1", max_bytes=5000)
    while len(list(segments(tmp_path))) < 3:
        writer.append(FRAME)
    assert [is_open(p) for _, _, p in segments(tmp_path)] == [False, False, True]
    writer.append(FRAME.drop("s"))
    assert len(list(segments(tmp_path))) == 4
    writer.close()
    old = SegmentWriter(tmp_path, "m", "v2", max_seconds=0)
    old.append(FRAME)
    assert old.aged()
    old.append(FRAME)
    assert [v for _, v, _ in segments(tmp_path)].count("v2") == 2
    old.close()
    assert not any(is_open(p) for _, _, p in segments(tmp_path))


def test_names_cannot_leave_the_log(tmp_path):
    writer = SegmentWriter(tmp_path / "log", "../../m", "v/1")
    writer.append(FRAME)
    writer.close()
    assert [(m, v) for m, v, _ in segments(tmp_path / "log")] == [("../../m", "v/1")]
    assert [p.name for p in tmp_path.iterdir()] == ["log"]


class FullDisk(SegmentWriter):
    """A disk that takes half a batch and then nothing, as often as it is told."""

    full = False
    sync_fails = False

    def append(self, frame):
        if not type(self).full:
            return super().append(frame)
        if self._descriptor is None:
            self._open(encode(frame)[0])
        os.write(self._descriptor, encode(frame)[1][:700])
        self._cut_back(self._descriptor)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def sync(self):
        if type(self).sync_fails:
            self._abandon()
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        super().sync()


@pytest.fixture
def disk():
    FullDisk.full = FullDisk.sync_fails = False
    yield FullDisk
    FullDisk.full = FullDisk.sync_fails = False


def on(disk, application, recorder, metrics, tmp_path, **more):
    recorder._writer = LogWriter(tmp_path, metrics, segment=disk, **more)
    return application


def test_a_durable_answer_that_cannot_be_logged_is_503(credit, tmp_path, disk):
    application, recorder, metrics = logged(credit, tmp_path, LogPolicy("durable"))
    on(disk, application, recorder, metrics, tmp_path)
    assert post(application, [GOOD])[0][0] == 200
    disk.full = True
    for body in (GOOD, [GOOD] * 300):
        status, fields, answer = call(application, body=json.dumps(body).encode())
        assert (status, fields["retry-after"]) == (503, "1")
        assert json.loads(answer)["error"]["rule"] == "prediction log"
        assert "No space left on device" in json.loads(answer)["error"]["message"]
    disk.full, disk.sync_fails = False, True
    assert post(application, [GOOD])[0][0] == 503
    disk.sync_fails = False
    assert post(application, [GOOD])[0][0] == 200
    # What was answered is there; what was refused after it was written (the sync failed) may be.
    assert scan(tmp_path).collect().height == 3
    assert b'charter_log_failures_total{model="credit-test"} 3.0' in metrics.text()


def test_a_relaxed_answer_goes_on_with_a_warning_and_nothing_is_lost_when_the_disk_comes_back(
    credit, tmp_path, disk
):
    application, recorder, metrics = logged(credit, tmp_path, LogPolicy("relaxed"))
    on(disk, application, recorder, metrics, tmp_path)
    assert post(application, [GOOD])[0][1]["warnings"] == []
    disk.full = True
    assert post(application, [GOOD])[0][0] == 200
    status, answer = post(application, [GOOD])[0]
    assert status == 200
    assert answer["warnings"] == [
        "this answer may be missing from the prediction log, which cannot be written at the moment"
    ]
    assert b"charter_log_failures_total" in metrics.text()
    disk.full = False
    assert post(application, [GOOD])[0][0] == 200
    assert scan(tmp_path).collect().height == 4
    assert post(application, [GOOD])[0][1]["warnings"] == []


def test_what_cannot_be_held_for_a_full_disk_is_counted(credit, tmp_path, disk):
    application, recorder, metrics = logged(credit, tmp_path, LogPolicy("relaxed"))
    on(disk, application, recorder, metrics, tmp_path, backlog_rows=3)
    disk.full = True
    for _ in range(5):
        post(application, [GOOD])
    disk.full = False
    post(application, [])
    assert scan(tmp_path).collect().height == 3
    assert b'charter_log_lost_rows_total{model="credit-test"} 2.0' in metrics.text()
