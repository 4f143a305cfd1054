"""A verification as other programs and people read it: JUnit XML for continuous integration, Markdown for a review."""

from __future__ import annotations

from xml.etree import ElementTree

from charter.core.decision import Check, Verdict
from charter.core.text import in_lines, in_markdown
from charter.govern.verification import CHECKS, Verification, headline


def junit(found: Verification) -> str:
    """Write JUnit XML: a suite for each check, a case for each requirement.

    What was not measured is an error, what was measured and not good enough a failure; a warning passes and is told in
    ``system-out``.
    """
    root = ElementTree.Element("testsuites", name=f"charter verify {found.model} {found.version}")
    counts = {"tests": 0, "failures": 0, "errors": 0}
    for one in found.checks:
        failed = sum(c.verdict is Verdict.FAIL for c in one.checks)
        unknown = sum(c.verdict is Verdict.UNKNOWN for c in one.checks)
        suite = ElementTree.SubElement(
            root,
            "testsuite",
            name=one.subject,
            tests=str(len(one.checks)),
            failures=str(failed),
            errors=str(unknown),
            time=f"{found.seconds.get(one.subject, 0.0):.3f}",
            timestamp=found.began[:19],
        )
        if one is found.checks[0]:
            listed = ElementTree.SubElement(suite, "properties")
            facts = {"package": found.package, "profile": found.profile, **found.machine}
            for name, value in facts.items():
                ElementTree.SubElement(listed, "property", name=name, value=_printable(value))
        for check in one.checks:
            _case(suite, one.subject, check)
        counts = {
            "tests": counts["tests"] + len(one.checks),
            "failures": counts["failures"] + failed,
            "errors": counts["errors"] + unknown,
        }
    for name, count in counts.items():
        root.set(name, str(count))
    ElementTree.indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ElementTree.tostring(root, encoding="unicode") + "\n"


def _case(suite: ElementTree.Element, subject: str, check: Check) -> None:
    case = ElementTree.SubElement(
        suite, "testcase", classname=f"charter.verify.{subject}", name=_printable(check.name)
    )
    said = f"{check.observed}, required {check.required}"
    if not check.verdict.allows:
        kind = "failure" if check.verdict is Verdict.FAIL else "error"
        ElementTree.SubElement(
            case, kind, message=_printable(said), type=check.verdict.value
        ).text = _printable("\n".join(part for part in (check.note, check.where) if part))
    else:
        note = f"\n{check.verdict.value}: {check.note}" if check.note else ""
        ElementTree.SubElement(case, "system-out").text = _printable(said + note)


def _printable(text: str) -> str:
    """Show what XML 1.0 cannot hold, and what a screen would obey."""
    return "".join("?" if c in "\ufffe\uffff" else c for c in in_lines(text))


def markdown(found: Verification) -> str:
    """Write the report for people: a table of the checks, then each with its requirements."""
    machine = ", ".join(f"{name} {value}" for name, value in found.machine.items())
    lines = [
        f"# Verification of {found.model} {found.version}",
        "",
        in_markdown(headline(found)),
        "",
        f"Measured on: {in_markdown(machine) or 'not recorded'}. Report {found.digest}.",
        "",
        "| check | asks whether | verdict | met | seconds |",
        "|---|---|---|---|---|",
    ]
    for one in found.checks:
        met = sum(c.verdict.allows for c in one.checks)
        asks = CHECKS.get(one.subject, "")
        took = f"{found.seconds.get(one.subject, 0.0):.1f}"
        lines.append(
            f"| {one.subject} | {asks} | {one.verdict.value} | {met} of {len(one.checks)} | {took} |"
        )
    for one in found.checks:
        lines += ["", f"## {one.subject.capitalize()}: {one.verdict.value}", ""]
        lines += ["| requirement | observed | required | verdict | |", "|---|---|---|---|---|"]
        for check in one.checks:
            note = " ".join(part for part in (check.note, check.where) if part)
            cells = (check.name, check.observed, check.required, check.verdict.value, note)
            lines.append(f"| {' | '.join(map(in_markdown, cells))} |")
    return "\n".join(lines) + "\n"
