"""What every room stands on: errors, decisions, digests, time. Standard library only."""
