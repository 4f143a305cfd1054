"""Metrics with intervals, slices, fairness, threshold, baselines."""
