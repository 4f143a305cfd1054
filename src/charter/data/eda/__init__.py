"""Exploration of a table: what it holds, what is odd about it, and what hangs together. Pure."""
