"""Runs a candidate's process whose model misbehaves: ``misbehaving.py HOW DEPLOYMENT --socket ADDRESS``."""

from __future__ import annotations

import os
import sys
import time

from charter.serve.io import shadow_process
from charter.serve.scorer import Scorer

how = sys.argv.pop(1)
scores = Scorer.run
if how == "leak":
    sys.argv += ["--memory-bytes", str(256 << 20)]
hoard: list[bytearray] = []


def misbehave(self, frame, **options):
    if "explain" not in options:  # a request, not the warm-up
        if how == "raise":
            raise RuntimeError("broken")
        bad = 666.0 in frame["bill"].to_list()
        if how == "hang" and bad:
            time.sleep(600)
        if how == "die" and bad:
            os._exit(1)
        if how == "leak":
            hoard.append(bytearray(48 << 20))
    return scores(self, frame, **options)


Scorer.run = misbehave  # type: ignore[method-assign]
if __name__ == "__main__":
    sys.exit(shadow_process.main())
