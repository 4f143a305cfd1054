"""How answers of a forecast are told on the terminal."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import polars as pl
import pytest
import typer
from golden_support import golden

from charter.cli import forecast as commands
from charter.core.errors import UsageError
from charter.evaluate.effect import EffectSpread
from charter.evaluate.elasticity import Elasticity
from charter.evaluate.levels import LevelPlan, Spread, all_levels
from charter.flow.whatif import Answer
from charter.monitor.forecasts import track
from charter.serve.question import read_changes
from charter.serve.whatif import effects

AT = datetime(2024, 1, 1)  # noqa: DTZ001


@pytest.fixture
def outlook(monkeypatch: pytest.MonkeyPatch) -> Any:
    found = SimpleNamespace(
        name="packs",
        version="v3",
        plan=SimpleNamespace(every="week", keys=("shop", "item")),
        spec=SimpleNamespace(
            train=SimpleNamespace(interval=0.9),
            evaluate=SimpleNamespace(confidence=0.95),
            inventory=SimpleNamespace(currency="EUR"),
        ),
        decisions={},
    )
    monkeypatch.setattr(commands, "_open", lambda *_: found)
    return found


def rows() -> pl.DataFrame:
    return pl.DataFrame(
        [
            {"series": f"s{s}/{i}", "shop": f"s{s}", "item": i, "as_of": AT, "step": h,
             "target": AT + timedelta(weeks=h - 1), "forecast": 100.0 * s + 10 * h, "lower": 60.0 * s,
             "upper": 180.0 * s}
            for s in (1, 2) for i in ("tea", "mate") for h in (1, 2)
        ]
    )  # fmt: skip


def test_what_is_ahead_and_what_if(outlook: Any, capsys: pytest.CaptureFixture[str]) -> None:
    spread = Spread(0.9, 1.1, 40, exact=True)
    levels = all_levels(
        rows(),
        LevelPlan({"item": ("item",)}, "bottom_up", None, 0.9, dict.fromkeys(("total", "item", "series"), spread),
                  None, (), {}),
    )  # fmt: skip
    answer = Answer("2024-01-01", True, rows(), rows(), [], 0.9, [])
    commands._tell(outlook, answer, levels, [])
    after = rows().with_columns(
        forecast=pl.col("forecast") * pl.when(pl.col("item") == "tea").then(1.2).otherwise(1)
    )
    found = effects(rows(), after, EffectSpread(0.9, (1.0, 50.0), (0.5, 0.1), (99, 99)), by=["item"])
    warnings = ["price = 9 is beyond what 2 of 2 series have seen (series s1/tea: 2 to 3)"]
    commands._tell(
        outlook, Answer("2024-01-01", False, rows(), after, found, 0.9, warnings), levels, ["price = 9"]
    )
    golden("forecast-ahead-and-what-if", capsys.readouterr().out)


def test_what_was_measured(outlook: Any, capsys: pytest.CaptureFixture[str]) -> None:
    commands.report(None, Path(), False)
    outlook.decisions = {
        "levels": {"method": "bottom_up"},
        "notes": ["what-if: the out-of-fold forecasts are of one period, so nothing changed in them"],
        "measured": {
            "levels": [
                {"level": "total", "rows": 24, "wmape": 0.031, "wmape_bottom_up": 0.031, "bias": -0.002,
                 "coverage": 0.917},
                {"level": "series", "rows": 2400, "wmape": 0.211, "wmape_bottom_up": 0.21, "bias": -0.002,
                 "coverage": 0.9},
            ],
            "incoherence": 2e-16,
            "inventory": {
                "service_level": 0.909, "periods": 8, "series": 100,
                "forecast": {"in_stock": 0.95, "fill_rate": 0.98, "average_stock": 1200.4, "lost": 31.0,
                             "markdown": 0.0,
                             "value": 20_001.0},
                "moving_average": {"in_stock": 0.91, "fill_rate": 0.95, "average_stock": 1900.0, "lost": 90.0,
                                   "markdown": 12.0, "value": 18_500.0},
                "gain": {"value": 1501.0, "low": 900.0, "high": 2100.0, "note": ""},
            },
        },
    }  # fmt: skip
    commands.report(None, Path(), False)
    golden("forecast-report", capsys.readouterr().out)


def test_tracking(outlook: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    n, origins = 60, 12
    i, o = (index.ravel() for index in np.indices((n, origins)))
    written = pl.DataFrame(
        {"series": [f"s{k:02}" for k in i], "as_of": o, "step": 1, "target": o, "forecast": 100.0, "lower": 80.0,
         "upper": 130.0}
    )  # fmt: skip
    actual = 100 * np.exp(np.random.default_rng(1).normal(0, 0.1, (n, origins)))
    actual[4] *= 1.6
    came = pl.DataFrame({"series": [f"s{k:02}" for k in i], "target": o, "actual": actual.ravel()})
    monkeypatch.setattr("charter.flow.track.tracked", lambda *_: track(written, came))
    with pytest.raises(typer.Exit) as left:
        commands.track([Path("a.parquet")], None, None, Path(), False)
    assert left.value.exit_code == 1
    golden("forecast-track", capsys.readouterr().out)


def test_elasticities(
    outlook: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    found = [
        Elasticity("tea", -2.31, 0.12, -2.55, -2.07, -1.9, 5200, 40),
        Elasticity("mate", None, None, None, None, None, 900, 40, "the price never moves within a series"),
    ]
    monkeypatch.setattr("charter.flow.whatif.price_elasticities", lambda *_, **__: found)
    commands.elasticity("price", "item", None, [], True, None, Path(), False)
    golden("forecast-elasticity", capsys.readouterr().out)


def test_questions_that_cannot_be_asked() -> None:
    picked = "CASE WHEN item = 'tea' THEN price1 WHEN item = 'mate' THEN price2 END"
    derived = {"price": picked, "mean": "price1 + price2"}
    said = []
    for text in (
        "price1",
        "prise1 = 2",
        "item = 'x'",
        "price1 of shp 3 = 2",
        "price of item coffee = 2",
        "mean = 2",
        "price1 = price1 * 2 in days 1..3",
        "price1 = 2 in weeks 3..1",
        "price1 = 2 in week 13",
        "price1 = MAX(price1)",
        "price1 = 2 +",
    ):
        with pytest.raises(UsageError) as caught:
            read_changes(
                text, known_ahead=["price1", "price2"], derived=derived, columns=["shop", "item", "price1", "price2"],
                every="week", horizon=12,
            )  # fmt: skip
        said.append(f'--set "{text}"\n{caught.value}')
    golden("forecast-questions", "\n".join(said))
