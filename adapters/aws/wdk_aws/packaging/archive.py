"""The zip: the same files give the same bytes."""

from __future__ import annotations

import dataclasses
import hashlib
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from wdk_cloud.errors import WorldConfigurationError
from wdk_cloud.packaging import zipped

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

MEGABYTE = 1024 * 1024

MOST_UNZIPPED = 250 * MEGABYTE
"""Lambda's limit on a function with its layers: docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html"""

MOST_SENT = 50 * MEGABYTE
"""Of a zip that is given to Lambda's API itself, the same page says; `sam deploy` goes through S3, which has none."""

NAMED = 5
"""Packages that are named when a zip is too large: the one to leave out is among them."""


@dataclass(frozen=True, slots=True)
class Archive:
    path: Path
    sha256: str
    zipped: int
    unzipped: int
    largest: tuple[tuple[str, int], ...]
    """Top-level names with the bytes below each, largest first."""


def replace(path: Path, contents: Mapping[str, Path | bytes], done: Callable[[], None]) -> Archive:
    """As `write`, in the place of what is there. Raises WorldConfigurationError for what Lambda would refuse; then that
    stays."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # Beside it until it is known to be good, in a folder of its own: somebody may build at the same time.
    with tempfile.TemporaryDirectory(prefix=f".{path.name}.", dir=path.parent) as beside:
        written = write(Path(beside, path.name), contents, done)
        if (said := excess(written)) is not None:
            raise WorldConfigurationError(said)
        written.path.replace(path)
    return dataclasses.replace(written, path=path)


def write(path: Path, contents: Mapping[str, Path | bytes], done: Callable[[], None]) -> Archive:
    """Calls `done` for each file."""
    sizes: dict[str, int] = {}
    with zipped.opened(path) as archive:
        for name in sorted(contents):
            content = contents[name]
            data = content if isinstance(content, bytes) else content.read_bytes()
            zipped.add(archive, name, data)
            top = name.partition("/")[0]
            sizes[top] = sizes.get(top, 0) + len(data)
            done()
    with path.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    largest = tuple(sorted(sizes.items(), key=lambda item: (-item[1], item[0])))
    return Archive(path, sha256, path.stat().st_size, sum(sizes.values()), largest)


def excess(archive: Archive) -> str | None:
    """What to say of an archive that Lambda would refuse."""
    if archive.unzipped <= MOST_UNZIPPED:
        return None
    return (
        f"unzipped the function has {megabytes(archive.unzipped)}, and Lambda takes {megabytes(MOST_UNZIPPED)}; the "
        f"largest parts are {_named(archive)}"
    )


def heaviness(archive: Archive) -> str | None:
    """What to say of an archive that only S3 takes."""
    if archive.zipped <= MOST_SENT:
        return None
    return (
        f"the zip has {megabytes(archive.zipped)}: beyond {megabytes(MOST_SENT)} it reaches Lambda through S3 only, as "
        f"with `sam deploy`, and starts slowly; the largest parts are {_named(archive)}"
    )


def megabytes(size: int) -> str:
    return f"{size / MEGABYTE:.1f} MB"


def _named(archive: Archive) -> str:
    return ", ".join(f"{name} ({megabytes(size)})" for name, size in archive.largest[:NAMED])
