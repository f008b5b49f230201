"""The vocabulary of the event log, and batches of events as bytes.

An event is either what a body asked for (a *command*: `step_created`, `wait_created`, `operation_created`, …), or what
came of it (a *completion*), or a moment in the life of the run. Payloads are JSON text as the codec makes it, possibly
sealed, compressed or replaced by a reference to a blob (`payloads.py`).

`key` on an event names the inbox item that it admitted.
"""

from __future__ import annotations

from typing import ClassVar, Literal

import msgspec

from wdk_cloud.codec.refusal import NewerFormatError
from wdk_cloud.codec.sealing import pack, unpack
from wdk_cloud.errors import CorruptedEventLogError, SerializationError

FORMAT = 1
"""The version of the records that this code writes. Code that meets a higher one hands the run on."""

Raw = msgspec.Raw


class Event(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="type"):
    """Something that happened to a run, at a time that is never before its predecessor's."""

    time: float
    PAYLOAD: ClassVar[str | None] = None
    """The name of the field that holds a payload."""


class WebhookTerms(msgspec.Struct, frozen=True, omit_defaults=True):
    """How whoever calls a webhook is answered, and what is accepted; plain, so that a receiver needs no key."""

    respond_with: Literal["accepted", "fixed", "manual"] = "accepted"
    status: int = 202
    headers: list[tuple[str, str]] = []
    body: bytes = b""
    timeout: float = 25.0
    max_body: int = 10_000_000
    verify: str = ""
    """`provider:NAME_OF_A_VARIABLE`; the secret itself is in the receiver's environment."""
    base: str = ""
    """What its URL began with when it was made: a body that runs again sees the same URL wherever it does."""


class RunCreated(Event, frozen=True, kw_only=True, tag="run_created"):
    workflow: str
    input: Raw
    digest: str
    seed: bytes
    version: str = ""
    attributes: dict[str, str] = {}
    parent: str | None = None
    root: str | None = None
    trace: str | None = None
    continued_from: str | None = None
    """The run whose body asked for this one with `continue_as_new`."""
    PAYLOAD = "input"


class RunStarted(Event, frozen=True, kw_only=True, tag="run_started"):
    """The first line of the body runs at this time."""


class StepCreated(Event, frozen=True, kw_only=True, tag="step_created"):
    id: str
    name: str
    digest: str
    input: Raw
    queued: bool = False
    PAYLOAD = "input"


class StepStarted(Event, frozen=True, kw_only=True, tag="step_started"):
    id: str
    attempt: int


class StepRetrying(Event, frozen=True, kw_only=True, tag="step_retrying"):
    id: str
    attempt: int
    error: Raw
    retry_at: float
    PAYLOAD = "error"


class StepInterrupted(Event, frozen=True, kw_only=True, tag="step_interrupted"):
    """An attempt that was found begun and without an end; `charged` if it counts as a try."""

    id: str
    attempt: int
    charged: bool = False


class StepCompleted(Event, frozen=True, kw_only=True, tag="step_completed"):
    id: str
    attempt: int
    result: Raw
    key: str | None = None
    PAYLOAD = "result"


class StepFailed(Event, frozen=True, kw_only=True, tag="step_failed"):
    id: str
    attempt: int
    error: Raw
    key: str | None = None
    PAYLOAD = "error"


class StepCancelled(Event, frozen=True, kw_only=True, tag="step_cancelled"):
    """The body no longer waits for a cancellable step; its absence is no difference."""

    id: str


class WaitCreated(Event, frozen=True, kw_only=True, tag="wait_created"):
    id: str
    due: float
    delay: float | None = None


class WaitCompleted(Event, frozen=True, kw_only=True, tag="wait_completed"):
    id: str


class WaitCancelled(Event, frozen=True, kw_only=True, tag="wait_cancelled"):
    """The body no longer waits for a timer; its absence is no difference."""

    id: str


class OperationCreated(Event, frozen=True, kw_only=True, tag="operation_created"):
    """A call of the engine's own: starting a child, asking another run for something."""

    id: str
    name: str
    digest: str
    input: Raw
    PAYLOAD = "input"


class OperationCompleted(Event, frozen=True, kw_only=True, tag="operation_completed"):
    id: str
    result: Raw
    PAYLOAD = "result"


class OperationFailed(Event, frozen=True, kw_only=True, tag="operation_failed"):
    id: str
    error: Raw
    PAYLOAD = "error"


class HookCreated(Event, frozen=True, kw_only=True, tag="hook_created"):
    """The run wants payloads that are sent to a token. `digest` is its SHA-256; the token itself is stored nowhere."""

    id: str
    digest: str
    metadata: Raw = Raw(b"null")
    webhook: WebhookTerms | None = None
    PAYLOAD = "metadata"


class HookReceived(Event, frozen=True, kw_only=True, tag="hook_received"):
    id: str
    payload: Raw
    key: str | None = None
    PAYLOAD = "payload"


class HookConflict(Event, frozen=True, kw_only=True, tag="hook_conflict"):
    """The token belongs to a hook of a live run, this one or another."""

    id: str
    run_id: str


class HookDisposed(Event, frozen=True, kw_only=True, tag="hook_disposed"):
    """The body wants no more payloads: the token is free."""

    id: str


class AttributesSet(Event, frozen=True, kw_only=True, tag="attributes_set"):
    """Labels that were set, or removed (None), by the body (`id`) or from a step (`key`)."""

    changes: dict[str, str | None]
    id: str | None = None
    key: str | None = None


class PatchRecorded(Event, frozen=True, kw_only=True, tag="patch_recorded"):
    """The run has first reached `patched(id)` with the change deployed."""

    id: str


class CancelRequested(Event, frozen=True, kw_only=True, tag="cancel_requested"):
    key: str
    reason: str | None = None


class WakeRequested(Event, frozen=True, kw_only=True, tag="wake_requested"):
    """Pending sleeps end now; their `wait_completed` follow."""

    key: str


class RunCompleted(Event, frozen=True, kw_only=True, tag="run_completed"):
    result: Raw
    PAYLOAD = "result"


class RunFailed(Event, frozen=True, kw_only=True, tag="run_failed"):
    code: str
    error: Raw
    PAYLOAD = "error"


class RunCancelled(Event, frozen=True, kw_only=True, tag="run_cancelled"):
    reason: str | None = None


class RunContinued(Event, frozen=True, kw_only=True, tag="run_continued"):
    """The body has ended by `continue_as_new`: the run of this id goes on, with this input."""

    run_id: str
    next_input: Raw
    digest: str
    unread: list[str] = []
    """Keys of payloads that its hooks have received and its body has not taken: they go to that run."""
    PAYLOAD = "next_input"


AnyEvent = (
    RunCreated
    | RunStarted
    | StepCreated
    | StepStarted
    | StepRetrying
    | StepInterrupted
    | StepCompleted
    | StepFailed
    | StepCancelled
    | WaitCreated
    | WaitCompleted
    | WaitCancelled
    | OperationCreated
    | OperationCompleted
    | OperationFailed
    | HookCreated
    | HookReceived
    | HookConflict
    | HookDisposed
    | AttributesSet
    | PatchRecorded
    | CancelRequested
    | WakeRequested
    | RunCompleted
    | RunFailed
    | RunCancelled
    | RunContinued
)

PAYLOADS = frozenset({"input", "next_input", "result", "error", "metadata", "payload"})
"""Fields that hold a payload, whichever the event."""

TIMES = ("due", "retry_at")
"""Fields, besides `time`, that hold a point in time."""

COMPLETIONS = (
    StepCompleted,
    StepFailed,
    WaitCompleted,
    OperationCompleted,
    OperationFailed,
    HookReceived,
    HookConflict,
)
ENDS = (RunCompleted, RunFailed, RunCancelled, RunContinued)
End = RunCompleted | RunFailed | RunCancelled | RunContinued


class _Envelope(msgspec.Struct):
    v: int
    version: str
    events: msgspec.Raw


_encoder = msgspec.json.Encoder()
_envelope = msgspec.json.Decoder(_Envelope)
_events = msgspec.json.Decoder(list[AnyEvent])


class DecodedBatch(msgspec.Struct, frozen=True):
    version: str
    """The code version that wrote it."""
    events: list[AnyEvent]


def encode_batch(events: list[AnyEvent], version: str) -> bytes:
    """The bytes of one append: format, code version and events, compressed when that saves."""
    return pack(_encoder.encode({"v": FORMAT, "version": version, "events": events}))


def decode_events(data: str | bytes) -> list[AnyEvent]:
    """Events from the text of a JSON array of them. Raises msgspec's errors for what is none."""
    return _events.decode(data)


def decode_batch(data: bytes, run_id: str, at: int) -> DecodedBatch:
    """The events of one append.

    Raises NewerFormatError for a newer format, CorruptedEventLogError for bytes that are no batch.
    """
    try:
        envelope = _envelope.decode(unpack(data))
        if envelope.v > FORMAT:
            raise NewerFormatError(
                f"run {run_id}: the record at {at} has format {envelope.v}, this code reads up to {FORMAT}"
            )
        return DecodedBatch(envelope.version, _events.decode(envelope.events))
    except NewerFormatError:
        raise
    except (msgspec.MsgspecError, SerializationError, ValueError, RecursionError) as error:
        raise CorruptedEventLogError(
            f"run {run_id}: the record at position {at} of its log cannot be read ({error}); it was changed by "
            "something else than wdk-cloud, or its storage is damaged: restore it, or start the run again"
        ) from error
