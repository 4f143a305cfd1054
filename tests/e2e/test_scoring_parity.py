"""Serving, batch and training give the same score for the same row."""

from __future__ import annotations

import io
import json
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from charter.data.split import folds
from charter.features.dataset import build_dataset
from charter.features.featureset import FeatureSet, compute
from charter.features.windows import window_features
from charter.flow.build import training_rows
from charter.flow.serving import deployment_file
from charter.flow.workspace import Workspace
from charter.registry.io.blobs import Blobs
from charter.registry.io.records import Records
from charter.serve.io.loading import load_models, read_deployment
from charter.serve.served import Served
from charter.spec.types import ModelSpec
from charter.train.calibrate import apply as calibrate
from charter.train.run import train
from charter.train.types import Trained

WITHIN = 1e-6
EXAMPLES = settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@dataclass(frozen=True)
class Trio:
    """One released model, three ways to its score."""

    spec: ModelSpec
    served: Served
    trained: Trained
    features: FeatureSet
    sources: dict[str, pl.DataFrame]
    dataset: pl.DataFrame

    def by_training(self, frame: pl.DataFrame) -> np.ndarray:
        """Matrix, model in memory, calibration."""
        raw = self.trained.model.predict(self.trained.preprocessor.transform(frame))
        return np.asarray(calibrate(self.trained.calibration, raw))

    def by_serving(self, rows: list[dict[str, Any]]) -> np.ndarray:
        """JSON in, JSON out."""
        answers = json.loads(self.served.answer(json.dumps(rows).encode(), explain=True))
        assert all(a["decision"] is not None for a in answers)
        return np.array([a["score"] for a in answers])

    def by_batch(self, frame: pl.DataFrame) -> np.ndarray:
        return self.served.scorer.score(frame)["score"].to_numpy()


def trio(folder: Path) -> Trio:
    workspace = Workspace.at(folder)
    loaded = workspace.load()
    spec = loaded.spec
    blobs = Blobs(folder / ".charter" / "blobs")
    with Records.open(workspace.records_url, model=spec.name, readonly=True) as records:
        trees = {stage: blobs.tree(records.latest(stage).output) for stage in ("snapshot", "features")}
        bundle = records.version(1).bundle
    frames = {
        name: pl.read_parquet(io.BytesIO(blobs.get(trees["snapshot"][f"{name}.parquet"])))
        for name in spec.data.sources
    }
    dataset = pl.read_parquet(io.BytesIO(blobs.get(trees["features"]["dataset.parquet"])))
    features = FeatureSet.from_json(json.loads(blobs.get(trees["features"]["featureset.json"])))
    label = spec.data.label.name
    rows = training_rows(dataset, label, "train")
    cut = folds(
        rows,
        spec.train.split,
        rows[label].to_numpy(),
        spec.train.seed,
        known_after=spec.data.label.wait,
    )
    trained = train(rows, features, spec, folds=cut)
    assert blobs.get(blobs.tree(bundle)["model.onnx"]) == trained.onnx, "trained twice, and not the same"
    (served,) = load_models(read_deployment(deployment_file(workspace, loaded)))
    return Trio(spec, served, trained, features, frames, dataset)


@pytest.fixture(scope="module")
def by_row(loans_built: Path) -> Trio:
    return trio(loans_built)


@pytest.fixture(scope="module")
def by_entity(clients_built: Path) -> Trio:
    return trio(clients_built)


def agree(*scores: np.ndarray) -> None:
    for other in scores[1:]:
        assert np.max(np.abs(scores[0] - other)) <= WITHIN


def test_on_the_whole_data_set(by_row, by_entity):
    for model in (by_row, by_entity):
        names = [i.name for i in model.served.scorer.signature.inputs]
        inputs = model.dataset.select(n for n in names if n in model.dataset.columns)
        requests = json.loads(inputs.write_json())
        agree(model.by_training(model.dataset), model.by_serving(requests), model.by_batch(model.dataset))


money = st.floats(1, 1e7, allow_nan=False).map(lambda v: float(f"{v:.6g}"))
accounts = st.lists(
    st.fixed_dictionaries(
        {
            "credit": money,
            "bill": st.none() | st.floats(-1e6, 1e7, allow_nan=False, allow_subnormal=False),
            "late": st.integers(0, 9),
            "region": st.sampled_from(["north", "south", "west"]),
        }
    ),
    min_size=1,
    max_size=8,
)


@EXAMPLES
@given(rows=accounts)
def test_on_any_row(by_row, rows):
    known = by_row.sources["accounts"]
    first = int(known["account"].max()) + 1
    ids = [first + i for i in range(len(rows))]
    new = pl.DataFrame(
        rows, schema={"credit": pl.Float64, "bill": pl.Float64, "late": pl.Int64, "region": pl.String}
    )
    new = new.with_columns(account=pl.Series(ids), group=pl.lit("a"), outcome=pl.lit("0"))
    whole = pl.concat([known, new.select(known.columns).cast(dict(known.schema))])
    dataset, _ = build_dataset({"accounts": whole}, by_row.spec)
    made = dataset.filter(pl.col("account").is_in(ids)).sort("account")
    agree(by_row.by_training(made), by_row.by_serving(rows), by_row.by_batch(new))


moments = st.lists(
    st.tuples(st.integers(-3, 155), st.dates(date(2025, 1, 1), date(2025, 10, 31))), min_size=1, max_size=8
)


@EXAMPLES
@given(wanted=moments)
def test_on_any_entity_at_any_time(by_entity, wanted):
    """Strangers, clients before their first order, days without a cut-off."""
    spec = by_entity.spec
    at = [datetime.combine(day, datetime.min.time()) for _, day in wanted]
    seen = pl.DataFrame(
        {"client": [c for c, _ in wanted], "as_of": at}, schema_overrides={"as_of": pl.Datetime("us")}
    )
    windows = window_features(seen, by_entity.sources, spec.features.windows, "client", {"orders": "at"})
    made = compute(
        seen.hstack(windows.select(n for n in windows.columns if n not in seen.columns)), by_entity.features
    )
    requests = [{"client": c, "as_of": day.isoformat()} for c, day in wanted]
    agree(by_entity.by_training(made), by_entity.by_serving(requests), by_entity.by_batch(seen))


def test_company_and_order_do_not_matter(by_row, by_entity):
    """A row alone, in company, and in another order gets the same bits."""
    for model in (by_row, by_entity):
        frame = model.dataset.head(40)
        together = model.by_batch(frame)
        alone = np.concatenate([model.by_batch(frame[i : i + 1]) for i in range(frame.height)])
        assert np.array_equal(together, alone)
        assert np.array_equal(model.by_batch(frame.reverse())[::-1], together)


def test_half_a_day_counts(by_entity):
    """``as_of`` is a moment, and what happens at it is not known yet."""
    event = by_entity.sources["orders"].sort("at").row(1500, named=True)
    just_before = event["at"] - timedelta(microseconds=1)
    just_after = event["at"] + timedelta(microseconds=1)
    seen = pl.DataFrame({"client": [event["client"]] * 3, "as_of": [just_before, event["at"], just_after]})
    counts = window_features(
        seen, by_entity.sources, by_entity.spec.features.windows, "client", {"orders": "at"}
    )["orders_30d"].to_list()
    assert counts[0] == counts[1]
    assert counts[2] == counts[1] + 1
