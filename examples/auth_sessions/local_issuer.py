"""An identity provider for this machine: `python local_issuer.py ann bob` prints a token for each, good for an hour."""

from __future__ import annotations

import sys

from reactor.testing import TestIssuer

with TestIssuer(application_id="auth-sessions", port=4001) as issuer:
    for name in sys.argv[1:] or ["ann"]:
        print(f"{name}: {issuer.token(name, name=name.title(), email=f'{name}@example.com')}\n")
    print(f"AUTH_ISSUER={issuer.url}; it has to run while the tokens are used. Enter ends it.")
    input()
