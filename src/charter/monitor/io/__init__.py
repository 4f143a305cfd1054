"""What touches disk."""
