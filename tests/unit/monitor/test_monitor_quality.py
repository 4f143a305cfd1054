"""Quality and worth of a window."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from sklearn.metrics import precision_score, roc_auc_score

from charter.evaluate.types import Estimate
from charter.monitor.estimate import Estimated
from charter.monitor.quality import Quality, quality, watched, worth
from charter.spec.types import ModelSpec


def rows(n: int = 800, seed: int = 1, *, known: float = 1.0, due: float = 1.0) -> pl.DataFrame:
    rng = np.random.default_rng(seed)
    p = rng.beta(1, 3, n)
    y = (rng.random(n) < p).astype(int).astype(str)
    return pl.DataFrame(
        {
            "score": p,
            "flagged": p >= 0.4,
            "outcome": pl.Series(y).set(pl.Series(np.arange(n) >= known * n), None),
            "due": np.arange(n) < due * n,
        }
    )


def test_realised_quality_is_that_of_the_known_rows(loans_spec: ModelSpec) -> None:
    found = quality(rows(known=0.6), loans_spec)
    mine = rows().head(480)
    y = mine["outcome"].cast(int).to_numpy()
    assert found.labelled == 480
    assert found.maturity == pytest.approx(0.6)
    assert found.positives == y.sum()
    assert found.realised["roc_auc"].value == pytest.approx(roc_auc_score(y, mine["score"]))
    assert found.realised["precision"].value == pytest.approx(precision_score(y, mine["flagged"]))
    assert found.estimated["roc_auc"].n == 800
    assert found.expected["roc_auc"].n == 480


def test_what_is_known_before_its_time_counts_for_nothing(loans_spec: ModelSpec) -> None:
    found = quality(rows(due=0.25), loans_spec)
    assert (found.due, found.labelled) == (200, 200)


def test_calibrated_scores_hold_their_promise_and_broken_ones_do_not(loans_spec: ModelSpec) -> None:
    assert quality(rows(3000), loans_spec).surprise == ()
    flipped = pl.col("outcome").replace({"0": "1", "1": "0"})
    upside_down = rows(3000).with_columns(flipped)
    assert "roc_auc" in quality(upside_down, loans_spec).surprise


@pytest.mark.parametrize(
    ("metric", "realised", "broken"),
    [
        ("root_mean_squared_error", (57.0, 69.0), False),
        ("root_mean_squared_error", (91.0, 99.0), True),
        ("recall", (57.0, 69.0), True),
        ("recall", (91.0, 99.0), False),
    ],
)
def test_better_than_promised_is_no_broken_promise(metric, realised, broken) -> None:
    low, high = realised
    real = Estimate((low + high) / 2, low, high, "bca", 500)
    found = Quality(500, 500, 500, 500, None, {metric: real}, {}, {metric: Estimated(82.0, 73.0, 90.0, 500)})
    assert (metric in found.surprise) is broken


def test_a_window_without_outcomes_answers_or_scores_says_so(loans_spec: ModelSpec) -> None:
    unknown = quality(rows(known=0), loans_spec)
    assert unknown.realised == {}
    assert unknown.estimated["recall"].value is not None
    fallback = quality(rows().with_columns(score=pl.lit(None, dtype=pl.Float64)), loans_spec)
    assert (fallback.scored, fallback.realised, fallback.estimated) == (0, {}, {})
    nothing = quality(rows().clear(), loans_spec)
    assert (nothing.rows, nothing.maturity) == (0, 0.0)


def test_what_is_required_is_watched(loans_spec: ModelSpec) -> None:
    assert {"roc_auc", "recall", "net_value", "average_precision"} <= set(watched(loans_spec))
    assert "net_value_per_month" not in watched(loans_spec)


def test_money_is_counted_by_hand(loans_spec: ModelSpec) -> None:
    frame = pl.DataFrame(
        {
            "score": [0.9, 0.8, 0.1, 0.2, 0.5],
            "flagged": [True, True, False, False, True],
            "outcome": ["1", "0", "1", "0", None],
            "due": [True, True, True, True, False],
        }
    )
    rule = pl.Series([True, False, True, False, False])
    found = worth(frame, loans_spec, months=0.5, rule=rule)
    assert found is not None
    assert found.known == 10 - 2 - 8 + 0
    assert found.expected == pytest.approx(0.5 * 10 + 0.5 * -2)
    assert found.costs == 50
    assert found.alone == pytest.approx(2 * -8 + 0.5 * -8)
    assert found.net == pytest.approx(0 + 4 - 50)
    assert found.benefit == pytest.approx(found.net - found.alone)
    assert found.rule == 10 + 0 + 10 + 0
    # 1000 x 0.25 x 0.6 found, each worth 18 less its share of false alarms; 100 a month to run
    assert found.case == pytest.approx((150 * (18 - 2) - 100) / 1000 * 5)


def test_without_a_value_nothing_is_counted(loans_spec: ModelSpec) -> None:
    assert worth(rows(), loans_spec.model_copy(update={"value": None}), months=1) is None
