"""The database: its mode, its expiry, exemptions and indexes, and whether this process may read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from google.api_core.exceptions import Forbidden, NotFound

from wdk_cloud.findings import Finding
from wdk_gcp import schema
from wdk_gcp.clients import RETRY, WITHIN

if TYPE_CHECKING:
    from collections.abc import Iterable

    from wdk_gcp.checkup import Place

SHOWN = 5
"""Fields that are named when many are wrong."""

CREATE = "wdk gcp create"
"""It puts right what is missing, and leaves what is there."""

PROBE = f"{schema.RUNS}/wdk-doctor"
"""A document that nobody has."""


def examine(place: Place) -> list[Finding]:
    found: list[Finding] = []
    if place.admin is not None:
        found = _described(place, place.admin())
        if not found[0].well:
            return found
    return [*found, _readable(place)]


def _described(place: Place, admin: Any) -> list[Finding]:
    settings = place.settings
    name = f"projects/{settings.project}/databases/{settings.database}"
    asked = {"retry": RETRY, "timeout": WITHIN}
    from google.cloud.firestore_admin_v1 import types

    try:
        database = admin.get_database(name=name, **asked)
    except NotFound:
        return [Finding("database", f"{name} is not there", CREATE)]
    if database.type_ != types.Database.DatabaseType.FIRESTORE_NATIVE:
        seen = f"{name} is in Datastore mode, and runs want native mode; that cannot be changed where there are data"
        return [Finding("database", seen, "export WDK_GCP_DATABASE=wdk-runs && wdk gcp create")]
    fields = {
        field.name.partition("/collectionGroups/")[2]: field
        for field in admin.list_fields(
            request={
                "parent": f"{name}/collectionGroups/-",
                "filter": "indexConfig.usesAncestorConfig:false OR ttlConfig:*",
            },
            **asked,
        )
    }
    indexes = list(admin.list_indexes(parent=f"{name}/collectionGroups/{schema.RUNS}", **asked))
    return [
        Finding("database", f"{name}: native mode, in {database.location_id or 'its location'}"),
        _expiry(fields, types.Field.TtlConfig.State.ACTIVE),
        _exemptions(fields),
        _indexes(indexes, types.Index),
    ]


def _expiry(fields: dict[str, Any], active: Any) -> Finding:
    missing: list[str] = []
    for collection in schema.COLLECTIONS:
        field = fields.get(f"{collection}/fields/{schema.EXPIRES}")
        if field is None or not field.ttl_config or field.ttl_config.state != active:
            missing.append(collection)
    if not missing:
        return Finding("ttl", f"every collection expires by its field {schema.EXPIRES}")
    seen = f"no active TTL policy on {schema.EXPIRES} of {_named(missing)}: what ended runs leave is kept for ever"
    return Finding("ttl", seen, CREATE)


def _exemptions(fields: dict[str, Any]) -> Finding:
    missing = [
        f"{collection}.{name}"
        for collection, names in schema.EXEMPT.items()
        for name in names
        if (field := fields.get(f"{collection}/fields/{name}")) is None or field.index_config.indexes
    ]
    if not missing:
        return Finding("exemptions", "payloads and times have no indexes of their own")
    return Finding("exemptions", f"indexed, which costs and slows writes: {_named(missing)}", CREATE)


def _indexes(found: list[Any], types: Any) -> Finding:
    descending, ready = types.IndexField.Order.DESCENDING, types.State.READY
    there = {
        tuple(
            f"{'-' if field.order == descending else ''}{field.field_path}"
            for field in index.fields
            if field.field_path != "__name__"
        ): index.state
        for index in found
    }
    missing = [", ".join(index.fields) for index in schema.COMPOSITE if index.fields not in there]
    building = [", ".join(index.fields) for index in schema.COMPOSITE if there.get(index.fields, ready) != ready]
    if missing:
        seen = f"missing on {schema.RUNS}: {_named(missing)}; listings by workflow, status or version are refused"
        return Finding("indexes", seen, CREATE)
    if building:
        return Finding("indexes", f"still being built: {_named(building)}", "wdk doctor")
    return Finding("indexes", f"the {len(schema.COMPOSITE)} of several fields are there")


def _readable(place: Place) -> Finding:
    client: Any = place.clients.firestore  # the types of its methods are partly unknown
    try:
        client.document(PROBE).get(retry=RETRY, timeout=WITHIN)
        client.collection(schema.RUNS).limit(1).get(retry=RETRY, timeout=WITHIN)
    except Forbidden as error:
        wanted = "the permissions datastore.entities.get and datastore.entities.list"
        seen = f"this process may not read the database ({error.message}): it needs {wanted}"
        return Finding("database-rights", seen, f"gcloud projects get-iam-policy {place.settings.project}")
    return Finding("database-rights", "this process may read the database")


def _named(names: Iterable[str]) -> str:
    names = list(names)
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more
