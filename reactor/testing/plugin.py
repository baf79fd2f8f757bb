"""The pytest plugin that comes with reactor."""
