"""A whole backend for tests: in memory, with a clock that you move."""
