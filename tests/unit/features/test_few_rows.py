"""What a few rows get is, to the last bit, what Polars gives one row and many."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

import polars as pl
import pytest

from charter.data.expressions import compile_expression
from charter.features.featureset import FeatureSet, RowFeature
from charter.features.few_rows import FewRows, Unusual
from charter.features.row_features import compute, few_rows

COLUMNS = {"a": pl.Int64, "b": pl.Int64, "x": pl.Float64, "y": pl.Float64, "s": pl.String, "t": pl.Boolean}
ROWS = 12


class Writer:
    """Writes expressions and rows, the same for each seed."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)

    def number(self, depth: int) -> str:
        one = self.chance.choice
        if depth == 0:
            return one(["a", "b", "x", "y", "1", "2.5", "0", "3", "0.1"])
        inner = [self.number(depth - 1) for _ in range(3)]
        return one(
            [
                *(f"({inner[0]} {sign} {inner[1]})" for sign in "+-*/"),
                f"CASE WHEN {self.truth(depth - 1)} THEN {inner[0]} ELSE {inner[1]} END",
                f"{one(['GREATEST', 'LEAST'])}({', '.join(inner)})",
                f"ABS({inner[0]})",
                f"COALESCE({inner[0]}, {inner[1]})",
            ]
        )

    def truth(self, depth: int) -> str:
        one = self.chance.choice
        compared = (
            f"({self.number(max(depth - 1, 0))} {one(['>', '<', '=', '>=', '<=', '<>'])} {self.number(0)})"
        )
        if depth == 0:
            return compared
        left, right = self.truth(depth - 1), self.truth(depth - 1)
        return one(
            [
                compared,
                f"({left} {one(['AND', 'OR'])} {right})",
                f"(NOT {left})",
                f"({self.number(depth - 1)} IS {one(['', 'NOT '])}NULL)",
                "(s = 'u')",
                "(s <> 'v')",
                "t",
            ]
        )

    def value(self, dtype: Any) -> Any:
        chance = self.chance
        if chance.random() < 0.12:
            return None
        if dtype == pl.Int64:
            return chance.choice([0, 1, -1, 7, chance.randrange(-(10**6), 10**6), 2**40, -(2**62)])
        if dtype == pl.Float64:
            return chance.choice([0.0, -0.0, 1.0, 0.1, 1e308, -1e308, 5e-324, chance.uniform(-1e6, 1e6)])
        return chance.choice(["u", "v", ""]) if dtype == pl.String else chance.random() < 0.5

    def frame(self) -> pl.DataFrame:
        return pl.DataFrame(
            {n: [self.value(d) for _ in range(ROWS)] for n, d in COLUMNS.items()}, schema=COLUMNS
        )


def bits(column: pl.Series) -> list[Any]:
    return [(v + 0.0).hex() if isinstance(v, float) else v for v in column]


@pytest.mark.parametrize("seed", range(4))
def test_random_expressions_give_the_bits_of_polars(seed):
    writer, seen = Writer(seed), Counter[str]()
    for _ in range(200):
        text = writer.number(writer.chance.randrange(1, 4))
        compiled = compile_expression(text).cast(pl.Float64)
        if not compiled.meta.root_names():
            continue
        few, frame = FewRows.of({"z": compiled}, COLUMNS), writer.frame()
        many = frame.with_columns(z=compiled)["z"]
        for i in range(ROWS):
            one = bits(frame[i].with_columns(z=compiled)["z"])
            assert bits(many[i : i + 1]) == one, text
            try:
                ours = bits(few.columns(frame[i])[0])
            except Unusual:
                seen["unusual"] += 1
                continue
            assert ours == one or ours[0] in ("inf", "-inf", "nan"), (text, frame.row(i))
            seen["alike"] += 1
    assert seen["alike"] > 3 * seen["unusual"] > 0


def features(**rows: str) -> FeatureSet:
    made = tuple(RowFeature(name, text, "number") for name, text in rows.items())
    return FeatureSet((), None, (), (), made, (), "label")


@pytest.mark.parametrize("values", [[4.0, 2.0], [None, 2.0], [1e308, 2.0], [3.0, 0.0]])
def test_features_that_read_each_other_and_those_left_to_polars(values):
    wanted = features(half="a / 2", log="LN(half + 1)", back="EXP(log)", big="a * 10", rate="a / b")
    frame = pl.DataFrame({"a": [values[0]], "b": [values[1]]}, schema={"a": pl.Float64, "b": pl.Float64})
    few = few_rows(wanted, pl.DataFrame({"a": [1.0, 2.0, None], "b": [3.0, 0.0, 1.0]}))
    assert few.names == ("half", "big", "rate")
    assert [row.name for row in few.others] == ["log", "back"]
    found, expected = compute(frame, wanted, few), compute(frame, wanted)
    assert found.row(0) == expected.row(0)
    assert found.schema == expected.schema


def test_what_does_not_prove_itself_is_left_to_polars():
    wanted = features(half="a / 2", twice="half * 2", sum="a + 1")
    right = few_rows(wanted, pl.DataFrame({"a": [3.0, 4.0]}))
    wrong = FewRows(tuple((n, d, (lambda _: 1.25) if n == "half" else v) for n, d, v in right.steps))
    compiled = {r.name: compile_expression(r.expression).cast(pl.Float64) for r in wanted.rows}
    assert right.names == ("half", "sum", "twice")
    assert wrong.proven(pl.DataFrame({"a": [3.0, 4.0]}), compiled).names == ("sum",)


def test_columns_of_another_type_than_was_said_go_to_polars():
    wanted = features(next="a + 1")
    few = few_rows(wanted, pl.DataFrame({"a": [3.0, 4.0]}))
    with pytest.raises(Unusual):
        few.columns(pl.DataFrame({"a": ["3"]}))
    with pytest.raises(Unusual):
        few.columns(pl.DataFrame({"b": [3.0]}))
    assert compute(pl.DataFrame({"a": [3]}), wanted, few)["next"].to_list() == [4.0]
