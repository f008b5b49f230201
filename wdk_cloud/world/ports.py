"""What a world must provide: the protocols, and the frozen records that travel through them.

A world stores a run as a *head* (one record that every conditional write of the protocol asks), a *log* of batches, an
*inbox*, *step items* for steps that run elsewhere, *labels*, *tokens* and *blobs*. Each method states what is atomic
and what it raises. Common to all of them:

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

from typing import TYPE_CHECKING, Literal, Protocol, TypedDict

import msgspec

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Sequence

Status = Literal["pending", "running", "completed", "failed", "cancelled", "deleted"]
ENDED: frozenset[Status] = frozenset(("completed", "failed", "cancelled", "deleted"))

MessageKind = Literal["wake", "timer", "continue", "step", "sweep"]

RETIRED_KEPT = 16  # exchanged messages that a record remembers; PROTOCOL.md, "Records"


class Trouble(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Why a run was handed on, or what last interrupted it; `inspect run` shows it."""

    reason: str
    since: float
    count: int = 1
    onward: str = ""
    """The identity of the `continue` that is on its way for this trouble."""
    interrupt: bool = False
    """The trouble is an interrupt inside a body (KeyboardInterrupt and its like), not missing code."""


class Head(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The record of a run that every conditional write asks. PROTOCOL.md explains each lease field."""

    run_id: str
    birth: str
    workflow: str
    created_at: float
    seed: bytes
    """32 bytes from the operating system; sealed where encryption is on."""
    input_digest: str
    input: bytes | None = None
    """The sealed input while it is small and until the first release."""
    status: Status = "pending"
    not_before: float = 0.0
    data_key: str | None = None
    """The run's wrapped data key, where encryption is on."""
    parent: str | None = None
    root: str | None = None
    trace: str | None = None
    idempotency_key: str | None = None
    version: str = ""
    """The code version that started the run."""
    last_version: str = ""
    """The code version of the last append."""
    holder: str | None = None
    """The identity of the message that the lease's holder works for; None: the lease is free."""
    fence: int = 0
    until: float = 0.0
    dirty: bool = False
    last: str | None = None
    """The identity whose turn released last."""
    armed: float | None = None
    """The due time of the timer message on its way."""
    stalls: int = 0
    stalls_length: int = 0
    length: int = 0
    """The log's end as the last release knew it: the position of the last event."""
    retired: tuple[str, ...] = ()
    trouble: Trouble | None = None
    ended_at: float | None = None
    end_at: int = 0
    """The position of the batch that holds the end event; 0 while the run lives."""
    error_code: str | None = None
    continued_from: str | None = None
    """The run whose body asked for this one with `continue_as_new`."""
    continued_to: str | None = None
    """The run that goes on where this one, `completed`, has ended by `continue_as_new`."""
    wake_by: float = 0.0
    """The time by which something should have happened; written at create and release only."""

    @property
    def ended(self) -> bool:
        return self.status in ENDED

    def free_at(self, now: float) -> bool:
        """Whether the lease can be taken: nobody holds it, or its time has run out."""
        return self.holder is None or self.until <= now


class HeadFields(TypedDict, total=False):
    """The fields of a head that its holder may write."""

    status: Status
    input: bytes | None
    holder: str | None
    until: float
    dirty: bool
    last: str | None
    armed: float | None
    stalls: int
    stalls_length: int
    length: int
    trouble: Trouble | None
    last_version: str
    ended_at: float | None
    end_at: int
    error_code: str | None
    continued_to: str | None
    wake_by: float


def tombstone(head: Head, now: float) -> Head:
    """What `bury` leaves of a head: id, birth and times; and, until `erase` has finished, whereto the run's inbox has
    to be passed on, where in the log its end may lie, and `wake_by`, which says that it has not."""
    return Head(
        run_id=head.run_id,
        birth=head.birth,
        workflow="",
        created_at=head.created_at,
        seed=b"",
        input_digest="",
        status="deleted",
        fence=head.fence + 1,
        ended_at=now,
        length=head.length,
        continued_to=head.continued_to,
        wake_by=now,
    )


class Batch(msgspec.Struct, frozen=True, kw_only=True):
    """One append: events at the dense positions `at` to `at + count - 1`; `data` is the engine's."""

    at: int
    count: int
    fence: int
    nonce: str
    data: bytes


class InboxItem(msgspec.Struct, frozen=True, kw_only=True):
    """Something from outside that the holder admits. `key` makes a second delivery harmless."""

    key: str
    kind: str
    data: bytes
    time: float


class StepItem(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A step that runs in a delivery of its own."""

    step_id: str
    attempt: int = 0
    holder: str | None = None
    until: float = 0.0
    retry_at: float = 0.0
    first_started: float = 0.0
    interrupted: int = 0
    """Attempts whose claim ran out without an end."""
    cancelled: bool = False
    retired: tuple[str, ...] = ()
    end: bytes | None = None
    """The engine's record of how the step ended; None while it has not."""


class Token(msgspec.Struct, frozen=True, kw_only=True):
    """Who owns a hook's token; `digest` is the SHA-256 of the token, which itself is stored nowhere."""

    digest: str
    run_id: str
    birth: str
    hook_id: str
    data: bytes = b""


class Labels(msgspec.Struct, frozen=True, kw_only=True):
    """The plain text labels of a run, and the log position of the event that last changed them."""

    values: dict[str, str]
    position: int = 0


class Message(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What the queue carries. `identity` is ours and lies in the body: a copy keeps it, the provider's id is new."""

    kind: MessageKind
    run_id: str
    birth: str
    identity: str
    due: float | None = None
    """timer: the time it is for."""
    hop: bool = False
    """timer: this delay does not lead all the way to `due`."""
    step_id: str | None = None
    count: int = 0
    """continue: how many came in a row without growth of the log; hand-ons: the delay's exponent."""
    length: int = 0
    """continue: the log's length when `count` began."""
    order: bytes = b""
    """step: what its worker needs to run it; the engine's."""
    trace: str | None = None
    format: int = 1


class Delivery(msgspec.Struct, frozen=True, kw_only=True):
    """A message in the hands of its receiver."""

    message: Message
    provider_id: str
    receipt: str
    again: bool = False
    """It was received before, says the provider."""
    deadline: float | None = None
    """When this invocation ends, on the world's monotonic clock; None: never."""
    limit: float = 0.0
    """Seconds that an invocation has in all, where it has a deadline."""


class Lease(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to a successful `acquire`."""

    head: Head
    """The head as it is now, with our holder, fence and until, and with `armed` as the turn has to see it."""
    unclean: bool
    """The lease had not been released by its last holder, or the taker asked for it."""


class RunQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Which runs to list; None leaves a field open. `since` ≤ created_at < `until`."""

    workflow: str | None = None
    status: Status | None = None
    version: str | None = None
    since: float | None = None
    until: float | None = None
    limit: int = 50
    cursor: str | None = None


class HeadPage(msgspec.Struct, frozen=True, kw_only=True):
    heads: list[Head]
    cursor: str | None


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

    # -- removing ---------------------------------------------------------------------------------------------------

    async def bury(self, run_id: str, birth: str, *, holder: str | None, fence: int, now: float) -> Head | None:
        """Put a tombstone in the head's place, atomically, if `holder` and `fence` still are the ones given; the run
        need not have ended. Returns the head as it is now: a tombstone (ours, or an earlier one), or the one that was
        in the way; None without a head of this birth."""
        ...

    async def erase(self, runs: Sequence[tuple[str, str]]) -> None:
        """Delete all that belongs to these runs (id and birth; at most a few hundred) but their heads: log, inbox,
        steps, labels, tokens, blobs, and their messages where the queue can. When all that is durable, tombstones lose
        `continued_to` and `length`, and their `wake_by` becomes 0. Repeating it finishes what a death left."""
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


class Queue(Protocol):
    """Messages to workers, each at least once."""

    longest_delay: float
    """Seconds that a send can delay by; longer waits go in hops."""

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
    queue: Queue
    receiver: Receiver | None
    clock: Clock

    def scoped(self, namespace: str) -> World:
        """The same place, seen by another namespace."""
        ...

    def subscribe(self, run_id: str) -> Subscription:
        """To the end of a run: notified where the world can, polled with growing pauses elsewhere."""
        ...

    async def open(self) -> None:
        """Make the connection on the running loop; called once by whoever uses it. Raises WorldConfigurationError."""
        ...

    async def close(self) -> None: ...
