"""Entries of a zip that say nothing of the machine and the time that it was made on: the same files, the same bytes."""

from __future__ import annotations

from typing import TYPE_CHECKING
from zipfile import ZIP_DEFLATED, ZipFile, ZipInfo

if TYPE_CHECKING:
    from pathlib import Path
    from typing import IO

BEGINNING = (1980, 1, 1, 0, 0, 0)
"""The first time that a zip can name; what a file's own is says nothing about its content."""

PLAIN, PROGRAM = 0o100644 << 16, 0o100755 << 16
"""Everybody may read a file, since who runs the code need not be who has unpacked it; and run one that begins with
`#!`."""

UNIX = 3
"""The system whose modes these are: 4.4.2 of PKWARE's APPNOTE."""


def opened(file: Path | IO[bytes]) -> ZipFile:
    """To be written."""
    return ZipFile(file, "w", ZIP_DEFLATED, compresslevel=9)


def add(archive: ZipFile, name: str, data: bytes) -> None:
    entry = ZipInfo(name, BEGINNING)
    entry.create_system, entry.compress_type = UNIX, ZIP_DEFLATED
    entry.external_attr = PROGRAM if data.startswith(b"#!") else PLAIN
    archive.writestr(entry, data)
