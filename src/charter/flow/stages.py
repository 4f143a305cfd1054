"""Which function carries out which stage."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from charter.flow import build, judge, release
from charter.flow.context import Context, Done, Output
from charter.flow.plan import Stage

STAGES: Mapping[Stage, Callable[[Context, Done], Output]] = {
    Stage.SNAPSHOT: build.snapshot,
    Stage.FEATURES: build.features,
    Stage.TRAIN: build.train,
    Stage.EVALUATE: judge.evaluate,
    Stage.GATE: judge.gate,
    Stage.PACKAGE: release.package,
}
