"""Reasons of series without a past: what moved their siblings' forecasts, and how far they were moved from these."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import pytest

from charter.serve.newcomers import Answer
from charter.serve.reasons import TopReasons
from charter.train.calibrate import Calibration
from charter.train.cold_start import Borrowed, ColdStart
from charter.train.siblings import Likeness

BASE = 2.0
EFFECT = np.array([0.1, -0.5])


class Linear:
    """Two features that add up."""

    def contributions(self, X: Any) -> Any:
        return (np.asarray(X, np.float64) * EFFECT)[:, None, :]


class Plain:
    def transform(self, features: pl.DataFrame) -> Any:
        return features.select("mean", "price").to_numpy()


def seen(rows: pl.DataFrame) -> pl.DataFrame:
    """What the model sees of a shop: its mean; and the price that is asked about."""
    return rows.with_columns(mean=pl.col("shop").str.slice(1).cast(pl.Float64))


@pytest.mark.parametrize("transform", ["log1p", "none"])
def test_contributions_add_up_to_the_answer(transform: str) -> None:
    """Row 1 is of a known shop, row 2 has no siblings; of the seven of row 0 the outer ones have no say."""
    shops = ["s4", "s9", "s1", "s7", "s5", "s6", "s2"]
    inputs = pl.DataFrame({"shop": ["new", "odd"], "juice": ["apple"] * 2, "price": [3.0, 1.0]})
    keys = pl.DataFrame({"shop": shops, "juice": ["apple"] * 7})
    moved = np.array([0.3, 0.1, 0.2, 0.3, 0.4, 0.1, 0.2])
    borrowed = Borrowed(np.zeros(7, np.int64), keys, moved, np.array([1, 3]))
    mean = np.array([float(s[1:]) for s in shops])
    learned = BASE + mean * EFFECT[0] + 3.0 * EFFECT[1]
    cold = ColdStart(Likeness(13), transform, Calibration("log1p"), None)
    said = borrowed.answer(cold.on_scale(learned))
    nothing = np.full(2, np.nan)
    lent = Answer(nothing, nothing, nothing, borrowed, learned, said).lent(
        np.array([True, False, True]), inputs, cold
    )
    assert lent is not None
    assert lent.rows.tolist() == [True, False, False]
    top = TopReasons(["mean", "price"], {}, count=3, factors={"mean": "sales per week"}, moved="forecast")
    asked: tuple[Any, ...] = (seen, Plain(), Linear(), top)
    assert list(lent.reasons(np.array([False, True, True]), *asked)) == []
    ((row, reasons),) = lent.reasons(np.ones(3, bool), *asked)
    assert row == 0
    answer = said[0] if transform == "log1p" else np.expm1(said[0])
    assert BASE + sum(r.contribution for r in reasons) == pytest.approx(answer, abs=1e-12)
    like, price, sales = reasons
    assert like.feature == "series like it"
    kept = (
        ["s4/apple", "s5/apple", "s6/apple"] if transform == "log1p" else ["s4/apple", "s9/apple", "s6/apple"]
    )
    assert like.value == ", ".join(kept)
    assert like.text.startswith(f"forecast as the mean of 3 series like it ({like.value})")
    assert like.text.endswith(", moved up by what is known to differ")
    assert price.text == "price = 3 lowers the forecast of series like it"
    assert (price.value, price.contribution) == (3.0, pytest.approx(-1.5))
    assert sales.text.startswith("sales per week = ")
    top.count = 1
    assert [r.feature for _, found in lent.reasons(np.ones(3, bool), *asked) for r in found] == [
        "series like it"
    ]
