"""The command line: thin commands over `charter.flow`; heavy imports happen inside the command that needs them."""
