"""Points of the card's two charts, in a square of 100 by 100 with the origin at the top left. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

SIDE = 100.0


def roc_points(evaluation: Mapping[str, Any]) -> str:
    """Return the ROC curve as points of an SVG polyline; empty where there is none."""
    roc = (evaluation.get("curves") or {}).get("roc") or {}
    return _points(zip(roc.get("fpr") or (), roc.get("tpr") or (), strict=False))


def calibration_points(evaluation: Mapping[str, Any]) -> str:
    """Return predicted against observed frequency as points of an SVG polyline; empty where there is none."""
    bins = evaluation.get("calibration") or ()
    return _points((one.get("predicted"), one.get("observed")) for one in bins)


def _points(pairs: Iterable[tuple[float | None, float | None]]) -> str:
    return " ".join(
        f"{x * SIDE:.1f},{(1 - y) * SIDE:.1f}" for x, y in pairs if x is not None and y is not None
    )
