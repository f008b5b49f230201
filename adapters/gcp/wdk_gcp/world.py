"""The Google Cloud world: runs in a Firestore database, messages in Cloud Tasks, blobs and streams in Cloud Storage."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from wdk_cloud.engine.settings import Settings
from wdk_cloud.world.clock import SystemClock
from wdk_cloud.world.objects import ObjectBlobs, ObjectStreams
from wdk_cloud.world.polled import PolledWorld
from wdk_gcp import messages
from wdk_gcp.clients import Clients
from wdk_gcp.objects import Objects
from wdk_gcp.queue import TasksQueue
from wdk_gcp.settings import GcpSettings
from wdk_gcp.store import KEEP, FirestoreStore

if TYPE_CHECKING:
    from wdk_cloud.world.ports import BlobStore, Clock, Message, Queue, Receiver, RunStore, StreamStore, World
    from wdk_gcp.kms import KmsKeyService


class GcpWorld(PolledWorld["GcpWorld"]):
    """One place on Google Cloud, seen by a namespace. Nothing is connected before the first request."""

    name = "gcp"
    short_wait = 1.0  # a task, its delivery and a lease cost more than a second of waiting

    def __init__(
        self,
        settings: GcpSettings | None = None,
        *,
        clients: Clients | None = None,
        clock: Clock | None = None,
        namespace: str = "",
        keys: KmsKeyService | None = None,
        rooms: dict[str, GcpWorld] | None = None,
    ) -> None:
        self.settings = GcpSettings.from_environment() if settings is None else settings
        self.clients = Clients(self.settings) if clients is None else clients
        self.clock: Clock = clock or SystemClock()
        rooms = {} if rooms is None else rooms
        rooms[namespace] = self
        super().__init__(namespace, self.clients, rooms)
        keep = max(KEEP, 2 * Settings.from_environment().retention)
        self.store = FirestoreStore(self.clients, self.clock, namespace, keep)
        self.runs: RunStore = self.store
        objects = Objects(self.settings, self.clients, self.store.head, namespace)
        self.store.objects = objects
        self.blobs: BlobStore = ObjectBlobs(objects)
        self.streams: StreamStore = ObjectStreams(objects, self._pollings.moved)
        self._tasks = TasksQueue(self.settings, self.clients, self.clock, namespace, self.store.put_order)
        self.queue: Queue = self._tasks
        self.receiver: Receiver | None = None
        self._keys = keys

    def _room(self, namespace: str) -> GcpWorld:
        return GcpWorld(
            self.settings,
            clients=self.clients,
            clock=self.clock,
            namespace=namespace,
            keys=self.key_service(),  # one for all namespaces: it keeps what it has unwrapped
            rooms=self._rooms,
        )

    async def message_of(self, body: bytes) -> Message | None:
        """What the body of a task of this namespace says, with its order; None if the run was erased meanwhile.

        Raises what `messages.decode` does."""
        message, order_at = messages.decode(body)
        if not order_at:
            return message
        order = await self.store.order(message.run_id, message.birth, order_at)
        return None if order is None else replace(message, order=order)

    async def pass_on(self, body: bytes, queue: str, delay: float) -> None:
        """Send what this version cannot read once more, as it is: `queue` is the name of the one that it came from."""
        await self._tasks.pass_on(body, queue, delay)

    def key_service(self) -> KmsKeyService | None:
        """That of WDK_GCP_KMS_KEY; None without it."""
        if self._keys is None and self.settings.kms_key:
            from wdk_gcp.kms import KmsKeyService

            self._keys = KmsKeyService(self.settings, self.clients)
        return self._keys


def open_world(namespace: str = "") -> GcpWorld:
    """The world of the WDK_GCP_* variables, with the default credentials, or those of the emulators' variables."""
    return GcpWorld(namespace=namespace)


if TYPE_CHECKING:

    def is_a_world(world: GcpWorld) -> World:
        return world
