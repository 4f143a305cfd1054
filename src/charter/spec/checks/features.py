"""Features: windows over events, row features over what is known, and no way in for the label."""

from __future__ import annotations

from collections.abc import Mapping

from charter.spec.checks.examiner import Examiner, source_kinds
from charter.spec.checks.observations import event_source
from charter.spec.checks.sources import is_reserved
from charter.spec.document import Path
from charter.spec.functions import Kind
from charter.spec.scope import Scope, window_features
from charter.spec.types import WindowSpec

_FEATURES: Path = ("features",)


def check_features(look: Examiner, scope: Scope) -> None:
    """Check windows, row features, and the lists that name features."""
    _check_windows(look)
    _check_rows(look, scope)
    _check_lists(look, scope)
    _check_label_stays_out(look, scope)
    left = [name for name in scope.candidates if name not in look.spec.features.exclude]
    if (
        not left
        and look.names_known
        and look.spec.data.observations.source in (None, *look.spec.data.sources)
    ):
        look.fault(
            _FEATURES, "leave the model nothing to see", "add rows or windows, or exclude less", at_key=True
        )


def _check_windows(look: Examiner) -> None:
    features = look.spec.features
    observations = look.spec.data.observations
    if features.windows and observations.entity is None and not observations.series:
        look.fault((*_FEATURES, "windows"), "need an entity whose past they look at",
                   "observe an 'entity' at 'cutoffs' instead of the rows of a source", at_key=True)  # fmt: skip
        return
    for name, window in features.windows.items():
        _check_window((*_FEATURES, "windows", name), window, look)
    origins: dict[str, str] = {}
    for name, window in features.windows.items():
        for over in window.over:
            other = origins.setdefault(f"{name}_{over}", name)
            if other != name:
                look.fault(
                    (*_FEATURES, "windows", name), f"makes {name}_{over}, as {other} does", at_key=True
                )


def _check_window(path: Path, window: WindowSpec, look: Examiner) -> None:
    for i, over in enumerate(window.over):
        if over in window.over[:i]:
            look.fault((*path, "over", i), f"{over} stands twice", "leave one out")
    source = event_source((*path, "source"), window.source, look)
    if source is None:
        return
    kinds: dict[str, Kind] = {**source_kinds(source), "age_days": "number"}
    nowhere = f"which {window.source} does not have"
    if window.where is not None:
        look.expression((*path, "where"), window.where, kinds, nowhere=nowhere, wants="truth")
    look.expression(
        (*path, "aggregate"), window.aggregate, kinds, nowhere=nowhere, wants="number", aggregate=True
    )


def _check_rows(look: Examiner, scope: Scope) -> None:
    if scope.cycle:
        chain = " -> ".join(scope.cycle)
        look.fault((*_FEATURES, "rows", scope.cycle[0]), f"needs itself: {chain}", "one of them must do without",
                   at_key=True)  # fmt: skip
    for name, text in look.spec.features.rows.items():
        path = (*_FEATURES, "rows", name)
        if name in scope.base or name == look.spec.data.label.name:
            what = "the label" if name in scope.label else "a column" if name in scope.base else "the label"
            look.fault(path, f"is already the name of {what}", "choose another name", at_key=True)
        if is_reserved(name):
            look.fault(path, "is a name of Charter's own", "choose another name", at_key=True)
        kind = look.expression(path, text, scope.columns, nowhere=nowhere(look), forbidden=unusable(scope))
        if kind == "time":
            look.fault(path, "is a time, which is no feature", "take a part of it: EXTRACT(MONTH FROM x)")


def nowhere(look: Examiner) -> str:
    """Why a name is wrong in an expression over observations."""
    if look.spec.data.observations.entity is not None:
        return "which is neither a window feature nor a row feature"
    return "which no source has"


def unusable(scope: Scope) -> dict[str, str]:
    """Names that no expression over observations may use, with the reason."""
    reasons = dict.fromkeys(scope.keys, "which only identifies a row")
    return {
        **reasons,
        **dict.fromkeys(scope.label, "which is the label or made from it: a feature must be known before"),
    }


def _check_label_stays_out(look: Examiner, scope: Scope) -> None:
    """A derived column made from the label would be a feature that knows the answer."""
    label, observations = look.spec.data.label, look.spec.data.observations
    # Of series, a column that is not known ahead is no feature, and may be what a lag or window looks back at.
    if observations.source not in look.spec.data.sources or observations.series:
        return
    for name in sorted(scope.label - {label.name, label.column}):
        if name not in look.spec.features.exclude:
            look.fault(("data", "sources", observations.source or "", "derive", name), "is made from the label",
                       f"add {name} to features.exclude", at_key=True)  # fmt: skip


def check_feature_name(
    path: Path, name: str, look: Examiner, scope: Scope, *, at_key: bool = True, excluded: bool = False
) -> bool:
    """Note a fault unless ``name`` is a feature; ``excluded`` features pass only on demand."""
    reason = ""
    if name in scope.label:
        reason = "is the label or made from it, and never a feature"
    elif name in scope.keys:
        reason = "only identifies a row, and never is a feature"
    elif name in scope.times:
        reason = "says when a row was, and never is a feature"
    elif name in look.spec.features.exclude and not excluded:
        reason = "is excluded from the features"
    if reason:
        look.fault(path, f"{name} {reason}", "leave it out", at_key=at_key)
        return False
    windows = window_features(look.spec)
    if name not in scope.columns and name in windows.values():
        options = ", ".join(feature for feature, window in windows.items() if window == name)
        look.fault(path, f"{name} is a window, not a feature", f"its features: {options}", at_key=at_key)
        return False
    return look.known(path, name, scope.candidates, "is not a feature", at_key=at_key)


def _check_lists(look: Examiner, scope: Scope) -> None:
    features = look.spec.features
    windows = window_features(look.spec)
    for i, name in enumerate(features.exclude):
        path = (*_FEATURES, "exclude", i)
        if name not in scope.columns and name in windows.values():
            options = ", ".join(feature for feature, window in windows.items() if window == name)
            look.fault(path, f"{name} is a window, not a feature", f"its features: {options}")
        else:
            look.known(
                path, name, [*scope.columns, look.spec.data.label.name], "is not a column of the observations"
            )
        if name in features.exclude[:i]:
            look.fault(path, f"{name} stands twice", "leave one out")
    for name, encoding in features.encode.items():
        path = (*_FEATURES, "encode", name)
        if not check_feature_name(path, name, look, scope):
            continue
        if encoding == "numeric" and scope.candidates[name] == "text":
            look.fault(path, f"is numeric, but {name} holds text", "use one_hot, ordinal, target or hashing")
    _check_monotone(look, scope)


def _check_monotone(look: Examiner, scope: Scope) -> None:
    train = look.spec.train
    if train.monotone and train.task == "multiclass":
        look.fault(("train", "monotone"), "needs one score, and the task is multiclass", at_key=True)
    for name in train.monotone:
        path: Path = ("train", "monotone", name)
        if not check_feature_name(path, name, look, scope):
            continue
        if scope.candidates[name] == "text":
            look.fault(path, f"{name} holds text, which neither rises nor falls", "leave it out", at_key=True)
        elif _encoding(look.spec.features.encode, name) in ("one_hot", "target", "hashing"):
            look.fault(path, f"{name} is encoded as {look.spec.features.encode[name]}, which loses its order",
                       "encode it as numeric", at_key=True)  # fmt: skip


def _encoding(encode: Mapping[str, str], name: str) -> str:
    return encode.get(name, "")
