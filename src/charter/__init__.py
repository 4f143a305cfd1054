"""Charter: one specification, from business objective to an approved, served and audited model."""

__version__ = "0.1.0"
