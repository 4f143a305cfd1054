"""Experiments, and the rules by which one model replaces another. Judging is pure: `flow` brings the data."""
