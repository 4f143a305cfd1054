"""Batch scoring says what the server says, row by row, and sets aside what the server refuses."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from serve_models import NOW, Example, accounts, make_other

from charter.core.clock import ManualClock
from charter.core.errors import DataError
from charter.serve.batch import Contract, Counts, Options, score_chunk, total
from charter.serve.columns import Wish, answer_columns
from charter.serve.problem import Refused
from charter.serve.scorer import Scorer
from charter.serve.served import Served

ALL = Wish(bands=True, reasons=True, warnings=True)
KEY = Options(keep=("ID",), wish=ALL, number=False)


def contract(example: Example) -> Contract:
    return Contract(example.scorer().signature.inputs)


def raw_accounts(rows: int = 300) -> pl.DataFrame:
    """Rows as a file has them, some beyond what training saw."""
    frame = accounts(rows, seed=9).drop("spent", "very_late", "outcome")
    return frame.with_columns(
        limit=pl.when(pl.col("ID") % 7 == 0).then(5e6).otherwise("limit"),
        city=pl.when(pl.col("ID") % 11 == 0).then(pl.lit("Rome")).otherwise("city"),
    )


def answers(example: Example, frame: pl.DataFrame, *, explain: bool = False) -> list[dict[str, Any]]:
    """What the server says, from the bytes of a request."""
    served = Served(example.spec.name, "v1", example.scorer())
    names = [n for n in served.scorer.signature.names if n in frame.columns]
    return json.loads(served.answer(frame.select(names).write_json().encode(), explain=explain))


def same(batch: pl.DataFrame, online: list[dict[str, Any]], columns: tuple[str, ...]) -> None:
    for row, said in zip(batch.to_dicts(), online, strict=True):
        for name in columns:
            if name == "reasons":
                texts = [(r["text"], r["contribution"]) for r in said["reasons"]]
                assert [(r["text"], r["contribution"]) for r in row["reasons"]] == texts
            else:
                assert row[name] == said[name], name


def test_rows_get_the_servers_answers_to_the_bit(credit):
    frame = raw_accounts()
    done = score_chunk(credit.scorer(), contract(credit), frame, KEY)
    assert done.rejected.is_empty()
    assert done.scored["ID"].to_list() == frame["ID"].to_list()
    online = answers(credit, frame)
    same(done.scored, online, ("score", "decision", "band", "reasons", "warnings"))
    warned = sum(bool(a["warnings"]) for a in online)
    assert done.counts.warned == warned
    assert warned > 40
    assert done.counts.decisions["positive"] == sum(a["decision"] == "positive" for a in online)
    assert sum(done.counts.bands.values()) == 300


def test_many_rows_are_warned_of_like_few(credit):
    """Above a thousand rows, warnings are found by column."""
    scorer, frame = credit.scorer(), raw_accounts(3000)
    inputs, *_ = contract(credit).judge(frame)
    many, _ = answer_columns(scorer, inputs, ALL)
    few = pl.concat([answer_columns(scorer, inputs[i : i + 500], ALL)[0] for i in range(0, 3000, 500)])
    assert many.equals(few)
    assert (
        scorer.run(inputs)
        .frame()
        .select("score", "decision", "band", "warnings")
        .equals(many.drop("reasons"))
    )


def test_entities_get_the_servers_answers_to_the_bit(churn):
    ids = [3, 77_777, 12, 3, 40]
    moments = ["2025-09-01T00:00:00", None, "2025-07-05T10:30:00", "2025-06-01T00:00:00", None]
    frame = pl.DataFrame({"who": ids, "as_of": moments})
    options = Options(keep=("who",), wish=ALL, number=True, as_of="2026-03-01T00:00:00")
    done = score_chunk(churn.scorer(), contract(churn), frame, options)
    online = answers(churn, frame, explain=True)
    same(done.scored, online, ("score", "decision", "reasons", "warnings"))
    assert done.scored["row"].to_list() == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("task", ["multiclass", "regression"])
def test_other_tasks_get_the_servers_answers(tmp_path, task):
    example = make_other(tmp_path, task)
    frame = accounts(200, seed=5)
    done = score_chunk(example.scorer(), contract(example), frame, replace(KEY, wish=Wish(warnings=True)))
    online = answers(example, frame.drop("spent", "very_late", "outcome", "sex"))
    same(done.scored, online, ("score", "decision", "warnings"))


def test_what_the_server_refuses_is_rejected_with_reasons(credit):
    frame = raw_accounts(6).with_columns(
        limit=pl.Series([5000.0, 10.0, None, 6000.0, float("inf"), 7000.0]),
        late=pl.Series([1, 1, 1, 99, 1, 1]),
        grade=pl.Series(["1", "2", "3", "9", "1", "2"]),
    )
    done = score_chunk(credit.scorer(), contract(credit), frame, replace(KEY, number=True))
    assert done.scored["row"].to_list() == [1, 6]
    assert done.rejected["row"].to_list() == [2, 3, 4, 5]
    assert done.rejected["reasons"].to_list() == [
        ["limit = 10.0: must be at least 1000"],
        ["limit is missing"],
        ["late = 99: must be at most 9", "grade = 9: must be one of 1, 2, 3"],
        ["limit = inf: must be finite"],
    ]
    assert done.counts.rejections == {
        "limit: not missing": 1,
        "limit: at least 1000": 1,
        "limit: finite": 1,
        "late: at most 9": 1,
        "grade: one of 1, 2, 3": 1,
    }
    served = Served("credit-test", "v1", credit.scorer())
    names = served.scorer.signature.names
    for number, row in enumerate(frame.select(names).to_dicts(), 1):
        body = json.dumps({k: v if not hasattr(v, "isoformat") else v.isoformat() for k, v in row.items()})
        if number in (1, 6):
            served.answer(body.encode())
        else:
            with pytest.raises(Refused):
                served.answer(body.encode())


def test_text_is_read_like_a_training_file(credit):
    """CSV has text throughout, and dates in the format of the specification."""
    frame = raw_accounts(40)
    text = frame.with_columns(pl.col("joined").dt.strftime("%d.%m.%Y")).cast(pl.String)
    read = Contract(credit.scorer().signature.inputs, {"joined": "%d.%m.%Y"})
    from_text = score_chunk(credit.scorer(), read, text, KEY).scored
    assert from_text.drop("ID").equals(score_chunk(credit.scorer(), read, frame, KEY).scored.drop("ID"))
    odd = text.with_columns(late=pl.lit("x"), bill=pl.lit("")).head(1)
    done = score_chunk(credit.scorer(), read, odd, KEY)
    assert done.rejected["reasons"].to_list() == [["late = x: must be of type integer"]]


def test_a_personal_value_is_not_shown(churn):
    done = score_chunk(
        churn.scorer(), contract(churn), pl.DataFrame({"who": [-7]}), Options(as_of="2026-03-01")
    )
    assert done.rejected["reasons"].to_list() == [["who must be at least 0"]]


def test_columns_are_renamed_as_in_the_specification(credit):
    frame = raw_accounts(30)
    other = frame.rename({"limit": "Credit line"})
    options = replace(KEY, keep=("ID", "Credit line"), rename={"Credit line": "limit"})
    done = score_chunk(credit.scorer(), contract(credit), other, options)
    assert done.scored["Credit line"].equals(frame["limit"].alias("Credit line"))
    assert done.scored["score"].equals(
        score_chunk(credit.scorer(), contract(credit), frame, KEY).scored["score"]
    )


def test_sources_that_cannot_work_are_refused(credit):
    asked = contract(credit)
    schema = dict(raw_accounts(1).schema)
    asked.refuse(schema)
    asked.refuse({n: t for n, t in schema.items() if n != "city"})
    with pytest.raises(DataError, match="'limit' is not in the source"):
        asked.refuse({("limits" if n == "limit" else n): t for n, t in schema.items()})
    for name, dtype in (("late", pl.Date()), ("city", pl.List(pl.String)), ("joined", pl.Float64())):
        with pytest.raises(DataError, match=re.escape(f"{name!r} is {dtype}")):
            asked.refuse({**schema, name: dtype})


def test_no_rows_give_no_rows(credit):
    done = score_chunk(credit.scorer(), contract(credit), raw_accounts(1).clear(), KEY)
    assert done.scored.height == done.rejected.height == 0
    assert (
        done.scored.schema
        == score_chunk(credit.scorer(), contract(credit), raw_accounts(3), KEY).scored.schema
    )


class Moody(Scorer):
    """A model that fails on some rows."""

    def numbers(self, inputs: pl.DataFrame) -> Any:
        if (inputs["late"] == 5).any():
            raise RuntimeError("five")
        found = super().numbers(inputs)
        found.score[(inputs["late"] == 4).to_numpy()] = np.nan
        return found


def moody(example: Example, fallback: dict[str, Any] | None) -> Scorer:
    scorer = Moody.load(example.folder, example.history, clock=ManualClock(NOW))
    scorer.rules = replace(scorer.rules, fallback=fallback)
    return scorer


def test_rows_that_break_the_model_get_the_fallback_as_online(credit):
    frame = raw_accounts(120)
    scorer = moody(credit, credit.scorer().rules.fallback)
    done = score_chunk(scorer, contract(credit), frame, KEY)
    assert done.scored.height == 120
    served = Served("credit-test", "v1", scorer)
    online = json.loads(served.answer(frame.select(scorer.signature.names).write_json().encode()))
    same(done.scored, online, ("score", "decision", "band", "warnings"))
    calm = frame.filter(pl.col("late") != 5)
    done = score_chunk(scorer, contract(credit), calm, KEY)
    online = json.loads(served.answer(calm.select(scorer.signature.names).write_json().encode()))
    same(done.scored, online, ("score", "decision", "band", "warnings"))


def test_rows_that_break_the_model_without_fallback_are_rejected(credit):
    frame = raw_accounts(90)
    done = score_chunk(moody(credit, None), contract(credit), frame, KEY)
    bad = frame.filter(pl.col("late") == 5)
    assert done.rejected["ID"].to_list() == bad["ID"].to_list()
    assert done.rejected["reasons"].to_list() == [["the model failed (RuntimeError)"]] * bad.height
    assert done.counts.rejections == {"the model": bad.height}
    assert done.scored["ID"].to_list() == frame.filter(pl.col("late") != 5)["ID"].to_list()


def test_a_model_that_fails_throughout_fails_the_job(credit):
    frame = raw_accounts(400).with_columns(late=pl.lit(5))
    with pytest.raises(DataError, match="row after row"):
        score_chunk(moody(credit, None), contract(credit), frame, KEY)


def test_counts_add_up():
    a = Counts(3, 2, 1, 0, {"positive": 2}, {}, {"x: not missing": 1})
    b = Counts(5, 5, 0, 2, {"negative": 4, "positive": 1}, {"high": 1}, {})
    both = Counts(8, 7, 1, 2, {"negative": 4, "positive": 3}, {"high": 1}, {"x: not missing": 1})
    assert total([a, b]) == total([b, a]) == both
    assert Options.from_json(json.loads(json.dumps(KEY.to_json()))) == KEY


def test_the_moment_is_the_jobs(churn):
    """A job that goes on tomorrow looks at entities from the moment at which it began."""
    late = Scorer.load(churn.folder, churn.history, clock=ManualClock(datetime(2030, 1, 1, tzinfo=UTC)))
    options = Options(keep=("who",), as_of="2025-09-01T00:00:00")
    frame = pl.DataFrame({"who": list(range(50))})
    then = score_chunk(churn.scorer(), contract(churn), frame, options)
    assert score_chunk(late, contract(churn), frame, options).scored.equals(then.scored)


def test_keys_that_a_csv_holds_as_text_are_written_as_the_contract_types_them(credit):
    frame = raw_accounts(6).with_columns(pl.lit("02.03.2026").alias("seen"))
    text = frame.with_columns(
        pl.when(pl.col("ID") == pl.col("ID").max())
        .then(pl.lit("x7"))
        .otherwise(pl.col("ID").cast(pl.String))
        .alias("ID")
    )
    options = Options(
        keep=("ID", "seen"),
        number=False,
        types={"ID": "integer", "seen": "date"},
        formats={"seen": "%d.%m.%Y"},
    )
    done = score_chunk(credit.scorer(), contract(credit), text, options)
    assert (done.scored.schema["ID"], done.scored.schema["seen"]) == (pl.Int64(), pl.Date())
    assert done.scored["ID"].to_list() == sorted(frame["ID"].to_list())[:-1]
    assert done.rejected.select("ID", "reasons").rows() == [("x7", ["ID must be of type integer"])]
    assert done.counts.rejections == {"ID: integer": 1}
    whole = score_chunk(credit.scorer(), contract(credit), frame, Options(keep=("ID",), number=False))
    assert done.scored["score"].to_list() == whole.scored["score"].to_list()[:-1]


def test_serving_stays_free_of_what_batch_brings(root: Path):
    for name in ("batch", "columns", "ranking"):
        text = (root / "src" / "charter" / "serve" / f"{name}.py").read_text()
        assert "import sqlalchemy" not in text
        assert "import ray" not in text
