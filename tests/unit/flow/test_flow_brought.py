"""What was imported counts as it was imported: files are held against the audit trail."""

from __future__ import annotations

import shutil
from dataclasses import replace
from datetime import UTC, datetime
from importlib.resources import files
from pathlib import Path

import polars as pl
import pytest
from typer.testing import CliRunner

from charter.cli.main import app
from charter.core.clock import ManualClock
from charter.core.errors import DataError, UsageError
from charter.core.settings import Settings
from charter.flow import brought
from charter.flow.audit import entries, verify
from charter.flow.brought import KPIS, OUTCOMES, folder_of, withdraw
from charter.flow.kpis import import_kpis, kept_kpis
from charter.flow.outcomes import import_outcomes, keep_outcomes, kept_outcomes
from charter.flow.workspace import Workspace
from charter.monitor.outcomes import SCHEMA

NOW = datetime(2026, 3, 3, tzinfo=UTC)
MODEL = "credit-risk"


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    with (files("charter.blueprints") / "credit_risk" / "model.yaml").open() as spec:
        text = spec.read().replace("kpis:", "kpis:\n  arrears: {source: external, require: '<= 5'}", 1)
    if "arrears" not in text:
        text += "\nkpis:\n  arrears: {source: external, require: '<= 5'}\n"
    (tmp_path / "model.yaml").write_text(text)
    found = Workspace.at(tmp_path, Settings(None, tmp_path / "home", None, None, "ada"), ManualClock(NOW))
    with found.records(MODEL):
        return found


def keep(workspace: Workspace, *keys: str) -> int:
    rows = pl.DataFrame([("id", key, "1", datetime(2026, 3, 1)) for key in keys], SCHEMA, orient="row")  # noqa: DTZ001
    return keep_outcomes(workspace, MODEL, rows, dated=True, doing="test", actor="ada")[0]


def figures(workspace: Workspace, text: str) -> None:
    file = workspace.root / "figures.csv"
    file.write_text(text)
    import_kpis(workspace, workspace.load(), str(file), name="arrears")


@pytest.mark.parametrize("harm", ["edited", "cut", "junk", "gone"])
@pytest.mark.parametrize("kind", [OUTCOMES, KPIS], ids=["outcomes", "figures"])
def test_a_file_that_is_not_what_was_imported_is_no_fault_of_charter(workspace, kind, harm):
    keep(workspace, "a/0", "b/0")
    figures(workspace, "date,value\n2026-01-01,5\n2026-02-01,4\n")
    assert verify(workspace).sound
    file = folder_of(workspace, MODEL) / kind.name(1)
    match harm:
        case "gone":
            file.unlink()
        case "junk":
            file.write_bytes(b"PAR1" * 9)
        case "cut":
            file.write_bytes(file.read_bytes()[:-3])
        case _:
            file.write_bytes(file.read_bytes().replace(b"5", b"1", 1) + b" ")
    read = kept_outcomes if kind is OUTCOMES else kept_kpis
    with pytest.raises(
        DataError, match=f"{kind.name(1)} is (gone|not what was imported): 2 {kind.words}"
    ) as error:
        read(workspace, MODEL)
    assert "on 2026-03-03, see entry" in str(error.value)
    assert f"`{kind.command} withdraw {kind.name(1)}" in str(error.value)
    found = verify(workspace)
    assert not found.sound
    assert [f.row for f in found.faults] == [f"{kind.words} {kind.name(1)}"]


def test_a_damaged_import_is_withdrawn_on_record_and_made_anew(workspace):
    keep(workspace, "a/0")
    keep(workspace, "b/0")
    (folder_of(workspace, MODEL) / OUTCOMES.name(2)).write_bytes(b"")
    command = CliRunner().invoke(
        app, ["outcomes", "withdraw", OUTCOMES.name(2), "--reason", "disk", "--in", str(workspace.root)]
    )
    assert command.exit_code == 0, command.output
    assert [part["key"].to_list() for part in kept_outcomes(workspace, MODEL)] == [["a/0"]]
    assert verify(workspace).sound
    assert keep(workspace, "b/0") == 1
    assert (folder_of(workspace, MODEL) / OUTCOMES.name(3)).exists()
    assert verify(workspace).sound
    with pytest.raises(UsageError, match="no file of outcomes that counts"):
        withdraw(workspace, MODEL, OUTCOMES, OUTCOMES.name(2), reason="again")
    with pytest.raises(UsageError, match="reason"):
        withdraw(workspace, MODEL, OUTCOMES, OUTCOMES.name(1), reason=" ")


@pytest.mark.parametrize("kind", [OUTCOMES, KPIS], ids=["outcomes", "figures"])
def test_an_import_that_was_killed_before_its_entry_is_made_up_for(workspace, monkeypatch, kind):
    def killed(path, content):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        raise KeyboardInterrupt

    def bring():
        if kind is OUTCOMES:
            keep(workspace, "a/0")
        else:
            figures(workspace, "date,value\n2026-01-01,5\n")

    with monkeypatch.context() as patch:
        patch.setattr(brought, "write_atomic", killed)
        with pytest.raises(KeyboardInterrupt):
            bring()
    assert not kept_outcomes(workspace, MODEL)
    assert not kept_kpis(workspace, MODEL)
    assert brought.unfinished(workspace, MODEL, kind)
    assert verify(workspace).sound
    assert "did not finish" in "\n".join(verify(workspace).lines())
    bring()
    told = [e["detail"] for e in entries(workspace) if e["action"] == kind.imported]
    assert [(d["file"], d["recovered"]) for d in told] == [(kind.name(1), True)]
    assert kept_outcomes(workspace, MODEL) or kept_kpis(workspace, MODEL) == {"arrears": {"2026-01-01": 5.0}}


def test_what_no_import_wrote_is_not_taken_for_one(workspace):
    keep(workspace, "a/0")
    (folder_of(workspace, MODEL) / OUTCOMES.name(7)).write_bytes(b"PAR1")
    with pytest.raises(DataError, match=r"00000007.parquet holds no outcomes"):
        keep(workspace, "b/0")


def test_a_later_value_corrects_the_earlier_one(workspace):
    figures(workspace, "date,value\n2026-01-01,5\n2026-02-01,4\n")
    figures(workspace, "date,value\n2026-01-01,6\n2026-02-01,4\n")
    assert kept_kpis(workspace, MODEL) == {"arrears": {"2026-01-01": 6.0, "2026-02-01": 4.0}}
    assert len(list(folder_of(workspace, MODEL).iterdir())) == 2


def test_records_that_are_shared_ask_no_files_of_a_workspace_that_imported_none(workspace):
    keep(workspace, "a/0")
    shutil.rmtree(folder_of(workspace, MODEL))
    with pytest.raises(DataError, match="is gone"):
        kept_outcomes(workspace, MODEL)
    other = replace(workspace, settings=replace(workspace.settings, records_url=workspace.records_url))
    assert kept_outcomes(other, MODEL) == []
    assert verify(other).sound
    assert "not kept in this workspace" in "\n".join(verify(other).lines())


def test_a_name_that_tells_no_format_is_answered_in_words_of_the_command(workspace):
    with pytest.raises(DataError, match=r"ends in \.csv"):
        import_outcomes(workspace, workspace.load(), file="model.yaml")
