"""What of a run lies in Cloud Storage, under which name, and how it is written once, read by name and deleted.

<run>/<namespace or _>/<birth>/b/<name>                 a blob
<run>/<namespace or _>/<birth>/s/<stream>/<ordinal>     an object of a stream
<run>/<namespace or _>/<birth>/m/<stream>               the mark of its producer

The run's id comes first: it begins with its random part, so that names are spread.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from google.api_core.exceptions import NotFound, PreconditionFailed, RequestRangeNotSatisfiable

from wdk_cloud.errors import WorldUnavailableError
from wdk_cloud.world.objects import quoted
from wdk_cloud.world.sightings import lies_buried
from wdk_gcp.clients import LONGEST_PAUSE, PAUSE, WITHIN
from wdk_gcp.failures import is_denied
from wdk_gcp.settings import VARIABLES

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from wdk_cloud.world.ports import Head
    from wdk_gcp.clients import Clients
    from wdk_gcp.settings import GcpSettings

    ReadHead = Callable[[str], Awaitable[Head | None]]

P = ParamSpec("P")
T = TypeVar("T")

SETTING = VARIABLES["bucket"]

ROUNDS = 8
"""Of a write whose name is taken and free again when it is read: only an erasure beside it does that."""

AT_ONCE = 8
"""Deletions or copies: each may be of some megabytes, which Cloud Storage copies by itself."""

PER_PAGE = 1_000
"""Objects of a page of a listing at most (its API reference)."""

NO_BUCKET = "The specified bucket does not exist"
"""How the JSON API tells a bucket that is not there from an object."""


class Objects:
    """The objects of one namespace. `head` reads that of a run, strongly consistent."""

    def __init__(self, settings: GcpSettings, clients: Clients, head: ReadHead, namespace: str) -> None:
        self._settings = settings
        self._clients = clients
        self._head = head
        self._namespace = namespace or "_"

    def key(self, run_id: str, birth: str, *parts: str) -> str:
        return "/".join((quoted(run_id), self._namespace, quoted(birth), *(quoted(part) for part in parts)))

    async def put(self, run_id: str, birth: str, key: str, data: bytes) -> None:
        """Write it, whatever lies there; nothing under a tombstone."""

        def put() -> None:
            self._blob(key).upload_from_string(data, "application/octet-stream", timeout=WITHIN, retry=_retry())

        await self._ask(put)
        await self._keep(run_id, birth, key)

    async def put_same(self, run_id: str, birth: str, key: str, data: bytes) -> None:
        """Write it, unless it is there: to overwrite an object is to delete one, which not everybody may, and a request
        that was repeated after a lost answer would do so."""

        def put() -> None:
            with suppress(PreconditionFailed):
                self._blob(key).upload_from_string(
                    data, "application/octet-stream", if_generation_match=0, timeout=WITHIN, retry=_retry()
                )

        await self._ask(put)
        await self._keep(run_id, birth, key)

    async def put_new(self, run_id: str, birth: str, key: str, data: bytes) -> bytes | None:
        """Write it if there is nothing. None: written, or the same lies there; else what lies there.

        Writers of one name race, each with content of its own: Cloud Storage takes one and refuses the others (412). A
        request that the library repeated, after its answer was lost, finds its own content.
        """

        def put() -> bool:
            try:
                self._blob(key).upload_from_string(
                    data, "application/octet-stream", if_generation_match=0, timeout=WITHIN, retry=_retry()
                )
            except PreconditionFailed:
                return False
            return True

        for _ in range(ROUNDS):
            if await self._ask(put):
                await self._keep(run_id, birth, key)
                return None
            found = await self.get(key)
            if found is not None:
                return None if found == data else found
            if await self._is_buried(run_id, birth):
                return None  # erased between the two
        raise WorldUnavailableError(f"an object for {SETTING} comes and goes; it is tried again")

    async def get(self, key: str, most: int | None = None) -> bytes | None:
        """None if it is not there, or is larger than `most`."""

        def read() -> bytes | None:
            try:
                # One byte more than wanted shows that there is more.
                data: bytes = self._blob(key).download_as_bytes(end=most, timeout=WITHIN, retry=_retry())
            except RequestRangeNotSatisfiable:
                return b""  # of nothing there is no range
            except NotFound as error:
                if _is_of_bucket(error):
                    raise
                return None
            return data if most is None or len(data) <= most else None

        return await self._ask(read)

    async def is_there(self, key: str) -> bool:
        def look() -> bool:
            return bool(self._blob(key).exists(timeout=WITHIN, retry=_retry()))

        return await self._ask(look)

    async def erase(self, run_id: str, birth: str) -> None:
        """Delete all of the run. Whoever writes beside it looks for the tombstone afterwards (`_keep`)."""
        if not self._settings.bucket:
            return  # a caller without a bucket has written nothing to one
        few = asyncio.Semaphore(AT_ONCE)

        async def delete(key: str) -> None:
            async with few:
                await self._delete(key)

        await asyncio.gather(*(delete(blob.name) for blob in await self._all_of(run_id, birth)))

    async def refresh(self, run_id: str, birth: str, before: float) -> None:
        """Copy what was written before that time onto itself: the bucket's lifecycle counts from then.

        Races with an erasure: what it has deleted is not copied, or comes back by a copy that was under way; then the
        tombstone is there, and the rest is erased once more. An object never changes, but for marks of producers: those
        that live renew theirs, and one that is old says no more than one that is gone.
        """
        if not self._settings.bucket:
            return
        few, marks = asyncio.Semaphore(AT_ONCE), self.key(run_id, birth, "m", "")

        def copied(blob: Any) -> None:
            with suppress(NotFound):
                bucket = self._bucket()
                bucket.copy_blob(blob, bucket, blob.name, timeout=WITHIN, retry=_retry())

        async def copy(blob: Any) -> None:
            async with few:
                await self._ask(copied, blob)

        found = await self._all_of(run_id, birth)
        old = [blob for blob in found if blob.time_created.timestamp() < before and not blob.name.startswith(marks)]
        await asyncio.gather(*map(copy, old))
        if await self._is_buried(run_id, birth):
            await self.erase(run_id, birth)

    async def _all_of(self, run_id: str, birth: str) -> Sequence[Any]:
        prefix = self.key(run_id, birth, "")

        def read() -> list[Any]:
            return list(
                self._bucket().list_blobs(
                    prefix=prefix,
                    page_size=PER_PAGE,
                    fields="items(name,timeCreated),nextPageToken",
                    timeout=WITHIN,
                    retry=_retry(),
                )
            )

        return await self._ask(read)

    async def _delete(self, key: str) -> None:
        def delete() -> None:
            try:
                self._blob(key).delete(timeout=WITHIN, retry=_retry())
            except NotFound as error:
                if _is_of_bucket(error):
                    raise

        await self._ask(delete)

    async def _keep(self, run_id: str, birth: str, key: str) -> None:
        """What was just written, unless its run is under a tombstone.

        Races with `bury` and `erase`: a tombstone that comes after this look is followed by an erasure, whose listing
        finds the object; one that came before is seen here. So it has to be the head itself, and a read of it costs an
        eighth of the object.
        """
        if await self._is_buried(run_id, birth):
            await self._delete(key)

    async def _is_buried(self, run_id: str, birth: str) -> bool:
        return await lies_buried(self._head, run_id, birth, is_denied)

    def _bucket(self) -> Any:
        return self._clients.storage.bucket(self._settings.needed("bucket"))

    def _blob(self, key: str) -> Any:
        return self._bucket().blob(key)

    async def _ask(self, method: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        return await self._clients.ask(SETTING, method, *args, **kwargs)


def _retry() -> Any:
    """The library's own, which knows what a lost connection looks like, with bounds."""
    from google.cloud.storage.retry import DEFAULT_RETRY  # pyright: ignore[reportMissingTypeStubs] - it has no types

    retry: Any = DEFAULT_RETRY
    return retry.with_delay(PAUSE, LONGEST_PAUSE, 2.0).with_timeout(WITHIN)


def _is_of_bucket(error: NotFound) -> bool:
    return NO_BUCKET in str(error)
