"""What was brought in from outside: a file for each import, which counts as far as the audit trail tells of it.

Outcomes and key figures decide rollouts, experiments and retraining. So the trail keeps the digest of each file, and a
file is held against it whenever it is read. An import that was killed between its file and its entry counts from the
next import on, which makes up for the entry.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from charter.core.clock import iso
from charter.core.digest import digest_bytes
from charter.core.errors import DataError, UsageError
from charter.core.io.files import write_atomic
from charter.core.nearest import did_you_mean
from charter.core.text import one_line
from charter.flow.lock import hold
from charter.flow.workspace import Workspace
from charter.govern.audit import Fault, Harm, describe

if TYPE_CHECKING:
    from charter.registry.io.records import Records
    from charter.registry.types import AuditEvent

_DIGITS = 8


@dataclass(frozen=True, slots=True)
class Kind:
    """What is brought in.

    Attributes
    ----------
    words
        What it is called.
    command
        By which it is brought in and withdrawn.
    imported, withdrawn
        Actions of the audit trail.
    prefix, suffix
        Of a file's name, around its number.
    """

    words: str
    command: str
    imported: str
    withdrawn: str
    prefix: str
    suffix: str

    def name(self, number: int) -> str:
        """Of the file of an import."""
        return f"{self.prefix}{number:0{_DIGITS}d}{self.suffix}"

    def files(self, folder: Path) -> list[Path]:
        """All that lie in a folder, in the order of their imports."""
        found = folder.glob(f"{self.prefix}{'[0-9]' * _DIGITS}{self.suffix}")
        return sorted(found, key=lambda path: _number(path.name))


OUTCOMES = Kind("outcomes", "charter outcomes", "outcomes.imported", "outcomes.withdrawn", "", ".parquet")
KPIS = Kind("key figures", "charter kpi", "kpis.imported", "kpis.withdrawn", "kpis-", ".json")
KINDS = (OUTCOMES, KPIS)


def folder_of(workspace: Workspace, model: str) -> Path:
    """Where what was brought in for a model is kept."""
    return workspace.state / "outcomes" / model


def read(workspace: Workspace, model: str, kind: Kind) -> list[bytes]:
    """Contents of all imports in order, each as it was imported.

    Raises
    ------
    DataError
        When a file was changed or removed since; names it, its import and what to do.
    """
    with workspace.records(model, readonly=True) as records:
        told = _standing(_events(records, model, kind), kind)
    contents = []
    for event, harm, said, content in _held(workspace, model, kind, told):
        if harm is not None:
            raise DataError(said, remedy=_remedy(kind, _file(event)))
        contents.append(content)
    return contents


def keep(
    workspace: Workspace,
    model: str,
    kind: Kind,
    actor: str,
    tell: Callable[[bytes], Mapping[str, Any]],
    content: bytes | None = None,
) -> None:
    """Keep the file of an import, on record, and make up for the entries of imports that were killed before theirs.

    The caller holds the workspace's lock.

    Parameters
    ----------
    tell
        What an entry says of a file beside its name and digest; ValueError where it is none.
    content
        None makes up for entries alone.

    Raises
    ------
    DataError
        When a file without an entry cannot have been written by an import.
    """
    from charter.govern.io.trail import Trail

    folder = folder_of(workspace, model)
    if content is None and not kind.files(folder):
        return
    with workspace.records(model) as records:
        trail = Trail(records, workspace.anchor_file)
        events = _events(records, model, kind)
        known = {_file(event) for event in events}

        def put(path: Path, data: bytes, more: Mapping[str, Any]) -> None:
            detail = {"file": path.name, "digest": digest_bytes(data), **tell(data), **more}
            trail.append(
                at=workspace.clock.now(), actor=actor, action=kind.imported, subject=model, detail=detail
            )

        for path in kind.files(folder):
            if path.name not in known:
                try:
                    put(path, path.read_bytes(), {"recovered": True})
                except (ValueError, OSError) as error:
                    message = (
                        f"{path} holds no {kind.words}, and no import is on record that wrote it: {error}"
                    )
                    raise DataError(message, remedy="Find out where it comes from, and remove it.") from error
                known.add(path.name)
        if content is not None:
            path = folder / kind.name(max(map(_number, known), default=0) + 1)
            write_atomic(path, content)
            put(path, content, {})


def withdraw(workspace: Workspace, model: str, kind: Kind, file: str, *, reason: str) -> Mapping[str, Any]:
    """Let the file of an import count no longer: one that is damaged, lost, or should not have been imported.

    What it said is forgotten, the import and its withdrawal stay on record; the file itself is left as it is.

    Returns
    -------
    What the trail told of the import.

    Raises
    ------
    UsageError
        When no such file counts, or no reason is given.
    """
    from charter.govern.io.trail import Trail

    reason = one_line(reason, "a reason", required=True)
    doing, actor = f"{kind.command} withdraw", workspace.settings.actor
    with (
        hold(workspace.lock_file, doing=doing, actor=actor, clock=workspace.clock, wait_seconds=60),
        workspace.records(model) as records,
    ):
        told = _standing(_events(records, model, kind), kind)
        if file not in told:
            raise UsageError(
                f"{file} is no file of {kind.words} that counts",
                remedy=did_you_mean(file, told) if told else "None does.",
            )
        was = told[file]
        Trail(records, workspace.anchor_file).append(
            at=workspace.clock.now(),
            actor=actor,
            action=kind.withdrawn,
            subject=model,
            detail={"file": file, "import": was.sequence, "reason": reason},
        )
        return was.detail


def forget(workspace: Workspace, model: str, *, reason: str, actor: str) -> None:
    """Withdraw all imports, of which a copy of a workspace has the entries and not the files."""
    from charter.govern.io.trail import Trail

    with workspace.records(model) as records:
        trail = Trail(records, workspace.anchor_file)
        for kind in KINDS:
            for file, event in _standing(_events(records, model, kind), kind).items():
                detail = {"file": file, "import": event.sequence, "reason": reason}
                trail.append(
                    at=workspace.clock.now(), actor=actor, action=kind.withdrawn, subject=model, detail=detail
                )


def unfinished(workspace: Workspace, model: str, kind: Kind) -> list[Path]:
    """Files that no entry tells of: of imports that were killed before theirs, and that do not count yet."""
    files = kind.files(folder_of(workspace, model))
    if not files:
        return []
    with workspace.records(model, readonly=True) as records:
        known = {_file(event) for event in _events(records, model, kind)}
    return [path for path in files if path.name not in known]


def faults(workspace: Workspace, events: Iterable[AuditEvent]) -> Iterator[Fault]:
    """Say which files of all models are not what the trail tells of them; changes nothing."""
    by_model: dict[tuple[str, Kind], list[AuditEvent]] = {}
    for event in events:
        for kind in KINDS:
            if event.action in (kind.imported, kind.withdrawn):
                by_model.setdefault((event.subject, kind), []).append(event)
    for folder in sorted((workspace.state / "outcomes").glob("*/")):
        for kind in KINDS:
            if kind.files(folder):
                by_model.setdefault((folder.name, kind), [])
    for (model, kind), own in by_model.items():
        told = _standing(own, kind)
        if told and _elsewhere(workspace, model):
            yield Fault(0, Harm.ELSEWHERE, f"the {kind.words} of {model} are not kept in this workspace")
            continue
        for event, harm, said, _ in _held(workspace, model, kind, told):
            if harm is not None:
                yield Fault(event.sequence, harm, said, row=f"{kind.words} {_file(event)}")
        known = {_file(event) for event in own}
        for path in kind.files(folder_of(workspace, model)):
            if path.name not in known:
                message = f"{path} does not count: its import did not finish, and the next one records it"
                yield Fault(0, Harm.UNFINISHED, message, row=f"{kind.words} {path.name}")


def _events(records: Records, model: str, kind: Kind) -> list[AuditEvent]:
    return list(records.events(actions=(kind.imported, kind.withdrawn), subject=model))


def _standing(events: Iterable[AuditEvent], kind: Kind) -> dict[str, AuditEvent]:
    """Imports that count, by file, in the order of their files."""
    found: dict[str, AuditEvent] = {}
    for event in events:
        if event.action == kind.imported:
            found[_file(event)] = event
        else:
            found.pop(_file(event), None)
    return dict(sorted(found.items(), key=lambda one: _number(one[0])))


def _held(
    workspace: Workspace, model: str, kind: Kind, told: Mapping[str, AuditEvent]
) -> Iterator[tuple[AuditEvent, Harm | None, str, bytes]]:
    """Hold each file against its entry: what was done to it, in words too, and what it holds."""
    if _elsewhere(workspace, model):
        return
    for name, event in told.items():
        path = folder_of(workspace, model) / name
        imported = f"{_what(event, kind)} were imported on {iso(event.at)[:10]}, see {describe(event)}"
        try:
            content = path.read_bytes()
        except OSError as error:
            lost = "is gone" if isinstance(error, FileNotFoundError) else "cannot be read"
            yield event, Harm.REMOVED, f"{path} {lost}: {imported}", b""
            continue
        if digest_bytes(content) == event.detail.get("digest"):
            yield event, None, "", content
        else:
            yield event, Harm.ALTERED, f"{path} is not what was imported: {imported}", content


def _elsewhere(workspace: Workspace, model: str) -> bool:
    """Whether the records are shared with the workspace in which imports are made."""
    return workspace.settings.records_url is not None and not folder_of(workspace, model).exists()


def _what(event: AuditEvent, kind: Kind) -> str:
    count = event.detail.get("rows", event.detail.get("values"))
    return f"{count:,} {kind.words}" if isinstance(count, int) else kind.words


def _remedy(kind: Kind, file: str) -> str:
    return (
        f"Put the file back from a backup. Where there is none: `{kind.command} withdraw {file} --reason ...`, "
        f"and `{kind.command} import` of what it held."
    )


def _file(event: AuditEvent) -> str:
    return str(event.detail["file"])


def _number(name: str) -> int:
    return int(re.sub(r"\D", "", name) or 0)
