"""How functions may be named on our command line: by their wire names, and by their names in Python where that is what is known."""

from __future__ import annotations

import itertools

from reactor.cli.target import Deployment
from reactor.schema.naming import camel

__all__ = ["wire_path"]


def wire_path(deployment: Deployment, given: str) -> str:
    """The path of the function that is meant: `tasks:countOpen`, also for `tasks:count_open` or `tasks.count_open`.

    What is a function's exact path always means that function, and what means none stays as it is: the server tells what
    there is. Only names that may be Python's cost a look at the deployment's functions. Raises ReactorError.
    """
    if given.startswith("_") or not _may_be_python(given):
        return given
    functions = deployment.call("_system/cli/modules:apiSpec", {})
    known = {entry["identifier"].replace(".js:", ":") for entry in functions if "identifier" in entry}
    if given.replace(".js:", ":") in known:
        return given
    return next((path for path in _meanings(given) if path in known), given)


def _may_be_python(given: str) -> bool:
    return "_" in given or "." in given.replace(".js:", ":")


def _meanings(given: str) -> list[str]:
    module, colon, name = given.partition(":")
    if not colon:
        module, _, name = given.rpartition(".")
    module = module.replace(".", "/").removeprefix("functions/")
    parts = module.split("/")
    modules, names = (module, "/".join(map(camel, parts))), (name, camel(name))
    return [f"{m}:{n}" for m, n in itertools.product(modules, names)]
