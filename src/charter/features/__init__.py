"""Expressions, window aggregates, encoders, selection."""
