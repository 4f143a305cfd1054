"""The reference systems: a specification, a README and little code; found as entry points ``charter.blueprints``."""

from __future__ import annotations

from importlib.resources import files
from importlib.resources.abc import Traversable


def customer_churn() -> Traversable:
    """Folder of ``customer-churn``: which active customers will buy nothing in the next 90 days."""
    return files(__package__) / "customer_churn"


def credit_risk() -> Traversable:
    """Folder of ``credit-risk``: which card holders will miss next month's payment."""
    return files(__package__) / "credit_risk"


def sales_forecast() -> Traversable:
    """Folder of ``sales-forecast``: how many packs of each juice each store sells in the next twelve weeks."""
    return files(__package__) / "sales_forecast"
