"""A built template says whether somebody has edited it since: the next build would write over that."""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING

from wdk_cloud.errors import WorldConfigurationError

if TYPE_CHECKING:
    from pathlib import Path

SEAL = "# Built by wdk-cloud: edit the project's own template.yaml instead. SHA-256 of all above: "


def read(template: Path) -> str:
    """Its text. Raises WorldConfigurationError."""
    try:
        return template.read_text("utf-8")
    except OSError as error:
        raise WorldConfigurationError(f"the template {template} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise WorldConfigurationError(f"the template {template} is not written in UTF-8; save it so") from None


def sealed(text: str) -> str:
    """With a last line for what stands above; a seal that it had is replaced."""
    text = _unsealed(text)[0]
    return f"{text}{SEAL}{_digest(text)}\n"


def is_edited(text: str) -> bool:
    """A template without a seal is somebody's own, and no build writes it."""
    above, seal = _unsealed(text)
    return seal is not None and seal != f"{_digest(above)}\n"


def _unsealed(text: str) -> tuple[str, str | None]:
    above, mark, seal = text.rpartition(SEAL)
    if mark:
        return above, seal
    return text if text.endswith("\n") else f"{text}\n", None


def _digest(text: str) -> str:
    return sha256(text.encode()).hexdigest()
