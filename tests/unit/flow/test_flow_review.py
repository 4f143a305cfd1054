"""Decisions that a person looks at: drawn from the log, decided once, and what that tells."""

from __future__ import annotations

import json
import shutil
import threading
from datetime import UTC, datetime, timedelta
from importlib.resources import files
from pathlib import Path

import polars as pl
import pytest
import yaml
from sklearn.metrics import cohen_kappa_score
from typer.testing import CliRunner

from charter.cli.main import app
from charter.core.clock import ManualClock
from charter.core.errors import Refusal, UsageError
from charter.core.settings import Settings
from charter.flow.approvals import create_identity
from charter.flow.audit import entries, verify
from charter.flow.brought import OUTCOMES, folder_of
from charter.flow.logs import log_folder
from charter.flow.outcomes import kept_outcomes
from charter.flow.review import decide, look, queue, tell
from charter.flow.workspace import Workspace
from charter.govern.audit import Harm
from charter.govern.review import select, settled
from charter.govern.review_report import kappa
from charter.monitor.outcomes import latest
from charter.serve.io.segments import SegmentWriter
from charter.serve.prediction_log import OWN
from charter.spec.types import ReviewSpec

NOW = datetime(2026, 3, 3, tzinfo=UTC)
REVIEW = "review: {bands: [high], disagreement: 0.2, within: 2d}"


def edit(workspace: Workspace, more: str) -> None:
    document = yaml.safe_load(workspace.spec_file.read_text()) | yaml.safe_load(more)
    workspace.spec_file.write_text(yaml.safe_dump(document, sort_keys=False))


def answers(n: int, *, version: str = "v1", arm: str | None = None, shift: float = 0.0) -> pl.DataFrame:
    """Answers an hour apart, the newest first, with scores that rise with age."""
    score = [i / n + shift for i in range(n)]
    return pl.DataFrame(
        {
            "id": [f"r{i}" for i in range(n)],
            "row": [0] * n,
            "time": [NOW.replace(tzinfo=None) - timedelta(hours=i) for i in range(n)],
            "model": ["credit-risk"] * n,
            "version": [version] * n,
            "package": ["ab"] * n,
            "route": ["predict"] * n,
            "latency_us": [900] * n,
            "score": score,
            "decision": ["positive" if s >= 0.5 else "negative" for s in score],
            "band": ["high" if s >= 0.9 else "low" for s in score],
            "fallback": [False] * n,
            "warnings": [[] for _ in range(n)],
            "stage": ["shadow" if arm else None] * n,
            "arm": [arm] * n,
        },
        schema_overrides=OWN,
    ).with_columns(input_AGE=pl.int_range(n))


def write(workspace: Workspace, frame: pl.DataFrame) -> None:
    writer = SegmentWriter(log_folder(workspace), "credit-risk", frame["version"][0])
    writer.append(frame)
    writer.close()


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    (tmp_path / "model.yaml").write_text(
        (files("charter.blueprints") / "credit_risk" / "model.yaml").read_text()
    )
    home = Settings.from_environment({"CHARTER_HOME": str(tmp_path / "home"), "CHARTER_ACTOR": "tester"})
    found = Workspace.at(tmp_path, home, ManualClock(NOW))
    edit(found, REVIEW)
    write(found, answers(100))
    return found


def people(workspace: Workspace, *names: str, role: str = "reviewer") -> None:
    for name in names:
        create_identity(workspace, name, roles=(role,), by=names[0] if name != names[0] else None)


def test_the_queue_holds_what_the_specification_sends_to_a_person(workspace):
    loaded = workspace.load()
    waiting = queue(workspace, loaded)
    assert [i.key for i in waiting] == [f"r{i}/0" for i in range(99, 89, -1)]
    write(workspace, answers(3, version="v2", arm="shadow", shift=0.5))
    assert {i.key: i.why for i in queue(workspace, loaded)} == {
        **{f"r{i}/0": ("band",) for i in range(90, 100)},
        **{f"r{i}/0": ("disagreement",) for i in range(3)},
    }
    assert look(workspace, loaded, "r1").item.other == pytest.approx(0.5 + 1 / 3)
    assert look(workspace, loaded, "r1/0").answer["input_AGE"] == 1


def test_spot_checks_are_the_same_each_time_and_a_greater_share_draws_more():
    rows = answers(20_000).with_columns(other=pl.lit(None, dtype=pl.Float64))

    def drawn(share: float, model: str = "m", secret: bytes = b"a" * 32) -> set[str]:
        return set(select(rows, ReviewSpec(random=share), model, secret)["key"])

    one = drawn(0.01)
    assert one == drawn(0.01)
    assert one < drawn(0.02)
    assert len(one) == pytest.approx(200, abs=5 * 200**0.5)
    assert len(one & drawn(0.01, "other")) < 20
    assert len(one & drawn(0.01, secret=b"b" * 32)) < 20, "without the secret nobody can tell"
    twice = select(rows, ReviewSpec(random=0.1, second=0.5), "m", b"a" * 32)["wanted"]
    assert (twice == 2).mean() == pytest.approx(0.5, abs=0.06)


def test_a_decision_is_confirmed_or_overridden_once(workspace):
    loaded = workspace.load()
    first = decide(workspace, loaded, "r99", reason="as it looks")
    assert first.final == "positive"
    assert decide(workspace, loaded, "r99/0") == first
    with pytest.raises(Refusal, match="tester has decided positive on r99/0"):
        decide(workspace, loaded, "r99", to="negative", reason="no")
    second = decide(workspace, loaded, "r98", to="negative", reason="a regular customer")
    assert (second.final, second.verdicts[0].reason) == ("negative", "a regular customer")
    assert len(queue(workspace, loaded)) == 8
    said = [e["action"].partition(".")[2] for e in entries(workspace)]
    assert said == ["confirmed", "refused", "overridden"]
    assert verify(workspace).sound


@pytest.mark.parametrize(
    ("key", "to", "reason", "message"),
    [
        ("r99", "negative", " ", "needs a reason"),
        ("r99", "positive", "x", "the model decided positive itself"),
        ("r99", "refer", "x", "is not a decision of this model"),
        ("nobody", None, "", "no answer nobody/0 of credit-risk is logged"),
    ],
)
def test_what_is_no_verdict_is_refused(workspace, key, to, reason, message):
    with pytest.raises(UsageError, match=message):
        decide(workspace, workspace.load(), key, to=to, reason=reason)
    assert entries(workspace) == []


def test_an_answer_outside_the_queue_may_be_decided_when_somebody_asks(workspace):
    found = decide(workspace, workspace.load(), "r3", to="positive", reason="the customer complained")
    assert found.final == "positive"
    assert tell(workspace, workspace.load()).of("why asked").overridden == 1


def test_it_takes_the_role(workspace):
    edit(workspace, "review: {bands: [high], role: reviewer}")
    people(workspace, "ann")
    with pytest.raises(Refusal, match="it takes a reviewer to review a decision"):
        decide(workspace, workspace.load(), "r99")
    assert decide(workspace, workspace.load(), "r99", by="ann").verdicts[0].actor == "ann"


def test_of_two_reviewers_at_once_one_wins_and_the_other_is_told(workspace):
    people(workspace, "ann", "bob")
    loaded, told = workspace.load(), {}

    def say(name: str, to: str | None) -> None:
        try:
            told[name] = decide(workspace, loaded, "r99", to=to, reason="x", by=name).final
        except Refusal as error:
            told[name] = error.message

    threads = [
        threading.Thread(target=say, args=("ann", None)),
        threading.Thread(target=say, args=("bob", "negative")),
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (final,) = {v for v in told.values() if v in ("positive", "negative")}
    (refused,) = set(told.values()) - {final}
    assert f"was first: r99/0 was decided {final}" in refused
    assert look(workspace, loaded, "r99").item.final == final


def test_of_two_who_differ_a_third_decides(workspace):
    edit(workspace, "review: {bands: [high], second: 1}")
    people(workspace, "ann", "bob", "cid", "dora")
    loaded = workspace.load()
    assert decide(workspace, loaded, "r99", by="ann").final is None
    assert decide(workspace, loaded, "r99", to="negative", reason="x", by="bob").final is None
    assert decide(workspace, loaded, "r99", to="negative", reason="y", by="cid").final == "negative"
    with pytest.raises(Refusal, match="cid was first"):
        decide(workspace, loaded, "r99", by="dora")
    decide(workspace, loaded, "r98", by="ann")
    decide(workspace, loaded, "r98", by="bob")
    found = tell(workspace, loaded)
    assert (found.agreement.pairs, found.agreement.share) == (2, 0.5)
    assert found.of("all").overridden == 1


@pytest.mark.parametrize(
    ("said", "wanted", "final"),
    [
        ([], 1, None),
        (["a"], 2, None),
        (["a", "b"], 2, None),
        (["a", "b", "c"], 2, "c"),
        (["a", "a", "b"], 2, "a"),
    ],
)
def test_what_settles_a_decision(said, wanted, final):
    assert settled(said, wanted) == final


def test_shares_are_given_with_intervals_by_why_and_age(workspace):
    edit(workspace, "review: {bands: [high], random: 0.2, within: 2d}")
    loaded = workspace.load()
    waiting = queue(workspace, loaded)
    drawn = [i for i in waiting if "random" in i.why]
    for item in drawn[:8]:
        decide(workspace, loaded, item.key)
    other = {"positive": "negative", "negative": "positive"}[drawn[8].decision]
    decide(workspace, loaded, drawn[8].key, to=other, reason="x")
    found = tell(workspace, loaded)
    chance = found.of("why random")
    assert (chance.reviewed, chance.overridden) == (9, 1)
    assert chance.low < 1 / 9 < chance.high
    assert found.waiting == len(waiting) - 9
    late = [i for i in queue(workspace, loaded) if NOW.replace(tzinfo=None) - i.time > timedelta(days=2)]
    assert found.overdue == len(late)
    assert "Of all answers persons would decide 11.1% otherwise" in found.words()[0]
    json.dumps(found.to_json(), default=str)


def test_verdicts_are_outcomes_only_where_the_specification_says_so(workspace):
    loaded = workspace.load()
    decide(workspace, loaded, "r99")
    folder = folder_of(workspace, "credit-risk")
    assert not folder.exists()
    edit(workspace, "review: {bands: [high], outcome: true}")
    loaded = workspace.load()
    workspace.clock.advance(timedelta(hours=1))
    decide(workspace, loaded, "r98", to="negative", reason="x")
    decide(workspace, loaded, "r98", to="negative", reason="x")
    known = latest(kept_outcomes(workspace, "credit-risk"))
    assert dict(known.select("key", "outcome").iter_rows()) == {"r98/0": "0", "r99/0": "1"}
    assert len(list(folder.iterdir())) == 1
    assert verify(workspace).sound
    shutil.copy(folder / OUTCOMES.name(1), folder / OUTCOMES.name(2))  # as an import killed before its entry
    assert [f.harm for f in verify(workspace).faults] == [Harm.UNFINISHED]
    assert len(kept_outcomes(workspace, "credit-risk")) == 1
    decide(workspace, loaded, "r97")
    decide(workspace, loaded, "r97")
    told = [e for e in entries(workspace) if e["action"] == "outcomes.imported"]
    assert sorted(e["detail"]["file"] for e in told) == [f"0000000{n}.parquet" for n in (1, 2, 3)]


def test_kappa_is_that_of_scikit_learn():
    pairs = [("a", "b"), ("a", "a"), ("b", "b"), ("c", "b"), ("c", "c"), ("a", "a"), ("b", "a")]
    first, second = zip(*pairs, strict=True)
    assert kappa(pairs) == pytest.approx(cohen_kappa_score(first, second))
    assert kappa([("a", "a")] * 3) is None


def test_the_command_line_shows_and_takes_verdicts(workspace):
    def charter(*words: str):
        return CliRunner().invoke(app, ["review", *words, "--in", str(workspace.root)])

    assert "r99/0" in charter("list").output.splitlines()[1]
    assert "and 7 more" in charter("list", "--limit", "3").output
    assert "input_AGE   99" in charter("show", "r99").output
    assert "(positive)" in charter("confirm", "r99").output
    assert (
        "tester  negative  known"
        in charter("override", "r98", "--to", "negative", "--reason", "known").output
    )
    told = charter("report").output
    assert "8 answers wait" in told
    assert "Nothing was drawn at random" in told
    assert len(json.loads(charter("list", "--all", "--json").output)) == 10


def test_without_a_review_there_is_no_queue(workspace):
    document = yaml.safe_load(workspace.spec_file.read_text())
    del document["review"]
    workspace.spec_file.write_text(yaml.safe_dump(document, sort_keys=False))
    with pytest.raises(UsageError, match="sends no decision to a person"):
        queue(workspace, workspace.load())
