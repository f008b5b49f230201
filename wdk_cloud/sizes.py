"""Amounts of data, as users write them: "10 MB", "512 KiB", or a number of bytes."""

from __future__ import annotations

import re

_UNITS = {"": 1, "b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "kib": 2**10, "mib": 2**20, "gib": 2**30}
_SIZE = r"\s*(\d+(?:\.\d+)?)\s*([a-z]*)\s*"


def in_bytes(size: object, what: str) -> int:
    """The number of bytes. Raises `TypeError` and `ValueError` for what is none."""
    if isinstance(size, int) and not isinstance(size, bool):
        if size < 0:
            raise ValueError(f"{what} cannot be {size}")
        return size
    if not isinstance(size, str):
        raise TypeError(f'{what} is text such as "10 MB" or a number of bytes, not {type(size).__name__}')
    match = re.fullmatch(_SIZE, size, re.IGNORECASE)
    if match is None or match[2].lower() not in _UNITS:
        raise ValueError(f'{what} {size!r} is not understood; write it as "10 MB", "512 KiB", or in bytes')
    return int(float(match[1]) * _UNITS[match[2].lower()])
