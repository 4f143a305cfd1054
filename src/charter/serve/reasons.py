"""The top factors of a score in words and numbers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import numpy.typing as npt
import polars as pl

from charter.serve.types import Reason, Scalar

_FEW_ROWS = 1024
"""Of so few rows whole columns are read; picking rows first would cost more."""


class TopReasons:
    """Puts the largest contributions of a model's features into words.

    Parameters
    ----------
    columns
        Names of the d columns of the design matrix.
    source_of
        Column to feature; a column that is not named is its own feature.
    count
        At most so many reasons; a feature that moved nothing is no reason.
    factors
        Features in words; a feature without words is called by its name.
    moved
        What they raise or lower, in a word.
    """

    def __init__(
        self,
        columns: Sequence[str],
        source_of: Mapping[str, str],
        *,
        count: int,
        factors: Mapping[str, str],
        moved: str = "score",
    ) -> None:
        sources = [source_of.get(c, c) for c in columns]
        self.names = list(dict.fromkeys(sources))
        position = {name: at for at, name in enumerate(self.names)}
        places = np.array([position[s] for s in sources], dtype=np.intp)
        # Columns of one feature side by side, so that they are added up in one go.
        self._order = np.argsort(places, kind="stable")
        self._starts = np.searchsorted(places[self._order], np.arange(len(self.names)))
        self._words = [factors.get(name, name) for name in self.names]
        self.count, self._moved = count, moved

    def of(
        self, contributions: npt.NDArray[np.float64], features: pl.DataFrame, rows: npt.NDArray[np.intp]
    ) -> Iterator[list[Reason]]:
        """Reasons of n rows.

        Parameters
        ----------
        contributions : float64 [n, d]
            How far each column moved the score: log-odds, or units of the target.
        features
            The features' values; one that is missing here is told as missing.
        rows
            Where the n rows stand in ``features``.

        Examples
        --------
        >>> top = TopReasons(["use"], {}, count=1, factors={"use": "share of the line in use"})
        >>> [[reason]] = top.of(np.array([[0.5]]), pl.DataFrame({"use": [0.93]}), np.array([0]))
        >>> reason.text
        'share of the line in use = 0.93 raises the score'
        """
        if not len(contributions) or not self.names:
            yield from ([] for _ in range(len(contributions)))
            return
        totals = np.add.reduceat(contributions[:, self._order], self._starts, axis=1)
        # A stable sort, so that equal contributions come in the order of the features.
        best = np.argsort(-np.abs(totals), axis=1, kind="stable")[:, : self.count]
        moved = np.take_along_axis(totals, best, axis=1)
        if features.height > _FEW_ROWS:
            features, rows = features[rows], np.arange(len(rows))
        known = set(features.columns)
        values: dict[int, list[object]] = {}
        for row, places, shifts in zip(rows.tolist(), best.tolist(), moved.tolist(), strict=True):
            reasons = []
            for at, shift in zip(places, shifts, strict=True):
                if shift == 0 or shift - shift != 0:  # nothing, or not finite
                    continue
                if at not in values:
                    name = self.names[at]
                    there = name in known
                    values[at] = features.get_column(name).to_list() if there else [None] * features.height
                reasons.append(
                    _reason(self.names[at], self._words[at], _scalar(values[at][row]), shift, self._moved)
                )
            yield reasons


def _scalar(value: object) -> Scalar:
    if isinstance(value, float):
        return None if value - value != 0 else value
    if value is None or isinstance(value, (str, int)):  # truth values are integers
        return value
    return str(value)


def _reason(name: str, words: str, value: Scalar, contribution: float, moved: str) -> Reason:
    verb = "raises" if contribution > 0 else "lowers"
    if value is None:
        return Reason(name, value, contribution, f"{words} is missing, which {verb} the {moved}")
    return Reason(name, value, contribution, f"{words} = {in_words(value)} {verb} the {moved}")


def in_words(value: Scalar) -> str:
    """Write a value for a reader: four significant digits, thousands separated.

    Examples
    --------
    >>> in_words(0.93333), in_words(120000.0), in_words(True), in_words("BE")
    ('0.9333', '120,000', 'yes', 'BE')
    """
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}" if abs(value) >= 10_000 else str(value)
    if isinstance(value, float):
        if abs(value) >= 1e15:
            return f"{value:.4g}"
        if abs(value) >= 1000:
            return f"{value:,.0f}" if abs(value) >= 10_000 else f"{value:.0f}"
        return f"{value:.4g}"
    return str(value)
