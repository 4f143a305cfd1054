"""Metrics with intervals, slices, fairness, threshold, baselines."""

ALGORITHM = 4
"""Revision of how the stage `evaluate` chooses thresholds and measures.

Raise it with any change after which the same inputs give another output. It is part of the stage's key, so every model
is made again, and `charter plan` says why.
"""
