"""What is worth choosing from, where several things are wanted at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence


def pareto_front(costs: Mapping[str, Sequence[float]]) -> tuple[str, ...]:
    """Name those that no other beats: at least as good in everything, and better in something.

    Parameters
    ----------
    costs
        Name to what it costs, each the less the better, all in one order; finite. What is wanted high comes negated.

    Returns
    -------
    The names, as they came. Of two alike both stay.

    Raises
    ------
    ValueError
        Where one has more costs than another.

    References
    ----------
    V. Pareto (1906); the definition is that of M. Ehrgott, Multicriteria Optimization, 2nd ed. (2005), section 2.1.

    Examples
    --------
    >>> pareto_front({"small": (0.30, 2.0), "large": (0.25, 9.0), "slow": (0.30, 9.0)})
    ('small', 'large')
    """
    return tuple(
        name
        for name, own in costs.items()
        if not any(_beats(other, own) for rival, other in costs.items() if rival != name)
    )


def _beats(other: Sequence[float], own: Sequence[float]) -> bool:
    pairs = list(zip(other, own, strict=True))
    return all(a <= b for a, b in pairs) and any(a < b for a, b in pairs)
