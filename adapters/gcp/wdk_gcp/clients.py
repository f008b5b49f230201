"""Google's clients: made at first use, shared by all namespaces of a world, called in threads of their own."""

from __future__ import annotations

import os
from functools import cached_property
from threading import Lock
from typing import TYPE_CHECKING, Any, TypeVar

from google.api_core import exceptions, retry

from wdk_cloud.errors import WorldConfigurationError
from wdk_cloud.world.asking import Asking

if TYPE_CHECKING:
    from collections.abc import Callable

    from google.cloud.firestore import Client as FirestoreClient
    from google.cloud.kms_v1 import KeyManagementServiceClient
    from google.cloud.tasks_v2 import CloudTasksClient

    from wdk_gcp.settings import GcpSettings

T = TypeVar("T")

TASKS_VARIABLE = "WDK_CLOUD_TASKS_EMULATOR_HOST"
"""Host and port of a server that stands in for Cloud Tasks, whose client knows no variable of its own. Those of the
others are FIRESTORE_EMULATOR_HOST and STORAGE_EMULATOR_HOST, and their clients read them."""

STORAGE_VARIABLE = "STORAGE_EMULATOR_HOST"
FIRESTORE_VARIABLE = "FIRESTORE_EMULATOR_HOST"

WITHIN = 8.0
"""Seconds of one request, its repeats included: they end within a lease, which is 30 s long. The slowest requests are
those of objects of some megabytes. The libraries' defaults run to 300 s."""

PAUSE, LONGEST_PAUSE = 0.1, 1.0
"""Seconds before the first repeat and between later ones, at most: drawn at random, up to a bound that doubles."""

REPEATED = retry.if_exception_type(
    exceptions.Aborted,  # "too much contention on these documents": nothing was done
    exceptions.BadGateway,
    exceptions.InternalServerError,
    exceptions.ResourceExhausted,
    exceptions.ServiceUnavailable,
    exceptions.TooManyRequests,
)
"""What the repeats are for. Each request of ours may be sent twice: it asks for what it needs to be true, and meets its
own write when it was done already."""

RETRY = retry.Retry(predicate=REPEATED, initial=PAUSE, maximum=LONGEST_PAUSE, multiplier=2.0, timeout=WITHIN)


class Clients(Asking):
    """With what is given for a client, that makes it; without, it is made with the default credentials of this process
    and the emulators' variables."""

    def __init__(
        self,
        settings: GcpSettings,
        *,
        firestore: Callable[[], FirestoreClient] | None = None,
        tasks: Callable[[], CloudTasksClient] | None = None,
        storage: Callable[[], Any] | None = None,
        kms: Callable[[], KeyManagementServiceClient] | None = None,
    ) -> None:
        self._settings = settings
        self._given = {"firestore": firestore, "tasks": tasks, "storage": storage, "kms": kms}
        super().__init__("wdk-gcp")
        self._making = Lock()

    # The renewing thread may be first: hence the lock.

    @cached_property
    def firestore(self) -> FirestoreClient:
        def make() -> FirestoreClient:
            from google.cloud.firestore import Client

            return Client(
                self._settings.needed("project"), _credentials(FIRESTORE_VARIABLE), self._settings.needed("database")
            )

        return self._made("firestore", make)

    @cached_property
    def tasks(self) -> CloudTasksClient:
        return self._made("tasks", _tasks)

    @cached_property
    def storage(self) -> Any:
        """A `google.cloud.storage.Client`; that library has no types."""

        def make() -> Any:
            from google.cloud import storage  # pyright: ignore[reportMissingTypeStubs] - as above

            made: Any = storage.Client
            return made(self._settings.needed("project"), _credentials(STORAGE_VARIABLE))

        client = self._made("storage", make)
        # Else it asks for the bucket in threads of its own, once and again after each object that is not there, for
        # traces that nobody asked for: to follow a stream would cost twice as much, and want one more right. Its
        # variable against that leaves those after a missing object where the client has met the bucket.
        client._bucket_metadata_cache = None
        return client

    @cached_property
    def kms(self) -> KeyManagementServiceClient:
        def make() -> KeyManagementServiceClient:
            from google.cloud.kms_v1 import KeyManagementServiceClient

            return KeyManagementServiceClient()

        return self._made("kms", make)

    def translated(self, error: Exception, setting: str) -> Exception | None:
        from wdk_gcp.failures import translated

        return translated(error, setting)

    def close(self) -> None:
        super().close()
        with self._making:
            made = {name: vars(self).pop(name) for name in self._given if name in vars(self)}
        if "firestore" in made:
            close_firestore(made["firestore"])
        for name in ("tasks", "kms"):
            if name in made:
                made[name].transport.close()
        if "storage" in made:
            made["storage"].close()

    def _made(self, name: str, make: Callable[[], T]) -> T:
        from google.auth.exceptions import DefaultCredentialsError

        given: Any = self._given[name]
        with self._making:
            if name in vars(self):  # another thread was first
                return vars(self)[name]
            try:
                made: T = (given or make)()
            except (DefaultCredentialsError, OSError, ValueError) as error:
                raise WorldConfigurationError(
                    f"a client for {name} cannot be made: {error}; give this process application default credentials "
                    "(gcloud auth application-default login, or the service account of its service)"
                ) from error
            vars(self)[name] = made
            return made


def close_firestore(client: FirestoreClient) -> None:
    """The client's own `close()` leaves its connection open."""
    api: Any = client._firestore_api  # pyright: ignore[reportPrivateUsage] - as above
    api.transport.close()


def _credentials(variable: str) -> Any:
    """None: those of this process. An emulator wants none, and a machine with one often has none."""
    if not os.environ.get(variable):
        return None
    from google.auth.credentials import AnonymousCredentials

    return AnonymousCredentials()


def _tasks() -> CloudTasksClient:
    from google.cloud.tasks_v2 import CloudTasksClient

    address = os.environ.get(TASKS_VARIABLE, "").strip()
    if not address:
        return CloudTasksClient()
    import grpc
    from google.cloud.tasks_v2.services.cloud_tasks.transports import CloudTasksGrpcTransport

    return CloudTasksClient(transport=CloudTasksGrpcTransport(channel=grpc.insecure_channel(address)))
