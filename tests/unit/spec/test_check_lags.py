"""What can be seen to be wrong with the features of series before there is data."""

from __future__ import annotations

from pathlib import Path

import pytest

from charter.core.errors import SpecError
from charter.spec.check import cross_check, find
from charter.spec.loader import loads

SAMPLES = Path(__file__).parent / "samples"
SERIES = (SAMPLES / "series.yaml").read_text("utf-8")
ROWS = (SAMPLES / "rows.yaml").read_text("utf-8")

CASES = [
    ("back: [1, 2, 52]", "back: [1, 2, 2]", "features.lags.sold.back.2", "stands twice"),
    ("season: [5, 52]", "season: [4, 52]", "features.lags.sold.season.0",
     "is 4, but packs of 4 weeks before the last target is not known yet"),
    ("season: [5, 52]", "season: [52, 52]", "features.lags.sold.season.1", "52 stands twice"),
    ("{value: packs, back", "{value: pack, back", "features.lags.sold.value", "uses pack, which the series do not"),
    ("{value: packs, back", "{value: shop, back", "features.lags.sold.value", "a number is needed"),
    ("{value: packs, back", '{value: "AVG(packs)", back', "features.lags.sold.value", "aggregates over rows"),
    ('{value: "AVG(price)", by', "{value: price, by", "features.lags.rivals.value", "does not aggregate"),
    ("by: [shop], season", "by: [price], season", "features.lags.rivals.by.0", "price is not one of the columns"),
    ("by: [shop], season", "by: [shop, shop], season", "features.lags.rivals.by.1", "shop stands twice"),
    ("by: [item]}", "by: [shop, items]}", "features.windows.item_trend.by.1", "items is not one of the columns"),
    ("over: [1w], by: [shop]}", "over: [1w], by: [shop, item]}", "features.windows.people.source", "no column item"),
    ("over: [1w], by: [shop]}", "over: [1w]}", "features.windows.people.source", "visits has no column item"),
    ("over: [26w], by: [item]}", "over: [26w, 6d], by: [item]}", "features.windows.item_trend.over.1",
     "is 6d, 6 days: shorter than a week"),
    ("derive: {cheap", 'derive: {sold_lag_1: "price", cheap', "features.lags.sold", "makes sold_lag_1, which is a col"),
    ("price / priced_season_1", "price / packs", "features.rows.discount", "uses packs"),
    ("price / priced_season_1", "price / priced_season_3", "features.rows.discount", "uses priced_season_3"),
]  # fmt: skip


def test_the_sample_is_sound() -> None:
    assert not find(loads(SERIES).spec)


@pytest.mark.parametrize(("old", "new", "path", "message"), CASES)
def test_one_change_one_fault(old: str, new: str, path: str, message: str) -> None:
    assert SERIES.count(old) == 1
    with pytest.raises(SpecError) as caught:
        loads(SERIES.replace(old, new))
    (problem,) = caught.value.problems
    assert ".".join(map(str, problem.path)) == path
    assert message in problem.message


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("{value: packs, back", "{value: earned, back"),
        ("    sold: {", "    mean: {value: packs, back: [1]}\n    sold: {"),
        ("season: [0, 1]}", "season: [0, 1, 2, 3]}"),
    ],
)
def test_what_is_fine(old: str, new: str) -> None:
    assert SERIES.count(old) == 1
    assert not find(loads(SERIES.replace(old, new)).spec)


@pytest.mark.parametrize(
    ("features", "path"),
    [
        ("features:\n  lags: {x: {value: amount, back: [1]}}\n", "features.lags"),
        ("features:\n  calendar: {parts: [week]}\n", "features.calendar"),
    ],
)
def test_lags_and_calendar_are_for_series(features: str, path: str) -> None:
    changed = ROWS.replace("features:\n", features, 1)
    with pytest.raises(SpecError) as caught:
        loads(changed)
    assert path in [".".join(map(str, p.path)) for p in caught.value.problems]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("{value: packs, back: [1, 2, 52], season: [5, 52]}", "{value: packs}", "needs 'back'"),
        ("{parts: [week, month], holidays: US}", "{}", "needs 'parts' or 'holidays'"),
        ("back: [1, 2, 52]", "back: [0]", "must be at least 1"),
        ("holidays: US", "holidays: usa", "is not a country or a part of one"),
    ],
)
def test_what_says_nothing_is_refused(old: str, new: str, message: str) -> None:
    with pytest.raises(SpecError) as caught:
        loads(SERIES.replace(old, new))
    assert message in str(caught.value)


def test_forecasts_look_nothing_up_in_a_store() -> None:
    with pytest.raises(SpecError, match="forecasts read the past of their series themselves"):
        loads(SERIES + "serve: {features: {store: sqlite}}\n")


def test_a_specification_without_a_file_has_the_same_faults() -> None:
    spec = loads(SERIES).spec
    lag = spec.features.lags["sold"].model_copy(update={"season": (1,)})
    features = spec.features.model_copy(update={"lags": {"sold": lag}, "rows": {}})
    (problem,) = cross_check(spec.model_copy(update={"features": features}))
    assert problem.path == ("features", "lags", "sold", "season", 0)
