"""What the build commands write beside the code of the app: which app it is, and which version of it."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import MutableMapping

FILE = "wdk_build.json"
"""Beside the code of the app: in the zip of a function, that is beside this package; in an image, in its own folder."""

VARIABLES = {"app": "WDK_APP", "code_version": "WDK_CODE_VERSION"}


def read(folder: Path | None = None) -> dict[str, Any]:
    """What the build wrote; nothing where the code was not built, as in a checkout."""
    path = (Path(__file__).parents[1] if folder is None else folder) / FILE
    try:
        return json.loads(path.read_bytes())
    except FileNotFoundError:
        return {}


def apply(environ: MutableMapping[str, str] | None = None, folder: Path | None = None) -> None:
    """Set the variables that the build knows, where nobody else has set them: code and version are deployed in one.

    A receiver runs no code of the app, and is not told of it unless its tokens are those of a namespace.
    """
    env = os.environ if environ is None else environ
    said = read(folder)
    for key, name in VARIABLES.items():
        needless = key == "app" and env.get("WDK_ROLE") == "receiver" and not said.get("namespaces")
        if key in said and not env.get(name) and not needless:
            env[name] = said[key]
