"""The stages that leave the workshop: package what passed, and release what was approved."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from charter.core.digest import Digest, ordered_json
from charter.core.errors import Refusal
from charter.core.io.files import sync_folder
from charter.flow.context import Context, Done, Output, read_json
from charter.flow.decide import FILE
from charter.flow.judge import write_rules
from charter.flow.observe import evidence, judge_approvals, package_result, proven
from charter.flow.plan import Plan, Stage
from charter.flow.retrain_review import refuse_rejected
from charter.flow.workspace import Workspace

if TYPE_CHECKING:
    from charter.registry.io.blobs import Blobs
    from charter.registry.io.records import Records
    from charter.registry.signing import Signer

BUILDER = "builder"
"""Name of the key file of a workspace; its packages are signed by ``builder-<first 8 digits of its public key>``."""


def package(ctx: Context, done: Done) -> Output:
    """Put bundle, threshold, evaluation and specification into a package, and sign it as this workspace."""
    from charter.registry.io import packages

    spec = ctx.spec
    trained, evaluated = done.summary(Stage.TRAIN), done.output(Stage.EVALUATE)
    tree = ctx.blobs.tree(evaluated)
    evaluation = ctx.blobs.get(tree["evaluation.json"])
    made = read_json(ctx.blobs, done.output(Stage.TRAIN), "environment.json")
    document = ordered_json(spec.model_dump(mode="json"))
    with ctx.scratch() as folder:
        bundle = folder / "bundle"
        ctx.blobs.checkout(trained["bundle"], bundle)
        write_rules(bundle, spec, done.summary(Stage.EVALUATE)["threshold"])
        target = folder / "package"
        parts = {"evaluation.json": evaluation, "spec.json": document}
        if FILE in tree:
            parts[FILE] = ctx.blobs.get(tree[FILE])
        manifest = packages.build(
            bundle,
            parts,
            target,
            name=spec.name,
            digests={
                "snapshot": done.output(Stage.SNAPSHOT),
                "features": done.output(Stage.FEATURES),
                "bundle": trained["bundle"],
                "evaluation": tree["evaluation.json"],
            },
            code_version=made["code_version"],
            environment=made["environment"],
        )
        size = sum(f.stat().st_size for f in target.iterdir())
        output = ctx.blobs.put_tree(target)
        signature = packages.sign(target, _builder(ctx))
        signed = ctx.blobs.put_bytes(signature.to_bytes())

    def stand(tx: Records) -> Mapping[str, Any]:
        tx.update_version(
            trained["version"],
            package=output,
            evaluation=tree["evaluation.json"],
            gate=done.output(Stage.GATE),
            status="waiting",
        )
        return {}

    summary = {
        "bytes": size,
        "manifest": manifest,
        "signature": signed,
        "version": trained["version"],
        "bundle": trained["bundle"],
        "evaluation": tree["evaluation.json"],
    }
    return Output(output, summary, stand)


def follow(ctx: Context, plan: Plan) -> None:
    """Let the version's record name the package that the specification now asks for, where that was made before."""
    step = plan.step(Stage.PACKAGE)
    if step.result is None:
        return
    package, made = step.result.output, step.result.summary
    if ctx.records.version(made["version"]).package == package:
        return
    from charter.govern.io.trail import Trail

    with Trail(ctx.records, ctx.workspace.anchor_file).recording(
        at=ctx.workspace.clock.now(),
        actor=ctx.actor,
        action="version.followed",
        subject=f"v{made['version']}",
        detail={"package": package},
    ) as tx:  # no move comes between the look and the status
        serving = tx.deployment()
        tx.update_version(
            made["version"],
            package=package,
            evaluation=made["evaluation"],
            gate=Digest(step.inputs["gate"]),
            status="released" if serving is not None and serving.package == package else "waiting",
        )


def release(ctx: Context, done: Done, judged: str = "") -> None:
    """Lay the approved package out for servers and record that it serves from now on.

    Parameters
    ----------
    judged
        What the redeployment rules said, where they were asked: automatic, or manual.
    """
    from charter.flow.verify import refuse_unverified
    from charter.govern.io.trail import Trail
    from charter.registry.io.packages import verify
    from charter.registry.types import Deployment

    built = done.summary(Stage.PACKAGE)
    digest = done.output(Stage.PACKAGE)
    refuse_unverified(ctx.workspace, ctx.loaded, ctx.records, digest)
    refuse_rejected(ctx.records, ctx.spec.name, built["version"])
    folder = package_folder(ctx.workspace, ctx.spec.name, digest)
    lay_out(ctx.blobs, digest, Digest(built["signature"]), folder)
    verify(folder, trusted_keys(ctx.workspace, ctx.records))
    now = ctx.workspace.clock.now()
    proof = evidence(ctx.spec, ctx.records, digest)
    before = ctx.records.deployment()
    detail = {**proof, "signed": _signed(ctx, digest), **_word(ctx, judged)}
    trail = Trail(ctx.records, ctx.workspace.anchor_file)
    with trail.recording(
        at=now, actor=ctx.actor, action="version.released", subject=f"v{built['version']}", detail=detail
    ) as change:
        change.add_deployment(Deployment(built["version"], digest, ctx.actor, now, proof))
        change.update_version(built["version"], status="released")
        if before is not None and before.version != built["version"]:
            change.update_version(before.version, status="retired")


def stage(ctx: Context, done: Done, judged: str = "") -> None:
    """Record that an approved version waits for its rollout; what serves stays. ``judged`` as in `release`."""
    from charter.flow.verify import refuse_unverified
    from charter.govern.io.trail import Trail

    version, digest = done.summary(Stage.PACKAGE)["version"], done.output(Stage.PACKAGE)
    refuse_unverified(ctx.workspace, ctx.loaded, ctx.records, digest)
    refuse_rejected(ctx.records, ctx.spec.name, version)
    proof = evidence(ctx.spec, ctx.records, digest)
    detail = {**proof, "signed": _signed(ctx, digest), **_word(ctx, judged)}
    with Trail(ctx.records, ctx.workspace.anchor_file).recording(
        at=ctx.workspace.clock.now(),
        actor=ctx.actor,
        action="version.staged",
        subject=f"v{version}",
        detail=detail,
    ) as change:
        change.update_version(version, status="staging")


def _word(ctx: Context, judged: str) -> dict[str, str]:
    """Tell what the redeployment rules said of a release, and the reason of whoever lets it go on."""
    return {name: said for name, said in (("redeployment", judged), ("reason", ctx.reason)) if said}


def _signed(ctx: Context, package: Digest) -> list[dict[str, str]]:
    """Tell the stages and signers by which a package goes out, judged once more right before it does."""
    from charter.govern.approval import counted

    decision = judge_approvals(ctx.workspace, ctx.loaded, ctx.records, package)
    if not decision.allows:
        raise Refusal(
            "the approval was taken back meanwhile", decision=decision, remedy="See `charter plan`."
        )
    built = package_result(ctx.records, package)
    approvals = ctx.records.approvals(built.summary["version"]) if built else []
    return [
        {"stage": a.stage, "role": a.role, "identity": a.identity, "signature": a.signature}
        for a in counted(ctx.spec.approve, approvals, decision.evidence)
    ]


def lay_out(blobs: Blobs, package: Digest, signature: Digest, folder: Path) -> None:
    """Unpack a package and its signature into ``folder``, which appears only when it is whole."""
    if folder.is_dir():
        return
    work = folder.with_name(f".{folder.name}")
    shutil.rmtree(work, ignore_errors=True)
    blobs.checkout(package, work)
    (work / "signature.json").write_bytes(blobs.get(signature))
    work.rename(folder)
    sync_folder(folder.parent)


def package_folder(workspace: Workspace, name: str, package: str) -> Path:
    """Folder where a signed package lies open for a server."""
    return workspace.state / "packages" / f"{name}-{package[:16]}"


def _builder(ctx: Context) -> Signer:
    """Return this workspace's own key, made when it first builds; its public half stands in the audit trail.

    Workspaces that share records have a key each, and each its own name.
    """
    from charter.govern.io import keys

    home = ctx.workspace.state
    made = keys.key_file(BUILDER, home).exists()
    signer = keys.load(BUILDER, home) if made else keys.create(BUILDER, home)
    signer = replace(signer, name=builder_name(signer.public_key))
    if trusted_keys(ctx.workspace, ctx.records).get(signer.name) != signer.public_key:
        ctx.audit("builder.created", signer.name, {"public_key": signer.public_key})
    return signer


def builder_name(public_key: str) -> str:
    """Name of the builder with this key.

    Examples
    --------
    >>> builder_name("0123456789abcdef" * 4)
    'builder-01234567'
    """
    return f"{BUILDER}-{public_key[:8]}"


def trusted_keys(workspace: Workspace, records: Records) -> dict[str, str]:
    """Name to public key of whoever may sign packages, as the audit trail has it.

    Raises
    ------
    Refusal
        When the trail is not whole, or the records are not what it tells: then nobody is trusted.
    """
    trusted: dict[str, str] = {}
    for event in proven(workspace, records):
        key = str(event.detail.get("public_key", ""))
        if event.action == "builder.created" and event.subject == builder_name(key):
            trusted.setdefault(event.subject, key)  # a later key never takes an earlier one's name
    return trusted
