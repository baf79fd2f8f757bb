"""Reads `providers` from an app's `functions/auth_config.py`."""

from __future__ import annotations

from collections.abc import Mapping
from types import ModuleType
from typing import Final

from reactor.auth.providers import Provider, provider_of
from reactor.errors import SchemaError

__all__ = ["AUTH_CONFIG_MODULE", "read_providers"]

AUTH_CONFIG_MODULE: Final = "authConfig"
"""The module path of `functions/auth_config.py`."""

_EXAMPLE: Final = 'providers = [OidcProvider(domain="https://…", application_id="…")]'


def read_providers(modules: Mapping[str, ModuleType]) -> tuple[Provider, ...]:
    """The providers of an app, by its modules; none when it has no such file. Raises SchemaError naming the file."""
    module = modules.get(AUTH_CONFIG_MODULE)
    if module is None:
        return ()
    file = module.__file__ or "functions/auth_config.py"
    listed = getattr(module, "providers", None)
    if isinstance(listed, Mapping) and "providers" in listed:
        listed = listed["providers"]  # Convex's file exports an object
    if not isinstance(listed, list | tuple):
        found = "there is none" if listed is None else f"it is {listed!r}"
        raise SchemaError(f"{file}: `providers` must be a list, and {found}. Write {_EXAMPLE}")
    try:
        return tuple(map(provider_of, listed))
    except SchemaError as error:
        raise SchemaError(f"{file}: {error}", code=error.code) from None
