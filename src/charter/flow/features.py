"""The online feature store of a released model: where it is, and filling it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from charter.core.clock import naive
from charter.core.decision import Decision
from charter.core.digest import Digest, digest_json
from charter.core.errors import Refusal, UsageError
from charter.core.progress import NoProgress, Progress
from charter.core.quantity import parse_duration
from charter.flow.workspace import Workspace
from charter.spec.loader import Loaded, kept
from charter.spec.parts import part_values
from charter.spec.types import ModelSpec

if TYPE_CHECKING:
    from charter.features.history import History
    from charter.serve.bundle import Bundle
    from charter.serve.policy import StorePolicy

FILE = "features.sqlite"


@dataclass(frozen=True, slots=True)
class Materialised:
    """What was put into a store."""

    version: str
    store: str
    feature_set: Digest
    as_of: datetime
    entities: int
    features: int
    seconds: float

    def to_json(self) -> dict[str, Any]:
        """Plain data for machines."""
        return {
            "version": self.version,
            "store": self.store,
            "feature_set": self.feature_set,
            "as_of": self.as_of.isoformat() + "Z",
            "entities": self.entities,
            "features": self.features,
            "seconds": self.seconds,
        }


def store_policy(workspace: Workspace, package: Path, to: str | None = None) -> StorePolicy | None:
    """Say where a package's window features are looked up; None where they are computed from events.

    Parameters
    ----------
    package
        Folder of a package that has proved itself.
    to
        ``sqlite``, ``sqlite:///FILE`` or the address of a Redis server, instead of what its specification declares.
    """
    from charter.serve.bundle import read_bundle
    from charter.serve.policy import StorePolicy

    spec = packaged_spec(package)
    declared = spec.serve.features
    bundle = read_bundle(package)
    of_series = bundle.featureset.get("series") is not None
    if of_series or not bundle.featureset["windows"] or (to is None and declared.store == "history"):
        return None
    if to is None and declared.store == "redis":
        url = declared.url or ""
    elif to is None or to == "sqlite":
        named = declared.url if to is None or declared.store == "sqlite" else None
        url = f"sqlite:///{workspace.root / named if named else workspace.state / FILE}"
    else:
        url = to
    fresh = parse_duration(declared.fresh_within).total_seconds()
    return StorePolicy(url, feature_set_digest(spec, bundle.featureset), fresh)


def packaged_spec(package: Path) -> ModelSpec:
    """Read the specification that a package was made from."""
    return kept((package / "spec.json").read_bytes())


def feature_set_digest(spec: ModelSpec, featureset: Mapping[str, Any]) -> Digest:
    """Digest of all that makes window features what they are.

    The model, the windows, and how the sources they read are fetched and cleaned. Row features are left out: they are
    computed from a request, and may change without a new materialisation.
    """
    sources = {w["source"] for w in featureset["windows"]}
    cleaned = {
        path: value
        for path, value in part_values(spec, "data").items()
        if any(path.startswith(f"data.sources.{name}.") for name in sources)
    }
    made = {key: featureset[key] for key in ("entity", "times", "windows")}
    return digest_json({"model": spec.name, "features": made, "sources": cleaned})


def materialise(
    workspace: Workspace,
    loaded: Loaded,
    *,
    as_of: date | None = None,
    to: str | None = None,
    progress: Progress | None = None,
) -> Materialised:
    """Read the sources anew, compute the released model's windows for every entity, and put them into the store.

    Sources and windows are those of the released package, whatever the specification has become since.

    Parameters
    ----------
    as_of
        The moment to look back from; its day's events are not known yet. None is now.
    to
        See `store_policy`.

    Raises
    ------
    Refusal
        When nothing is released, or the sources break their contract.
    UsageError
        When the model has no windows, or no store.
    StoreDown
        When the store cannot be written.
    """
    import time

    from charter.features.featureset import FeatureSet
    from charter.features.materialise import entities_of, entity_windows
    from charter.features.windows import window_names
    from charter.flow.released import released_model
    from charter.serve.bundle import read_bundle
    from charter.serve.io.stores import entity_type, open_store
    from charter.serve.online import entity_texts

    began, progress = time.monotonic(), progress or NoProgress()
    now = naive(workspace.clock.now())
    moment = now if as_of is None else datetime(as_of.year, as_of.month, as_of.day)  # noqa: DTZ001 - naive UTC
    if moment > now:
        raise UsageError(f"--as-of is {as_of}, which is still to come", remedy="Leave it out: it is now.")
    deployed = released_model(workspace, loaded)
    bundle = read_bundle(deployed.package)
    policy = store_policy(workspace, deployed.package, to)
    if policy is None:
        raise _nothing_to_do(loaded.spec.name, deployed.version, bundle)
    features = FeatureSet.from_json(bundle.featureset)
    store, dtype = open_store(policy, features), entity_type(bundle)
    try:
        histories = _histories(workspace, loaded, packaged_spec(deployed.package), features, progress)
        progress.start("computing window features", len(entities_of(histories)))

        def chunks() -> Any:
            for keys, vectors in entity_windows(histories, features, moment):
                yield entity_texts(keys, dtype), vectors
                progress.advance(len(keys))

        written = store.put_many(moment, chunks())
        progress.finish()
    finally:
        store.close()
    width = len(window_names({w.name: w for w in features.windows}))
    seconds = round(time.monotonic() - began, 3)
    digest = Digest(policy.feature_set)
    return Materialised(
        deployed.version, policy.shown, digest, written.as_of, written.entities, width, seconds
    )


def _nothing_to_do(name: str, version: str, bundle: Bundle) -> UsageError:
    if bundle.featureset.get("series") is not None:
        return UsageError(
            f"{name} {version} forecasts series, whose past is read with every answer",
            remedy="It needs no store; `charter score` and `charter serve` read the series themselves.",
        )
    if not bundle.featureset["windows"]:
        return UsageError(
            f"{name} {version} has no window features",
            remedy="There is nothing to look up; it needs no store.",
        )
    return UsageError(
        f"{name} {version} computes its window features from the events themselves",
        remedy="Declare serve.features.store: sqlite (or redis) and run `charter apply`, or name a store with --to.",
    )


def _histories(
    workspace: Workspace, loaded: Loaded, spec: ModelSpec, features: Any, progress: Progress
) -> dict[str, History]:
    """Read and clean the events that the windows need, as the package's specification says."""
    import tempfile

    from charter.data.io.prepared import prepare_sources
    from charter.features.featureset import histories

    needed = list(features.sources)
    for name in needed:  # and what they refer to, which their contract looks into
        referred = (key.references.partition(".")[0] for key in spec.data.sources[name].foreign_keys)
        needed += [other for other in referred if other not in needed]
    sources = {name: spec.data.sources[name] for name in needed}
    with tempfile.TemporaryDirectory(prefix="charter-") as folder:
        prepared = prepare_sources(
            sources,
            workspace.root,
            workspace.settings,
            now=workspace.clock.now(),
            folder=Path(folder),
            progress=progress,
        )
        checks = [c for p in prepared.values() for c in p.report.decision(loaded.source.where).checks]
        decision = Decision.of("data contract", checks)
        if not decision.allows:
            raise Refusal(
                "the data breaks its contract; the store is left as it was",
                decision=decision,
                remedy="Correct the source, then materialise again.",
            )
        return histories({name: p.frame.collect() for name, p in prepared.items()}, features)
