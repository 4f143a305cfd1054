"""A row is encoded by itself: alone, in a batch, and after a passage through JSON, to the bit."""

from __future__ import annotations

import json

import numpy as np
import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from charter.features.featureset import Feature, FeatureSet
from charter.features.preprocess import Preprocessor, fit_transform
from charter.features.selection import spearman_matrix
from charter.spec.types import FeatureSpec

FEATURES = FeatureSet(
    (), None, (), (), (),
    (
        Feature("x", "number"),
        Feature("n", "number"),
        Feature("t", "truth"),
        Feature("hot", "category"),
        Feature("place", "category", ("a", "b", "c")),
        Feature("mean", "category"),
        Feature("hash", "category"),
    ),
    "y",
)  # fmt: skip
ENCODE = {"hot": "one_hot", "place": "ordinal", "mean": "target", "hash": "hashing"}
SCHEMA = {"x": pl.Float64, "n": pl.Int64, "t": pl.Boolean} | dict.fromkeys(ENCODE, pl.String)

category = st.one_of(st.none(), st.sampled_from(["a", "b", "c", "", "ä", "a=b"]))
row = st.tuples(
    st.one_of(st.none(), st.floats(allow_nan=True, allow_infinity=True)),
    st.one_of(st.none(), st.integers(-(2**63), 2**63 - 1)),
    st.one_of(st.none(), st.booleans()),
    category, category, category, category,
)  # fmt: skip


def frame_of(rows: list[tuple[object, ...]]) -> pl.DataFrame:
    return pl.DataFrame(rows, schema=SCHEMA, orient="row")


@given(
    st.lists(row, min_size=2, max_size=12),
    st.lists(row, min_size=1, max_size=12),  # few are read row by row, more column by column
    st.sampled_from(["none", "standard"]),
    st.sampled_from(["none", "median"]),
)
def test_rows_do_not_depend_on_each_other(
    training: list[tuple[object, ...]], asked: list[tuple[object, ...]], scale: str, impute: str
) -> None:
    spec = FeatureSpec.model_validate({"encode": ENCODE, "scale": scale, "impute": impute})
    y = np.arange(len(training)) % 2
    done, X = fit_transform(frame_of(training), y, FEATURES, spec, "binary")
    assert X.shape == (len(training), len(done.names))
    batch = frame_of(asked)
    together = done.transform(batch)
    assert together.dtype == np.float32
    assert together.flags.c_contiguous
    assert not np.isinf(together).any()
    again = Preprocessor.from_json(json.loads(json.dumps(done.to_json(), allow_nan=False)))
    assert again == done
    assert again.transform(batch).tobytes() == together.tobytes()
    for i in range(batch.height):
        assert done.transform(batch[[i]]).tobytes() == together[[i]].tobytes()


@given(st.lists(st.lists(st.integers(-5, 5), min_size=3, max_size=3), min_size=2, max_size=30))
def test_rank_correlation_is_symmetric_bounded_and_blind_to_monotone_change(rows: list[list[int]]) -> None:
    values = np.array(rows, float)
    found = spearman_matrix(values)
    assert (found == found.T).all()
    assert (np.abs(found) <= 1).all()
    assert (spearman_matrix(np.exp(values)) == found).all()
    assert (spearman_matrix(-values) == found).all()
