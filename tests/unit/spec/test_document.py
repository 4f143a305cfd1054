from __future__ import annotations

import pytest
import yaml

from charter.core.errors import SpecError
from charter.spec import document
from charter.spec.document import Place, read


@pytest.fixture(params=[True, False], ids=["libyaml", "python"], autouse=True)
def _either_parser(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param and not yaml.__with_libyaml__:
        pytest.skip("PyYAML was built without libyaml")
    monkeypatch.setattr(yaml, "__with_libyaml__", request.param)


def test_words_of_yaml_1_1_stay_text() -> None:
    text = "a: [NO, no, on, yes, off, 12:30:00, 2011-03-01, 007, 1_000, .inf, .nan, '1', \"true\"]"
    data, _, _ = read(text, "m.yaml")
    assert data["a"] == [
        *(
            "NO",
            "no",
            "on",
            "yes",
            "off",
            "12:30:00",
            "2011-03-01",
            "007",
            "1_000",
            ".inf",
            ".nan",
            "1",
            "true",
        )
    ]


def test_core_schema_of_yaml_1_2() -> None:
    data, _, _ = read("a: [true, False, 3, -4, 1.5, 1e3, .5, ~, null, , -0.0]".replace(", ,", ","), "m.yaml")
    assert data["a"] == [True, False, 3, -4, 1.5, 1000.0, 0.5, None, None, 0.0]
    assert [type(v) for v in data["a"][2:4]] == [int, int]


def test_keys_are_text() -> None:
    data, _, _ = read("1: a\ntrue: b\nNO: c\n2.50: d", "m.yaml")
    assert list(data) == ["1", "true", "NO", "2.50"]


def test_every_key_and_value_knows_its_place() -> None:
    text = "# comment\na:\n  b: [1, 'two',\n      {c: x}]\n  é: \"über\"\n"
    _, source, _ = read(text, "m.yaml")
    assert source.place(("a",)) == Place(2, 1, 1)
    assert source.place(("a", "b")) == Place(3, 3, 1)
    assert source.place(("a", "b", 1)) == Place(3, 10, 5)
    assert source.place(("a", "b", 2, "c")) == Place(4, 8, 1)
    assert source.value(("a", "b", 2, "c")) == Place(4, 11, 1)
    assert source.value(("a", "é")) == Place(5, 6, 6)
    assert source.value(("a", "b")) == Place(3, 3, 1), "a collection is shown at its key"
    assert source.where(("a", "b", 2, "c")) == "m.yaml:4"


def test_what_is_not_in_the_file_is_placed_at_the_nearest_part_above() -> None:
    _, source, _ = read("a:\n  b: 1\n", "m.yaml")
    assert source.where(("a", "default")) == "m.yaml:1"
    assert source.where(("a", "b", "deeper")) == "m.yaml:2"
    assert source.where(("elsewhere",)) == "m.yaml:1"


@pytest.mark.parametrize(
    ("written", "place"),
    [
        ("x + yy + x", Place(1, 8, 2)),
        ("'x + yy + x'", Place(1, 9, 2)),
        ('"x + yy + x"', Place(1, 9, 2)),
        ('"\\u0078 + yy + x"', Place(1, 14, 2)),
        ("|\n  x +\n  yy + x", Place(3, 3, 2)),
        (">-\n  x\n  + yy + x", Place(3, 5, 2)),
        ("x\n   + yy\n   + x", Place(2, 6, 2)),
    ],
)
def test_a_word_within_a_value_is_found_however_it_is_written(written: str, place: Place) -> None:
    data, source, _ = read(f"a: {written}\n", "m.yaml")
    value = data["a"]
    assert source.inside(("a",), value, value.index("yy"), 2) == place


def test_the_second_mention_is_found_as_the_second() -> None:
    data, source, _ = read('a: "bb + b + b"\n', "m.yaml")
    assert source.inside(("a",), data["a"], 5, 1) == Place(1, 10, 1)
    assert source.inside(("a",), data["a"], 9, 1) == Place(1, 14, 1)


def test_windows_line_ends_and_a_byte_order_mark_do_not_move_places() -> None:
    data, source, _ = read("\ufeffa: 1\r\nb:\r\n  c: xyz\r\n", "m.yaml")
    assert data == {"a": 1, "b": {"c": "xyz"}}
    assert source.value(("b", "c")) == Place(3, 6, 3)
    assert source.inside(("b", "c"), "xyz", 1, 2) == Place(3, 7, 2)


def test_a_key_that_stands_twice_is_a_fault_and_the_first_counts() -> None:
    data, _, faults = read("a: 1\nb: 2\na: {deep: [3]}\n", "m.yaml")
    assert data == {"a": 1, "b": 2}
    assert [(f.line, f.column, f.message) for f in faults] == [(3, 1, "stands twice, first in line 1")]


def test_an_alias_repeats_a_part_and_its_places() -> None:
    data, source, _ = read("a: &x {k: [1, 2]}\nb: *x\n", "m.yaml")
    assert data["b"] == {"k": [1, 2]}
    assert data["b"] is not data["a"]
    assert source.where(("b", "k")) == "m.yaml:1"
    assert source.where(("b",)) == "m.yaml:2"


def test_aliases_cannot_blow_up() -> None:
    bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n"
    bomb += "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]\n" for i in range(1, 9))
    with pytest.raises(SpecError, match="says too much"):
        read(bomb, "m.yaml")


@pytest.mark.parametrize(
    ("text", "message", "line"),
    [
        ("", "the file is empty", 1),
        ("# only a comment\n", "the file is empty", 1),
        ("- a\n- b\n", "not a mapping", 1),
        ("just text", "not a mapping", 1),
        ("a: 1\n---\nb: 2\n", "second document", 2),
        ("a: [1, 2\nb: 3\n", "not YAML", 2),
        ("a: b: c\n", "not YAML", 1),
        ("a:\n\tb: 1\n", "not YAML", 2),
        ("a: 'open\n", "not YAML", 1),
        ("a: {b: 1\n\n", "not YAML", 1),
        ("a: *nothing\n", "names nothing", 1),
        ("a: &x [*x]\n", "names nothing", 1),
        ("a: !!python/object:os.system x\n", "the tag", 1),
        ("a: !secret x\n", "the tag", 1),
        ("? [1, 2]\n: x\n", "a key is not plain text", 1),
        ("a: " + "[" * 60 + "]" * 60, "nested too deeply", 1),
        ("a: \x00\n", "not YAML", 1),
        ("a: \ud800\n", "no text", 1),
        ("a: " + "x" * 1_000_001, "larger than 1 MB", 1),
    ],
)
def test_what_is_no_specification_at_all_is_refused_with_a_place(text: str, message: str, line: int) -> None:
    with pytest.raises(SpecError) as caught:
        read(text, "m.yaml")
    (problem,) = caught.value.problems
    assert message in problem.message
    assert problem.line == line
    assert caught.value.exit_code == 2


def test_advice_for_the_usual_slips() -> None:
    for text, advice in [("a:\n\tb: 1\n", "tabs"), ("a: b: c\n", "quotes"), ("a: [1\nb: 2\n", "bracket")]:
        with pytest.raises(SpecError) as caught:
            read(text, "m.yaml")
        assert advice in caught.value.problems[0].hint


def test_a_merge_key_is_an_ordinary_key() -> None:
    data, _, _ = read("a: &x {k: 1}\nb: {<<: *x}\n", "m.yaml")
    assert data["b"] == {"<<": {"k": 1}}


def test_resolve_keeps_numbers_that_no_machine_holds_as_text() -> None:
    assert document.resolve("9" * 5000) == "9" * 5000
    assert document.resolve("1e999") == "1e999"
