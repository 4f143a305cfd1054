"""Siblings of series without a past: who they are, and how far from them such a series sells."""

from __future__ import annotations

from datetime import date, timedelta

import numpy as np
import polars as pl
import pytest

from charter.data.grid import SeriesPlan, on_grid
from charter.features.forecasts import locate
from charter.train.cold_start import borrow
from charter.train.median_polish import polish
from charter.train.siblings import MOST, Families, Likeness, Trait, middle

PLAN = SeriesPlan(
    "sales", ("shop", "item"), "week", "week", "monday", 4, 0, "leave", "units", ("price", "deal"), (("shops", "shop"),)
)  # fmt: skip
START = date(2024, 1, 1)
LEVELS = {"tea": 3.0, "rice": 6.0, "wine": 9.0}
PRICES = {"tea": 1.0, "rice": 4.0, "wine": 9.0}


def panel(shops: int = 8, weeks: int = 20, dead: tuple[str, str] | None = None) -> dict[str, pl.DataFrame]:
    """Shop ``s3`` sells 30 % more of everything than ``s0``; large shops sell more; ``dead`` never sold."""
    rng = np.random.default_rng(5)
    rows = []
    for s in range(shops):
        for item, level in LEVELS.items():
            for w in range(weeks):
                units = np.expm1(level + 0.1 * s)
                units = 0.0 if (f"s{s}", item) == dead else units
                deal = int(rng.random() < 0.3)
                rows.append(
                    (f"s{s}", item, START + timedelta(weeks=w), units, PRICES[item] - 0.1 * deal, deal)
                )
    names = ["shop", "item", "week", "units", "price", "deal"]
    shop = [f"s{s}" for s in range(shops)]
    attributes = pl.DataFrame(
        {
            "shop": [*shop, "new"],
            "size": [*np.arange(shops, dtype=float), 6.0],
            "kind": ["a", "b"] * (shops // 2) + ["a"],
        }
    )
    return on_grid({"sales": pl.DataFrame(rows, schema=names, orient="row"), "shops": attributes}, PLAN)


def families(sources: dict[str, pl.DataFrame], *features: str) -> Families:
    likeness = Likeness.learn(sources["sales"], PLAN, sources, features)
    return Families(Likeness.from_json(likeness.to_json()), sources["sales"], PLAN, sources)


def asked(sources: dict[str, pl.DataFrame], *series: tuple[str, str, float]) -> pl.DataFrame:
    week = START + timedelta(weeks=20)
    rows = pl.DataFrame(
        [(shop, item, week, price, 0) for shop, item, price in series],
        schema=["shop", "item", "week", "price", "deal"],
        orient="row",
    )
    return locate(rows.with_columns(pl.col("week").cast(pl.Datetime("us")).alias("as_of")), PLAN, sources)


def test_what_the_model_must_not_see_makes_no_siblings() -> None:
    sources = panel()
    names = lambda *features: [t.name for t in families(sources, *features).likeness.traits]  # noqa: E731
    assert names("size", "kind", "price", "deal") == ["size", "kind", "price"]
    assert names("kind") == ["kind"]
    price = next(t for t in families(sources, "price").likeness.traits if t.name == "price")
    assert price.key == "item"  # what it costs is a matter of the product, a deal is one of the week


def test_a_new_shop_is_like_the_nearest_shops_that_sell_the_product() -> None:
    sources = panel(shops=20)
    found = borrow(families(sources, "size"), asked(sources, ("new", "wine", 9.0)))
    assert found.keys["item"].unique().to_list() == ["wine"]
    near = {f"s{s}" for s in range(1, 12)}
    assert len(found.row) == MOST
    assert set(found.keys["shop"]) <= near
    assert found.unknown.tolist() == [1]
    assert not found.moved.any()  # the attributes tell what a shop sells


def test_without_attributes_a_new_shop_is_a_usual_one() -> None:
    sources = panel()
    found = borrow(families(sources), asked(sources, ("new", "rice", 4.0)))
    level = np.array([LEVELS["rice"] + 0.1 * int(s[1:]) for s in found.keys["shop"]])
    np.testing.assert_allclose(found.answer(level), LEVELS["rice"] + 0.35, atol=0.02)


def test_a_product_that_is_new_to_a_strong_shop_sells_more_than_elsewhere() -> None:
    sources = panel()
    sources["sales"] = sources["sales"].filter(~((pl.col("shop") == "s7") & (pl.col("item") == "wine")))
    found = borrow(families(sources, "size"), asked(sources, ("s7", "wine", 9.0)))
    level = np.array([LEVELS["wine"] + 0.1 * int(s[1:]) for s in found.keys["shop"]])
    np.testing.assert_allclose(found.answer(level), LEVELS["wine"] + 0.7, atol=0.02)
    assert found.unknown.tolist() == [0]


def test_a_new_product_is_like_those_of_its_shop_that_cost_as_much() -> None:
    sources = panel()
    found = borrow(families(sources, "price"), asked(sources, ("s3", "port", 8.5)))
    assert found.unknown.tolist() == [2]
    assert found.keys.row(0) == ("s3", "wine")


def test_a_product_that_never_sold_in_one_shop_moves_nothing() -> None:
    alive, dead = panel(), panel(dead=("s2", "wine"))
    one, other = (borrow(families(p), asked(p, ("new", "wine", 9.0))) for p in (alive, dead))
    said = [
        f.answer(
            np.array([0.0 if s == "s2" and at else LEVELS["wine"] + 0.1 * int(s[1:]) for s in f.keys["shop"]])
        )
        for at, f in enumerate((one, other))
    ]
    assert said[0] == pytest.approx(said[1], abs=0.1)


def test_siblings_share_most_and_of_these_are_the_nearest() -> None:
    """Held against a look at every series for every row."""
    sources = panel(shops=12)
    kin_of = families(sources, "size", "price")
    series = [
        ("new", "wine", 9.0),
        ("s3", "port", 8.5),
        ("x", "y", 3.0),
        ("s5", "tea", 1.0),
        ("new", "wine", 7.0),
    ]
    rows = asked(sources, *series)
    kin = kin_of.before(rows.select(PLAN.grid.number(pl.col("as_of"))).item(0, 0))
    marks, codes = kin_of.marks(rows), kin_of.coded(rows)
    found = kin_of.of(kin, codes, marks)
    worth = [np.mean(effect[key] ** 2) for effect, key in zip(kin.effects, kin.keys, strict=True)]
    for row in range(rows.height):
        alike = [key == code[row] for key, code in zip(kin.keys, codes, strict=True)]
        shared = np.dot(worth, alike)
        apart = (kin.marks - marks[row]) ** 2
        order = np.lexsort((np.where(np.isnan(apart), 2.0, apart).sum(axis=1), -shared))
        most = min(MOST, max((shared == shared.max()).sum(), 3))
        assert found.place[found.row == row].tolist() == order[:most].tolist()


def test_each_origin_has_its_own_series_however_often_it_is_asked_about() -> None:
    sources = panel()
    late = (pl.col("shop") == "s7") & (pl.col("week") < START + timedelta(weeks=15))
    sources["sales"] = sources["sales"].filter(~late)
    kin_of = families(sources)
    newest = asked(sources, ("new", "wine", 9.0)).select(PLAN.grid.number(pl.col("as_of"))).item()
    found = [kin_of.before(newest - back) for back in (0, 10, 10, 0)]
    assert [len(kin.names) for kin in found] == [24, 21, 21, 24]


def test_hiding_leaves_nothing_of_the_series_that_are_treated_as_new() -> None:
    sources = panel()
    kin = families(sources, "size")
    rows = asked(sources, *[("s4", "rice", 4.0)] * 4)
    found = borrow(kin, rows, np.array([0, 1, 2, 3]))
    told = found.keys.with_columns(row=pl.Series(found.row))
    of = [told.filter(row=at) for at in range(4)]
    assert not of[0].filter(shop="s4", item="rice").height
    assert not of[1].filter(shop="s4").height
    assert not of[2].filter(item="rice").height
    assert not of[3].filter((pl.col("shop") == "s4") | (pl.col("item") == "rice")).height
    assert found.unknown.tolist() == [0, 1, 2, 3]


def test_a_row_alone_has_the_siblings_that_it_has_among_others() -> None:
    sources = panel()
    kin = families(sources, "size", "kind", "price")
    rows = asked(sources, ("new", "wine", 9.0), ("s3", "port", 8.5), ("new", "tea", 1.0), ("x", "y", 3.0))
    together = borrow(kin, rows)
    for at in range(rows.height):
        alone = borrow(kin, rows[at])
        own = together.row == at
        assert alone.keys.equals(together.keys.filter(own))
        assert np.array_equal(alone.moved, together.moved[own])


def test_one_series_alone_and_no_series_at_all() -> None:
    sources = panel(shops=2)
    alone = sources | {"sales": sources["sales"].filter((pl.col("shop") == "s0") & (pl.col("item") == "tea"))}
    found = borrow(families(alone), asked(sources, ("s9", "rice", 4.0)))
    assert found.answer(np.array([3.0])).tolist() == [3.0]
    early = asked(sources, ("s9", "rice", 4.0)).with_columns(
        pl.lit(START).cast(pl.Datetime("us")).alias("as_of")
    )
    nobody = borrow(families(sources), early)
    assert not len(nobody.row)
    assert np.isnan(nobody.answer(np.empty(0))).all()


def test_the_middle_cuts_a_quarter_off_at_both_ends() -> None:
    said = np.array([0.0, 0.0, 1, 2, 3, 4, 5, 6, 90, 99])
    assert middle(said, np.zeros(10, int), 1)[0] == 3.5
    assert middle(np.array([1.0, np.nan]), np.array([0, 0]), 1)[0] == 1.0


def test_effects_are_shrunk_where_series_say_little() -> None:
    rng = np.random.default_rng(1)
    shop, item = np.repeat(np.arange(30), 20), np.tile(np.arange(20), 30)
    truth = rng.normal(0, 0.3, 30)
    noisy = truth[shop] + rng.normal(0, 2, 20)[item]
    exact = polish(noisy, [shop, item], [30, 20])[0]
    np.testing.assert_allclose(exact, truth - np.median(truth), atol=0.05)
    blurred = polish(noisy + rng.normal(0, 1.5, 600), [shop, item], [30, 20])[0]
    assert 0.3 < np.std(blurred) / np.std(truth) < 1.0
    nothing = polish(rng.normal(0, 1, 600), [shop, item], [30, 20])[0]
    assert np.abs(nothing).max() < 0.3


def test_a_trait_survives_the_bundle() -> None:
    likeness = Likeness(13, (Trait("size", "shop", 2.0, 0.5), Trait("kind", "shop")))
    assert Likeness.from_json(likeness.to_json()) == likeness
