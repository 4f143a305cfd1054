"""Tables whose truth is known; needs NumPy alone, so that Charter and its peers read the same rows."""

from __future__ import annotations

import numpy as np

CARDS_ROWS, CARDS_COLUMNS = 284_807, 31


FEATURES, MISSING = 200, 0.02
LEVELS = np.array([0.4, 0.2, 0.15, 0.1, 0.08, 0.05, 0.015, 0.005])


def kind(i: int) -> str:
    """What the i-th feature is like."""
    return (
        "normal",
        "normal",
        "long",
        "normal",
        "poisson",
        "normal",
        "category",
        "normal",
        "long",
        "missing",
    )[i % 10]


def mixed(rng: np.random.Generator, rows: int) -> dict[str, np.ndarray]:
    """200 independent features: numbers, long tails, counts, categories (text), some with missing values (NaN)."""
    table: dict[str, np.ndarray] = {}
    for i in range(FEATURES):
        name, what = f"f{i}", kind(i)
        if what == "poisson":
            table[name] = rng.poisson(3, rows)
        elif what == "category":
            table[name] = rng.choice(len(LEVELS), rows, p=LEVELS).astype(str)
        else:
            x = rng.standard_normal(rows)
            values = np.exp(x) if what == "long" else x
            table[name] = (
                np.where(rng.random(rows) < MISSING, np.nan, values) if what == "missing" else values
            )
    return table


def columns(rng: np.random.Generator, rows: int, width: int, shift: float = 0.0) -> dict[str, np.ndarray]:
    """Independent numbers, half of them with long tails; the first one moved by ``shift`` standard deviations."""
    table = {}
    for i in range(width):
        x = rng.normal(size=rows) + (shift if i == 0 else 0.0)
        table[f"x{i}"] = np.exp(x) if i % 2 else x
    return table


def cards(rng: np.random.Generator) -> dict[str, np.ndarray]:
    """A table of the size and kind of the card frauds that everybody measures with: 284,807 rows, 31 columns."""
    label = (rng.random(CARDS_ROWS) < 0.0017).astype(np.int64)
    table = {"Time": np.sort(rng.integers(0, 172_800, CARDS_ROWS)).astype(np.float64)}
    for i in range(1, 29):
        table[f"V{i}"] = rng.standard_t(4, CARDS_ROWS) * (2 / i**0.4) - label * (
            4 if i in (10, 12, 14, 17) else 0
        )
    table["Amount"] = np.round(np.exp(rng.normal(3, 1.6, CARDS_ROWS)), 2)
    table["Class"] = label
    return table
