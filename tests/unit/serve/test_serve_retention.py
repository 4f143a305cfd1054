"""Deleting old days of the log: whole days, provably, whatever happens in between."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import date, datetime, timedelta
from hashlib import sha256
from pathlib import Path

import duckdb
import polars as pl
import pytest
from test_serve_compaction import rows, write

from charter.core.errors import Busy, DataError
from charter.serve.io import retention
from charter.serve.io.compaction import alone, commits, compact
from charter.serve.io.retention import DELETIONS, Deletion, pending, prune
from charter.serve.log_reader import scan

FIRST = date(2026, 3, 1)
"""Rows 0 to 5 are of this day, the others of the day after."""


@pytest.fixture
def log(tmp_path: Path) -> Path:
    folder = tmp_path / "log"
    write(folder, "v1", rows(0, 12))
    write(folder, "v2", rows(4, 4, "v2"))
    write(folder, "v1", rows(0, 3).with_columns(model=pl.lit("other")), model="other")
    compact(folder)
    return folder


def kept(log: Path) -> dict[tuple[str, date], int]:
    found = scan(log).group_by("model", pl.col("time").dt.date()).len().collect()
    return {(model, day): n for model, day, n in found.iter_rows()}


def test_whole_days_of_one_model_go_and_what_went_is_told(log):
    digests = {
        p.relative_to(log).as_posix(): sha256(p.read_bytes()).hexdigest() for p in log.rglob("*.parquet")
    }
    prune(log, "m", FIRST + timedelta(days=1))
    assert kept(log) == {("m", date(2026, 3, 2)): 8, ("other", FIRST): 3}
    ((path, deletion),) = pending(log)
    assert (deletion.model, deletion.rows, deletion.days) == ("m", 8, (FIRST,))
    assert {f.version: f.rows for f in deletion.files} == {"v1": 6, "v2": 2}
    assert all(digests[f.path] == f.sha256 for f in deletion.files)
    assert Deletion.from_bytes(path.read_bytes()) == deletion
    assert not (log / "parts" / FIRST.isoformat() / "m").exists()
    assert (log / "parts" / FIRST.isoformat() / "other").exists()
    prune(log, "m", FIRST + timedelta(days=1))
    assert len(list(pending(log))) == 1
    path.unlink()
    prune(log, "m", FIRST + timedelta(days=30))
    ((_, rest),) = pending(log)
    assert (rest.rows, rest.days) == (8, (date(2026, 3, 2),))
    assert [p.model for c in commits(log) for p in c.parts] == ["other"]
    assert compact(log).segments == 0


@pytest.mark.parametrize("dies_in", ["_forget", "_unlink"])
def test_a_deletion_that_was_killed_is_finished_by_the_next(log, monkeypatch, dies_in):
    whole = kept(log)

    def die(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(retention, dies_in, die)
        with pytest.raises(KeyboardInterrupt):
            prune(log, "m", FIRST + timedelta(days=1))
    left = {key: n for key, n in whole.items() if key != ("m", FIRST)}
    assert kept(log) in (whole, left)
    prune(log, "m", FIRST)  # nothing is that old, yet what was begun is finished
    assert kept(log) == left
    assert [d.rows for _, d in pending(log)] == [8]
    assert len(list(log.rglob("*.parquet"))) == 3


def test_only_one_changes_the_log_at_a_time_and_a_damaged_record_is_named(log, tmp_path):
    with alone(log), pytest.raises(Busy, match="compaction or deletion"):
        prune(log, "m", FIRST)
    prune(tmp_path / "nowhere", "m", FIRST)
    (log / DELETIONS).mkdir()
    (log / DELETIONS / "x.json").write_text("{}")
    with pytest.raises(DataError, match=r"x\.json is no record of a deletion"):
        prune(log, "m", FIRST)


def test_the_parts_of_several_versions_answer_a_query_of_duckdb(log):
    text = (log / "parts/*/*/*/*.parquet").as_posix()
    query = (
        "SELECT version, decision, count(*), avg(score), max(time), count(*) FILTER (len(warnings) > 0) "
        f"FROM read_parquet('{text}', union_by_name=true) WHERE model = 'm' GROUP BY 1, 2 ORDER BY 1, 2"
    )
    with duckdb.connect() as connection:
        found = connection.execute(query).fetchall()
    expected = (
        scan(log, model="m")
        .group_by("version", "decision")
        .agg(
            pl.len(),
            pl.col("score").mean(),
            pl.col("time").max().alias("last"),
            (pl.col("warnings").list.len() > 0).sum().alias("warned"),
        )
        .sort("version", "decision")
        .collect()
        .rows()
    )
    assert [row[:3] + row[4:] for row in found] == [row[:3] + row[4:] for row in expected]
    assert [row[3] for row in found] == pytest.approx([row[3] for row in expected])
    assert isinstance(found[0][4], datetime)


def test_a_server_without_a_workspace_compacts_by_a_command(tmp_path):
    folder = tmp_path / "log"
    write(folder, "v1", rows(0, 3))
    command = [sys.executable, "-m", "charter.serve.io.compaction", str(folder)]
    subprocess.run(command, check=True, env=os.environ.copy())
    assert len(list(folder.rglob("*.parquet"))) == 1
