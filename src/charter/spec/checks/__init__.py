"""What is wrong with a specification although every word of it is well formed. No data is needed to see it."""
