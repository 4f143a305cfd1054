"""The server and its feature lookups."""
