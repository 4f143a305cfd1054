"""Customer churn, month by month: trained to March 2011, answering from April to September, labels 90 days late.

    python benchmarks/monitoring/churn_replay.py

Builds the reference system in a temporary folder (unsigned, monitored by month), replays what training did not
see, and prints the ROC AUC that the monitor estimated before there was a label beside the one that came true.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

PROGRAM = "from charter.cli.main import main; main()"


def charter(*arguments: str, cwd: Path) -> str:
    """Run a command as a user does; its output."""
    ran = subprocess.run(
        [sys.executable, "-c", PROGRAM, *arguments], cwd=cwd, stdout=subprocess.PIPE, text=True, check=True
    )
    return ran.stdout


def main() -> int:
    """Print the table; exit 1 when fewer than four of six estimates lie in the realised interval."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        charter("init", "churn", "--from", "customer-churn", cwd=root)
        document = root / "churn" / "model.yaml"
        text = document.read_text()
        document.write_text(text.replace("approve: six-stage", "approve: none"))
        charter("apply", cwd=root / "churn")
        found = json.loads(charter("simulate", "--to", "../replay", "--json", cwd=root / "churn"))
    inside = 0
    print("month    answers  positive  promised  estimated ROC AUC      realised ROC AUC       inside")
    for window in found["final"]["windows"]:
        q = window["quality"]
        hoped, real = q["estimated"]["roc_auc"], q["realised"]["roc_auc"]
        holds = real["low"] <= hoped["value"] <= real["high"]
        inside += holds
        print(
            f"{window['start'][:7]}  {q['rows']:7,}  {q['positives'] / q['labelled']:8.1%}  {q['promised']:8.1%}"
            f"  {hoped['value']:.3f} [{hoped['low']:.3f}, {hoped['high']:.3f}]"
            f"  {real['value']:.3f} [{real['low']:.3f}, {real['high']:.3f}]  {'yes' if holds else 'no'}"
        )
    print(f"{inside} of {len(found['final']['windows'])} estimates lie in the interval of the realised value")
    print("\n".join(f"{a['what']}. {a['then']}" for a in found["final"]["advice"]))
    return 0 if inside >= 4 else 1


if __name__ == "__main__":
    sys.exit(main())
