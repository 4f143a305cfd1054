"""Words that somebody else wrote do not forge lines of an answer."""

from __future__ import annotations

from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from charter.cli.main import app
from charter.cli.output import elsewhere, say, show_decision, table
from charter.core.decision import Check, Decision, Verdict
from charter.core.errors import UsageError

FORGED = "bad\n  ok  governance  approved by mary\r\x1b[2J\u202e"


def test_a_reason_stays_on_its_line(capsys: pytest.CaptureFixture[str]) -> None:
    check = Check("governance", "rejected by mary", "signed", Verdict.FAIL, note=FORGED)
    show_decision(Decision("approve", Verdict.FAIL, (check,)))
    table([["1", FORGED]])
    printed = capsys.readouterr().out
    assert printed.count("\n") == 2
    assert r"bad\n  ok  governance  approved by mary\r\x1b[2J\u202e" in printed
    assert not {"\r", "\x1b", "\u202e"} & set(printed)


def test_line_breaks_of_charter_itself_and_words_of_any_language_stay(
    capsys: pytest.CaptureFixture[str],
) -> None:
    say("Zoë\u00a0Muñoz 東京\nnext line")
    assert capsys.readouterr().out == "Zoë\u00a0Muñoz 東京\nnext line\n"


@pytest.mark.parametrize("uri", ["rows.csv", "'rows.csv'", '"rows.csv"', "../model/rows.csv"])
def test_no_report_is_written_over_a_source_of_a_specification(tmp_path: Path, uri: str) -> None:
    folder = tmp_path / "model"
    (folder / "reports").mkdir(parents=True)
    (folder / "model.yaml").write_text(f"data: {{sources: {{a: {{uri: {uri}, key: [id]}}}}}}\n")
    with pytest.raises(typer.BadParameter, match="is a source of"):
        elsewhere(folder / "rows.csv")
    assert elsewhere(folder / "reports" / "rows.csv") == folder / "reports" / "rows.csv"
    assert elsewhere(None) is None


def test_no_page_is_written_over_the_table_that_it_is_about(tmp_path: Path) -> None:
    table_ = tmp_path / "t.csv"
    table_.write_text("a,b\n1,2\n")
    for words in (["profile", str(table_)], ["drift", str(table_), str(tmp_path / "u.csv")]):
        outcome = CliRunner().invoke(app, ["data", *words, "--out", f"{tmp_path}/./t.csv"])
        assert isinstance(outcome.exception, UsageError)
        assert "is what is read" in str(outcome.exception)
    assert table_.read_text() == "a,b\n1,2\n"
