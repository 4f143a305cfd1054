from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from typer.testing import CliRunner

from charter.cli.main import app
from charter.core.clock import ManualClock
from charter.core.errors import UsageError
from charter.core.settings import Settings
from charter.flow.logs import Filter, _no_formula, export, latest, log_folder, moment, rows
from charter.flow.workspace import Workspace
from charter.serve.io.segments import SegmentWriter
from charter.serve.prediction_log import OWN

NOW = datetime(2026, 3, 3, tzinfo=UTC)


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    (tmp_path / "model.yaml").write_text("name: m\n")
    found = Workspace.at(tmp_path, Settings.from_environment({}), ManualClock(NOW))
    frame = pl.DataFrame(
        {
            "id": [f"r{n}" for n in range(48)],
            "row": [0] * 48,
            "time": [NOW.replace(tzinfo=None) - timedelta(hours=n) for n in range(48)],
            "model": ["m"] * 48,
            "version": ["v1"] * 48,
            "package": ["ab"] * 48,
            "route": ["predict"] * 48,
            "latency_us": [900] * 48,
            "score": [None if n == 3 else n / 48 for n in range(48)],
            "decision": ["positive" if n >= 24 else "negative" for n in range(48)],
            "band": ["low"] * 48,
            **{name: [None] * 48 for name in ("propensity", "stage", "arm")},
            "fallback": [n == 3 for n in range(48)],
            "warnings": [["a", "b"] if n == 1 else [] for n in range(48)],
        },
        schema=OWN,
    ).with_columns(input_age=pl.int_range(48))
    writer = SegmentWriter(log_folder(found), "m", "v1")
    writer.append(frame)
    writer.close()
    return found


def test_the_newest_come_first_and_filters_narrow(workspace):
    assert latest(workspace, Filter(), limit=3)["id"].to_list() == ["r0", "r1", "r2"]
    for wanted, count in (
        (Filter(since="2h"), 3),
        (Filter(until="2026-03-02"), 23),
        (Filter(since="2026-03-02T00:00+00:00", until="2026-03-02T02:00"), 2),
        (Filter(decision="positive"), 24),
        (Filter(request="r7"), 1),
        (Filter(version="v2"), 0),
        (Filter(model="m", where="score > 0.9 AND input_age < 47"), 3),
    ):
        assert rows(workspace, wanted).collect().height == count, wanted


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ("scor > 1", "no column 'scor'; did you mean score?"),
        ("score >", "--where: "),
        ("COUNT(*) > 1", "about many rows"),
    ],
)
def test_a_condition_that_cannot_be_read_is_refused(workspace, where, message):
    with pytest.raises(UsageError) as found:
        rows(workspace, Filter(where=where))
    assert message in str(found.value)


def test_moments_that_are_none_are_refused(workspace):
    assert moment("1h", "--since", workspace) == datetime.fromisoformat("2026-03-02T23:00")
    assert moment("2026-03-01T02:00+02:00", "--since", workspace) == datetime.fromisoformat("2026-03-01")
    for text in ("yesterday", "", "2026-13-01"):
        with pytest.raises(UsageError, match="--since is"):
            moment(text, "--since", workspace)


def test_rows_are_exported_whole_or_not_at_all(workspace, tmp_path):
    for name in ("a.parquet", "a.csv", "a.jsonl"):
        assert export(workspace, Filter(decision="negative"), tmp_path / name) == 24
    assert pl.read_parquet(tmp_path / "a.parquet")["warnings"].list.len().sum() == 2
    assert pl.read_csv(tmp_path / "a.csv").filter(pl.col("id") == "r1")["warnings"].item() == "a; b"
    assert export(workspace, Filter(version="v9"), tmp_path / "none.parquet") == 0
    with pytest.raises(UsageError, match=r"exported to .parquet, .csv, .jsonl"):
        export(workspace, Filter(), tmp_path / "a.xlsx")
    assert not [p for p in tmp_path.iterdir() if p.name.startswith(".a")]


def test_no_spreadsheet_computes_what_a_caller_has_chosen():
    given = pl.DataFrame({"id": ["=1+1|cmd", "@x", "-5", "r-1", None, ""]})
    assert given.select(_no_formula(pl.col(pl.String)))["id"].to_list() == [
        "'=1+1|cmd",
        "'@x",
        "'-5",
        "r-1",
        None,
        "",
    ]


def test_the_command_line_shows_exports_and_compacts(workspace, tmp_path):
    runner = CliRunner()
    where = ["--in", str(workspace.root)]
    shown = runner.invoke(app, ["log", "show", "--limit", "4", *where])
    assert shown.exit_code == 0
    assert "2026-03-02 23:00:00.000  r1" in shown.output
    assert "a; b" in shown.output
    machine = json.loads(runner.invoke(app, ["log", "show", "--id", "r3", "--json", *where]).output)
    assert (machine[0]["score"], machine[0]["fallback"], machine[0]["time"]) == (
        None,
        True,
        "2026-03-02T21:00:00",
    )
    assert "No answer" in runner.invoke(app, ["log", "show", "--version", "v9", *where]).output
    done = runner.invoke(app, ["log", "compact", *where])
    assert "1 segments, 48 rows into 3 files of Parquet." in done.output
    assert "Nothing is left to compact." in runner.invoke(app, ["log", "compact", *where]).output
    assert json.loads(runner.invoke(app, ["log", "compact", "--json", *where]).output)["rows"] == 0
    target = tmp_path / "out.parquet"
    assert "48 rows" in runner.invoke(app, ["log", "export", "--to", str(target), *where]).output
    assert pl.read_parquet(target).height == 48
