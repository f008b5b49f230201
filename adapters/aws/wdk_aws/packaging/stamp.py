"""What the zip says about itself."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from wdk_aws.packaging.target import Target


def document(version: str, spec: str, namespaces: Sequence[str], target: Target, wdk: str) -> bytes:
    """What `wdk_cloud.bundle` reads."""
    said = {
        "app": spec,
        "architecture": target.architecture,
        "code_version": version,
        "namespaces": list(namespaces),
        "python": target.python,
        "wdk_cloud": wdk,
    }
    return (json.dumps(said, indent=1, sort_keys=True) + "\n").encode()
