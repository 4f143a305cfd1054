"""What the answers of two versions say about a guard: how sure it is that the limit is kept, or broken.

A rollout is looked at again and again, so every bound here holds at all looks together (a confidence sequence): the
chance that it is ever wrong over a whole stage is ``alpha`` or less, however often and whenever one looks.

What one unit does is not independent: requests of few units tell less than as many of many. Counts are divided by the
design effect (Rao and Scott, 1992), the largest that there can be, as though a unit did the same each time; see
`draws`. Where every unit comes once that changes nothing; where they come often it is no longer exact, but errs towards
not knowing.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

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


def draws(sizes: npt.ArrayLike) -> float:
    """Independent draws that values of units are worth at the least: ``(sum n)^2 / sum n^2`` (Kish, 1965).

    Parameters
    ----------
    sizes
        How many values each unit has, shape (units,); 1 or more.

    Examples
    --------
    >>> draws([1, 1, 1, 1]), draws([5, 5]), round(draws([97, 1, 1, 1]), 2)
    (4.0, 2.0, 1.06)
    """
    n = np.asarray(sizes, dtype=np.float64)
    return float(n.sum() ** 2 / np.square(n).sum()) if n.size else 0.0


@dataclass(frozen=True, slots=True)
class Draws:
    """How many independent draws the values of a version are worth; no more than there are of them."""

    requests: float = math.inf
    latency: float = math.inf
    score: float = math.inf
    value: float = math.inf


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
    draws: Draws = Draws()


@dataclass(frozen=True, slots=True)
class Signals:
    """What candidate and champion did over the same time.

    Attributes
    ----------
    compared, differing
        Rows that both have decided (in shadow), and those among them that they decided otherwise.
    draws
        That the compared rows are worth.
    meant
        Share of the requests that the candidate should have been asked; None is that of the leg.
    """

    champion: Shown
    candidate: Shown
    compared: int = 0
    differing: int = 0
    draws: float = math.inf
    meant: float | None = None


def share_bounds(hits: int, n: int, alpha: float, draws: float = math.inf) -> Ends:
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

    worth = min(n, draws)

    def evidence(p: float) -> float:
        return _evidence(hits * worth / n, worth, p) + math.log(alpha)

    tiny, middle = 1e-300, hits / n
    low = brentq(evidence, tiny, middle) if hits and evidence(tiny) > 0 else 0.0
    top = 1 - 1e-16
    high = brentq(evidence, middle, top) if hits < n and evidence(top) > 0 else 1.0
    return float(low), float(high)


def _evidence(hits: float, n: float, p: float) -> float:
    """Logarithm of the mixture of likelihood ratios against ``p``."""
    misses = max(n - hits, 0.0)
    mixed = math.lgamma(hits + 0.5) + math.lgamma(misses + 0.5) - math.lgamma(n + 1) - math.log(math.pi)
    return mixed - (hits * math.log(p) if hits else 0.0) - (misses * math.log1p(-p) if misses else 0.0)


def quantile_bounds(values: Floats, q: float, alpha: float, draws: float = math.inf) -> Ends:
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
    expected, worth = math.ceil(n * rate), min(n, draws)

    def beyond(s: int) -> float:
        return _evidence(s * worth / n, worth, rate)

    # Evidence falls up to the expected count and rises beyond it, so both ends can be bisected.
    most = bisect_left(range(expected, n + 1), True, key=lambda s: beyond(s) >= enough) + expected
    fewest = bisect_left(range(expected), True, key=lambda s: beyond(s) < enough) - 1
    low = float(ordered[n - most]) if most <= n else -math.inf
    high = float(ordered[n - 1 - fewest]) if fewest >= 0 else math.inf
    return low, high


def distance_bounds(
    a: Floats, b: Floats, alpha: float, draws: tuple[float, float] = (math.inf, math.inf)
) -> tuple[float, float, float]:
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
    give = sum(_uniform(min(len(one), most), alpha / 2) for one, most in zip((a, b), draws, strict=True))
    return d, max(d - give, 0.0), min(d + give, 1.0)


def _uniform(n: float, alpha: float) -> float:
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
    note = note or _missing(guard, signals, alpha) or "the data cannot tell yet"
    return Check(name, observed, required, Verdict.UNKNOWN, note=note)


def _end(value: float) -> str:
    return figure(value) if math.isfinite(value) else "?"


def _measure(guard: Guard, signals: Signals, alpha: float) -> tuple[float | None, Ends, str]:
    new, old = signals.candidate, signals.champion
    match guard.measure:
        case "error_share":
            ends = share_bounds(new.errors, new.requests, alpha, new.draws.requests)
            return _share(new.errors, new.requests), ends, ""
        case "error_share_rise":
            a, b = _share(new.errors, new.requests), _share(old.errors, old.requests)
            if a is None or b is None:
                return None, (0.0, 0.0), ""
            up = share_bounds(new.errors, new.requests, alpha / 2, new.draws.requests)
            down = share_bounds(old.errors, old.requests, alpha / 2, old.draws.requests)
            return a - b, (up[0] - down[1], up[1] - down[0]), ""
        case "disagreement":
            ends = share_bounds(signals.differing, signals.compared, alpha, signals.draws)
            return _share(signals.differing, signals.compared), ends, ""
        case "p95_latency_rise":
            return _rise(old, new, alpha)
        case "score_shift":
            if not len(new.score) or not len(old.score):
                return None, (0.0, 1.0), ""
            d, low, high = distance_bounds(new.score, old.score, alpha, (new.draws.score, old.draws.score))
            return d, (low, high), ""
        case "value_drop":
            return _drop(old, new, alpha)
        case _:
            q = int(guard.measure[1:3]) / 100
            if not len(new.latency_ms):
                return None, (0.0, 0.0), ""
            ends = quantile_bounds(new.latency_ms, q, alpha, new.draws.latency)
            return float(np.quantile(new.latency_ms, q)), ends, ""


def _share(hits: int, n: int) -> float | None:
    return hits / n if n else None


def _missing(guard: Guard, signals: Signals, alpha: float) -> str:
    """How many more of the same would show that a limit is kept; nothing where they never would."""
    new = signals.candidate
    match guard.measure:
        case "error_share":
            hits, n, worth = new.errors, new.requests, new.draws.requests
        case "disagreement":
            hits, n, worth = signals.differing, signals.compared, signals.draws
        case "p50_latency_ms" | "p95_latency_ms" | "p99_latency_ms":
            return _untimed(int(guard.measure[1:3]) / 100, guard.limit, new, alpha)
        case _:
            return ""
    if worth < 2 <= n:
        return "all are of one unit, or the log does not tell of which"
    if not n or not 0 < guard.limit < 1 or hits / n >= guard.limit:
        return ""
    times = 1.0
    while share_bounds(round(hits * times), round(n * times), alpha, worth * times)[1] > guard.limit:
        times *= 1.25
        if times > 1000:
            return ""
    missing = round(n * times) - n
    return f"about {missing:,} more requests like these would show it" if missing > 0 else ""


def _untimed(q: float, limit: float, new: Shown, alpha: float) -> str:
    """How many requests have a latency, and how many more would show that the quantile is kept."""
    timed, n, worth = new.latency_ms, len(new.latency_ms), new.draws.latency
    note = f"{n:,} of {new.requests:,} requests were timed"
    if worth < 2 <= n:
        return f"{note}; all are of one unit, or the log does not tell of which"
    for times in 1.25 ** np.arange(1, 32):  # more of the same, up to a thousand times as many
        many = np.quantile(timed, np.linspace(0, 1, round(n * times)), method="nearest")
        if quantile_bounds(many, q, alpha, worth * float(times))[1] <= limit:
            return f"{note}; about {len(many) - n:,} more timed ones would show it"
    return f"{note}; the data cannot tell yet"


def _rise(champion: Shown, candidate: Shown, alpha: float) -> tuple[float | None, Ends, str]:
    old, new = champion.latency_ms, candidate.latency_ms
    if not len(new) or not len(old) or float(np.quantile(old, 0.95)) <= 0:
        return None, (0.0, 0.0), ""
    up = quantile_bounds(new, 0.95, alpha / 2, candidate.draws.latency)
    down = quantile_bounds(old, 0.95, alpha / 2, champion.draws.latency)
    low = up[0] / down[1] - 1 if math.isfinite(up[0]) and down[1] > 0 else -1.0
    high = up[1] / down[0] - 1 if down[0] > 0 else math.inf
    return float(np.quantile(new, 0.95) / np.quantile(old, 0.95)) - 1, (low, high), ""


def _drop(champion: Shown, candidate: Shown, alpha: float) -> tuple[float | None, Ends, str]:
    """Difference of means; asymptotic (Waudby-Smith, Arbour, Sinha, Kennedy and Ramdas, 2024)."""
    old, new = champion.value, candidate.value
    n, m = min(len(old), champion.draws.value), min(len(new), candidate.draws.value)
    if min(n, m) < ASYMPTOTIC_FROM:
        missing = math.ceil(ASYMPTOTIC_FROM - min(n, m))
        return None, (0.0, 0.0), f"{missing:,} more decisions with a known outcome are needed, of other units"
    unusual = math.floor(min(_unusual(old) * n / len(old), _unusual(new) * m / len(new)))
    if unusual < UNUSUAL_FROM:
        note = f"{UNUSUAL_FROM - unusual:,} more decisions that are not worth the same as the rest are needed"
        return None, (0.0, 0.0), note
    error = math.sqrt(float(old.var(ddof=1)) / n + float(new.var(ddof=1)) / m)
    width = float(sequential_boundary(n + m, mixture_weight(DEFAULT_PLANNED, alpha), alpha)) * error
    drop = float(old.mean() - new.mean())
    return drop, (drop - width, drop + width), ""


def _unusual(worth: Floats) -> int:
    """How many decisions are worth something else than the most frequent worth."""
    return len(worth) - int(np.unique(worth, return_counts=True)[1].max())
