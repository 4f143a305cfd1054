"""Logged requests, answered again by the bundle of their version, to see whether answers and reasons are the same.

The second answer goes the way of training and evaluation: the `Scorer` on a frame, with the events of the snapshot that
the version was trained on. Where the two answers differ, something between request and score is not what was judged
before the release. On the way come the features that no log holds (windows over events), and what the model looks at.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from charter.core.errors import CharterError
from charter.flow.context import read_frame
from charter.flow.logs import log_folder
from charter.flow.plan import Stage
from charter.flow.views import trained_result, version_number
from charter.flow.workspace import Workspace
from charter.spec.types import ModelSpec

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import polars as pl

    from charter.monitor.importance import ImportanceShift
    from charter.monitor.skew import Skew
    from charter.serve.contributions import Contributor
    from charter.serve.scorer import Scorer

ANSWERS = 2000
"""Answers of a window that are computed again; a difference in 0.2 % of all answers is met with a chance of 98 %."""
REASONS = 500
"""Answers, now and of training, whose reasons are added up to the importance of features."""
_INPUT = "input_"


@dataclass(frozen=True, slots=True)
class SecondLook:
    """What came of it.

    Attributes
    ----------
    features
        Of the answers that were computed again, what the model was given.
    importance
        None for models that give no exact reasons.
    """

    skew: Skew
    features: pl.DataFrame
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
    """

    def __init__(
        self,
        scorer: Scorer,
        contributor: Contributor | None,
        importance: Mapping[str, float],
        people: pl.DataFrame | None,
    ) -> None:
        self._scorer, self._contributor = scorer, contributor
        self._importance, self._people = importance, people

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
        asked, served = inputs
        try:
            numbers = self._scorer.numbers(asked)
        except CharterError as error:
            return error.message
        importance = None
        if self._contributor is not None and self._importance and len(numbers.X):
            now = _importance(self._scorer, self._contributor, numbers.X[:REASONS])
            importance = importance_shift(self._importance, now)
        return SecondLook(find_skew(served.to_numpy(), numbers.score), numbers.features, importance)

    def _inputs(self, sample: pl.DataFrame) -> tuple[pl.DataFrame, pl.Series] | str:
        """Requests as they were, with the scores that they got; in words, what of them is not logged."""
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
        asked = sample.select(*columns, __served=pl.col("score"))
        if entity is not None:
            asked = asked.filter(pl.col(entity).is_not_null())
        return asked.drop("__served"), asked["__served"]


def again(workspace: Workspace, spec: ModelSpec, version: str) -> Again | str:
    """Make a version ready to answer once more; why not, where that cannot be done."""
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
        made = next(r for r in records.results(Stage.FEATURES) if r.output == trained.inputs["features"])
    snapshot = blobs.tree(made.inputs["snapshot"])
    with tempfile.TemporaryDirectory(prefix="charter-") as scratch:
        folder = blobs.checkout(found.bundle, Path(scratch) / "bundle")
        files = {name: Path(scratch) / f"{name}.parquet" for name in spec.data.sources}
        for name, file in files.items():
            if f"{name}.parquet" in snapshot:
                file.write_bytes(blobs.get(snapshot[f"{name}.parquet"]))
        history = read_history(folder, lambda name: files.get(name))
        scorer = Scorer.load(folder, history)
    reasons = contributor(scorer.bundle.native)
    importance: Mapping[str, float] = {}
    if reasons is not None:
        dataset = read_frame(blobs, made.output, "dataset.parquet")
        rows = dataset.filter(dataset["__split"] == "train")
        X = scorer.preprocessor.transform(rows.gather_every(max(1, rows.height // REASONS)).head(REASONS))
        importance = _importance(scorer, reasons, X)
    return Again(scorer, reasons, importance, _people(workspace, spec, scorer, history))


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
