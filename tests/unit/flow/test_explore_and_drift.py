"""Exploring and comparing files, as the command line does it."""

from __future__ import annotations

import gzip
import json
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from typer.testing import CliRunner

from charter.cli.main import app
from charter.core.errors import DataError, UsageError
from charter.data.io import tables
from charter.data.io.tables import column_groups, profile_file, read_profiles, read_table, spaced_rows
from charter.data.profile import profile
from charter.flow import explore as flow_explore
from charter.flow.drift import compare_files, profile_like
from charter.flow.explore import explore_file
from charter.spec.types import DriftSpec

RUN = CliRunner()
LIMITS = DriftSpec()


def rows(seed: int, n: int = 3000, shift: float = 0.0) -> pl.DataFrame:
    rng = np.random.default_rng(seed)
    return pl.DataFrame(
        {
            "x": rng.normal(size=n) + shift,
            "k": rng.integers(0, 9, n),
            "s": rng.choice(["a", "b"], n),
            "y": rng.integers(0, 2, n),
        }
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rows(0).write_csv(tmp_path / "before.csv")
    rows(1, shift=0.8).write_parquet(tmp_path / "after.parquet")
    rows(2).write_ndjson(tmp_path / "same.jsonl")
    rows(3).write_ipc(tmp_path / "same.arrow")
    (tmp_path / "before.csv.gz").write_bytes(gzip.compress((tmp_path / "before.csv").read_bytes()))
    return tmp_path


@pytest.mark.parametrize("name", ["before.csv", "before.csv.gz", "after.parquet", "same.jsonl", "same.arrow"])
def test_tables_are_read_with_their_types(folder: Path, name: str) -> None:
    assert read_table(folder / name).schema == rows(0).schema


def test_a_late_word_makes_a_column_text(tmp_path: Path) -> None:
    lines = ["x", *[str(i) for i in range(12_000)], "word"]
    (tmp_path / "t.csv").write_text("\n".join(lines))
    assert read_table(tmp_path / "t.csv").schema == {"x": pl.String}


def test_files_that_cannot_be_read_say_why(tmp_path: Path) -> None:
    (tmp_path / "bad.parquet").write_bytes(b"no")
    with pytest.raises(DataError, match="cannot be read as parquet"):
        read_table(tmp_path / "bad.parquet")
    with pytest.raises(DataError, match="cannot be read as parquet"):
        explore_file(tmp_path / "bad.parquet")
    with pytest.raises(DataError, match="cannot be read as parquet"):
        profile_file(tmp_path / "bad.parquet")
    with pytest.raises(UsageError, match="no such file"):
        read_table(tmp_path / "none.csv")
    (tmp_path / "bad.json").write_text('{"a": 1}')
    with pytest.raises(DataError, match="holds no profile"):
        read_profiles(tmp_path / "bad.json")
    (tmp_path / "list.json").write_text("[1]")
    with pytest.raises(DataError, match="is no profile"):
        read_profiles(tmp_path / "list.json")


def test_wide_files_are_read_a_few_columns_at_a_time(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file, frame = folder / "after.parquet", read_table(folder / "after.parquet")
    monkeypatch.setattr(tables, "GROUP_BYTES", 8 * frame.height * 3)
    assert [g.width for g in column_groups(file)] == [3, 1]
    assert profile_file(file) == profile(frame)
    assert spaced_rows(file, 1000).equals(frame.gather_every(3))
    whole = explore_file(file, target="y")
    monkeypatch.setattr(flow_explore, "LOOKED_AT_CELLS", 4000)
    monkeypatch.setattr(flow_explore, "_FEWEST_ROWS", 500)
    streamed = explore_file(file, target="y")
    assert (streamed.rows, streamed.looked_at, streamed.duplicate_rows) == (3000, 1000, 0)
    assert streamed.profile == whole.profile
    pl.concat([frame, frame.head(7)]).write_parquet(file)
    assert explore_file(file).duplicate_rows == 7


def test_a_large_csv_is_explored_by_columns_and_tells_the_same(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = folder / "late.csv"
    rows = read_table(folder / "after.parquet").with_columns(late=pl.int_range(pl.len()).cast(pl.String))
    rows[-1, "late"] = "a word, where all before were numbers"
    rows.write_csv(file)
    whole = explore_file(file, target="y")
    monkeypatch.setattr(tables, "LARGE_BYTES", 0)
    monkeypatch.setattr(tables, "_INFER_ROWS", 100)
    monkeypatch.setattr(flow_explore, "LOOKED_AT_CELLS", 5000)
    monkeypatch.setattr(flow_explore, "_FEWEST_ROWS", 500)
    by_columns = explore_file(file, target="y")
    assert by_columns.profile == whole.profile
    assert by_columns.looked_at < whole.looked_at == by_columns.rows


def test_a_broken_csv_is_named_by_its_line_however_large(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = folder / "broken.csv"
    file.write_text("a,b\n" + "1,2\n" * 40 + "1,2,3\n")
    for _ in range(2):
        with pytest.raises(DataError, match="line 42 has 3 fields, and the header has 2"):
            explore_file(file)
        monkeypatch.setattr(tables, "LARGE_BYTES", 0)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no device that is always full")
def test_a_full_disk_is_no_fault_of_the_table(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "before.parquet").symlink_to("/dev/full")
    monkeypatch.setattr(tables, "LARGE_BYTES", 0)
    monkeypatch.setattr(tables.tempfile, "TemporaryDirectory", lambda **_: nullcontext(str(folder)))
    with pytest.raises(OSError, match="No space left"):
        explore_file(folder / "before.csv")


def test_drift_of_tables_and_of_profiles_agrees(folder: Path) -> None:
    before, after = str(folder / "before.csv"), str(folder / "after.parquet")
    report, _, _ = compare_files(before, after, limits=LIMITS)
    assert report.drifted == ("x",)
    assert report.further[0].name == "all columns together"
    stored = folder / "before.json"
    stored.write_text(json.dumps(profile(read_table(folder / "before.csv")).to_json()))
    again, _, _ = compare_files(str(stored), after, limits=LIMITS)
    assert (again.findings, again.further) == (report.findings, ())
    seen = folder / "after.json"
    seen.write_text(json.dumps(profile_like(after, str(stored)).to_json()))
    assert compare_files(str(stored), str(seen), limits=LIMITS)[0].findings == report.findings
    with pytest.raises(UsageError, match="a profile already"):
        profile_like(str(seen), str(stored))
    exact, _, _ = compare_files(before, after, limits=LIMITS, exact=True, classifier=False)
    assert exact.drifted == ("x",)
    with pytest.raises(UsageError, match="does not hold the values"):
        compare_files(str(stored), after, limits=LIMITS, exact=True)


def test_packages_and_snapshots_hold_several_profiles(folder: Path) -> None:
    one, two = profile(rows(0)).to_json(), profile(rows(0).select(score="x")).to_json()
    package = folder / "package"
    package.mkdir()
    (package / "profile.json").write_text(json.dumps({"schema_version": 1, "features": one, "score": two}))
    report, _, _ = compare_files(str(package), str(folder / "after.parquet"), limits=LIMITS)
    assert report.drifted == ("x",)
    scores = folder / "scores.csv"
    rows(5, shift=2).select(score="x").write_csv(scores)
    said, _, _ = compare_files(f"{package}#score", str(scores), limits=LIMITS)
    assert said.decision.checks[0].name == "prediction of score"
    snapshot = folder / "snapshot.json"
    snapshot.write_text(json.dumps({"loans": one, "people": two}))
    with pytest.raises(UsageError, match="holds profiles of loans, people"):
        compare_files(str(snapshot), str(folder / "after.parquet"), limits=LIMITS)
    assert compare_files(f"{snapshot}#loans", str(folder / "after.parquet"), limits=LIMITS)[0].drifted == (
        "x",
    )


def test_new_columns_are_named_and_strangers_refused(folder: Path) -> None:
    rows(3).with_columns(fresh=pl.lit(1)).write_csv(folder / "more.csv")
    report, _, _ = compare_files(
        str(folder / "before.csv"), str(folder / "more.csv"), limits=LIMITS, classifier=False
    )
    assert report.remarks == ("not in the reference, and so not compared: fresh",)
    pl.DataFrame({"z": [1]}).write_csv(folder / "other.csv")
    with pytest.raises(UsageError, match="no column in common"):
        compare_files(str(folder / "before.csv"), str(folder / "other.csv"), limits=LIMITS)


def test_the_command_line_profiles(folder: Path) -> None:
    page = folder / "p.html"
    done = RUN.invoke(
        app, ["data", "profile", str(folder / "before.csv"), "--target", "y", "--out", str(page)]
    )
    assert done.exit_code == 0, done.output
    assert "3,000 rows, 4 columns" in done.output
    assert page.read_text().startswith("<!doctype html>")
    machine = RUN.invoke(app, ["data", "profile", str(folder / "before.csv"), "--json"])
    stored = folder / "before.json"
    stored.write_text(machine.output)
    assert json.loads(machine.output)["rows"] == 3000
    assert RUN.invoke(app, ["data", "drift", str(stored), str(folder / "same.jsonl")]).exit_code == 0


def test_the_command_line_tells_drift_by_its_exit_code(folder: Path) -> None:
    before, page = str(folder / "before.csv"), folder / "d.html"
    changed = RUN.invoke(app, ["data", "drift", before, str(folder / "after.parquet"), "--out", str(page)])
    assert changed.exit_code == 1
    assert "drift of x" in changed.output
    assert "1 of 4 columns drifted" in page.read_text()
    same = RUN.invoke(app, ["data", "drift", before, str(folder / "same.arrow"), "--no-classifier"])
    assert same.exit_code == 0, same.output
    assert "No column changed." in same.output
    machine = RUN.invoke(
        app, ["data", "drift", before, str(folder / "after.parquet"), "--json", "--no-classifier"]
    )
    assert json.loads(machine.output)["drifted"] == ["x"]
