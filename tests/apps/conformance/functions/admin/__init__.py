"""A nested package of functions."""
