"""How much memory and processor time a server takes: of its process and all those that it started."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

_MEGABYTE = 1_000_000


@dataclass(frozen=True, slots=True)
class Footprint:
    """Resident memory in megabytes (10^6 bytes).

    Attributes
    ----------
    now_mb
        Of the largest process: a worker, which holds the model.
    peak_mb
        Most that it ever held; where the system does not tell, ``now_mb``.
    total_mb
        Of all processes of the server; memory that they share counts in each.
    """

    now_mb: float
    peak_mb: float
    total_mb: float


def footprint(process: int) -> Footprint | None:
    """Measure a process and its descendants; None when it has ended or the system does not tell."""
    found = [of for one in _family(process) if (of := _memory(one)) is not None]
    if not found:
        return None
    now, peak = max(found)
    return Footprint(now, max(peak, now), sum(one for one, _ in found))


def growth() -> Callable[[], int]:
    """Return what tells by how many bytes this process has grown since now; 0 where the system does not tell."""
    began = _resident()
    return lambda: _resident() - began


def _resident() -> int:
    try:
        return int(Path("/proc/self/statm").read_bytes().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return 0


def processor_s(process: int) -> float | None:
    """Processor time of a process and its descendants so far, in seconds; None where the system does not tell."""
    if not Path("/proc/self/stat").exists():
        return None
    found = 0.0
    for one in _family(process):
        try:
            text = Path(f"/proc/{one}/stat").read_text()
        except OSError:  # ended meanwhile
            continue
        found += sum(
            int(ticks) for ticks in text.rpartition(")")[2].split()[11:15]
        )  # own, and of ended children
    return found / os.sysconf("SC_CLK_TCK")


def machine_s() -> float | None:
    """Processor time of the whole machine so far, stolen time included, in seconds; None where nothing tells it."""
    try:
        ticks = [int(n) for n in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    except (OSError, ValueError):
        return None
    return (sum(ticks) - ticks[3] - ticks[4]) / os.sysconf("SC_CLK_TCK")  # less idle, and waiting for a disk


def _family(process: int) -> list[int]:
    """The process and its descendants."""
    parents = _parents()
    found = [process]
    for one in found:  # grows while it is read
        found += [child for child, parent in parents.items() if parent == one]
    return found


def _parents() -> dict[int, int]:
    if Path("/proc/self/stat").exists():
        found = {}
        for folder in Path("/proc").iterdir():
            if folder.name.isdigit():
                try:
                    text = (folder / "stat").read_text()
                except OSError:  # ended meanwhile
                    continue
                # The name of the program stands in brackets and may hold anything.
                found[int(folder.name)] = int(text.rpartition(")")[2].split()[1])
        return found
    listed = _ps("-axo", "pid=,ppid=")
    return {int(pid): int(parent) for pid, parent in (line.split() for line in listed)}


def _memory(process: int) -> tuple[float, float] | None:
    """Resident megabytes of one process: now, and at most."""
    status = Path(f"/proc/{process}/status")
    if Path("/proc/self/status").exists():
        try:
            lines = dict(line.split(":", 1) for line in status.read_text().splitlines() if ":" in line)
            return tuple(int(lines[key].split()[0]) * 1024 / _MEGABYTE for key in ("VmRSS", "VmHWM"))  # type: ignore[return-value]
        except (OSError, KeyError):  # ended meanwhile, or a process of the kernel
            return None
    listed = _ps("-o", "rss=", "-p", str(process))
    return (int(listed[0]) * 1024 / _MEGABYTE, 0.0) if listed else None


def _ps(*options: str) -> list[str]:
    try:
        ran = subprocess.run(["/bin/ps", *options], capture_output=True, text=True, check=False)  # noqa: S603
    except OSError:
        return []
    return [line for line in ran.stdout.splitlines() if line.strip()]
