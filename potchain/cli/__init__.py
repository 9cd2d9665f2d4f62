"""The command line. One file for each group of commands; parsing, progress and exit codes live here, rules do not.

Modules of this room import what they need inside the command that needs it, so that `--help` is immediate.
"""

from __future__ import annotations

from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Run `potchain` with these arguments, by default the process's own; returns the exit code."""
    from potchain.cli.program import run

    return run(arguments)
