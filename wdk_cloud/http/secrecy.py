"""Tokens of hooks in paths, kept out of the logs of servers and of clients."""

from __future__ import annotations

import logging
import re

_IN_PATH = re.compile(r"(/\.well-known/workflow/v1/(?:webhook|api/hooks)/)[^\s\"'?#]+")

LOGGERS = ("uvicorn.access", "hypercorn.access", "httpx")
"""Those that write the paths of requests."""


def hidden(text: str) -> str:
    return _IN_PATH.sub(r"\1…", text)


class _Hiding(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        if isinstance(record.msg, str):
            record.msg = hidden(record.msg)
        if isinstance(record.args, tuple):
            record.args = tuple(_hidden_in(arg) for arg in record.args)
        return True


def _hidden_in(arg: object) -> object:
    """Numbers stay what they are: formats ask for them."""
    if isinstance(arg, int | float):
        return arg
    text = str(arg)
    shown = hidden(text)
    return arg if shown == text else shown


_hiding = _Hiding()


def hide_tokens() -> None:
    """From now on these loggers write `…` where a token stood; doing it twice changes nothing."""
    for name in LOGGERS:
        logging.getLogger(name).addFilter(_hiding)
