"""One version of one model, ready to answer: bytes in, bytes out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from charter.serve.counters import Reference
from charter.serve.decode import Decoded, Decoder, example
from charter.serve.policy import LogPolicy
from charter.serve.problem import refuse
from charter.serve.scored import Scored
from charter.serve.scorer import Scorer
from charter.serve.types import Reason, Scalar


class Answer(msgspec.Struct, frozen=True, gc=False):
    """What a request gets for each row."""

    id: str
    prediction: Scalar
    score: float | None
    decision: str | None
    band: str | None
    reasons: list[Reason]
    model: str
    version: str
    warnings: list[str]
    scores: dict[str, float] | msgspec.UnsetType = msgspec.UNSET
    """Probability by class; multiclass only."""
    lower: float | msgspec.UnsetType = msgspec.UNSET
    upper: float | msgspec.UnsetType = msgspec.UNSET
    """Between these the actual value is promised to lie, as the package says how often; forecasts only."""


class Served:
    """A loaded model under a name and a version.

    Parameters
    ----------
    version
        For example ``v3``.
    max_rows
        Rows that a request may hold.
    package
        Digest of the package, as the records have it.
    log
        What of each answer is kept, where the server has a log.
    reference
        What training saw; None counts nothing.
    deadline_s
        Seconds after which the fallback answers for the model; None leaves that to the server.
    differences
        What could change a score between where the model was made and here, in words.
    """

    def __init__(
        self,
        name: str,
        version: str,
        scorer: Scorer,
        *,
        max_rows: int = 10_000,
        package: str = "",
        log: LogPolicy | None = None,
        reference: Reference | None = None,
        deadline_s: float | None = None,
        differences: Sequence[str] = (),
    ) -> None:
        self.name, self.version, self.scorer = name, version, scorer
        self.package, self.log, self.reference = package, log or LogPolicy(), reference
        self.deadline_s, self.differences = deadline_s, tuple(differences)
        self.decoder = Decoder(scorer.signature, max_rows=max_rows, series=scorer.series)
        self._encoder = msgspec.json.Encoder()

    def run(self, rows: Sequence[tuple[Any, ...]], explain: npt.NDArray[np.bool_]) -> Scored:
        """Score decoded rows; the fallback answers for what fails."""
        return self.scorer.run(self.decoder.frame(rows), explain=explain, soft=True)

    def stopped(self, rows: Sequence[tuple[Any, ...]]) -> Scored:
        """Let the declared fallback answer decoded rows in place of a model that was stopped.

        Raises
        ------
        Refused
            When none is declared (503).
        """
        if self.scorer.rules.fallback is None:
            raise refuse(503, "stopped", f"{self.name} is stopped and declares no fallback")
        return self.scorer.fall_back(self.decoder.frame(rows), f"{self.name} is stopped")

    def encode(self, scored: Scored, start: int, request: Decoded, request_id: str) -> bytes:
        """Answers of one request as JSON: an object for an object, a list for a list."""
        if request.single:
            return self._encoder.encode(self._answer(scored, start, request_id))
        answers = [self._answer(scored, start + i, f"{request_id}-{i}") for i in range(len(request.rows))]
        return self._encoder.encode(answers)

    def answer(
        self, body: bytes, *, explain: bool = False, request_id: str = "", stopped: bool = False
    ) -> bytes:
        """Decode, score and encode one request without a server.

        Parameters
        ----------
        stopped
            Whether the model was stopped: then the fallback answers, without asking it.

        Raises
        ------
        Refused
            When the request is at fault, or the model is stopped and declares no fallback.
        """
        request = self.decoder.decode(body)
        rows = request.rows
        scored = self.stopped(rows) if stopped else self.run(rows, np.full(len(rows), explain))
        return self.encode(scored, 0, request, request_id)

    def warm_up(self) -> None:
        """Answer the example a few times, so that the first client does not pay for lazy work."""
        body = msgspec.json.encode(example(self.scorer.signature))
        for explain in (False, True, False):
            self.answer(body, explain=explain)

    def _answer(self, scored: Scored, row: int, answer_id: str) -> Answer:
        score = float(scored.score[row])
        known = score == score
        names = self.scorer.bundle.classes
        ends = None if scored.bounds is None or not known else [float(end[row]) for end in scored.bounds]
        return Answer(
            answer_id,
            scored.prediction[row],
            score if known else None,
            scored.decision[row],
            scored.band[row],
            scored.reasons[row],
            self.name,
            self.version if scored.versions is None else scored.versions[row],
            scored.warnings[row],
            msgspec.UNSET
            if scored.scores is None or not known
            else dict(zip(names, scored.scores[row].tolist(), strict=True)),
            msgspec.UNSET if ends is None else ends[0],
            msgspec.UNSET if ends is None else ends[1],
        )
