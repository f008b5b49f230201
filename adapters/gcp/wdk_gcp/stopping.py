"""SIGTERM, by which Cloud Run says that an instance has 10 seconds left."""

from __future__ import annotations

import asyncio
import signal
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

SIGNALS = (signal.SIGTERM, signal.SIGINT)


@contextmanager
def stopped_by_signal(stop: Callable[[], None]) -> Generator[None]:
    """Call `stop` on the running loop when a signal comes, beside what the server does about it."""
    if threading.current_thread() is not threading.main_thread():  # no signals come here
        yield
        return
    loop = asyncio.get_running_loop()
    before: dict[int, Any] = {number: signal.getsignal(number) for number in SIGNALS}

    def heard(number: int, frame: Any) -> None:
        loop.call_soon_threadsafe(stop)
        if callable(before[number]):
            before[number](number, frame)
        elif before[number] == signal.SIG_DFL:  # nobody else would end the process
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)

    for number in SIGNALS:
        signal.signal(number, heard)
    try:
        yield
    finally:
        for number, handler in before.items():
            if signal.getsignal(number) is heard:
                signal.signal(number, handler)
