"""What a world must provide: the protocols. The records that travel through them are in `records.py`, and here, too.

A world stores a run as a *head* (one record that every conditional write of the protocol asks), a *log* of batches, an
*inbox*, *step items* for steps that run elsewhere, *labels*, *tokens*, *blobs* and *streams*. Each method states what
is atomic and what it raises. Common to all of them:

- A conditional write that is refused returns what lies there, so that the caller decides without a second read.
- A world's client may repeat a write whose answer was lost. Each conditional write therefore carries something that
  tells our own write from a stranger's (a nonce, an identity with its fence, a key); meeting our own is success.
- `birth` is part of the key of everything that belongs to a run. A writer of an earlier life under the same id meets
  no head of its birth, and writes where nobody reads.
- All times are seconds since the epoch, by the world's clock. Clocks of different machines need not agree.
- Under a tombstone (a head of this birth with status `deleted`) nothing is written any more: each method that adds to
  the run says what it answers then. So no writer that is late brings anything back.
- A method that cannot reach the store raises `WorldUnavailableError`, or `ThrottleError` when asked to slow down.
  Then the write may have happened or not.
- Methods that are no coroutines are called from the renewing thread, at any time and beside all others.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from wdk_cloud.world.records import (
    ENDED,
    RETIRED_KEPT,
    Batch,
    Delivery,
    Head,
    HeadFields,
    HeadPage,
    InboxItem,
    Labels,
    Lease,
    Message,
    MessageKind,
    RunQuery,
    Status,
    StepItem,
    Token,
    Trouble,
    tombstone,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Sequence

__all__ = [
    "ENDED",
    "RETIRED_KEPT",
    "Batch",
    "BlobStore",
    "Clock",
    "Delivery",
    "Handle",
    "Head",
    "HeadFields",
    "HeadPage",
    "InboxItem",
    "Labels",
    "Lease",
    "Message",
    "MessageKind",
    "Queue",
    "Receiver",
    "RunQuery",
    "RunStore",
    "Status",
    "StepItem",
    "StreamStore",
    "Subscription",
    "Token",
    "Trouble",
    "World",
    "tombstone",
]


class RunStore(Protocol):
    """The durable state of runs."""

    # -- the head ---------------------------------------------------------------------------------------------------

    async def create(self, head: Head) -> Head | None:
        """Write the head if there is none under its run id. None: written (or it was ours, by its birth); else the
        head that is there, a tombstone (status `deleted`) included."""
        ...

    async def head(self, run_id: str) -> Head | None:
        """The head, strongly consistent; None if there is none."""
        ...

    def sighted(self, run_id: str, birth: str) -> None:
        """The caller knows that the run lived a moment ago: a store that looks for a tombstone before it writes, and
        trusts what it has seen lately, need not look now."""
        ...

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
        """Take the lease, atomically, if all of this holds: the head exists with this birth; the run has not ended;
        `provider_id` is not in `retired`; the lease is free or has run out (`free_at(now)`); and it is not the case
        that the lease is free (no holder) and `last` is `identity`.

        Taken: `holder` becomes `identity`, `fence` rises by one, `until` is set, `dirty` is cleared, status `pending`
        becomes `running` unless `not_before` is later than `now`. The turn is unclean if there was a holder, or if the
        caller says so; a holder that was there also raises `stalls` by one (and if `stalls` was 0, sets
        `stalls_length` to `length`). `armed` is kept if the turn is clean and `armed` differs from `due`; otherwise it
        becomes None.

        Returns the lease; or the head as it lies there when refused; or None without a head of this birth. A repeat
        of our own successful call (same identity, same `until`, same `provider_id`) may find `holder == identity`
        with our `until`: worlds whose client repeats lost calls return a Lease then.
        """
        ...

    async def mark_dirty(self, run_id: str, birth: str, *, holder: str, fence: int, due: float | None = None) -> bool:
        """Set `dirty` if `holder` and `fence` still are the ones given; with `due`, also clear `armed` if it is that
        time. False: they are not, or there is no head of this birth; nothing was written."""
        ...

    async def retire(self, run_id: str, birth: str, provider_id: str) -> Head | None:
        """Add `provider_id` to `retired` (the last RETIRED_KEPT are kept; adding it twice changes nothing) and return
        the head; None without a head of this birth. Also works on a run that has ended; a tombstone stays as it is."""
        ...

    def renew(self, run_id: str, birth: str, *, holder: str, fence: int, until: float) -> Head | None:
        """Set `until` if `holder` and `fence` are ours. Returns the head as it is now; None if the lease is lost."""
        ...

    async def change(
        self, run_id: str, birth: str, fields: HeadFields, *, holder: str, fence: int, unless_dirty: bool = False
    ) -> tuple[bool, Head | None]:
        """Write these fields of the head if `holder` and `fence` are ours, and, with `unless_dirty`, only if `dirty`
        is not set. (True, the head as it is now); or (False, the head as it lies there), or (False, None) without
        a head of this birth. Releasing the lease is a change to `holder=None` with `unless_dirty`; a repeat of our own
        release finds `holder` None, our fence and our identity in `last`, and is success."""
        ...

    # -- the log ----------------------------------------------------------------------------------------------------

    async def append(self, run_id: str, birth: str, batch: Batch) -> Batch | None:
        """Write the batch if no batch begins at its position. None: written (or ours, by its nonce); else the batch
        that is there. It does not ask for the lease: the position alone keeps the log safe. Under a tombstone it
        answers with an empty batch (count 0) of no nonce, so that the writer takes it for another's and looks."""
        ...

    async def read(self, run_id: str, birth: str, after: int) -> list[Batch]:
        """The batches that begin after position `after`, in order, strongly consistent. The answer may have holes
        where a query is no snapshot; `read_at` fills them."""
        ...

    async def read_at(self, run_id: str, birth: str, at: int) -> Batch | None:
        """The batch that begins at `at`, by key, strongly consistent."""
        ...

    # -- the inbox --------------------------------------------------------------------------------------------------

    async def put_item(self, run_id: str, birth: str, item: InboxItem) -> bool:
        """Put the item if its key is not there. False: it was there already, or the run is under a tombstone; nothing
        was written."""
        ...

    async def items(self, run_id: str, birth: str, steps: Collection[str] | None = None) -> list[InboxItem]:
        """All items of the inbox, strongly consistent, in an order that keeps that of one client's puts; and after
        them each step item that has an end, as an item of kind `step`, key `step:<step id>`, with the end as data.
        With `steps` the caller needs no others than those, and a world that has to look for step items looks for them
        only: the ends of steps stay, so that a long run would read more and more of them. It may give others too."""
        ...

    async def drop_items(self, run_id: str, birth: str, keys: Sequence[str]) -> None:
        """Delete the items of these keys; those that are not there do not matter."""
        ...

    # -- steps that run elsewhere -----------------------------------------------------------------------------------

    async def step(self, run_id: str, birth: str, step_id: str) -> StepItem | None:
        """The step item, strongly consistent; None before its first claim."""
        ...

    async def claim_step(
        self, run_id: str, birth: str, step_id: str, *, identity: str, provider_id: str, now: float, until: float
    ) -> tuple[bool, StepItem]:
        """Create the item or take it over, atomically, if: it has no end; it has no live claim (`holder` with
        `until` > now); `retry_at` ≤ now; `provider_id` is not in `retired`. Taken: `holder` becomes `identity`,
        `attempt` rises by one, `until` is set, `first_started` becomes `now` if it was 0, and `interrupted` rises by
        one if a holder was there. (True, the item as it is now) or (False, the item that is there). Under a tombstone
        the item that is there has an empty end."""
        ...

    def renew_step(
        self, run_id: str, birth: str, step_id: str, *, attempt: int, identity: str, until: float
    ) -> StepItem | None:
        """Set `until` if `attempt` and `identity` are ours and there is no end. The item; None: the claim is lost."""
        ...

    async def retire_step(self, run_id: str, birth: str, step_id: str, provider_id: str) -> StepItem | None:
        """As `retire`, in the step item; None if there is none."""
        ...

    async def end_step(self, run_id: str, birth: str, step_id: str, *, attempt: int | None, end: bytes) -> bool:
        """Write the end if there is none, and, with `attempt`, only if that is the item's; without `attempt` it creates
        the item if needed. The claim is freed. False: refused. A repeat of our own call (same `end`) is success."""
        ...

    async def retry_step(
        self, run_id: str, birth: str, step_id: str, *, attempt: int, identity: str, retry_at: float
    ) -> bool:
        """Free the claim and set `retry_at`, if `attempt` and `identity` are ours and there is no end."""
        ...

    async def cancel_step(self, run_id: str, birth: str, step_id: str) -> None:
        """Set `cancelled` on the item (creating it if needed); its worker sees it when it renews."""
        ...

    # -- labels, tokens ---------------------------------------------------------------------------------------------

    async def put_labels(self, run_id: str, birth: str, labels: Labels) -> None:
        """Write the labels if there are none or those there have a smaller `position`; none under a tombstone."""
        ...

    async def labels(self, run_id: str, birth: str) -> Labels:
        """The labels; no values at position 0 if there are none."""
        ...

    async def claim_token(self, token: Token, *, instead_of: Token | None = None) -> Token | None:
        """Write the token if there is none of its digest, or if the one there equals `instead_of`. None: written, or
        it was ours (run, birth and hook), or its run is under a tombstone and needs none; else the token there."""
        ...

    async def token(self, digest: str) -> Token | None:
        """Strongly consistent."""
        ...

    async def free_token(self, token: Token) -> None:
        """Delete it if run, birth and hook are those given."""
        ...

    # -- many runs --------------------------------------------------------------------------------------------------

    async def list_heads(self, query: RunQuery) -> HeadPage:
        """Newest first: by created_at, then by run id, both descending; deleted runs' tombstones are among them. The
        cursor of a page is None if no other one follows. May lag behind the latest writes where the world says so."""
        ...

    async def overdue(self, now: float, limit: int) -> list[Head]:
        """Runs that have not ended and whose `wake_by` has passed (it is < now), longest overdue first."""
        ...

    # -- what goes by itself ----------------------------------------------------------------------------------------

    @property
    def keeps(self) -> float | None:
        """Seconds after which what was written is gone by itself, blobs and streams included; None: it stays until it
        is erased."""
        ...

    async def aging(self, before: float, limit: int, after: Head | None = None) -> list[Head]:
        """Runs of which something may go before that time: those that have not ended, and those that have continued as
        another run. By `created_at`, then by run id; those that come after the one given, if one is."""
        ...

    async def refresh(self, run_id: str, birth: str) -> None:
        """Have everything that belongs to the run stay as if it were written now, give or take a day. What goes or is
        deleted meanwhile does not come back; nothing else about it changes. Repeating it finishes what a death left."""
        ...

    # -- removing ---------------------------------------------------------------------------------------------------

    async def bury(self, run_id: str, birth: str, *, holder: str | None, fence: int, now: float) -> Head | None:
        """Put a tombstone in the head's place, atomically, if `holder` and `fence` still are the ones given; the run
        need not have ended. Returns the head as it is now: a tombstone (ours, or an earlier one), or the one that was
        in the way; None without a head of this birth."""
        ...

    async def erase(self, runs: Sequence[tuple[str, str]]) -> None:
        """Delete all that belongs to these runs (id and birth; at most a few hundred) but their heads: log, inbox,
        steps, labels, tokens, blobs, streams, and their messages where the queue can. When all that is durable,
        tombstones lose `continued_to` and `length`, and their `wake_by` becomes 0. Repeating it finishes what a death
        left."""
        ...

    async def removable(self, *, ended_before: float, buried_before: float, limit: int) -> list[Head]:
        """Runs to remove: tombstones that are not erased yet (`wake_by` is not 0); then runs that have ended before
        `ended_before`, oldest end first, except those whose `continued_to` has a head that is no tombstone: they are
        how it is found; then erased tombstones that were made before `buried_before`, oldest first."""
        ...

    async def forget(self, run_id: str, birth: str) -> None:
        """Delete the head if it is a tombstone."""
        ...


class BlobStore(Protocol):
    """Large payloads, named by their content within their run."""

    async def put_blob(self, run_id: str, birth: str, name: str, data: bytes) -> None:
        """Durable when it returns; putting the same name twice is harmless. Under a tombstone nothing is put."""
        ...

    async def get_blob(self, run_id: str, birth: str, name: str) -> bytes | None: ...


class StreamStore(Protocol):
    """What a run's steps write while they work. A stream is a row of objects, at ordinals from 0 without a gap; what is
    in them is the engine's business (`engine/chunks.py`)."""

    window: float
    """Seconds in which a writer gathers chunks for its next object: what an object costs here, in time or money."""

    async def put(self, run_id: str, birth: str, stream: str, ordinal: int, data: bytes) -> bytes | None:
        """Write the object if there is none at its ordinal. None: written, or it is the same; else the one there. The
        caller knows that the ordinal before is taken. Under a tombstone nothing is put.

        Whoever subscribes to the run is told."""
        ...

    async def get(self, run_id: str, birth: str, stream: str, ordinal: int, most: int) -> list[bytes]:
        """The objects from this ordinal on, in order: at least one if there is one, and no more after `most` bytes."""
        ...

    async def length(self, run_id: str, birth: str, stream: str) -> int:
        """How many objects there are: the next free ordinal."""
        ...

    async def mark(self, run_id: str, birth: str, stream: str, time: float) -> None:
        """Note that the stream's only producer was alive at this time. Under a tombstone nothing is noted."""
        ...

    async def marked(self, run_id: str, birth: str, stream: str) -> float | None:
        """The latest mark; None if the stream has never had one."""
        ...


class Queue(Protocol):
    """Messages to workers, each at least once."""

    longest_delay: float
    """Seconds that a send can delay by; longer waits go in hops."""

    callers_delay: float
    """As `longest_delay`, of what callers of `start` send: they may have fewer rights than workers, who carry it on."""

    async def send(self, messages: Sequence[tuple[Message, float]]) -> None:
        """Send each message with its delay in seconds (at most `longest_delay`). Returns when all are durable; raises
        when one is not, after sending the failed ones again. A `step` message of a run that was erased may be dropped:
        it carries data of the run."""
        ...

    def extend(self, delivery: Delivery, seconds: float) -> None:
        """Keep the message invisible for so long from now, where the provider knows invisibility."""
        ...


class Receiver(Protocol):
    """For worlds whose messages a worker fetches itself (`local`, `memory`)."""

    async def receive(self, limit: int) -> list[Delivery]:
        """Wait until a message is visible, then take up to `limit` of them. Cancelling it loses none."""
        ...

    async def acknowledge(self, delivery: Delivery) -> None:
        """It is done: the message does not come again. From an earlier receiver, when another one has the message by
        now, this may take the message away or do nothing."""
        ...

    async def put_back(self, delivery: Delivery, delay: float) -> None:
        """Make it visible again after the delay; it then counts as received before. From an earlier receiver this
        does nothing."""
        ...

    def busy(self) -> bool:
        """Whether a message is visible or being worked on."""
        ...


class Handle(Protocol):
    """A call that a clock was asked for, and that may be cancelled."""

    def cancel(self) -> None: ...


class Clock(Protocol):
    still: bool
    """Time moves only when somebody moves it (tests): nothing waits for it in process."""

    def now(self) -> float:
        """Seconds since the epoch, rounded to microseconds so that it survives any store."""
        ...

    def monotonic(self) -> float: ...

    def call_at(self, when: float, callback: Callable[[], object]) -> Handle:
        """Call back on the running event loop at `when` (by `now()`)."""
        ...

    def every(self, seconds: float, callback: Callable[[], object]) -> Handle:
        """Call back again and again, from a thread of its own, so that a blocked event loop does not stop it."""
        ...


class Subscription(Protocol):
    """Created before the state is read; `wait` returns at once if something happened since then."""

    def wait(self, timeout: float) -> Awaitable[bool]:
        """True: something about the run may have changed, since the last True if there was one. False: the (real)
        time is over."""
        ...

    def close(self) -> None: ...


class World(Protocol):
    """One place where runs live, seen by one namespace."""

    name: str
    namespace: str
    short_wait: float
    """Seconds: a turn waits so long for a timer in process, instead of sending itself a message."""
    runs: RunStore
    blobs: BlobStore
    streams: StreamStore
    queue: Queue
    receiver: Receiver | None
    clock: Clock

    def scoped(self, namespace: str) -> World:
        """The same place, seen by another namespace."""
        ...

    def subscribe(self, run_id: str) -> Subscription:
        """To the end of a run and to what its streams get: notified where the world can, polled with growing pauses
        elsewhere."""
        ...

    async def open(self) -> None:
        """Make the connection on the running loop; called once by whoever uses it. Raises WorldConfigurationError."""
        ...

    async def close(self) -> None: ...
