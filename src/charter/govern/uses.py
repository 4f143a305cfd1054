"""What a forecast is used for, as its card tells it: sums, stock, and what must be known ahead for it to hold."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from charter.spec.types import ModelSpec

_METHODS = {
    "bottom_up": "the sums of the series' forecasts",
    "wls_struct": "MinTrace, by how many series a sum has",
    "wls_var": "MinTrace, by the variances of past errors",
    "mint_shrink": "MinTrace, by the shrunk covariance of past errors",
}


def uses(spec: ModelSpec, decisions: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Put together what was learned and measured of sums and orders; None where the model is no forecast.

    Parameters
    ----------
    decisions
        What the evaluation learned and measured: `charter.flow.decide.decide`.
    """
    observations = spec.data.observations
    if not observations.series:
        return None
    found, measured = decisions or {}, (decisions or {}).get("measured", {})
    levels, stock = found.get("levels"), measured.get("inventory")
    return {
        "series": list(observations.series),
        "every": observations.every,
        "horizon": observations.horizon,
        "known_ahead": list(observations.known_ahead),
        "notes": list(found.get("notes", ())),
        "levels": {
            "method": _METHODS.get(levels["method"], levels["method"]),
            "share": levels["share"],
            "rows": [
                {k: round(v, 4) if isinstance(v, float) else v for k, v in row.items()}
                for row in measured.get("levels", [])
            ],
        }
        if levels
        else None,
        "stock": {
            "currency": spec.inventory.currency,
            **{name: stock[name] for name in ("periods", "series", "service_level", "gain")},
            "policies": [
                {"name": name, **{k: stock[name][k] for k in ("in_stock", "lost", "markdown", "value")}}
                for name in ("forecast", "moving_average")
            ],
        }
        if stock and spec.inventory is not None
        else None,
    }
