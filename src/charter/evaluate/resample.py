"""Bootstrap and jackknife as row weights, so that everything is measured on the same resamples in one pass.

A resample of n rows drawn with replacement is a vector of n whole numbers: how often each row was drawn. Where an
entity stands in several rows (a customer at several cut-offs), whole entities are drawn instead, because its rows
are not independent. Metrics that are ratios of sums are then summed within entities once: a resample costs as much as
there are entities, not rows. Resamples are not stratified by class: the share of positives is itself uncertain, and
metrics such as precision and net value depend on it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from charter.data.metrics import Sample
from charter.data.ratios import ADDITIVE, Totals
from charter.evaluate.types import Floats, Integers

JACKKNIFE_GROUPS = 200
_BLOCK_CELLS = 1_000_000  # weights held at a time: 8 MB, near what a processor's cache takes


@dataclass(frozen=True, slots=True)
class Draws:
    """How to resample, all of it: equal draws give equal weights on every machine.

    Attributes
    ----------
    unit
        Shape (n,): number of the unit (entity, or row) that each row belongs to.
    units
        How many units there are.
    clustered
        Whether some unit has several rows.
    """

    unit: Integers
    units: int
    clustered: bool
    resamples: int
    seed: int

    @classmethod
    def of(
        cls, n: int, *, resamples: int, seed: int, cluster: npt.NDArray[np.generic] | None = None
    ) -> Draws:
        """Plan the draws for n rows; ``cluster`` names the entity of each row."""
        if cluster is None:
            return cls(np.arange(n), n, False, resamples, seed)
        names, unit = np.unique(cluster, return_inverse=True)
        return cls(unit.astype(np.int64), len(names), len(names) < n, resamples, seed)

    def bootstrap(self, cells: int) -> Iterator[Floats]:
        """Yield blocks of weights of the units, shape (b, units), ``resamples`` rows in all.

        Parameters
        ----------
        cells
            What one resample takes once its weights are spread over the rows measured; blocks are cut to fit.
        """
        rng = np.random.default_rng(self.seed)
        step = max(1, _BLOCK_CELLS // max(cells, 1))
        for start in range(0, self.resamples, step):
            b = min(step, self.resamples - start)
            drawn = rng.integers(0, self.units, (b, self.units)) + np.arange(b)[:, None] * self.units
            counts = np.bincount(drawn.ravel(), minlength=b * self.units).reshape(b, self.units)
            yield counts.astype(np.float64)

    def jackknife(self, cells: int) -> Iterator[Floats]:
        """Yield blocks of weights, each row without one random group of units; at most `JACKKNIFE_GROUPS` in all."""
        groups = min(self.units, JACKKNIFE_GROUPS)
        group = np.random.default_rng((self.seed, 1)).permutation(self.units) % max(groups, 1)
        step = max(1, _BLOCK_CELLS // max(cells, 1))
        for start in range(0, groups, step):
            left_out = np.arange(start, min(start + step, groups))
            yield (group[None, :] != left_out[:, None]).astype(np.float64)


@dataclass(frozen=True, slots=True)
class Part:
    """What to measure on which rows; ``rows`` None is all of them."""

    sample: Sample
    names: tuple[str, ...]
    rows: Integers | None = None


@dataclass(frozen=True, slots=True)
class Replicates:
    """A part's metrics on every resample.

    Attributes
    ----------
    boot
        Shape (number of metrics, resamples).
    jack
        Shape (number of metrics, jackknife groups).
    """

    names: tuple[str, ...]
    boot: Floats
    jack: Floats

    def of(self, name: str) -> tuple[Floats, Floats]:
        """Return bootstrap and jackknife values of one metric."""
        i = self.names.index(name)
        return self.boot[i], self.jack[i]


def replicate(parts: Sequence[Part], draws: Draws) -> list[Replicates]:
    """Measure every part on every resample; parts share the resamples, so their differences are paired.

    Examples
    --------
    >>> sample = Sample(np.array([0, 1, 0, 1]), np.array([0.1, 0.7, 0.3, 0.6]))
    >>> draws = Draws.of(4, resamples=100, seed=0)
    >>> replicate([Part(sample, ("accuracy",))], draws)[0].boot.shape
    (1, 100)
    """
    summed = [_totals(part, draws) for part in parts]
    by_row = draws.clustered and not all(summed)
    cells = len(draws.unit) if by_row else draws.units
    boot: list[list[Floats]] = [[np.empty((len(p.names), 0))] for p in parts]
    jack: list[list[Floats]] = [[np.empty((len(p.names), 0))] for p in parts]
    for blocks, found in ((draws.bootstrap(cells), boot), (draws.jackknife(cells), jack)):
        for weights in blocks:
            spread = weights[:, draws.unit] if by_row else weights
            for part, totals, into in zip(parts, summed, found, strict=True):
                if totals is not None:
                    into.append(totals.measure(part.names, weights))
                else:
                    own = spread if part.rows is None else spread[:, part.rows]
                    into.append(part.sample.measure(part.names, own))
    return [
        Replicates(part.names, np.concatenate(b, axis=1), np.concatenate(j, axis=1))
        for part, b, j in zip(parts, boot, jack, strict=True)
    ]


def _totals(part: Part, draws: Draws) -> Totals | None:
    """Sum a part within units, if units repeat and all of its metrics can be added up."""
    if not draws.clustered or not ADDITIVE.issuperset(part.names):
        return None
    return Totals(part.sample, draws.unit if part.rows is None else draws.unit[part.rows], draws.units)
