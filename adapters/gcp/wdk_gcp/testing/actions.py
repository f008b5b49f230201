"""Which IAM permissions a program uses, on what: from the requests that its clients make.

What each method asks for is in the references of access control: https://cloud.google.com/firestore/docs/security/iam,
https://cloud.google.com/tasks/docs/reference-access-control, https://cloud.google.com/storage/docs/access-control/iam-json
and https://cloud.google.com/kms/docs/reference/permissions-and-roles.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, NoReturn
from urllib.parse import parse_qs, urlsplit

import grpc
from google.api_core.exceptions import Forbidden

from wdk_gcp.rights import Use

if TYPE_CHECKING:
    from collections.abc import Iterator

    from wdk_gcp.rights import Resource
    from wdk_gcp.settings import GcpSettings

_READS = ("datastore.entities.get", "datastore.entities.list")

_METHODS: dict[str, tuple[Resource, tuple[str, ...]]] = {
    "Firestore/BatchGetDocuments": ("database", ("datastore.entities.get",)),
    "Firestore/GetDocument": ("database", ("datastore.entities.get",)),
    "Firestore/ListCollectionIds": ("database", ("datastore.entities.list",)),
    "Firestore/ListDocuments": ("database", _READS),
    "Firestore/RunAggregationQuery": ("database", _READS),
    "Firestore/RunQuery": ("database", _READS),
    "KeyManagementService/Decrypt": ("key", ("cloudkms.cryptoKeyVersions.useToDecrypt",)),
    "KeyManagementService/Encrypt": ("key", ("cloudkms.cryptoKeyVersions.useToEncrypt",)),
}
"""Those whose requests need not be looked into."""


class Denied(grpc.RpcError):
    """As a server refuses a request that IAM does not allow."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self._message = message

    def code(self) -> grpc.StatusCode:
        return grpc.StatusCode.PERMISSION_DENIED

    def details(self) -> str:
        return self._message

    def trailing_metadata(self) -> tuple[()]:
        return ()


class Actions:
    """Give its channels and its session to the clients of a program. With `allowed`, every other request is refused as
    IAM refuses it."""

    def __init__(self, settings: GcpSettings, allowed: frozenset[Use] | None = None) -> None:
        self._settings = settings
        self._allowed = allowed
        self._adding = threading.Lock()
        self._found: set[Use] = set()

    @property
    def found(self) -> frozenset[Use]:
        with self._adding:
            return frozenset(self._found)

    def channel(self, channel: grpc.Channel) -> grpc.Channel:
        """One whose requests are seen."""
        return grpc.intercept_channel(channel, _Interceptor(self))

    def session(self) -> Any:
        """For `google.cloud.storage.Client(_http=…)`."""
        from google.auth.credentials import AnonymousCredentials
        from google.auth.transport.requests import AuthorizedSession

        actions, base = self, AuthorizedSession
        made: Any = type("Session", (base,), {"request": _request(actions, base)})
        return made(AnonymousCredentials())

    def of_grpc(self, method: str, request: Any) -> None:
        """Raises Denied."""
        self._add(method, list(self._uses(method, request)), Denied)

    def of_http(self, method: str, url: str) -> None:
        """Raises Forbidden."""
        self._add(f"{method} {urlsplit(url).path}", list(_of_storage(method, url)), Forbidden)

    def _add(self, what: str, found: list[Use], refusal: type[Exception]) -> None:
        with self._adding:
            self._found.update(found)
        if self._allowed is not None and (missing := sorted(set(found) - self._allowed)):
            said = ", ".join(f"{use.permission} on the {use.on}" for use in missing)
            raise refusal(f"Permission denied for {what}: {said}")

    def _uses(self, method: str, request: Any) -> Iterator[Use]:
        name = method.rpartition(".")[2]
        if name == "Firestore/Commit":
            for write in request.writes:
                yield from _of_write(write)
        elif name == "CloudTasks/CreateTask":
            on: Resource = "step queue" if request.parent == self._settings.queue("step_queue") else "flow queue"
            yield Use("cloudtasks.tasks.create", on)
            if request.task.http_request.oidc_token.service_account_email:
                yield Use("iam.serviceAccounts.actAs", "invoker")
        elif name in _METHODS:
            resource, permissions = _METHODS[name]
            for permission in permissions:
                yield Use(permission, resource)
        else:
            _unknown(method)


def _of_write(write: Any) -> Iterator[Use]:
    """A write whose precondition is an update time wants a document that is there."""
    if write.delete:
        yield Use("datastore.entities.delete", "database")
        return
    precondition = write.current_document
    kind: str | None = precondition._pb.WhichOneof("condition_type")  # proto-plus has no way to ask
    if kind != "exists" or precondition.exists:
        yield Use("datastore.entities.update", "database")
    if kind is None or (kind == "exists" and not precondition.exists):
        yield Use("datastore.entities.create", "database")


def _of_storage(method: str, url: str) -> Iterator[Use]:
    parts = urlsplit(url)
    path = parts.path.strip("/").split("/")
    if "o" not in path:
        _unknown(f"{method} {parts.path}")
    names: list[str] = []
    match method, path[path.index("o") + 1 :]:
        case "POST", []:
            names = ["create"]
            # What lies there is overwritten, and that is deleting it.
            if parse_qs(parts.query).get("ifGenerationMatch") != ["0"]:
                names.append("delete")
        case "GET", []:
            names = ["list"]
        case "GET", [_]:
            names = ["get"]
        case "DELETE", [_]:
            names = ["delete"]
        case "POST", [_, "rewriteTo" | "copyTo", *_]:
            names = ["get", "create", "delete"]
        case _:
            _unknown(f"{method} {parts.path}")
    for name in names:
        yield Use(f"storage.objects.{name}", "bucket")


def _unknown(method: str) -> NoReturn:
    raise ValueError(f"no world of wdk-cloud asks for {method}")


def _request(actions: Actions, base: Any) -> Any:
    def request(session: Any, method: str, url: str, *args: Any, **kwargs: Any) -> Any:
        actions.of_http(method, url)
        return base.request(session, method, url, *args, **kwargs)

    return request


_UNARY: Any = grpc.UnaryUnaryClientInterceptor
_STREAM: Any = grpc.UnaryStreamClientInterceptor
"""Generic for type checkers alone."""


class _Interceptor(_UNARY, _STREAM):
    def __init__(self, actions: Actions) -> None:
        self._actions = actions

    def intercept_unary_unary(self, continuation: Any, client_call_details: Any, request: Any) -> Any:
        self._actions.of_grpc(client_call_details.method, request)
        return continuation(client_call_details, request)

    def intercept_unary_stream(self, continuation: Any, client_call_details: Any, request: Any) -> Any:
        self._actions.of_grpc(client_call_details.method, request)
        return continuation(client_call_details, request)
