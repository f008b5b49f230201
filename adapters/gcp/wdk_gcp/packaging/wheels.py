"""Our own distributions as wheels, from the files that lie here: what was tested is what runs, released or not."""

from __future__ import annotations

import base64
import hashlib
import importlib
import io
from importlib import metadata
from pathlib import Path

from wdk_cloud.packaging import zipped
from wdk_cloud.packaging.project import normalized

OURS = {"wdk-cloud": "wdk_cloud", "wdk-cloud-gcp": "wdk_gcp"}
"""Distributions with the package of each."""

KEPT = ("METADATA", "entry_points.txt")

NEEDLESS = ("packaging/terraform/", "packaging/Dockerfile")
"""Below a package: what only a machine that deploys needs."""


def wheels() -> dict[str, bytes]:
    """By their file names."""
    return dict(_wheel(name, package) for name, package in OURS.items())


def _wheel(name: str, package: str) -> tuple[str, bytes]:
    distribution = metadata.distribution(name)
    stem = f"{normalized(name).replace('-', '_')}-{distribution.version}"
    files = _files(package)
    for kept in KEPT:
        if text := distribution.read_text(kept):
            files[f"{stem}.dist-info/{kept}"] = text.encode()
    files[f"{stem}.dist-info/WHEEL"] = (
        b"Wheel-Version: 1.0\nGenerator: wdk-cloud\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    )
    record = f"{stem}.dist-info/RECORD"
    lines = [f"{path},sha256={_digest(data)},{len(data)}\n" for path, data in sorted(files.items())]
    files[record] = "".join([*lines, f"{record},,\n"]).encode()
    return f"{stem}-py3-none-any.whl", _zipped(files)


def _files(package: str) -> dict[str, bytes]:
    folder = Path(next(iter(importlib.import_module(package).__path__)))
    found: dict[str, bytes] = {}
    for path in folder.rglob("*"):
        inner = path.relative_to(folder).as_posix()
        noise = "__pycache__" in path.parts or path.name.startswith(".")
        if path.is_file() and not noise and not f"{inner}/".startswith(NEEDLESS) and not inner.startswith(NEEDLESS):
            found[f"{package}/{inner}"] = path.read_bytes()
    return found


def _zipped(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipped.opened(buffer) as archive:
        for name in sorted(files):
            zipped.add(archive, name, files[name])
    return buffer.getvalue()


def _digest(data: bytes) -> str:
    """As a RECORD has it (the binary distribution format)."""
    return base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
