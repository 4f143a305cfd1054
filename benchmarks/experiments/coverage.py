"""Do the intervals hold? Thousands of simulated experiments whose truth is known.

    python benchmarks/experiments/coverage.py [--runs 10000] [--seed 1] [--json coverage.json]

Each row says how often the interval held the truth (at every one of its daily looks, for sequences) and how often an
experiment without an effect found one. Everything goes through the functions that `charter experiment analyse` uses.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from charter.iterate.boundary import mixture_weight
from charter.iterate.effects import proportion_effect, quantile_draws, quantile_effect, sequence, welch
from charter.iterate.moments import Moments, adjusted, linearised
from charter.iterate.multiplicity import dunnett_boundary
from charter.iterate.ratio_check import ALPHA, ratio_p_value

DAYS = 28
BLOCK = 250
Rng = np.random.Generator
Floats = np.ndarray


@dataclass(frozen=True)
class Row:
    """One kind of experiment: what was measured, and between which ends it must lie."""

    name: str
    what: str
    share: float
    least: float
    most: float

    @property
    def good(self) -> bool:
        """Whether the share lies where it must."""
        return self.least <= self.share <= self.most


def _of(y: Floats, x: Floats | None = None) -> Moments:
    """Moments along the last axis."""
    n, mean, variance = float(y.shape[-1]), y.mean(axis=-1), y.var(axis=-1, ddof=1)
    if x is None:
        return Moments(n, mean, variance)
    off = (x - x.mean(axis=-1, keepdims=True)) * (y - mean[..., None])
    return Moments(n, mean, variance, x.mean(axis=-1), x.var(axis=-1, ddof=1), off.sum(axis=-1) / (n - 1))


def _blocks(runs: int) -> list[int]:
    return [min(BLOCK, runs - start) for start in range(0, runs, BLOCK)]


def _holds(low: Floats, high: Floats, truth: float) -> Floats:
    return (low <= truth) & (truth <= high)


# One look ------------------------------------------------------------------------------------------------------------

Draw = Callable[[Rng, tuple[int, ...], float], Floats]


def _fixed(
    name: str, draw: Draw, effects: tuple[float, ...], sizes: tuple[int, int]
) -> Callable[[int, Rng], list[Row]]:
    def study(runs: int, rng: Rng) -> list[Row]:
        rows = []
        for effect in effects:
            held = []
            for b in _blocks(runs):
                arms = [_of(draw(rng, (b, n), e)) for n, e in zip(sizes, (0.0, effect), strict=True)]
                _, low, high, _ = welch(*arms, 0.05)
                held.append(_holds(low, high, effect))
            rows.append(
                Row(f"{name}, {_ab(effect)}", "coverage", float(np.concatenate(held).mean()), 0.94, 0.96)
            )
        return rows

    return study


def _ab(effect: float) -> str:
    return "A/A" if effect == 0 else f"A/B {effect:+g}"


def _proportion(runs: int, rng: Rng) -> list[Row]:
    rows = []
    for p0, p1, n0, n1 in ((0.05, 0.05, 2000, 2000), (0.05, 0.055, 9000, 1000), (0.3, 0.33, 500, 500)):
        hits = zip(rng.binomial(n0, p0, runs).tolist(), rng.binomial(n1, p1, runs).tolist(), strict=True)
        found = [proportion_effect(a, n0, b, n1, 0.05) for a, b in hits]
        share = float(np.mean([e.low <= p1 - p0 <= e.high for e in found]))
        rows.append(Row(f"proportion {p0:g} to {p1:g}, {n0} and {n1} units", "coverage", share, 0.94, 0.96))
    return rows


def _views_and_clicks(rng: Rng, shape: tuple[int, ...], rate: float) -> tuple[Floats, Floats]:
    """Views a unit, and clicks at a rate that differs between units around ``rate``."""
    views = rng.poisson(4, shape) + 1
    own = rng.beta(20 * rate, 20 * (1 - rate), shape)
    return rng.binomial(views, own).astype(np.float64), views.astype(np.float64)


def _ratio(runs: int, rng: Rng) -> list[Row]:
    rows = []
    for effect in (0.0, 0.02):
        held = []
        for b in _blocks(runs):
            arms = [_of(linearised(*_views_and_clicks(rng, (b, 1000), 0.2 + e))) for e in (0.0, effect)]
            _, low, high, _ = welch(*arms, 0.05)
            held.append(_holds(low, high, effect))
        rows.append(
            Row(
                f"ratio clicks / views, {_ab(effect)}",
                "coverage",
                float(np.concatenate(held).mean()),
                0.94,
                0.96,
            )
        )
    return rows


def _with_past(rng: Rng, shape: tuple[int, ...], effect: float) -> tuple[Floats, Floats]:
    """A skewed metric and the same unit's past, correlated by about 0.8."""
    past = rng.gamma(2, 5, shape)
    return 0.8 * past + rng.gamma(2, 3, shape) + effect, past


def _cuped(runs: int, rng: Rng) -> list[Row]:
    rows = []
    for effect in (0.0, 0.5):
        held = []
        for b in _blocks(runs):
            arms = adjusted([_of(*_with_past(rng, (b, n), e)) for n, e in ((800, 0.0), (400, effect))])
            _, low, high, _ = welch(*arms, 0.05)
            held.append(_holds(low, high, effect))
        rows.append(Row(f"CUPED, {_ab(effect)}", "coverage", float(np.concatenate(held).mean()), 0.94, 0.96))
    return rows


def _quantile(runs: int, rng: Rng) -> list[Row]:
    n, q, shift = 1000, 0.9, 0.1
    unit, truth = np.arange(n), (math.exp(shift) - 1) * math.exp(1.2815515655446004)
    held = 0
    for run in range(runs):
        arms = [
            quantile_draws(rng.lognormal(e, 1, n), unit, q, seed=2 * run + i)
            for i, e in enumerate((0.0, shift))
        ]
        found = quantile_effect(*arms, 0.05)
        held += found.low <= truth <= found.high
    return [Row("p90 of a lognormal metric, A/B", "coverage", held / runs, 0.94, 0.96)]


def _several_arms(runs: int, rng: Rng) -> list[Row]:
    sizes = (800, 400, 400, 600)
    boundary = dunnett_boundary(0.05, [math.sqrt(n / (n + sizes[0])) for n in sizes[1:]])
    alpha = math.erfc(boundary / math.sqrt(2))
    held = []
    for b in _blocks(runs):
        control, *others = (_of(rng.exponential(1.0, (b, n))) for n in sizes)
        ends = [welch(control, arm, alpha) for arm in others]
        held.append(np.logical_and.reduce([_holds(low, high, 0.0) for _, low, high, _ in ends]))
    return [
        Row(
            "three arms and a control (Dunnett), A/A",
            "all three at once",
            float(np.concatenate(held).mean()),
            0.94,
            0.96,
        )
    ]


# Looks every day -----------------------------------------------------------------------------------------------------


def _looks(
    name: str, daily: int, effect: float, moments: Callable[[Rng, int, float], list[Moments]]
) -> Callable[[int, Rng], list[Row]]:
    """Read daily for four weeks: once by a sequence, once by a fixed-horizon interval that was not made for it."""

    def study(runs: int, rng: Rng) -> list[Row]:
        weight = mixture_weight(2 * DAYS * daily, 0.05)
        held, naive = [], []
        for b in _blocks(runs):
            arms = moments(rng, b, effect)
            _, low, high = sequence(*arms, 0.05, weight)
            held.append(_holds(low, high, effect).all(axis=-1))
            _, low, high, _ = welch(*arms, 0.05)
            naive.append(_holds(low, high, effect).all(axis=-1))
        always, peeked = (float(np.concatenate(x).mean()) for x in (held, naive))
        rows = [Row(f"sequence, {name}, {_ab(effect)}", f"holds on all {DAYS} days", always, 0.95, 1.0)]
        if effect == 0:
            rows.append(Row(f"sequence, {name}", "false findings under peeking", 1 - always, 0.0, 0.05))
            rows.append(
                Row(f"fixed-horizon test, {name}", "false findings under peeking", 1 - peeked, 0.15, 1.0)
            )
        return rows

    return study


def _daily(y: Floats, x: Floats | None = None) -> Moments:
    """Moments of all units up to each day, from an array (runs, days, units a day)."""
    n = (np.arange(y.shape[1]) + 1.0) * y.shape[2]

    def mean(values: Floats) -> Floats:
        return np.asarray(values.sum(axis=-1).cumsum(axis=-1) / n)

    rest = n / (n - 1)
    if x is None:
        return Moments(n, mean(y), (mean(y**2) - mean(y) ** 2) * rest)
    spread = [(mean(a * b) - mean(a) * mean(b)) * rest for a, b in ((y, y), (x, x), (x, y))]
    return Moments(n, mean(y), spread[0], mean(x), spread[1], spread[2])


def _daily_mean(rng: Rng, b: int, effect: float) -> list[Moments]:
    return [_daily(rng.exponential(1.0, (b, DAYS, 100)) + e) for e in (0.0, effect)]


def _daily_share(rng: Rng, b: int, effect: float) -> list[Moments]:
    n = (np.arange(DAYS) + 1.0) * 400
    share = [rng.binomial(400, 0.05 + e, (b, DAYS)).cumsum(axis=-1) / n for e in (0.0, effect)]
    return [Moments(n, p, p * (1 - p) * n / (n - 1)) for p in share]


def _daily_cuped(rng: Rng, b: int, effect: float) -> list[Moments]:
    return list(adjusted([_daily(*_with_past(rng, (b, DAYS, 50), e)) for e in (0.0, effect)]))


def _daily_ratio(rng: Rng, b: int, effect: float) -> list[Moments]:
    arms = []
    for e in (0.0, effect):
        own = _daily(*_views_and_clicks(rng, (b, DAYS, 50), 0.2 + e))
        ratio = own.mean / own.x_mean
        variance = (own.variance - 2 * ratio * own.covariance + ratio**2 * own.x_variance) / own.x_mean**2
        arms.append(Moments(own.n, ratio, variance))
    return arms


# The numbers of units ------------------------------------------------------------------------------------------------


def _sample_ratio(runs: int, rng: Rng) -> list[Row]:
    many = max(100 * runs, 100_000)
    half, uneven = np.array([0.5, 0.5]), np.array([0.9, 0.1])
    fair = ratio_p_value(rng.multinomial(100_000, half, many), half)
    unequal = ratio_p_value(rng.multinomial(100_000, uneven, many), uneven)
    wrong = ratio_p_value(rng.multinomial(100_000, [0.51, 0.49], runs), half)
    return [
        Row("sample ratio 50/50, 100,000 units", "false alarms", float((fair < ALPHA).mean()), 0.0, 0.001),
        Row("sample ratio 90/10, 100,000 units", "false alarms", float((unequal < ALPHA).mean()), 0.0, 0.001),
        Row("sample ratio 51/49 for 50/50, 100,000 units", "found", float((wrong < ALPHA).mean()), 0.95, 1.0),
    ]


def _normal(rng: Rng, shape: tuple[int, ...], effect: float) -> Floats:
    return rng.normal(effect, 3.0 if effect else 1.0, shape)


def _exponential(rng: Rng, shape: tuple[int, ...], effect: float) -> Floats:
    return rng.exponential(1.0, shape) + effect


STUDIES: tuple[Callable[[int, Rng], list[Row]], ...] = (
    _fixed("mean, normal, 30 and 50 units", _normal, (0.0, 0.5), (30, 50)),
    _fixed("mean, exponential, 500 and 500 units", _exponential, (0.0, 0.2), (500, 500)),
    _proportion, _ratio, _cuped, _quantile, _several_arms,
    _looks("mean", 100, 0.0, _daily_mean), _looks("mean", 100, 0.1, _daily_mean),
    _looks("proportion", 400, 0.0, _daily_share), _looks("proportion", 400, 0.01, _daily_share),
    _looks("CUPED", 50, 0.0, _daily_cuped), _looks("CUPED", 50, 0.5, _daily_cuped),
    _looks("ratio", 50, 0.0, _daily_ratio), _looks("ratio", 50, 0.02, _daily_ratio),
    _sample_ratio,
)  # fmt: skip


def main() -> int:
    """Run all studies and print the table of the README."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--runs", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    started, rows = time.perf_counter(), []
    for i, study in enumerate(STUDIES):
        for row in study(given.runs, np.random.default_rng((given.seed, i))):
            rows.append(row)
            most = "" if row.most == 1.0 else f" to {row.most:.1%}"
            print(
                f"| {row.name} | {row.what} | {row.share:.3%} | {row.least:.1%}{most} | {'yes' if row.good else 'NO'} |"
            )
    print(f"\n{given.runs:,} experiments each, seed {given.seed}, {time.perf_counter() - started:.0f} s")
    if given.json is not None:
        given.json.write_text(json.dumps([asdict(row) for row in rows], indent=1) + "\n")
    return 0 if all(row.good for row in rows) else 1


if __name__ == "__main__":
    raise SystemExit(main())
