"""Words that somebody else wrote do not forge lines of an answer."""

from __future__ import annotations

import pytest

from charter.cli.output import say, show_decision, table
from charter.core.decision import Check, Decision, Verdict

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
