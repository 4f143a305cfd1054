"""What can be seen to be wrong with levels and orders before there is data."""

from __future__ import annotations

from pathlib import Path

import pytest

from charter.core.errors import SpecError
from charter.spec.check import find
from charter.spec.loader import loads
from charter.spec.parts import part_of

SAMPLES = Path(__file__).parent / "samples"
SERIES = (SAMPLES / "series.yaml").read_text("utf-8")
LEVELS = 'evaluate: {require: {wmape: "<= 0.4"}, hierarchy: {levels: {shop: [shop], item: [item]}}}'
STOCK = "inventory: {currency: EUR, margin: 2, holding_per_period: 0.1, lead_time: 2, markdown: 1, shelf_life: 4}\n"
FULL = SERIES.replace('evaluate: {require: {wmape: "<= 0.4"}}', LEVELS) + STOCK


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


def test_they_are_for_forecasts() -> None:
    rows = (SAMPLES / "rows.yaml").read_text("utf-8")
    with pytest.raises(SpecError) as caught:
        loads(rows + STOCK)
    assert "is for forecasts, and the task is binary" in caught.value.problems[0].message
