"""What the server counts, for Prometheus."""

from __future__ import annotations

import os
from collections import Counter as Tally
from collections import deque
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
)
from prometheus_client.multiprocess import MultiProcessCollector

from charter.serve.counters import Counters
from charter.serve.processes import Processes, announce
from charter.serve.scored import Scored

CONTENT_TYPE = CONTENT_TYPE_LATEST
MAX_FEATURES = 200
"""So many features of a model have metrics of their own."""
_SECONDS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 5.0)
_ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 1024, 10_000)


class _Observed(Histogram):
    """A histogram that takes many observations at once: one by one, each costs two writes to the workers' files."""

    def observe_all(self, amounts: Sequence[float]) -> None:
        """Observe each of the amounts."""
        places = np.searchsorted(self._upper_bounds, amounts)
        for place, count in zip(*np.unique(places, return_counts=True), strict=True):
            self._buckets[place].inc(int(count))
        self._sum.inc(sum(amounts))


class _Batch(NamedTuple):
    """What is counted of a scored batch."""

    model: str
    version: str
    decisions: Sequence[str | None]
    fallbacks: int
    warned: int
    lookups: Mapping[str, int]


class Metrics:
    """Counters of one server process; several workers share a folder (``PROMETHEUS_MULTIPROC_DIR``)."""

    def __init__(self) -> None:
        self._answered: list[tuple[str, int, float]] = []
        self._scored: deque[_Batch] = deque()
        shared = os.environ.get("PROMETHEUS_MULTIPROC_DIR")
        if shared is not None:
            announce(Path(shared))
        self._registry = CollectorRegistry()
        r = self._registry
        self._requests = Counter("charter_requests", "Requests answered", ["model", "status"], registry=r)
        self._seconds = _Observed(
            "charter_request_seconds", "From the first byte of a request to its answer", ["model"],
            buckets=_SECONDS, registry=r,
        )  # fmt: skip
        self._errors = Counter(
            "charter_errors", "Requests refused or failed, by rule", ["model", "rule"], registry=r
        )
        self._predictions = Counter(
            "charter_predictions", "Rows scored", ["model", "version", "decision"], registry=r
        )
        self._fallbacks = Counter(
            "charter_fallbacks", "Rows answered by the fallback", ["model", "version"], registry=r
        )
        self._warnings = Counter(
            "charter_warned", "Rows answered with a warning", ["model", "version"], registry=r
        )
        self._lookups = Counter(
            "charter_feature_lookups",
            "Rows looked up in the feature store",
            ["model", "version", "outcome"],
            registry=r,
        )
        self._as_of = Gauge(
            "charter_features_as_of_seconds",
            "Unix time that the stored features look back from",
            ["model", "version"],
            registry=r,
            multiprocess_mode="mostrecent",
        )
        self._batch = _Observed(
            "charter_batch_rows", "Rows scored together", ["model"], buckets=_ROWS, registry=r
        )
        self._logged = Counter("charter_log_rows", "Rows in the prediction log", ["model"], registry=r)
        self._log_seconds = Histogram(
            "charter_log_seconds", "Writing (and syncing) a group of rows", ["model"], buckets=_SECONDS, registry=r
        )  # fmt: skip
        self._log_failures = Counter(
            "charter_log_failures", "Writes of the prediction log that failed", ["model"], registry=r
        )
        self._log_lost = Counter(
            "charter_log_lost_rows", "Answered rows that are not in the log for good", ["model"], registry=r
        )
        shadow = ["model", "version"]
        self._shadowed = Counter(
            "charter_shadow_rows", "Answered rows that a candidate scored, too", shadow, registry=r
        )
        self._shadow_failed = Counter(
            "charter_shadow_failed", "Answered rows that a candidate failed on", shadow, registry=r
        )
        self._shadow_dropped = Counter(
            "charter_shadow_dropped", "Answered rows that a candidate did not see", shadow, registry=r
        )
        self._shadow_seconds = _Observed(
            "charter_shadow_seconds", "A candidate's scoring of a batch, without waiting for a processor", shadow,
            buckets=_SECONDS, registry=r,
        )  # fmt: skip
        self._counted = Counter(
            "charter_profiled_rows", "Rows in the profile counters", ["model", "version"], registry=r
        )
        by_feature = ["model", "version", "feature"]
        self._missing = Counter("charter_feature_missing", "Rows without a value", by_feature, registry=r)
        self._outside = Counter(
            "charter_feature_outside",
            "Values outside the lowest and highest of training",
            by_feature,
            registry=r,
        )
        self._unseen = Counter(
            "charter_feature_unseen", "Categories that training did not see", by_feature, registry=r
        )
        self._child = lru_cache(maxsize=4096)(_child)

    def request(self, model: str, status: int, seconds: float) -> bool:
        """Count a request; ``model`` is empty when it named none that is served.

        Returns
        -------
        Whether it is the first since `flush`, without which other workers do not see it.
        """
        self._answered.append((model, status, seconds))
        return len(self._answered) == 1

    def flush(self) -> None:
        """Hand what was counted of requests and batches to whoever asks."""
        self._flush_batches()
        answered, self._answered = self._answered, []
        for (model, status), count in Tally((model, status) for model, status, _ in answered).items():
            self._child(self._requests, model, str(status)).inc(count)
        for name in {model for model, _, _ in answered}:
            self._child(self._seconds, name).observe_all([s for model, _, s in answered if model == name])

    def error(self, model: str, rule: str) -> None:
        """Count a refusal by its rule. Rules that quote the specification are counted as ``contract``."""
        self._child(
            self._errors, model, rule if rule.isascii() and rule.replace(" ", "").isalpha() else "contract"
        ).inc()

    def batch(self, model: str, version: str, scored: Scored) -> None:
        """Count the rows of a batch, at the next `flush`; from any thread, before decisions are left to chance."""
        warned = sum(1 for w in scored.warnings if w)
        self._scored.append(
            _Batch(model, version, tuple(scored.decision), sum(scored.fallback), warned, scored.lookups)
        )

    def _flush_batches(self) -> None:
        of_version: dict[tuple[str, str], list[_Batch]] = {}
        while self._scored:
            batch = self._scored.popleft()
            of_version.setdefault((batch.model, batch.version), []).append(batch)
        for (model, version), batches in of_version.items():
            self._child(self._batch, model).observe_all([len(b.decisions) for b in batches])
            for decision, count in Tally(chain.from_iterable(b.decisions for b in batches)).items():
                self._child(self._predictions, model, version, decision or "none").inc(count)
            for metric, count in (
                (self._fallbacks, sum(b.fallbacks for b in batches)),
                (self._warnings, sum(b.warned for b in batches)),
            ):
                if count:
                    self._child(metric, model, version).inc(count)
            for b in batches:
                for outcome, rows in b.lookups.items():
                    self._child(self._lookups, model, version, outcome).inc(rows)

    def stored(self, model: str, version: str, as_of: datetime) -> None:
        """Say from when the stored features look back; naive UTC."""
        self._child(self._as_of, model, version).set(as_of.replace(tzinfo=UTC).timestamp())

    def logged(self, model: str, rows: int, seconds: float) -> None:
        """Count rows that were written to the prediction log."""
        self._child(self._logged, model).inc(rows)
        self._child(self._log_seconds, model).observe(seconds)

    def log_failed(self, model: str, lost_rows: int) -> None:
        """Count a write of the log that failed, and rows that are given up."""
        self._child(self._log_failures, model).inc()
        if lost_rows:
            self._child(self._log_lost, model).inc(lost_rows)

    def shadowed(self, model: str, version: str, rows: int, failed: int, seconds: Sequence[float]) -> None:
        """Count rows that a candidate has scored unseen, and how long each of its batches took."""
        self._child(self._shadowed, model, version).inc(rows)
        if failed:
            self._child(self._shadow_failed, model, version).inc(failed)
        self._child(self._shadow_seconds, model, version).observe_all(seconds)

    def shadow_dropped(self, model: str, version: str, rows: int) -> None:
        """Count rows that a candidate will not see."""
        self._child(self._shadow_dropped, model, version).inc(rows)

    def profiled(self, model: str, version: str, found: Counters) -> None:
        """Count what is unusual by feature; features beyond the first `MAX_FEATURES` are counted as ``other``."""
        self._child(self._counted, model, version).inc(found.rows)
        missing = {name: column.missing for name, column in found.features.columns.items()}
        places = {name: i for i, name in enumerate(missing)}
        for metric, counts in (
            (self._missing, missing),
            (self._outside, found.outside),
            (self._unseen, found.unseen),
        ):
            for name, n in counts.items():
                if n:
                    label = name if places[name] < MAX_FEATURES else "other"
                    self._child(metric, model, version, label).inc(n)

    def text(self) -> bytes:
        """Prometheus' text format, over all workers."""
        self.flush()
        folder = os.environ.get("PROMETHEUS_MULTIPROC_DIR")
        registry = CollectorRegistry()
        registry.register(Processes(Path(folder) if folder is not None else None))
        if folder is None:
            return generate_latest(self._registry) + generate_latest(registry)
        MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
        return generate_latest(registry)


def _child(metric: Any, *labels: str) -> Any:
    return metric.labels(*labels)
