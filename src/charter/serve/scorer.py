"""The one way from inputs to answers: online, batch and evaluation all run `Scorer`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from charter.core.clock import Clock, SystemClock
from charter.core.errors import CharterError, DataError, PackageError, UsageError
from charter.core.nearest import did_you_mean
from charter.data.grid import STEP
from charter.features.expressions import compile_expression, compile_number
from charter.features.featureset import FeatureSet, complete, histories
from charter.features.history import History
from charter.features.preprocess import Preprocessor
from charter.features.row_features import compute
from charter.serve.bundle import Bundle, read_bundle
from charter.serve.contributions import contributor
from charter.serve.decide import POSITIVE, bands, decide_binary
from charter.serve.few import computes_few
from charter.serve.model import OnnxModel
from charter.serve.online import Lookup
from charter.serve.past import Past
from charter.serve.ranges import SeenRanges
from charter.serve.reasons import TopReasons
from charter.serve.scored import Numbers, Scored, stack
from charter.serve.series import SeriesPast
from charter.serve.types import AS_OF, DecisionRules, Reason, Scalar
from charter.serve.values import DTYPES
from charter.train import calibrate
from charter.train.conformal import ConformalIntervals
from charter.train.series_methods import SeriesForecasts

Floats = npt.NDArray[np.float64]
_MOVED = {"regression": "prediction", "forecast": "forecast"}
_BLOCK_ROWS = 4096


class Scorer:
    """Scores frames of raw inputs.

    A row's answer does not depend on the rows beside it, to the last bit. Safe to call from several threads.

    Parameters
    ----------
    bundle
        What `charter.serve.bundle.read_bundle` read.
    history
        Events per source, for models of entities; frames as prepared (or histories).
    lookup
        Where window features are looked up instead of computed from ``history``.
    clock
        Says when "now" is, for requests without ``as_of``.
    """

    def __init__(
        self,
        bundle: Bundle,
        history: Mapping[str, pl.DataFrame | History] | None = None,
        *,
        lookup: Lookup | None = None,
        clock: Clock | None = None,
    ) -> None:
        self.bundle = bundle
        self.signature = bundle.signature
        self.rules = bundle.decision or DecisionRules()
        self.preprocessor = Preprocessor.from_json(bundle.preprocessor)
        self._features = FeatureSet.from_json(bundle.featureset)
        self._few = computes_few(self._features, self.signature.inputs)
        self._calibration = calibrate.Calibration.from_json(bundle.calibration or {"kind": "none"})
        self._model = OnnxModel(bundle.model_onnx)
        self._intervals = (
            ConformalIntervals.from_json(bundle.intervals) if bundle.intervals is not None else None
        )
        self._contributor = contributor(bundle.native) if self.rules.reasons else None
        self._top = TopReasons(
            self.preprocessor.names,
            self.preprocessor.source_of,
            count=self.rules.reasons,
            factors=self.rules.factors,
            moved=_MOVED.get(bundle.task, "score"),
        )
        self.seen = SeenRanges(self.signature.inputs)
        self._columns = list(self.signature.names)
        self._dtypes = [DTYPES[i.type] for i in self.signature.inputs]
        self._clock = clock or SystemClock()
        self._contract = [
            (f"the request {words}: {text}", compile_expression(text))
            for words, text in self.signature.rules.items()
        ]
        self._fallback_rule = _compile_rule(self.rules.fallback)
        self.lookup = lookup
        self.series: SeriesPast | None = None
        if self.signature.series is not None:
            self.series = SeriesPast(self.signature.series, _frames(history or {}), bundle.cold_start)
            history = self.series.sources
        self._methods = SeriesForecasts.of(bundle.methods, _frames(history or {}), self.signature.series)
        self._events = _histories(history or {}, self._features) if lookup is None else {}
        self._past: Past | Lookup | None = lookup
        if lookup is None and self.signature.entity:
            self._past = Past(self.signature.entity, self._events)

    @classmethod
    def load(
        cls,
        folder: Path,
        history: Mapping[str, pl.DataFrame | History] | None = None,
        *,
        lookup: Lookup | None = None,
        clock: Clock | None = None,
    ) -> Scorer:
        """Load a bundle or an unpacked (and verified) package.

        Raises
        ------
        PackageError
            When a file is missing or not what it should be.
        DataError
            When a source of events that the windows need is missing.
        """
        try:
            return cls(read_bundle(folder), history, lookup=lookup, clock=clock)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise PackageError(
                f"{folder.name}: the bundle cannot be understood: {type(error).__name__} {error}",
                remedy="Build the package again with `charter apply`.",
            ) from error

    def score(
        self,
        frame: pl.DataFrame,
        *,
        decide: bool = True,
        explain: bool | npt.NDArray[np.bool_] = False,
        now: datetime | None = None,
    ) -> pl.DataFrame:
        """Score raw inputs; errors are raised, never answered by a fallback.

        Parameters
        ----------
        frame
            n rows with the columns of the signature; nullable ones may be left out, others are ignored.
        decide
            False gives scores only: no decisions, bands, reasons, warnings.
        explain
            Whether reasons are asked for, for all rows or one by one.
        now
            ``as_of`` of rows that have none.

        Returns
        -------
        Frame of n rows, see `charter.serve.scored.Scored.frame`.

        Raises
        ------
        DataError
            When a required column is missing or of a type that cannot be cast.
        """
        return self.run(frame, decide=decide, explain=explain, now=now).frame()

    def run(
        self,
        frame: pl.DataFrame,
        *,
        decide: bool = True,
        explain: bool | npt.NDArray[np.bool_] = False,
        now: datetime | None = None,
        soft: bool = False,
    ) -> Scored:
        """Like `score`, without building a frame; with ``soft`` the declared fallback answers for what fails."""
        inputs = self._inputs(frame, now)
        # Looked up once, however often what follows comes back to the features.
        known = inputs if self.lookup is None else self.lookup.join(inputs)
        scored = self._soft(known, decide, explain) if soft else self._run(known, decide, explain)
        scored.inputs = inputs
        if self.lookup is not None:
            scored.lookups = self.lookup.tally(known)
        return scored

    def _soft(self, inputs: pl.DataFrame, decide: bool, explain: bool | npt.NDArray[np.bool_]) -> Scored:
        try:
            scored = self._run(inputs, decide, explain)
        # Serving fails soft, whatever a model or a store raises; a panic of Polars is no Exception.
        except (Exception, pl.exceptions.PanicException) as error:
            if inputs.height > 1:  # find the row that breaks it, so that the others get their answer
                asked = np.broadcast_to(explain, inputs.height)
                return stack([self._soft(inputs[i], decide, bool(asked[i])) for i in range(inputs.height)])
            if self.rules.fallback is None:
                raise
            outside = [text for _, text in self.seen.warn(inputs)]
            return self._fallback(inputs, f"the model failed ({type(error).__name__})", [outside])
        broken = np.flatnonzero(~np.isfinite(scored.score))
        if len(broken) and self.rules.fallback is not None:
            parts = [_row(scored, i) for i in range(len(scored))]
            for i in broken.tolist():
                why = "the model gave no finite score"
                parts[i] = self._fallback(inputs[i], why, [parts[i].warnings[0]])
            return stack(parts)
        return scored

    def fall_back(self, frame: pl.DataFrame, why: str) -> Scored:
        """Let the declared fallback answer for all rows, without asking the model.

        Raises
        ------
        UsageError
            When none is declared.
        """
        if self.rules.fallback is None:
            raise UsageError(f"{self.bundle.name} declares no fallback")
        inputs = self._inputs(frame, None)
        warnings: list[list[str]] = [[] for _ in range(inputs.height)]
        for row, text in self.seen.warn(inputs):
            warnings[row].append(text)
        scored = self._fallback(inputs, why, warnings)
        scored.inputs = inputs
        return scored

    def features(self, frame: pl.DataFrame, *, now: datetime | None = None) -> pl.DataFrame:
        """Compute the features that the model sees (and the inputs), before encoding."""
        return self._compute(self._inputs(frame, now))

    def numbers(self, inputs: pl.DataFrame) -> Numbers:
        """Let the model speak, before anything is decided.

        Parameters
        ----------
        inputs
            n rows with exactly the signature's columns and types, ``as_of`` filled.

        Returns
        -------
        Equal to the bit whichever rows stand together; many rows go through in blocks that the processor's cache
        holds, which is several times as fast as all at once.
        """
        features = self._compute(inputs)
        X, raw, learned = self._all_said(features)
        if raw.ndim == 1:
            said = Numbers(raw, None, None, X, features, self._bounds(learned, features))
            return said if self.series is None else self.series.settle(said, inputs, self.learned)
        best = raw.argmax(axis=1)
        return Numbers(raw[np.arange(len(raw)), best], raw, best, X, features)

    def _bounds(self, learned: Floats, features: pl.DataFrame) -> tuple[Floats, Floats] | None:
        """Intervals of a forecast, from what the model said on the scale that it learned."""
        if self._intervals is None:
            return None
        by = self._intervals.by
        group = features[by].to_list() if by else None
        scale = self._intervals.scale
        spread = features.select(compile_number(scale.text)).to_series().to_numpy() if scale else None
        return self._intervals.apply(learned, features[STEP].to_numpy(), group, spread)

    def learned(self, inputs: pl.DataFrame) -> Floats:
        """What the model says on the scale that it learned; rows as `score` takes them."""
        return self._all_said(self._compute(self._inputs(inputs, None)))[2]

    def _all_said(self, features: pl.DataFrame) -> tuple[npt.NDArray[np.float32], Floats, Floats]:
        if (rows := features.height) <= _BLOCK_ROWS:
            return self._model_says(features)
        blocks = [self._model_says(features[i : i + _BLOCK_ROWS]) for i in range(0, rows, _BLOCK_ROWS)]
        X, raw, learned = map(np.concatenate, zip(*blocks, strict=True))
        return X, raw, learned

    def _model_says(self, features: pl.DataFrame) -> tuple[npt.NDArray[np.float32], Floats, Floats]:
        """The matrix, the answers, and the scores from which calibration made them."""
        # Numbers beyond float32 become infinite, which trees understand and the caller is told about.
        with np.errstate(all="ignore"):
            X = self.preprocessor.transform(features)
            nothing = (0, len(self.bundle.classes)) if self.bundle.task == "multiclass" else 0
            raw = self._model.predict(X) if features.height else np.zeros(nothing)
            output = calibrate.apply(self._calibration, raw)
            # Calibration would make a probability even of infinity.
            known = np.isfinite(raw)
            return X, output if known.all() else np.where(known, output, np.nan), raw

    def _inputs(self, frame: pl.DataFrame, now: datetime | None) -> pl.DataFrame:
        if frame.dtypes != self._dtypes or frame.columns != self._columns:
            frame = self._conform(frame)
        if self.series is not None:
            return self.series.fill(frame)
        if self._past is not None and frame[AS_OF].null_count():
            moment = (now or self._clock.now()).replace(tzinfo=None)
            frame = frame.with_columns(pl.col(AS_OF).fill_null(pl.lit(moment, dtype=pl.Datetime("us"))))
        return frame

    def _conform(self, frame: pl.DataFrame) -> pl.DataFrame:
        columns = []
        for field in self.signature.inputs:
            if field.name in frame.columns:
                columns.append(pl.col(field.name).cast(DTYPES[field.type]))
            elif field.nullable:
                columns.append(pl.lit(None, dtype=DTYPES[field.type]).alias(field.name))
            else:
                raise DataError(
                    f"{self.bundle.name}: column {field.name!r} is missing and required",
                    remedy=did_you_mean(field.name, frame.columns),
                )
        try:
            return frame.select(columns)
        except pl.exceptions.PolarsError as error:
            raise DataError(f"{self.bundle.name}: {str(error).splitlines()[0]}") from error

    def _compute(self, inputs: pl.DataFrame) -> pl.DataFrame:
        if self.series is not None:
            inputs = self.series.locate(inputs)
        if self.lookup is not None:
            found = compute(self.lookup.join(inputs), self._features, self._few)
        else:
            found = complete(inputs, self._features, self._events, self._few)
        return found if self._methods is None else found.with_columns(self._methods.columns(found))

    def _run(self, inputs: pl.DataFrame, decide: bool, explain: bool | npt.NDArray[np.bool_]) -> Scored:
        rows, numbers = inputs.height, self.numbers(inputs)
        score, scores = numbers.score, numbers.scores
        nothing: list[Any] = [None] * rows
        if not decide:
            empty: list[Any] = [[] for _ in range(rows)]
            none = [False] * rows
            return Scored(
                score, scores, nothing, nothing, nothing, empty, [*empty], none, bounds=numbers.bounds
            )
        prediction, decision = self._decide(score, numbers.best)
        warnings: list[list[str]] = [[] for _ in range(rows)]
        for row, text in self.warn(inputs):
            warnings[row].append(text)
        flagged = np.array([d == POSITIVE for d in decision], dtype=bool)
        reasons: list[list[Reason]] = [[] for _ in range(rows)]
        for row, found in self.reasons(numbers, self.wanted(flagged, explain)):
            reasons[row] = found
        band = bands(score, self.rules.bands)
        return Scored(score, scores, prediction, decision, band, reasons, warnings, [False] * rows,
                      features=numbers.features, bounds=numbers.bounds)  # fmt: skip

    def _decide(
        self, score: Floats, best: npt.NDArray[np.intp] | None
    ) -> tuple[list[Scalar], list[str | None]]:
        if best is not None:
            names: list[str] = [self.bundle.classes[i] for i in best.tolist()]
            return list(names), list(names)
        if self.bundle.task in ("regression", "forecast"):
            return [s if np.isfinite(s) else None for s in score.tolist()], [None] * len(score)
        return decide_binary(score, self.rules.threshold, self.bundle.classes)

    def warn(self, inputs: pl.DataFrame) -> Iterator[tuple[int, str]]:
        """Where inputs leave what training saw or their past is thin: a row's place, and the warning."""
        yield from self.seen.warn(inputs)
        if self._contract:
            derived = self._derive(inputs)
            for words, rule in self._contract:
                held = derived.select(rule.cast(pl.Boolean).fill_null(False)).to_series().to_numpy()
                yield from ((row, words) for row in np.flatnonzero(~held).tolist())
        past = self.series or self._past
        if past is not None:
            yield from past.warn(inputs)

    def wanted(
        self, flagged: npt.NDArray[np.bool_], explain: bool | npt.NDArray[np.bool_]
    ) -> npt.NDArray[np.bool_]:
        """For which rows the package gives reasons: what is flagged, what is asked for, as it declares."""
        rows = len(flagged)
        asked = explain if isinstance(explain, np.ndarray) else np.full(rows, explain)
        if self._contributor is None:
            return np.zeros(rows, dtype=bool)
        if self.rules.reasons_for == "always":
            return np.ones(rows, dtype=bool)
        return asked | flagged if self.rules.reasons_for == "flagged" else asked

    def reasons(self, numbers: Numbers, wanted: npt.NDArray[np.bool_]) -> Iterator[tuple[int, list[Reason]]]:
        """Reasons of the wanted rows, each with the row's place."""
        if self._contributor is None:
            return
        if (lent := numbers.lent) is not None:
            yield from lent.reasons(wanted, self.features, self.preprocessor, self._contributor, self._top)
        chosen = np.flatnonzero(wanted if lent is None else wanted & ~lent.rows)
        if not len(chosen):
            return
        parts = self._contributor.contributions(numbers.X[chosen])
        matrix = parts[:, 0] if numbers.best is None else parts[np.arange(len(chosen)), numbers.best[chosen]]
        yield from zip(chosen.tolist(), self._top.of(matrix, numbers.features, chosen), strict=True)

    def _fallback(self, inputs: pl.DataFrame, why: str, warnings: list[list[str]]) -> Scored:
        fallback = self.rules.fallback or {}
        score, said = fallback.get("score"), "a fixed score"
        rows = inputs.height
        scores = np.full(rows, np.nan if score is None else float(score))
        prediction, decision = self._decide(scores, None)
        if self._fallback_rule is not None and self.bundle.task == "binary":
            said = "the fallback rule"
            positive = np.array(self._rule_holds(inputs), dtype=np.float64)
            prediction, decision = decide_binary(positive, 0.5, self.bundle.classes)
        warnings = [[*before, f"{why}; {said} answered"] for before in warnings]
        none: list[list[Reason]] = [[] for _ in range(rows)]
        band = bands(scores, self.rules.bands)
        return Scored(scores, None, prediction, decision, band, none, warnings, [True] * rows)

    def _rule_holds(self, inputs: pl.DataFrame) -> list[bool]:
        """For which rows the fallback rule is true; on features where they can be had, else on plain inputs."""
        rule = self._fallback_rule
        for prepared in (self._compute, self._derive):
            try:
                holds = pl.lit(False) if rule is None else rule.cast(pl.Boolean).fill_null(False)
                return prepared(inputs).with_columns(__holds=holds)["__holds"].to_list()
            except (pl.exceptions.PolarsError, CharterError):
                continue
        return [False] * inputs.height

    def _derive(self, inputs: pl.DataFrame) -> pl.DataFrame:
        for name, text in self.signature.derive.items():
            inputs = inputs.with_columns(compile_expression(text).alias(name))
        return inputs


def _frames(history: Mapping[str, pl.DataFrame | History]) -> dict[str, pl.DataFrame]:
    return {name: h.frame if isinstance(h, History) else h for name, h in history.items()}


def _histories(history: Mapping[str, pl.DataFrame | History], features: FeatureSet) -> dict[str, History]:
    """Sort what is not yet sorted."""
    frames = {name: h for name, h in history.items() if isinstance(h, pl.DataFrame)}
    ready = {name: h for name, h in history.items() if isinstance(h, History)}
    if features.windows and set(features.sources) <= set(ready):
        return {name: ready[name] for name in features.sources}
    return histories(frames, features) if features.sources else {}


def _compile_rule(fallback: Mapping[str, Any] | None) -> pl.Expr | None:
    rule = fallback.get("rule") if fallback else None
    return None if rule is None else compile_expression(rule)


def _row(scored: Scored, i: int) -> Scored:
    return Scored(
        scored.score[i : i + 1],
        None if scored.scores is None else scored.scores[i : i + 1],
        scored.prediction[i : i + 1],
        scored.decision[i : i + 1],
        scored.band[i : i + 1],
        scored.reasons[i : i + 1],
        scored.warnings[i : i + 1],
        scored.fallback[i : i + 1],
        features=None if scored.features is None else scored.features[i : i + 1],
        bounds=None if scored.bounds is None else (scored.bounds[0][i : i + 1], scored.bounds[1][i : i + 1]),
    )
