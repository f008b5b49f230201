"""Why a value was refused, gathered on the way out: the failure path pays for the path's text, the others do not."""

from __future__ import annotations

from wdk_cloud.errors import SerializationError

# Of a path that goes down a cycle: where it begins and ends.
_SHOWN_SEGMENTS = 8


class NewerFormatError(SerializationError):
    """A record of a newer format than this code knows: it fails nothing, the run is handed on."""


class Refusal(Exception):
    """Raised deep inside a value; every container it passes adds where it was. Users see what `to_error` makes."""

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
        elif key is Ellipsis:
            self.segments.append("[…]")  # an element of a set has no place
        elif type(key) is str and key.isidentifier():
            self.segments.append("." + key)
        else:
            self.segments.append(f"[{shown(key)}]")

    def to_error(self, path: str) -> SerializationError:
        """The error for users. An empty path is a mapping of arguments, whose names begin the path."""
        segments = self.segments[::-1]
        if len(segments) > 2 * _SHOWN_SEGMENTS:
            segments = [*segments[:_SHOWN_SEGMENTS], "…", *segments[-_SHOWN_SEGMENTS:]]
        place = (path + "".join(segments)).removeprefix("" if path else ".")
        error = NewerFormatError if self.newer else SerializationError
        return error(readable(f"{place}: {self.reason}" if place else self.reason), readable(place))


def readable(text: str) -> str:
    """Text that can be written; lone surrogates are spelled out."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def belonging_to(error: SerializationError, owner: str) -> SerializationError:
    """The error with the step or workflow in front whose value it is."""
    told = type(error)(f"{owner}: {error}", error.path)
    told.__cause__ = error.__cause__
    return told


def shown(value: object, limit: int = 60) -> str:
    """A short text of any value, also of one whose `__repr__` raises."""
    try:
        text = repr(value)
    except Exception:
        text = f"<{type(value).__qualname__}>"
    return text if len(text) <= limit else text[: limit - 1] + "…"
