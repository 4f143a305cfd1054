"""Which decisions a person looks at after the model has made them."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from charter.spec.types.words import Category, DurationText, Name, Part, Share, Slug


class ReviewSpec(Part):
    """Which answers wait for a person, who looks at them, and how soon.

    An answer that fits several lines waits once, with all its reasons.
    """

    bands: tuple[Name, ...] = ()
    """Bands of ``serve.bands`` of which every answer is looked at."""
    decisions: tuple[Category, ...] = ()
    """Decisions of which every one is looked at: ``positive``, ``negative``, or a class."""
    fallbacks: bool = False
    """Whether answers that the fallback gave are looked at."""
    disagreement: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    """Answers are looked at whose score differs by more than this between the version that answered and its shadow."""
    random: Share = 0.0
    """Share of all answers that are looked at as a spot check, chosen by a hash of their identifier. Only these tell
    how often a person would decide otherwise over all answers."""
    second: Share = 0.0
    """Share of the answers in the queue that two persons look at, each without the other; where they differ, a third
    decides."""
    role: Slug | None = None
    """Who may give a verdict; anybody who may write the records where nothing is said."""
    within: DurationText | None = None
    """How soon after the answer a verdict is due."""
    outcome: bool = False
    """Whether a reviewer's verdict tells what is true (what a picture shows) rather than what should be done: then
    verdicts count as outcomes, and the monitor measures quality on them."""
