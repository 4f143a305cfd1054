"""What the answers of two versions say about a guard: how sure it is that the limit is kept, or broken.

A rollout is looked at again and again, so every bound here holds at all looks together (a confidence sequence): the
chance that it is ever wrong over a whole stage is ``alpha`` or less, however often and whenever one looks.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from dataclasses import dataclass, field

import numpy as np

from charter.core.decision import Check, Verdict
from charter.evaluate.types import Floats
from charter.iterate.boundary import DEFAULT_PLANNED, mixture_weight, sequential_boundary
from charter.iterate.words import figure
from charter.spec.guards import Guard

ASYMPTOTIC_FROM = 100
"""Decisions of each version from which the bound of a mean is said."""
UNUSUAL_FROM = 30
"""Of these so many must be worth something else than the most frequent worth: where hardly any is, as with rare frauds,
their spread is unknown, and a spread of zero would prove anything."""
_NOTHING: Floats = np.empty(0)
Ends = tuple[float, float]


@dataclass(frozen=True, slots=True, eq=False)
class Shown:
    """What one version did over a stage.

    Attributes
    ----------
    requests
        That it answered; for a shadow, that it scored.
    errors
        Requests among them that the fallback answered, in part or whole.
    latency_ms
        Of each request, shape (requests,), without those whose latency is not known.
    score
        Of each row that it scored, any shape (n,).
    value
        Worth of each decision whose outcome is known, in the currency of the specification, any shape (m,).
    """

    requests: int = 0
    errors: int = 0
    latency_ms: Floats = field(default_factory=lambda: _NOTHING)
    score: Floats = field(default_factory=lambda: _NOTHING)
    value: Floats = field(default_factory=lambda: _NOTHING)


@dataclass(frozen=True, slots=True)
class Signals:
    """What candidate and champion did over the same time.

    Attributes
    ----------
    compared, differing
        Rows that both have decided (in shadow), and those among them that they decided otherwise.
    """

    champion: Shown
    candidate: Shown
    compared: int = 0
    differing: int = 0


def share_bounds(hits: int, n: int, alpha: float) -> Ends:
    """Bounds of a probability that hold at every n at once.

    Notes
    -----
    All p at which ``B(s + 1/2, n - s + 1/2) / B(1/2, 1/2) < p^s (1 - p)^(n - s) / alpha``: by Ville's inequality the
    mixture of likelihood ratios exceeds 1 / alpha with chance alpha or less (Robbins, 1970; Howard, Ramdas, McAuliffe
    and Sekhon, 2021). Exact for independent requests, at any n.

    Examples
    --------
    >>> low, high = share_bounds(3, 1000, 0.05)
    >>> round(low, 5), round(high, 5)
    (0.00012, 0.01431)
    """
    if not n:
        return 0.0, 1.0
    from scipy.optimize import brentq

    def evidence(p: float) -> float:
        return _evidence(hits, n, p) + math.log(alpha)

    tiny, middle = 1e-300, hits / n
    low = brentq(evidence, tiny, middle) if hits and evidence(tiny) > 0 else 0.0
    top = 1 - 1e-16
    high = brentq(evidence, middle, top) if hits < n and evidence(top) > 0 else 1.0
    return float(low), float(high)


def _evidence(hits: int, n: int, p: float) -> float:
    """Logarithm of the mixture of likelihood ratios against ``p``."""
    misses = n - hits
    mixed = math.lgamma(hits + 0.5) + math.lgamma(misses + 0.5) - math.lgamma(n + 1) - math.log(math.pi)
    return mixed - (hits * math.log(p) if hits else 0.0) - (misses * math.log1p(-p) if misses else 0.0)


def quantile_bounds(values: Floats, q: float, alpha: float) -> Ends:
    """Bounds of a quantile that hold at every n at once; -inf or inf where there are too few values to tell.

    Notes
    -----
    Of independent values the number above the quantile is that of draws with probability 1 - q. The quantile lies
    between the order statistics at which `share_bounds` just does not exclude that probability; nothing is assumed of
    the distribution.

    Examples
    --------
    >>> import numpy as np
    >>> low, high = quantile_bounds(np.arange(1.0, 2001.0), 0.95, 0.05)
    >>> low, high
    (1862.0, 1935.0)
    """
    n = len(values)
    if not n:
        return -math.inf, math.inf
    ordered, rate, enough = np.sort(values), 1 - q, -math.log(alpha)
    expected = math.ceil(n * rate)
    # Evidence falls up to the expected count and rises beyond it, so both ends can be bisected.
    most = bisect_left(range(expected, n + 1), True, key=lambda s: _evidence(s, n, rate) >= enough) + expected
    fewest = bisect_left(range(expected), True, key=lambda s: _evidence(s, n, rate) < enough) - 1
    low = float(ordered[n - most]) if most <= n else -math.inf
    high = float(ordered[n - 1 - fewest]) if fewest >= 0 else math.inf
    return low, high


def distance_bounds(a: Floats, b: Floats, alpha: float) -> tuple[float, float, float]:
    """Largest distance of two empirical distribution functions, and bounds that hold at every size at once.

    Notes
    -----
    The two-sample Kolmogorov-Smirnov distance, give or take ``e(n) + e(m)`` with ``e(n) = 0.85 sqrt((log log(e n) + 0.8
    log(1612 / (alpha / 2))) / n)``, a Dvoretzky-Kiefer-Wolfowitz bound that holds over time (Howard and Ramdas, 2022,
    Theorem 2). To show less than 0.25 takes about 800 scores of each.
    """
    if not len(a) or not len(b):
        return 0.0, 0.0, 1.0
    a, b = np.sort(a), np.sort(b)
    every = np.concatenate([a, b])
    apart = np.searchsorted(a, every, side="right") / len(a) - np.searchsorted(b, every, side="right") / len(
        b
    )
    d = float(np.abs(apart).max())
    give = sum(_uniform(len(one), alpha / 2) for one in (a, b))
    return d, max(d - give, 0.0), min(d + give, 1.0)


def _uniform(n: int, alpha: float) -> float:
    return 0.85 * math.sqrt((math.log(math.log(math.e * n)) + 0.8 * math.log(1612 / alpha)) / n)


def check(guard: Guard, signals: Signals, *, name: str, alpha: float) -> Check:
    """Hold a guard against what was seen.

    Returns
    -------
    Check
        ``fail`` where the limit is surely broken (the whole interval lies beyond it), ``pass`` where it is surely kept,
        ``unknown`` where the data cannot tell.
    """
    seen, (low, high), note = _measure(guard, signals, alpha)
    required = f"{guard.measure} at most {figure(guard.limit)}"
    if seen is None:
        return Check(
            name, "not known", required, Verdict.UNKNOWN, note=note or "nothing to measure it by yet"
        )
    observed = f"{figure(seen)} [{_end(low)}, {_end(high)}]"
    if low > guard.limit:
        return Check(name, observed, required, Verdict.FAIL, note="surely more")
    if high <= guard.limit:
        return Check(name, observed, required, Verdict.PASS)
    return Check(name, observed, required, Verdict.UNKNOWN, note=note or "the data cannot tell yet")


def _end(value: float) -> str:
    return figure(value) if math.isfinite(value) else "?"


def _measure(guard: Guard, signals: Signals, alpha: float) -> tuple[float | None, Ends, str]:
    new, old = signals.candidate, signals.champion
    match guard.measure:
        case "error_share":
            ends = share_bounds(new.errors, new.requests, alpha)
            return (
                _share(new.errors, new.requests),
                ends,
                _more_requests(guard, new.errors, new.requests, alpha),
            )
        case "error_share_rise":
            a, b = _share(new.errors, new.requests), _share(old.errors, old.requests)
            if a is None or b is None:
                return None, (0.0, 0.0), ""
            up = share_bounds(new.errors, new.requests, alpha / 2)
            down = share_bounds(old.errors, old.requests, alpha / 2)
            return a - b, (up[0] - down[1], up[1] - down[0]), ""
        case "disagreement":
            ends = share_bounds(signals.differing, signals.compared, alpha)
            seen = _share(signals.differing, signals.compared)
            return seen, ends, _more_requests(guard, signals.differing, signals.compared, alpha)
        case "p95_latency_rise":
            return _rise(new.latency_ms, old.latency_ms, alpha)
        case "score_shift":
            if not len(new.score) or not len(old.score):
                return None, (0.0, 1.0), ""
            d, low, high = distance_bounds(new.score, old.score, alpha)
            return d, (low, high), ""
        case "value_drop":
            return _drop(old.value, new.value, alpha)
        case _:
            q = int(guard.measure[1:3]) / 100
            if not len(new.latency_ms):
                return None, (0.0, 0.0), ""
            return float(np.quantile(new.latency_ms, q)), quantile_bounds(new.latency_ms, q, alpha), ""


def _share(hits: int, n: int) -> float | None:
    return hits / n if n else None


def _more_requests(guard: Guard, hits: int, n: int, alpha: float) -> str:
    """How many more of the same would show that the limit is kept; nothing where they never would."""
    if not n or not 0 < guard.limit < 1 or hits / n >= guard.limit:
        return ""
    times = 1.0
    while share_bounds(round(hits * times), round(n * times), alpha)[1] > guard.limit:
        times *= 1.25
        if times > 1000:
            return ""
    missing = round(n * times) - n
    return f"about {missing:,} more requests like these would show it" if missing > 0 else ""


def _rise(new: Floats, old: Floats, alpha: float) -> tuple[float | None, Ends, str]:
    if not len(new) or not len(old) or float(np.quantile(old, 0.95)) <= 0:
        return None, (0.0, 0.0), ""
    up, down = quantile_bounds(new, 0.95, alpha / 2), quantile_bounds(old, 0.95, alpha / 2)
    low = up[0] / down[1] - 1 if math.isfinite(up[0]) and down[1] > 0 else -1.0
    high = up[1] / down[0] - 1 if down[0] > 0 else math.inf
    return float(np.quantile(new, 0.95) / np.quantile(old, 0.95)) - 1, (low, high), ""


def _drop(old: Floats, new: Floats, alpha: float) -> tuple[float | None, Ends, str]:
    """Difference of means; asymptotic (Waudby-Smith, Arbour, Sinha, Kennedy and Ramdas, 2024)."""
    if min(len(old), len(new)) < ASYMPTOTIC_FROM:
        missing = ASYMPTOTIC_FROM - min(len(old), len(new))
        return None, (0.0, 0.0), f"{missing:,} more decisions with a known outcome are needed"
    unusual = min(_unusual(old), _unusual(new))
    if unusual < UNUSUAL_FROM:
        note = f"{UNUSUAL_FROM - unusual:,} more decisions that are not worth the same as the rest are needed"
        return None, (0.0, 0.0), note
    error = math.sqrt(float(old.var(ddof=1)) / len(old) + float(new.var(ddof=1)) / len(new))
    width = (
        float(sequential_boundary(len(old) + len(new), mixture_weight(DEFAULT_PLANNED, alpha), alpha)) * error
    )
    drop = float(old.mean() - new.mean())
    return drop, (drop - width, drop + width), ""


def _unusual(worth: Floats) -> int:
    """How many decisions are worth something else than the most frequent worth."""
    return len(worth) - int(np.unique(worth, return_counts=True)[1].max())
