"""Why a value was refused, gathered on the way out: the failure path pays for the path's text, the others do not."""

from __future__ import annotations

from wdk_cloud.errors import SerializationError


class NewerFormatError(SerializationError):
    """A record of a newer format than this code knows: it fails nothing, the run is handed on (DESIGN.md rule 8)."""


class Refusal(Exception):  # noqa: N818  (not an error of its own: `to_error` makes the one that users see)
    """Raised deep inside a value; every container it passes adds where it was."""

    def __init__(self, reason: str, *, unknown: type | None = None, newer: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.unknown = unknown
        self.newer = newer
        self.segments: list[str] = []

    def inside(self, key: object) -> None:
        """Add the place in the container that is being left: an index, a key or an attribute."""
        if type(key) is int:
            self.segments.append(f"[{key}]")
        elif type(key) is str and key.isidentifier():
            self.segments.append("." + key)
        else:
            self.segments.append(f"[{shown(key)}]")

    def to_error(self, path: str) -> SerializationError:
        """The error for users. An empty path is a mapping of arguments, whose names begin the path."""
        place = (path + "".join(reversed(self.segments))).removeprefix("" if path else ".")
        return (NewerFormatError if self.newer else SerializationError)(f"{place}: {self.reason}", place)


def shown(value: object, limit: int = 60) -> str:
    """A short text of any value, also of one whose `__repr__` raises."""
    try:
        text = repr(value)
    except Exception:
        text = f"<{type(value).__qualname__}>"
    return text if len(text) <= limit else text[: limit - 1] + "…"
