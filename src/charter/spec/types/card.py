"""What only a person can say of a model: the written part of its model card."""

from __future__ import annotations

from typing import Literal

from charter.spec.types.words import Name, Part, Sentence

Section = Literal[
    "intended_use",
    "out_of_scope",
    "limitations",
    "tradeoffs",
    "ethics",
    "groups",
    "contacts",
    "update_schedule",
    "compliance",
    "licence",
    "references",
    "limits",
    "harms",
    "risks",
    "assumptions",
    "stakeholders",
]
"""Sections that a person writes: those of ``card``, of ``purpose``, and ``stakeholders``."""


class Concern(Part):
    """Something that may go wrong for people, and what is done about it."""

    concern: Sentence
    mitigation: Sentence | None = None


class GroupAtRisk(Part):
    """Who may be worse off than others, why, and what is done about it."""

    group: Sentence
    benefits: Sentence | None = None
    harms: Sentence | None = None
    mitigation: Sentence | None = None


class CardSpec(Part):
    """The written part of the model card. What is not written is shown as missing."""

    intended_use: tuple[Sentence, ...] = ()
    """What the model is for, one use a line."""
    out_of_scope: tuple[Sentence, ...] = ()
    """Uses that look near and are not meant."""
    limitations: tuple[Sentence, ...] = ()
    """Where the model is known to be wrong or weak."""
    tradeoffs: tuple[Sentence, ...] = ()
    """What was given up for what, such as recall for fewer calls."""
    ethics: tuple[Concern, ...] = ()
    groups: tuple[GroupAtRisk, ...] = ()
    """Groups of people that may be disadvantaged."""
    contacts: dict[Name, Sentence] = {}
    """Beside the owner: for what to write to whom, ``{appeals: appeals@example.org}``."""
    update_schedule: Sentence | None = None
    """When the model is looked at and trained anew, in words."""
    compliance: tuple[Sentence, ...] = ()
    """Laws and policies that apply, and how they are met."""
    licence: Sentence | None = None
    references: tuple[Sentence, ...] = ()
    """Papers, policies, tickets."""
    required: tuple[Section, ...] = ()
    """Sections without which the model does not pass its gate."""
