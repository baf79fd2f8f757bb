"""The command line. `main` is the console command `reactor`."""

from __future__ import annotations

__all__ = ["main"]


def main() -> None:
    """Run the command line; never returns."""
    # Imported here, so that importing the package (as entry points do) stays cheap.
    from reactor.cli.commands import run

    run()
