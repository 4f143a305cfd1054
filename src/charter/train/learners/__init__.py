"""Built-in learners and their portable form."""
