"""Migrations of the records, run by `charter.registry.io.schema.upgrade`."""
