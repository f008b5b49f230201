"""The IAM permissions that each kind of process needs, and on what: roles are to grant these and nothing else.

A test records what the processes really ask for, and compares both ways; whatever else they ask for is refused there.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

Resource = Literal["database", "flow queue", "step queue", "invoker", "bucket", "key"]
"""The `invoker` is the service account in whose name the queues call: whoever makes a task acts as it. Permissions on
objects are granted on their bucket."""

Kind = Literal["starter", "resumer", "receiver", "operator", "sweeper", "worker"]


class Use(NamedTuple):
    """A permission on a resource. Those on the `bucket` are for values beside the log (over 4 KB) and for streams,
    those on the `key` for encryption: without them they need not be granted."""

    permission: str
    on: Resource


def _on(resource: Resource, *permissions: str) -> frozenset[Use]:
    return frozenset(Use(permission, resource) for permission in permissions)


_SENDS = _on("flow queue", "cloudtasks.tasks.create") | _on("invoker", "iam.serviceAccounts.actAs")
_SEALS = _on("key", "cloudkms.cryptoKeyVersions.useToEncrypt")
_LARGE = _on("bucket", "storage.objects.create")

_STARTER = _on("database", "datastore.entities.create") | _SENDS | _LARGE | _SEALS
_RESUMER = _STARTER | _on("database", "datastore.entities.get")

_ALL_DOCUMENTS = _on(
    "database",
    "datastore.entities.create",
    "datastore.entities.delete",
    "datastore.entities.get",
    "datastore.entities.list",
    "datastore.entities.update",
)
_ALL_OBJECTS = _on(
    "bucket",
    "storage.objects.create",
    "storage.objects.delete",
    "storage.objects.get",
    "storage.objects.list",
)

_SWEEPER = _ALL_DOCUMENTS | _ALL_OBJECTS | _SENDS

RIGHTS: dict[Kind, frozenset[Use]] = {
    # A program that starts runs.
    "starter": _STARTER,
    # A program that resumes hooks.
    "resumer": _RESUMER,
    # A service that answers webhooks for the public. It opens nothing that is encrypted, and changes nothing.
    "receiver": _RESUMER,
    # Who looks at runs, reads their streams, cancels and deletes them: `Run`, `list_runs`, the command line.
    "operator": (_SWEEPER - _LARGE) | _on("key", "cloudkms.cryptoKeyVersions.useToDecrypt"),
    # The sweep alone. It copies objects of live runs onto themselves, so that they do not expire.
    "sweeper": _SWEEPER,
    # The service that works on both queues. One that also answers sweeps and the routes of the API has the rights of a
    # sweeper and of an operator beside these.
    "worker": (
        _ALL_DOCUMENTS
        | _on("bucket", "storage.objects.create", "storage.objects.delete", "storage.objects.get")
        | _SENDS
        | _on("step queue", "cloudtasks.tasks.create")
        | _on("key", "cloudkms.cryptoKeyVersions.useToDecrypt", "cloudkms.cryptoKeyVersions.useToEncrypt")
    ),
}

IMPLIED: dict[Kind, frozenset[Use]] = {
    "starter": frozenset(),
    "resumer": frozenset(),
    "receiver": frozenset(),
    "operator": frozenset(),
    "sweeper": frozenset(),
    # Nobody in our code asks for this. Without it Cloud Storage answers a GET of an object that is not there yet with
    # 403 instead of 404, and a reader of a stream asks for those.
    "worker": _on("bucket", "storage.objects.list"),
}
"""To be granted as well."""

DONE_WITHOUT: dict[Kind, frozenset[Use]] = {
    # A run that was just started is under no tombstone; who may not look takes it for granted.
    "starter": _on("database", "datastore.entities.get"),
    "resumer": frozenset(),
    "receiver": frozenset(),
    "operator": frozenset(),
    "sweeper": frozenset(),
    "worker": frozenset(),
}
"""Asked for, and gone on without when it is refused."""

ROLES: dict[str, tuple[Kind, ...]] = {
    "client": ("starter", "resumer"),
    "operator": ("operator",),
    "receiver": ("receiver",),
    "starter": ("starter",),
    "worker": ("worker", "operator", "sweeper"),
}
"""Whom there are grants for. The worker is the service of the module, which also sweeps and answers the API."""


def uses(role: str) -> frozenset[Use]:
    """All that it needs, with what is done in its name."""
    return frozenset(use for kind in ROLES[role] for use in RIGHTS[kind] | IMPLIED[kind])
