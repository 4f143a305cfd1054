"""Sending all requests to the champion, or of a whole model to its fallback: at once, whatever was under way.

A stop waits for no training and asks for no proof: neither a package that is damaged nor a trail that was tampered with
keeps a model answering. What cannot be recorded then is done all the same, and said.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from charter.core.clock import iso
from charter.core.errors import CharterError, DataError, Refusal, UsageError
from charter.core.text import one_line
from charter.flow.moves import (
    KILLED,
    RESUMED,
    STOPPED,
    Stand,
    moving,
    record,
    serving_now,
    stand,
    tried_now,
)
from charter.flow.proven import rollout_rules
from charter.flow.rolling import alone, traffic_of
from charter.flow.views import version_number
from charter.flow.workspace import Workspace
from charter.registry.traffic import Traffic
from charter.spec.loader import Loaded

if TYPE_CHECKING:
    from charter.registry.io.records import Records
    from charter.registry.signing import Signer


def kill(
    workspace: Workspace,
    loaded: Loaded,
    *,
    everything: bool = False,
    name: str | None = None,
    reason: str = "",
) -> Stand:
    """Send all requests to the champion, at once; or, of the whole model, to its fallback.

    Parameters
    ----------
    everything
        Also the champion is taken away: the fallback that the release declares answers, or nobody (503).

    Raises
    ------
    Refusal
        When nothing is released, or there is nothing to end, or whoever asks does not hold the role. Also when it was
        done, but could not be recorded because the records or the audit trail are damaged.
    """
    from charter.govern.io import keys

    reason = one_line(reason, "the reason")
    signer = keys.load(name, workspace.settings.home) if name is not None else None
    try:
        return _recorded(workspace, loaded, everything, name, reason)
    except Refusal:
        raise
    except Exception as damage:  # whatever is wrong with the records or their disk, or whoever holds them
        _refuse_unentitled(workspace, loaded, signer, damage)
        raise _unrecorded(workspace, loaded, everything, damage) from damage


def _recorded(workspace: Workspace, loaded: Loaded, everything: bool, name: str | None, reason: str) -> Stand:
    from charter.flow.serving import narrow_file

    subject = tried_now(workspace, loaded)
    to = "stop the model" if everything else "end the rollout"
    with moving(
        workspace, loaded, subject, to, name, lambda records: _stopper(workspace, loaded, records), stops=True
    ) as act:
        serving = serving_now(loaded, act)
        champion = f"v{serving.version}"
        try:
            before = traffic_of(serving) or Traffic("full", champion)
        except UsageError:  # somebody edited the row; that is said when it cannot be recorded
            before = None
        if before is not None and (before.stage == "stopped" or (before.stage == "full" and not everything)):
            narrow_file(workspace, loaded, before)  # whoever was killed may not have come as far
            if everything:
                return Stand(loaded.spec.name, before, iso(serving.at))
            if before.stage == "stopped":
                raise Refusal(
                    f"the model is stopped already, since {iso(serving.at)[:19]}Z: nothing of it answers but its "
                    "fallback",
                    remedy="A person lets it answer again: `charter rollout resume`.",
                )
            raise Refusal(
                f"nothing is tried beside {champion}",
                remedy="To take the model itself away: `charter kill --all`. To an earlier one: `charter rollback`.",
            )
        traffic = Traffic("stopped" if everything else "full", champion)
        action = STOPPED if everything else KILLED
        detail = {"reason": reason, "before": before.to_json() if before is not None else None}
        candidate = before.candidate if before is not None else None
        retired = version_number(candidate) if candidate is not None else None
        try:
            record(workspace, act, action, serving, traffic, alone(serving.evidence), detail, retires=retired)
        except (Refusal, DataError) as damage:
            narrow_file(workspace, loaded, traffic)
            raise _done(everything, champion, damage) from damage
        narrow_file(workspace, loaded, traffic)
        return Stand(loaded.spec.name, traffic, iso(serving_now(loaded, act).at), action)


def _refuse_unentitled(
    workspace: Workspace, loaded: Loaded, signer: Signer | None, damage: Exception
) -> None:
    """Refuse whoever does not hold the role of stopping, by what can still be read of it.

    Raises
    ------
    Refusal
        When it takes a role, and whoever asks does not hold it, or cannot be shown to.
    """
    from charter.govern.io import people

    to = "stop what answers"
    try:
        with workspace.records(loaded.spec.name, readonly=True) as records:
            role = _stopper(workspace, loaded, records)
    except Exception:  # then only the file's own rules are left
        rules = loaded.spec.release.rollout
        role = rules.roles.stop if rules is not None else None
    if role is None:
        return
    if signer is None:
        raise Refusal(
            f"it takes a {role} to {to}", remedy="Say who you are by an identity with that role: `--as NAME`."
        )
    try:
        with workspace.records(loaded.spec.name, readonly=True) as records:
            people.entitled(records, signer, role, to=to)
    except Refusal:
        raise
    except Exception:  # whatever is wrong with the records, nobody's role is proven by them
        raise Refusal(
            f"it takes a {role} to {to}, and who is one cannot be read: {_told(damage)}",
            remedy="End the server's process: it goes on with what it has loaded.",
        ) from damage


def _unrecorded(workspace: Workspace, loaded: Loaded, everything: bool, damage: Exception) -> Refusal:
    """Tell servers by their own file, and return what is to be said of it."""
    from charter.flow.serving import narrow_file
    from charter.serve.io.loading import read_deployment

    try:
        champion = read_deployment(workspace.state / "deployment.json").models[0].version
        narrow_file(workspace, loaded, Traffic("stopped" if everything else "full", champion))
    except (CharterError, OSError) as untold:
        return Refusal(
            f"servers cannot be told: {_told(untold)}; nor can the records be used: {_told(damage)}",
            remedy="End the server's process: it goes on with what it has loaded.",
        )
    return _done(everything, champion, damage)


def _done(everything: bool, champion: str, damage: Exception) -> Refusal:
    done = "nobody but the fallback answers" if everything else f"{champion} alone answers"
    remedy = getattr(damage, "remedy", None) or "Mend the records."
    return Refusal(
        f"{done} now, but that is on no record: {_told(damage)}",
        remedy=f"{remedy} Then stop it once more, so that it is recorded.",
    )


def _told(damage: Exception) -> str:
    return damage.message if isinstance(damage, CharterError) else f"{type(damage).__name__}: {damage}"


def resume(workspace: Workspace, loaded: Loaded, *, name: str | None = None, reason: str = "") -> Stand:
    """Let a model that was stopped answer again.

    Raises
    ------
    Refusal
        When it is not stopped, or whoever asks does not hold the role.
    PackageError
        When its package is damaged; then it stays stopped.
    """
    from charter.flow.released import prove

    to = "let the model answer again"
    with moving(
        workspace, loaded, loaded.spec.name, to, name, lambda records: starter(workspace, loaded, records)
    ) as act:
        serving = serving_now(loaded, act)
        before = traffic_of(serving)
        if before is None or before.stage != "stopped":
            raise Refusal(
                f"v{serving.version} is not stopped", remedy="`charter rollout status` says what serves."
            )
        prove(workspace, act.records, loaded.spec.name, serving.package)
        full = Traffic("full", before.champion)
        record(workspace, act, RESUMED, serving, full, alone(serving.evidence), {"reason": reason})
        return stand(workspace, loaded, act, did=RESUMED)


def starter(workspace: Workspace, loaded: Loaded, records: Records) -> str | None:
    """Role that it takes to let a model answer."""
    rules = rollout_rules(workspace, loaded, records)
    return rules.roles.start if rules is not None else None


def _stopper(workspace: Workspace, loaded: Loaded, records: Records) -> str | None:
    try:
        rules = rollout_rules(workspace, loaded, records)
    except (
        CharterError,
        ValueError,
    ):  # what cannot be read any more can still be ended, by the file's own rules
        rules = loaded.spec.release.rollout
    return rules.roles.stop if rules is not None else None
