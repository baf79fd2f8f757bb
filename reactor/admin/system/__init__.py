"""The `_system/…` functions. Importing this package makes them part of every app."""

from reactor.admin.system import deployment, environment, functions, tables

__all__ = ["deployment", "environment", "functions", "tables"]
