"""The sample app's functions. `rules/` holds what several of them must agree on; it exports no function."""
