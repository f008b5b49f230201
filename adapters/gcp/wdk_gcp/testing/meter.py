"""Counts what a program asks of Google Cloud, as its services charge it: at the clients, without asking a service.

    meter = Meter()
    clients = Clients(settings, firestore=lambda: meter.on_firestore(…), tasks=lambda: meter.on_tasks(…), …)
    world = GcpWorld(settings, clients=clients)
    …
    print(meter.tally().writes, meter.tally().requests["tasks.CreateTask"])

Each attempt of a request is a call of its own, as it is on the bill: those that the libraries repeat by themselves
count as often as they are sent. What Cloud Tasks delivers is a part of its bill, too, and is for its receiver to count.
"""

from __future__ import annotations

import threading
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from wdk_gcp.testing.wires import calling, sending

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Mapping

    from google.cloud.firestore import Client as FirestoreClient
    from google.cloud.kms_v1 import KeyManagementServiceClient
    from google.cloud.tasks_v2 import CloudTasksClient

    from wdk_gcp.testing.wires import Exchange

    Said = Mapping[str, str]

TASK_CHUNK = 32 * 1024
"""Bytes of a task that Cloud Tasks charges as one operation: https://cloud.google.com/tasks/pricing."""

CLASS_A = frozenset(("objects.insert", "objects.list", "objects.patch", "objects.rewrite"))
CLASS_B = frozenset(("objects.get", "buckets.get"))
FREE = frozenset(("objects.delete", "objects.upload"))
"""Of Cloud Storage: https://cloud.google.com/storage/pricing, "Operations". A piece of an upload belongs to it."""

UNPRICED = frozenset(("RunAggregationQuery", "ListDocuments", "ListCollectionIds", "BatchWrite", "BeginTransaction"))
"""No world uses them; a price that is left out in silence would be worse than an error."""


@dataclass(frozen=True)
class Call:
    """One attempt of a request."""

    service: str
    operation: str
    target: str = ""
    """The documents, the parent of a query, the queue, the key, or the object."""
    reads: int = 0
    writes: int = 0
    deletes: int = 0
    """Of documents."""
    requests: int = 1
    """As they are charged: Cloud Tasks counts each 32 KB of a task."""
    error: str = ""
    """The status of the answer; "" for a success."""

    @property
    def name(self) -> str:
        return f"{self.service}.{self.operation}"

    def __str__(self) -> str:
        counted = {"read": self.reads, "write": self.writes, "delete": self.deletes}
        parts = [f"{count} {what}" for what, count in counted.items() if count] + [self.error] * bool(self.error)
        return f"{self.name} {self.target}: {', '.join(parts) or 'no documents'}"


@dataclass(frozen=True)
class Tally:
    """Some calls, added up."""

    reads: int
    writes: int
    deletes: int
    requests: Counter[str]
    """By service and operation, such as `tasks.CreateTask`, as they are charged."""

    @staticmethod
    def of(calls: Iterable[Call]) -> Tally:
        requests = Counter[str]()
        reads = writes = deletes = 0
        for call in calls:
            reads, writes, deletes = reads + call.reads, writes + call.writes, deletes + call.deletes
            requests[call.name] += call.requests
        return Tally(reads, writes, deletes, requests)

    def objects(self, operations: frozenset[str]) -> int:
        """Requests to Cloud Storage of these kinds."""
        return sum(self.requests[f"storage.{operation}"] for operation in operations)


class Meter:
    """Safe to use from all threads. `seen` is handed each call, in its thread, with what its answer said beside itself:
    the metadata, or the headers."""

    def __init__(self, seen: Callable[[Call, Said], None] | None = None) -> None:
        self._seen = seen
        self._adding = threading.Lock()
        self._calls: list[Call] = []

    # Each gives the client that it was given, or one like it on the same connection, and counts what that one does.

    def on_firestore(self, client: FirestoreClient) -> FirestoreClient:
        inner: Any = client  # its client of the API is made at first use, and has no public name
        inner._firestore_api_internal = calling(inner._firestore_api, self._of_firestore)
        return client

    def on_tasks(self, client: CloudTasksClient) -> CloudTasksClient:
        return calling(client, self._of_tasks)

    def on_kms(self, client: KeyManagementServiceClient) -> KeyManagementServiceClient:
        return calling(client, self._of_kms)

    def on_storage(self, client: Any) -> Any:
        """That library has no types."""
        sending(client._http, self._of_storage)
        return client

    def calls(self) -> list[Call]:
        with self._adding:
            return list(self._calls)

    def tally(self) -> Tally:
        return Tally.of(self.calls())

    def clear(self) -> None:
        with self._adding:
            self._calls.clear()

    @contextmanager
    def part(self) -> Generator[list[Call]]:
        """The calls that end in this block, when it is over."""
        found: list[Call] = []
        with self._adding:
            begun = len(self._calls)
        yield found
        with self._adding:
            found += self._calls[begun:]

    def _add(self, call: Call, said: Said) -> None:
        with self._adding:
            self._calls.append(call)
        if self._seen is not None:
            self._seen(call, said)

    def _of_firestore(self, exchange: Exchange) -> None:
        if exchange.method in UNPRICED:
            raise NotImplementedError(f"the meter cannot price {exchange.method}: no world of wdk-cloud uses it")
        self._add(_documents(exchange), exchange.said)

    def _of_tasks(self, exchange: Exchange) -> None:
        request = exchange.request
        size = request.task.ByteSize() if exchange.method == "CreateTask" else 0
        chunks = max(1, -(-size // TASK_CHUNK))
        queue = getattr(request, "parent", "") or getattr(request, "name", "")
        self._add(Call("tasks", exchange.method, queue, requests=chunks, error=exchange.error), exchange.said)

    def _of_kms(self, exchange: Exchange) -> None:
        self._add(Call("kms", exchange.method, exchange.request.name, error=exchange.error), exchange.said)

    def _of_storage(self, exchange: Exchange) -> None:
        self._add(Call("storage", exchange.method, exchange.request, error=exchange.error), exchange.said)


def _documents(exchange: Exchange) -> Call:
    """What Firestore charges for one request: https://firebase.google.com/docs/firestore/pricing. A document that is
    asked for and not there is a read, and so is a query that finds nothing; one that is refused costs nothing."""
    method, request = exchange.method, exchange.request
    if method == "BatchGetDocuments":
        names = list(dict.fromkeys(request.documents))
        target, reads, writes, deletes = _short(names), len(names), 0, 0
    elif method == "RunQuery":
        target, writes, deletes = f"{_short([request.parent])}/{_collection(request)}".lstrip("/"), 0, 0
        reads = max(1, exchange.documents + request.structured_query.offset)
    else:
        target = _short([write.update.name or write.delete for write in request.writes])
        deletes = sum(1 for write in request.writes if write.delete)
        reads, writes = 0, len(request.writes) - deletes
    if exchange.error:
        reads = writes = deletes = 0
    return Call("firestore", method, target, reads, writes, deletes, error=exchange.error)


def _collection(request: Any) -> str:
    return request.structured_query.from_[0].collection_id


def _short(names: Iterable[str]) -> str:
    """Within the database."""
    return ", ".join(name.partition("/documents")[2].lstrip("/") for name in names)
