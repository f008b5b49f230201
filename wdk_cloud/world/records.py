"""What travels through the ports of a world: frozen records, the same in every world."""

from __future__ import annotations

from typing import Literal, TypedDict

import msgspec

Status = Literal["pending", "running", "completed", "failed", "cancelled", "deleted"]
"""Of a run, as its head has it; `deleted` is a tombstone."""

ENDED: frozenset[Status] = frozenset(("completed", "failed", "cancelled", "deleted"))
"""Those of runs in which nothing will happen any more."""

MessageKind = Literal["wake", "timer", "continue", "step", "sweep"]
"""What a message is for: to look, that a time has come, to go on, an order, to send again what is outstanding."""

RETIRED_KEPT = 16
"""How many exchanged messages a record remembers; docs/protocol.md, "Records"."""


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
    """The record of a run that every conditional write asks. docs/protocol.md explains each lease field."""

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
    place: int = 0
    """Among the items of an inbox, in worlds that order them by numbers: `items` gives it, and whoever passes an item
    on to another inbox gives it back, so that his clock decides nothing. 0: behind what this process has put."""


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
    sent_at: float | None = None
    """When it was sent, by the provider's clock; None: it does not say so."""
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
    """A page of a listing, and where the next one begins; no `cursor`: it is the last one."""

    heads: list[Head]
    cursor: str | None
