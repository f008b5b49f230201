"""A store on dynoxide, with a meter at its requests that must agree with it, and faults in them where a test asks for some."""

from __future__ import annotations

import asyncio
import itertools
from typing import TYPE_CHECKING, Any, TypeVar

from tests.aws.metering import Scales, session_of
from wdk_aws import schema
from wdk_aws.clients import Clients
from wdk_aws.settings import AwsSettings
from wdk_aws.store import DynamoStore
from wdk_aws.testing.faults import Faults
from wdk_cloud.world.clock import VirtualClock

if TYPE_CHECKING:
    from collections.abc import Coroutine

T = TypeVar("T")

NAMES = itertools.count()


class Bench:
    """A table of its own. `open` gives another process's store on it, each with a session of its own."""

    def __init__(self) -> None:
        self.clock = VirtualClock()
        self.settings = AwsSettings(table=f"of-the-store-{next(NAMES)}")
        self.session = session_of()
        self.meter, self.faults = Scales(), Faults()
        self.meter.attach(self.session)
        self.faults.attach(self.session)
        self._clients: list[Clients] = []
        self.store = self.open(self.session)
        self.dynamodb: Any = self._clients[0].dynamodb
        self.dynamodb.create_table(**schema.table(self.settings.table))
        self.meter.clear()

    def open(self, session: Any = None, namespace: str = "") -> DynamoStore:
        clients = Clients(session_of() if session is None else session)
        self._clients.append(clients)
        return DynamoStore(self.settings, clients, self.clock, namespace)

    def close(self) -> None:
        self.meter.finish()
        for clients in self._clients:
            clients.close()

    def scan(self) -> list[dict[str, Any]]:
        return self.dynamodb.scan(TableName=self.settings.table, ConsistentRead=True)["Items"]

    def units(self, call: Coroutine[Any, Any, T]) -> tuple[float, int]:
        """Read and write units of a call, indexes included."""
        self.meter.clear()
        asyncio.run(call)
        tally = self.meter.tally()
        return tally.read, tally.write

    def requests(self) -> list[str]:
        """Since the meter was cleared: one for each time that something was sent."""
        return [call.operation for call in self.meter.calls()]
