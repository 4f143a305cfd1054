"""Train/serve skew: the same rows, computed for training and by the server, must give the same features. Pure."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from charter.core.decision import Check, Decision, Verdict
from charter.core.errors import UsageError

_EXAMPLES = 3


def find_skew(
    offline: pl.DataFrame,
    online: pl.DataFrame,
    key: Sequence[str],
    *,
    tolerance: float = 1e-6,
    allowed_share: float = 0.0,
) -> Decision:
    """Compare features of the same rows, row by row.

    Distributions that agree may still hide a feature that is wrong for each row; this does not.

    Parameters
    ----------
    offline, online
        Features as training computes them and as the server did, with the columns of ``key``. Rows that only one side
        has are counted.
    tolerance
        Relative difference up to which two numbers are equal: the server computes in float32.
    allowed_share
        Share of rows that may differ in a feature.

    Raises
    ------
    UsageError
        When a key column is missing, or identifies no row.

    Examples
    --------
    >>> a = pl.DataFrame({"id": [1, 2, 3], "x": [1.0, 2.0, None]})
    >>> b = pl.DataFrame({"id": [1, 2, 4], "x": [1.0, 2.5, 0.0]})
    >>> [(c.name, c.observed, c.verdict.value) for c in find_skew(a, b, ["id"]).checks]
    [('rows on both sides', '2 of 4', 'warn'), ('skew of x', '1 of 2 rows differ', 'fail')]
    """
    for column in key:
        if column not in offline.columns or column not in online.columns:
            raise UsageError(
                f"the key column {column!r} is not on both sides", remedy="Name columns that both have."
            )
    for name, side in (("offline", offline), ("online", online)):
        if side.select(pl.struct(key).is_duplicated().any()).item():
            raise UsageError(
                f"{', '.join(key)} does not identify the {name} rows", remedy="Name further key columns."
            )
    both = offline.join(online, on=list(key), how="inner", suffix="__online", nulls_equal=True)
    every = offline.height + online.height - both.height
    complete = Verdict.PASS if both.height == every else Verdict.WARN
    checks = [Check("rows on both sides", f"{both.height:,} of {every:,}", "all", complete)]
    for name in offline.columns:
        if name in key:
            continue
        if name not in online.columns:
            checks.append(Check(f"skew of {name}", "the server does not compute it", "there", Verdict.FAIL))
            continue
        differs = both.filter(_differ(both, name, tolerance))
        share = differs.height / both.height if both.height else 0.0
        verdict = (
            Verdict.UNKNOWN if not both.height else Verdict.FAIL if share > allowed_share else Verdict.PASS
        )
        shown = differs.head(_EXAMPLES).select(name, f"{name}__online").rows()
        note = "; ".join(f"{a} offline, {b} online" for a, b in shown)
        observed = f"{differs.height:,} of {both.height:,} rows differ"
        checks.append(
            Check(f"skew of {name}", observed, f"<= {allowed_share:.1%} of the rows", verdict, note=note)
        )
    return Decision.of("train/serve skew", checks)


def _differ(both: pl.DataFrame, name: str, tolerance: float) -> pl.Expr:
    a, b = pl.col(name), pl.col(f"{name}__online")
    numeric = all(
        d.is_numeric() or d == pl.Boolean for d in (both.schema[name], both.schema[f"{name}__online"])
    )
    if not numeric:
        return a.cast(pl.String).ne_missing(b.cast(pl.String))
    x, y = a.cast(pl.Float64).fill_nan(None), b.cast(pl.Float64).fill_nan(None)
    larger = pl.max_horizontal(x.abs(), y.abs(), pl.lit(1e-12))
    return (x.is_null() != y.is_null()) | ((x != y) & ((x - y).abs() > tolerance * larger)).fill_null(False)
