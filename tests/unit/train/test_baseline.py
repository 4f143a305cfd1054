from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from charter.core.errors import DataError
from charter.train.baseline import rule, share

FRAME = pl.DataFrame({"late": [0, 2, 3, None], "limit": [10.0, 0.0, 4.0, 2.0]})


def test_share_answers_the_usual():
    binary = share(np.array([0, 0, 1, 0]), 3, task="binary")
    assert binary["score"].tolist() == [0.25] * 3
    assert binary["decision"].tolist() == [0] * 3
    several = share(np.array(["a", "b", "b"]), 2, task="multiclass")
    assert several["score"] == pytest.approx(np.array([[1 / 3, 2 / 3]] * 2))
    assert several["decision"].tolist() == [1, 1]
    value = share(np.array([1.0, 2.0, 6.0]), 2, task="regression")
    assert value["score"].tolist() == [3.0, 3.0]
    assert value["decision"] is None


def test_share_needs_labels():
    with pytest.raises(DataError, match="no training labels"):
        share(np.array([]), 2, task="binary")


def test_rule_decides_and_does_not_fire_without_a_value():
    found = rule(FRAME, "late >= 2")
    assert found["decision"].tolist() == [0, 1, 1, 0]
    assert found["score"].tolist() == [0.0, 1.0, 1.0, 0.0]


def test_rule_ranks_by_its_score_and_puts_the_unknown_last():
    found = rule(FRAME, "late >= 2", "late / limit")
    assert found["score"].tolist() == [0.0, -1.0, 0.75, -1.0]


def test_rule_names_the_missing_column():
    with pytest.raises(DataError, match="'lates'"):
        rule(FRAME, "lates >= 2")
