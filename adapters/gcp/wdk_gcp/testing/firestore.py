"""A Firestore that runs here: the part of the service that Google's clients use without transactions and listeners."""

from __future__ import annotations

import os
import threading
from collections import Counter
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Self

import grpc
from google.auth.credentials import AnonymousCredentials
from google.cloud.firestore_v1 import types
from google.rpc.status_pb2 import Status

from wdk_cloud.world.clock import SystemClock
from wdk_gcp.testing.documents import Documents, Stored
from wdk_gcp.testing.messages import Message, raw
from wdk_gcp.testing.mischief import Mischief
from wdk_gcp.testing.queries import answered
from wdk_gcp.testing.serving import GrpcServer, Method, Refused
from wdk_gcp.testing.values import Value, check_name, invalid, reference_key, refuse

if TYPE_CHECKING:
    from collections.abc import Collection, Generator

    from google.cloud.firestore import AsyncClient, Client

    from wdk_cloud.world.ports import Clock
    from wdk_gcp.testing.indexes import Indexes

REQUEST = 10 << 20
"""Bytes of a request at most: https://firebase.google.com/docs/firestore/quotas."""

VARIABLE = "FIRESTORE_EMULATOR_HOST"

PROJECT = "wdk-testing"

_naming = threading.Lock()

PAGE = 300
"""Documents or ids in a page, if the request does not say."""


class FirestoreServer:
    """Firestore in native mode on 127.0.0.1, while it is entered as a context.

        with FirestoreServer() as server:
            client = server.client()  # or async_client(); any other with FIRESTORE_EMULATOR_HOST=server.address

    Commits are atomic, and their times rise strictly. There are all databases that are asked for, empty at first; those
    of `datastore_mode` answer as a database in Datastore mode does. With `indexes` queries that would need others are
    refused. Times are those of `clock`, by default the machine's; `mischief` are its faults. Transactions, listeners,
    vectors and aggregations other than counts are not there.
    """

    def __init__(
        self,
        *,
        clock: Clock | None = None,
        mischief: Mischief | None = None,
        datastore_mode: Collection[str] = (),
        indexes: Indexes | None = None,
    ) -> None:
        self.clock: Clock = SystemClock() if clock is None else clock
        self.mischief = Mischief() if mischief is None else mischief
        self._indexes = indexes
        self._datastore_mode = frozenset(datastore_mode)
        self._lock = threading.Lock()
        self._documents = Documents(self.clock)
        self._grpc = GrpcServer("google.firestore.v1.Firestore", self._methods(), self.mischief, self._charged)
        self.calls = self._grpc.calls
        self.address = self._grpc.address
        """What FIRESTORE_EMULATOR_HOST wants."""

    def __enter__(self) -> Self:
        self._grpc.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._grpc.stop()

    def client(self, project: str = PROJECT, database: str | None = None) -> Client:
        """A new client of this server, for the `database` of this `project`; by default the one named `(default)`."""
        from google.cloud.firestore import Client

        with named_by_environment(self.address):
            return Client(project, AnonymousCredentials(), database)

    def async_client(self, project: str = PROJECT, database: str | None = None) -> AsyncClient:
        """As `client` for asyncio (`project`, `database`), for the loop that uses it first."""
        from google.cloud.firestore import AsyncClient

        with named_by_environment(self.address):
            return AsyncClient(project, AnonymousCredentials(), database)

    def expire(self, collection: str, field: str) -> int:
        """Delete the documents of all collections of the id `collection` whose time in `field` has passed, as a TTL
        policy does within a day. How many there were; nobody is charged for them here."""
        with self._lock:
            return self._documents.expire(collection, field)

    def clear(self) -> None:
        """Forget all documents."""
        with self._lock:
            self._documents = Documents(self.clock)

    @property
    def usage(self) -> Counter[str]:
        """What Firestore would charge so far: `reads`, `writes` and `deletes` of documents. A query reads what it
        finds, skipped documents included, and at least one; a document that is not there is a read, too."""
        with self._lock:
            return Counter(self._documents.usage)

    @property
    def stored(self) -> int:
        """How many documents there are. Each is a delete on the bill when its time has passed."""
        with self._lock:
            return len(self._documents)

    def _charged(self) -> str:
        with self._lock:
            units = self._documents.charged()
        return ", ".join(f"{units[name]} {name}" for name in ("reads", "writes", "deletes"))

    # -- the service ------------------------------------------------------------------------------------------------

    def _methods(self) -> dict[str, Method]:
        return {
            "Commit": _method(self._commit, types.CommitRequest, types.CommitResponse),
            "BatchWrite": _method(self._batch_write, types.BatchWriteRequest, types.BatchWriteResponse),
            "BatchGetDocuments": _method(
                self._batch_get, types.BatchGetDocumentsRequest, types.BatchGetDocumentsResponse, streaming=True
            ),
            "RunQuery": _method(self._run_query, types.RunQueryRequest, types.RunQueryResponse, streaming=True),
            "RunAggregationQuery": _method(
                self._aggregate, types.RunAggregationQueryRequest, types.RunAggregationQueryResponse, streaming=True
            ),
            "ListDocuments": _method(self._list_documents, types.ListDocumentsRequest, types.ListDocumentsResponse),
            "ListCollectionIds": _method(
                self._list_collections, types.ListCollectionIdsRequest, types.ListCollectionIdsResponse
            ),
        }

    def _commit(self, request: Message) -> Message:
        self._check(request, request.database)
        if request.transaction:
            invalid("There are no transactions here")
        for write in request.writes:
            _check_database(request.database, _target(write))
        with self._lock:
            results, at = self._documents.commit(request.writes)
        answer = raw(types.CommitResponse)(write_results=results)
        answer.commit_time.FromMicroseconds(at)
        return answer

    def _batch_write(self, request: Message) -> Message:
        """Each write on its own: an answer for each."""
        self._check(request, request.database)
        names = [_target(write) for write in request.writes]
        if len(set(names)) < len(names):
            invalid("Cannot write to the same document more than once in a batch")
        answer = raw(types.BatchWriteResponse)()
        for name, write in zip(names, request.writes, strict=True):
            _check_database(request.database, name)
            try:
                with self._lock:
                    [result], _ = self._documents.commit([write])
            except Refused as refused:
                code: tuple[int, str] = refused.code.value
                answer.status.append(Status(code=code[0], message=refused.message))
                answer.write_results.add()
            else:
                answer.status.append(Status())
                answer.write_results.append(result)
        return answer

    def _batch_get(self, request: Message) -> list[Message]:
        self._check(request, request.database)
        _no_consistency(request)
        names = list(dict.fromkeys(request.documents))
        for name in names:
            check_name(name)
            _check_database(request.database, name)
        with self._lock:
            found = [(name, self._documents.get(name)) for name in names]
            at = self._documents.now()
            self._documents.charge(reads=len(names))
        answers: list[Message] = []
        for name, stored in found:
            answer = raw(types.BatchGetDocumentsResponse)()
            if stored is None:
                answer.missing = name
            else:
                answer.found.CopyFrom(stored.shown(request.mask.field_paths if request.HasField("mask") else None))
            answer.read_time.FromMicroseconds(at)
            answers.append(answer)
        return answers

    def _run_query(self, request: Message) -> list[Message]:
        self._check(request, request.parent.partition("/documents")[0])
        _no_consistency(request)
        query = request.structured_query
        found, at = self._found(request.parent, query)
        mask = None
        if query.HasField("select"):
            mask = [field.field_path for field in query.select.fields]
        answers: list[Message] = []
        for stored in found:
            answer = raw(types.RunQueryResponse)(document=stored.shown(mask))
            answer.read_time.FromMicroseconds(at)
            answers.append(answer)
        if not answers:
            nothing = raw(types.RunQueryResponse)()
            nothing.read_time.FromMicroseconds(at)
            answers.append(nothing)
        return answers

    def _aggregate(self, request: Message) -> list[Message]:
        self._check(request, request.parent.partition("/documents")[0])
        _no_consistency(request)
        asked = request.structured_aggregation_query
        found, at = self._found(request.parent, asked.structured_query, counting=True)
        answer = raw(types.RunAggregationQueryResponse)()
        for number, aggregation in enumerate(asked.aggregations):
            if aggregation.WhichOneof("operator") != "count":
                refuse(grpc.StatusCode.UNIMPLEMENTED, "Of aggregations only counts are here")
            most = aggregation.count.up_to.value if aggregation.count.HasField("up_to") else len(found)
            alias = aggregation.alias or f"field_{number + 1}"
            answer.result.aggregate_fields[alias].CopyFrom(Value(integer_value=min(len(found), most)))
        answer.read_time.FromMicroseconds(at)
        return [answer]

    def _found(self, parent: str, query: Message, *, counting: bool = False) -> tuple[list[Stored], int]:
        """A query's documents and the time of the read; a count reads one for each thousand."""
        with self._lock:
            found = answered(self._documents, parent, query, self._indexes)
            read = len(found) + query.offset
            self._documents.charge(reads=max(1, -(-read // 1000) if counting else read))
            return found, self._documents.now()

    def _list_documents(self, request: Message) -> Message:
        self._check(request, request.parent.partition("/documents")[0])
        if request.order_by:
            refuse(grpc.StatusCode.UNIMPLEMENTED, "ListDocuments goes by names here")
        path = f"{request.parent}/{request.collection_id}"
        mask = request.mask.field_paths if request.HasField("mask") else None
        with self._lock:
            names = {stored.name for stored in self._documents.collection(path)}
            if request.show_missing:
                names |= set(_children(self._documents, f"{path}/"))
            in_order = sorted(names, key=reference_key)
            later = [name for name in in_order if reference_key(name) > reference_key(request.page_token)]
            page = later[: request.page_size or PAGE]
            answer = raw(types.ListDocumentsResponse)(next_page_token=page[-1] if len(later) > len(page) else "")
            for name in page:
                stored = self._documents.get(name)
                shown = stored.shown(mask) if stored is not None else raw(types.Document)(name=name)
                answer.documents.append(shown)
                self._documents.charge(reads=1)
        return answer

    def _list_collections(self, request: Message) -> Message:
        self._check(request, request.parent.partition("/documents")[0])
        prefix = f"{request.parent}/"
        with self._lock:
            paths = [path for path in self._documents.collections() if path.startswith(prefix)]
        ids = sorted({path[len(prefix) :].partition("/")[0] for path in paths})
        later = [each for each in ids if each > request.page_token]
        page = later[: request.page_size or PAGE]
        token = page[-1] if len(later) > len(page) else ""
        return raw(types.ListCollectionIdsResponse)(collection_ids=page, next_page_token=token)

    def _check(self, request: Message, database: str) -> None:
        if request.ByteSize() > REQUEST:
            invalid(f"Request payload size exceeds the limit: {REQUEST} bytes.")
        parts = database.split("/")
        if len(parts) != 4 or (parts[0], parts[2]) != ("projects", "databases") or not (parts[1] and parts[3]):
            invalid(f'Invalid database name "{database}"')
        if parts[3] in self._datastore_mode:
            refuse(
                grpc.StatusCode.FAILED_PRECONDITION,
                f"The Cloud Firestore API is not available for Firestore in Datastore Mode database {database}.",
            )


@contextmanager
def named_by_environment(address: str) -> Generator[None]:
    """Clients that are made meanwhile talk to the Firestore at this address: they read it when they are made."""
    with _naming:
        before = os.environ.get(VARIABLE)
        os.environ[VARIABLE] = address
        try:
            yield
        finally:
            if before is None:
                del os.environ[VARIABLE]
            else:
                os.environ[VARIABLE] = before


def _method(answer: Any, request: Any, response: Any, *, streaming: bool = False) -> Method:
    return Method(answer, raw(request).FromString, raw(response).SerializeToString, streaming)


def _target(write: Message) -> str:
    return write.update.name or write.delete or write.transform.document


def _check_database(database: str, name: str) -> None:
    if name and not name.startswith(f"{database}/documents/"):
        invalid(f'Document name "{name}" is not in the database "{database}".')


def _no_consistency(request: Message) -> None:
    if (wanted := request.WhichOneof("consistency_selector")) is not None:
        refuse(grpc.StatusCode.UNIMPLEMENTED, f"Reads with {wanted} are not here")


def _children(documents: Documents, prefix: str) -> list[str]:
    """The names right below a collection under which something lies, though they themselves may be missing."""
    paths = [path for path in documents.collections() if path.startswith(prefix)]
    return [prefix + path[len(prefix) :].partition("/")[0] for path in paths]
