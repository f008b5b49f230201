"""What comes to the function: which event is which, and what of it is read. Everything else in an event is ignored."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import msgspec

from wdk_cloud.errors import WorldConfigurationError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from wdk_cloud.http.roles import Role

Kind = Literal["messages", "http", "start", "tick", "sweep", "doctor"]

ANSWERED: Mapping[Role, frozenset[Kind]] = {
    "all": frozenset(("messages", "http", "start", "tick", "sweep", "doctor")),
    "worker": frozenset(("messages", "http", "start", "tick", "sweep", "doctor")),
    "receiver": frozenset(("http", "doctor")),
}
"""Which events each role answers. Of the routes of `http` each answers its own, as everywhere."""


class Record(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """One message of a batch of SQS."""

    message_id: str
    receipt_handle: str
    body: str
    source: str = msgspec.field(default="", name="eventSourceARN")
    attributes: dict[str, str] = {}

    @property
    def received(self) -> int:
        """How often, this time included. SQS says "approximate" and counts too many rather than too few."""
        count = self.attributes.get("ApproximateReceiveCount", "")
        return int(count) if count.isdecimal() else 1

    @property
    def sent(self) -> float | None:
        """When SQS took it, in seconds."""
        milliseconds = self.attributes.get("SentTimestamp", "")
        return int(milliseconds) / 1000 if milliseconds.isdecimal() else None

    @property
    def queue(self) -> tuple[str, str]:
        """Account and name of the queue that it came from."""
        return _last_two(self.source, ":")


class Batch(msgspec.Struct, frozen=True):
    records: list[Record] = msgspec.field(name="Records")


ORDERS: Mapping[str, Kind] = {"start": "start", "tick": "tick", "sweep": "sweep", "doctor": "doctor"}


def kind_of(event: Mapping[str, Any]) -> Kind:
    """Raises `ValueError` for an event that is none of ours; its message has nothing of the content."""
    records: list[dict[str, Any]] | None = event.get("Records")
    if isinstance(records, list) and all(record.get("eventSource") == "aws:sqs" for record in records):
        return "messages"
    if isinstance(event.get("requestContext"), dict):
        return "http"
    for name, kind in ORDERS.items():
        if name in event:
            return kind
    raise ValueError(
        "this event is not understood: it is no batch of SQS, no HTTP request, and has none of the members "
        f"{', '.join(ORDERS)}"
    )


def refuse_unless_answered(kind: Kind, role: Role) -> None:
    """Raises WorldConfigurationError: whoever has sent the event keeps it, and brings it to another function."""
    if kind not in ANSWERED[role]:
        raise WorldConfigurationError(
            f"an event of the kind {kind!r} has come to a function with WDK_ROLE={role}, which does not answer it; "
            "connect it to the function with the role worker"
        )


def queue_of_url(url: str) -> tuple[str, str]:
    """Account and name of the queue of this URL, which its ARN ends with, too."""
    return _last_two(url.rstrip("/"), "/")


def _last_two(text: str, separator: str) -> tuple[str, str]:
    rest, _, name = text.rpartition(separator)
    return rest.rpartition(separator)[2], name
