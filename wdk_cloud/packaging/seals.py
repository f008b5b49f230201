"""Files that a command makes, and whether somebody has edited them since: the next time would write over that.

A seal is a file of hashes beside what it seals, which `sha256sum --check` reads, too. It is taken away before anything
is written, and made when all is there: who dies between has files without a seal, of which nothing is known.
"""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

BETWEEN = "  "
"""A hash and the name of its file; the second blank says that it was read as bytes."""


def unseal(seal: Path) -> None:
    seal.unlink(missing_ok=True)


def write(seal: Path, files: Iterable[Path]) -> None:
    """Of the files, which lie in the folder of the seal or below."""
    names = sorted(file.relative_to(seal.parent).as_posix() for file in files)
    new = seal.with_name(f"{seal.name}.new")
    new.write_text("".join(f"{_digest(seal.parent / name)}{BETWEEN}{name}\n" for name in names), "utf-8")
    new.replace(seal)  # half of a seal would call the other files edited


def edited(seal: Path, files: Iterable[Path]) -> list[Path]:
    """Those of the files, as they are now, that are not as they were when they were sealed: changed, or new."""
    try:
        lines = seal.read_text("utf-8").splitlines()
    except OSError:
        return []
    known = {name: digest for digest, _, name in (line.partition(BETWEEN) for line in lines)}
    return [file for file in sorted(files) if known.get(file.relative_to(seal.parent).as_posix()) != _digest(file)]


def _digest(file: Path) -> str:
    return sha256(file.read_bytes()).hexdigest()
