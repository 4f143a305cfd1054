"""Spreading calls over a Ray cluster of two processes: order, values that are kept, errors, and processes that die."""

from __future__ import annotations

import importlib.util
import os
import signal
import sys
from collections.abc import Callable, Iterator
from itertools import repeat
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from charter.core.errors import DataError, UsageError
from charter.core.spread import HERE, Spread
from charter.flow.cluster import Cluster, spread_over

pytestmark = pytest.mark.filterwarnings(
    "ignore::FutureWarning", "ignore::ResourceWarning", "ignore::DeprecationWarning"
)
needs_ray = pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="Ray is not installed")


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with Cluster(2) as one:
        yield one


@pytest.fixture(params=["here", pytest.param("ray", marks=needs_ray)])
def spread(request: pytest.FixtureRequest) -> Spread:
    """Each of the two in turn: they do the same."""
    found: Spread = HERE if request.param == "here" else request.getfixturevalue("cluster")
    return found


def refused(number: int) -> int:
    if number == 2:
        raise DataError("there is no second", remedy="Leave it out.")
    return number


def by_value(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function that travels as it is: the processes of the cluster do not see this module."""
    from ray import cloudpickle

    cloudpickle.register_pickle_by_value(sys.modules[__name__])
    return function


def test_results_come_in_the_order_of_the_items(spread: Spread) -> None:
    assert list(spread.map(pow, range(9), repeat(2))) == [n * n for n in range(9)]
    assert list(spread.map(pow, [], [])) == []


def test_what_is_kept_reaches_every_call(spread: Spread) -> None:
    kept = spread.keep(np.arange(5.0))
    assert list(spread.map(np.sum, repeat(kept, 3))) == [10.0, 10.0, 10.0]
    assert list(spread.map(np.take, [kept, kept], [1, 4])) == [1.0, 4.0]


def test_an_error_comes_where_the_result_would_have_come(spread: Spread) -> None:
    outcomes = spread.map(by_value(refused), range(5))
    assert [next(outcomes), next(outcomes)] == [0, 1]
    with pytest.raises(DataError, match="no second") as caught:
        next(outcomes)
    assert (type(caught.value).__name__, caught.value.remedy) == ("DataError", "Leave it out.")


def test_calls_that_nobody_waits_for_are_left_out(spread: Spread, tmp_path: Path) -> None:
    def mark(number: int) -> int:
        (tmp_path / str(number)).touch()
        return number

    outcomes = spread.map(mark, range(50))
    assert next(outcomes) == 0
    outcomes.close()
    assert list(spread.map(pow, [3], [2])) == [9]
    assert len(list(tmp_path.iterdir())) < 10


@needs_ray
def test_a_call_whose_process_dies_is_made_again(cluster: Cluster, tmp_path: Path) -> None:
    def dies_once(number: int) -> tuple[int, str | None]:
        mark = tmp_path / str(number)
        if not mark.exists():
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return number, os.environ.get("OMP_THREAD_LIMIT")

    found = list(cluster.map(dies_once, range(2)))
    assert [number for number, _ in found] == [0, 1]
    assert all(limit is not None and int(limit) >= 1 for _, limit in found)


def test_wrong_words_of_the_command_line_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="'rai' is not known"):
        spread_over("rai", None)
    with pytest.raises(UsageError, match="--workers"):
        spread_over("local", 3)
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)
    with pytest.raises(UsageError, match="needs Ray") as caught:
        spread_over("ray", None)
    assert "charter-ml[scale]" in str(caught.value)


@needs_ray
def test_a_cluster_that_is_not_there_is_refused_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    import ray

    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    with Cluster() as one, pytest.raises(UsageError, match="no Ray cluster at 127"):
        one.keep(1)
