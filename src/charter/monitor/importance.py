"""Whether what the model looks at has changed since training. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from charter.core.decision import Check, Verdict


@dataclass(frozen=True, slots=True)
class ImportanceShift:
    """How the order of importance agrees with that at training.

    Attributes
    ----------
    ndcg
        Normalised discounted cumulative gain of the current order, 1 when it is that of training.
    moved
        Features by how much their share of the importance changed, the largest change first: name, share at training,
        share now.
    """

    ndcg: float
    moved: tuple[tuple[str, float, float], ...]

    def check(self, limit: float) -> Check:
        """Judge the agreement."""
        largest = "; ".join(
            f"{name} {before:.0%} then, {now:.0%} now" for name, before, now in self.moved[:3]
        )
        verdict = Verdict.PASS if self.ndcg >= limit else Verdict.WARN
        return Check("order of importance", f"NDCG {self.ndcg:.3f}", f">= {limit:g}", verdict, note=largest)


def importance_shift(reference: Mapping[str, float], current: Mapping[str, float]) -> ImportanceShift:
    """Compare the importance of features, for example mean absolute contributions, now and at training.

    ``sum r_i / log2(place_i + 1)`` over the features by their current place, with r the importance at training, divided
    by the same sum in the order of training (Järvelin and Kekäläinen, 2002). A feature that one side does not have
    counts as unimportant there.

    Examples
    --------
    >>> found = importance_shift({"income": 3.0, "age": 1.0}, {"income": 1.0, "age": 3.0})
    >>> round(found.ndcg, 4), found.moved[0]
    (0.7967, ('age', 0.25, 0.75))
    """
    names = sorted({*reference, *current})
    before = np.array([max(reference.get(n, 0.0), 0.0) for n in names])
    now = np.array([max(current.get(n, 0.0), 0.0) for n in names])
    discount = np.log2(np.arange(2, len(names) + 2))
    best = float((np.sort(before)[::-1] / discount).sum())
    reached = float((before[np.argsort(-now, kind="stable")] / discount).sum())
    shares = [x / x.sum() if x.sum() else x for x in (before, now)]
    moved = sorted(
        ((n, float(a), float(b)) for n, a, b in zip(names, *shares, strict=True)),
        key=lambda t: (-abs(t[2] - t[1]), t[0]),
    )
    return ImportanceShift(reached / best if best else 1.0, tuple(moved))
