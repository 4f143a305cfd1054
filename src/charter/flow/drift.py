"""Comparing two tables or profiles that somebody names."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from charter.core.errors import UsageError
from charter.core.progress import NoProgress, Progress

if TYPE_CHECKING:
    import polars as pl

    from charter.data.profile import Profile
    from charter.monitor.drift_types import DriftReport, Measured, Role
    from charter.spec.types import DriftSpec

SEED = 0
_PREDICTIONS = "score"


def compare_files(
    reference: str,
    current: str,
    *,
    limits: DriftSpec,
    exact: bool = False,
    classifier: bool = True,
    progress: Progress | None = None,
) -> tuple[DriftReport, Profile, Profile]:
    """Compare two tables, two profiles, or a table with a profile.

    Parameters
    ----------
    reference, current
        A table (CSV, Parquet, JSON Lines, Arrow), a profile (JSON), or a package's folder. ``FILE#NAME`` names one of
        several profiles of a file: a source of a snapshot, or ``features`` or ``score`` of a package.
    exact
        Measure distances from the values, which needs two tables that fit into memory.
    classifier
        Of two tables, train a classifier that tells them apart.

    Returns
    -------
    The report, and the profiles that it rests on.

    Raises
    ------
    UsageError
        When a file is not there, or ``exact`` is asked for a profile.
    """
    from charter.monitor.compare import compare
    from charter.monitor.domain import MAX_ROWS, domain_shift
    from charter.monitor.drift import judge_drift
    from charter.monitor.exact import compare_values

    tell = progress or NoProgress()
    tell.start("comparing")
    a, b = _Side(reference), _Side(current)
    if exact and not (a.is_table and b.is_table):
        raise UsageError(
            "a profile does not hold the values that exact distances need", remedy="Leave out --exact."
        )
    before = a.profile()
    after = b.profile(before)
    shared = [n for n in before.columns if n in after.columns]
    if not shared:
        raise UsageError(
            f"{reference} and {current} have no column in common",
            remedy="Compare tables of the same columns.",
        )
    measured: tuple[Measured, ...]
    if exact:
        measured = compare_values(a.table(), b.table(), ignore=limits.ignore)
    else:
        measured = compare(before, after, role=a.role, ignore=limits.ignore)
    tell.finish()
    further = []
    if classifier and a.is_table and b.is_table:
        tell.start("telling the rows apart")
        shift = domain_shift(a.rows(MAX_ROWS), b.rows(MAX_ROWS), seed=SEED, ignore=limits.ignore)
        further.append(shift.check(limits.domain_auc))
        tell.finish()
    new = [n for n in b.names() if n not in before.columns]
    remarks = [f"not in the reference, and so not compared: {', '.join(new)}"] if new else []
    once = limits.model_copy(update={"persistence": 1})
    return judge_drift([measured], once, further=further, remarks=remarks), before, after


def profile_like(path: str, reference: str) -> Profile:
    """Profile a table in the bins of another, of a profile or of a package, so that the two can be compared later.

    Raises
    ------
    UsageError
        When a file is not there, or ``path`` is no table.
    """
    side = _Side(path)
    if not side.is_table:
        raise UsageError(
            f"{path} is a profile already, and its bins stay what they are", remedy="Name a table."
        )
    return side.profile(_Side(reference).profile())


def write_drift_page(
    report: DriftReport, reference: Profile, current: Profile, *, names: tuple[str, str], to: Path
) -> None:
    """Write the report as a self-contained page."""
    from charter.core.io.files import write_atomic
    from charter.monitor.drift_page import drift_page

    write_atomic(to, drift_page(report, reference, current, names=names).encode())


class _Side:
    """A table or a profile; read when it is needed, and once."""

    def __init__(self, address: str) -> None:
        from charter.data.io.tables import read_profiles

        name, _, part = address.partition("#") if not Path(address).exists() else (address, "", "")
        self.path, self.part = Path(name), part
        self._profiles = read_profiles(self.path)
        self._table: pl.DataFrame | None = None

    @property
    def is_table(self) -> bool:
        """Whether it has rows."""
        return self._profiles is None

    @property
    def role(self) -> Role:
        """What its columns are."""
        return "prediction" if self.part == _PREDICTIONS else "feature"

    def names(self) -> list[str]:
        """Names of the columns that can be compared."""
        from charter.data.io.tables import column_names, is_parquet
        from charter.data.profile import describable

        if self._profiles is not None:
            return list(self.profile().columns)
        if is_parquet(self.path):
            return column_names(self.path)
        return [n for n, dtype in self.table().schema.items() if describable(dtype)]

    def table(self) -> pl.DataFrame:
        """All rows."""
        from charter.data.io.tables import read_table

        if self._table is None:
            self._table = read_table(self.path)
        return self._table

    def rows(self, most: int) -> pl.DataFrame:
        """At most so many evenly spaced rows."""
        from charter.data.io.tables import spaced_rows

        if self._table is None:
            return spaced_rows(self.path, most)
        return self._table.gather_every(max(1, -(-self._table.height // most)))

    def profile(self, reference: Profile | None = None) -> Profile:
        """The profile, in the bins of the reference where there is one."""
        from charter.data.io.tables import is_parquet, profile_file
        from charter.data.profile import profile

        if self._profiles is None and is_parquet(self.path) and self._table is None:
            return profile_file(self.path, reference)
        if self._profiles is None:
            return profile(self.table(), reference)
        names = list(self._profiles)
        name = self.part or ("features" if "features" in names else names[0])
        if name not in self._profiles or (not self.part and len(names) > 1 and name != "features"):
            raise UsageError(
                f"{self.path} holds profiles of {', '.join(names)}",
                remedy=f"Name one: {self.path}#{names[0]}.",
            )
        return self._profiles[name]
