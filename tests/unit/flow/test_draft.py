"""A first specification from one's own table: sound, kept by the table's rows, honest about what it does not know."""

from __future__ import annotations

import random
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from typer.testing import CliRunner

from charter.cli.main import app
from charter.core.errors import CharterError, DataError, UsageError
from charter.core.settings import Settings
from charter.data.draft import draft_column
from charter.data.io.sources import read
from charter.data.prepare import prepare
from charter.flow.draft import look
from charter.flow.draft_text import model_yaml
from charter.flow.init import begin
from charter.spec.loader import load, loads
from charter.spec.notices import notices, open_text
from charter.spec.types import ModelSpec

SETTINGS = Settings.from_environment({"CHARTER_ACTOR": "ada", "CHARTER_HOME": "/nowhere"})
TODAY = date(2026, 1, 1)


def table(n: int = 200) -> dict[str, list[Any]]:
    draw = random.Random(4)
    day = date(2025, 1, 1)
    return {
        "visit id": [f"A-{i}" for i in range(n)],
        "sex": [draw.choice("fm") for _ in range(n)],
        "age": ["NA" if i % 40 == 0 else str(draw.randrange(20, 80)) for i in range(n)],
        "booked": [str(day + timedelta(days=i // 2)) for i in range(n)],
        "lead: days": [str(draw.randrange(60)) for _ in range(n)],
        "zip": [f"0{draw.randrange(1000, 1004)}" for _ in range(n)],
        "clinic": [draw.choice(["NO", "1", "true"]) for _ in range(n)],
        "note": [f"{draw.random()}, said" for _ in range(n)],
        "empty": [""] * n,
        "seen": [str(i % 3) for i in range(n)],
        "missed": ["yes" if i % 3 == 0 else "no" for i in range(n)],
    }


def write(folder: Path, columns: dict[str, list[Any]], name: str = "visits.csv") -> Path:
    pl.DataFrame(columns).write_csv(folder / name)
    return folder / name


def drafted(file: Path, **asked: Any) -> ModelSpec:
    found = look(file, file.parent, SETTINGS, **asked)
    return loads(model_yaml(found, "visits", actor="ada", today=TODAY)).spec


def kept(spec: ModelSpec, folder: Path) -> pl.DataFrame:
    """Rows by the drafted contract; none may break it."""
    (name, source), *_ = spec.data.sources.items()
    found = prepare(read(source, folder, SETTINGS), name, source, now=datetime(2026, 1, 1, tzinfo=UTC))
    assert found.report.violations == ()
    return found.frame


def test_the_rows_keep_the_contract_that_was_drafted_from_them(tmp_path: Path) -> None:
    file = write(tmp_path, table())
    spec = drafted(file, target="missed")
    frame = kept(spec, tmp_path)
    types = {name: column.type for name, column in spec.data.sources["visits"].columns.items()}
    assert types == {
        "visit id": "text", "sex": "category", "age": "integer", "booked": "date", "lead: days": "integer",
        "zip": "category", "clinic": "category", "note": "text", "seen": "integer", "missed": "category",
    }  # fmt: skip
    columns = spec.data.sources["visits"].columns
    assert columns["clinic"].values == ("1", "NO", "true")
    assert columns["age"].nullable
    assert frame["age"].null_count() == 5
    assert (columns["lead: days"].min, columns["lead: days"].max) == (0, 89)
    assert (spec.train.task, spec.data.label.positive, spec.data.observations.key) == (
        "binary",
        "yes",
        ("visit id",),
    )
    assert set(spec.features.exclude) == {"sex", "age", "seen"}
    assert spec.owner.team == "ada"
    assert spec.approve.stages == ()


def test_a_table_with_a_date_is_split_by_it_and_follows_the_newest_row(tmp_path: Path) -> None:
    split = drafted(write(tmp_path, table()), target="missed").train.split
    assert (split.kind, split.train_until, split.test_from) == ("time", "latest - 20d", "latest - 19d")
    ahead = {**table(), "booked": [str(date(2026, 1, 1) + timedelta(days=i)) for i in range(200)]}
    split = drafted(write(tmp_path, ahead), target="missed").train.split
    assert (split.train_until, split.test_from) == (date(2026, 6, 9), date(2026, 6, 10))


@pytest.mark.parametrize(
    ("target", "values", "task"),
    [
        ("rent", [str(300 + i * 7 % 991) for i in range(200)], "regression"),
        ("grade", [str(i % 4) for i in range(200)], "multiclass"),
        ("late", ["true" if i % 5 else "False" for i in range(200)], "binary"),
        ("default.next", [str(i % 7 // 6) for i in range(200)], "binary"),
    ],
)
def test_the_task_follows_from_the_target(tmp_path: Path, target: str, values: list[str], task: str) -> None:
    spec = drafted(write(tmp_path, {**table(), target: values}), target=target)
    kept(spec, tmp_path)
    assert spec.train.task == task
    assert spec.data.label.column == target


def test_a_table_without_a_key_gets_the_rows_number(tmp_path: Path) -> None:
    columns = {name: values for name, values in table().items() if name not in ("visit id", "note")}
    spec = drafted(write(tmp_path, columns), target="missed")
    assert spec.data.observations.key == ("row",)
    assert kept(spec, tmp_path)["row"].to_list() == list(range(1, 201))


def test_a_table_of_types_is_drafted_as_it_is(tmp_path: Path) -> None:
    frame = pl.DataFrame(table()).with_columns(
        pl.col("booked").str.to_datetime("%Y-%m-%d"),
        pl.col("age").cast(pl.Float64, strict=False),
        as_of=pl.lit(1),
    )
    frame.write_parquet(tmp_path / "visits.parquet")
    spec = drafted(tmp_path / "visits.parquet", target="missed")
    kept(spec, tmp_path)
    columns = spec.data.sources["visits"].columns
    assert (columns["booked"].type, columns["age"].type, "as_of_" in columns) == ("datetime", "integer", True)


@pytest.mark.parametrize(
    ("written", "type_", "format_"),
    [
        (["2020-01-02 10:00", "2020-01-03 11:30"], "datetime", None),
        (["31.01.2020", "01.02.2020"], "date", "%d.%m.%Y"),
        (["1/31/2020", "2/1/2020"], "date", "%m/%d/%Y"),
        (["1.0", "2.0"], "integer", None),
        (["1.5", "-", "2e3"], "float", None),
        (["20200101", "20200102"], "integer", None),
        (["yes", "no", "no", "yes"], "category", None),
    ],
)
def test_values_tell_the_type(written: list[str], type_: str, format_: str | None) -> None:
    found = draft_column(pl.Series("x", written))
    assert found is not None
    assert (found.type, found.format) == (type_, format_)


def test_categories_are_listed_only_where_none_was_seen_once() -> None:
    listed, not_listed = (
        draft_column(pl.Series("x", v)) for v in (["a", "a", "b", "b"], ["a", "a", "b", "c"])
    )
    assert listed is not None
    assert not_listed is not None
    assert listed.values == ("a", "b")
    assert not_listed.values is None
    assert "2 seen once, so 50.0% of new rows" in not_listed.remark


@pytest.mark.parametrize(
    ("columns", "asked", "words"),
    [
        (table(), {}, "which column is to be predicted"),
        (table(), {"target": "mised"}, "Did you mean missed"),
        (table(), {"target": "note"}, "200 values and is no number"),
        (table(), {"target": "empty"}, "no row has a value"),
        (table(), {"target": "missed", "time": "sex"}, "holds no dates"),
        (table(10), {"target": "missed"}, "10 rows are too few"),
        ({"a;b;c": ["1;2;3"] * 100}, {}, "fields seem to be parted by ';'"),
        ({"a": ["1"] * 100}, {}, "a single column"),
    ],
)
def test_what_cannot_be_drafted_is_said(
    tmp_path: Path, columns: dict[str, list[Any]], asked: dict[str, str], words: str
) -> None:
    with pytest.raises((UsageError, DataError)) as caught:
        drafted(write(tmp_path, columns), **asked)
    assert words in str(caught.value)


def test_the_command_writes_a_folder_that_check_finds_sound_and_says_what_is_open(tmp_path: Path) -> None:
    file = write(tmp_path, table())
    run = CliRunner()
    outcome = run.invoke(app, ["init", str(tmp_path / "No Shows"), "--data", str(file), "--target", "missed"])
    assert outcome.exit_code == 0, outcome.output
    assert "seen is kept from the model: tells missed by itself" in outcome.output
    spec = load(tmp_path / "No Shows" / "model.yaml").spec
    assert (spec.name, spec.data.sources["visits"].uri) == ("no-shows", "../visits.csv")
    assert sum(open_text(n) for n in notices(spec)) == 12
    told = run.invoke(app, ["check", str(tmp_path / "No Shows" / "model.yaml")])
    assert told.exit_code == 0
    assert "purpose.problem is to be written: what goes wrong today" in told.output
    assert "note is text, which gives no feature by itself" in told.output
    with pytest.raises(UsageError, match="already holds"):
        begin(tmp_path / "No Shows", file, target="missed")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "either from a reference system or from a table"),
        (["--from", "credit-risk", "--data", "x.csv"], "either from a reference system or from a table"),
        (["--from", "credit-risk", "--target", "y"], "are for a table"),
        (["--from", "credit-rsk"], "no reference system is called 'credit-rsk'"),
        (["--data", "x.csv"], "there is no such file"),
    ],
)
def test_wrong_uses_of_init_are_refused(tmp_path: Path, words: list[str], said: str) -> None:
    outcome = CliRunner().invoke(app, ["init", str(tmp_path / "new"), *words])
    assert isinstance(outcome.exception, CharterError)
    assert said in str(outcome.exception)
    assert not (tmp_path / "new").exists()
