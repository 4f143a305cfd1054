"""What contract checking measured, as frozen results."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import polars as pl

from charter.core.decision import Check, Decision, Verdict
from charter.spec.types import Policy

REASON = "__reason"
"""Column of a quarantine frame: the rules that the row broke, joined by ``; ``."""
ROW_NUMBER = "__row_number"
"""Column of a quarantine frame: the row's number in the source as read, from 1."""

_NOTES: Mapping[Policy, str] = {
    "fail": "",
    "quarantine": "These rows were set aside with the reason and take no part",
    "warn": "These rows were kept; where a value could not be read it counts as missing",
}


@dataclass(frozen=True, slots=True)
class Violation:
    """One rule of the contract, broken.

    Attributes
    ----------
    source, column
        Where; ``column`` is empty for a rule over several columns or over the table.
    rule
        In words, for example ``at least 10000``, ``not missing``, ``one of 1, 2``.
    policy
        What follows: ``fail``, ``quarantine`` or ``warn``.
    count
        Number of rows that break the rule; 1 for a rule over the table as a whole.
    examples
        Up to five, ``row 17: -3``; values of personal columns are not shown.
    path
        Keys of the rule within the specification's source, for example ``("columns", "AGE", "min")``.
    """

    source: str
    column: str
    rule: str
    policy: Policy
    count: int
    examples: tuple[str, ...] = ()
    path: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "source": self.source,
            "column": self.column,
            "rule": self.rule,
            "policy": self.policy,
            "count": self.count,
            "examples": list(self.examples),
            "path": list(self.path),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Violation:
        """Inverse of `to_json`."""
        return cls(**{**data, "examples": tuple(data["examples"]), "path": tuple(data["path"])})


@dataclass(frozen=True, slots=True)
class ContractReport:
    """What became of the rows of one source.

    ``rows_read = rows_kept + duplicates + filtered + quarantined``, where ``duplicates`` counts dropped lines.
    """

    source: str
    rows_read: int
    rows_kept: int
    duplicates: int
    filtered: int
    quarantined: int
    violations: tuple[Violation, ...] = ()

    def decision(self, where: Callable[[tuple[str, ...]], str] = lambda path: "") -> Decision:
        """Judge: a violation under policy ``fail`` fails, the others warn; nothing left to work with fails.

        Parameters
        ----------
        where
            Place in the specification of a path such as ``("data", "sources", "lines", "columns", "Price")``.
        """
        root = ("data", "sources", self.source)
        checks = [
            Check(
                name=f"{self.source}.{v.column}" if v.column else self.source,
                observed=f"{v.count:,} of {self.rows_read:,} rows"
                + (f" ({'; '.join(v.examples)})" if v.examples else ""),
                required=v.rule,
                verdict=Verdict.FAIL if v.policy == "fail" else Verdict.WARN,
                where=where((*root, *v.path)),
                note=_NOTES[v.policy],
            )
            for v in self.violations
        ]
        checks.append(
            Check(
                name=f"{self.source} rows kept",
                observed=f"{self.rows_kept:,} of {self.rows_read:,} rows",
                required=">= 1",
                verdict=Verdict.PASS if self.rows_kept else Verdict.FAIL,
                where=where(root),
                note=f"{self.duplicates:,} duplicate, {self.filtered:,} out of scope, {self.quarantined:,} quarantined",
            )
        )
        return Decision.of(f"contract of {self.source}", checks)

    def to_json(self) -> dict[str, Any]:
        """Plain data, with a schema version."""
        return {
            "schema_version": 1,
            "source": self.source,
            "rows_read": self.rows_read,
            "rows_kept": self.rows_kept,
            "duplicates": self.duplicates,
            "filtered": self.filtered,
            "quarantined": self.quarantined,
            "violations": [v.to_json() for v in self.violations],
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> ContractReport:
        """Inverse of `to_json`."""
        fields = {k: v for k, v in data.items() if k not in ("schema_version", "violations")}
        return cls(**fields, violations=tuple(Violation.from_json(v) for v in data["violations"]))


@dataclass(frozen=True, slots=True)
class Prepared:
    """A source after preparation.

    Attributes
    ----------
    frame
        Rows that keep the contract: the declared columns in the specification's order, then the derived ones.
    quarantine
        Rows set aside: the same columns, and `ROW_NUMBER` and `REASON`. A value that could not be read is null here;
        the report's examples show it as it stood.
    report
        Counts and violations.
    """

    frame: pl.DataFrame
    quarantine: pl.DataFrame
    report: ContractReport


@dataclass(frozen=True, slots=True)
class Judged:
    """A source after preparation whose rows stay where they are until they are asked for.

    Attributes
    ----------
    frame, quarantine, report
        As those of `Prepared`.
    """

    frame: pl.LazyFrame
    quarantine: pl.LazyFrame
    report: ContractReport

    def collect(self) -> Prepared:
        """Bring all rows into memory."""
        return Prepared(self.frame.collect(), self.quarantine.collect(), self.report)
