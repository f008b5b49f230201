"""The runs of one namespace, in dicts."""

from __future__ import annotations

import heapq
import threading
from bisect import bisect_right, insort
from typing import TYPE_CHECKING

from msgspec.structs import replace

from wdk_cloud.world.cursor import from_cursor, to_cursor
from wdk_cloud.world.lasting import Lasting
from wdk_cloud.world.memory.life import Life
from wdk_cloud.world.memory.removal import Removal
from wdk_cloud.world.memory.streams import Streams
from wdk_cloud.world.memory.watch import Watches
from wdk_cloud.world.ports import (
    ENDED,
    RETIRED_KEPT,
    Batch,
    Head,
    HeadFields,
    HeadPage,
    InboxItem,
    Labels,
    Lease,
    RunQuery,
    StepItem,
    Token,
)
from wdk_cloud.world.taking import Taking

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from wdk_cloud.world.memory.queue import MemoryQueue


class MemoryStore(Removal, Streams, Lasting):
    """RunStore, BlobStore and StreamStore.

    No method suspends, so within one event loop each is atomic anyway. The lock is for the renewing thread and for
    workers on other loops: whatever reads and then writes does both inside it. A read of one entry needs none.
    """

    def __init__(self, queue: MemoryQueue) -> None:
        self.watches = Watches()
        self._queue = queue
        self._lock = threading.Lock()
        self._heads: dict[str, Head] = {}
        self._lives: dict[tuple[str, str], Life] = {}
        self._tokens: dict[str, Token] = {}

    # -- the head ---------------------------------------------------------------------------------------------------

    async def create(self, head: Head) -> Head | None:
        with self._lock:
            there = self._heads.setdefault(head.run_id, head)
        return None if there.birth == head.birth else there

    async def head(self, run_id: str) -> Head | None:
        return self._heads.get(run_id)

    async def acquire(
        self,
        run_id: str,
        birth: str,
        *,
        identity: str,
        provider_id: str,
        now: float,
        until: float,
        due: float | None = None,
        unclean: bool = False,
    ) -> Lease | Head | None:
        # Races with other deliveries of the run: the first one through the lock holds, the next sees its holder.
        with self._lock:
            head = self._head_of(run_id, birth)
            if head is None:
                return None
            asked = Taking(birth, identity, provider_id, now, until, due, unclean)
            if not asked.may_have(head):
                return head
            lease = asked.lease(head)
            self._heads[run_id] = lease.head
        return lease

    async def mark_dirty(self, run_id: str, birth: str, *, holder: str, fence: int, due: float | None = None) -> bool:
        # Races with the holder's release, which asks for `dirty` unset: either it sees the mark or we see it free.
        with self._lock:
            head = self._held(run_id, birth, holder, fence)
            if head is None:
                return False
            armed = None if due is not None and head.armed == due else head.armed
            self._heads[run_id] = replace(head, dirty=True, armed=armed)
        return True

    async def retire(self, run_id: str, birth: str, provider_id: str) -> Head | None:
        # Races with an acquire by an earlier receiver of that message: it comes first and holds, or it is refused.
        with self._lock:
            head = self._head_of(run_id, birth)
            if head is not None and head.status != "deleted" and provider_id not in head.retired:
                head = self._heads[run_id] = replace(head, retired=_retired(head.retired, provider_id))
        return head

    def renew(self, run_id: str, birth: str, *, holder: str, fence: int, until: float) -> Head | None:
        with self._lock:
            head = self._held(run_id, birth, holder, fence)
            if head is not None:
                head = self._heads[run_id] = replace(head, until=until)
        return head

    async def change(
        self, run_id: str, birth: str, fields: HeadFields, *, holder: str, fence: int, unless_dirty: bool = False
    ) -> tuple[bool, Head | None]:
        with self._lock:
            # Races with a successor (another holder and fence) and, at a release, with whoever marks it dirty.
            head = self._head_of(run_id, birth)
            if head is None:
                return False, None
            if head.holder != holder or head.fence != fence:
                return _was_released(head, fields, holder, fence), head
            if unless_dirty and head.dirty:
                return False, head
            head = self._heads[run_id] = replace(head, **fields)
        if fields.get("status") in ENDED:
            self.watches.ring(run_id)
        return True, head

    # -- the log ----------------------------------------------------------------------------------------------------

    async def append(self, run_id: str, birth: str, batch: Batch) -> Batch | None:
        # Races with a writer that lost the lease: one of them finds the position taken.
        with self._lock:
            if self._buried(run_id, birth):
                return Batch(at=batch.at, count=0, fence=0, nonce="", data=b"")
            life = self._life_to_write(run_id, birth)
            there = life.log.get(batch.at)
            if there is None:
                life.log[batch.at] = batch
                insort(life.positions, batch.at)
                return None
        return None if there.nonce == batch.nonce else there

    async def read(self, run_id: str, birth: str, after: int) -> list[Batch]:
        with self._lock:
            life = self._life(run_id, birth)
            return [life.log[at] for at in life.positions[bisect_right(life.positions, after) :]]

    async def read_at(self, run_id: str, birth: str, at: int) -> Batch | None:
        return self._life(run_id, birth).log.get(at)

    # -- the inbox --------------------------------------------------------------------------------------------------

    async def put_item(self, run_id: str, birth: str, item: InboxItem) -> bool:
        with self._lock:
            if self._buried(run_id, birth):
                return False
            inbox = self._life_to_write(run_id, birth).inbox
            absent = item.key not in inbox
            if absent:
                inbox[item.key] = item
        return absent

    async def items(self, run_id: str, birth: str, steps: Collection[str] | None = None) -> list[InboxItem]:
        with self._lock:
            life = self._life(run_id, birth)
            asked = life.steps if steps is None else steps
            ends = [
                InboxItem(key=f"step:{id}", kind="step", data=item.end, time=0.0)
                for id in asked
                if (item := life.steps.get(id)) is not None and item.end is not None
            ]
            return [*life.inbox.values(), *ends]

    async def drop_items(self, run_id: str, birth: str, keys: Sequence[str]) -> None:
        with self._lock:
            inbox = self._life(run_id, birth).inbox
            for key in keys:
                inbox.pop(key, None)

    # -- steps that run elsewhere -----------------------------------------------------------------------------------

    async def step(self, run_id: str, birth: str, step_id: str) -> StepItem | None:
        return self._life(run_id, birth).steps.get(step_id)

    async def claim_step(
        self, run_id: str, birth: str, step_id: str, *, identity: str, provider_id: str, now: float, until: float
    ) -> tuple[bool, StepItem]:
        # Races with other deliveries of the step, and with its end: whatever came first is seen and refuses.
        with self._lock:
            if self._buried(run_id, birth):
                return False, StepItem(step_id=step_id, end=b"")
            steps = self._life_to_write(run_id, birth).steps
            item = steps.get(step_id) or StepItem(step_id=step_id)
            live = item.holder is not None and item.until > now
            if item.end is not None or live or item.retry_at > now or provider_id in item.retired:
                return False, item
            item = steps[step_id] = replace(
                item,
                holder=identity,
                attempt=item.attempt + 1,
                until=until,
                first_started=item.first_started or now,
                interrupted=item.interrupted + (item.holder is not None),
            )
        return True, item

    def renew_step(
        self, run_id: str, birth: str, step_id: str, *, attempt: int, identity: str, until: float
    ) -> StepItem | None:
        with self._lock:
            steps = self._life(run_id, birth).steps
            item = steps.get(step_id)
            if item is None or not _claimed(item, attempt, identity):
                return None
            item = steps[step_id] = replace(item, until=until)
        return item

    async def retire_step(self, run_id: str, birth: str, step_id: str, provider_id: str) -> StepItem | None:
        with self._lock:
            steps = self._life(run_id, birth).steps
            item = steps.get(step_id)
            if item is not None and provider_id not in item.retired:
                item = steps[step_id] = replace(item, retired=_retired(item.retired, provider_id))
        return item

    async def end_step(self, run_id: str, birth: str, step_id: str, *, attempt: int | None, end: bytes) -> bool:
        # Races with the end by another attempt (the first one stands) and with a claim that takes over (an end that
        # names its attempt is refused, one that names none is accepted).
        with self._lock:
            steps = self._life_to_write(run_id, birth).steps
            item = steps.get(step_id)
            if self._buried(run_id, birth) or (item is None and attempt is not None):
                return False
            item = item or StepItem(step_id=step_id)
            if item.end is not None:
                return item.end == end
            if attempt is not None and attempt != item.attempt:
                return False
            steps[step_id] = replace(item, end=end, holder=None, until=0.0)
        return True

    async def retry_step(
        self, run_id: str, birth: str, step_id: str, *, attempt: int, identity: str, retry_at: float
    ) -> bool:
        with self._lock:
            steps = self._life(run_id, birth).steps
            item = steps.get(step_id)
            if item is None or not _claimed(item, attempt, identity):
                return False
            steps[step_id] = replace(item, holder=None, until=0.0, retry_at=retry_at)
        return True

    async def cancel_step(self, run_id: str, birth: str, step_id: str) -> None:
        with self._lock:
            steps = self._life_to_write(run_id, birth).steps
            steps[step_id] = replace(steps.get(step_id) or StepItem(step_id=step_id), cancelled=True)

    # -- labels, tokens ---------------------------------------------------------------------------------------------

    async def put_labels(self, run_id: str, birth: str, labels: Labels) -> None:
        with self._lock:
            life = self._life_to_write(run_id, birth)
            if life.labels is None or life.labels.position < labels.position:
                life.labels = labels

    async def labels(self, run_id: str, birth: str) -> Labels:
        return self._life(run_id, birth).labels or Labels(values={})

    async def claim_token(self, token: Token, *, instead_of: Token | None = None) -> Token | None:
        # Races with other claimants: the first one owns it; who takes it over asks for the owner that it saw.
        with self._lock:
            there = self._tokens.get(token.digest)
            if self._buried(token.run_id, token.birth) or (there is not None and _owner(there) == _owner(token)):
                return None
            if there is not None and there != instead_of:
                return there
            self._tokens[token.digest] = token
        return None

    async def token(self, digest: str) -> Token | None:
        return self._tokens.get(digest)

    async def free_token(self, token: Token) -> None:
        with self._lock:
            there = self._tokens.get(token.digest)
            if there is not None and _owner(there) == _owner(token):
                del self._tokens[token.digest]

    # -- many runs --------------------------------------------------------------------------------------------------

    async def list_heads(self, query: RunQuery) -> HeadPage:
        before = None if query.cursor is None else from_cursor(query.cursor)
        found = [
            head for head in self._all_heads() if _matches(head, query) and (before is None or _by_age(head) < before)
        ]
        page = heapq.nlargest(query.limit + 1, found, key=_by_age)
        more = len(page) > query.limit
        heads = page[: query.limit]
        return HeadPage(heads=heads, cursor=to_cursor(_by_age(heads[-1])) if more else None)

    async def overdue(self, now: float, limit: int) -> list[Head]:
        late = [head for head in self._all_heads() if not head.ended and head.wake_by < now]
        return heapq.nsmallest(limit, late, key=lambda head: head.wake_by)

    # -- blobs ------------------------------------------------------------------------------------------------------

    async def put_blob(self, run_id: str, birth: str, name: str, data: bytes) -> None:
        with self._lock:
            self._life_to_write(run_id, birth).blobs[name] = data

    async def get_blob(self, run_id: str, birth: str, name: str) -> bytes | None:
        return self._life(run_id, birth).blobs.get(name)

    # -- within the lock --------------------------------------------------------------------------------------------

    def _head_of(self, run_id: str, birth: str) -> Head | None:
        head = self._heads.get(run_id)
        return head if head is not None and head.birth == birth else None

    def _held(self, run_id: str, birth: str, holder: str, fence: int) -> Head | None:
        head = self._head_of(run_id, birth)
        return head if head is not None and head.holder == holder and head.fence == fence else None

    def _life(self, run_id: str, birth: str) -> Life:
        return self._lives.get((run_id, birth), _NOTHING)

    def _life_to_write(self, run_id: str, birth: str) -> Life:
        """Of a run under a tombstone one that nobody keeps."""
        if self._buried(run_id, birth):
            return Life()
        key = (run_id, birth)
        life = self._lives.get(key)
        if life is None:
            life = self._lives[key] = Life()
        return life

    def _all_heads(self) -> list[Head]:
        with self._lock:
            return list(self._heads.values())


_NOTHING = Life()  # read in place of one that is not there; never written


def _was_released(head: Head, fields: HeadFields, holder: str, fence: int) -> bool:
    """Whether this change is our own release, whose first answer was lost."""
    releases = "holder" in fields and fields["holder"] is None
    return releases and head.holder is None and head.fence == fence and head.last == holder


def _retired(retired: tuple[str, ...], provider_id: str) -> tuple[str, ...]:
    return (*retired, provider_id)[-RETIRED_KEPT:]


def _claimed(item: StepItem, attempt: int, identity: str) -> bool:
    return item.end is None and item.attempt == attempt and item.holder == identity


def _owner(token: Token) -> tuple[str, str, str]:
    return token.run_id, token.birth, token.hook_id


def _by_age(head: Head) -> tuple[float, str]:
    return head.created_at, head.run_id


def _matches(head: Head, query: RunQuery) -> bool:
    return (
        (query.workflow is None or head.workflow == query.workflow)
        and (query.status is None or head.status == query.status)
        and (query.version is None or head.version == query.version)
        and (query.since is None or query.since <= head.created_at)
        and (query.until is None or head.created_at < query.until)
    )
