"""Model packages, versions, records."""
