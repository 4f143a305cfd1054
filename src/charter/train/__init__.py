"""Learners, search, imbalance, calibration."""
