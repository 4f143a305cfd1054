"""What an import pulls in, seen by a fresh interpreter."""

from __future__ import annotations

import json
import subprocess
import sys


def imported_by(statement: str) -> set[str]:
    """Top-level packages that a fresh interpreter holds after the statement."""
    program = (
        f"{statement}\nimport sys, json\nprint(json.dumps(sorted(m.partition('.')[0] for m in sys.modules)))"
    )
    run = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=120
    )
    assert run.returncode == 0, run.stderr
    return set(json.loads(run.stdout.splitlines()[-1]))
