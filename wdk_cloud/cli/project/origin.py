"""Where the wdk-cloud that makes a project was installed from, when that is a folder instead of a registry."""

from __future__ import annotations

import shlex
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

import msgspec


class _Folder(msgspec.Struct):
    editable: bool = False


class DirectUrl(msgspec.Struct):
    """What pip and others write beside a distribution that came from elsewhere than an index (PEP 610)."""

    url: str
    dir_info: _Folder | None = None


def read() -> str | None:
    try:
        return distribution("wdk-cloud").read_text("direct_url.json")
    except PackageNotFoundError:  # a source tree that is not installed
        return None


def to_install(extra: str, direct_url: str | None) -> str | None:
    """The command that gives another environment the same; None: the project's requirements say all.

    An editable folder is that of somebody who works on us, and knows.
    """
    if direct_url is None:
        return None
    try:
        found = msgspec.json.decode(direct_url, type=DirectUrl)
    except msgspec.DecodeError:
        return None
    if found.dir_info is None or found.dir_info.editable:
        return None
    folder = Path(url2pathname(urlsplit(found.url).path))
    adapter = folder / "adapters" / extra
    words = [f"{folder}[{extra}]", *([str(adapter)] if adapter.is_dir() else [])]
    return f"pip install {shlex.join(words)}"
