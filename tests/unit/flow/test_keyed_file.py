"""Files that people bring beside a forecast: what is wrong is named, and nothing wrong is counted."""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import polars as pl
import pytest

from charter.core.errors import DataError
from charter.data.grid import SeriesPlan, name_series
from charter.flow.outlook import Outlook, read_stock
from charter.flow.track import tracked
from charter.monitor.forecasts import track
from charter.serve.types import Input

PLAN = SeriesPlan("sales", ("shop", "item"), "week", "week", "monday", 8, 0, "leave", "units")
MONDAY = date(2024, 4, 22)
WEEKS = [MONDAY + timedelta(weeks=n) for n in range(8)]
KEYS = "shop,item"


@pytest.fixture
def outlook() -> Outlook:
    inputs = [Input("shop", "category"), Input("item", "category"), Input("week", "date")]
    history = pl.DataFrame({"shop": ["007", "8", "9"], "item": "tea"}).with_columns(name_series(PLAN.keys))
    sales = SimpleNamespace(columns={"units": SimpleNamespace(min=0, max=5_000)})
    spec = SimpleNamespace(
        data=SimpleNamespace(sources={"sales": sales}), train=SimpleNamespace(interval=0.9)
    )
    scorer = SimpleNamespace(signature=SimpleNamespace(inputs=inputs))
    return Outlook("packs", "v1", cast(Any, spec), PLAN, cast(Any, scorer), {}, history)


ASKED = pl.DataFrame({"series": ["007/tea", "8/tea", "new/tea"]})


def written(folder: Path, head: str, *rows: str) -> Path:
    file = folder / "given.csv"
    file.write_text("\n".join([head, *rows]) + "\n")
    return file


def test_stock_is_read_as_it_is_written(outlook: Outlook, tmp_path: Path) -> None:
    file = written(
        tmp_path, f"{KEYS},on_hand,on_order", "007,tea,-5,2.5", "8,tea,20,0", "9,tea,1,0", "new,tea,0,0"
    )
    held, notes = read_stock(outlook, ASKED, file)
    assert held.select("series", "on_hand", "on_order").row(0) == ("007/tea", -5.0, 2.5)
    assert notes == []


def test_what_stock_leaves_open_is_said(outlook: Outlook, tmp_path: Path) -> None:
    held, notes = read_stock(outlook, ASKED, written(tmp_path, f"{KEYS},on_hand", "007,tea,4"))
    assert held["on_order"].to_list() == [0.0]
    assert ["on_order" in notes[0], "2 series (8/tea, new/tea)" in notes[1]] == [True, True]


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (["007,tea,1,0", "8,tea,2,0", "007,tea,1,0"], "series 007/tea: in more than one row"),
        (["zz,tea,1,0"], "series zz/tea: a series that neither"),
        (["8,tea,,0"], "series 8/tea: on_hand is missing"),
        (["8,tea,NaN,0"], "series 8/tea: on_hand is missing"),
        (["8,tea,1,"], "series 8/tea: on_order is missing"),
        (["8,tea,inf,0"], "series 8/tea: on_hand = inf: must be finite"),
        (["8,tea,x,0"], "series 8/tea: on_hand = x: must be of type float"),
        (["8,tea,1e300,0"], "series 8/tea: on_hand = 1e300: must be at most 1000000000000"),
        (["8,tea,1,-1"], "series 8/tea: on_order = -1: must be at least 0"),
        (["\x1b[2J,tea,1,0"], r"series \x1b[2J/tea"),
    ],
)
def test_stock_that_is_wrong_is_named(outlook: Outlook, tmp_path: Path, rows: list[str], said: str) -> None:
    file = written(tmp_path, f"{KEYS},on_hand,on_order", *rows)
    with pytest.raises(DataError) as caught:
        read_stock(outlook, ASKED, file)
    assert caught.value.message.startswith(f"{file}: ")
    assert said in caught.value.message
    assert caught.value.remedy


def test_a_column_that_is_not_there_is_named(outlook: Outlook, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there is no column 'on_hand'"):
        read_stock(outlook, ASKED, written(tmp_path, f"{KEYS},onhand", "8,tea,1"))


def forecasts(folder: Path) -> Path:
    file = folder / "week-1.csv"
    pl.DataFrame(
        {"shop": "007", "item": "tea", "as_of": MONDAY, "target": WEEKS, "forecast": 10.0, "lower": 5.0,
         "upper": 15.0}
    ).write_csv(file)  # fmt: skip
    return file


def test_what_came_meets_its_forecast(outlook: Outlook, tmp_path: Path) -> None:
    came = written(
        tmp_path, f"{KEYS},week,units", *(f"007,tea,{week},11" for week in WEEKS), f"9,tea,{MONDAY},3"
    )
    found = tracked(outlook, [forecasts(tmp_path)], came)
    assert (found.rows, found.exceptions.height, found.by_step["coverage"].mean()) == (8, 0, 1.0)


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (["007,tea,2024-04-22,11", "007,tea,2024-04-22,33"], "series 007/tea of 2024-04-22: in more than one row"),
        (["007,tea,2024-04-22,NaN"], "series 007/tea of 2024-04-22: units is missing"),
        (["007,tea,2024-04-22,"], "series 007/tea of 2024-04-22: units is missing"),
        (["007,tea,2024-04-22,x"], "series 007/tea of 2024-04-22: units = x: must be of type float"),
        (["007,tea,2024-04-22,-3"], "units = -3: must be at least 0"),
        (["007,tea,2024-04-22,6000"], "units = 6000: must be at most 5000"),
        (["007,tea,2024-04-23,3"], "series 007/tea of 2024-04-23: no beginning of a week, which start on monday"),
        (["zz,tea,2024-04-22,3"], "series zz/tea: a series that neither"),
        (["007,tea,soon,3"], "week = soon: must be of type datetime"),
    ],
)  # fmt: skip
def test_what_came_and_is_wrong_is_named(
    outlook: Outlook, tmp_path: Path, rows: list[str], said: str
) -> None:
    came = written(tmp_path, f"{KEYS},week,units", *rows)
    with pytest.raises(DataError) as caught:
        tracked(outlook, [forecasts(tmp_path)], came)
    assert said in caught.value.message


def test_an_earlier_forecast_that_is_text_is_named(outlook: Outlook, tmp_path: Path) -> None:
    head = f"{KEYS},as_of,target,forecast,lower,upper"
    file = written(tmp_path, head, "007,tea,2024-04-22,2024-04-22,much,1,2")
    with pytest.raises(DataError, match="forecast = much: must be of type float"):
        tracked(outlook, [file], None)


def test_what_is_not_known_lies_not_outside() -> None:
    earlier = pl.DataFrame(
        {"series": "a", "as_of": MONDAY, "step": range(1, 9), "target": WEEKS, "forecast": 10.0, "lower": 5.0,
         "upper": 15.0}
    )  # fmt: skip
    came = pl.DataFrame({"series": "a", "target": WEEKS, "actual": [11.0] * 6 + [float("nan")] * 2})
    found = track(earlier, came)
    assert (found.rows, found.by_step["coverage"].to_list()) == (6, [1.0] * 6)
