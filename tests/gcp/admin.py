"""The part of Firestore's admin service that `create_resources()` and the doctor ask: it keeps what it is told, done at
once."""

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
            "GetDatabase": Method(self._get_database, raw(types.GetDatabaseRequest).FromString, _sent),
            "ListFields": Method(self._list_fields, raw(types.ListFieldsRequest).FromString, _sent),
            "ListIndexes": Method(self._list_indexes, raw(types.ListIndexesRequest).FromString, _sent),
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

    def _get_database(self, request: Message) -> Any:
        if request.name not in self.databases:
            raise Refused(grpc.StatusCode.NOT_FOUND, f"{request.name} is not there")
        return self.databases[request.name]

    def _list_fields(self, request: Message) -> Any:
        """Those with a configuration of their own, as the filter asks. What was told is active at once."""
        found = raw(types.ListFieldsResponse)()
        for name, field in self.fields.items():
            kept = found.fields.add()
            kept.CopyFrom(field)
            kept.name = name
            if kept.HasField("ttl_config"):
                kept.ttl_config.state = types.Field.TtlConfig.State.ACTIVE.value
        return found

    def _list_indexes(self, request: Message) -> Any:
        found = raw(types.ListIndexesResponse)()
        for name, index in self.indexes.items():
            if name.startswith(f"{request.parent}:"):
                kept = found.indexes.add()
                kept.CopyFrom(index)
                kept.state = types.Index.State.READY.value
        return found

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


def _sent(answer: Any) -> bytes:
    return answer.SerializeToString()
