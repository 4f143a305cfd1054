"""Sources, contract, snapshot, profile, split, leaks, lineage."""
