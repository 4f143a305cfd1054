"""Exploration: measures and tests are SciPy's, every oddity is named, and no column stops the report."""

from __future__ import annotations

import json
import math
import re
from datetime import date, datetime, timedelta
from html.parser import HTMLParser
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from scipy.stats.contingency import association
from sklearn.metrics import mutual_info_score

from charter.core.digest import canonical_json
from charter.core.errors import UsageError
from charter.data.eda.associations import associate, contingency, correlations, cramers_v, mutual_information
from charter.data.eda.explore import Whole, explore
from charter.data.eda.hypotheses import anova, chi_square, kolmogorov_smirnov, pearson, welch_t
from charter.data.eda.page import page
from charter.data.eda.prepare import mean_ranks, prepare
from charter.data.eda.types import Exploration
from charter.data.page import bars, moment
from charter.data.profile import profile

RNG = np.random.default_rng(4)
N = 2_000
X = RNG.normal(size=N)
Y = 0.6 * X + RNG.normal(size=N)
G = RNG.integers(0, 2, N)
H = RNG.integers(0, 4, N)


def words(found: Exploration, topic: str) -> list[str]:
    return [f.words for f in found.findings if f.topic == topic]


def test_correlations_are_those_of_scipy() -> None:
    ranks = [stats.rankdata(v) for v in (X, Y)]
    assert correlations([X, Y])[0, 1] == pytest.approx(stats.pearsonr(X, Y).statistic, abs=1e-12)
    assert correlations(ranks)[0, 1] == pytest.approx(stats.spearmanr(X, Y).statistic, abs=1e-12)


def test_correlations_are_pairwise_complete() -> None:
    x, y = X.copy(), Y.copy()
    x[:300], y[200:700] = np.nan, np.inf
    both = np.isfinite(x) & np.isfinite(y)
    found = correlations([x, y, np.ones(N), np.full(N, np.nan), 1e200 * X])
    assert found[0, 1] == pytest.approx(stats.pearsonr(x[both], y[both]).statistic, abs=1e-9)
    assert np.isnan(found[2:4]).all()
    assert found[1, 4] == pytest.approx(
        stats.pearsonr(X[np.isfinite(y)], y[np.isfinite(y)]).statistic, abs=1e-9
    )
    assert correlations([]).shape == (0, 0)


def test_categories_and_information() -> None:
    table = contingency(G, (G + (RNG.random(N) < 0.3)).astype(np.int64) % 2)
    v = association(table.astype(int), method="cramer")
    assert cramers_v(table) == pytest.approx(v, abs=1e-3)  # the correction of the bias is small here
    assert cramers_v(contingency(G, H)) == pytest.approx(0, abs=0.05)
    assert mutual_information(contingency(G, H)) == pytest.approx(mutual_info_score(G, H), abs=1e-12)
    assert contingency(np.array([-1, 0, 1]), np.array([0, -1, 2])).tolist() == [[1.0]]
    assert cramers_v(np.zeros((0, 0))) is None


def test_information_sees_what_correlation_does_not() -> None:
    frame = pl.DataFrame({"x": X, "square": X**2, "noise": RNG.normal(size=N)})
    ready = [prepare(frame[c], "numeric") for c in frame.columns]
    found = {(p.a, p.b): p for p in associate(ready, None)}
    assert (found["x", "square"].information or 0) > 0.9
    assert abs(found["x", "square"].spearman or 0) < 0.1
    assert (found["x", "noise"].information or 0) < 0.15


def test_tests_are_those_of_scipy() -> None:
    a, b = X[G == 0], X[G == 1] + 0.2
    values = np.where(G == 1, X + 0.2, X)
    t = welch_t("x", values, G)
    expected = stats.ttest_ind(b, a, equal_var=False)
    assert (t.statistic, t.p_value) == (
        pytest.approx(expected.statistic),
        pytest.approx(expected.pvalue, rel=1e-9),
    )
    ks = kolmogorov_smirnov("x", values, G)
    assert ks.statistic == pytest.approx(stats.ks_2samp(a, b).statistic, abs=1e-12)
    assert ks.p_value == pytest.approx(stats.ks_2samp(a, b, method="asymp").pvalue, rel=0.1)
    f = anova("x", values, H)
    expected = stats.f_oneway(*[values[k == H] for k in range(4)])
    assert (f.statistic, f.p_value) == (
        pytest.approx(expected.statistic),
        pytest.approx(expected.pvalue, rel=1e-9),
    )
    table = contingency(G, H)
    c = chi_square("g", table)
    expected = stats.chi2_contingency(table, correction=False)
    assert (c.statistic, c.p_value) == (
        pytest.approx(expected.statistic),
        pytest.approx(expected.pvalue, rel=1e-9),
    )
    r = pearson("x", X, Y)
    expected = stats.pearsonr(X, Y)
    assert (r.effect, r.p_value) == (
        pytest.approx(expected.statistic),
        pytest.approx(expected.pvalue, rel=1e-6),
    )
    assert pearson("x", np.append(X, np.nan), np.append(2 * X, 1.0)).p_value == 0.0


def test_tests_of_nothing_are_undefined() -> None:
    empty, codes = np.full(5, np.nan), np.array([0, 0, 1, 1, 1])
    for found in (
        welch_t("x", empty, codes),
        kolmogorov_smirnov("x", empty, codes),
        anova("x", empty, codes),
    ):
        assert (found.statistic, found.p_value, found.effect) == (None, None, None)
    constant = welch_t("x", np.ones(5), codes)
    assert (constant.p_value, constant.effect) == (None, None)
    assert anova("x", np.ones(5), codes).p_value is None
    assert pearson("x", np.ones(5), np.arange(5.0)).p_value is None
    assert chi_square("s", np.ones((1, 3))).p_value is None


@given(st.lists(st.integers(-3, 3).map(float), max_size=30))
def test_ranks_are_those_of_scipy(values: list[float]) -> None:
    ordered = np.sort(np.array(values, dtype=np.float64))
    np.testing.assert_allclose(mean_ranks(ordered), stats.rankdata(ordered))


def odd() -> pl.DataFrame:
    """Columns of which each has something odd about it."""
    n = 600
    rng = np.random.default_rng(0)
    y = rng.random(n) < 0.03
    return pl.DataFrame(
        {
            "nothing": pl.Series([None] * n, dtype=pl.Null),
            "nan": [math.nan] * n,
            "constant": [7] * n,
            "infinite": [math.inf, -math.inf, *rng.normal(size=n - 2)],
            "huge": [1e308, -1e308, *rng.normal(size=n - 2)],
            "tail": rng.lognormal(0, 2.5, n),
            "id": list(range(n)),
            "almost_id": [*range(1, n), 1],
            "numbers_as_text": [str(i % 50) for i in range(n)],
            "dates_as_text": [f"2024-01-{1 + i % 28:02}" for i in range(n)],
            "blanks": [" a" if i % 2 else "a" for i in range(n)],
            "name": [f"<b>person</b> {i}" for i in range(n)],
            "missing": [None if i % 3 else float(i) for i in range(n)],
            "missing_too": [None if i % 3 else i for i in range(n)],
            "list": [[1]] * n,
            "struct": [{"a": 1}] * n,
            "binary": [b"x"] * n,
            "at": [datetime(2024, 1, 1) + timedelta(hours=6 * i + (720 if i > 300 else 0)) for i in range(n)],  # noqa: DTZ001
            "moved": [rng.normal() + (3 if i > 400 else 0) for i in range(n)],
            "took": [timedelta(seconds=i) for i in range(n)],
            "flag": rng.random(n) < 0.5,
            "y": y,
            "leak": np.where(y, 5.0, 0.0) + rng.normal(size=n) / 10,
            "y_again": np.where(y, "bad", "good"),
        },
        strict=False,
    )


@pytest.fixture(scope="module")
def explored() -> Exploration:
    return explore(odd(), target="y", time="at")


def test_each_oddity_is_named(explored: Exploration) -> None:
    told = "\n".join(f"{f.severity} {f.topic}: {f.words}" for f in explored.findings)
    for expected in (
        "problem missing: nothing has no value",
        "problem missing: nan has no value",
        "warning constant: constant has the same value",
        "warning infinite: infinite is infinite in 2 rows",
        "note key: id is different in every row",
        "warning key: almost_id looks like a key, but 1 rows repeat",
        "warning type: numbers_as_text holds numbers as text",
        "note type: dates_as_text holds dates as text",
        "note type: blanks has values with blanks",
        "warning missing: missing is missing in 400 rows (66.7%)",
        "note missing: missing, missing_too are missing in equally many rows (400)",
        "warning balance: The rarest class of y, true, has",
        "problem leakage: y_again repeats y",
        "warning leakage: leak tells y",
        "warning time: ",
        "warning drift: moved changes much over time",
        "note outliers: ",
        "note skew: ",
    ):
        assert expected in told, f"{expected}\n\n{told}"
    assert "drift: id " not in told, "a key is another in every window"
    assert set(explored.left_out) == {"list", "struct", "binary"}
    assert len(explored.columns) == odd().width - 3


def test_time_is_counted_with_its_gaps(explored: Exploration) -> None:
    assert explored.time is not None
    assert explored.time.unit == "week"
    assert sum(n for _, n in explored.time.periods) == 600
    assert explored.time.gaps
    assert explored.time.gaps[0][1] >= 3


def test_it_is_plain_data(explored: Exploration) -> None:
    data = json.loads(canonical_json(explored.to_json()))
    assert data["schema_version"] == 1
    assert data["profile"]["rows"] == 600
    assert data["target"]["kind"] == "binary"


class Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.open: list[str] = []
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.links += [v or "" for k, v in attrs if k in ("href", "src", "action", "xlink:href")]
        if tag != "meta":
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def read(html: str) -> Reader:
    reader = Reader()
    reader.feed(html)
    assert reader.open == []
    return reader


def test_the_page_stands_alone_and_escapes_everything(explored: Exploration) -> None:
    html = page(explored, "<script>alert(1)</script>.csv")
    reader = read(html)
    assert not {"script", "iframe", "img", "link", "object"} & set(reader.tags)
    assert all(link.startswith("#") for link in reader.links)
    assert not re.search(r"url\(|@import|https?://", html)
    assert "&lt;script&gt;alert(1)" in html
    evil = pl.DataFrame(
        {'"><script>x</script>': ["<img src=x>", "</style>", "a'\"", "a"], "v": [1.0, 2.0, 3.0, 4.0]}
    )
    assert "script" not in read(page(explore(evil), "t")).tags
    assert page(explored, "t") == page(explored, "t")


@pytest.mark.parametrize(
    "frame",
    [
        pl.DataFrame(),
        pl.DataFrame({"x": pl.Series([], dtype=pl.Float64), "s": pl.Series([], dtype=pl.String)}),
        pl.DataFrame({"x": [1.0]}),
        pl.DataFrame({"x": [None, None]}),
        pl.DataFrame({"at": [date(2024, 1, 1)] * 3, "x": [1, 2, 3]}),
        pl.DataFrame({"list": [[1], [2]]}),
        pl.DataFrame({"x": [1e308, -1e308, 5e-324, 0.0]}),
    ],
)
def test_tables_of_next_to_nothing(frame: pl.DataFrame) -> None:
    found = explore(frame)
    canonical_json(found.to_json())
    read(page(found, "t"))


VALUES = st.one_of(st.none(), st.floats(), st.integers(-3, 3).map(float))
TEXTS = st.one_of(st.none(), st.text(max_size=4), st.sampled_from(["1", "2024-01-01", " a"]))


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(VALUES, VALUES, TEXTS, st.sampled_from(["a", "b", "c", None])), max_size=12),
    st.booleans(),
)
def test_nothing_stops_the_report(rows: list[Any], binary: bool) -> None:
    schema = {"x": pl.Float64, "z": pl.Float64, "s": pl.String, "y": pl.String}
    frame = pl.DataFrame(rows, schema=schema, orient="row", strict=False)
    if binary:
        frame = frame.with_columns(pl.col("y") == "a")
    found = explore(frame, target="y")
    assert found.left_out == {}
    canonical_json(found.to_json())
    read(page(found, "t"))


def test_an_odd_column_costs_only_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    import charter.data.eda.explore as module

    whole = module.describe

    def describe(series: pl.Series, *rest: Any) -> Any:
        if series.name == "odd":
            raise ArithmeticError("no")
        return whole(series, *rest)

    monkeypatch.setattr(module, "describe", describe)
    found = explore(pl.DataFrame({"odd": [1, 2], "x": [1.0, 2.0]}))
    assert found.left_out == {"odd": "ArithmeticError: no"}
    assert [c.name for c in found.columns] == ["x"]
    assert "ArithmeticError" in page(found, "t")


def test_targets_of_each_kind() -> None:
    frame = pl.DataFrame({"x": X, "g": G, "h": [f"h{v}" for v in H], "y": Y})
    number = explore(frame, target="y")
    assert number.target is not None
    assert number.target.kind == "number"
    assert {(t.column, t.test) for t in number.tests if t.test != "shapiro-wilk"} == {
        ("x", "pearson"), ("g", "pearson"), ("h", "anova")}  # fmt: skip
    classes = explore(frame, target="h")
    assert classes.target is not None
    assert (classes.target.kind, len(classes.target.classes)) == ("classes", 4)
    assert {t.test for t in classes.tests} == {"anova", "shapiro-wilk"}
    binary = explore(frame, target="g")
    assert {(t.column, t.test) for t in binary.tests if t.column != "g"} >= {
        ("x", "welch t"), ("x", "kolmogorov-smirnov"), ("h", "chi-square")}  # fmt: skip
    one = explore(pl.DataFrame({"y": ["a"] * 30, "x": range(30)}), target="y")
    assert words(one, "balance") == ["y has one value only, a: there is nothing to predict."]
    some = explore(frame.with_columns(g=pl.when(pl.int_range(N) < 10).then(None).otherwise("g")), target="g")
    assert words(some, "balance")[0].startswith("10 rows have no g")


def test_false_discoveries_are_controlled_over_all_tests() -> None:
    rng = np.random.default_rng(0)
    noise = pl.DataFrame({**{f"x{i}": rng.normal(size=500) for i in range(60)}, "y": rng.integers(0, 2, 500)})
    found = explore(noise, target="y")
    called = [t for t in found.tests if t.test == "welch t" and t.q_value is not None and t.q_value <= 0.05]
    assert len(called) <= 1


def test_dates_in_text_are_read_when_named() -> None:
    frame = pl.DataFrame(
        {"at": [f"{1 + i % 12}/{1 + i % 28}/2024 10:30" for i in range(100)], "x": range(100)}
    )
    found = explore(frame, time="at")
    assert found.time is not None
    assert found.time.first == "2024-01-01 10:30"
    with pytest.raises(UsageError, match="no date or datetime can be read"):
        explore(frame, time="x")
    with pytest.raises(UsageError, match="no column 'z'"):
        explore(frame, target="z")


def test_some_rows_can_stand_for_all() -> None:
    frame = odd()
    whole = Whole(profile(frame), 5)
    found = explore(frame.gather_every(2), target="y", whole=whole)
    assert (found.rows, found.looked_at, found.duplicate_rows) == (600, 300, 5)
    assert "rest on 300 evenly spaced rows" in page(found, "t")


def test_what_some_rows_tell_is_not_said_of_all() -> None:
    n = 20_000
    frame = pl.DataFrame(
        {"flag": np.zeros(n, int), "id": range(n), "far": np.arange(n) % 10, "word": ["a"] * n}
    )
    frame[501, "flag"] = 1
    frame = frame.with_columns(far=pl.when(pl.col("id") % 400 == 0).then(10_000).otherwise("far"))

    def said(rows: pl.DataFrame) -> set[str]:
        return {f.words for f in explore(rows, whole=Whole(profile(frame), 0)).findings if f.topic != "skew"}

    where = "lie beyond three interquartile ranges of the quartiles."
    assert said(frame) >= {
        "id is different in every row: it may be a key, and is no feature.",
        f"50 values of far (0.2%) {where}",
        "word has the same value in all rows that have one.",
    }
    assert said(frame.gather_every(4)) >= {
        "id is different in each of 5,000 rows that were looked at: it may be a key, and is no feature.",
        f"50 of 5,000 values of far (1.0%) {where}",
        "word has the same value in all rows that have one.",
    }
    assert f"12 of 5,000 values of far (0.2%) {where}" in said(frame.tail(5000))
    assert not any(words.startswith("flag has the same") for words in said(frame.gather_every(4)))


def test_many_alike_findings_are_said_once() -> None:
    rng = np.random.default_rng(0)
    found = explore(pl.DataFrame({f"x{i}": rng.lognormal(0, 3, 400) for i in range(9)}))
    (skewed,) = [f for f in found.findings if f.topic == "skew"]
    assert len(skewed.columns) == 9
    assert skewed.words.startswith("9 columns have a long tail")


def test_pieces_of_charts() -> None:
    assert bars([]) == bars([0, 0]) == ""
    assert moment(1e18).endswith(" s")


@pytest.mark.parametrize(
    ("values", "last"),
    [([1, 0, 1], "1"), ([True, True, False], "true"), (["no", "yes", "yes"], "yes"), (["a", "a", "b"], "b")],
)
def test_of_two_classes_the_one_that_says_yes_is_the_one_that_is_told(values: list[Any], last: str) -> None:
    found = explore(pl.DataFrame({"y": values * 10}), target="y").target
    assert found is not None
    assert found.classes[-1][0] == last
