"""Functions for the conformance tests: small, and each good for one thing."""
