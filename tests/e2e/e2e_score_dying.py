"""A process that runs `charter score` in children and lets them die on command, see `e2e_dying`.

Chunks are tiny here and scored in the child itself, so that each moment at which something becomes durable is one
of its points. Importing is all that the parent does: Polars starts its threads in the child.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import e2e_dying

ROWS = 40


def child(run: dict[str, Any], out: Path) -> None:
    from charter.cli import main
    from charter.serve import batch

    batch.CHUNK_ROWS = ROWS
    points = e2e_dying.Points(run.get("die_at"))
    points.watch()
    with (out / "out").open("w") as sys.stdout, (out / "err").open("w") as sys.stderr:
        code = main._run(["score", *run["arguments"], "--in", run["folder"], "--workers", "1", "--json"])
    (out / "done").write_text(json.dumps([code, points.seen]))
    os._exit(0)


if __name__ == "__main__":
    import charter.flow.score
    import charter.flow.score_sql
    import charter.serve.io.batch_pool
    import charter.serve.io.batch_target  # noqa: F401

    e2e_dying.child = child
    for line in sys.stdin:
        with tempfile.TemporaryDirectory() as scratch:
            begun = []
            for number, order in enumerate(json.loads(line)):
                place = Path(scratch) / str(number)
                place.mkdir()
                begun.append(e2e_dying.start(order, place))
            sys.stdout.write(json.dumps([e2e_dying.wait(one) for one in begun]) + "\n")
            sys.stdout.flush()
