"""Signs that a model would learn from what it cannot know: leaks between rows, from the label, and from the future."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

import numpy as np
import polars as pl

from charter.core.decision import Check, Decision, Verdict

SUSPICIOUS_AUC = 0.98
_ALIKE_SHARE = 0.01


def find_leaks(
    train: pl.DataFrame,
    test: pl.DataFrame,
    label: str,
    features: Sequence[str],
    *,
    row: str = "__row",
    as_of: str = "as_of",
    known_after: timedelta | None = None,
) -> Decision:
    """Look for leaks between training and test rows.

    Parameters
    ----------
    train, test
        Rows with the label, the features and, where there are, the row id and the moment of observation.
    features
        Columns that the model sees.
    known_after
        For a time split: how long after ``as_of`` a label is known. None skips that check.

    Returns
    -------
    Decision with a check each for: the same row on both sides (fails), test rows that look like a training row in
    every feature (warns above 1 %), the label among the features or a copy of it (fails), features that alone rank
    the test rows with an AUC above 0.98 or below 0.02 (warns), and training labels that become known only after the
    first test moment (fails). The AUC of a category ranks it by its share of positives in training.

    Examples
    --------
    >>> rows = pl.DataFrame({"y": [0, 1, 0, 1], "x": [1, 2, 3, 1], "copy": [5, 7, 5, 7]})
    >>> decision = find_leaks(rows, rows.with_columns(pl.col("x") + 10), "y", ["x", "copy"])
    >>> [check.name for check in decision.reasons]
    ['copy repeats the label']
    """
    checks = [_same_rows(train, test, row), _alike(train, test, features)]
    if label in features:
        checks.append(Check("label among the features", label, "not a feature", Verdict.FAIL))
    others = [f for f in features if f != label and f in train.columns]
    checks += find_telling(train, test, label, others)
    if known_after is not None and as_of in train.columns and as_of in test.columns:
        checks.append(_future(train[as_of], test[as_of], known_after))
    return Decision.of("leaks", checks)


def single_feature_auc(feature: pl.Series, y: pl.Series) -> float | None:
    """Area under the ROC curve of one numeric feature as the score, ties counted half.

    ``(sum of ranks of positives - P (P + 1) / 2) / (P N)`` with mean ranks (Mann-Whitney). Rows where the feature is
    missing are left out. None when a class is absent.
    """
    pair = pl.DataFrame({"x": feature.cast(pl.Float64), "y": y.cast(pl.Float64)}).drop_nulls().drop_nans()
    positives = int(pair["y"].sum())
    negatives = pair.height - positives
    if not positives or not negatives:
        return None
    ranks = float(np.sum(pair["x"].rank("average").to_numpy()[pair["y"].to_numpy() == 1]))
    return float((ranks - positives * (positives + 1) / 2) / (positives * negatives))


def _same_rows(train: pl.DataFrame, test: pl.DataFrame, row: str) -> Check:
    name = "same row on both sides"
    if row not in train.columns or row not in test.columns:
        return Check(name, "rows have no id", "none", Verdict.PASS)
    shared = test.join(train.select(row).unique(), on=row, how="semi").height
    return Check(name, f"{shared:,} rows", "none", Verdict.FAIL if shared else Verdict.PASS)


def _alike(train: pl.DataFrame, test: pl.DataFrame, features: Sequence[str]) -> Check:
    columns = [f for f in features if f in train.columns and f in test.columns]
    name = "test rows that equal a training row in every feature"
    if not columns or not test.height:
        return Check(name, "nothing to compare", f"<= {_ALIKE_SHARE:.0%}", Verdict.PASS)
    alike = (
        test.select(columns)
        .join(train.select(columns).unique(), on=columns, how="semi", nulls_equal=True)
        .height
    )
    share = alike / test.height
    verdict = Verdict.WARN if share > _ALIKE_SHARE else Verdict.PASS
    note = "Split by group if they are the same thing seen twice" if verdict is Verdict.WARN else ""
    return Check(
        name, f"{alike:,} of {test.height:,} ({share:.1%})", f"<= {_ALIKE_SHARE:.0%}", verdict, note=note
    )


def find_telling(train: pl.DataFrame, test: pl.DataFrame, label: str, features: Sequence[str]) -> list[Check]:
    """Look for features that repeat the label (fails), or of a 0/1 label tell it almost alone (warns).

    Returns
    -------
    One check for each, or a single one that passes.
    """
    both = pl.concat([train.select(label, *features), test.select(label, *features)], how="vertical_relaxed")
    both = both.filter(pl.col(label).is_not_null())
    checks = [
        Check(f"{name} repeats the label", "one label per value and one value per label", "not a feature", Verdict.FAIL,
              note="Put it under features.exclude")
        for name in features
        if _copies(both, name, label)
    ]  # fmt: skip
    copies = {check.name.removesuffix(" repeats the label") for check in checks}
    classes = sorted(both[label].unique().to_list())
    if classes == [0, 1]:
        for name in features:
            area = None if name in copies else _area(train, test, name, label)
            if area is not None and not 1 - SUSPICIOUS_AUC <= area <= SUSPICIOUS_AUC:
                required = f"AUC alone between {1 - SUSPICIOUS_AUC:.2f} and {SUSPICIOUS_AUC}"
                note = "Was it known at the moment of the prediction? If not, exclude it"
                checks.append(
                    Check(f"{name} tells the label", f"AUC {area:.3f}", required, Verdict.WARN, note=note)
                )
    if not checks:
        checks.append(Check("features that tell the label", f"none of {len(features)}", "none", Verdict.PASS))
    return checks


def _copies(both: pl.DataFrame, name: str, label: str) -> bool:
    """Whether the feature and the label tell each other apart exactly.

    Of numbers that hardly repeat, one value of the one belongs to one of the other by itself: there a copy is what also
    rises, or falls, with the label from the first row to the last.
    """
    pairs = both.select(name, label).unique()
    if not pairs.height == pairs[name].n_unique() == pairs[label].n_unique() > 1:
        return False
    if 2 * pairs.height <= both.height:
        return True
    if not (pairs[name].dtype.is_numeric() or pairs[name].dtype.is_temporal()) or pairs[name].null_count():
        return False
    followed = pairs.sort(label)[name]
    return followed.is_sorted() or followed.is_sorted(descending=True)


def _area(train: pl.DataFrame, test: pl.DataFrame, name: str, label: str) -> float | None:
    feature = test[name]
    if not (feature.dtype.is_numeric() or feature.dtype == pl.Boolean):
        if feature.dtype.is_temporal():
            feature = feature.cast(pl.Datetime("us")).cast(pl.Int64)
        else:
            rates = train.group_by(name).agg(pl.col(label).cast(pl.Float64).mean().alias("rate"))
            prior = train[label].cast(pl.Float64).mean()
            joined = test.select(name).join(
                rates, on=name, how="left", nulls_equal=True, maintain_order="left"
            )
            feature = joined["rate"].fill_null(prior)
    return single_feature_auc(feature, test[label])


def _future(train: pl.Series, test: pl.Series, known_after: timedelta) -> Check:
    name = "training labels known before the first test moment"
    last, first = train.cast(pl.Datetime("us")).max(), test.cast(pl.Datetime("us")).min()
    if not isinstance(last, datetime) or not isinstance(first, datetime):
        return Check(name, "no moments", "known", Verdict.UNKNOWN)
    known = last + known_after
    verdict = Verdict.PASS if known <= first else Verdict.FAIL
    note = "" if verdict is Verdict.PASS else "Move train.split.test_from later, or train_until earlier"
    return Check(name, f"known {known:%Y-%m-%d}", f"by {first:%Y-%m-%d}", verdict, note=note)
