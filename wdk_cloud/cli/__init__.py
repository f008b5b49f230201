"""The command line: `wdk`. Nothing else in the code base imports it; typer and rich are imported here only."""

from __future__ import annotations

import os
import sys

SERVING = (["dev"], ["worker"], ["replay"], ["aws", "serve"])
"""The commands in whose process workflow bodies run."""


def main() -> None:
    """The entry point of `wdk`."""
    if any(sys.argv[1 : 1 + len(words)] == words for words in SERVING):
        _fix_hash_seed()
    from wdk_cloud.cli.program import program

    program(prog_name="wdk")


def _fix_hash_seed() -> None:
    """Start again with a fixed seed: sets and dicts have to iterate alike in every process that runs bodies.

    Python reads the variable when it starts, so this process is replaced; it keeps its id and its terminal.
    """
    if os.environ.get("PYTHONHASHSEED") in (None, "", "random"):
        environment = {**os.environ, "PYTHONHASHSEED": "0"}
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], environment)  # noqa: S606 -- ourselves, no shell
