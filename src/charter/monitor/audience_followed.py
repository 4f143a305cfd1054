"""What data scientists read of outcomes as they come: calibration, concept, estimates, forecasts. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from charter.monitor.audience_types import Table, decimal, interval
from charter.monitor.facts import Facts


def followed_tables(facts: Facts) -> Iterable[Table]:
    """Tables of windows of which something is known."""
    known = [w for w in reversed(facts.windows) if w["quality"]["realised"]]
    lines = [w for w in known if "calibration_slope" in w["quality"]["realised"]]
    if lines:
        yield Table(
            "Calibration and concept",
            ("window", "slope", "intercept", "expected calibration error", "concept drift"),
            tuple(
                (w["start"][:10],
                 *(_shown(w["quality"]["realised"].get(name)) for name in
                   ("calibration_slope", "calibration_intercept", "expected_calibration_error")),
                 _concept(w))
                for w in lines
            ),
        )  # fmt: skip
    off = [w for w in known if w["quality"].get("estimation_error")]
    if off:
        names = tuple(off[0]["quality"]["estimation_error"])[:5]
        yield Table(
            "Realised less estimated, on the same rows",
            ("window", *names),
            tuple(
                (w["start"][:10], *(decimal(w["quality"]["estimation_error"].get(n), 4) for n in names))
                for w in off
            ),
            right=tuple(range(1, len(names) + 1)),
        )
    yield from _forecasts(next((w["forecast"] for w in reversed(facts.windows) if w.get("forecast")), None))


def _shown(found: Mapping[str, Any] | None) -> str:
    return "-" if found is None or found["value"] is None else interval(found)


def _concept(window: Mapping[str, Any]) -> str:
    told = [c["detector"].replace("_", "-") for c in window.get("concept", ()) if c["at"] is not None]
    return ", ".join(told) or "none"


def _forecasts(found: Mapping[str, Any] | None) -> Iterable[Table]:
    if found is None:
        return
    names = [n for n in ("wmape", "bias", "interval_coverage") if n in found["parts"][0]["metrics"]]
    rivals = [a["baseline"] for a in found["parts"][0]["added"]]
    yield Table(
        f"Forecasts by horizon, {found['n']:,} of {found['series']:,} series",
        ("steps", *names, *(f"added over {r.replace('_', ' ')}" for r in rivals)),
        tuple(
            (
                p["value"],
                *(_shown(p["metrics"][n]) for n in names),
                *(_shown(a["improvement"]) for a in p["added"]),
            )
            for p in found["parts"]
        ),
    )
    if found["exceptions"]:
        rows = tuple((e["series"], e["kind"], e["text"]) for e in found["exceptions"])
        yield Table("Series to look at", ("series", "what", ""), rows)
