"""What a server has done beside answering: again and again, never in its way."""

from __future__ import annotations

import sys
import time
from pathlib import Path

from charter.serve.io.chores import Chores


def wait_for(condition, seconds: float = 10) -> bool:
    limit = time.monotonic() + seconds
    while not condition() and time.monotonic() < limit:
        time.sleep(0.02)
    return bool(condition())


def python(program: str, *arguments: str) -> list[str]:
    return [sys.executable, "-c", program, *arguments]


def test_commands_run_again_and_again_and_failures_are_told(tmp_path: Path, caplog) -> None:
    told = tmp_path / "told"
    write = "import sys; open(sys.argv[1], 'a').write('.')"
    fail = "import sys; sys.exit('the disk is full')"
    with Chores([python(fail), ["/no/such/program"], python(write, str(told))], 0.05):
        assert wait_for(lambda: told.exists() and len(told.read_text()) >= 2)
    assert "keeps the prediction log in order failed: the disk is full" in caplog.text
    assert "/no/such/program cannot be started" in caplog.text
    after = len(told.read_text())
    time.sleep(0.3)
    assert len(told.read_text()) == after


def test_one_that_is_under_way_is_asked_to_stop(tmp_path: Path, caplog) -> None:
    begun = tmp_path / "begun"
    sleep = "import sys, time; open(sys.argv[1], 'w'); time.sleep(60)"
    with Chores([python(sleep, str(begun))], 0.01):
        assert wait_for(begun.exists)
        began = time.monotonic()
    assert time.monotonic() - began < 5
    assert not caplog.text
