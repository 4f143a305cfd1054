"""Scorer, online application, batch."""
