"""Write the field reference, ``fields.md``, from the types of the specification.

``make docs`` runs it; a test keeps the committed page equal to what it writes.
"""

from __future__ import annotations

import ast
import inspect
import re
import sys
from pathlib import Path
from typing import Any

from pydantic_core import PydanticUndefined

from charter.spec import types
from charter.spec.functions import AGGREGATE_FUNCTIONS, CAST_TYPES, EXTRACT_PARTS, ROW_FUNCTIONS
from charter.spec.measures import MEASURES
from charter.spec.shape import descriptions
from charter.spec.types import ModelSpec, Part
from charter.spec.vocabulary import METRICS

WORDS = {
    "str": "text",
    "Sentence": "text",
    "Column": "column",
    "Name": "name",
    "Slug": "slug",
    "Expression": "[expression](#expressions)",
    "RequirementText": "requirement",
    "EffectText": "change",
    "MeasureText": "measure",
    "AlertText": "[rule](monitoring.md#rules)",
    "Section": "section of the card",
    "GuardText": "[guard](rollout.md#guards)",
    "PatienceText": "duration",
    "Salt": "salt",
    "DurationText": "duration",
    "Pattern": "pattern of files",
    "PlaceText": "country or part of one",
    "WindowText": "duration or `all`",
    "VolumeText": "volume",
    "Category": "category",
    "Share": "number, 0 to 1",
    "Money": "money",
    "FiniteFloat": "number",
    "bool": "true or false",
    "int": "whole number",
    "float": "number",
    "date": "date",
    "Moment": "date, or `latest - 90d`",
    "Approve": "`six-stage`, `none` or [ApprovalPolicy](#approvalpolicy)",
}
PATTERNS = {"^[A-Z]{3}$": "three capital letters", r"^[A-Za-z_][A-Za-z0-9_]*\..+$": "`source.column`"}
_OF = {
    "column": "COLUMN",
    "metric": "METRIC",
    "estimate": "METRIC",
    "kpi": "FIGURE",
    "detector": "adwin",
    "block": "1-4",
    "baseline": "METHOD",
}
SIGNS = {"gt": ">", "ge": ">=", "lt": "<", "le": "<="}

HEAD = """# Field reference

This page is written from the types by `make docs`. Unknown keys are refused everywhere.
`charter check --expand` prints a specification with every default; `charter schema` gives editors the same as a JSON
Schema.

| word | means |
|---|---|
| name | letters, digits, underscores; at most 64; can stand in an expression |
| slug | lower-case words joined by hyphens |
| duration | `250ms`, `90s`, `5m`, `12h`, `30d`, `2w` |
| volume | `30000 per month` (day, week, month, year) |
| requirement | a comparison with a number: `">= 0.76"`, `"<= 0.03"`, `"> 0"`, `"< 100"` |
| change | of a metric, relative `+10%` or in its unit `-0.005` |
| measure | a column `converted`, a ratio of sums `clicks / views`, a quantile `p95(latency_ms)` |
| salt | letters, digits, `.`, `_`, `/`, `-`; at most 64 |
| money | a number in the currency of `value.currency`; costs are negative |
"""

EXPRESSIONS = """## Expressions

Expressions are a subset of SQL. They are parsed when the specification is checked, so that a wrong name is reported
with its place, and computed by Polars. Python never evaluates them.

Numbers, `'text'`, columns (`"in double quotes"` where the name is not a plain word), `+ - * / %`, comparisons, `AND`,
`OR`, `NOT`, `IN (...)`, `BETWEEN`, `IS [NOT] NULL`, `LIKE`, `CASE WHEN ... THEN ... ELSE ... END`, `CAST(x AS type)`,
`EXTRACT(part FROM time)` and the functions below. What has no value is missing: a division by zero gives null, never
infinity.
"""


def section(part: type[Part]) -> list[str]:
    """Return the lines of one type: what it is, and a table of its fields."""
    lines = [f"## {part.__name__}", "", *inspect.cleandoc(part.__doc__ or "").splitlines(), ""]
    lines += ["| field | is | default | meaning |", "|---|---|---|---|"]
    meanings = descriptions()
    for name, field in part.model_fields.items():
        kind = words(ast.parse(part.__annotations__[name], mode="eval").body)
        lines.append(
            f"| `{name}` | {kind} | {default(field)} | {cell(meanings.get((part.__name__, name), ''))} |"
        )
    return [*lines, ""]


def words(node: ast.expr) -> str:
    """Put an annotation into words."""
    match node:
        case ast.BinOp(left=left, right=ast.Constant(value=None)):
            return words(left)
        case ast.BinOp(left=left, right=right):
            return f"{words(left)} or {words(right)}"
        case ast.Subscript(value=ast.Name(id="tuple"), slice=ast.Tuple(elts=[one, *_])):
            return f"list of {words(one)}"
        case ast.Subscript(value=ast.Name(id="dict"), slice=ast.Tuple(elts=[key, value])):
            return f"mapping of {words(key)} to {words(value)}"
        case ast.Subscript(value=ast.Name(id="Literal"), slice=ast.Tuple(elts=values)):
            return ", ".join(f"`{ast.literal_eval(v)}`" for v in values)
        case ast.Subscript(value=ast.Name(id="Literal"), slice=ast.Constant(value=value)):
            return f"`{value}`"
        case ast.Subscript(value=ast.Name(id="Annotated"), slice=ast.Tuple(elts=[one, *limits])):
            bounds = [
                f"{SIGNS[k.arg]} {ast.unparse(k.value).replace('2 ** 31', '2^31').replace('_', '')}"
                for limit in limits
                if isinstance(limit, ast.Call)
                for k in limit.keywords
                if k.arg in SIGNS
            ]
            patterns = [
                str(ast.literal_eval(k.value))
                for limit in limits
                if isinstance(limit, ast.Call)
                for k in limit.keywords
                if k.arg == "pattern"
            ]
            found = PATTERNS[patterns[0]] if patterns else words(one)
            return ", ".join([found, *bounds])
        case ast.Name(id=name) if name in WORDS:
            return WORDS[name]
        case ast.Name(id=name):
            known = getattr(types, name)
            if inspect.isclass(known) and issubclass(known, Part):
                return f"[{name}](#{name.lower()})"
            return ", ".join(f"`{v}`" for v in known.__args__)
    raise TypeError(f"no words for {ast.unparse(node)}")


def default(field: Any) -> str:
    """Say what holds when the field is left out."""
    value = field.default
    if value is PydanticUndefined:
        return "required"
    if value is None or value in ((), {}) or isinstance(value, Part):
        return "six stages" if getattr(value, "stages", ()) == types.SIX_STAGES else ""
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


def cell(text: str) -> str:
    """Make a docstring fit a table cell."""
    return re.sub(r"``(.+?)``", r"`\1`", " ".join(text.split())).replace("|", "\\|")


def reachable() -> list[type[Part]]:
    """Return the types in the order in which a reader of the file meets them."""
    found: list[type[Part]] = []

    def visit(part: type[Part]) -> None:
        if part in found:
            return
        found.append(part)
        for annotation in part.__annotations__.values():
            for name in re.findall(r"[A-Z]\w+", "ApprovalPolicy" if annotation == "Approve" else annotation):
                known = getattr(types, name, None)
                if inspect.isclass(known) and issubclass(known, Part):
                    visit(known)

    visit(ModelSpec)
    return found


def page() -> str:
    """Return the whole page."""
    lines = [*HEAD.splitlines(), ""]
    for part in reachable():
        lines += section(part)
    lines += [*EXPRESSIONS.splitlines(), "", "| function | takes | of one row or many |", "|---|---|---|"]
    for functions, scope in ((ROW_FUNCTIONS, "one row"), (AGGREGATE_FUNCTIONS, "many rows")):
        for name in sorted(functions):
            takes = functions[name].arity() + (", `DISTINCT`" if functions[name].distinct else "")
            lines.append(f"| `{name}` | {takes} | {scope} |")
    lines += ["", f"`CAST` knows {', '.join(f'`{n}`' for n in CAST_TYPES)}; "]
    lines += [f"`EXTRACT` knows {', '.join(f'`{n}`' for n in EXTRACT_PARTS)}.", "", "## Metrics", ""]
    lines += ["| metric | tasks | better | from | means |", "|---|---|---|---|---|"]
    for word in METRICS.values():
        tasks = ", ".join(sorted(word.tasks))
        lines.append(f"| `{word.name}` | {tasks} | {word.better} | {word.needs} | {cell(word.means)} |")
    lines += [
        "",
        "## Measures",
        "",
        "What the monitor keeps of a window, and a [rule](monitoring.md#rules) may name.",
    ]
    lines += [
        "Each metric of the task by its own name, and:",
        "",
        "| measure | tasks | means |",
        "|---|---|---|",
    ]
    for measure in MEASURES.values():
        name = measure.name if measure.of == "nothing" else f"{measure.name}({_OF[measure.of]})"
        lines.append(f"| `{name}` | {', '.join(sorted(measure.tasks)) or 'all'} | {cell(measure.means)} |")
    return "\n".join(line.rstrip() for line in lines).rstrip() + "\n"


if __name__ == "__main__":
    target = Path(__file__).with_suffix(".md")
    target.write_text(page(), encoding="utf-8")
    sys.stdout.write(f"{target.name}: {len(reachable())} types\n")
