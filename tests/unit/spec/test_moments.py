"""Dates that follow the data."""

from __future__ import annotations

from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from charter.core.errors import DataError, SpecError
from charter.spec.loader import Loaded, loads
from charter.spec.moments import cutoff_dates, fixed, moving, resolve
from charter.spec.types import Cutoffs, Split

TEXT = """\
spec_version: 1
name: tiny
summary: Small
owner: {team: t, contact: t@example.org}
purpose: {problem: p, objective: o, decision: d, users: [u], today: {process: none}}
data:
  sources:
    orders:
      uri: orders.csv
      time: at
      columns: {client: {type: integer}, at: {type: datetime}}
  observations:
    entity: client
    cutoffs: {first: 2010-06-01, last: latest - 90d, every: month}
    population: {source: orders, over: 180d}
  label: {source: orders, over_next: 90d, positive_when: "COUNT(*) = 0"}
features: {windows: {orders: {source: orders, aggregate: "COUNT(*)", over: [30d]}}}
train:
  task: binary
  split: {kind: time, train_until: latest - 283d, test_from: latest - 191d, test_until: latest - 90d, folds: 4}
  learners: [logistic_regression]
"""


def loaded(old: str = "", new: str = "") -> Loaded:
    assert old in TEXT
    return loads(TEXT.replace(old, new) if old else TEXT)


def days(spec) -> tuple[str, ...]:
    split = spec.train.split
    cutoffs = spec.data.observations.cutoffs
    return tuple(
        map(str, (cutoffs.first, cutoffs.last, split.train_until, split.test_from, split.test_until))
    )


def test_days_are_cut_offs_and_move_when_one_comes():
    spec = loaded().spec
    assert [path[-1] for path in moving(spec)] == ["last", "train_until", "test_from", "test_until"]
    assert days(resolve(spec, date(2011, 12, 9))) == (
        "2010-06-01", "2011-09-01", "2011-03-01", "2011-06-01", "2011-09-01",
    )  # fmt: skip
    assert days(resolve(spec, date(2011, 12, 20))) == days(resolve(spec, date(2011, 12, 10)))
    assert days(resolve(spec, date(2012, 1, 9)))[1] == "2011-10-01"
    assert not moving(resolve(spec, date(2011, 12, 9)))


def test_what_is_no_moving_date_stays():
    spec = loads(TEXT.replace("latest - 90d", "2011-09-01").replace("latest - 283d", "2011-03-01")
                 .replace("latest - 191d", "2011-06-01")).spec  # fmt: skip
    assert moving(spec) == ()
    assert resolve(spec, date(2030, 1, 1)) == spec


def test_the_beginning_can_move_too():
    spec = loaded("first: 2010-06-01", "first: latest - 600d").spec
    assert days(resolve(spec, date(2011, 12, 9)))[0] == "2010-04-01"


@given(st.dates(date(2000, 1, 1), date(2090, 1, 1)))
def test_a_label_is_known_whatever_the_day(latest):
    found = resolve(loaded().spec.model_copy(deep=True), latest) if latest > date(2012, 1, 1) else None
    if found is not None:
        split = found.train.split
        assert (fixed(split.test_from) - fixed(split.train_until)).days >= 90
        assert (latest - fixed(found.data.observations.cutoffs.last)).days >= 90


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("latest - 283d", "latest - 280d", "known only 90d later"),
        ("latest - 283d", "latest - 100d", "'test_from' must be later than 'train_until'"),
        ("last: latest - 90d", "last: latest - 90", "latest - 90d"),
        ("last: latest - 90d", "last: latest + 90d", "is no moment"),
        ("last: latest - 90d", "last: 2011-13-01", "date"),
        ("first: 2010-06-01", "first: yesterday", "date"),
    ],
)
def test_faults_are_told(old, new, said):
    with pytest.raises(SpecError) as refused:
        loaded(old, new)
    assert said in str(refused.value)


def test_data_too_short_for_the_dates_is_told():
    with pytest.raises(DataError, match="do not fit together"):
        resolve(
            loaded("train_until: latest - 283d", "train_from: 2011-01-01, train_until: latest - 283d").spec,
            date(2011, 3, 1),
        )


def test_one_way_of_writing():
    assert Cutoffs(first="latest-2w", last="latest").first == "latest - 14d"
    with pytest.raises(ValidationError):
        Split(kind="random", test=0.2, train_from="latest")


def test_the_day_of_the_month_is_kept():
    found = [str(d) for d in cutoff_dates(date(2011, 1, 31), date(2011, 7, 1), "quarter")]
    assert found == ["2011-01-31", "2011-04-30"]
