"""`python -m reactor.cli`, for when the `reactor` command is not on the PATH."""

from __future__ import annotations

from reactor.cli import main

if __name__ == "__main__":
    main()
