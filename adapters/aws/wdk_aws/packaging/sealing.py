"""A built template says whether somebody has edited it since: the next build would write over that."""

from __future__ import annotations

from hashlib import sha256

SEAL = "# Built by wdk-cloud: edit the project's own template.yaml instead. SHA-256 of all above: "


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
