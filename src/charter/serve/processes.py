"""Memory, processor time and age of the server's processes, as the operating system tells them, for Prometheus."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

PROC = Path("/proc")
_FILE = re.compile(r"worker_(\d+)\.pid")
_AFTER_NAME = 2
"""Fields of ``/proc/PID/stat`` are numbered from 1; what follows the name in brackets begins with the third."""


@dataclass(frozen=True, slots=True)
class Process:
    """One process.

    Attributes
    ----------
    resident_bytes
        Memory that it holds; pages that several processes share count in each.
    cpu_seconds
        Of user and system together, since it began.
    started
        Unix time.
    """

    pid: int
    parent: int
    resident_bytes: float
    cpu_seconds: float
    started: float


def read_process(pid: int, proc: Path = PROC) -> Process | None:
    """Read what Linux says of a process; None where there is none, or the system tells nothing there."""
    try:
        text = (proc / str(pid) / "stat").read_text()
        booted = next(
            float(line.split()[1])
            for line in (proc / "stat").read_text().splitlines()
            if line.startswith("btime ")
        )
    except (OSError, StopIteration):
        return None
    fields = text.rpartition(")")[2].split()

    def field(number: int) -> float:
        return float(fields[number - _AFTER_NAME - 1])

    ticks = os.sysconf("SC_CLK_TCK")
    return Process(
        pid,
        int(field(4)),
        field(24) * os.sysconf("SC_PAGE_SIZE"),
        (field(14) + field(15)) / ticks,
        booted + field(22) / ticks,
    )


def announce(folder: Path) -> None:
    """Let the other workers that share a folder of metrics know of this process, before it has counted anything."""
    (folder / f"worker_{os.getpid()}.pid").touch()


def workers(folder: Path | None, proc: Path = PROC) -> list[Process]:
    """Processes that answer: this one and, where workers share a folder of metrics, those that live beside it.

    A worker that died has left its file there; its number may be another process's by now, which has another parent.
    """
    own = read_process(os.getpid(), proc)
    if own is None:
        return []
    names = [] if folder is None else sorted(path.name for path in folder.glob("worker_*.pid"))
    pids = {int(found[1]) for name in names if (found := _FILE.fullmatch(name))} - {own.pid}
    others = [read_process(pid, proc) for pid in sorted(pids)]
    return [own, *(p for p in others if p is not None and p.parent == own.parent)]


class Processes(Collector):
    """Asks the operating system when Prometheus asks; nothing is measured in between."""

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder

    def collect(self) -> Iterator[Metric]:
        """One sample a process."""
        memory = GaugeMetricFamily("charter_process_resident_bytes", "Memory held", labels=["pid"])
        cpu = CounterMetricFamily("charter_process_cpu_seconds", "Processor time", labels=["pid"])
        started = GaugeMetricFamily("charter_process_start_seconds", "Unix time of the start", labels=["pid"])
        for process in workers(self._folder):
            label = [str(process.pid)]
            memory.add_metric(label, process.resident_bytes)
            cpu.add_metric(label, process.cpu_seconds)
            started.add_metric(label, process.started)
        yield from (memory, cpu, started)
