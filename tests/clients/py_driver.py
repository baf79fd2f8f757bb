"""Drives the official PyPI client on behalf of a test: one command after another, as JSON lines on stdin.

A process of its own, because the client's blocking methods hold the GIL while they wait.
"""

from __future__ import annotations

import json
import math
import os
import sys
from typing import Any

from convex import ConvexClient, ConvexError, ConvexInt64
from convex.http_client import ConvexHttpClient
from convex.values import convex_to_json, json_to_convex

# The client logs to standard output by itself, from Rust: that goes to standard error, and answers to where it was.
_answers = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)


def tell(**message: Any) -> None:
    print(json.dumps(message), file=_answers, flush=True)


def encode(value: Any) -> Any:
    return convex_to_json(value)


def _floats(json_value: Any) -> Any:
    """This client's decoder takes no JSON integers."""
    if isinstance(json_value, bool):
        return json_value
    if isinstance(json_value, int):
        return float(json_value)
    if isinstance(json_value, list):
        return [_floats(item) for item in json_value]
    if isinstance(json_value, dict):
        return {name: _floats(item) for name, item in json_value.items()}
    return json_value


def decode(json_value: Any) -> Any:
    return json_to_convex(_floats(json_value))


def describe(error: BaseException) -> dict[str, Any]:
    told: dict[str, Any] = {"name": type(error).__name__, "message": str(error)}
    if isinstance(error, ConvexError):
        told["data"] = encode(error.data)
    return told


clients: dict[str, Any] = {}
subscriptions: dict[str, Any] = {}

VALUES: dict[str, Any] = {
    "nothing": None,
    "yes": True,
    "no": False,
    "zero": 0.0,
    "negativeZero": -0.0,
    "whole": 3.0,
    "fraction": -1.5,
    "tiny": 5e-324,
    "huge": sys.float_info.max,
    "notANumber": math.nan,
    "infinity": math.inf,
    "negativeInfinity": -math.inf,
    "beyondDoubles": ConvexInt64(2**53 + 1),
    "smallestInt": ConvexInt64(-(2**63)),
    "largestInt": ConvexInt64(2**63 - 1),
    "emptyBytes": b"",
    "bytes": bytes([0, 1, 2, 253, 254, 255]),
    "manyBytes": bytes(range(256)) * 1200,
    "emptyText": "",
    "astral": "smile 😀 clef 𝄞 \x00 \x7f é ✓ \u2028 \ufeff",
    "emptyArray": [],
    "emptyObject": {},
    "nested": [[1.0, [2.0, [ConvexInt64(3), "x", {"deep": [None, {"": 1.0, "a b": 2.0}]}]]]],
}


def _say(value: Any) -> str:
    return repr(convex_to_json(value))


class Operations:
    def new_client(self, name: str, url: str) -> None:
        clients[name] = ConvexClient(url)

    def new_http_client(self, name: str, url: str) -> None:
        clients[name] = ConvexHttpClient(url)

    def subscribe(self, name: str, sub: str, path: str, args: Any = None) -> None:
        subscriptions[sub] = iter(clients[name].subscribe(path, decode(args or {})))

    def next(self, sub: str) -> Any:
        """The next value; an error of the query is raised."""
        return encode(next(subscriptions[sub]))

    def unsubscribe(self, sub: str) -> None:
        subscriptions.pop(sub).unsubscribe()

    def query(self, name: str, path: str, args: Any = None) -> Any:
        return encode(clients[name].query(path, decode(args or {})))

    def mutation(self, name: str, path: str, args: Any = None) -> Any:
        return encode(clients[name].mutation(path, decode(args or {})))

    def action(self, name: str, path: str, args: Any = None) -> Any:
        return encode(clients[name].action(path, decode(args or {})))

    def set_admin_auth(self, name: str, key: str) -> None:
        clients[name].set_admin_auth(key)

    def set_auth(self, name: str, token: str) -> None:
        clients[name].set_auth(token)

    def clear_auth(self, name: str) -> None:
        clients[name].clear_auth()

    def size_of_rows(self, name: str, path: str, args: Any = None) -> Any:
        """How many rows a big result has, and how long the first is: the value itself would only cross two pipes."""
        value = clients[name].query(path, decode(args or {}))
        return [len(value["rows"]), len(value["rows"][0])]

    def next_sizes(self, subs: list[str]) -> Any:
        return [len(next(subscriptions[sub])["rows"]) for sub in subs]

    def round_trip(self, name: str, path: str) -> Any:
        wrong = []
        for label, value in VALUES.items():
            back = clients[name].query(path, {"value": value})
            if _say(back) != _say(value):
                wrong.append([label, repr(back)[:200]])
        back = clients[name].query(path, {"value": VALUES})
        if _say(dict(sorted(back.items()))) != _say(dict(sorted(VALUES.items()))):
            wrong.append(["all together", ""])
        return {"tried": len(VALUES) + 1, "wrong": wrong}


def main() -> None:
    operations = Operations()
    tell(event="ready")
    for line in sys.stdin:
        command = json.loads(line)
        number, name = command.pop("id"), command.pop("op")
        try:
            tell(id=number, ok=getattr(operations, name)(**command))
        except Exception as error:
            tell(id=number, error=describe(error))


if __name__ == "__main__":
    main()
