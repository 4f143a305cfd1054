"""What a package needs is measured, not what the program that measures it holds."""

from __future__ import annotations

import subprocess
import sys

MEGABYTE = 1 << 20


def test_memory_of_the_parent_does_not_count() -> None:
    ballast = bytearray(b"x") * (600 * MEGABYTE)
    code = "from charter.serve.measure import peak_memory; print(peak_memory())"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert len(ballast) == 600 * MEGABYTE
    assert 20 * MEGABYTE < int(ran.stdout) < 500 * MEGABYTE
