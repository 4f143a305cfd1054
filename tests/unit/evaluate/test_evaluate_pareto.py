"""What no other beats."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from charter.evaluate.pareto import pareto_front

POINTS = st.dictionaries(st.text(max_size=3), st.tuples(*[st.integers(0, 4)] * 3), min_size=1, max_size=8)


def test_both_of_two_alike_stay_and_what_is_worse_in_one_goes() -> None:
    found = pareto_front({"a": (1, 2), "b": (1, 2), "c": (1, 3), "d": (0, 9)})
    assert found == ("a", "b", "d")


@given(POINTS)
def test_whoever_is_left_out_is_beaten_by_one_of_the_front(points: dict[str, tuple[int, ...]]) -> None:
    front = pareto_front(points)
    assert front
    for name, own in points.items():
        beaten = any(
            points[f] != own and all(a <= b for a, b in zip(points[f], own, strict=True)) for f in front
        )
        assert beaten == (name not in front)
