"""What runs inside pyodide: pytest, in a CPython that is made to resemble others again."""

import asyncio
import sys
import time
from asyncio import events, unix_events

import pytest

PREFIX = "/lib/python3.14"
"""Where the standard library's folder is. This Python says that its prefix is `/`: a body may read what belongs to the
installation, which would be every file there is."""


class HostLoop(asyncio.SelectorEventLoop):
    """The ordinary loop, without the sockets that wake it from other threads: there are none."""

    def _make_self_pipe(self) -> None:
        pass

    def _close_self_pipe(self) -> None:
        pass


class Policy(unix_events._UnixDefaultEventLoopPolicy):
    _loop_factory = HostLoop


def run(arguments: list[str]) -> int:
    sys.prefix = sys.base_prefix = PREFIX
    sys.dont_write_bytecode = False
    # Pyodide runs coroutines on the loop of JavaScript, which no function can wait for.
    asyncio.run, time.sleep = asyncio.run.__wrapped__, time.sleep.__wrapped__
    events._set_event_loop_policy(Policy())
    events._set_running_loop(None)
    return int(pytest.main(arguments))
