"""What of a run lies in S3, under which key, and how it is written once, read by key and deleted.

<namespace or _>/<run>/<birth>/b/<name>                 a blob
<namespace or _>/<run>/<birth>/s/<stream>/<ordinal>     an object of a stream
<namespace or _>/<run>/<birth>/m/<stream>               the mark of its producer
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from botocore.exceptions import ClientError

from wdk_aws.failures import code, is_denied
from wdk_cloud.errors import WorldUnavailableError
from wdk_cloud.world.objects import quoted
from wdk_cloud.world.sightings import lies_buried

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from mypy_boto3_s3.type_defs import ObjectIdentifierTypeDef

    from wdk_aws.clients import Clients
    from wdk_aws.settings import AwsSettings
    from wdk_cloud.world.ports import Head

    ReadHead = Callable[[str], Awaitable[Head | None]]

P = ParamSpec("P")
T = TypeVar("T")

SETTING = "WDK_AWS_BUCKET"

CONFLICT_PAUSES = (0.02, 0.05, 0.1, 0.2, 0.4, 0.8, 1.6)
"""Seconds after each answer that another write of the key is under way: it ends within those of one request."""

DELETED_AT_ONCE = 1_000
"""Keys of a `DeleteObjects` and of a page of a listing (their API reference)."""

COPIED_AT_ONCE = 8
"""Objects: each may have some megabytes, which S3 copies by itself."""

_ABSENT = frozenset(("404", "NoSuchKey"))
_TAKEN = frozenset(("412", "PreconditionFailed"))
_IN_CONFLICT = frozenset(("409", "ConditionalRequestConflict", "OperationAborted"))


class Objects:
    """The objects of one namespace. `head` reads that of a run, strongly consistent."""

    def __init__(self, settings: AwsSettings, clients: Clients, head: ReadHead, namespace: str) -> None:
        self._settings = settings
        self._clients = clients
        self._head = head
        self._root = namespace or "_"

    def key(self, run_id: str, birth: str, *parts: str) -> str:
        return "/".join((self._root, quoted(run_id), quoted(birth), *(quoted(part) for part in parts)))

    async def put(self, run_id: str, birth: str, key: str, data: bytes) -> None:
        """Write it, whatever lies there; nothing under a tombstone."""
        await self._ask(self._clients.s3.put_object, Bucket=self._bucket, Key=key, Body=data)
        await self._keep(run_id, birth, key)

    async def put_same(self, run_id: str, birth: str, key: str, data: bytes) -> None:
        """Overwriting is what writing is, to S3."""
        await self.put(run_id, birth, key, data)

    async def put_new(self, run_id: str, birth: str, key: str, data: bytes) -> bytes | None:
        """Write it if there is nothing. None: written, or the same lies there; else what lies there.

        Writers of one key race, each with content of its own: S3 takes one and refuses the others (412), or asks to
        try again while it does not know yet (409). A request that the SDK repeated, after its answer was lost, finds
        its own content.
        """
        for pause in (*CONFLICT_PAUSES, 0.0):
            try:
                await self._ask(self._clients.s3.put_object, Bucket=self._bucket, Key=key, Body=data, IfNoneMatch="*")
            except ClientError as error:
                if code(error) in _TAKEN:
                    found = await self.get(key)
                    if found is not None:
                        return None if found == data else found
                    if await self._is_buried(run_id, birth):
                        return None  # erased between the two
                elif code(error) not in _IN_CONFLICT:
                    raise
                await asyncio.sleep(pause)
            else:
                await self._keep(run_id, birth, key)
                return None
        raise WorldUnavailableError(f"S3 does not decide who has written an object for {SETTING}; it is tried again")

    async def get(self, key: str, most: int | None = None) -> bytes | None:
        """None if it is not there, or is larger than `most`."""

        def read() -> bytes | None:
            answer = self._clients.s3.get_object(Bucket=self._bucket, Key=key)
            with answer["Body"] as body:
                if most is not None and answer["ContentLength"] > most:
                    return None
                return body.read()

        try:
            return await self._ask(read)
        except ClientError as error:
            if code(error) in _ABSENT:
                return None
            raise

    async def is_there(self, key: str) -> bool:
        try:
            await self._ask(self._clients.s3.head_object, Bucket=self._bucket, Key=key)
        except ClientError as error:
            if code(error) in _ABSENT:
                return False
            raise
        return True

    async def erase(self, run_id: str, birth: str) -> None:
        """Delete all of the run. Whoever writes beside it looks for the tombstone afterwards (`_keep`)."""
        if not self._settings.bucket:
            return  # a caller without a bucket has written nothing to one
        prefix = self.key(run_id, birth, "")
        while True:
            page = await self._ask(
                self._clients.s3.list_objects_v2, Bucket=self._bucket, Prefix=prefix, MaxKeys=DELETED_AT_ONCE
            )
            found = [object["Key"] for object in page.get("Contents", []) if "Key" in object]
            if found:
                await self._delete(found)
            if not page["IsTruncated"]:
                return

    async def refresh(self, run_id: str, birth: str, before: float) -> None:
        """Copy what was written before that time onto itself: the bucket's lifecycle counts from then.

        Races with an erasure: what it has deleted is not copied, or comes back by a copy that was under way; then the
        tombstone is there, and the rest is erased once more. An object never changes, but for marks of producers: those
        that live renew theirs, and one that is old says no more than one that is gone.
        """
        if not self._settings.bucket:
            return
        few, marks = asyncio.Semaphore(COPIED_AT_ONCE), self.key(run_id, birth, "m", "")

        async def copy(key: str) -> None:
            async with few:
                try:
                    await self._ask(
                        self._clients.s3.copy_object,
                        Bucket=self._bucket,
                        Key=key,
                        CopySource={"Bucket": self._bucket, "Key": key},
                        MetadataDirective="REPLACE",  # a copy onto itself has to change something
                    )
                except ClientError as error:
                    if code(error) not in _ABSENT:
                        raise

        after: dict[str, str] | None = {}
        while after is not None:
            asked: dict[str, Any] = {"Bucket": self._bucket, "Prefix": self.key(run_id, birth, ""), **after}
            page: Any = await self._ask(self._clients.s3.list_objects_v2, **asked)
            old = [one["Key"] for one in page.get("Contents", []) if one["LastModified"].timestamp() < before]
            await asyncio.gather(*(copy(key) for key in old if not key.startswith(marks)))
            after = {"ContinuationToken": page["NextContinuationToken"]} if page["IsTruncated"] else None
        if await self._is_buried(run_id, birth):
            await self.erase(run_id, birth)

    async def _delete(self, keys: Sequence[str]) -> None:
        objects: list[ObjectIdentifierTypeDef] = [{"Key": key} for key in keys]
        answer = await self._ask(
            self._clients.s3.delete_objects, Bucket=self._bucket, Delete={"Objects": objects, "Quiet": True}
        )
        failed = sorted({error.get("Code", "") for error in answer.get("Errors", [])})
        if failed:
            raise WorldUnavailableError(
                f"S3 did not delete all objects for {SETTING}: {', '.join(failed)}; do it again"
            )

    async def _keep(self, run_id: str, birth: str, key: str) -> None:
        """What was just written, unless its run is under a tombstone.

        Races with `bury` and `erase`: a tombstone that comes after this look is followed by an erasure, whose listing
        finds the object; one that came before is seen here. So it has to be the head itself, and a read of it costs a
        fortieth of the object.
        """
        if await self._is_buried(run_id, birth):
            await self._ask(self._clients.s3.delete_object, Bucket=self._bucket, Key=key)

    async def _is_buried(self, run_id: str, birth: str) -> bool:
        return await lies_buried(self._head, run_id, birth, is_denied)

    @property
    def _bucket(self) -> str:
        return self._settings.needed("bucket")

    async def _ask(self, method: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        return await self._clients.ask(SETTING, method, *args, **kwargs)
