"""What a version sees in answers that another one gave."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from charter.data.profile import profile
from charter.flow.again import SecondLook
from charter.flow.windows import Reference, seen_again
from charter.monitor.report import _drift_measures
from charter.monitor.seen import Seen, drift_of
from charter.monitor.skew import find_skew
from charter.spec.types import DriftSpec


def answers(mean: float, n: int = 2000) -> pl.DataFrame:
    """As the log holds them, with the scores of a version that is gone."""
    rng = np.random.default_rng(5)
    return pl.DataFrame(
        {"input_a": rng.normal(mean, 1, n), "input_z": rng.normal(size=n), "score": rng.random(n)}
    )


def trained(again: object = "the log holds no inputs") -> Reference:
    rng = np.random.default_rng(6)
    seen = Seen(
        profile(pl.DataFrame({"a": rng.normal(size=3000), "made": rng.normal(size=3000)})),
        profile(pl.DataFrame({"score": rng.beta(2, 5, 3000)})),
    )
    return Reference(seen, (), again)  # type: ignore[arg-type]


class Answering:
    """A version that answers once more: it makes a feature, and scores of its own."""

    def look(self, rows: pl.DataFrame) -> SecondLook:
        rng = np.random.default_rng(7)
        made = pl.DataFrame({"made": rng.normal(size=rows.height)})
        scores = rng.beta(2, 5, rows.height)
        return SecondLook(find_skew(scores, scores), made, pl.DataFrame({"score": scores}), None)


def measures(year_ago: Seen, reference: Reference) -> dict[str, float]:
    limits = DriftSpec(persistence=1, also_against=("year_ago",))
    return _drift_measures(
        drift_of(reference.seen, reference.seen, limits, year_ago=year_ago)["year_ago"], "_year_ago"
    )


@pytest.mark.parametrize(("mean", "moved"), [(0.0, False), (1.0, True)])
def test_the_season_a_year_ago_is_counted_in_the_bins_of_the_version_that_serves(
    mean: float, moved: bool
) -> None:
    reference = trained(Answering())
    found = measures(seen_again(answers(mean), reference), reference)
    assert set(found) >= {"psi_year_ago(a)", "psi_year_ago(made)", "psi_year_ago(score)"}
    assert (found["psi_year_ago(a)"] > 0.2) is moved
    assert found["psi_year_ago(score)"] == found["psi_year_ago(made)"] == 0.0


def test_what_the_log_does_not_tell_is_no_zero() -> None:
    reference = trained()
    found = measures(seen_again(answers(0.0), reference), reference)
    assert "psi_year_ago(a)" in found
    assert {"psi_year_ago(score)", "psi_year_ago(made)"}.isdisjoint(found)
