"""The part of Firestore's admin service that `create_resources()` asks: it keeps what it is told, done at once."""

from __future__ import annotations

from typing import Any

import grpc
from google.cloud.firestore_admin_v1 import FirestoreAdminClient, types
from google.cloud.firestore_admin_v1.services.firestore_admin.transports import FirestoreAdminGrpcTransport
from google.longrunning.operations_pb2 import Operation

from wdk_gcp.testing import Mischief
from wdk_gcp.testing.messages import Message, raw
from wdk_gcp.testing.serving import GrpcServer, Method, Refused


class AdminServer:
    def __init__(self) -> None:
        self.databases: dict[str, Any] = {}
        self.fields: dict[str, Any] = {}
        self.indexes: dict[str, Any] = {}
        methods = {
            "CreateDatabase": self._method(self._create_database, types.CreateDatabaseRequest),
            "UpdateField": self._method(self._update_field, types.UpdateFieldRequest),
            "CreateIndex": self._method(self._create_index, types.CreateIndexRequest),
        }
        self._grpc = GrpcServer("google.firestore.admin.v1.FirestoreAdmin", methods, Mischief())

    def __enter__(self) -> AdminServer:
        self._grpc.start()
        channel = grpc.insecure_channel(self._grpc.address)
        self.client = FirestoreAdminClient(transport=FirestoreAdminGrpcTransport(channel=channel))
        return self

    def __exit__(self, *_: object) -> None:
        self.client.transport.close()
        self._grpc.stop()

    def _method(self, answer: Any, request: Any) -> Method:
        return Method(answer, raw(request).FromString, Operation.SerializeToString)

    def _create_database(self, request: Message) -> Operation:
        return self._kept(self.databases, f"{request.parent}/databases/{request.database_id}", request.database)

    def _create_index(self, request: Message) -> Operation:
        name = f"{request.parent}: {', '.join(field.field_path for field in request.index.fields)}"
        return self._kept(self.indexes, name, request.index)

    def _update_field(self, request: Message) -> Operation:
        self.fields[request.field.name] = request.field
        return _done(request.field)

    def _kept(self, among: dict[str, Any], name: str, what: Message) -> Operation:
        if name in among:
            raise Refused(grpc.StatusCode.ALREADY_EXISTS, f"{name} is there already")
        among[name] = what
        return _done(what)


def _done(what: Message) -> Operation:
    done = Operation(name="operations/1", done=True)
    done.response.Pack(what)
    return done
