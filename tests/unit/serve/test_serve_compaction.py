from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
import time
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from log_models import by_time

from charter.core.errors import Busy, DataError
from charter.serve.io.compaction import alone, commits, compact
from charter.serve.io.segments import SegmentWriter, segments
from charter.serve.log_reader import scan
from charter.serve.prediction_log import OWN

START = datetime.fromisoformat("2026-03-01T23:00")


def rows(first: int, count: int, version: str = "v1", **inputs: pl.Series) -> pl.DataFrame:
    """Rows ``first`` and following, one every ten minutes."""
    numbers = range(first, first + count)
    plain = {
        "id": [f"r{n:05d}" for n in numbers],
        "row": [0] * count,
        "time": [START + timedelta(minutes=10 * n) for n in numbers],
        "model": ["m"] * count,
        "version": [version] * count,
        "package": ["ab" * 32] * count,
        "route": ["predict"] * count,
        "latency_us": list(numbers),
        "score": [n / 1000 for n in numbers],
        "decision": ["positive" if n % 2 else "negative" for n in numbers],
        "band": [None] * count,
        "fallback": [False] * count,
        "warnings": [["odd"] if n % 5 == 0 else [] for n in numbers],
    }
    whole = {name: plain.get(name, [None] * count) for name in OWN}
    return pl.DataFrame(whole, schema=OWN).with_columns(**{f"input_{k}": v for k, v in inputs.items()})


def write(log: Path, version: str, *frames: pl.DataFrame, model: str = "m") -> Path:
    writer = SegmentWriter(log, model, version)
    for frame in frames:
        writer.append(frame)
    writer.close()
    return max(p for m, v, p in segments(log) if (m, v) == (model, version))


def parts(log: Path) -> pl.DataFrame:
    """What a program sees that knows nothing of commits."""
    return pl.read_parquet(log / "parts/*/*/*/*.parquet")


@pytest.fixture
def log(tmp_path: Path) -> Path:
    folder = tmp_path / "log"
    write(folder, "v1", rows(0, 4), rows(4, 6))
    write(folder, "v1", rows(10, 5))
    write(folder, "v2", rows(15, 5, "v2"))
    return folder


def ids(frame: pl.DataFrame) -> list[str]:
    return sorted(frame["id"].to_list())


ALL = [f"r{n:05d}" for n in range(20)]


def test_compaction_moves_every_row_once_and_finds_nothing_the_second_time(log):
    before = by_time(scan(log).collect())
    done = compact(log)
    assert (done.segments, done.rows, done.parts, done.still_open, done.torn_bytes) == (3, 20, 3, 0, 0)
    assert by_time(scan(log).collect()).equals(before)
    assert by_time(parts(log)).equals(before)
    assert not list(segments(log))
    assert compact(log).segments == 0
    assert sorted(p.parts[-4:-1] for p in (log / "parts").rglob("*.parquet")) == [
        ("2026-03-01", "m", "v1"),
        ("2026-03-02", "m", "v1"),
        ("2026-03-02", "m", "v2"),
    ]
    write(log, "v1", rows(20, 3))
    assert scan(log).collect().height == 23
    assert compact(log).rows == 3
    assert scan(log).collect().height == 23


def test_what_a_server_writes_to_is_left_alone(log):
    writer = SegmentWriter(log, "m", "v1")
    writer.append(rows(20, 2))
    done = compact(log)
    assert (done.segments, done.still_open) == (3, 1)
    writer.append(rows(22, 2))
    assert scan(log).collect().height == 24
    writer.close()
    assert compact(log).rows == 4
    assert ids(scan(log).collect()) == [f"r{n:05d}" for n in range(24)]


def test_a_torn_end_is_left_out_and_reported(log):
    path = write(log, "v3", rows(20, 2), rows(22, 2))
    os.truncate(path, path.stat().st_size - 5)
    assert scan(log, version="v3").collect()["id"].to_list() == ["r00020", "r00021"]
    path.with_name("0-0-0.arrows").write_bytes(b"\xff\xff\xff\xff torn in the schema")
    done = compact(log)
    assert done.rows == 22
    assert done.torn_bytes > 100
    assert ids(scan(log).collect()) == [*ALL, "r00020", "r00021"]


def test_filters_read_only_what_they_need(log):
    compact(log)
    write(log, "v1", rows(20, 3))
    assert scan(log, version="v2").collect().height == 5
    assert scan(log, model="other").collect().is_empty()
    noon = datetime.fromisoformat("2026-03-02")
    assert ids(scan(log, since=noon).collect()) == [f"r{n:05d}" for n in range(6, 23)]
    assert ids(scan(log, until=noon).collect()) == ALL[:6]
    late = (
        scan(log).filter(pl.col("decision") == "positive").select("id", "score").sort("id").tail(2).collect()
    )
    assert late.to_dicts() == [{"id": "r00019", "score": 0.019}, {"id": "r00021", "score": 0.021}]
    assert scan(log).head(7).collect().height == 7
    assert scan(log).select(pl.len()).collect().item() == 23


def test_versions_of_other_inputs_stand_in_one_frame(log):
    write(log, "v4", rows(20, 1, "v4", age=pl.Series([30], dtype=pl.Int64), who=pl.Series([7])))
    write(log, "v5", rows(21, 1, "v5", age=pl.Series([30.5]), who=pl.Series(["hash"])))
    for _ in range(2):
        found = scan(log).collect().sort("id").tail(3)
        assert found["input_age"].to_list() == [None, 30.0, 30.5]
        assert found["input_who"].to_list() == [None, "7", "hash"]
        compact(log)
    assert scan(log, version="v4").collect()["input_who"].to_list() == [7]


def test_one_version_whose_policy_changed_has_parts_of_two_kinds(tmp_path):
    write(tmp_path, "v1", rows(0, 1, who=pl.Series([7])))
    write(tmp_path, "v1", rows(1, 1, who=pl.Series(["hash"])))
    assert compact(tmp_path).parts == 2
    assert scan(tmp_path).collect().sort("id")["input_who"].to_list() == ["7", "hash"]


def test_large_logs_are_compacted_in_steps(log):
    assert compact(log, chunk_bytes=1).rows == 20
    assert len(commits(log)) == 3
    assert ids(scan(log).collect()) == ALL


def test_an_empty_log_is_no_fault(tmp_path):
    assert compact(tmp_path / "none").segments == 0
    assert scan(tmp_path / "none").collect().is_empty()
    assert scan(tmp_path / "none").collect_schema() == pl.Schema(OWN)


def test_two_compactions_at_once_are_refused(log):
    with alone(log), pytest.raises(Busy, match="another compaction"):
        compact(log)
    assert compact(log).rows == 20


def test_a_commit_that_cannot_be_read_stops_everything(log):
    compact(log)
    (path, *_) = sorted((log / "commits").iterdir())
    path.write_text('{"schema_version": 9}')
    for act in (compact, scan):
        with pytest.raises(DataError, match="schema_version 9"):
            act(log)


class Killed(BaseException):
    """The process ends here: nothing that touches the disk happens any more."""


def crashed(monkeypatch: pytest.MonkeyPatch, log: Path, at: int) -> int:
    """Compact, but die before the effect with the number ``at``; returns how many effects there were."""
    count = 0

    def deadly(owner: Any, name: str) -> None:
        act = getattr(owner, name)

        def wrapped(*args: Any, **kwargs: Any) -> Any:
            nonlocal count
            if count >= at:
                raise Killed
            count += 1
            return act(*args, **kwargs)

        monkeypatch.setattr(owner, name, wrapped)

    deadly(os, "fsync")
    deadly(os, "open")
    for name in ("unlink", "replace", "mkdir", "chmod"):
        deadly(Path, name)
    deadly(pl.DataFrame, "write_parquet")
    try:
        compact(log)
    except Killed:
        count = -1
    finally:
        monkeypatch.undo()
    return count


def test_killed_at_any_step_a_compaction_loses_and_doubles_nothing(log, tmp_path, monkeypatch):
    kept = tmp_path / "kept"
    shutil.copytree(log, kept)
    steps = crashed(monkeypatch, log, 10_000)
    assert ids(scan(log).collect()) == ALL
    assert steps > 40
    for at in range(steps):
        shutil.rmtree(log)
        shutil.copytree(kept, log)
        assert crashed(monkeypatch, log, at) == -1
        assert ids(scan(log).collect()) == ALL, at
        crashed(monkeypatch, log, at // 2)  # and again while it recovers
        assert ids(scan(log).collect()) == ALL, at
        compact(log)
        assert ids(scan(log).collect()) == ALL, at
        assert ids(parts(log)) == ALL, at
        assert not list(segments(log))
        assert not list(log.rglob(".*"))


KILL = """
import os, pathlib, sys
from charter.serve.io import compaction
real, left = os.fsync, int(sys.argv[2])
def fsync(descriptor):
    global left
    left -= 1
    if left == 0:
        os.kill(os.getpid(), 9)
    real(descriptor)
os.fsync = fsync
compaction.compact(pathlib.Path(sys.argv[1]))
"""


@pytest.mark.parametrize("at", [2, 12])
def test_a_compaction_that_is_killed_lets_go_of_its_lock(log, at):
    done = subprocess.run([sys.executable, "-c", KILL, str(log), str(at)], check=False)
    assert done.returncode == -9
    assert ids(scan(log).collect()) == ALL
    compact(log)
    assert ids(scan(log).collect()) == ids(parts(log)) == ALL


def test_a_reader_sees_each_row_once_while_a_server_writes_and_a_compaction_runs(tmp_path):
    written = [0]
    done = threading.Event()

    def serve() -> None:
        writer = SegmentWriter(tmp_path, "m", "v1", max_bytes=20_000)
        while not done.is_set():
            writer.append(rows(written[0], 10))
            written[0] += 10
            time.sleep(0.002)
        writer.close()

    def tidy() -> None:
        while not done.is_set():
            compact(tmp_path)

    threads = [threading.Thread(target=serve), threading.Thread(target=tidy)]
    for thread in threads:
        thread.start()
    try:
        until = time.monotonic() + 2
        while time.monotonic() < until:
            least = written[0]
            frame = scan(tmp_path)
            for _ in range(2):  # a frame can be read again after its segments are gone
                found = ids(frame.collect())
                assert len(found) >= least
                assert found == [f"r{n:05d}" for n in range(len(found))]
    finally:
        done.set()
        for thread in threads:
            thread.join()
    compact(tmp_path)
    assert parts(tmp_path).height == written[0]


def test_days_are_those_of_utc(tmp_path):
    write(tmp_path, "v1", rows(0, 200))
    compact(tmp_path)
    found = {
        p.parts[-4]: pl.read_parquet(p)["time"].dt.date().unique().to_list()
        for p in (tmp_path / "parts").rglob("*.parquet")
    }
    assert found == {d: [date.fromisoformat(d)] for d in ("2026-03-01", "2026-03-02", "2026-03-03")}
