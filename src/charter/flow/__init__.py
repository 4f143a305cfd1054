"""Plan, explain, apply."""
