"""What experiments look like to the person who reads them: sizes, verdicts, and what cannot be read."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from golden_support import Bench

DECLARED = """
release:
  experiment:
    unit: customer
    arms: {champion: 0.5, candidate: 0.5}
    metric: bought
    mde: +10%
    baseline: 0.25
    guardrails: {"spend": -5%}
    covariate: before
    segments: [region]
    sequential: true
    traffic: 500 per day
"""


def results(rows: int = 4000, lift: float = 0.08) -> str:
    """Made-up customers in two arms."""
    rng = np.random.default_rng(11)
    new, before = rng.integers(0, 2, rows), rng.gamma(2, 20, rows).round(2)
    bought = (rng.random(rows) < 0.25 + lift * new).astype(int)
    spend = (before * 0.7 + rng.gamma(2, 8, rows)).round(2)
    region = rng.choice(["north", "south"], rows)
    lines = ["customer,arm,bought,spend,before,region"]
    lines += [
        f"c{i},{('champion', 'candidate')[new[i]]},{bought[i]},{spend[i]},{before[i]},{region[i]}"
        for i in range(rows)
    ]
    return "\n".join(lines) + "\n"


@pytest.fixture
def trial(fresh: Bench) -> Bench:
    """A model that declares an experiment, and its results."""
    fresh.spec.write_text(fresh.spec.read_text() + DECLARED)
    (fresh.root / "results.csv").write_text(results())
    (fresh.root / "flat.csv").write_text(results(lift=0.0))
    lines = results().splitlines()
    kept = [line for i, line in enumerate(lines) if "candidate" not in line or i % 6]
    (fresh.root / "lossy.csv").write_text("\n".join(kept) + "\n")
    return fresh


_READ = ("experiment", "analyse")
SHOWN: dict[str, tuple[int, tuple[str, ...]]] = {
    "design": (0, ("experiment", "design", "--baseline", "0.05", "--mde", "+10%", "--traffic", "5000 per day")),
    "design-any-time": (
        0,
        ("experiment", "design", "--baseline", "20", "--spread", "30", "--mde", "-0.5", "--sequential",
         "--arms", "control=0.4,a=0.3,b=0.3", "--correlation", "0.6"),
    ),
    "design-declared": (0, ("experiment", "design", "--in", ".")),
    "ship": (0, (*_READ, "results.csv", "--unit", "customer", "--metric", "bought", "--segment", "region")),
    "declared": (1, (*_READ, "results.csv", "--in", ".")),
    "keep-running": (1, (*_READ, "flat.csv", "--unit", "customer", "--metric", "bought", "--guardrail", "spend: -5%")),
    "do-not-ship": (1, (*_READ, "results.csv", "--unit", "customer", "--metric", "bought", "--better", "down")),
    "too-early": (1, (*_READ, "results.csv", "--unit", "customer", "--metric", "bought", "--planned", "9000")),
    "invalid": (1, (*_READ, "lossy.csv", "--unit", "customer", "--metric", "bought")),
}  # fmt: skip


@pytest.mark.parametrize("name", SHOWN)
def test_a_reader_sees(name: str, trial: Bench) -> None:
    code, arguments = SHOWN[name]
    trial.refused(f"experiment-{name}", code, *arguments)


WRONG: dict[str, tuple[str, ...]] = {
    "nothing-given": ("experiment", "design"),
    "impossible-proportion": ("experiment", "design", "--baseline", "0.95", "--mde", "+10%"),
    "no-change": ("experiment", "design", "--baseline", "0.5", "--mde", "big"),
    "no-arms": ("experiment", "design", "--baseline", "0.5", "--mde", "1%", "--arms", "half"),
    "no-traffic": ("experiment", "design", "--baseline", "0.5", "--mde", "1%", "--traffic", "many"),
    "no-unit": (*_READ, "results.csv"),
    "no-file": (*_READ, "result.csv", "--unit", "customer", "--metric", "bought"),
    "no-column": (*_READ, "results.csv", "--unit", "customer", "--metric", "buyed"),
    "no-number": (*_READ, "results.csv", "--unit", "customer", "--metric", "region"),
    "no-control": (*_READ, "results.csv", "--unit", "customer", "--metric", "bought", "--arm", "region"),
    "no-such-arm": (*_READ, "results.csv", "--unit", "customer", "--metric", "bought", "--control", "old"),
    "arm-that-is-none": (*_READ, "results.csv", "--unit", "customer", "--metric", "bought", "--arm", "spend"),
    "no-guardrail": (*_READ, "results.csv", "--unit", "customer", "--metric", "bought", "--guardrail", "spend"),
    "quantile-any-time": (*_READ, "results.csv", "--unit", "customer", "--metric", "p95(spend)", "--sequential"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_what_cannot_be_read_is_refused(name: str, trial: Bench) -> None:
    trial.refused(f"experiment-{name}", 2, *WRONG[name])


FAULTS: dict[str, Callable[[Bench], None]] = {
    "arms-that-do-not-add-up": lambda b: b.edit("candidate: 0.5", "candidate: 0.6"),
    "one-arm": lambda b: b.edit("{champion: 0.5, candidate: 0.5}", "{champion: 0.5}"),
    "control-that-is-no-arm": lambda b: b.edit("{champion: 0.5,", "{champ: 0.5,"),
    "arm-without-a-share": lambda b: b.edit("candidate: 0.5", "candidate: 0"),
    "quantile-any-time": lambda b: b.edit('"spend": -5%', '"p95(spend)": +5%'),
    "baseline-that-is-no-proportion": lambda b: b.edit("baseline: 0.25", "baseline: 25"),
    "guardrail-that-decides": lambda b: b.edit('"spend": -5%', "bought: -5%"),
    "mde-that-is-none": lambda b: b.edit("mde: +10%", "mde: a lot"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_declared_experiment_is_checked(name: str, trial: Bench) -> None:
    FAULTS[name](trial)
    trial.refused(f"experiment-spec-{name}", 2, "check")


def test_a_specification_without_an_experiment_has_none_to_design(fresh: Bench) -> None:
    fresh.refused("experiment-none-declared", 2, "experiment", "design", "--in", ".")
