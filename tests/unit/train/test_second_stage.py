"""Corrections by category: found where folds agree, none where they do not, and none from the future."""

from __future__ import annotations

import numpy as np
import pytest

from charter.train.second_stage import FEWEST, fit_corrections, known_by_fold

ROWS = 300


def folds(
    levels: list[float],
    *,
    slopes: list[float] | None = None,
    seed: int = 0,
    count: int = 5,
    wobble: float = 0.0,
) -> tuple[list[np.ndarray], list[np.ndarray], list[np.ndarray]]:
    """Forecasts, what happened and indicators; ``wobble`` moves a whole fold of a category."""
    rng = np.random.default_rng(seed)
    width = len(levels)
    flags = np.repeat(np.eye(width, dtype=np.float32), ROWS, axis=0)
    said, actual = [], []
    for _ in range(count):
        one = rng.normal(3, 1, len(flags))
        level = flags @ (np.array(levels) + rng.normal(0, wobble, width))
        slope = flags @ np.array(slopes or [0.0] * width)
        said.append(one)
        actual.append(one + level + slope * (one - 3) + rng.normal(0, 0.1, len(flags)))
    return said, actual, [flags] * count


def test_levels_and_slopes_are_found() -> None:
    found = fit_corrections(*folds([0.4, -0.2, 0.0], slopes=[0.0, 0.3, -0.3]), 3)
    np.testing.assert_allclose(found.level, [0.4, -0.2, 0.0], atol=0.03)
    np.testing.assert_allclose(found.slope, [0.0, 0.3, -0.3], atol=0.03)


def test_what_differs_from_fold_to_fold_is_shrunk_to_little() -> None:
    sizes = []
    for seed in range(20):
        said, actual, flags = folds([0.0] * 6, wobble=0.3, seed=seed)
        plain = np.array(
            [
                [(t - s)[f[:, c] > 0].mean() for c in range(6)]
                for s, t, f in zip(said, actual, flags, strict=True)
            ]
        )
        sizes.append(
            (np.abs(fit_corrections(said, actual, flags, 6).level).sum(), np.abs(plain.mean(axis=0)).sum())
        )
    shrunk, raw = np.array(sizes).mean(axis=0)
    assert shrunk < 0.25 * raw


@pytest.mark.parametrize("count", [0, 1])
def test_less_than_two_folds_teach_nothing(count: int) -> None:
    found = fit_corrections(*folds([0.4, -0.2], count=count), 2)
    assert found.level.tolist() == [0.0, 0.0]
    assert found.slope.tolist() == [0.0, 0.0]


def test_few_rows_of_a_category_teach_nothing_of_it() -> None:
    said, actual, flags = folds([0.4, 0.4])
    keep = np.r_[0:ROWS, ROWS : ROWS + FEWEST - 1]
    found = fit_corrections([s[keep] for s in said], [a[keep] for a in actual], [f[keep] for f in flags], 2)
    assert found.level[0] == pytest.approx(0.4, abs=0.05)
    assert found.level[1] == 0.0


def test_a_row_of_no_category_is_left_alone() -> None:
    found = fit_corrections(*folds([0.4, -0.2]), 2)
    assert found.apply(np.array([3.0]), np.zeros((1, 2), np.float32)).tolist() == [3.0]


def test_a_fold_learns_only_from_what_was_known_at_its_origin() -> None:
    said, actual, flags = folds([0.5, -0.5])
    origins = [0, 4, 8, 12, 16]
    target = [np.full(2 * ROWS, at) for at in origins]
    known = known_by_fold(said, actual, flags, 2, target=target, origin=origins)
    found = [one.apply(s, f) for one, s, f in zip(known, said, flags, strict=True)]
    assert np.array_equal(found[0], said[0])
    assert np.array_equal(found[1], said[1])
    assert not np.array_equal(found[2], said[2])
    late = [np.full(2 * ROWS, 99) for _ in origins]
    unknown = known_by_fold(said, actual, flags, 2, target=late, origin=origins)
    assert all(np.array_equal(one.apply(s, f), s) for one, s, f in zip(unknown, said, flags, strict=True))
