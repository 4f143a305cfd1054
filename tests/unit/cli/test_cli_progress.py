"""Progress where nobody watches a terminal."""

from __future__ import annotations

import pytest

from charter.cli import progress
from charter.core.progress import NoProgress


def test_a_pipe_is_told_now_and_then_where_a_command_takes_minutes(
    capsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = iter([0.0, 4.0, 11.0, 12.0, 22.0])
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(now))
    told = progress.progress(lines=True)
    told.start("replaying", 1200)
    for _ in range(4):
        told.advance(300)
    told.finish()
    out, err = capsys.readouterr()
    assert (out, err) == ("", "replaying  600 of 1,200  11 s\nreplaying  1,200 of 1,200  22 s\n")


def test_machines_and_short_commands_are_told_nothing() -> None:
    assert isinstance(progress.progress(), NoProgress)
    assert isinstance(progress.progress(quiet=True, lines=True), NoProgress)
