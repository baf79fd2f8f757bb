"""The `_system/…` functions. Importing this package makes them part of every app."""

from reactor.admin.system import environment

__all__ = ["environment"]
