"""A model's second year, told once: of any world that it may happen in, by any teller who carries it out.

A *world* is a model, its data and what changes them. A *teller* gives the commands, lets time pass and asks as clients
do: a test through the command line and a real server, the benchmark by processes that it kills. All time is the
story's: the teller's clock stands in every command and in every answer's place in the log.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import polars as pl
from e2e_models import LOANS, Said, accounts, done, edit

from charter.core.clock import SystemClock

RELEASE = """\
release:
  rollout:
    shadow: {at_least: 1d, min_rows: 100}
    canary: {steps: [0.4], at_least: 1d, min_rows: 50, guards: {slow: "p50_latency_ms > 300"}}
    experiment: {at_least: 1d, min_rows: 50}
    guards: {errors: "error_share > 0.1"}
    roles: {start: release-manager, stop: release-manager}
  experiment:
    unit: UNIT
    arms: {champion: 0.5, candidate: 0.5}
    metric: METRIC
    mde: +10%
"""


@dataclass(frozen=True)
class Asked:
    """What clients asked: one request a row, and who answered each."""

    rows: pl.DataFrame
    ids: Sequence[str]
    versions: Sequence[str]


class World(Protocol):
    """A model, its data, and what becomes of them."""

    model: str
    unit: str
    metric: str
    signers: Mapping[str, str]
    people: Mapping[str, str]
    feature: tuple[str, str]
    mended: tuple[str, str]
    begin: datetime
    retrained: datetime

    def make(self, folder: Path) -> None:
        """Write the specification and the first data."""

    def season(self) -> list[tuple[datetime, pl.DataFrame]]:
        """What is asked of the champion, when: rows unlike those of training."""

    def grow(self, folder: Path) -> None:
        """Let the data of the season arrive."""

    def outcomes(self, asked: Sequence[Asked]) -> pl.DataFrame:
        """What became of those who were asked about in the season."""

    def requests(self, begin: int, count: int) -> pl.DataFrame:
        """Rows that are asked about after the season, no unit twice."""

    def results(self, asked: Asked, better: str) -> pl.Series:
        """The experiment's metric, where one version does better."""


class Teller(Protocol):
    """Carries the story out."""

    folder: Path
    now: datetime

    def give(self, *command: str | Path, code: int = 0) -> Said:
        """Give a command of the story."""

    def look(self, *command: str | Path) -> Any:
        """Ask for something that changes nothing; plain data."""

    def ask(self, rows: pl.DataFrame, *, answers: Sequence[str], slow: str = "") -> Asked:
        """Ask as clients do, as soon as exactly ``answers`` serve; ``slow`` takes long."""


def second_year(world: World, teller: Teller) -> None:
    """Tell it: drift, retraining, a canary that is slow, a mended one that wins its experiment, and serves."""
    folder = teller.folder
    teller.now = world.begin
    teller.give("apply", folder, code=1)
    signed(world, teller, "v1")

    # The champion serves; the next season is another one, and the monitor sees it.
    asked = []
    for moment, rows in world.season():
        teller.now = moment
        asked.append(teller.ask(rows, answers=["v1"]))
    teller.now = world.retrained
    world.grow(folder)
    edit(folder, *world.feature)
    known = folder / "outcomes.csv"
    world.outcomes(asked).write_csv(known)
    teller.give("outcomes", "import", known, "--in", folder)
    teller.give("monitor", "run", "--in", folder)
    teller.give("retrain", folder, "--if-needed", code=1)
    # A feature was added, so a person decides.
    (run,) = [e["detail"] for e in events(teller) if e["action"] == "retrain.finished"]
    assert (run["ending"], run["candidate"]) == ("manual", "v2"), run
    signed(world, teller, "v2")

    turn = Turn(world, teller)
    teller.give("rollout", "start", "v2", "--as", "rita", "--in", folder)
    turn.until_left("shadow", 120, answers=["v1"])
    # As a canary it is slow, and goes back by itself.
    passes = turn.until_left("canary 40%", 40, answers=["v1", "v2"], slow="v2")
    assert passes <= 2
    (incident,) = teller.look("incident", "list", "--in", folder)
    assert "slow" in incident["title"], incident
    opened = incident["name"]
    teller.give("incident", "note", opened, "The new feature is slow.", "--as", "bob", "--in", folder)
    teller.give("incident", "act", opened, "The feature is mended.", "--as", "bob", "--in", folder)
    teller.give("incident", "close", opened, "--cause", "A slow feature", "--as", "ann", "--in", folder)

    # Mended, it goes all the way, the experiment included.
    edit(folder, *world.mended)
    teller.give("apply", folder, code=1)
    signed(world, teller, "v3")
    teller.give("rollout", "start", "v3", "--as", "rita", "--in", folder)
    turn.until_left("shadow", 120, answers=["v1"])
    turn.until_left("canary 40%", 160, answers=["v1", "v3"])
    tried = turn.ask(300, answers=["v1", "v3"])
    results = folder / "results.csv"
    came = world.results(tried, "v3").alias(world.metric)
    tried.rows.select(world.unit, came).write_csv(results)
    teller.give("experiment", "results", results, "--in", folder)
    turn.until_left("experiment", 0, answers=["v1", "v3"])
    turn.ask(20, answers=["v3"])
    teller.give("monitor", "run", "--in", folder)
    for kind in ("markdown", "json"):
        teller.give("card", "v3", "--format", kind, "--to", folder / f"card.{kind}", "--in", folder)


@contextmanager
def told_by(teller: Teller) -> Iterator[None]:
    """Let commands in this process live by the story's clock."""
    clock = SystemClock.now
    SystemClock.now = lambda _clock: teller.now  # type: ignore[method-assign]
    try:
        yield
    finally:
        SystemClock.now = clock  # type: ignore[method-assign]


def what_is_told(world: World, teller: Teller) -> None:
    """Check what the records and the card make of it."""
    folder = teller.folder
    assert teller.look("rollout", "status", "--in", folder)["champion"] == "v3"
    told = [e["action"] for e in events(teller)]
    moves = [a for a in told if a.startswith("rollout.") and a not in ("rollout.held", "rollout.refused")]
    assert moves == [
        "rollout.started", "rollout.moved", "rollout.went_back",
        "rollout.started", "rollout.moved", "rollout.moved", "rollout.finished",
    ]  # fmt: skip
    assert [a for a in told if a.startswith("incident.") and a != "incident.refused"] == [
        "incident.opened", "incident.noted", "incident.acted", "incident.closed",
    ]  # fmt: skip
    assert teller.look("audit", "verify", "--in", folder)["sound"] is True
    card = (folder / "card.markdown").read_text()
    for words in (*world.signers.values(), "I1", "v3"):
        assert words in card, words


def people(world: World, folder: Path) -> None:
    """Whoever signs and acts, with keys of their own; the first is the administrator."""
    done("identity", "create", "ann", "--in", folder)
    for name, role in world.people.items():
        done("identity", "create", name, "--role", role, "--by", "ann", "--in", folder)


def begun(world: World, folder: Path) -> Path:
    """Write a world to a folder, with its people."""
    world.make(folder)
    people(world, folder)
    return folder


def signed(world: World, teller: Teller, version: str) -> None:
    """Every stage signs, and the next apply goes on."""
    for stage, name in world.signers.items():
        teller.give("approve", version, "--stage", stage, "--as", name, "--in", teller.folder)
    teller.give("apply", teller.folder)


def events(teller: Teller) -> list[dict[str, Any]]:
    """All entries of the audit trail."""
    found: list[dict[str, Any]] = teller.look("audit", "list", "--in", teller.folder, "--last", "1000")
    return found


@dataclass
class Turn:
    """Days of a rollout: some ask, and the schedule passes."""

    world: World
    teller: Teller
    asked: int = 0

    def ask(self, count: int, *, answers: Sequence[str], slow: str = "") -> Asked:
        """Ask about units that nobody has asked about."""
        rows = self.world.requests(self.asked, count)
        self.asked += count
        return self.teller.ask(rows, answers=answers, slow=slow)

    def until_left(
        self, leg: str, requests: int, *, answers: Sequence[str], slow: str = "", within: int = 8
    ) -> int:
        """Ask, and let the schedule pass a day later, until the rollout has left a leg; how many passes it took."""
        folder = self.teller.folder
        for passes in range(1, within + 1):
            if requests:
                self.ask(requests, answers=answers, slow=slow)
            self.teller.now += timedelta(days=1)
            self.teller.give("schedule", "--once", "--in", folder)
            now = self.teller.look("rollout", "status", "--in", folder)
            if now["leg"] != leg:
                return passes
        raise AssertionError(now)


def release(unit: str, metric: str) -> str:
    """The part of the specification that says how a version replaces another one."""
    return RELEASE.replace("UNIT", unit).replace("METRIC", metric)


@dataclass
class Loans:
    """Made-up accounts, seconds of training."""

    model: str = "small-loans"
    unit: str = "customer"
    metric: str = "repaid"
    signers: Mapping[str, str] = field(default_factory=lambda: {"technical": "bob", "final": "cleo"})
    feature: tuple[str, str] = ('use: "bill / credit"', 'use: "bill / credit"\n    load: "late * bill"')
    mended: tuple[str, str] = ('load: "late * bill"', 'load: "late * (bill / credit)"')
    begin: datetime = datetime(2026, 3, 1, 9, tzinfo=UTC)
    retrained: datetime = datetime(2026, 3, 4, 9, tzinfo=UTC)
    people: Mapping[str, str] = field(
        default_factory=lambda: {
            "bob": "ml-engineer",
            "cleo": "chief-data-officer",
            "rita": "release-manager",
        }
    )

    def make(self, folder: Path) -> None:
        """See `World`."""
        policy = (
            "approve:\n  distinct_people: true\n  stages:\n"
            "    - {stage: technical, role: ml-engineer}\n    - {stage: final, role: chief-data-officer}\n"
            'monitor: {every: day}\nretrain: {when: {drifted: "psi(any) > 0.25"}}\n'
        )
        text = (
            LOANS.replace("approve: none\n", policy + release(self.unit, self.metric))
            .replace("trials: 2", "trials: 1")
            .replace("resamples: 200", "resamples: 100")
            .replace("        credit: {type", "        customer: {type: integer}\n        credit: {type")
        )
        folder.mkdir()
        (folder / "model.yaml").write_text(text)
        self._customers(900, 3).write_csv(folder / "accounts.csv")

    def season(self) -> list[tuple[datetime, pl.DataFrame]]:
        """See `World`."""
        rows = self._richer(250, 41).drop("account", "group", "outcome")
        return [(datetime(2026, 3, 2, 12, tzinfo=UTC), rows)]

    def grow(self, folder: Path) -> None:
        """See `World`."""
        self._richer(900, 4).write_csv(folder / "accounts.csv")

    def outcomes(self, asked: Sequence[Asked]) -> pl.DataFrame:
        """See `World`."""
        known = self._richer(250, 41)["outcome"]
        return pl.DataFrame({"id": asked[0].ids, "outcome": known})

    def requests(self, begin: int, count: int) -> pl.DataFrame:
        """See `World`."""
        rows = self._richer(3000, 42)[begin : begin + count].drop("account", "group", "outcome")
        return rows.with_columns(customer=pl.int_range(begin, begin + count))

    def results(self, asked: Asked, better: str) -> pl.Series:
        """See `World`."""
        return better_by_chance(asked, better)

    @staticmethod
    def _customers(rows: int, seed: int) -> pl.DataFrame:
        dealt = np.random.default_rng(seed).integers(1, 100_000, rows)
        return accounts(rows, seed=seed).with_columns(customer=pl.Series(dealt))

    def _richer(self, rows: int, seed: int) -> pl.DataFrame:
        """Everybody has three times the credit."""
        return self._customers(rows, seed).with_columns(pl.col("credit") * 3, pl.col("bill") * 3)


@dataclass
class Churn:
    """The blueprint customer-churn on its real data: trained in September, asked in September and in December.

    A wholesaler keeps a file of invoice lines, which grows. Customers, their features and who bought nothing in the
    next 90 days are real. What a version brings in the experiment is made up: no version was ever acted upon.
    """

    data: Path
    model: str = "customer-churn"
    unit: str = "customer_id"
    metric: str = "came_back"
    signers: Mapping[str, str] = field(
        default_factory=lambda: {
            "development": "dora",
            "technical": "bob",
            "business": "petra",
            "governance": "gus",
            "deployment": "otto",
            "final": "cleo",
        }
    )
    people: Mapping[str, str] = field(
        default_factory=lambda: {
            "dora": "tech-lead",
            "bob": "ml-engineer",
            "petra": "product-manager",
            "gus": "risk-officer",
            "otto": "devops-lead",
            "cleo": "chief-data-officer",
            "rita": "release-manager",
        }
    )
    feature: tuple[str, str] = (
        '    returned_share: "returns_365d / (products_365d + 1)"',
        '    returned_share: "returns_365d / (products_365d + 1)"\n    basket: "amount_365d / (products_365d + 1)"',
    )
    mended: tuple[str, str] = (
        'basket: "amount_365d / (products_365d + 1)"',
        'basket: "amount_365d / (orders_365d + 1)"',
    )
    begin: datetime = datetime(2011, 9, 10, 9, tzinfo=UTC)
    retrained: datetime = datetime(2011, 12, 10, 9, tzinfo=UTC)
    first_data: datetime = datetime(2011, 9, 10)  # noqa: DTZ001 - as the lines have it, by the shop's own clock

    def __post_init__(self) -> None:
        lines = pl.read_parquet(self.data / "online_retail_ii" / "online_retail_ii.parquet")
        self._lines = lines.with_columns(at=pl.col("InvoiceDate").str.to_datetime("%m/%d/%Y %H:%M"))

    def make(self, folder: Path) -> None:
        """See `World`: trained in seconds, so that less is asked of it."""
        done("init", folder, "--from", "customer-churn")
        for old, new in {
            "dataset: online-retail-ii": "uri: lines.parquet",
            "learners: [logistic_regression, lightgbm]": "learners: [logistic_regression]",
            "trials: 24": "trials: 1",
            "folds: 4": "folds: 2",
            'average_precision: ">= 0.68"': 'average_precision: ">= 0.65"',
            "by: 0.09": "by: 0.05",
            "threshold: {maximise: net_value}": "threshold: {maximise: net_value}\n  resamples: 100",
            "release:\n  # The season": release(self.unit, self.metric) + "  # The season",
            "retrain:\n  when:": 'retrain:\n  when:\n    drifted: "psi(rhythm) > 0.25"',
        }.items():
            edit(folder, old, new)
        self._lines.filter(pl.col("at") < self.first_data).drop("at").write_parquet(folder / "lines.parquet")

    def season(self) -> list[tuple[datetime, pl.DataFrame]]:
        """See `World`: those who were active on the first of September, a year later than those of training."""
        return [(datetime(2011, 9, 12, 9, tzinfo=UTC), self._active(SEPTEMBER)[:300])]

    def grow(self, folder: Path) -> None:
        """See `World`."""
        self._lines.drop("at").write_parquet(folder / "lines.parquet")

    def outcomes(self, asked: Sequence[Asked]) -> pl.DataFrame:
        """See `World`: who bought nothing for 90 days."""
        until = SEPTEMBER + timedelta(days=90)
        bought = self._buyers(SEPTEMBER, until)
        gone = ~asked[0].rows["customer_id"].is_in(bought.implode())
        return pl.DataFrame({"id": asked[0].ids, "churned": gone.cast(pl.Int64)})

    def requests(self, begin: int, count: int) -> pl.DataFrame:
        """See `World`: those who are active on the first of December."""
        rows = self._active(DECEMBER)[begin : begin + count]
        assert rows.height == count
        return rows

    def results(self, asked: Asked, better: str) -> pl.Series:
        """See `World`."""
        return better_by_chance(asked, better)

    def _active(self, moment: datetime) -> pl.DataFrame:
        active = self._buyers(moment - timedelta(days=180), moment).sample(fraction=1, shuffle=True, seed=6)
        return pl.DataFrame({"customer_id": active, "as_of": [moment.isoformat()] * active.len()})

    def _buyers(self, since: datetime, until: datetime) -> pl.Series:
        """Customers with a purchase in a time, sorted."""
        bought = ~pl.col("Invoice").str.starts_with("C") & (pl.col("Price") > 0) & (pl.col("at") >= since)
        rows = self._lines.filter(bought & (pl.col("at") < until) & pl.col("Customer ID").is_not_null())
        return rows["Customer ID"].cast(pl.Int64).unique().sort()


SEPTEMBER = datetime(2011, 9, 1)  # noqa: DTZ001 - as the lines have it
DECEMBER = datetime(2011, 12, 1)  # noqa: DTZ001 - as the lines have it


def better_by_chance(asked: Asked, better: str) -> pl.Series:
    """Of those whom one version answered about, 85 % do as hoped; of the others, 40 %."""
    chance = np.random.default_rng(5).random(len(asked.versions))
    met = [int(c < (0.85 if v == better else 0.4)) for c, v in zip(chance, asked.versions, strict=True)]
    return pl.Series(met)


def plain(rows: pl.DataFrame) -> list[dict[str, Any]]:
    """Bodies of requests."""
    return [json.loads(json.dumps(row, default=str)) for row in rows.to_dicts()]
