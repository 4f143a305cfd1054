"""A scorer's answers as columns: what `Scorer.run` gives row by row, for as many rows as a chunk of a file has."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl

from charter.data.grid import STEP
from charter.serve.decide import NEGATIVE, POSITIVE, band_places
from charter.serve.scored import REASON, Numbers, Scored, plain_reason
from charter.serve.scorer import Scorer
from charter.serve.types import AS_OF

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Wish:
    """Which columns are asked for beside the score and the decision.

    Attributes
    ----------
    bands, reasons, warnings
        Reasons are given as the package declares them: for all rows, for those decided positive, or, where it
        gives them to whoever asks, for all.
    """

    bands: bool = False
    reasons: bool = False
    warnings: bool = False


def answer_columns(scorer: Scorer, inputs: pl.DataFrame, wish: Wish) -> tuple[pl.DataFrame, int]:
    """Score inputs.

    Parameters
    ----------
    inputs
        n rows with exactly the signature's columns and types, ``as_of`` filled.

    Returns
    -------
    Frame of n rows: ``score`` (null where the model gave none), ``decision``, then ``band``, ``reasons``, ``warnings``
    as wished; and the number of rows with a warning. Forecasts begin with ``as_of``, ``step``, ``forecast``, ``lower``
    and ``upper`` instead. Equal to the bit to `Scorer.run`; where that
    would answer by the declared fallback, so does this.
    """
    numbers = scorer.numbers(inputs)
    frame, warned = _columns(scorer, inputs, numbers, wish)
    broken = ~np.isfinite(numbers.score)
    if scorer.rules.fallback is None or not broken.any():
        return frame, warned
    answered = from_scored(scorer.run(inputs.filter(pl.Series(broken)), soft=True), wish)
    place = pl.Series(np.argsort(np.concatenate([np.flatnonzero(~broken), np.flatnonzero(broken)])))
    return pl.concat([frame.filter(pl.Series(~broken)), answered])[place], warned


def from_scored(scored: Scored, wish: Wish) -> pl.DataFrame:
    """Bring answers that were given row by row into the columns of `answer_columns`."""
    wished = {"band": wish.bands, "reasons": wish.reasons, "warnings": wish.warnings}
    return scored.frame().select("score", "decision", *(name for name, wanted in wished.items() if wanted))


def _columns(scorer: Scorer, inputs: pl.DataFrame, numbers: Numbers, wish: Wish) -> tuple[pl.DataFrame, int]:
    score, rules = numbers.score, scorer.rules
    known = np.isfinite(score)
    flagged = np.zeros(len(score), dtype=bool)
    # Place 0 stands for no decision, so that texts are looked up once per row, by number.
    if numbers.best is not None:
        texts, places = [*scorer.bundle.classes], numbers.best + 1
    elif scorer.bundle.task == "binary" and rules.threshold is not None:
        flagged = known & (score >= rules.threshold)
        texts, places = [NEGATIVE, POSITIVE], np.where(known, flagged + 1, 0)
    else:
        texts, places = [], np.zeros(len(score), dtype=np.intp)
    columns = [
        pl.Series("score", score, nan_to_null=True),
        _named("decision", texts, places),
    ]
    if numbers.bounds is not None:
        ends = (score, *numbers.bounds)
        bounds = [
            pl.Series(n, v, nan_to_null=True)
            for n, v in zip(("forecast", "lower", "upper"), ends, strict=True)
        ]
        columns = [numbers.features[AS_OF], numbers.features[STEP], *bounds]
    if wish.bands:
        columns.append(_named("band", *band_places(score, rules.bands)))
    if wish.reasons:
        given: list[list[dict[str, str | float | None]]] = [[] for _ in range(len(score))]
        for row, found in scorer.reasons(numbers, scorer.wanted(flagged, rules.reasons_for == "asked")):
            given[row] = [plain_reason(r) for r in found]
        columns.append(pl.Series("reasons", given, dtype=pl.List(REASON)))
    warnings: dict[int, list[str]] = {}
    for row, text in scorer.warn(inputs):
        warnings.setdefault(row, []).append(text)
    if wish.warnings:
        said = [warnings.get(row, []) for row in range(len(score))]
        columns.append(pl.Series("warnings", said, dtype=pl.List(pl.String)))
    return pl.DataFrame(columns), len(warnings)


def _named(column: str, texts: list[str], places: npt.NDArray[np.integer]) -> pl.Series:
    """Texts by place, counted from 1; 0 is null."""
    names = pl.Series(column, [None, *texts], dtype=pl.String)
    return names.gather(pl.Series(places.astype(np.uint32)))
