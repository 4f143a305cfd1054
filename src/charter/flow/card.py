"""Writing the model card of a version from the records."""

from __future__ import annotations

from pathlib import Path

from charter.core.errors import Refusal, UsageError
from charter.core.io.files import write_atomic
from charter.flow.context import read_json
from charter.flow.decide import FILE
from charter.flow.plan import Stage
from charter.flow.views import features_result, result_of, snapshot_result, trained_result, version_view
from charter.flow.workspace import Workspace
from charter.govern.card import document
from charter.govern.card_text import ENDINGS, render
from charter.govern.incident import incidents
from charter.spec.loader import Loaded


def write_card(
    workspace: Workspace, loaded: Loaded, version: str | None, *, form: str, to: Path | None
) -> Path:
    """Write a card and return its path.

    Parameters
    ----------
    version
        For example ``v3``; None is the released one.

    Raises
    ------
    Refusal
        When nothing is released, or the version was not evaluated.
    UsageError
        For an unknown form or version.
    """
    with workspace.records(loaded.spec.name, readonly=True) as records:
        if version is None:
            deployment = records.deployment()
            if deployment is None:
                raise Refusal(
                    f"nothing of {loaded.spec.name} is released", remedy="Name a version, for example v1."
                )
            version = f"v{deployment.version}"
        view = version_view(workspace, loaded, version)
        trained = trained_result(records, view.version)
        features = features_result(records, trained)
        snapshot = snapshot_result(records, features)
        signed = records.approvals(view.version.number)
        events = records.events()
        evaluated = result_of(records, Stage.EVALUATE, "train", trained.output)
    if view.evaluation is None or view.gate is None or evaluated is None:
        raise Refusal(f"{version} was not evaluated", remedy="`charter apply` evaluates it.")
    tree = workspace.blobs().tree(evaluated.output)
    decisions = read_json(workspace.blobs(), evaluated.output, FILE) if FILE in tree else None
    content = document(
        loaded.spec,
        view.evaluation,
        view.gate,
        view.approvals or view.gate,
        version=view.version,
        signed=signed,
        incidents=incidents(events, loaded.spec.name),
        events=events,
        measurement=view.measurement,
        decisions=decisions,
        facts={"snapshot": snapshot.summary, "features": features.summary, "train": trained.summary},
    )
    made = read_json(workspace.blobs(), trained.output, "environment.json")
    content["environment"] = made["environment"]
    text = render(content, form)
    if to is not None and to.is_dir():
        raise UsageError(f"{to} is a folder", remedy="Name a file.")
    target = to or workspace.root / f"{loaded.spec.name}-{version}-card.{ENDINGS[form]}"
    write_atomic(target, text.encode())
    return target
