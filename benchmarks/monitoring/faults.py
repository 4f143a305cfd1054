"""Which detector notices which fault, how soon, and how often it cries wolf before.

    CHARTER_DATA=FOLDER python benchmarks/monitoring/faults.py KEPT [--data order,taiwan_default] [--seeds 0:200]

Real rows (Taiwan's card defaults, US census incomes, Elec2's electricity prices), shuffled, so that nothing changes by
itself: a model is trained on some, the others are answered in windows of 1,000 rows. After six windows a fault is put
in and stays for four. Everything is judged by the defaults of the specification, with the code that the monitor runs;
outcomes are known at once. ``order`` is Elec2 in its own order, around 2 May 1997, when the market was joined with
Victoria's.

KEPT is a file of replays, a line each: those that are there are not made again, so that several processes may share the
seeds between them. The table shows all that are there.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from functools import cache
from pathlib import Path
from typing import Any

os.environ.setdefault("POLARS_MAX_THREADS", "1")

import numpy as np
import polars as pl

from charter.core.decision import Verdict
from charter.data.profile import Profile, profile
from charter.monitor.compare import compare
from charter.monitor.concept import Losses, excess, follow
from charter.monitor.domain import domain_shift
from charter.monitor.drift import judge_drift
from charter.monitor.drift_types import Measured
from charter.monitor.faults import Fault, inject, turn_around
from charter.monitor.quality import quality
from charter.spec.loader import load
from charter.spec.types import DriftSpec, ModelSpec
from charter.train.calibrate import apply, fit

WINDOW, WEEK = 1_000, 336
BEFORE, AFTER = 6, 4
REPLAYS_A_MODEL = 20
DEAR_EVERY = 4
"""Of faults that leave outcomes alone, base rate and surprise (most of the time) are asked in every fourth replay."""
DOMAIN_EVERY = 8
"""The domain classifier trains five models a window, so that it is asked in every eighth replay."""
DETECTORS = ("features", "score", "base rate", "surprise", "ADWIN", "Page-Hinkley", "classifier")
SIZES: Mapping[str, Sequence[float]] = {
    "shift": (0.25, 0.5),
    "scale": (1000,),
    "mix": (0.65, 0.8),
    "missing": (0.1,),
    "new_category": (0.02,),
    "concept": (0.05, 0.1, 0.3),
}
Told = dict[str, list[bool]]


@dataclass(frozen=True)
class Rows:
    """A data set: inputs and outcomes, 0 or 1."""

    inputs: pl.DataFrame
    outcome: np.ndarray


@cache
def rows_of(name: str) -> Rows:
    folder = Path(os.environ["CHARTER_DATA"])
    if name == "elec2":
        table = pl.read_parquet(folder / "elec2" / "elec.parquet")
        return Rows(table.drop("class"), table["class"].to_numpy())
    if name == "taiwan_default":
        table = pl.read_parquet(folder / name / "UCI_Credit_Card.parquet").drop("ID")
        kinds = ["SEX", "EDUCATION", "MARRIAGE"]
        label = "default.payment.next.month"
        return Rows(table.drop(label).with_columns(pl.col(kinds).cast(pl.String)), table[label].to_numpy())
    parts = [pl.read_parquet(folder / name / f"adult_{part}.parquet") for part in ("train", "test")]
    table = pl.concat(parts)
    return Rows(table.drop("income"), table["income"].str.starts_with(">50K").cast(pl.Int64).to_numpy())


class Model:
    """Gradient-boosted trees, calibrated out of fold; what training saw and said."""

    def __init__(self, rows: Rows, places: np.ndarray, seed: int) -> None:
        inputs, y = rows.inputs[places], rows.outcome[places]
        texts = [c for c, t in inputs.schema.items() if t == pl.String]
        self._codes = {c: {v: i for i, v in enumerate(inputs[c].drop_nulls().unique().sort())} for c in texts}
        fold = np.random.default_rng(seed).permutation(len(y)) % 3
        X = self._matrix(inputs)
        raw = np.empty(len(y))
        for k in range(3):
            raw[fold == k] = self._trees(X[fold != k], y[fold != k], seed).predict(
                X[fold == k], num_threads=1
            )
        self._calibration = fit("sigmoid", raw, y)
        self._booster = self._trees(X, y, seed)
        self.training = inputs
        self.features, self.said = (
            profile(inputs),
            profile(pl.DataFrame({"score": apply(self._calibration, raw)})),
        )
        gain = dict(zip(inputs.columns, self._booster.feature_importance("gain"), strict=True))
        ordered = sorted(gain, key=lambda c: -gain[c])
        self.number = next(c for c in ordered if c not in texts)
        self.category = next((c for c in ordered if c in texts), None)
        self.middle = float(inputs[self.number].median())  # type: ignore[arg-type]
        self.deviation = self.features.columns[self.number].standard_deviation

    def _matrix(self, inputs: pl.DataFrame) -> np.ndarray:
        coded = [
            pl.col(c).replace_strict(self._codes[c], default=None, return_dtype=pl.Float64)
            if c in self._codes
            else pl.col(c).cast(pl.Float64)
            for c in inputs.columns
        ]
        return inputs.select(coded).fill_null(np.nan).to_numpy()

    def _trees(self, X: np.ndarray, y: np.ndarray, seed: int) -> Any:
        import lightgbm

        settings = {"objective": "binary", "num_leaves": 15, "seed": seed, "num_threads": 1, "verbose": -1}
        return lightgbm.train(settings, lightgbm.Dataset(X, y, params={"verbose": -1}), num_boost_round=80)

    def score(self, inputs: pl.DataFrame) -> np.ndarray:
        raw = self._booster.predict(self._matrix(inputs), num_threads=1)
        return np.asarray(apply(self._calibration, np.asarray(raw)))


@cache
def spec() -> ModelSpec:
    """The defaults of the specification; of the reference system only that it is a binary task."""
    import charter.blueprints.credit_risk as blueprint

    found = load(Path(next(iter(blueprint.__path__))) / "model.yaml").spec
    evaluate = found.evaluate.model_copy(update={"require": {}})
    return found.model_copy(update={"value": None, "kpis": {}, "evaluate": evaluate})


@dataclass(frozen=True)
class Looked:
    """What went into a window and how it differs from training."""

    inputs: pl.DataFrame
    measured: tuple[Measured, ...]


def looked(
    model: Model, inputs: pl.DataFrame, like: Looked | None = None, column: str | None = None
) -> Looked:
    """Compare a window's inputs with training; all but one column are those of another window, if there is one."""
    if like is None or column is None:
        return Looked(inputs, compare(model.features, profile(inputs, model.features)))
    only = Profile(model.features.rows, {column: model.features.columns[column]})
    others = tuple(m for m in like.measured if m.column != column)
    return Looked(inputs, (*others, *compare(only, profile(inputs.select(column), only))))


@dataclass
class Watch:
    """The monitor over one run of windows; a detector that has told of the fault is asked no more."""

    model: Model
    measured: tuple[Measured, ...] = ()
    losses: list[Losses] = field(default_factory=list)
    past: list[pl.DataFrame] = field(default_factory=list)
    told: Told = field(default_factory=lambda: {d: [] for d in DETECTORS})
    outcomes: bool = True
    domain: bool = False

    def copy(self, *, outcomes: bool) -> Watch:
        told = {d: list(t) for d, t in self.told.items()}
        return Watch(
            self.model, self.measured, list(self.losses), list(self.past), told, outcomes, self.domain
        )

    def look(self, window: Looked, outcome: np.ndarray) -> None:
        """Measure one more window."""
        score = self.model.score(window.inputs)
        answers = pl.DataFrame(
            {"score": score, "flagged": score >= 0.5, "outcome": pl.Series(outcome).cast(pl.String)}
        ).with_columns(pl.lit(value=True).alias("due"))
        own = Losses.of(excess(answers, "binary"))
        assert own is not None
        self.losses.append(own)
        said = profile(answers.select("score"), self.model.said)
        now = (*window.measured, *compare(self.model.said, said, role="prediction"))
        both = [self.measured, now] if self.measured else [now]
        moved = [
            f.measured.role
            for f in judge_drift(both, DriftSpec()).findings
            if f.verdict in (Verdict.FAIL, Verdict.WARN)
        ]
        self.measured = now
        self.told["features"].append("feature" in moved)
        self.told["score"].append("prediction" in moved)
        self.past.append(answers.select("score", "outcome"))
        if self.domain:
            self.told["classifier"].append(any(self.told["classifier"][BEFORE:]) or self._tells(window))
        if not self.outcomes:
            return
        known = all(any(self.told[d][BEFORE:]) for d in ("base rate", "surprise"))
        found = (
            None
            if known
            else quality(answers, spec(), past=pl.concat(self.past[:-1]) if self.past[1:] else None)
        )
        self.told["base rate"].append(found is None or found.base_rate_moved)
        self.told["surprise"].append(found is None or bool(found.surprise))

    def _tells(self, window: Looked) -> bool:
        """Whether a classifier tells the rows of a window from those of training."""
        shift = domain_shift(self.model.training, window.inputs, seed=len(self.past))
        return shift.check(DriftSpec().domain_auc).verdict is Verdict.FAIL

    def finish(self) -> Told:
        """Let the detectors that read all losses in a row have their say."""
        for adwin, page_hinkley in follow(self.losses):
            self.told["ADWIN"].append(adwin.at is not None)
            self.told["Page-Hinkley"].append(page_hinkley.at is not None)
        return self.told


def faults_of(model: Model) -> Iterator[tuple[str, float]]:
    for kind, sizes in SIZES.items():
        if kind != "new_category" or model.category is not None:
            yield from ((kind, size) for size in sizes)


def replay(rows: Rows, pool: np.ndarray, model: Model, *, seed: int) -> dict[str, Told]:
    """One replay of every fault, all after the same six windows."""
    rng = np.random.default_rng((seed, 1))
    order = rng.permutation(pool)
    windows = order[: WINDOW * (BEFORE + AFTER)].reshape(-1, WINDOW)
    calm = Watch(model, domain=seed % DOMAIN_EVERY == 0)
    for places in windows[:BEFORE]:
        calm.look(looked(model, rows.inputs[places]), rows.outcome[places])
    after = [looked(model, rows.inputs[places]) for places in windows[BEFORE:]]
    upper = (rows.inputs[model.number] > model.middle).to_numpy()
    sides = [order[upper[order]], order[~upper[order]]]
    found = {}
    for kind, size in faults_of(model):
        watch = calm.copy(outcomes=kind == "concept" or seed % DEAR_EVERY == 0)
        watch.domain = watch.domain and kind != "concept"  # which leaves the inputs as they are
        for place, (own, clean) in enumerate(zip(windows[BEFORE:], after, strict=True)):
            places, at, window = own, 1000 * seed + place, clean
            outcome = pl.Series(rows.outcome[places])
            if kind == "mix":  # the same rows may come again: what is asked for must not run out
                high = int((rng.random(WINDOW) < size).sum())
                places = np.concatenate([rng.choice(sides[0], high), rng.choice(sides[1], WINDOW - high)])
                window, outcome = looked(model, rows.inputs[places]), pl.Series(rows.outcome[places])
            elif kind == "concept":
                outcome = turn_around(outcome, Fault("concept", "", size, date.min), seed=at)
            else:
                column = model.category if kind == "new_category" else model.number
                assert column is not None
                fault = Fault(kind, column, size, date.min)  # type: ignore[arg-type]
                spoilt = inject(clean.inputs, fault, deviation=model.deviation, seed=at)
                window = looked(model, spoilt, clean, column)
            watch.look(window, outcome.to_numpy())
        found[f"{kind} {size:g}"] = watch.finish()
    return found


@cache
def shuffled(name: str, group: int) -> tuple[Rows, np.ndarray, Model]:
    """A data set, the places of rows that its model has not seen, and the model: a new one for each group."""
    rows = rows_of(name)
    order = np.random.default_rng((group, 0)).permutation(rows.inputs.height)
    cut = int(0.4 * len(order))
    return rows, order[cut:], Model(rows, order[:cut], group)


def joined() -> int:
    """First row of Elec2 at which Victoria's price is one."""
    price = rows_of("elec2").inputs["vicprice"].to_numpy()
    return int(np.flatnonzero(price != price[0])[0])


@cache
def before_joined(group: int) -> Model:
    """Trained on four fifths, chosen by chance, of what was before the weeks that are replayed."""
    first = joined() - (BEFORE + 1) * WEEK
    return Model(
        rows_of("elec2"), np.random.default_rng((group, 2)).permutation(first)[: int(0.8 * first)], group
    )


def in_order(seed: int) -> dict[str, Told]:
    """Elec2 as it came, by weeks that begin at any half-hour."""
    rows, event = rows_of("elec2"), joined()
    first = event - BEFORE * WEEK - int(np.random.default_rng((seed, 2)).integers(WEEK))
    watch = Watch(before_joined(seed // REPLAYS_A_MODEL), domain=seed % DOMAIN_EVERY == 0)
    # The week in which it happens is left out: it is neither before nor after.
    starts = [first + k * WEEK for k in range(BEFORE)] + [event + k * WEEK for k in range(AFTER)]
    for start in starts:
        inputs = rows.inputs[start : start + WEEK]
        watch.look(looked(watch.model, inputs), rows.outcome[start : start + WEEK])
    return {"joined": watch.finish()}


def cell(told: Sequence[Sequence[bool]]) -> str:
    """Share of replays in which a detector told, and the median and 95th percentile of the windows it took."""
    asked = [one[BEFORE:] for one in told if len(one) > BEFORE]
    if not asked:
        return "not asked"
    delays = np.array([next((i + 1 for i, t in enumerate(one) if t), np.inf) for one in asked])
    share = float(np.isfinite(delays).mean())
    if not share:
        return "-"
    middle, late = np.quantile(delays, [0.5, 0.95], method="inverted_cdf")
    words = [f"{d:.0f}" if np.isfinite(d) else "never" for d in (middle, late)]
    return f"{share:.0%}, {words[0]} / {words[1]}"


def show(name: str, replays: Sequence[Mapping[str, Told]]) -> None:
    for fault in replays[0]:
        cells = [cell([one[fault][d] for one in replays]) for d in DETECTORS]
        print(f"| {name} | {fault} | {' | '.join(cells)} |")
    first = next(iter(replays[0]))
    before = [float(np.mean([one[first][d][:BEFORE] for one in replays if one[first][d]])) for d in DETECTORS]
    words = " | ".join(f"{b:.2%}" for b in before)
    print(f"| {name}, {len(replays)} replays | *windows before* | {words} |", flush=True)


def kept(path: Path) -> dict[str, dict[int, dict[str, Told]]]:
    """Replays by data and seed."""
    found: dict[str, dict[int, dict[str, Told]]] = {}
    for line in path.read_text().splitlines() if path.exists() else ():
        name, seed, told = json.loads(line)
        found.setdefault(name, {})[seed] = told
    return found


def main() -> None:
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("kept", type=Path)
    options.add_argument("--data", default="order,elec2,taiwan_default,adult_census")
    options.add_argument("--seeds", default="0:200", help="FIRST:BEFORE")
    asked = options.parse_args()
    seeds = range(*map(int, asked.seeds.split(":")))
    for name in asked.data.split(","):
        done = kept(asked.kept).get(name, {})
        for seed in (s for s in seeds if s not in done):
            told = (
                in_order(seed)
                if name == "order"
                else replay(*shuffled(name, seed // REPLAYS_A_MODEL), seed=seed)
            )
            with asked.kept.open("a") as file:
                file.write(json.dumps([name, seed, told]) + "\n")
    print(f"| data | fault | {' | '.join(DETECTORS)} |\n|{'---|' * (2 + len(DETECTORS))}")
    for name, replays in kept(asked.kept).items():
        show(name, list(replays.values()))


if __name__ == "__main__":
    main()
