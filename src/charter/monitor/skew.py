"""Train/serve skew: a request that is answered again from its logged inputs must get the answer that it got. Pure."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from charter.core.decision import Check, Verdict

TOLERANCE = 1e-5
"""Relative; the model computes in float32, and not each processor adds up in the same order."""
_EXAMPLES = 3


@dataclass(frozen=True, slots=True)
class Skew:
    """Answers that came out differently the second time.

    Attributes
    ----------
    rows
        Answers that were computed again.
    differing
        Of those, how many differ.
    largest
        Largest absolute difference.
    examples
        Served and computed again, of the first that differ.
    """

    rows: int
    differing: int
    largest: float
    examples: tuple[tuple[float, float], ...] = ()

    @property
    def share(self) -> float:
        """Share of the answers that differ."""
        return self.differing / self.rows if self.rows else 0.0

    def check(self, allowed: float) -> Check:
        """Judge the share of answers that differ."""
        verdict = Verdict.UNKNOWN if not self.rows else Verdict.FAIL if self.share > allowed else Verdict.PASS
        note = "; ".join(f"{served:.6g} served, {again:.6g} again" for served, again in self.examples)
        observed = f"{self.differing:,} of {self.rows:,} answers differ when computed again"
        return Check("train/serve skew", observed, f"<= {allowed:.1%} of them", verdict, note=note)


def find_skew(
    served: npt.NDArray[np.float64], again: npt.NDArray[np.float64], *, tolerance: float = TOLERANCE
) -> Skew:
    """Compare answers one by one.

    Distributions that agree may still hide a feature that is wrong for each row; this does not. It sees whatever comes
    between a request and its score: decoding, features, encoding, model, calibration.

    Parameters
    ----------
    served, again
        Scores as they were given and as the same package computes them offline, shape (n,). One that is missing on one
        side alone differs.
    tolerance
        Relative difference up to which two scores are equal.

    Examples
    --------
    >>> found = find_skew(np.array([0.1, 0.2, 0.3]), np.array([0.1, 0.25, 0.3]))
    >>> found.differing, round(found.largest, 2), found.check(0.01).verdict.value
    (1, 0.05, 'fail')
    """
    apart = np.abs(served - again)
    scale = np.maximum(np.abs(served), np.abs(again))
    differs = (np.isfinite(served) != np.isfinite(again)) | (apart > tolerance * scale)
    first = np.flatnonzero(differs)[:_EXAMPLES]
    known = apart[np.isfinite(apart)]
    return Skew(
        len(served),
        int(differs.sum()),
        float(known.max(initial=0.0)),
        tuple((float(served[i]), float(again[i])) for i in first),
    )
