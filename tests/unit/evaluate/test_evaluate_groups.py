"""Slices and fairness."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import numpy as np
import polars as pl
import pytest
from fairlearn import metrics as fair
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.proportion import confint_proportions_2indep

from charter.core.errors import DataError
from charter.evaluate.evaluation import Evaluation, evaluate
from charter.evaluate.fairness import Rate, difference, mover, newcombe, ratio
from charter.evaluate.slices import holm, slice_rows, slices_note
from charter.evaluate.threshold import choose
from charter.spec.types import ModelSpec, Threshold

Rows = tuple[pl.DataFrame, np.ndarray, np.ndarray]


def _evaluate(rows: Rows, spec: ModelSpec, cluster: np.ndarray | None = None) -> Evaluation:
    frame, y, score = rows
    return evaluate(
        frame, y, score, spec=spec, threshold=choose(y, score, Threshold(fixed=0.4)), cluster=cluster
    )


def test_a_column_gives_a_slice_per_value_in_natural_order() -> None:
    frame = pl.DataFrame({"c": ["10", "9", None, "b", "9"], "flag": [True, False, True, True, None]})
    found = slice_rows(frame, ["c", "flag"])
    assert [(s.value, s.rows.tolist()) for s in found if s.slice == "c"] == [
        ("9", [1, 4]), ("10", [0]), ("b", [3]), ("(missing)", [2]),
    ]  # fmt: skip
    assert [s.value for s in found if s.slice == "flag"] == ["false", "true", "(missing)"]


def test_many_numbers_are_cut_at_their_quartiles() -> None:
    frame = pl.DataFrame({"age": [*range(100), None]})
    found = slice_rows(frame, ["age"])
    assert [s.value for s in found] == [
        "1: [0, 25)",
        "2: [25, 50)",
        "3: [50, 74)",
        "4: [74, 99]",
        "(missing)",
    ]
    assert [len(s.rows) for s in found] == [25, 25, 24, 26, 1]
    skewed = slice_rows(pl.DataFrame({"x": [0.0] * 80 + [float(i) for i in range(1, 25)]}), ["x"])
    assert sum(len(s.rows) for s in skewed) == 104
    assert all(len(s.rows) for s in skewed)


def test_edges_of_ranges_read_well() -> None:
    found = slice_rows(
        pl.DataFrame({"x": [1_000_000.0 + i for i in range(24)], "y": [i / 7 for i in range(24)]}), ["x", "y"]
    )
    assert found[0].value == "1: [1000000, 1000006)"
    assert found[4].value == "1: [0, 0.857143)"


def test_very_many_values_are_summed_up() -> None:
    frame = pl.DataFrame({"zip": [f"z{i:03}" for i in range(80)] * 2 + ["z000"]})
    found = slice_rows(frame, ["zip"])
    assert len(found) == 50
    assert sum(len(s.rows) for s in found) == 161
    assert "z000" in {s.value for s in found}
    assert "(other)" in {s.value for s in found}


def test_conditions_leave_out_the_unknown() -> None:
    frame = pl.DataFrame({"age": [20, None, 40]})
    assert slice_rows(frame, ["age < 30"])[0].rows.tolist() == [0]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("agee < 30", r"no column 'agee'(.|\n)*age"),
        ("age + 1", "neither a column nor a condition"),
        ("age < 'x'", "cannot be computed"),
    ],
)
def test_wrong_slices_are_named(text: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        slice_rows(pl.DataFrame({"age": [20, 40]}), [text])


def test_the_worst_slice_is_found_and_small_ones_are_named(
    rows: Rows, spec_of: Callable[..., ModelSpec]
) -> None:
    result = _evaluate(rows, spec_of(slices=["region", "sex", "age < 30"]))
    worst = result.worst_slice
    assert worst is not None
    assert (worst.slice, worst.value) == ("region", "east")
    assert worst.primary.low is not None
    assert worst.primary.low <= worst.primary.value <= worst.primary.high
    assert worst.p_value is not None
    assert worst.p_value < 0.001
    assert worst.gap.high < 0
    small = {s.value: s for s in result.slices if not s.judged}
    assert set(small) == {"atoll", "(missing)"}
    assert small["atoll"].note == "too small to judge: 12 rows, 100 needed"
    assert small["atoll"].primary.low is None
    assert all(s.p_value > 0.05 for s in result.slices if s.slice == "sex")
    assert "6 slices judged, 2 not" in result.slices_note
    assert slices_note([worst], 0.95) == "1 slice judged, 0 not."


def test_a_slice_of_all_rows_has_no_gap(rows: Rows, spec_of: Callable[..., ModelSpec]) -> None:
    one = _evaluate(rows, spec_of(slices=["age >= 0"])).slices[0]
    assert (one.gap.value, one.p_value) == (0.0, 1.0)


def test_holm_agrees_with_the_peer() -> None:
    p = np.random.default_rng(0).random(12) ** 3
    assert list(dict(sorted(holm(dict(enumerate(p))).items())).values()) == pytest.approx(
        multipletests(p, method="holm")[1]
    )


def test_fairness_agrees_with_fairlearn(rows: Rows, spec_of: Callable[..., ModelSpec]) -> None:
    frame, y, score = rows
    keep = ~frame["region"].fill_null("x").is_in(["x", "atoll"]).to_numpy()
    frame, y, score = frame.filter(keep), y[keep], score[keep]
    spec = spec_of(fairness={"by": ["region", "sex"], "min_rows": 20})
    result = _evaluate((frame, y, score), spec)
    said = (score >= 0.4).astype(int)
    for attribute in ("region", "sex"):
        got, who = result.fairness[attribute], frame[attribute].to_numpy()
        args = {"y_true": y, "y_pred": said, "sensitive_features": who}
        assert got.demographic_parity_difference.value == pytest.approx(
            fair.demographic_parity_difference(**args)
        )
        assert got.equal_opportunity_difference.value == pytest.approx(
            fair.equal_opportunity_difference(**args)
        )
        assert got.disparate_impact_ratio.value == pytest.approx(fair.demographic_parity_ratio(**args))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            by = fair.MetricFrame(
                metrics={"fpr": fair.false_positive_rate, "tpr": fair.true_positive_rate}, **args
            )
        assert got.false_positive_rate_difference.value == pytest.approx(by.difference()["fpr"])
        for group in got.groups:
            assert group.tpr.value == pytest.approx(by.by_group.loc[group.group, "tpr"])
            assert group.fpr.low <= group.fpr.value <= group.fpr.high


def test_small_groups_are_named_not_judged(rows: Rows, spec_of: Callable[..., ModelSpec]) -> None:
    result = _evaluate(rows, spec_of(fairness={"by": ["region"], "min_rows": 120}))
    groups = {g.group: g for g in result.fairness["region"].groups}
    assert groups["atoll"].unjudged == ("selection_rate", "tpr", "fpr")
    assert groups["atoll"].note == "not judged: fewer than 120 rows"
    assert groups["atoll"].selection_rate.value is not None
    assert groups["east"].positives < 120 < groups["east"].n
    assert groups["east"].unjudged == ("tpr",)
    assert "east" not in result.fairness["region"].equal_opportunity_difference.note
    alone = _evaluate(rows, spec_of(fairness={"by": ["region"], "min_rows": 1000})).fairness["region"]
    assert alone.demographic_parity_difference.value is None
    assert "fewer than two groups" in alone.demographic_parity_difference.note


def test_entities_that_repeat_widen_the_difference(rows: Rows, spec_of: Callable[..., ModelSpec]) -> None:
    frame, y, score = rows
    spec = spec_of(fairness={"by": ["sex"]})
    copies = (pl.concat([frame] * 3), np.tile(y, 3), np.tile(score, 3))
    once, naive = _evaluate(rows, spec), _evaluate(copies, spec)
    right = _evaluate(copies, spec, cluster=np.tile(np.arange(len(y)), 3))
    widths = [
        r.fairness["sex"].demographic_parity_difference.high
        - r.fairness["sex"].demographic_parity_difference.value
        for r in (once, naive, right)
    ]
    assert widths[1] < 0.7 * widths[0]
    assert widths[2] == pytest.approx(widths[0], rel=0.15)
    assert right.entities == len(y)


def test_a_group_without_negatives_has_no_false_positive_rate(spec_of: Callable[..., ModelSpec]) -> None:
    y = np.append(np.ones(50), np.tile([0.0, 1.0], 50))
    frame = pl.DataFrame({"g": ["a"] * 50 + ["b"] * 100})
    result = _evaluate(
        (frame, y, np.tile([0.2, 0.6, 0.7], 50)), spec_of(fairness={"by": ["g"], "min_rows": 10})
    )
    first = result.fairness["g"].groups[0]
    assert (first.fpr.value, first.fpr.note, first.unjudged) == (
        None,
        "the rows hold one class only",
        ("fpr",),
    )


def test_an_unknown_attribute_is_named(rows: Rows, spec_of: Callable[..., ModelSpec]) -> None:
    with pytest.raises(DataError, match=r"fairness.by(.|\n)*'sexx'(.|\n)*sex"):
        _evaluate(rows, spec_of(fairness={"by": ["sexx"]}))


@pytest.mark.parametrize(
    ("a", "n", "b", "m"), [(56, 70, 48, 80), (9, 10, 3, 10), (10, 10, 0, 20), (6, 7, 2, 7)]
)
def test_newcombes_interval_agrees_with_the_peer(a: int, n: int, b: int, m: int) -> None:
    wanted = confint_proportions_2indep(a, n, b, m, method="newcomb", compare="diff")
    assert newcombe(Rate("a", a / n, n), Rate("b", b / m, m)) == pytest.approx(wanted)


def test_newcombe_gives_the_published_numbers() -> None:
    """Table II of Newcombe (1998), method 10: 56/70 - 48/80, 9/10 - 3/10, 10/10 - 0/20."""
    published = {
        (56, 70, 48, 80): (0.0524, 0.3339),
        (9, 10, 3, 10): (0.1705, 0.8090),
        (10, 10, 0, 20): (0.6791, 1.0),
    }
    for (a, n, b, m), wanted in published.items():
        assert newcombe(Rate("a", a / n, n), Rate("b", b / m, m)) == pytest.approx(wanted, abs=6e-5)


@pytest.mark.parametrize(
    ("shares", "rows_each"),
    [((0.4, 0.4), 150), ((0.3, 0.4), 150), ((0.2, 0.2, 0.2, 0.2), 200), ((0.1, 0.15, 0.3), 200)],
)
def test_intervals_of_differences_and_ratios_hold(shares: tuple[float, ...], rows_each: int) -> None:
    rng = np.random.default_rng(4)
    gap, least = max(shares) - min(shares), min(shares) / max(shares)
    hits = np.zeros(2)
    for _ in range(400):
        rates = [
            Rate(str(i), rng.binomial(rows_each, p) / rows_each, rows_each) for i, p in enumerate(shares)
        ]
        d, r = difference(rates), ratio(rates)
        hits += [d.low <= gap <= d.high, r.low <= least <= r.high]
    assert (hits / 400 > 0.925).all(), hits / 400


def test_ratios_at_the_edge() -> None:
    low, high = mover(Rate("a", 0.0, 50), Rate("b", 0.5, 50))
    assert (low, 0 < high < 0.3) == (0.0, True)
    assert mover(Rate("a", 0.5, 50), Rate("b", 0.0, 50))[1] == float("inf")
    assert ratio([Rate("a", 0.0, 50), Rate("b", 0.0, 50)]).value is None
    assert ratio([Rate("a", 0.0, 50), Rate("b", 0.5, 50)]).value == 0.0
    assert difference([Rate("a", 0.0, 50), Rate("b", 0.0, 50)]).low == 0.0
