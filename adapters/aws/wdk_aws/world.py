"""The AWS world: runs in a DynamoDB table, messages in SQS and EventBridge Scheduler, blobs and streams in S3."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wdk_aws.clients import Clients
from wdk_aws.objects import Objects
from wdk_aws.queue import SqsQueue
from wdk_aws.settings import AwsSettings
from wdk_aws.store import KEEP, DynamoStore
from wdk_cloud.engine.settings import Settings
from wdk_cloud.world.clock import SystemClock
from wdk_cloud.world.objects import ObjectBlobs, ObjectStreams
from wdk_cloud.world.polled import PolledWorld

if TYPE_CHECKING:
    from wdk_aws.kms import KmsKeyService
    from wdk_cloud.world.ports import BlobStore, Clock, Queue, Receiver, RunStore, StreamStore, World


class AwsWorld(PolledWorld["AwsWorld"]):
    """One place on AWS, seen by a namespace. Nothing is connected before the first request."""

    name = "aws"
    short_wait = 1.0  # a message, its invocation and a lease cost more than a second of waiting

    def __init__(
        self,
        settings: AwsSettings | None = None,
        *,
        clients: Clients | None = None,
        clock: Clock | None = None,
        namespace: str = "",
        keys: KmsKeyService | None = None,
        rooms: dict[str, AwsWorld] | None = None,
    ) -> None:
        self.settings = AwsSettings.from_environment() if settings is None else settings
        self.clients = Clients() if clients is None else clients
        self.clock: Clock = clock or SystemClock()
        rooms = {} if rooms is None else rooms
        rooms[namespace] = self
        super().__init__(namespace, self.clients, rooms)
        keep = max(KEEP, 2 * Settings.from_environment().retention)
        store = DynamoStore(self.settings, self.clients, self.clock, namespace, keep)
        self.runs: RunStore = store
        objects = Objects(self.settings, self.clients, store.head, namespace)
        store.objects = objects
        self.blobs: BlobStore = ObjectBlobs(objects)
        self.streams: StreamStore = ObjectStreams(objects, self._pollings.moved)
        self.queue: Queue = SqsQueue(self.settings, self.clients, self.clock, namespace)
        self.receiver: Receiver | None = None
        self._keys = keys

    def _room(self, namespace: str) -> AwsWorld:
        return AwsWorld(
            self.settings,
            clients=self.clients,
            clock=self.clock,
            namespace=namespace,
            keys=self.key_service(),  # one for all namespaces: it keeps what it has unwrapped
            rooms=self._rooms,
        )

    def key_service(self) -> KmsKeyService | None:
        """That of WDK_AWS_KMS_KEY_ID; None without it."""
        if self._keys is None and self.settings.kms_key_id:
            from wdk_aws.kms import KmsKeyService

            self._keys = KmsKeyService(self.settings, self.clients)
        return self._keys


def open_world(namespace: str = "") -> AwsWorld:
    """The world of the WDK_AWS_* variables, with boto3's default credentials, region and endpoint."""
    return AwsWorld(namespace=namespace)


if TYPE_CHECKING:

    def is_a_world(world: AwsWorld) -> World:
        return world
