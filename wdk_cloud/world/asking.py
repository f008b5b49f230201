"""Clients that block, asked in threads of their own, and what they raise in this project's words."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, ParamSpec, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

P = ParamSpec("P")
T = TypeVar("T")

THREADS = 32
"""Requests at once: the inline steps of a few turns, with their streams; each thread costs some 100 KB once it ran."""


class Asking(ABC):
    """The clients of one cloud. `name` is that of their threads."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._executor: ThreadPoolExecutor | None = None

    @abstractmethod
    def translated(self, error: Exception, setting: str) -> Exception | None:
        """What it means to this project; None: it is for the caller, who knows what it asked for."""

    async def ask(self, setting: str, method: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Call a function that asks a client, in a thread. `setting` is the variable that names what is asked for.

        Raises what `translated` makes of the client's errors, and those that it leaves alone.
        """
        call = partial(self.ask_now, setting, method, *args, **kwargs)
        return await asyncio.get_running_loop().run_in_executor(self._threads(), call)

    def ask_now(self, setting: str, method: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """As `ask`, in the calling thread."""
        try:
            return method(*args, **kwargs)
        except Exception as error:
            other = self.translated(error, setting)
            if other is None:
                raise
            raise other from error

    def close(self) -> None:
        if self._executor is not None:
            self._executor.shutdown(wait=False, cancel_futures=True)
            self._executor = None

    def _threads(self) -> ThreadPoolExecutor:
        if self._executor is None:
            self._executor = ThreadPoolExecutor(THREADS, thread_name_prefix=self._name)
        return self._executor
