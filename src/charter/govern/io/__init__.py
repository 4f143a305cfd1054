"""Keys and the audit anchor on disk."""
