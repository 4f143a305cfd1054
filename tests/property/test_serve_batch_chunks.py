"""However a source is cut, the rows and their order come out the same."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from charter.serve.batch import Contract, Counts, Options, score_chunk, total
from charter.serve.columns import Wish
from charter.serve.io import batch_source
from charter.serve.io.batch_job import CHUNKS, scored_file
from charter.serve.io.batch_source import Source
from charter.serve.io.batch_target import in_source_order, ranked
from charter.serve.ranking import cuts, needs_sorting, places, sample

sys.path.insert(0, str(Path(__file__).parents[1] / "unit" / "serve"))
from serve_models import Example, accounts, make_credit


@pytest.fixture(scope="module")
def credit(tmp_path_factory: pytest.TempPathFactory) -> Example:
    return make_credit(tmp_path_factory.mktemp("credit"))


@given(size=st.integers(1, 400), rank=st.booleans())
def test_chunks_of_any_size_give_the_same_rows(credit: Example, size: int, rank: bool) -> None:
    scorer = credit.scorer()
    contract = Contract(scorer.signature.inputs)
    frame = accounts(400, seed=3).drop("spent", "very_late", "outcome")
    frame = frame.with_columns(late=pl.when(pl.col("ID") % 13 == 0).then(99).otherwise("late"))
    options = Options(keep=("ID",), number=False, wish=Wish(bands=True, warnings=True))
    whole = score_chunk(scorer, contract, frame, options)
    parts = [score_chunk(scorer, contract, frame[i : i + size], options) for i in range(0, 400, size)]
    assert pl.concat([p.scored for p in parts]).equals(whole.scored)
    assert pl.concat([p.rejected for p in parts]).drop("row").equals(whole.rejected.drop("row"))
    assert total(p.counts for p in parts) == whole.counts


@st.composite
def chunked_scores(draw: st.DrawFn) -> list[list[float | None]]:
    """Chunks of scores with ties, as calibration makes them, and rows without a score."""
    score = st.one_of(st.none(), st.sampled_from([0.0, 0.25, 0.5, 1.0]), st.floats(0, 1))
    return draw(st.lists(st.lists(score, max_size=40), min_size=1, max_size=6))


@given(chunks=chunked_scores(), range_rows=st.integers(1, 30))
def test_ranges_put_all_rows_in_order(
    tmp_path_factory: pytest.TempPathFactory, chunks: list[list[float | None]], range_rows: int
) -> None:
    """The merge by ranges is the stable sort of everything, ranks and row numbers included."""
    work = tmp_path_factory.mktemp("ranks")
    (work / CHUNKS).mkdir()
    counts = []
    for index, scores in enumerate(chunks):
        frame = pl.DataFrame(
            {"row": list(range(1, len(scores) + 1)), "score": scores},
            schema={"row": pl.UInt64, "score": pl.Float64},
        ).sort("score", descending=True, nulls_last=True, maintain_order=True)
        frame.write_ipc(scored_file(work / CHUNKS, index))
        counts.append(Counts(len(scores), len(scores)))
    every = [score for scores in chunks for score in scores]
    expected = pl.DataFrame(
        {"row": list(range(1, len(every) + 1)), "score": every},
        schema={"row": pl.UInt64, "score": pl.Float64},
    ).sort("score", descending=True, nulls_last=True, maintain_order=True)
    pieces = ranked(work, counts, range_rows=range_rows)
    found = pl.concat([p.scan().collect() for p in pieces])
    assert found["rank"].to_list() == list(range(1, len(every) + 1))
    assert found.drop("rank").equals(expected)
    plain = pl.concat([p.scan().collect() for p in in_source_order(work, counts)])
    assert sorted(plain["row"].to_list()) == list(range(1, len(every) + 1))


@given(
    scores=st.lists(st.floats(0, 1), min_size=1, max_size=200),
    ties=st.integers(0, 200),
    range_rows=st.integers(1, 40),
)
def test_no_range_to_be_sorted_is_large(scores: list[float], ties: int, range_rows: int) -> None:
    """Ties, however many, go into ranges that need no sorting, so memory is bounded."""
    falling = np.sort(np.array([*scores, *[0.5] * ties]))[::-1]
    at = cuts([sample(falling, 1)], every=1, range_rows=range_rows)
    spans = places(falling, at, len(falling) + 7)
    widths = np.diff(spans)
    assert widths.sum() == len(falling) + 7
    assert widths[-1] == 7
    sorted_ones = [w for i, w in enumerate(widths.tolist()) if needs_sorting(i, len(widths))]
    assert max(sorted_ones) <= range_rows


CELL = st.text(st.characters(codec="utf-8", exclude_characters="\x00\r"), max_size=12)


@given(
    rows=st.lists(st.tuples(CELL, CELL), min_size=1, max_size=60),
    size=st.integers(1, 70),
    block=st.integers(1, 64),
    end=st.booleans(),
    crlf=st.booleans(),
)
def test_csv_is_cut_between_records(
    tmp_path_factory: pytest.TempPathFactory,
    rows: list[tuple[str, str]],
    size: int,
    block: int,
    end: bool,
    crlf: bool,
) -> None:
    """Quotes, line breaks within quotes, no line break at the end: every record stands in one chunk."""
    path = tmp_path_factory.mktemp("csv") / "a.csv"
    frame = pl.DataFrame(rows, schema=["a", "b\n, c"], orient="row").with_columns(n=pl.int_range(pl.len()))
    text = frame.write_csv(quote_style="always", line_terminator="\r\n" if crlf else "\n").encode()
    path.write_bytes(text if end else text.rstrip(b"\r\n"))
    expected = pl.read_csv(io.BytesIO(text), infer_schema=False)
    before, batch_source._BLOCK_BYTES = batch_source._BLOCK_BYTES, block
    try:
        source = Source("csv", (path,))
        chunks, _ = source.plan(size)
        names = source.schema().names()
        found = pl.concat([source.read(c, names) for c in chunks])
    finally:
        batch_source._BLOCK_BYTES = before
    assert names == frame.columns
    assert found.equals(expected)
