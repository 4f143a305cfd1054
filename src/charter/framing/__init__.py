"""What the specification alone tells: suitability, feasibility, value."""
