"""Windows of every entity at once are those of each one alone."""

from __future__ import annotations

from datetime import datetime

import numpy as np
import polars as pl
import pytest

from charter.features.featureset import EventWindow, FeatureSet, complete, histories
from charter.features.materialise import entities_of, entity_windows

AS_OF = datetime.fromisoformat("2026-02-01")
WINDOWS = (
    EventWindow("total", "orders", "SUM(amount)", ("7d", "all"), None, 0.0),
    EventWindow("last", "visits", "MIN(age_days)", ("all",), "long", None),
    EventWindow("mean", "orders", "AVG(amount)", ("30d",), "amount > 1", None),
)
FEATURES = FeatureSet((), "who", (("orders", "at"), ("visits", "at")), WINDOWS, (), (), "gone")


@pytest.fixture(scope="module")
def events() -> dict[str, pl.DataFrame]:
    rng = np.random.default_rng(5)
    n = 900
    at = np.datetime64("2025-12-01", "us") + rng.integers(0, 100 * 1440, 2 * n) * np.timedelta64(
        60_000_000, "us"
    )
    orders = {
        "who": [f"k{i}" for i in rng.integers(0, 80, n)],
        "at": at[:n],
        "amount": rng.gamma(0.5, 1e3, n),
    }
    visits = {"who": [f"k{i}" for i in rng.integers(40, 120, n)], "at": at[n:], "long": rng.random(n) < 0.5}
    return {"orders": pl.DataFrame(orders), "visits": pl.DataFrame(visits)}


@pytest.mark.parametrize("chunk", [1, 7, 1000])
def test_any_chunk_gives_the_bits_of_a_request(events: dict[str, pl.DataFrame], chunk: int) -> None:
    sorted_events = histories(events, FEATURES)
    found = {
        who: vector.tobytes()
        for keys, vectors in entity_windows(sorted_events, FEATURES, AS_OF, chunk=chunk)
        for who, vector in zip(keys.to_list(), vectors, strict=True)
    }
    everybody = sorted({*events["orders"]["who"], *events["visits"]["who"]})
    assert sorted(found) == everybody == entities_of(sorted_events).to_list()
    names = ["total_7d", "total_all", "last_all", "mean_30d"]
    for who in everybody[::9]:
        request = pl.DataFrame({"who": [who], "as_of": [AS_OF]})
        asked = complete(request, FEATURES, sorted_events).select(names).fill_null(float("nan"))
        assert found[who] == asked.to_numpy().tobytes()


def test_nobody_gives_nothing(events: dict[str, pl.DataFrame]) -> None:
    nobody = histories({name: frame.clear() for name, frame in events.items()}, FEATURES)
    assert list(entity_windows(nobody, FEATURES, AS_OF)) == []
