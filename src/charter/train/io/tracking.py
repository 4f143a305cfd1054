"""Runs in MLflow: a SQLite file in the workspace, or the server that ``MLFLOW_TRACKING_URI`` names.

MLflow takes seconds to import and its telemetry calls home, so it is imported only when a run is written, once, after
training, and with telemetry switched off.
"""

from __future__ import annotations

import logging
import math
import os
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from charter.spec.types import ModelSpec
from charter.train.ports import RunRecord

DATABASE = "mlflow.db"
_QUIET = {"MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true"}
_IMPATIENT = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1", "MLFLOW_HTTP_REQUEST_TIMEOUT": "20"}
_MOST_METRICS, _MOST_PARAMS = 900, 90
_LONGEST = 5000


class MlflowTracker:
    """Writes run records to MLflow.

    Parameters
    ----------
    folder
        Holds ``mlflow.db`` and the artifacts; unused when ``MLFLOW_TRACKING_URI`` is set.
    experiment
        Name of the experiment: the model's name.
    tags
        Put on every run, such as the author.
    """

    def __init__(self, folder: Path, experiment: str, tags: Mapping[str, str] | None = None) -> None:
        self._folder = folder
        self._experiment = experiment
        self._tags = dict(tags or {})
        self._started_at_ms = int(time.time() * 1000)

    def record(self, run: RunRecord) -> str:
        """Write a run with its children and return its MLflow identifier.

        A tracking server that fails must not cost a trained model: the failure becomes a warning, and the identifier
        is empty.
        """
        os.environ.update(_QUIET)
        for name, value in _IMPATIENT.items():
            os.environ.setdefault(name, value)
        try:
            with warnings.catch_warnings():
                # MLflow and SQLAlchemy announce their own future; that is not our code's warning.
                warnings.simplefilter("ignore")
                return self._record(run)
        except Exception as error:  # MLflow lets through whatever its transport or database raises
            warnings.warn(
                f"the run was not tracked: {str(error).splitlines()[0]}", RuntimeWarning, stacklevel=2
            )
            return ""

    def _record(self, run: RunRecord) -> str:
        for name in ("mlflow", "alembic"):
            logging.getLogger(name).setLevel(logging.ERROR)
        from mlflow.tracking import MlflowClient

        local = "MLFLOW_TRACKING_URI" not in os.environ
        address = (
            f"sqlite:///{self._folder.resolve() / DATABASE}" if local else os.environ["MLFLOW_TRACKING_URI"]
        )
        served = address.startswith(("http:", "https:", "databricks"))
        if not served:  # without a server, MLflow would put artifacts into the current folder
            self._folder.mkdir(parents=True, exist_ok=True)
        logging.getLogger("mlflow").setLevel(logging.ERROR)  # the import has set it anew
        client = MlflowClient(tracking_uri=address)
        found = client.get_experiment_by_name(self._experiment)
        if found is not None:
            experiment = found.experiment_id
        else:
            artifacts = None if served else (self._folder.resolve() / "artifacts").as_uri()
            experiment = client.create_experiment(self._experiment, artifact_location=artifacts)
        parent = self._write(client, experiment, run, None)
        for child in run.children:
            self._write(client, experiment, child, parent)
        client.set_terminated(parent, end_time=run.ended_at_ms or None)
        if local:  # a database file that stays open could not be copied or removed on every system
            engine = getattr(client._tracking_client.store, "engine", None)
            if engine is not None:
                engine.dispose()
        return parent

    def _write(self, client: Any, experiment: str, run: RunRecord, parent: str | None) -> str:
        from mlflow.entities import Metric, Param, RunTag

        started = run.started_at_ms or self._started_at_ms
        now = int(time.time() * 1000)
        tags = {**self._tags, **run.tags, **({"mlflow.parentRunId": parent} if parent else {})}
        made = client.create_run(experiment, start_time=started, run_name=run.name, tags={})
        identifier = str(made.info.run_id)
        points = [(name, value, 0) for name, value in run.metrics.items()]
        points += [
            (name, value, step) for name, values in run.series.items() for step, value in enumerate(values)
        ]
        numbers = [Metric(name, value, now, step) for name, value, step in points if math.isfinite(value)]
        words = [Param(name, value[:_LONGEST]) for name, value in run.params.items()]
        first = True
        for some_numbers, some_words in _batches(numbers, words):
            marks = [RunTag(name, value[:_LONGEST]) for name, value in tags.items()] if first else []
            client.log_batch(identifier, metrics=some_numbers, params=some_words, tags=marks)
            first = False
        for file, content in run.documents.items():
            client.log_dict(identifier, content, file)
        if parent is not None:
            client.set_terminated(identifier, end_time=run.ended_at_ms or now)
        return identifier


@contextmanager
def mlflow_tracker(folder: Path, spec: ModelSpec, *, actor: str) -> Iterator[MlflowTracker]:
    """Track the runs of one specification; the clock starts here.

    Parameters
    ----------
    folder
        Place of the SQLite file and the artifacts.
    actor
        Who trains.
    """
    yield MlflowTracker(
        folder,
        spec.name,
        {"mlflow.user": actor, "charter.team": spec.owner.team, "mlflow.note.content": spec.summary},
    )


def _batches(numbers: Sequence[Any], words: Sequence[Any]) -> Iterator[tuple[list[Any], list[Any]]]:
    """Cut into parts as large as MLflow takes; at least one."""
    parts = max(math.ceil(len(numbers) / _MOST_METRICS), math.ceil(len(words) / _MOST_PARAMS), 1)
    for i in range(parts):
        yield (
            list(numbers[i * _MOST_METRICS : (i + 1) * _MOST_METRICS]),
            list(words[i * _MOST_PARAMS : (i + 1) * _MOST_PARAMS]),
        )
