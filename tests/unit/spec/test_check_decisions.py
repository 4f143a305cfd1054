"""What can be seen to be wrong with levels and orders before there is data."""

from __future__ import annotations

from pathlib import Path

import pytest

from charter.core.errors import SpecError
from charter.spec.check import find
from charter.spec.loader import loads
from charter.spec.parts import part_of

ROWS = Path(__file__).parent / "samples" / "rows.yaml"
SPEC = """\
name: packs
summary: Packs that each shop sells of each item in each of the next four weeks
owner: {team: Supply, contact: supply@example.org}
purpose:
  problem: Shelves are empty after promotions.
  objective: Order what will be sold.
  decision: How many packs to order.
  users: [planners]
  today: {process: The mean of four weeks}
data:
  sources:
    sales:
      uri: sales.parquet
      columns:
        shop: {type: category}
        item: {type: category}
        week: {type: date}
        packs: {type: integer, min: 0}
        promoted: {type: boolean}
      time: week
  observations:
    {source: sales, series: [shop, item], time: week, every: week, horizon: 4, gap: 1, known_ahead: [promoted]}
  label: {column: packs, name: packs}
train: {task: forecast, split: {kind: origins, origins: 2}, learners: [lightgbm]}
"""
LEVELS = "evaluate: {hierarchy: {levels: {shop: [shop], item: [item]}}}\n"
STOCK = "inventory: {currency: EUR, margin: 2, holding_per_period: 0.1, lead_time: 2, markdown: 1, shelf_life: 4}\n"
FULL = SPEC + LEVELS + STOCK


def test_both_are_fine() -> None:
    assert not find(loads(FULL).spec)
    assert part_of(("evaluate", "hierarchy")) == "evaluate"
    assert part_of(("inventory",)) == "evaluate"


@pytest.mark.parametrize(
    ("old", "new", "path", "message"),
    [
        ("shop: [shop]", "shop: [shops]", "evaluate.hierarchy.levels.shop.0", "is no column of a series"),
        ("shop: [shop]", "total: [shop]", "evaluate.hierarchy.levels.total", "always there"),
        ("shop: [shop]", "both: [item, shop]", "evaluate.hierarchy.levels.both", "the series themselves"),
        ("lead_time: 2", "lead_time: 4", "inventory.lead_time", "5 periods together, and the horizon is 4"),
        (", shelf_life: 4", "", "inventory.markdown", "units keep for ever"),
        ("margin: 2", "margin: 0", "inventory.margin", "greater than 0"),
    ],
)
def test_one_change_one_fault(old: str, new: str, path: str, message: str) -> None:
    assert FULL.count(old) == 1
    with pytest.raises(SpecError) as caught:
        loads(FULL.replace(old, new))
    (problem,) = caught.value.problems
    assert ".".join(map(str, problem.path)) == path
    assert message in problem.message


NEW = """\
evaluate:
  require_new_series: {new shop: {wmape: "<= 0.6"}, "new shop, new item": {coverage_error: "<= 0.1"}}
"""


def test_series_without_a_past_can_have_requirements_of_their_own() -> None:
    assert not find(loads(SPEC + NEW).spec)
    assert part_of(("evaluate", "require_new_series", "new shop", "wmape")) == "gate"


@pytest.mark.parametrize(
    ("old", "new", "path", "message", "remedy"),
    [
        ("new shop:", "new shops:", "new shops", "nothing that a series can be new by",
         "what is new: new shop and item together; new shop; new item; new shop, new item"),
        ("wmape", "wmap", "new shop.wmap", "not a metric of a forecast task", "did you mean wmape"),
        ("<= 0.6", "<= -1", "new shop.wmape", "can never be met", "values lie between 0 and inf"),
    ],
)  # fmt: skip
def test_what_cannot_be_required_of_them_is_named(
    old: str, new: str, path: str, message: str, remedy: str
) -> None:
    with pytest.raises(SpecError) as caught:
        loads(SPEC + NEW.replace(old, new))
    (problem,) = caught.value.problems
    assert ".".join(map(str, problem.path)) == f"evaluate.require_new_series.{path}"
    assert message in problem.message
    assert remedy in (problem.hint or "")


def test_they_are_for_forecasts() -> None:
    with pytest.raises(SpecError) as caught:
        loads(ROWS.read_text("utf-8") + STOCK)
    assert "is for forecasts, and the task is binary" in caught.value.problems[0].message
