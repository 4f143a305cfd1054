"""The model specification: types, loader, checks, diff, digests, JSON Schema."""
