"""Logged requests, answered again by the bundle of their version, to see whether answers and reasons are the same.

The second answer goes the way of training and evaluation: the `Scorer` on a frame, with the events of the snapshot that
the version was trained on. Where the two answers differ, something between request and score is not what was judged
before the release. On the way come the features that no log holds (windows over events), and what the model looks at.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from charter.core.digest import canonical_json
from charter.core.errors import CharterError
from charter.core.io.files import write_atomic
from charter.flow.context import read_frame
from charter.flow.logs import log_folder
from charter.flow.views import features_result, trained_result, version_number
from charter.flow.workspace import Workspace
from charter.spec.types import ModelSpec

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import polars as pl

    from charter.monitor.estimate import Estimated
    from charter.monitor.importance import ImportanceShift
    from charter.monitor.loss import ExpectedLoss
    from charter.monitor.skew import Skew
    from charter.serve.contributions import Contributor
    from charter.serve.scorer import Scorer

    Estimates = Mapping[str, Estimated]

ANSWERS = 2000
"""Answers of a window that are computed again; a difference in 0.2 % of all answers is met with a chance of 98 %."""
ESTIMATED = 50_000
"""Answers of a window from whose inputs a regression's losses are estimated."""
REASONS = 500
"""Answers, now and of training, whose reasons are added up to the importance of features."""
_INPUT = "input_"


@dataclass(frozen=True, slots=True)
class SecondLook:
    """What came of it.

    Attributes
    ----------
    features, scores
        Of the answers that were computed again, what the model was given and what it says.
    importance
        None for models that give no exact reasons.
    """

    skew: Skew
    features: pl.DataFrame
    scores: pl.DataFrame
    importance: ImportanceShift | None


class Again:
    """A version's bundle, ready to answer once more.

    Parameters
    ----------
    importance
        Feature to mean absolute contribution, on rows of training; empty where the model gives none.
    people
        Pseudonym to name of entities, where the log holds pseudonyms. It is needed to find their events, in memory, and
        kept nowhere.
    losses
        What losses to expect; of regressions.
    """

    def __init__(
        self,
        scorer: Scorer,
        contributor: Contributor | None,
        importance: Mapping[str, float],
        people: pl.DataFrame | None,
        losses: Mapping[str, ExpectedLoss],
    ) -> None:
        self._scorer, self._contributor = scorer, contributor
        self._importance, self._people, self._losses = importance, people, losses
        self._learned_from = columns_to_learn_from(scorer)

    def losses(self, rows: pl.DataFrame, confidence: float) -> tuple[Estimates, Estimates] | None:
        """What losses to expect of all answers of a window, and of those whose outcome is known and due; regression.

        None where nothing was learned, or the requests are not logged.
        """
        import polars as pl

        from charter.monitor.loss import dle

        if not self._losses:
            return None
        known = pl.col("due") & pl.col("outcome").is_not_null()
        usable = rows.filter(pl.col("score").is_finite()).with_columns(known.alias("__known"))
        sample = usable.sort(pl.struct("id", "row").hash(seed=3), "id", "row").head(ESTIMATED)
        inputs = self._inputs(sample)
        if isinstance(inputs, str):
            return None
        asked, mine = inputs
        X = self._scorer.numbers(asked).X[:, self._learned_from]
        of_all = dle(self._losses, X, n=usable.height, confidence=confidence)
        labelled = X[mine["__known"].to_numpy()]
        return of_all, dle(self._losses, labelled, n=int(usable["__known"].sum()), confidence=confidence)

    def look(self, rows: pl.DataFrame) -> SecondLook | str:
        """Answer a sample of a window's rows again; why not, where that cannot be done."""
        import polars as pl

        from charter.monitor.importance import importance_shift
        from charter.monitor.skew import find_skew

        usable = rows.filter(~pl.col("fallback") & pl.col("score").is_finite())
        # The same sample each time, however the log is stored.
        sample = usable.sort(pl.struct("id", "row").hash(seed=2), "id", "row").head(ANSWERS)
        inputs = self._inputs(sample)
        if isinstance(inputs, str):
            return inputs
        asked, mine = inputs
        try:
            numbers = self._scorer.numbers(asked)
        except CharterError as error:
            return error.message
        importance = None
        if self._contributor is not None and self._importance and len(numbers.X):
            now = _importance(self._scorer, self._contributor, numbers.X[:REASONS])
            importance = importance_shift(self._importance, now)
        skew = find_skew(mine["score"].to_numpy(), numbers.score)
        return SecondLook(skew, numbers.features, pl.DataFrame({"score": numbers.score}), importance)

    def _inputs(self, sample: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame] | str:
        """Requests as they were, and their rows of the log; in words, what of them is not logged."""
        import polars as pl

        from charter.serve.values import DTYPES

        signature = self._scorer.signature
        entity = signature.entity.column if signature.entity is not None else None
        columns = []
        for field in signature.inputs:
            logged, dtype = _INPUT + field.name, DTYPES[field.type]
            if logged not in sample.columns:
                if not field.nullable:
                    return f"the log holds no {field.name}"
                columns.append(pl.lit(None, dtype=dtype).alias(field.name))
            elif self._people is not None and field.name == entity:
                names, values = self._people["pseudonym"], self._people["name"]
                named = pl.col(logged).replace_strict(names, values, default=None, return_dtype=values.dtype)
                columns.append(named.cast(dtype).alias(field.name))
            elif self._people is not None and field.sensitivity == "personal":
                return f"the log holds pseudonyms of {field.name}"
            else:
                columns.append(pl.col(logged).cast(dtype).alias(field.name))
        asked = sample.select(columns)
        if entity is None:
            return asked, sample
        somebody = asked[entity].is_not_null()
        return asked.filter(somebody), sample.filter(somebody)


def again(workspace: Workspace, spec: ModelSpec, version: str, folder: Path) -> Again | str:
    """Make a version ready to answer once more; why not, where that cannot be done.

    Parameters
    ----------
    folder
        Of the monitor, where what is learned about a version is kept.
    """
    from charter.serve.contributions import contributor
    from charter.serve.io.loading import read_history
    from charter.serve.scorer import Scorer

    if spec.train.task == "forecast":
        return "forecasts rest on the newest actual values: see their errors"
    if not spec.serve.log.inputs:
        return "the log holds no inputs"
    if spec.data.observations.entity is not None and spec.serve.features.store != "history":
        return "features come from a store, which is as fresh as its last filling"
    blobs = workspace.blobs()
    with workspace.records(spec.name, readonly=True) as records:
        found = records.version(version_number(version))
        trained = trained_result(records, found)
        made = features_result(records, trained)
    snapshot = blobs.tree(made.inputs["snapshot"])
    with tempfile.TemporaryDirectory(prefix="charter-") as scratch:
        bundle = blobs.checkout(found.bundle, Path(scratch) / "bundle")
        files = {name: Path(scratch) / f"{name}.parquet" for name in spec.data.sources}
        for name, file in files.items():
            if f"{name}.parquet" in snapshot:
                file.write_bytes(blobs.get(snapshot[f"{name}.parquet"]))
        history = read_history(bundle, lambda name: files.get(name))
        scorer = Scorer.load(bundle, history)
    reasons = contributor(scorer.bundle.native)
    importance: Mapping[str, float] = {}
    dataset = read_frame(blobs, made.output, "dataset.parquet")
    if reasons is not None:
        rows = dataset.filter(dataset["__split"] == "train")
        X = scorer.preprocessor.transform(rows.gather_every(max(1, rows.height // REASONS)).head(REASONS))
        importance = _importance(scorer, reasons, X)
    losses: Mapping[str, ExpectedLoss] = {}
    if spec.train.task == "regression":
        oof = read_frame(blobs, trained.output, "oof.parquet")
        losses = _learned(folder / "losses" / f"{found.bundle}.json", scorer, dataset, oof, spec.train.seed)
    return Again(scorer, reasons, importance, _people(workspace, spec, scorer, history), losses)


def columns_to_learn_from(scorer: Scorer) -> list[int]:
    """Columns of the matrix that know nothing of a row's own label: target encodings do, of rows of training."""
    kinds = [encoder.kind for encoder in scorer.preprocessor.encoders for _ in encoder.names]
    return [place for place, kind in enumerate(kinds) if kind != "target"]


def _learned(
    path: Path, scorer: Scorer, dataset: pl.DataFrame, oof: pl.DataFrame, seed: int
) -> Mapping[str, ExpectedLoss]:
    """What losses to expect, learned from the out-of-fold predictions of training once, and kept."""
    from charter.monitor.loss import ExpectedLoss, learn_losses

    if not path.exists():
        rows = oof.join(dataset, on="__row", how="inner", maintain_order="left", suffix="__dataset")
        X = scorer.preprocessor.transform(rows)[:, columns_to_learn_from(scorer)]
        y, said = (rows[name].to_numpy().astype("float64") for name in ("label", "calibrated_score"))
        learned = learn_losses(X, y, said, seed=seed)
        write_atomic(path, canonical_json({name: one.to_json() for name, one in learned.items()}))
    kept = json.loads(path.read_bytes())
    return {name: ExpectedLoss.from_json(one) for name, one in kept.items()}


def _importance(scorer: Scorer, reasons: Contributor, X: npt.NDArray[np.float32]) -> Mapping[str, float]:
    """Mean absolute contribution of each feature, that of its columns taken together; over all outputs."""
    import numpy as np

    parts = np.nan_to_num(reasons.contributions(X))
    source_of = scorer.preprocessor.source_of
    sources = [source_of.get(name, name) for name in scorer.preprocessor.names]
    found = {}
    for feature in dict.fromkeys(sources):
        own = [i for i, source in enumerate(sources) if source == feature]
        found[feature] = float(np.abs(parts[:, :, own].sum(axis=2)).sum(axis=1).mean())
    return found


def _people(
    workspace: Workspace, spec: ModelSpec, scorer: Scorer, history: Mapping[str, pl.DataFrame]
) -> pl.DataFrame | None:
    """Pseudonyms of everybody who has events; None where the log holds names."""
    import polars as pl

    from charter.serve.io.secret import load_secret
    from charter.serve.prediction_log import pseudonyms

    personal = {i.name for i in scorer.signature.inputs if i.sensitivity == "personal"}
    if spec.serve.log.personal == "keep" or not personal:
        return None
    entity = scorer.signature.entity
    names = (
        [] if entity is None else [f[entity.column] for f in history.values() if entity.column in f.columns]
    )
    if not names:
        return pl.DataFrame(schema={"pseudonym": pl.String, "name": pl.String})
    known = pl.concat(names).unique().drop_nulls()
    return pl.DataFrame({"pseudonym": pseudonyms(known, load_secret(log_folder(workspace))), "name": known})
