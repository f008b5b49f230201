"""The Dockerfile: it alone says how the service is started."""

from __future__ import annotations

import json
import re
from pathlib import Path

from wdk_cloud.errors import WorldConfigurationError

FILE = Path(__file__).with_name("Dockerfile")
"""The one of infra/gcp; a distribution has a copy of it here."""

PYTHONS = ("3.11", "3.12", "3.13", "3.14")

_PYTHON = re.compile(r"^ARG PYTHON=\S+$", re.MULTILINE)


def for_python(python: str) -> str:
    """The Dockerfile for this version."""
    return _PYTHON.sub(f"ARG PYTHON={python}", FILE.read_text("utf-8"))


def start_command(text: str | None = None) -> list[str]:
    """What the container runs, as words; its port is that of the variable PORT."""
    found = re.findall(r"^CMD (\[.*\])$", FILE.read_text("utf-8") if text is None else text, re.MULTILINE)
    if len(found) != 1:
        raise WorldConfigurationError(f"the Dockerfile has {len(found)} lines CMD […] instead of one")
    return json.loads(found[0])


def environment(text: str | None = None) -> dict[str, str]:
    """The variables that the image sets."""
    found = re.findall(r"^ENV (.*)$", FILE.read_text("utf-8") if text is None else text, re.MULTILINE)
    return dict(word.split("=", 1) for line in found for word in line.split())
