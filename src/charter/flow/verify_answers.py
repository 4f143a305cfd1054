"""The checks of what a version answers: re-validation, explanation, governance, data quality."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from charter.core.decision import Check, Decision, Verdict
from charter.core.digest import plain
from charter.flow.judge import actual, scores
from charter.flow.verify_subject import Subject
from charter.flow.views import with_lines
from charter.serve.contract import predict_path

if TYPE_CHECKING:
    import numpy as np
    import polars as pl

    from charter.serve.io.client import Client
    from charter.serve.scorer import Scorer

CHUNK = 200
"""Rows of a request."""
SAME = 1e-9
"""Two figures are equal when they differ by no more than this, or this share of the larger."""
PARITY = 1e-12
"""A score that went through JSON and back is the same to the last bits."""
RESAMPLES = 100
"""Figures do not depend on the resamples, only their intervals do; few are enough here."""


@dataclass(slots=True)
class Answers:
    """What the server answered to held-out rows.

    Attributes
    ----------
    places
        Which of the held-out rows were asked, ascending.
    found
        Place to its answer.
    refused
        Place to why it was refused.
    """

    places: list[int]
    found: dict[int, dict[str, Any]] = field(default_factory=dict)
    refused: dict[int, str] = field(default_factory=dict)


def spread(total: int, count: int | None) -> list[int]:
    """Choose places spread evenly over all rows; None chooses all.

    Examples
    --------
    >>> spread(10, 4), spread(3, None), spread(2, 5)
    ([0, 2, 5, 7], [0, 1, 2], [0, 1])
    """
    if count is None or count >= total:
        return list(range(total))
    return [i * total // count for i in range(count)]


def ask(subject: Subject, client: Client, count: int | None) -> Answers:
    """Send held-out rows to the server under test, many to a request; those of a refused request again one by one."""
    answers = Answers(spread(subject.rows.height, count))
    path = predict_path(subject.model.name)
    wanted = subject.requests(subject.rows)[answers.places]
    for start in range(0, len(answers.places), CHUNK):
        part = wanted[start : start + CHUNK]
        places = answers.places[start : start + CHUNK]
        reply = client.ask("POST", path, part.write_json().encode())
        if reply.status == 200 and isinstance(reply.json, list):
            answers.found |= dict(zip(places, reply.json, strict=True))
            continue
        for at, place in enumerate(places):
            one = client.ask("POST", path, part[at : at + 1].write_json().encode())
            if one.status == 200 and isinstance(one.json, list):
                answers.found[place] = one.json[0]
            else:
                answers.refused[place] = f"{one.status} {_message(one.json)}"
    return answers


def _message(said: Any) -> str:
    error = said.get("error") if isinstance(said, dict) else None
    return str(error.get("message", ""))[:200] if isinstance(error, dict) else ""


# ---------------------------------------------------------------------------------------------------- re-validation
@dataclass(frozen=True, slots=True)
class Remeasured:
    """Quality of the version, measured anew.

    Attributes
    ----------
    largest
        Largest difference of a score between the server and the package's scorer in this process; None when no row was
        answered by the model.
    unanswered
        Rows that were asked and have no score.
    """

    evaluation: Mapping[str, Any]
    largest: float | None
    unanswered: int


def remeasure(subject: Subject, scorer: Scorer, answers: Answers) -> Remeasured:
    """Measure quality as `charter.flow.judge.evaluate` did, from what the server answered.

    Rows that were not sent are scored by the same package in this process, and sent rows say whether that is the same.
    """
    import numpy as np
    import polars as pl

    from charter.data.ratios import Bounds
    from charter.evaluate.evaluation import evaluate
    from charter.evaluate.report import Evaluation

    spec, rows = subject.spec, subject.rows
    classes = scorer.bundle.classes
    scored = scorer.score(rows, decide=False)
    own = scores(scored, spec.train.task)
    served = own.copy()
    known = {place: _score(answer, classes) for place, answer in answers.found.items()}
    for place, value in known.items():
        if value is not None:
            served[place] = value
    sent = [place for place, value in known.items() if value is not None]
    gap = float(np.max(np.abs(served[sent] - own[sent]))) if sent else None
    bounds = None
    if spec.train.task == "forecast":
        ends = [
            np.array([answers.found.get(i, {}).get(end, v) for i, v in enumerate(scored[end].to_list())])
            for end in ("lower", "upper")
        ]
        bounds = Bounds(ends[0], ends[1], spec.train.interval)
        label = pl.col(spec.data.label.name).cast(pl.Float64)
        rows = rows.with_columns(
            label.alias("actual"),
            pl.Series("forecast", served),
            pl.Series("lower", ends[0]),
            pl.Series("upper", ends[1]),
        )
    entity = "series" if spec.data.observations.series else spec.data.observations.entity
    few = spec.evaluate.model_copy(update={"resamples": RESAMPLES})
    found = evaluate(
        rows,
        actual(rows[spec.data.label.name], spec.train.task, classes),
        served,
        spec=spec.model_copy(update={"evaluate": few}),
        threshold=Evaluation.from_json(dict(subject.evaluation)).threshold,
        cluster=rows[entity].to_numpy() if entity is not None else None,
        classes=classes if spec.train.task == "multiclass" else (),
        bounds=bounds,
    )
    return Remeasured(plain(found.to_json()), gap, len(answers.places) - len(sent))


def _score(answer: Mapping[str, Any], classes: Sequence[str]) -> float | list[float] | None:
    """The model's numbers of one answer; None when something else answered."""
    if any(text.endswith(" answered") for text in answer["warnings"]):
        return None
    if (by_class := answer.get("scores")) is not None:
        return [by_class[name] for name in classes]
    score: float | None = answer["score"]
    return score


def revalidation(subject: Subject, answers: Answers, again: Remeasured) -> Decision:
    """Hold what was measured anew against what is recorded and what is required."""
    from charter.govern.gates import number, requirements

    sent, total = len(answers.places), subject.rows.height
    note = "" if sent == total else "the others were scored by the same package in this process"
    checks = [
        Check("held-out rows", f"{sent:,} of {total:,} sent to the server", ">= 1", _passed(sent > 0), note=note),
        Check(
            "rows without a score", f"{again.unanswered:,}", "0", _passed(again.unanswered == 0),
            note=next(iter(answers.refused.values()), ""),
        ),
        Check(
            "server and scorer agree",
            "not measured" if again.largest is None else f"{again.largest:.2g} apart at most",
            f"<= {PARITY:g}",
            Verdict.UNKNOWN if again.largest is None else _passed(again.largest <= PARITY),
        ),
        _rows(subject, again),
    ]  # fmt: skip
    for name, recorded in subject.evaluation["metrics"].items():
        then, now = recorded["value"], again.evaluation["metrics"].get(name, {}).get("value")
        shown = ["undefined" if v is None else number(v, more=1) for v in (now, then)]
        checks.append(Check(name, shown[0], f"{shown[1]} as recorded", _passed(_same(then, now))))
    checks += [_required(c) for c in requirements(again.evaluation, subject.spec, where=".".join)]
    return with_lines(Decision.of("re-validation", checks), subject.loaded.source)


def _rows(subject: Subject, again: Remeasured) -> Check:
    then, now = subject.evaluation["n"], again.evaluation["n"]
    return Check("rows judged", f"{now:,}", f"{then:,} as recorded", _passed(then == now))


def _required(check: Check) -> Check:
    return Check(
        f"{check.name} as required", check.observed, check.required, check.verdict, check.where, check.note
    )


def _same(one: float | None, other: float | None) -> bool:
    if one is None or other is None:
        return one is other
    return abs(one - other) <= SAME * max(1.0, abs(one), abs(other))


def _passed(met: bool) -> Verdict:
    return Verdict.PASS if met else Verdict.FAIL


# ------------------------------------------------------------------------------------------------------ explanation
def explanation(subject: Subject, client: Client, scorer: Scorer, count: int) -> Decision:
    """Ask for reasons twice: they must be there, the same, those of the scorer, and parts of a sum that is right."""
    declared = scorer.rules.reasons
    if not declared:
        check = Check("reasons", "none declared", "serve.reasons: 0", Verdict.PASS)
        return Decision.of("explanation", [check])
    places = spread(subject.rows.height, count)
    rows = subject.requests(subject.rows)[places]
    path, body = f"{predict_path(subject.model.name)}?explain=true", rows.write_json().encode()
    first, second = (client.ask("POST", path, body).json for _ in range(2))
    if not isinstance(first, list) or not isinstance(second, list):
        check = Check("reasons", "the server refused held-out rows", "reasons", Verdict.UNKNOWN)
        return Decision.of("explanation", [check])
    told = [answer["reasons"] for answer in first]
    own = json.loads(json.dumps([_plain(reasons) for reasons in scorer.run(rows, explain=True).reasons]))
    lacking = sum(not 0 < len(reasons) <= declared for reasons in told)
    wordless = sum(not reason["text"].strip() for reasons in told for reason in reasons)
    changed = sum(a != b["reasons"] for a, b in zip(told, second, strict=True))
    foreign = sum(a != b for a, b in zip(told, own, strict=True))
    checks = [
        _none("decisions without reasons", lacking, len(told), f"1 to {declared} for each decision"),
        _none("reasons without words", wordless, len(told)),
        _none("decisions whose reasons change when asked again", changed, len(told)),
        _none("decisions whose reasons are not those of the package", foreign, len(told)),
        sums(scorer, rows),
    ]
    return Decision.of("explanation", checks)


def _plain(reasons: Sequence[Any]) -> list[dict[str, Any]]:
    return [
        {"feature": r.feature, "value": r.value, "contribution": r.contribution, "text": r.text}
        for r in reasons
    ]


def _none(name: str, count: int, total: int, required: str = "none") -> Check:
    return Check(name, f"{count} of {total:,}", required, _passed(count == 0))


def sums(scorer: Scorer, rows: pl.DataFrame) -> Check:
    """Contributions must add up to the score: what is left over is the same constant for every row.

    With probabilities in log-odds (with several classes, log-odds against the first class), before calibration. A score
    is a float32, so that the log-odds of a probability *p* are known to about 1.2e-7 / (p (1 - p)).
    """
    import numpy as np

    from charter.serve.contributions import contributor
    from charter.serve.model import OnnxModel

    split = contributor(scorer.bundle.native)
    if split is None:
        return Check("sums", "the package cannot split its scores", "contributions add up", Verdict.FAIL)
    inputs = scorer.run(rows, decide=False).inputs
    assert inputs is not None
    X = scorer.numbers(inputs).X
    parts = split.contributions(np.ascontiguousarray(X)).sum(axis=2)
    raw = OnnxModel(scorer.bundle.model_onnx).predict(X)
    if scorer.bundle.task == "multiclass":
        logs = np.log(np.clip(raw, 1e-38, None))
        rest = (logs - logs[:, :1]) - (parts - parts[:, :1])
        fuzz = 2.4e-7 / np.clip(raw.min(axis=1), 1e-12, None)
    elif scorer.bundle.task == "binary":
        inside = np.clip(raw, 1e-12, 1 - 1e-12)
        rest = (np.log(inside / (1 - inside)) - parts[:, 0])[:, None]
        fuzz = 1.2e-7 / (inside * (1 - inside))
    else:
        rest = (raw - parts[:, 0])[:, None]
        fuzz = 1.2e-7 * np.abs(raw)
    return _constant(rest, fuzz, np.abs(parts).max(initial=0.0))


def _constant(rest: np.ndarray, fuzz: np.ndarray, size: float) -> Check:
    import numpy as np

    away = np.abs(rest - np.median(rest, axis=0)).max(axis=1)
    allowed = 1e-5 * max(1.0, size) + 4 * fuzz
    worst = int(np.argmax(away - allowed))
    return Check(
        "sums",
        f"{away[worst]:.2g} off at most, over {len(away):,} rows",
        f"<= {allowed[worst]:.2g}, the precision of the score",
        _passed(bool(away[worst] <= allowed[worst])),
        note="contributions of all features and a constant make the score",
    )


# ------------------------------------------------------------------------------------------------------- governance
def governance(subject: Subject, again: Remeasured, further: Sequence[Check]) -> Decision:
    """Judge who is treated how, and whether decisions and documents are there.

    Parameters
    ----------
    further
        Of the trail, the approvals and the card.
    """
    from charter.govern.gates import fairness

    checks = [
        Check(
            "gate",
            subject.gate.verdict.value,
            "pass, or nothing but warnings",
            subject.gate.verdict,
            note=", ".join(c.name for c in subject.gate.checks if c.verdict is not Verdict.PASS),
        ),
        *fairness(again.evaluation, subject.spec, where=".".join),
        *further,
    ]
    if subject.spec.evaluate.fairness is None:
        protected = subject.spec.data.protected
        state = Verdict.WARN if protected else Verdict.PASS
        note = (
            f"protected columns: {', '.join(protected)}" if protected else "no protected column is declared"
        )
        checks.append(Check("fairness", "no limit declared", "evaluate.fairness", state, note=note))
    return with_lines(Decision.of("governance", checks), subject.loaded.source)


# ----------------------------------------------------------------------------------------------------- data quality
OUTSIDE = 0.25
"""Above this share of held-out rows with a warning somebody should look: the rows are no longer those of training."""


def data_quality(subject: Subject, answers: Answers) -> Decision:
    """Judge the held-out rows by the contract of requests, and recall what the data's own contract found."""
    asked = len(answers.places)
    checks = [
        Check(
            "held-out rows that the contract refuses", f"{len(answers.refused)} of {asked:,}", "none",
            _passed(not answers.refused), note=next(iter(answers.refused.values()), ""),
        ),
        *_warned(answers),
        *_sources(subject),
    ]  # fmt: skip
    return with_lines(Decision.of("data quality", checks), subject.loaded.source)


def _warned(answers: Answers) -> Iterator[Check]:
    from collections import Counter

    if not answers.found:
        yield Check("rows outside what training saw", "not measured", f"<= {OUTSIDE:.0%}", Verdict.UNKNOWN)
        return
    texts = Counter(
        re.split(r" = | is ", text, maxsplit=1)[0]
        for answer in answers.found.values()
        for text in set(answer["warnings"])
    )
    share = sum(bool(a["warnings"]) for a in answers.found.values()) / len(answers.found)
    most = ", ".join(f"{name} ({count})" for name, count in texts.most_common(3))
    state = Verdict.PASS if share <= OUTSIDE else Verdict.WARN
    yield Check("rows answered with a warning", f"{share:.1%}", f"<= {OUTSIDE:.0%}", state, note=most)


def _sources(subject: Subject) -> Iterator[Check]:
    """What became of each source's rows when the snapshot was taken."""
    from charter.data.types import ContractReport

    for report in subject.contract.values():
        yield from ContractReport.from_json(report).decision(".".join).checks
