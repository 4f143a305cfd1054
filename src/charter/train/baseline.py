"""What needs no learning: the yardsticks that a model must beat."""

from __future__ import annotations

import numpy as np
import polars as pl

from charter.core.errors import DataError
from charter.features.expressions import columns_of, compile_expression, compile_number


def share(y: np.ndarray, rows: int, *, task: str) -> dict[str, np.ndarray | None]:
    """Answer every row alike, by what is usual among the training labels.

    Parameters
    ----------
    y : ndarray, shape (n,)
        Training labels: 0/1, class names or codes, or numbers.
    rows
        Number of rows to answer.

    Returns
    -------
    dict
        ``score``: the share of positives (binary, [rows]), the shares of the sorted classes (multiclass, [rows, k]),
        or the mean (regression, [rows]). ``decision``: the majority (0/1, or the number of the class in sorted
        order); None for regression.

    Examples
    --------
    >>> share(np.array([0, 0, 1, 0]), 2, task="binary")["score"].tolist()
    [0.25, 0.25]
    """
    if len(y) == 0:
        raise DataError("baseline: there are no training labels")
    if task == "regression":
        return {"score": np.full(rows, float(np.mean(y))), "decision": None}
    if task == "binary":
        positive = float(np.mean(y))
        return {"score": np.full(rows, positive), "decision": np.full(rows, int(positive >= 0.5))}
    _, counts = np.unique(y, return_counts=True)
    return {
        "score": np.tile(counts / counts.sum(), (rows, 1)),
        "decision": np.full(rows, int(counts.argmax())),
    }


def constants(y: np.ndarray, rows: int) -> dict[str, dict[str, np.ndarray | None]]:
    """Decide every row alike, both ways; what a binary decision must be worth more than.

    Parameters
    ----------
    y : ndarray, shape (n,)
        Training labels, 0/1; their mean is the score of every row.
    rows
        Number of rows to answer.

    Examples
    --------
    >>> {name: found["decision"].tolist() for name, found in constants(np.array([0, 1]), 2).items()}
    {'flag nobody': [0, 0], 'flag everybody': [1, 1]}
    """
    score = share(y, rows, task="binary")["score"]
    return {
        "flag nobody": {"score": score, "decision": np.zeros(rows, dtype=int)},
        "flag everybody": {"score": score, "decision": np.ones(rows, dtype=int)},
    }


def rule(frame: pl.DataFrame, text: str, score: str | None = None) -> dict[str, np.ndarray | None]:
    """Answer by today's rule, ``purpose.today``.

    Parameters
    ----------
    frame
        Rows with every column that the expressions name.
    text
        True means positive. Where the rule has no value it does not fire.
    score
        Ranks the rows; without it the decision does. A row without a value ranks lowest.

    Returns
    -------
    dict
        ``score`` float64 [n], any real numbers; ``decision`` 0/1 [n].

    Raises
    ------
    DataError
        When a column is missing.
    """
    needed = {*columns_of(text), *(columns_of(score) if score is not None else ())}
    absent = sorted(needed - set(frame.columns))
    if absent:
        raise DataError(
            f"purpose.today: the rule reads {absent[0]!r}, which no observation has",
            remedy="Name a column of the observations, or a feature of features.rows or features.windows.",
        )
    decision = frame.select(compile_expression(text).cast(pl.Int64).fill_null(0)).to_series().to_numpy()
    if score is None:
        return {"score": decision.astype(np.float64), "decision": decision}
    ranks = frame.select(compile_number(score)).to_series().to_numpy().astype(np.float64)
    known = ranks[np.isfinite(ranks)]
    lowest = float(known.min()) - 1.0 if len(known) else 0.0
    return {"score": np.where(np.isfinite(ranks), ranks, lowest), "decision": decision}
