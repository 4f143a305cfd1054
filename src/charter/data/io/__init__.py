"""Reading sources and catalogue data sets."""
