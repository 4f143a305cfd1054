"""Expressions, window aggregates, encoders, selection."""

ALGORITHM = 2
"""Revision of how the stage `features` forms observations, labels and features.

Raise it with any change after which the same inputs give another output. It is part of the stage's key, so every model
is made again, and `charter plan` says why.
"""
