"""The few ways in which Charter writes a file."""
