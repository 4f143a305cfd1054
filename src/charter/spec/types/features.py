"""What the model sees."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from charter.spec.types.words import Column, Expression, Name, Part, Sentence, WindowText


class WindowSpec(Part):
    """An aggregate of an entity's past events, one feature per window: ``<name>_<window>``."""

    source: Name
    aggregate: Expression
    """Over the events of the window; ``age_days`` is the age of an event in days at the moment of observation."""
    over: tuple[WindowText, ...] = Field(min_length=1)
    where: Expression | None = None
    default: float | None = None
    """Value where the entity has no event in the window; None means missing."""
    description: Sentence | None = None


Encoding = Literal["numeric", "one_hot", "ordinal", "target", "hashing", "drop"]


class SelectSpec(Part):
    """Which features are left out, decided on training folds only."""

    drop_correlated_above: Annotated[float, Field(gt=0, le=1)] | None = None
    """Of each pair whose absolute Spearman correlation is higher, the one less related to the label is dropped."""
    top: Annotated[int, Field(ge=1)] | None = None
    """Keep the so many most important."""


class FeatureSpec(Part):
    """What the model sees."""

    rows: dict[Name, Expression] = {}
    """New features from the columns and windows of the same observation."""
    windows: dict[Name, WindowSpec] = {}
    exclude: tuple[Column, ...] = ()
    """Columns of the observation that the model must not see. Keys, times and the label never are features."""
    encode: dict[Column, Encoding] = {}
    """Default: numbers as they are, categories one-hot up to 32 values and target-encoded above."""
    scale: Literal["none", "standard"] = "none"
    """Linear learners scale by themselves."""
    impute: Literal["none", "median"] = "none"
    """Learners that cannot read missing values impute by themselves."""
    select: SelectSpec = SelectSpec()
