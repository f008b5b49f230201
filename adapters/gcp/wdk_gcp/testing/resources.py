"""What the Google Cloud world stands on, made by plain calls: for tests, and for a first try."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from google.api_core.exceptions import AlreadyExists, Conflict, GoogleAPICallError

from wdk_cloud.engine.settings import Settings
from wdk_cloud.errors import WorldConfigurationError
from wdk_gcp import schema
from wdk_gcp.clients import FIRESTORE_VARIABLE, RETRY, WITHIN, Clients
from wdk_gcp.settings import VARIABLES, GcpSettings

if TYPE_CHECKING:
    from collections.abc import Callable

    from google.cloud.firestore_admin_v1 import FirestoreAdminClient

DONE_WITHIN = 1_800.0
"""Seconds for which a change of the database is waited for: an index of an empty collection takes some minutes."""


def create_resources() -> None:
    """Create what the `WDK_GCP_*` variables name and is not there yet: the database with its indexes, exemptions and
    expiry, the queues, the bucket. A variable that is not set is passed over; the service, its accounts and a KMS key
    are taken as given. An emulator of Firestore has its databases already, and needs no indexes.

    Calling it again is harmless, and puts right what is set otherwise. Raises `WorldConfigurationError` that names the
    variable.
    """
    settings = GcpSettings.from_environment()
    settings.needed("project")
    clients = Clients(settings)
    try:
        if not os.environ.get(FIRESTORE_VARIABLE):
            from google.cloud.firestore_admin_v1 import FirestoreAdminClient

            create_database(settings, clients, clients.ask_now(VARIABLES["database"], FirestoreAdminClient))
        create(settings, clients)
    finally:
        clients.close()


def create(settings: GcpSettings, clients: Clients) -> None:
    """All but the database."""
    for field in ("flow_queue", "step_queue"):
        if getattr(settings, field):
            _create_queue(field, settings, clients)
    if settings.bucket:
        _create_bucket(settings, clients)


def create_database(settings: GcpSettings, clients: Clients, admin: FirestoreAdminClient) -> None:
    from google.cloud.firestore_admin_v1 import types

    setting, client = VARIABLES["database"], _any(admin)
    parent, asked = f"projects/{settings.needed('project')}", {"retry": RETRY, "timeout": WITHIN}
    native = types.Database(location_id=settings.needed("location"), type_=types.Database.DatabaseType.FIRESTORE_NATIVE)

    def make() -> None:
        _unless_there(
            setting,
            lambda: client.create_database(
                parent=parent, database=native, database_id=settings.database, **asked
            ).result(timeout=DONE_WITHIN),
        )
        changes = [
            client.update_field(field=field, **asked) for field in fields_of(f"{parent}/databases/{settings.database}")
        ]
        for parent_of_index, index in indexes_of(f"{parent}/databases/{settings.database}"):
            _unless_there(
                setting,
                lambda of=parent_of_index, index=index: changes.append(
                    client.create_index(parent=of, index=index, **asked)
                ),
            )
        for change in changes:
            change.result(timeout=DONE_WITHIN)

    clients.ask_now(setting, make)


def fields_of(database: str) -> list[Any]:
    """The fields of all collections as the admin API has them: those without indexes, and the TTL fields."""
    from google.cloud.firestore_admin_v1 import types

    def field_of(collection: str, name: str) -> Any:
        ttl = types.Field.TtlConfig() if name == schema.EXPIRES else None
        path = f"{database}/collectionGroups/{collection}/fields/{name}"
        return types.Field(name=path, index_config=types.Field.IndexConfig(indexes=[]), ttl_config=ttl)

    return [field_of(collection, name) for collection, names in schema.EXEMPT.items() for name in names]


def indexes_of(database: str) -> list[tuple[str, Any]]:
    """Those of several fields, each with its parent."""
    from google.cloud.firestore_admin_v1 import types

    def order_of(field: str) -> Any:
        order = types.Index.IndexField.Order
        return types.Index.IndexField(
            field_path=field.removeprefix("-"), order=order.DESCENDING if field.startswith("-") else order.ASCENDING
        )

    return [
        (
            f"{database}/collectionGroups/{index.collection}",
            types.Index(
                query_scope=types.Index.QueryScope.COLLECTION, fields=[order_of(name) for name in index.fields]
            ),
        )
        for index in schema.COMPOSITE
    ]


def _create_queue(field: str, settings: GcpSettings, clients: Clients) -> None:
    from google.cloud.tasks_v2 import types
    from google.protobuf.duration_pb2 import Duration

    setting, name, client = VARIABLES[field], settings.queue(field), _any(clients.tasks)
    retry = types.RetryConfig(
        max_attempts=schema.QUEUE.max_attempts,
        min_backoff=Duration(seconds=schema.QUEUE.min_backoff),
        max_backoff=Duration(seconds=schema.QUEUE.max_backoff),
        max_doublings=schema.QUEUE.max_doublings,
    )
    queue = types.Queue(name=name, retry_config=retry)

    def make() -> None:
        asked = {"retry": RETRY, "timeout": WITHIN}
        try:
            client.create_queue(parent=name.partition("/queues/")[0], queue=queue, **asked)
        except AlreadyExists:
            client.update_queue(queue=queue, update_mask={"paths": ["retry_config"]}, **asked)

    _asked(setting, clients, make)


def _create_bucket(settings: GcpSettings, clients: Clients) -> None:
    setting = VARIABLES["bucket"]

    def make() -> None:
        bucket = clients.storage.bucket(settings.bucket)
        try:
            bucket.create(location=settings.location or None, timeout=WITHIN)
        except Conflict:
            bucket.reload(timeout=WITHIN)  # it is forbidden if the bucket is another account's
        bucket.lifecycle_rules = [
            {
                "action": {"type": "Delete"},
                "condition": {"age": schema.object_days(Settings.from_environment().retention)},
            }
        ]
        bucket.iam_configuration.uniform_bucket_level_access_enabled = True
        bucket.iam_configuration.public_access_prevention = "enforced"
        bucket.soft_delete_policy.retention_duration_seconds = 0  # what is erased is gone
        bucket.patch(timeout=WITHIN)

    _asked(setting, clients, make)


def _asked(setting: str, clients: Clients, make: Callable[[], None]) -> None:
    try:
        clients.ask_now(setting, make)
    except GoogleAPICallError as error:
        raise WorldConfigurationError(
            f"what {setting} names cannot be made: {error.message}; look at that variable"
        ) from error


def _unless_there(setting: str, create: Callable[[], object]) -> None:
    try:
        create()
    except AlreadyExists:
        return
    except GoogleAPICallError as error:
        raise WorldConfigurationError(
            f"what {setting} names cannot be made: {error.message}; look at that variable"
        ) from error


def _any(client: object) -> Any:
    """The types of its methods are partly unknown."""
    return client
