"""Of many windows those are shown that tell something."""

from __future__ import annotations

from typing import Any

from charter.cli.monitor import _telling


def window(n: int, *, level: int = 0, surprise: bool = False) -> dict[str, Any]:
    return {"start": n, "quality": {"surprise": ["recall"] * surprise}, "drift": [{"level": level}]}


def test_few_windows_are_all_shown_and_of_many_the_last_and_those_that_tell() -> None:
    few = [window(n) for n in range(20)]
    assert _telling(few) == few
    many = [window(n, level=n == 3, surprise=n == 7) for n in range(136)]
    assert [w["start"] for w in _telling(many)] == [3, 7, *range(126, 136)]
    drifting = [window(n, level=1) for n in range(136)]
    assert [w["start"] for w in _telling(drifting)] == list(range(116, 136))
