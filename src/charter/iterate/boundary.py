"""How many standard errors an effect must be away from nothing, at one look or at any number of looks.

A fixed-horizon test is read once, at the size that was planned. Read every day, it finds something where there is
nothing more often with every look. A confidence sequence holds at all looks together, however many there are and
whenever one stops, and pays for that with a wider interval.
"""

from __future__ import annotations

import math

import numpy as np

from charter.evaluate.types import Floats

DEFAULT_PLANNED = 10_000
"""Units for which a sequence is narrowest where nothing was planned. It must not be chosen from the data."""


def fixed_boundary(alpha: float) -> float:
    """Two-sided normal quantile.

    Examples
    --------
    >>> round(fixed_boundary(0.05), 3)
    1.96
    """
    from scipy.special import ndtri

    return float(-ndtri(alpha / 2))


def mixture_weight(planned_units: float, alpha: float) -> float:
    """Weight rho^2 of the normal mixture that makes the sequence narrowest at ``planned_units``.

    Notes
    -----
    The width at n depends on ``k = n rho^2`` alone and is least where ``log(k + 1) - k + 2 log(1 / alpha) = 0``, thus
    ``k = -1 - W(-alpha^2 / e)`` on the lower branch of Lambert's function (Howard, Ramdas, McAuliffe and Sekhon, 2021;
    Waudby-Smith, Arbour, Sinha, Kennedy and Ramdas, 2024).
    """
    from scipy.special import lambertw

    k = -1 - float(np.real(lambertw(-(alpha**2) / math.e, -1)))
    return k / planned_units


def sequential_boundary(units: Floats | float, weight: float, alpha: float) -> Floats:
    """Boundary in standard errors of the difference, valid at every number of units at once.

    Parameters
    ----------
    units
        Units of all arms that are compared, a number or any shape.
    weight
        From `mixture_weight`.
    alpha
        Chance of ever leaving the sequence where nothing is there, two-sided.

    Notes
    -----
    ``sqrt(2 (k + 1) / k log(sqrt(k + 1) / alpha))`` with ``k = n rho^2``: Robbins' normal mixture (1970), whose
    supermartingale ``exp(k z^2 / (2 (k + 1))) / sqrt(k + 1)`` ever exceeds ``1 / alpha`` with chance alpha or less.
    With estimated variances it is asymptotic (Waudby-Smith et al., 2024): begin to look at some hundred
    units in each arm.

    Examples
    --------
    >>> round(float(sequential_boundary(10_000, mixture_weight(10_000, 0.05), 0.05)), 3)
    3.035
    """
    k = units * weight
    return np.asarray(np.sqrt(2 * (k + 1) / k * np.log(np.sqrt(k + 1) / alpha)), dtype=np.float64)


def sequential_p_value(z: float, units: float, weight: float) -> float:
    """Always-valid p-value of one look: the smallest alpha whose sequence excludes nothing (Johari et al., 2022)."""
    k = units * weight
    return float(min(1.0, math.exp(min(0.5 * math.log(k + 1) - k * z * z / (2 * (k + 1)), 0.0))))


def planned_boundary(alpha: float) -> float:
    """Boundary of a sequence at the very size it was planned for: what a design must overcome.

    Examples
    --------
    >>> round(planned_boundary(0.05), 3)
    3.035
    """
    return float(sequential_boundary(1.0, mixture_weight(1.0, alpha), alpha))
