"""Judging drift: an effect that is large enough, that is not chance, and that persists. Pure."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from charter.core.decision import Check, Verdict
from charter.data.discovery import benjamini_hochberg
from charter.monitor.drift_types import DriftReport, Finding, Measured
from charter.monitor.significance import smallest_change, smallest_psi
from charter.spec.types.monitoring import DriftSpec

_ORDER = {Verdict.FAIL: 0, Verdict.UNKNOWN: 1, Verdict.WARN: 2, Verdict.PASS: 3}


def judge_drift(
    windows: Sequence[Sequence[Measured]],
    limits: DriftSpec,
    *,
    subject: str = "drift",
    further: Sequence[Check] = (),
    remarks: Sequence[str] = (),
) -> DriftReport:
    """Judge what was measured in one or more windows, oldest first.

    A column has drifted when, in each of the last ``limits.persistence`` windows, the change is above its limit *and*
    significant after Benjamini-Hochberg's control of false discoveries over all columns and windows. Where nothing
    changed at all, the chance of any significant column is at most ``limits.false_discovery_rate`` a report, for
    independent rows.

    Parameters
    ----------
    windows
        From `charter.monitor.compare.compare`, a window each; of a single comparison one, with ``persistence=1``.
    further
        Checks to judge with it.

    Examples
    --------
    >>> import polars as pl
    >>> from charter.data.profile import profile
    >>> from charter.monitor.compare import compare
    >>> before = profile(pl.DataFrame({"x": range(1000)}))
    >>> moved = compare(before, profile(pl.DataFrame({"x": range(200, 1200)}), before))
    >>> judge_drift([moved], DriftSpec(persistence=1)).drifted, judge_drift([moved], DriftSpec(persistence=2)).drifted
    (('x',), ())
    """
    every = [m for window in windows for m in window]
    adjusted = benjamini_hochberg([np.nan if m.p_value is None else m.p_value for m in every])
    tests = int(np.isfinite(adjusted).sum())
    levels: list[dict[object, tuple[int, float | None]]] = []
    place = 0
    for window in windows:
        told: dict[object, tuple[int, float | None]] = {}
        for m in window:
            q = None if np.isnan(adjusted[place]) else float(adjusted[place])
            place += 1
            told[m.key] = (_level(m, q, limits), q)
        levels.append(told)
    alpha = limits.false_discovery_rate / max(tests, 1)
    findings = [_finding(m, levels, limits, alpha) for m in (windows[-1] if windows else ())]
    findings.sort(key=lambda f: (_ORDER[f.verdict], -f.level, -max(f.measured.effects.values(), default=0.0)))
    return DriftReport(
        subject,
        tuple(findings),
        len(windows),
        tests,
        limits.persistence,
        limits.false_discovery_rate,
        tuple(further),
        tuple(remarks),
    )


def _level(m: Measured, q: float | None, limits: DriftSpec) -> int:
    if m.aspect == "absent":
        return 2
    return size(m, limits) if q is not None and q <= limits.false_discovery_rate else 0


def size(m: Measured, limits: DriftSpec) -> int:
    """How large a change is by the limits alone: 0 small, 1 moderate, 2 large."""
    e = m.effects
    match m.aspect:
        case "distribution":
            psi = e.get("psi", 0.0)
            if psi >= limits.psi_critical or e.get("ks", 0.0) >= limits.ks_critical:
                return 2
            return 1 if psi >= limits.psi_warning else 0
        case "missing":
            return 2 if abs(e["change"]) >= limits.missing_share else 0
        case "unseen":
            return 2 if e["share"] >= limits.unseen_share else 0
        case _:
            return 2


def _finding(
    m: Measured, levels: Sequence[dict[object, tuple[int, float | None]]], limits: DriftSpec, alpha: float
) -> Finding:
    level, q = levels[-1][m.key]
    history = [told.get(m.key, (0, None))[0] for told in reversed(levels)]
    run = next((i for i, one in enumerate(history) if not one), len(history))
    persists = min(history[: limits.persistence]) if run >= limits.persistence else 0
    if m.aspect == "absent":
        persists = 2  # a column that is gone breaks what follows at once
    visible, limit = _visible(m, limits, alpha)
    notes = [m.note] if m.note else []
    if persists:
        verdict = Verdict.FAIL if persists == 2 else Verdict.WARN
    elif m.p_value is None:
        verdict = Verdict.UNKNOWN
    elif visible is not None and visible > limit and not level:
        verdict = Verdict.UNKNOWN
        notes.append("too few rows to see even a large change")
    else:
        verdict = Verdict.PASS
    if level and m.aspect != "absent" and limits.persistence > 1:
        notes.append(f"in {run} of {limits.persistence} windows in a row")
    elif size(m, limits) and not level and m.p_value is not None:
        notes.append("not significant")
    notes.append(f"{m.n_current:,} rows against {m.n_reference:,}")
    if visible is not None:
        size_seen = f"PSI of {visible:.2g}" if m.aspect == "distribution" else f"change of {visible:.2%}"
        notes.append(f"a {size_seen} would have been seen")
    return Finding(m, q, level, run, visible, verdict, _required(m, limits), "; ".join(notes))


def _visible(m: Measured, limits: DriftSpec, alpha: float) -> tuple[float | None, float]:
    match m.aspect:
        case "distribution":
            return smallest_psi(m.freedom, m.n_reference, m.n_current, alpha), limits.psi_critical
        case "missing":
            found = smallest_change(m.base, m.n_reference, m.n_current, alpha)
            return found, limits.missing_share
        case _:
            return None, limits.unseen_share


def _required(m: Measured, limits: DriftSpec) -> str:
    match m.aspect:
        case "distribution":
            ks = f", KS < {limits.ks_critical:g}" if "ks" in m.effects else ""
            return f"PSI < {limits.psi_warning:g}{ks}"
        case "missing":
            return f"a change < {limits.missing_share:.0%}"
        case "unseen":
            return f"< {limits.unseen_share:.0%} of the rows"
        case _:
            return "there"
