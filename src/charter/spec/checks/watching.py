"""What can be known to be wrong with rules on windows: measures that no window will ever hold."""

from __future__ import annotations

from charter.spec.alerts import AlertRule
from charter.spec.checks.examiner import Examiner
from charter.spec.document import Path
from charter.spec.measures import SCORE, fault_of
from charter.spec.scope import Scope


def check_watching(look: Examiner, names: Scope) -> None:
    """Check ``monitor.alerts`` and ``retrain.when``: a rule on what is not measured would be silent for ever."""
    spec = look.spec
    if not look.names_known or look.faults:  # else what the model is given cannot be told
        return
    given = [name for name in names.candidates if name not in spec.features.exclude]
    rules: list[tuple[Path, str]] = [
        (("monitor", "alerts", name, "when"), alert.when) for name, alert in spec.monitor.alerts.items()
    ]
    rules += [(("retrain", "when", name), text) for name, text in spec.retrain.when.items()]
    for path, text in rules:
        rule = AlertRule.parse(text)
        for condition in filter(None, (rule.condition, rule.when)):
            found = fault_of(condition, spec, [*given, SCORE])
            if found is not None:
                look.fault(path, *found)
