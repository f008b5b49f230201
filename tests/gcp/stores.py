"""A store on the Firestore of `wdk_gcp.testing`, with the schema's indexes, which counts what it is asked and can fail."""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from typing import TYPE_CHECKING, Any, TypeVar

from tests.gcp.stage import clients_of, documents_of, indexes
from wdk_cloud.world.clock import VirtualClock
from wdk_gcp.clients import close_firestore
from wdk_gcp.settings import GcpSettings
from wdk_gcp.store import FirestoreStore
from wdk_gcp.testing import FirestoreServer, Mischief

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from wdk_gcp.clients import Clients

T = TypeVar("T")

_numbers = itertools.count()

REQUESTS = ("Commit", "BatchGetDocuments", "RunQuery")


class Bench:
    """A server of its own, for the tests of a module; `fresh` begins a project that nobody has used."""

    def __init__(self) -> None:
        self.clock = VirtualClock()
        self.mischief = Mischief()
        self.server = FirestoreServer(clock=self.clock, mischief=self.mischief, indexes=indexes())
        self._clients: list[Clients] = []
        self.settings = GcpSettings()

    def __enter__(self) -> Bench:
        self.server.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
        self.server.__exit__()

    def fresh(self) -> FirestoreStore:
        self.settings = GcpSettings(project=f"of-the-store-{next(_numbers)}")
        return self.open()

    def open(self, namespace: str = "") -> FirestoreStore:
        """Another process's store in the project."""
        clients = clients_of(self.settings, self.server.address)
        self._clients.append(clients)
        return FirestoreStore(clients, self.clock, namespace)

    def close(self) -> None:
        for clients in self._clients:
            clients.close()
        self._clients.clear()

    def documents(self) -> dict[str, dict[str, Any]]:
        """All that there are in the project, by their paths."""
        client = self.server.client(self.settings.project)
        found = documents_of(client)
        close_firestore(client)
        return found

    def units(self, call: Coroutine[Any, Any, T]) -> tuple[int, int, int]:
        """Document reads, writes and deletes of a call."""
        before = self.server.usage
        asyncio.run(call)
        used = self.server.usage - before
        return used["reads"], used["writes"], used["deletes"]

    def requests(self) -> Counter[str]:
        return Counter({name: self.server.calls[name] for name in REQUESTS})
