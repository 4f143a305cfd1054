"""Tracking of runs."""
