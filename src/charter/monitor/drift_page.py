"""A drift report as one self-contained page of HTML. Pure."""

from __future__ import annotations

from typing import Any

import numpy as np

from charter.data.page import moment, number, render, share
from charter.data.profile import Profile
from charter.monitor.compare import cells
from charter.monitor.drift_types import DriftReport, Finding

_WIDTH, _HEIGHT = 300.0, 80.0
_NAMES = {"psi": "PSI", "ks": "KS", "jensen_shannon": "Jensen-Shannon", "wasserstein": "Wasserstein, in sd"}


def drift_page(
    report: DriftReport,
    reference: Profile,
    current: Profile,
    *,
    names: tuple[str, str] = ("reference", "current"),
) -> str:
    """Write the page; the same arguments give the same text, and everything is escaped."""
    drifted = report.drifted
    content = {
        "title": f"{len(drifted)} of {len(reference.columns)} columns drifted"
        if drifted
        else "No column drifted",
        "reference": names[0],
        "current": names[1],
        "facts": [
            ("verdict", report.decision.verdict.value),
            ("rows", f"{current.rows:,} against {reference.rows:,}"),
            (
                "tests",
                f"{report.tests:,}, of which {report.false_discovery_rate:.0%} of the calls may be chance",
            ),
        ],
        "checks": report.decision.checks,
        "remarks": report.remarks,
        "columns": [
            _column(f, reference, current)
            for f in report.findings
            if f.measured.aspect == "distribution" and f.measured.column in current.columns
        ],
    }
    return render("drift.html.j2", "charter.monitor", content)


def _column(finding: Finding, reference: Profile, current: Profile) -> dict[str, Any]:
    name = finding.measured.column
    before, after = reference.columns[name], current.columns[name]
    a, b = np.asarray(cells(before, before)), np.asarray(cells(after, before))
    a, b = a / max(a.sum(), 1), b / max(b.sum(), 1)
    most = max(float(a.max(initial=0)), float(b.max(initial=0)), 1e-12)
    step = _WIDTH / max(len(a), 1)
    write = moment if before.kind == "moment" else number
    facts = [(_NAMES[k], f"{v:.3f}") for k, v in finding.measured.effects.items() if k in _NAMES]
    if before.kind == "numeric":
        facts.append(("mean", f"{number(before.mean)}, now {number(after.mean)}"))
    facts.append(
        ("missing", f"{share(before.missing, before.count)}, now {share(after.missing, after.count)}")
    )
    labels = list(before.values)
    return {
        "name": name,
        "before": _half(a, most, step, 0.1),
        "after": _half(b, most, step, 0.5),
        "low": labels[0][:24] if labels else write(before.low) if before.low is not None else "",
        "high": "all others" if labels else write(before.high) if before.high is not None else "",
        "facts": facts,
    }


def _half(heights: Any, most: float, step: float, offset: float) -> str:
    """Bars that take four tenths of each place."""
    return "".join(
        f"M{(i + offset) * step:.1f} {_HEIGHT:g}V{_HEIGHT * (1 - h / most):.1f}h{0.4 * step:.1f}V{_HEIGHT:g}z"
        for i, h in enumerate(heights.tolist())
        if h > 0
    )
