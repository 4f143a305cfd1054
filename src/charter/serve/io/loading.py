"""From a deployment file to models that can answer."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import polars as pl

from charter.core.digest import canonical_json, digest_bytes
from charter.core.errors import DataError, UsageError
from charter.core.io.files import write_atomic
from charter.registry.environment import mismatches, runtime
from charter.registry.io.packages import PackageInfo, verify
from charter.registry.package import MANIFEST
from charter.registry.trees import tree_bytes
from charter.serve.bundle import read_bundle
from charter.serve.counters import Reference
from charter.serve.deployment import DeployedModel, Deployment, parse_deployment
from charter.serve.io.stores import open_lookup
from charter.serve.scorer import Scorer
from charter.serve.served import Served


def read_deployment(path: Path) -> Deployment:
    """Read a deployment file.

    Raises
    ------
    UsageError
        When the file is missing or no deployment.
    """
    if path.exists() and not path.is_file():  # opening a pipe would wait for whoever writes to it
        raise UsageError(f"deployment file {path} cannot be read: it is no regular file")
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"deployment file {path} cannot be read: {error}") from error
    return parse_deployment(text, path.parent)


def read_deployments(paths: Sequence[Path]) -> tuple[Deployment, ...]:
    """Read the deployment files of one server.

    Raises
    ------
    UsageError
        When one cannot be read, or two name the same model: its plain route would be ambiguous.
    """
    found = tuple(read_deployment(path) for path in paths)
    owners: dict[str, Path] = {}
    for path, deployment in zip(paths, found, strict=True):
        for name in {model.name for model in deployment.models}:
            if name in owners:
                raise UsageError(
                    f"{owners[name]} and {path} both serve a model called {name}",
                    remedy="Serve them on two ports, or rename one of them in its specification.",
                )
            owners[name] = path
    return found


def write_deployment(path: Path, deployment: Deployment) -> None:
    """Replace a deployment file in one step."""
    write_atomic(path, canonical_json(deployment.to_json()))


def verify_all(deployments: Iterable[Deployment]) -> list[str]:
    """Let every package that answers prove itself; nothing of it is parsed before.

    Returns
    -------
    What could change scores here, in words: see `differences`.

    Raises
    ------
    PackageError
        For a package that is damaged, altered, or signed by nobody in ``trusted_keys``.
    """
    return [
        f"{model.name} {model.version}: {difference}"
        for deployment in deployments
        for model in deployment.answering
        for difference in differences(verify(model.package, model.trusted_keys))
    ]


def load_models(deployment: Deployment, *, max_rows: int = 10_000) -> list[Served]:
    """Verify and load every model of a deployment."""
    return [load_model(model, max_rows=max_rows) for model in deployment.models]


def read_history(folder: Path, files: Callable[[str], Path | None]) -> dict[str, pl.DataFrame]:
    """Read the events that a bundle's windows need, and of them only the columns they need.

    Parameters
    ----------
    folder
        A bundle or an unpacked package.
    files
        Source to Parquet file, or None where there is none.

    Raises
    ------
    DataError
        When a file is missing, damaged, or lacks a column.
    """
    signature = read_bundle(folder).signature
    events = signature.entity.sources if signature.entity is not None else {}
    wanted = {name: source.columns for name, source in events.items()} | dict(signature.history)
    frames: dict[str, pl.DataFrame] = {}
    for name, columns in wanted.items():
        path = files(name)
        if path is None:
            raise DataError(
                f"events of source {name!r} are missing; the model's features are made from them",
                remedy="Name its Parquet file under 'history' of the deployment.",
            )
        try:
            frames[name] = pl.read_parquet(path, columns=list(columns))
        except (OSError, pl.exceptions.PolarsError) as error:
            raise DataError(f"events of source {name!r} cannot be read from {path}: {error}") from error
    return frames


def load_model(model: DeployedModel, *, max_rows: int = 10_000) -> Served:
    """Verify a package, then load it."""
    proven = verify(model.package, model.trusted_keys)
    lookup, history = None, None
    if model.features is not None:
        lookup = open_lookup(model.features, read_bundle(model.package))
    else:
        history = read_history(model.package, model.history.get)
    return Served(
        model.name,
        model.version,
        Scorer.load(model.package, history, lookup=lookup),
        max_rows=max_rows,
        package=_tree_digest(proven),
        log=model.log,
        reference=_reference(model.package),
        deadline_s=model.deadline_s,
        differences=differences(proven),
    )


def differences(proven: PackageInfo) -> list[str]:
    """Name what could change a score between where a package was made and this machine.

    No reason to refuse: the package was signed on what it is, and `charter reproduce` measures what differs. But
    whoever compares scores must know.
    """
    return mismatches(proven.manifest.environment, runtime())


def _tree_digest(proven: PackageInfo) -> str:
    """Digest by which the records name the package: that of the tree of its files, without the signature."""
    files = {name: entry.sha256 for name, entry in proven.manifest.files.items()}
    return digest_bytes(tree_bytes({**files, MANIFEST: proven.digest}))


def _reference(folder: Path) -> Reference | None:
    path = folder / "profile.json"
    return Reference.from_json(json.loads(path.read_bytes())) if path.exists() else None
