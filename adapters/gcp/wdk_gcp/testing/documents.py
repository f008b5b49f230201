"""Firestore's documents and the writes that change them: preconditions, masks, transforms, all or nothing."""

from __future__ import annotations

import threading
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import grpc
from google.cloud.firestore_v1 import types

from wdk_gcp.testing.messages import Message, copied, micros, raw
from wdk_gcp.testing.values import (
    LARGEST,
    LARGEST_COMMIT,
    LIST,
    NAN,
    NUMBER,
    Key,
    Value,
    check_document,
    check_name,
    document_size,
    drop_at,
    field_path,
    found_at,
    invalid,
    key,
    masked,
    put_at,
    reference_key,
    refuse,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from wdk_cloud.world.ports import Clock

Document: Any = raw(types.Document)
WriteResult: Any = raw(types.WriteResult)


@dataclass(frozen=True, slots=True)
class Stored:
    document: Message
    """Never changed: a write makes another one."""
    key: Key
    """Of its name."""
    created: int
    """Times are in microseconds, as Firestore's are."""
    updated: int

    @property
    def name(self) -> str:
        return self.document.name

    def shown(self, mask: Message | None = None) -> Message:
        """The document as an answer has it."""
        if mask is None:
            shown = copied(self.document)
        else:
            shown = Document(name=self.document.name, fields=masked(self.document.fields, mask))
        shown.create_time.FromMicroseconds(self.created)
        shown.update_time.FromMicroseconds(self.updated)
        return shown


class Documents:
    """All documents of a server; whoever uses it holds the server's lock."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._named: dict[str, Stored] = {}
        self._collections: dict[str, dict[str, Stored]] = {}
        self._time = 0
        self.usage: Counter[str] = Counter()
        self._of_requests: dict[int, Counter[str]] = {}
        """What the request has cost so far that a thread is at."""

    def now(self) -> int:
        """The time of a read: not before the last commit."""
        return max(self._time, micros(self._clock.now()))

    def get(self, name: str) -> Stored | None:
        return self._named.get(name)

    def collection(self, path: str) -> Iterable[Stored]:
        return self._collections.get(path, {}).values()

    def collections(self) -> Iterator[str]:
        return iter(self._collections)

    def commit(self, writes: Sequence[Message]) -> tuple[list[Message], int]:
        """Apply all of these writes, or none. The results, and the time of the commit. Raises Refused.

        Several writes of one document count as one: each has the result of the last.
        """
        names = [_checked(write) for write in writes]
        _check_together(names, writes)
        at = max(self._time + 1, micros(self._clock.now()))
        made: dict[str, Message | None] = {}
        anew: set[str] = set()  # documents that were deleted on the way: what is written after that is another one
        transformed: list[list[Message]] = []
        for name, write in zip(names, writes, strict=True):
            there = self._named.get(name)
            if name not in made:
                _check_precondition(write, name, there)
                made[name] = None if there is None else there.document
            made[name], results = _applied(write, name, made[name], at)
            transformed.append(results)
            if made[name] is None:
                anew.add(name)
        stored = {
            name: _stored(name, document, None if name in anew else self._named.get(name), at)
            for name, document in made.items()
        }
        self._check_size(stored)
        self._time = at
        for name, each in stored.items():
            self._keep(name, each)
        deletes = sum(1 for write in writes if write.delete)
        self.charge(deletes=deletes, writes=len(writes) - deletes)
        return [_result(stored[name], results) for name, results in zip(names, transformed, strict=True)], at

    def _check_size(self, stored: dict[str, Stored | None]) -> None:
        if len(stored) * LARGEST <= LARGEST_COMMIT:
            return
        written = [each or self._named.get(name) for name, each in stored.items()]
        if sum(document_size(each.document) for each in written if each is not None) > LARGEST_COMMIT:
            invalid("Transaction too big. Decrease transaction size.")

    def charge(self, **units: int) -> None:
        """Beside all others, and as a part of the request that this thread is at."""
        self.usage.update(units)
        self._of_requests.setdefault(threading.get_ident(), Counter()).update(units)

    def charged(self) -> Counter[str]:
        """What the request has cost that this thread was at; the next one begins."""
        return self._of_requests.pop(threading.get_ident(), Counter[str]())

    def __len__(self) -> int:
        return len(self._named)

    def expire(self, collection: str, field: str) -> int:
        """Delete the documents of a collection group whose time in this field has passed."""
        now = (3, *divmod(micros(self._clock.now()) * 1000, 10**9))
        paths = [path for path in self._collections if path.rpartition("/")[2] == collection]
        all_of_them = [stored for path in paths for stored in self.collection(path)]
        found = [(stored.name, found_at(stored.document.fields, (field,))) for stored in all_of_them]
        gone = [name for name, value in found if value is not None and key(value)[0] == now[0] and key(value) <= now]
        for name in gone:
            self._keep(name, None)
        return len(gone)

    def _keep(self, name: str, stored: Stored | None) -> None:
        path = name.rpartition("/")[0]
        if stored is not None:
            self._named[name] = stored
            self._collections.setdefault(path, {})[name] = stored
        elif self._named.pop(name, None) is not None:
            del self._collections[path][name]
            if not self._collections[path]:
                del self._collections[path]


def _stored(name: str, document: Message | None, there: Stored | None, at: int) -> Stored | None:
    """What is kept of a document that was written; the one that is there if nothing has changed: then its time stays,
    too."""
    if document is None:
        return None
    check_document(document)
    if there is not None and _same(there.document, document):
        return there
    return Stored(document, reference_key(name), there.created if there is not None else at, at)


def _checked(write: Message) -> str:
    """The name of the document that a write is about."""
    kind = write.WhichOneof("operation")
    if kind is None:
        invalid("empty write operation")
    name: str = {"update": write.update.name, "delete": write.delete, "transform": write.transform.document}[kind]
    check_name(name)
    return name


def _check_together(names: Sequence[str], writes: Sequence[Message]) -> None:
    """Refuse writes of one document that contradict each other, whatever is there."""
    left: dict[str, bool] = {}  # whether the writes so far leave the document there
    versions: dict[str, int | None] = {}  # the update time that the first of them asks for
    for name, write in zip(names, writes, strict=True):
        wanted = write.current_document
        kind = wanted.WhichOneof("condition_type")
        version = wanted.update_time.ToMicroseconds() if kind == "update_time" else None
        if name in left:
            if version not in (None, versions[name]):
                invalid("Cannot collapse mutations with different version preconditions")
            if not left[name] and ((kind == "exists" and wanted.exists) or (version and not write.delete)):
                invalid("Cannot delete then update an entity in the same request.")
            if left[name] and kind == "exists" and not wanted.exists:
                invalid("Cannot insert then insert an entity in the same request.")
        left[name] = not write.delete
        versions.setdefault(name, version)


def _check_precondition(write: Message, name: str, there: Stored | None) -> None:
    wanted = write.current_document
    kind = wanted.WhichOneof("condition_type")
    if kind == "update_time":
        updated, asked = there.updated if there else 0, wanted.update_time.ToMicroseconds()
        if updated != asked:
            refuse(
                grpc.StatusCode.FAILED_PRECONDITION,
                f"the stored version ({updated}) does not match the required base version ({asked})",
            )
    elif kind == "exists" and wanted.exists and there is None:
        refuse(grpc.StatusCode.NOT_FOUND, f"No document to update: {name}")
    elif kind == "exists" and not wanted.exists and there is not None:
        refuse(grpc.StatusCode.ALREADY_EXISTS, f"Document already exists: {name}")


def _applied(write: Message, name: str, there: Message | None, at: int) -> tuple[Message | None, list[Message]]:
    """What a write makes of a document: None if it deletes it; and the results of its transforms."""
    if write.delete:
        return None, []
    if write.HasField("transform"):
        made, transforms = _kept(name, there), write.transform.field_transforms
    else:
        made, transforms = _updated(write, name, there), write.update_transforms
    return made, [_transform(made.fields, transform, at) for transform in transforms]


def _result(stored: Stored | None, transformed: list[Message]) -> Message:
    result = WriteResult(transform_results=transformed)
    if stored is not None:
        result.update_time.FromMicroseconds(stored.updated)
    return result


def _updated(write: Message, name: str, there: Message | None) -> Message:
    if not write.HasField("update_mask"):
        return Document(name=name, fields=write.update.fields)
    made = _kept(name, there)
    for text in write.update_mask.field_paths:
        path = field_path(text)
        if (value := found_at(write.update.fields, path)) is not None:
            put_at(made.fields, path, value)
        else:
            drop_at(made.fields, path)
    return made


def _kept(name: str, there: Message | None) -> Message:
    return Document(name=name) if there is None else copied(there)


def _same(one: Message, other: Message) -> bool:
    """By their bytes: 1 and 1.0 are not the same, and a NaN is."""
    return one.SerializeToString(deterministic=True) == other.SerializeToString(deterministic=True)


# -- transforms -------------------------------------------------------------------------------------------------------


def _transform(fields: Message, transform: Message, at: int) -> Message:
    """Change one field; the result that the answer has."""
    path = field_path(transform.field_path)
    there = found_at(fields, path)
    match transform.WhichOneof("transform_type"):
        case "set_to_server_value":
            made = Value()
            made.timestamp_value.FromMilliseconds(at // 1000)  # documented: to the millisecond
        case "increment":
            made = _sum(there, transform.increment)
        case "maximum":
            made = _outer(there, transform.maximum, 1)
        case "minimum":
            made = _outer(there, transform.minimum, -1)
        case "append_missing_elements":
            put_at(fields, path, _listed(_items(there), transform.append_missing_elements.values))
            return Value(null_value=0)
        case "remove_all_from_array":
            gone = {key(value) for value in transform.remove_all_from_array.values}
            put_at(fields, path, _listed([item for item in _items(there) if key(item) not in gone], ()))
            return Value(null_value=0)
        case other:
            invalid(f"A transform of type {other or 'unset'} is not one.")
    made = copied(made)  # it may be a part of what changes now
    put_at(fields, path, made)
    return made


def _sum(there: Message | None, more: Message) -> Message:
    """Integers stop at the ends of their range."""
    if there is None or key(there)[0] != NUMBER:
        return more
    if there.WhichOneof("value_type") == more.WhichOneof("value_type") == "integer_value":
        total = there.integer_value + more.integer_value
        return Value(integer_value=max(-(2**63), min(total, 2**63 - 1)))
    return Value(double_value=_number(there) + _number(more))


def _outer(there: Message | None, other: Message, sign: int) -> Message:
    """The larger one, or with -1 the smaller; the one that is there if they are equal."""
    if there is None or key(there)[0] != NUMBER:
        return other
    if NAN in (key(there), key(other)):
        return there if key(there) == NAN else other
    return other if (_number(other) - _number(there)) * sign > 0 else there


def _number(value: Message) -> float:
    return value.integer_value if value.WhichOneof("value_type") == "integer_value" else value.double_value


def _items(there: Message | None) -> list[Message]:
    return list(there.array_value.values) if there is not None and key(there)[0] == LIST else []


def _listed(items: list[Message], more: Iterable[Message]) -> Message:
    """The items, and those of the others that are not among them."""
    made = Value()
    made.array_value.SetInParent()
    seen = {key(item) for item in items}
    for value in more:
        if key(value) not in seen:
            seen.add(key(value))
            items.append(value)
    made.array_value.values.extend([copied(item) for item in items])
    return made
