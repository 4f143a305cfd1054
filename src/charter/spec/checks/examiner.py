"""What the checks share: the specification, the names that exist, and the faults found so far."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from charter.core.nearest import did_you_mean
from charter.spec.checks.kinds import OF_TYPE, WORDS, kind_of, need_condition
from charter.spec.document import Path
from charter.spec.expression import ExpressionError, Parsed, parse
from charter.spec.faults import Fault
from charter.spec.functions import Kind
from charter.spec.types import ModelSpec, SourceSpec


class Examiner:
    """Collects faults.

    Parameters
    ----------
    names_known
        False where a part of the specification was left out: then a name that is not found is no fault.
    """

    def __init__(self, spec: ModelSpec, *, names_known: bool = True) -> None:
        self.spec = spec
        self.names_known = names_known
        self.faults: list[Fault] = []

    def fault(self, path: Path, message: str, hint: str = "", *, at_key: bool = False) -> None:
        """Note a fault of the value (or the key) at ``path``; what the path names last need not be said again."""
        message = message.removeprefix(f"{path[-1]} ") if path else message
        self.faults.append(Fault(path, message, hint, at_key=at_key))

    def parsed(self, path: Path, text: str) -> Parsed | None:
        """Read an expression; note the fault where it cannot be read."""
        try:
            return parse(text)
        except ExpressionError as error:
            self._inside(path, text, error)
            return None

    def _inside(self, path: Path, text: str, error: ExpressionError) -> None:
        offset = min(error.position, max(len(text.rstrip()) - 1, 0))
        width = min(error.width, len(text) - offset)
        self.faults.append(Fault(path, error.message, error.hint, text=text, offset=offset, width=width))

    def expression(
        self,
        path: Path,
        text: str,
        columns: Mapping[str, Kind],
        *,
        nowhere: str,
        wants: Kind = "any",
        aggregate: bool = False,
        forbidden: Mapping[str, str] | None = None,
    ) -> Kind:
        """Check one expression and tell the kind of its value.

        Parameters
        ----------
        columns
            What it may name.
        nowhere
            Why another name is wrong: "which no source has".
        wants
            ``truth`` for conditions, ``number`` for numbers; ``any`` for both and text.
        aggregate
            Whether it must aggregate rows; else it must not.
        forbidden
            Names that exist but must not be used here, each with the reason.
        """
        parsed = self.parsed(path, text)
        if parsed is None:
            return "any"
        fine = True
        for reference in parsed.columns:
            reason = (forbidden or {}).get(reference.name)
            if reason is not None:
                message, hint = f"uses {reference.name}, {reason}", ""
            elif reference.name not in columns and self.names_known:
                message, hint = f"uses {reference.name}, {nowhere}", did_you_mean(reference.name, columns)
            else:
                continue
            fine = False
            self._inside(path, text, ExpressionError(message, reference.position, hint, reference.width))
        if aggregate != parsed.aggregates:
            fine = False
            if aggregate:
                self.fault(path, "does not aggregate", "write for example SUM(x), COUNT(*) or MIN(age_days)")
            else:
                self.fault(
                    path,
                    "aggregates over rows, but stands for one row",
                    "aggregates belong to features.windows",
                )
        if not fine:
            return "any"
        try:
            kind = kind_of(parsed.root, columns)
            if wants == "truth":
                need_condition(parsed.root, kind)
        except ExpressionError as error:
            self._inside(path, text, error)
            return "any"
        if wants == "number" and kind not in ("number", "truth", "any"):
            self.fault(path, f"is {WORDS[kind]}, a number is needed")
        return kind

    def known(
        self, path: Path, name: str, options: Iterable[str], what: str, *, at_key: bool = False
    ) -> bool:
        """Note a fault unless ``name`` is one of ``options``."""
        options = list(options)
        if name in options or not self.names_known:
            return name in options
        self.fault(path, f"{name} {what}", did_you_mean(name, options), at_key=at_key)
        return False

    def source(self, path: Path, name: str | None) -> SourceSpec | None:
        """The source of that name, or None after noting that there is none."""
        if name is None:
            return None
        if not self.known(path, name, self.spec.data.sources, "is not a source"):
            return None
        return self.spec.data.sources[name]


def source_kinds(source: SourceSpec) -> dict[str, Kind]:
    """Columns of a prepared source, declared and derived, with their kinds."""
    kinds: dict[str, Kind] = {name: OF_TYPE[column.type] for name, column in source.columns.items()}
    for name, text in source.derive.items():
        kinds[name] = _quiet_kind(text, kinds)
    return kinds


def _quiet_kind(text: str, kinds: Mapping[str, Kind]) -> Kind:
    """Kind of an expression whose faults are told elsewhere."""
    try:
        return kind_of(parse(text).root, kinds)
    except ExpressionError:
        return "any"
