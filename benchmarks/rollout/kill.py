"""A model's second year, told by a driver that is killed at 50 random points: does it come to the same end?

    python benchmarks/rollout/kill.py [--kills 50] [--each 5] [--seed 0]

The story of `tests/e2e/e2e_story.py` on its small model: a first version, drift, retraining, signatures, a rollout that
goes back and opens an incident, another one that wins its experiment and serves, the card. Each command runs in a
process of its own. It is told twice undisturbed, then as often as it takes, with a few commands killed (SIGKILL) each
time and given again. Half of the kills fall before or after something becomes durable (a flush, a rename, a commit),
half at a random moment; commands are drawn alike, however long they take.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "tests" / "e2e"))


def main() -> int:
    """Print what came out; exit 1 unless each story ended as the undisturbed ones."""
    from e2e_dying import Dying
    from e2e_killed import Killed, differing, drawn, tell
    from e2e_story import Loans, begun

    parser = argparse.ArgumentParser()
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--each", type=int, default=5, help="kills in one telling")
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch)
        os.environ["CHARTER_HOME"] = str(root / "home")
        os.environ["CHARTER_ACTOR"] = "benchmark"
        os.environ["MLFLOW_TRACKING_URI"] = f"sqlite:///{root / 'mlflow.db'}"
        world, dying = Loans(), Dying()
        start = begun(world, root / "begun")
        first = Killed(root / "first" / "model", dying)
        wanted = tell(first, world, start)
        second = Killed(root / "second" / "model", dying)
        wrong = [f"undisturbed: {d}" for d in differing(tell(second, world, start), wanted)]
        seconds = sum(one.seconds for one in first.given)
        points = sum(one.points for one in first.given)
        print(f"{len(first.given)} commands, {points} points, {seconds:.0f} s undisturbed", flush=True)
        died, at, tellings = Counter[str](), Counter[str](), 0
        while died.total() < asked.kills:
            kills = tuple(drawn(second.given, asked.each, asked.seed * 1_000 + tellings))
            teller = Killed(root / str(tellings) / "model", dying, kills)
            try:
                found = [*differing(tell(teller, world, start), wanted)]
            except AssertionError as error:  # the story itself went another way
                found = [str(error) or repr(error)]
            if [one.words for one in teller.given] != [one.words for one in first.given]:
                found.append("other commands were given")
            wrong += [f"{teller.died}: {difference}" for difference in found]
            print(f"{died.total() + len(teller.died)} kills, {len(wrong)} differences", flush=True)
            died.update(k.command for k in teller.died)
            at.update("moment" if k.point is None else "point" for k in teller.died)
            tellings += 1
        dying.close()
    for name, count in sorted(died.items()):
        print(f"| `{name}` | {count} |")
    for difference in wrong:
        print(difference)
    print(
        f"{died.total()} kills in {tellings} tellings ({at['point']} at points, {at['moment']} at moments), "
        f"{len(wrong)} differences"
    )
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
