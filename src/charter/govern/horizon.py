"""The quality of a forecast by horizon, as a few rows for people. Pure; from the plain data of an evaluation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Json = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class HorizonRow:
    """One block of the horizon, or the whole of it for series without a past.

    Attributes
    ----------
    steps
        ``all``, first and last step (``1-4``), or what is new: ``new store``.
    error, bias, coverage
        Estimates, ``{value, low, high}``; coverage is None without intervals.
    baseline, other
        The baseline that is hardest to beat here, and its error.
    improvement
        Estimate of the share of that baseline's error that the model does away with.
    """

    steps: str
    n: int
    error: Json
    bias: Json
    coverage: Json | None
    baseline: str
    other: float | None
    improvement: Json | None


def horizon_rows(report: Json) -> tuple[HorizonRow, ...]:
    """All steps together, then block by block, then series as if they had no past.

    Parameters
    ----------
    report
        ``forecast`` of ``Evaluation.to_json()``.
    """
    parts = (report["overall"], *report["blocks"], *report.get("new_series", ()))
    return tuple(_row(part, report["metric"]) for part in parts)


def horizon_words(report: Json) -> str:
    """Say what the rows rest on.

    Examples
    --------
    >>> horizon_words({"horizon": 12, "origins": 6, "series": 913, "unknown": 0})
    '12 steps ahead from 6 origins, 913 series; intervals say how errors vary over series, not over time'
    """
    unknown = report["unknown"]
    told = [
        f"{report['horizon']} steps ahead from {_count(report['origins'], 'origin')}, {report['series']:,} series"
    ]
    if unknown:
        told.append(f"{unknown:,} rows without an actual value left out")
    if report.get("new_series"):
        told.append("'new' are series of these origins, forecast as if they had no past")
    told.append(
        "intervals say how errors vary over series" + ("" if report.get("over_time") else ", not over time")
    )
    return "; ".join(told)


def over_time_words(report: Json) -> str:
    """Say how the errors over all rows vary over time; empty where that is not known.

    Examples
    --------
    >>> bias = {"value": 0.05, "low": -0.02, "high": 0.11}
    >>> error = {"value": 0.4, "low": None, "high": None}
    >>> over_time_words({"metric": "wmape", "periods": 17, "over_time": {"wmape": error, "bias": bias}})
    'resampling the 17 periods that were forecast instead: wmape 0.400, bias +0.050 [-0.020, +0.110]'
    """
    found = report.get("over_time")
    if not found:
        return ""
    told = [f"{report['metric']} {_interval(found[report['metric']], '.3f')}"]
    told.append(f"bias {_interval(found['bias'], '+.3f')}")
    return f"resampling the {report['periods']} periods that were forecast instead: {', '.join(told)}"


def _interval(e: Json, form: str) -> str:
    if e["value"] is None:
        return "not defined"
    if e.get("low") is None:
        return format(e["value"], form)
    return f"{e['value']:{form}} [{e['low']:{form}}, {e['high']:{form}}]"


def _count(n: int, word: str) -> str:
    return f"{n:,} {word}{'' if n == 1 else 's'}"


def _row(part: Json, metric: str) -> HorizonRow:
    metrics = part["metrics"]
    best = _hardest(part["added"])
    return HorizonRow(
        steps=part["value"],
        n=part["n"],
        error=metrics[metric],
        bias=metrics["bias"],
        coverage=metrics.get("interval_coverage"),
        baseline=best["baseline"] if best else "",
        other=best["other"] if best else None,
        improvement=best["improvement"] if best else None,
    )


def _hardest(added: Sequence[Json]) -> Json | None:
    """The baseline with the smallest error; errors are what forecasts are compared on."""
    known = [one for one in added if one["other"] is not None]
    return min(known, key=lambda one: (one["other"], one["baseline"]), default=None)
