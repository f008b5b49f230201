"""Buckets and objects, and the rules by which they change: generations, preconditions, checksums, listing.

The rules are those of https://cloud.google.com/storage/docs/json_api/v1 and of its page on request preconditions.
"""

from __future__ import annotations

import base64
import hashlib
import threading
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NoReturn
from urllib.parse import quote

from google_crc32c import Checksum

from wdk_gcp.testing.messages import micros

if TYPE_CHECKING:
    from collections.abc import Mapping

    from wdk_cloud.world.ports import Clock

NAME = 1024
"""Bytes of an object's name at most."""

PAGE = 1000
"""Objects in a page at most, and if the request does not say."""

DAY = 86_400.0

_GIVEN = ("contentType", "contentEncoding", "contentDisposition", "cacheControl", "customTime", "metadata")
"""What a client says about an object; all else is ours."""


class Failed(Exception):
    """The answer to a request that is refused."""

    def __init__(self, status: int, reason: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.reason = reason
        self.message = message


@dataclass(frozen=True, slots=True)
class StoredObject:
    bucket: str
    name: str
    generation: int
    metageneration: int
    data: bytes
    created: float
    updated: float
    given: Mapping[str, Any]

    def shown(self, url: str) -> dict[str, Any]:
        """Its resource."""
        return {
            "kind": "storage#object",
            "id": f"{self.bucket}/{self.name}/{self.generation}",
            "name": self.name,
            "bucket": self.bucket,
            "generation": str(self.generation),
            "metageneration": str(self.metageneration),
            "storageClass": "STANDARD",
            "size": str(len(self.data)),
            "md5Hash": md5(self.data),
            "crc32c": crc32c(self.data),
            "etag": self.etag,
            "timeCreated": timestamp(self.created),
            "updated": timestamp(self.updated),
            "timeFinalized": timestamp(self.created),
            "mediaLink": f"{url}/download/storage/v1/b/{self.bucket}/o/{_quoted(self.name)}"
            f"?generation={self.generation}&alt=media",
            **self.given,
        }

    @property
    def etag(self) -> str:
        return base64.b64encode(f"{self.generation}/{self.metageneration}".encode()).decode()


@dataclass
class Bucket:
    resource: dict[str, Any]
    objects: dict[str, StoredObject] = field(default_factory=dict[str, StoredObject])


@dataclass(frozen=True, slots=True)
class Conditions:
    """The preconditions of a request: None where it has none."""

    generation: int | None = None
    not_generation: int | None = None
    metageneration: int | None = None
    not_metageneration: int | None = None

    @staticmethod
    def of(query: Mapping[str, str], which: str = "if") -> Conditions:
        names = ("GenerationMatch", "GenerationNotMatch", "MetagenerationMatch", "MetagenerationNotMatch")
        return Conditions(*(_number(query, which + name) for name in names))

    def ask(self, there: StoredObject | None, *, reading: bool = False) -> None:
        """Raises Failed unless they hold; generation 0 is that of an object that is not there."""
        generation = there.generation if there else 0
        metageneration = there.metageneration if there else 0
        if self.generation not in (None, generation) or self.metageneration not in (None, metageneration):
            fail(412, "conditionNotMet", "At least one of the pre-conditions you specified did not hold.")
        if generation == self.not_generation or (there and metageneration == self.not_metageneration):
            if reading:
                fail(304, "notModified", "Not Modified")
            fail(412, "conditionNotMet", "At least one of the pre-conditions you specified did not hold.")


class Buckets:
    """All buckets of a server. Each method is atomic: of writers of one name under the same precondition one wins."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._named: dict[str, Bucket] = {}
        self._generation = 0

    # -- buckets ----------------------------------------------------------------------------------------------------

    def create(self, resource: Mapping[str, Any]) -> dict[str, Any]:
        name = resource.get("name")
        if not isinstance(name, str) or not name:
            fail(400, "required", "Required")
        now = timestamp(self._clock.now())
        ours = {"kind": "storage#bucket", "id": name, "timeCreated": now, "updated": now, "metageneration": "1"}
        with self._lock:
            if name in self._named:
                fail(
                    409,
                    "conflict",
                    "A bucket of this name is there already.",
                )
            made = {"location": "US", "storageClass": "STANDARD", **resource, **ours}
            self._named[name] = Bucket(made)
            return dict(made)

    def bucket(self, name: str) -> dict[str, Any]:
        with self._lock:
            return dict(self._bucket(name).resource)

    def names(self) -> list[str]:
        with self._lock:
            return sorted(self._named)

    def change(self, name: str, resource: Mapping[str, Any]) -> dict[str, Any]:
        """None removes a field."""
        with self._lock:
            bucket = self._bucket(name)
            number = int(bucket.resource["metageneration"]) + 1
            merged = {**bucket.resource, **resource, "name": name, "metageneration": str(number)}
            merged["updated"] = timestamp(self._clock.now())
            bucket.resource = {key: value for key, value in merged.items() if value is not None}
            return dict(bucket.resource)

    def drop(self, name: str) -> None:
        with self._lock:
            if self._bucket(name).objects:
                fail(409, "conflict", "The bucket you tried to delete is not empty.")
            del self._named[name]

    # -- objects ----------------------------------------------------------------------------------------------------

    def put(
        self, bucket: str, name: str, data: bytes, said: Mapping[str, Any], conditions: Conditions = Conditions()
    ) -> StoredObject:
        """Write a whole object, in place of the one that is there if the conditions allow it."""
        if not 0 < len(name.encode()) <= NAME or "\n" in name or "\r" in name or name in (".", ".."):
            fail(400, "invalid", f"Invalid object name, or longer than {NAME} bytes")
        for key, found in (("crc32c", crc32c(data)), ("md5Hash", md5(data))):
            if said.get(key, found) != found:
                fail(400, "invalid", f'Provided {key} "{said[key]}" doesn\'t match calculated {key} "{found}".')
        given = {key: said[key] for key in _GIVEN if said.get(key) is not None}
        with self._lock:
            objects = self._bucket(bucket).objects
            conditions.ask(objects.get(name))
            now = self._clock.now()
            self._generation = max(self._generation + 1, micros(now))
            made = StoredObject(bucket, name, self._generation, 1, data, now, now, given)
            objects[name] = made
            return made

    def get(self, bucket: str, name: str, generation: int | None, conditions: Conditions) -> StoredObject:
        with self._lock:
            there = self._object(bucket, name, generation)
            conditions.ask(there, reading=True)
            return there

    def patch(self, bucket: str, name: str, said: Mapping[str, Any], conditions: Conditions) -> StoredObject:
        """Change what is said about an object; None removes it."""
        with self._lock:
            there = self._object(bucket, name, None)
            conditions.ask(there)
            merged = {**there.given, **{key: said[key] for key in _GIVEN if key in said}}
            if isinstance(said.get("metadata"), dict):
                merged["metadata"] = {**there.given.get("metadata", {}), **said["metadata"]}
            given = {key: value for key, value in merged.items() if value is not None}
            number, now = there.metageneration + 1, self._clock.now()
            made = replace(there, metageneration=number, updated=now, given=given)
            self._named[bucket].objects[name] = made
            return made

    def delete(self, bucket: str, name: str, generation: int | None, conditions: Conditions) -> None:
        with self._lock:
            conditions.ask(self._object(bucket, name, generation))
            del self._named[bucket].objects[name]

    def list(self, bucket: str, query: Mapping[str, str]) -> tuple[list[StoredObject], list[str], str]:
        """A page: its objects in the order of their names, the prefixes that stand for others, and the token of
        the next page, "" if there is none."""
        prefix, delimiter = query.get("prefix", ""), query.get("delimiter", "")
        start, end = query.get("startOffset", ""), query.get("endOffset")
        last = base64.urlsafe_b64decode(query.get("pageToken", "")).decode()
        most = min(_number(query, "maxResults") or PAGE, PAGE)
        found: list[StoredObject] = []
        prefixes: list[str] = []
        with self._lock:
            objects = self._bucket(bucket).objects
            for name in sorted(objects):
                if not name.startswith(prefix) or name < start or (end is not None and name >= end):
                    continue
                cut = name.find(delimiter, len(prefix)) if delimiter else -1
                shown = name if cut < 0 else name[: cut + len(delimiter)]
                if shown <= last or (prefixes and shown == prefixes[-1]):
                    continue
                if len(found) + len(prefixes) == most:
                    before = max([item.name for item in found[-1:]] + prefixes[-1:])
                    return found, prefixes, base64.urlsafe_b64encode(before.encode()).decode()
                if cut < 0:
                    found.append(objects[name])
                else:
                    prefixes.append(shown)
        return found, prefixes, ""

    def expire(self) -> int:
        """Delete what the buckets' lifecycle rules let go by now. How many objects that were."""
        now = self._clock.now()
        with self._lock:
            gone = [
                (bucket, item.name)
                for bucket in self._named.values()
                for item in bucket.objects.values()
                if any(_expires(rule, item, now) for rule in bucket.resource.get("lifecycle", {}).get("rule", []))
            ]
            for bucket, name in gone:
                del bucket.objects[name]
        return len(gone)

    def _bucket(self, name: str) -> Bucket:
        if (bucket := self._named.get(name)) is None:
            fail(404, "notFound", "The specified bucket does not exist.")
        return bucket

    def _object(self, bucket: str, name: str, generation: int | None) -> StoredObject:
        there = self._bucket(bucket).objects.get(name)
        if there is None or generation not in (None, there.generation):
            fail(404, "notFound", f"No such object: {bucket}/{name}")
        return there


def _expires(rule: Mapping[str, Any], item: StoredObject, now: float) -> bool:
    """Whether a rule deletes it: by its age, its custom time and its name; rules that ask for more delete nothing."""
    condition = dict(rule.get("condition", {}))
    age, since = condition.pop("age", None), condition.pop("daysSinceCustomTime", None)
    prefixes, suffixes = condition.pop("matchesPrefix", [""]), condition.pop("matchesSuffix", [""])
    if rule.get("action", {}).get("type") != "Delete" or condition or (age is None and since is None):
        return False
    custom = item.given.get("customTime")
    if since is not None and (custom is None or now < datetime.fromisoformat(custom).timestamp() + since * DAY):
        return False
    named = item.name.startswith(tuple(prefixes)) and item.name.endswith(tuple(suffixes))
    return named and (age is None or now >= item.created + age * DAY)


def crc32c(data: bytes) -> str:
    return base64.b64encode(Checksum(data).digest()).decode()


def md5(data: bytes) -> str:
    return base64.b64encode(hashlib.md5(data, usedforsecurity=False).digest()).decode()


def timestamp(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def fail(status: int, reason: str, message: str) -> NoReturn:
    raise Failed(status, reason, message)


def _number(query: Mapping[str, str], name: str) -> int | None:
    if (said := query.get(name)) is None:
        return None
    if not said.lstrip("-").isdigit():
        fail(400, "invalidParameter", f"Invalid value for {name}: {said!r}")
    return int(said)


def _quoted(name: str) -> str:
    return quote(name, safe="")
