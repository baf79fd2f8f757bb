"""Functions for tools to list, call and generate types of."""
