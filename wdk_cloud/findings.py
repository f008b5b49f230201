"""What a check-up finds (`wdk doctor`), and who makes one: adapters have a check-up of their own world."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence
    from typing import Any

GROUP = "wdk_cloud.doctors"
"""Entry points: the name is that of the world, the value a `Doctor`."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at."""

    slug: str
    """What it is about, for programs and for the documentation: `queue-visibility`."""
    seen: str
    """What is there, with names and values; and, if that is wrong, why it is."""
    mend: str = ""
    """The command to type; "" if all is well."""

    @property
    def well(self) -> bool:
        return not self.mend

    def document(self) -> dict[str, object]:
        return {"slug": self.slug, "well": self.well, "seen": self.seen, "mend": self.mend or None}

    @staticmethod
    def from_document(document: Mapping[str, Any]) -> Finding:
        return Finding(document["slug"], document["seen"], document["mend"] or "")


@dataclass(frozen=True, slots=True)
class Doctor:
    """The check-up of a world. It changes nothing."""

    examine: Callable[[Sequence[str]], Awaitable[list[Finding]]]
    """Given the functions that were named, by whatever name the cloud has for what runs there; none: those that it
    finds by itself. What cannot be looked at is a finding, too."""
    variables: Mapping[str, str]
    """The settings of this world with what each is when nobody sets it, as one would write it; "" is none."""
