"""The requests to the database: conditional writes of single documents, strong reads, queries; no transactions.

A condition on the fields of a document is a read, a comparison and a write that asks for that read's update time: who
finds that the document has changed meanwhile reads again. Transactions would take locks, and collapse where many want
one document.
"""

from __future__ import annotations

import random
import time
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from google.api_core.exceptions import (
    AlreadyExists,
    DeadlineExceeded,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
)
from google.cloud.firestore import DELETE_FIELD, FieldFilter

from wdk_cloud.errors import WorldUnavailableError
from wdk_gcp.clients import RETRY, WITHIN
from wdk_gcp.schema import EXPIRES
from wdk_gcp.settings import VARIABLES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from wdk_cloud.world.ports import Clock
    from wdk_gcp.clients import Clients
    from wdk_gcp.items import Fields

T = TypeVar("T")

ROUNDS = 40
"""Of a write that is decided by what lies there: each round but the first means that another writer was faster."""

FIRST_PAUSE, LONGEST_PAUSE = 0.005, 0.2
"""Seconds, at most, before the second round and before later ones: writers that meet go apart."""

AT_ONCE = 300
"""Documents of a commit that deletes, or of a read of many: a commit changes 500 in every mode of the database, and an
answer of many comes as a stream."""

_DATABASE = VARIABLES["database"]


@dataclass(frozen=True, slots=True)
class Found:
    """A document as it was read."""

    path: str
    """Within the database: `wdk_runs/…`."""
    fields: Fields
    updated: Any
    """The precondition for a write that asks that it is still as it was read."""

    @staticmethod
    def of(snapshot: Any) -> Found:
        return Found(snapshot.reference.path, snapshot.to_dict() or {}, snapshot.update_time)


@dataclass(frozen=True, slots=True)
class Step(Generic[T]):
    """What becomes of a document that was read: an answer; and, if it is to change for that, which fields."""

    answer: T
    change: Fields | None = None


class Database:
    """`keep`: seconds after which a document expires."""

    def __init__(self, clients: Clients, clock: Clock, keep: float) -> None:
        self._clients = clients
        self._clock = clock
        self.keep = keep

    def now(self) -> float:
        return self._clock.now()

    def expiry(self) -> datetime:
        return datetime.fromtimestamp(int(self.now() + self.keep), UTC)

    # -- one document -------------------------------------------------------------------------------------------------

    async def get(self, path: str) -> Found | None:
        """Strongly consistent, as all reads are."""
        return await self._clients.ask(_DATABASE, self._get, path)

    async def create(self, path: str, fields: Fields) -> Found | None:
        """None: written, with its expiry. Else what is there."""
        return await self._clients.ask(_DATABASE, self._create, path, fields)

    async def put_blindly(self, path: str, fields: Fields) -> None:
        """What is the same each time it is written."""

        def put() -> None:
            self._client.document(path).set({**fields, EXPIRES: self.expiry()}, retry=RETRY, timeout=WITHIN)

        await self._clients.ask(_DATABASE, put)

    async def decide(self, path: str, decide: Callable[[Found | None], Step[T]]) -> T:
        """Read the document, and write what `decide` makes of it if it is still as it was read; else again. `decide`
        has to know its own write when it meets it: the answer to it may have been lost."""
        return await self._clients.ask(_DATABASE, self._decide, path, decide)

    def decide_now(self, path: str, decide: Callable[[Found | None], Step[T]]) -> T:
        """As `decide`, in the calling thread."""
        return self._clients.ask_now(_DATABASE, self._decide, path, decide)

    async def touch(self, path: str, expires: datetime) -> None:
        """Change when the document expires, if it is there."""

        def touch() -> None:
            with suppress(NotFound):
                self._client.document(path).update({EXPIRES: expires}, retry=RETRY, timeout=WITHIN)

        await self._clients.ask(_DATABASE, touch)

    async def delete(self, path: str, wanted: Callable[[Found], bool]) -> None:
        """If it is as wanted."""

        def delete() -> None:
            for number in range(ROUNDS):
                _wait(number)
                found = self._get(path)
                if found is None or not wanted(found):
                    return
                as_read = self._client.write_option(last_update_time=found.updated)
                with suppress(FailedPrecondition, NotFound):
                    self._client.document(path).delete(as_read, retry=RETRY, timeout=WITHIN)
                    return
            raise _crowded(path)

        await self._clients.ask(_DATABASE, delete)

    # -- many documents -----------------------------------------------------------------------------------------------

    async def names(
        self, parent: str, collection: str, first: str, last: str, fields: Sequence[str] = ()
    ) -> list[Found]:
        """The documents of a collection with ids from the first up to, and without, the last; with these fields."""
        return await self._row(parent, collection, first, last, tuple(fields))

    async def row(self, parent: str, collection: str, first: str, last: str) -> list[Found]:
        """As `names`, with all fields, in the order of their ids."""
        return await self._row(parent, collection, first, last, None)

    async def _row(
        self, parent: str, collection: str, first: str, last: str, fields: tuple[str, ...] | None
    ) -> list[Found]:
        def read() -> list[Found]:
            there = self._client.collection(f"{parent}/{collection}")
            query = there.where(filter=_by_name(">=", there.document(first)))
            query = query.where(filter=_by_name("<", there.document(last)))
            return _read_on(query if fields is None else query.select(fields))

        return await self._clients.ask(_DATABASE, read)

    async def equal(self, collection: str, asked: Mapping[str, Any], ids: Sequence[str] | None = None) -> list[Found]:
        """The documents with these values in these fields; of the ids that are given, if they are."""

        def read() -> list[Found]:
            there = self._client.collection(collection)
            query = there
            for name, value in asked.items():
                query = query.where(filter=FieldFilter(name, "==", value))
            if ids is not None:
                query = query.where(filter=_by_name("in", [there.document(id) for id in ids]))
            return _read(query)

        return await self._clients.ask(_DATABASE, read)

    async def between(
        self,
        collection: str,
        field: str,
        first: str,
        last: str,
        limit: int,
        asked: Mapping[str, str] | None = None,
        *,
        descending: bool = False,
    ) -> list[Found]:
        """The documents whose text in this field lies between these two, without them, in its order; at most so many.
        `asked`: values of other fields."""

        def read() -> list[Found]:
            query = self._client.collection(collection)
            for name, value in (asked or {}).items():
                query = query.where(filter=FieldFilter(name, "==", value))
            query = query.where(filter=FieldFilter(field, ">", first)).where(filter=FieldFilter(field, "<", last))
            return _read(query.order_by(field, direction="DESCENDING" if descending else "ASCENDING").limit(limit))

        return await self._clients.ask(_DATABASE, read)

    async def get_all(self, paths: Iterable[str]) -> list[Found]:
        """Those of these documents that are there, in any order."""
        asked = list(dict.fromkeys(paths))

        def read(some: Sequence[str]) -> list[Found]:
            references = [self._client.document(path) for path in some]
            snapshots = self._client.get_all(references, retry=RETRY, timeout=WITHIN)
            return [Found.of(snapshot) for snapshot in snapshots if snapshot.exists]

        found: list[Found] = []
        for start in range(0, len(asked), AT_ONCE):
            found += await self._clients.ask(_DATABASE, read, asked[start : start + AT_ONCE])
        return found

    async def delete_all(self, paths: Sequence[str]) -> None:
        """Those that are not there do not matter."""

        def delete(some: Sequence[str]) -> None:
            batch = self._client.batch()
            for path in some:
                batch.delete(self._client.document(path))
            try:
                batch.commit(retry=RETRY, timeout=WITHIN)
            except InvalidArgument:
                # "Transaction too big": 10 MiB at most, which the documents that go count towards, and nobody has
                # asked how large those are.
                if len(some) == 1:
                    raise
                middle = len(some) // 2
                delete(some[:middle])
                delete(some[middle:])

        for start in range(0, len(paths), AT_ONCE):
            await self._clients.ask(_DATABASE, delete, paths[start : start + AT_ONCE])

    # -- requests -----------------------------------------------------------------------------------------------------

    @property
    def _client(self) -> Any:
        """The types of its methods are partly unknown."""
        return self._clients.firestore

    def _get(self, path: str) -> Found | None:
        snapshot = self._client.document(path).get(retry=RETRY, timeout=WITHIN)
        return Found.of(snapshot) if snapshot.exists else None

    def _create(self, path: str, fields: Fields) -> Found | None:
        for number in range(ROUNDS):
            _wait(number)
            try:
                self._write(path, None, {**fields, EXPIRES: self.expiry()})
            except AlreadyExists:
                found = self._get(path)
                if found is not None:
                    return found  # else it was deleted between the two
            else:
                return None
        raise _crowded(path)

    def _decide(self, path: str, decide: Callable[[Found | None], Step[T]]) -> T:
        for number in range(ROUNDS):
            _wait(number)
            found = self._get(path)
            step = decide(found)
            if step.change is None:
                return step.answer
            with suppress(AlreadyExists, FailedPrecondition, NotFound):
                self._write(path, found, step.change)
                return step.answer
        raise _crowded(path)

    def _write(self, path: str, found: Found | None, change: Fields) -> None:
        document = self._client.document(path)
        if found is None:
            new = {name: value for name, value in change.items() if value is not None}
            document.create(new, retry=RETRY, timeout=WITHIN)
            return
        fields = {name: DELETE_FIELD if value is None else value for name, value in change.items()}
        as_read = self._client.write_option(last_update_time=found.updated)
        document.update(fields, as_read, retry=RETRY, timeout=WITHIN)


def _read(query: Any) -> list[Found]:
    return [Found.of(snapshot) for snapshot in query.stream(retry=RETRY, timeout=WITHIN)]


def _read_on(query: Any) -> list[Found]:
    """As `_read`, of a row of names however long it is: a long log takes longer than one request may, and would be read
    in vain again and again. An answer that is cut off goes on where it has ended, if it has brought anything."""
    found: list[Found] = []
    while True:
        before, last = len(found), None
        try:
            for last in query.stream(retry=RETRY, timeout=WITHIN):
                found.append(Found.of(last))
        except DeadlineExceeded:
            if len(found) == before:
                raise
            query = query.start_after(last)
        else:
            return found


def _by_name(operator: str, reference: Any) -> FieldFilter:
    return FieldFilter("__name__", operator, reference)


def _wait(number: int) -> None:
    """Before the round of this number."""
    if number:
        most = min(FIRST_PAUSE * 2 ** (number - 1), LONGEST_PAUSE)
        time.sleep(random.uniform(0.0, most))  # noqa: S311 - nothing secret


def _crowded(path: str) -> WorldUnavailableError:
    return WorldUnavailableError(f"{path} is written by too many at once; it is tried again")
