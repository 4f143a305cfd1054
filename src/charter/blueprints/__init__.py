"""Reference systems: a specification, a README, little code."""
