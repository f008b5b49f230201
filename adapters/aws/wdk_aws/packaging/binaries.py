"""Compiled modules in the zip: each must be for the machine that loads it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from wdk_aws.packaging.target import Target

ELF = b"\x7fELF"
SIXTY_FOUR_BITS, LITTLE_ENDIAN = 2, 1
HEADER = 20
"""Bytes of the header up to and with the machine."""

_TAG = re.compile(r"\.(cpython-\d+)t?-(\w+?)-linux-(\w+)\.so$")


def is_compiled(name: str) -> bool:
    return re.search(r"\.so(\.\d+)*$", name) is not None or name.endswith((".pyd", ".dylib", ".dll"))


def fault(name: str, start: bytes, target: Target) -> str | None:
    """What is wrong with a compiled module, from its name and its first bytes; None if it can be loaded there."""
    if start[:4] != ELF or len(start) < HEADER:
        return f"{name} is not for Linux"
    if (start[4], start[5]) != (SIXTY_FOUR_BITS, LITTLE_ENDIAN):
        return f"{name} is not for a 64-bit, little-endian machine"
    machine = int.from_bytes(start[18:20], "little")
    if machine != target.elf_machine:
        return f"{name} is for another machine (ELF {machine}) than {target.architecture}"
    tag = _TAG.search(name)
    if tag is None:
        return None  # a library beside modules, or a module for any Python 3 (abi3)
    abi, machine_name, libc = tag.groups()
    if abi != target.abi:
        return f"{name} is for {abi}, not for {target.abi}"
    if machine_name != target.machine or libc != "gnu":
        return f"{name} is for {machine_name} with {libc}, not for {target.machine} with glibc"
    return None
