"""Makes a LightGBM model mean the same everywhere: on float32, in any order of summation, on any machine.

Four edits to the booster's own text format, after which the booster is loaded again, so that the model that is judged
*is* the model that is exported:

1. Every split threshold is rounded **down** to float32. For a float32 value ``x`` and a real threshold ``t``,
   ``x <= t`` holds exactly when ``x <= floor32(t)``; so no row changes its branch, and a runtime that compares in
   float32 takes the same one.
2. LightGBM takes values within 1e-35 of zero for zero when it predicts, other runtimes do not. A threshold inside that
   band is moved to its edge, so that both send these values the same way.
3. Leaf values are rounded to one common grid, ``2**(e - 24)`` with ``2**e`` an upper bound on the sum over trees of the
   largest absolute leaf value. Every partial sum, in any order, is then a multiple of the grid below ``2**24`` grid
   steps, hence exact in float32. A score does not depend on batch size, thread count, or summation order. The rounding
   is below one ten-millionth of the score's range per tree.
4. The section of training parameters is dropped: it holds thread counts and says nothing about predictions.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np

ZERO = float(np.float32(1e-35))
"""LightGBM's ``kZeroThreshold``: values this close to zero are zero to it."""


def floor_float32(values: np.ndarray) -> np.ndarray:
    """Largest float32 not above each float64 value.

    Parameters
    ----------
    values : ndarray of float64
        Finite or infinite, not NaN.

    Returns
    -------
    ndarray of float32
        A finite value beyond the range of float32 becomes its largest number, or minus infinity.

    Examples
    --------
    >>> floor_float32(np.array([0.5, 0.1])).astype(float).tolist()
    [0.5, 0.09999999403953552]
    """
    values = np.asarray(values, dtype=np.float64)
    with np.errstate(over="ignore", under="ignore"):
        nearest = values.astype(np.float32)
        above = nearest.astype(np.float64) > values
        return np.where(above, np.nextafter(nearest, np.float32(-np.inf)), nearest)


def portable_thresholds(values: np.ndarray) -> np.ndarray:
    """Thresholds in float32 under which every float32 value goes where LightGBM sends it for ``values``."""
    values = np.asarray(values, dtype=np.float64)
    values = np.where((values >= 0) & (values < ZERO), ZERO, values)
    values = np.where((values < 0) & (values >= -ZERO), np.nextafter(-ZERO, -1.0), values)
    return floor_float32(values)


def leaf_grid(largest_per_tree: Iterable[float]) -> float:
    """Step on which sums of leaf values are exact in float32.

    Parameters
    ----------
    largest_per_tree
        Largest absolute leaf value of each tree.

    Examples
    --------
    >>> leaf_grid([0.5, 0.4]) == 2.0**-24
    True
    """
    # Half a step per tree is added by rounding; doubling the bound by one per cent covers it for any real forest.
    bound = 1.01 * math.fsum(largest_per_tree)
    if bound <= 0 or not math.isfinite(bound):
        return 1.0
    return math.ldexp(1.0, max(math.frexp(bound)[1] - 24, -149))


def portable_text(text: str) -> str:
    """Rewrite a LightGBM model in text form as described above.

    Parameters
    ----------
    text
        What ``Booster.model_to_string()`` gives.

    Returns
    -------
    str
        The same forest, in the same format; idempotent.
    """
    head, trees, tail = split_text(text)
    leaves = [_numbers(line) for tree in trees for line in tree if line.startswith("leaf_value=")]
    grid = leaf_grid(float(np.max(np.abs(values))) for values in leaves)
    rewritten = ["\n".join(_rewrite(line, grid) for line in tree) for tree in trees]
    sizes = "tree_sizes=" + " ".join(str(len(tree.encode())) for tree in rewritten)
    head = [sizes if line.startswith("tree_sizes=") else line for line in head]
    return "\n".join(head) + "\n" + "".join(rewritten) + _without_parameters(tail)


def split_text(text: str) -> tuple[list[str], list[list[str]], str]:
    """Cut a model text into header lines, the lines of each tree, and the rest from ``end of trees`` on.

    Joining the lines of a tree by newlines gives its text including the blank lines that follow it.
    """
    body, end, rest = text.partition("end of trees")
    head, *trees = body.split("Tree=")
    return [*head.rstrip("\n").split("\n"), ""], [f"Tree={tree}".split("\n") for tree in trees], end + rest


def _rewrite(line: str, grid: float) -> str:
    if line.startswith("threshold="):
        return _line("threshold", portable_thresholds(_numbers(line)).astype(np.float64))
    if line.startswith("leaf_value="):
        return _line("leaf_value", np.round(_numbers(line) / grid) * grid)
    return line


def _numbers(line: str) -> np.ndarray:
    return np.array([float(word) for word in line.partition("=")[2].split()], dtype=np.float64)


def _line(name: str, values: np.ndarray) -> str:
    return f"{name}=" + " ".join(format(float(value), ".17g") for value in values)


def _without_parameters(tail: str) -> str:
    before, found, rest = tail.partition("\nparameters:\n")
    return before + rest.partition("end of parameters\n")[2] if found else tail
