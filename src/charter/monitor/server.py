"""What the servers' own metrics say: instances, memory, processor time, errors, throughput, latency. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from itertools import pairwise
from typing import Any

_MIB = 2**20
_BROKEN = 500
_REFUSED = ("400", "422")


@dataclass(frozen=True, slots=True)
class Sample:
    """One look at a server's ``/metrics``.

    Attributes
    ----------
    reached
        Whether it answered.
    requests
        Status to requests since the server began, of the model.
    seconds
        Upper end of a bucket (``+Inf`` for all) to requests that took at most so long.
    cpu_seconds, started
        By process: processor time since its start, and that moment as Unix time.
    memory_bytes
        Of all processes together.
    """

    at: str
    reached: bool
    requests: Mapping[str, float] = field(default_factory=dict)
    seconds: Mapping[str, float] = field(default_factory=dict)
    cpu_seconds: Mapping[str, float] = field(default_factory=dict)
    started: Mapping[str, float] = field(default_factory=dict)
    memory_bytes: float = 0.0

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)


def read_sample(text: str, model: str, at: str) -> Sample:
    r"""Read Prometheus' text format.

    Raises
    ------
    ValueError
        When it is none.

    Examples
    --------
    >>> text = 'charter_requests_total{model="m",status="200"} 7.0\ncharter_process_resident_bytes{pid="1"} 1048576\n'
    >>> found = read_sample(text, "m", "2026-03-01T00:00:00Z")
    >>> found.requests, found.memory_bytes
    ({'200': 7.0}, 1048576.0)
    """
    from prometheus_client.parser import text_string_to_metric_families

    found: dict[str, dict[str, float]] = {name: {} for name in ("requests", "seconds", "cpu", "started")}
    memory = 0.0
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels, value = sample.labels, float(sample.value)
            if labels.get("model", model) != model:
                continue
            match sample.name:
                case "charter_requests_total":
                    status = labels.get("status", "")
                    found["requests"][status] = found["requests"].get(status, 0.0) + value
                case "charter_request_seconds_bucket":
                    end = labels.get("le", "")
                    found["seconds"][end] = found["seconds"].get(end, 0.0) + value
                case "charter_process_cpu_seconds_total":
                    found["cpu"][labels.get("pid", "")] = value
                case "charter_process_start_seconds":
                    found["started"][labels.get("pid", "")] = value
                case "charter_process_resident_bytes":
                    memory += value
    return Sample(at, True, found["requests"], found["seconds"], found["cpu"], found["started"], memory)


def operations_of(samples: Sequence[Sample]) -> dict[str, float]:
    """Measures from the looks that fall into a window, and the one before it; oldest first.

    Parameters
    ----------
    samples
        At least one; counters are held against the look before, and one that fell back began anew.

    Returns
    -------
    ``reached_share`` of the looks; ``instances``, ``memory_mb`` and ``uptime_hours`` (of the youngest process) of the
    last look; and over the looks, where there are two, ``requests_per_second``, ``error_share`` (5xx),
    ``refused_share`` (400 and 422: what came was no request of this model), ``cpu_cores`` (processor seconds per
    second, of all processes) and ``served_p95_ms`` (upper end of the bucket that 95 % of the requests lie in).
    """
    last = samples[-1]
    found = {
        "reached_share": sum(s.reached for s in samples) / len(samples),
        "instances": float(len(last.started)),
    }
    if last.started:
        found["memory_mb"] = last.memory_bytes / _MIB
        found["uptime_hours"] = max(_unix(last.at) - max(last.started.values()), 0.0) / 3600
    there = [s for s in samples if s.reached]
    if len(there) < 2:
        return found
    apart = _unix(there[-1].at) - _unix(there[0].at)
    requests, seconds, cpu = (
        _grown([getattr(s, name) for s in there]) for name in ("requests", "seconds", "cpu_seconds")
    )
    total = sum(requests.values())
    if apart > 0:
        found["requests_per_second"] = total / apart
        found["cpu_cores"] = sum(cpu.values()) / apart
    if total:
        broken = sum(n for status, n in requests.items() if status.isdigit() and int(status) >= _BROKEN)
        found["error_share"] = broken / total
        found["refused_share"] = sum(requests.get(status, 0.0) for status in _REFUSED) / total
    every = seconds.get("+Inf", 0.0)
    if every:
        ends = sorted((float(end), n) for end, n in seconds.items())
        p95 = next(end for end, n in ends if n >= 0.95 * every)
        if math.isfinite(p95):
            found["served_p95_ms"] = p95 * 1000
    return found


def _grown(counters: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """How far each counter has grown from look to look; one that fell back has begun anew."""
    found: dict[str, float] = {}
    for before, after in pairwise(counters):
        for name, value in after.items():
            earlier = before.get(name, 0.0)
            found[name] = found.get(name, 0.0) + (value - earlier if value >= earlier else value)
    return found


def _unix(moment: str) -> float:
    return datetime.fromisoformat(moment).timestamp()
