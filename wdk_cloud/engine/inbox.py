"""What came from outside: read, admitted into the log, deleted after the commit that admitted it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import msgspec

from wdk_cloud.context import check_attribute_count
from wdk_cloud.engine import events as ev
from wdk_cloud.engine import outgoing
from wdk_cloud.engine.inline import step_event
from wdk_cloud.world.ports import HeadFields, InboxItem

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from wdk_cloud.engine.attempt import Ending
    from wdk_cloud.engine.intake import Intake

KEPT = 4096
"""Bytes of admitted items that may lie in the inbox: deleting costs a write each, reading them again costs less."""


class StepEnd(msgspec.Struct, frozen=True):
    """How a step that ran elsewhere ended; `data` is sealed like the payload of its event."""

    id: str
    kind: Literal["completed", "failed"]
    attempt: int
    data: msgspec.Raw


class CancelItem(msgspec.Struct, frozen=True):
    reason: str | None = None


class AttributesItem(msgspec.Struct, frozen=True):
    changes: dict[str, str | None]


class HookItem(msgspec.Struct, frozen=True):
    """A payload for whichever hook has the token of this digest; sealed for the run under `("payload", digest)`."""

    digest: str
    payload: msgspec.Raw


class Watch(msgspec.Struct, frozen=True):
    """Another run that waits for the end of this one."""

    run_id: str
    birth: str
    operation: str


def cancel_request(item: InboxItem, now: float) -> ev.CancelRequested:
    """The event that admits a request to cancel."""
    return ev.CancelRequested(time=now, key=item.key, reason=msgspec.json.decode(item.data, type=CancelItem).reason)


def encode_item(item: StepEnd | CancelItem | AttributesItem | HookItem | Watch) -> bytes:
    return msgspec.json.encode(item)


class Inbox:
    """Of one turn."""

    def __init__(self, turn: Intake) -> None:
        self._turn = turn
        self.unread = False
        self.labels: list[ev.AttributesSet] = []
        """Changes that inline steps made, for the next append."""
        self._admitted: dict[str, int] = {}
        self._nudges: dict[str, str] = {}
        self.early = False
        """A payload lies there for which there is no hook yet."""

    @property
    def admits(self) -> bool:
        """Whether something was read that may have to be deleted."""
        return bool(self._admitted or self._nudges)

    async def clear_dirty(self) -> None:
        """Whoever clears `dirty` takes over `armed` and then reads the inbox."""
        head = await self._turn.hold.change(HeadFields(dirty=False))
        assert head is not None  # without `unless_dirty` a change is done or the lease is lost
        self._turn.armed = head.armed
        self._turn.doubtful = True
        self.unread = True

    async def read(self) -> None:
        """Admit what is new, one by one."""
        turn = self._turn
        queued = turn.history.queued and [id for id, step in turn.history.steps.items() if step.created.queued]
        self.early = False
        items = await turn.engine.world.runs.items(*turn.key, queued or ())
        self.unread = False
        seen = {event.key for event in turn.batch if isinstance(event, _WITH_KEY)}
        ended = {event.id for event in turn.batch if isinstance(event, ev.StepCompleted | ev.StepFailed)}
        for item in items:
            if item.kind == "operation":
                self._nudge(item)
            elif item.kind not in ("watch", "stream"):
                if item.kind != "step":
                    self._admitted[item.key] = len(item.data)
                if item.key not in turn.history.admitted and item.key not in seen:
                    await self._admit(item, ended)
            if turn.over:
                return

    def take_labels(self) -> None:
        labels, self.labels = self.labels, []
        now = self._turn.now()
        self._turn.batch.extend(msgspec.structs.replace(change, time=now) for change in labels)

    async def _admit(self, item: InboxItem, ended: set[str]) -> None:
        turn = self._turn
        match item.kind:
            case "cancel":
                turn.cancel(cancel_request(item, turn.now()))
            case "wake_up":
                turn.batch.append(ev.WakeRequested(time=turn.now(), key=item.key))
                for id in [id for id in turn.body.timers if id.startswith("sleep#")] if turn.body is not None else []:
                    if turn.body is not None and id in turn.body.timers:
                        turn.feed(ev.WaitCompleted(time=turn.now(), id=id))
            case "attributes":
                changes = msgspec.json.decode(item.data, type=AttributesItem).changes
                turn.batch.append(ev.AttributesSet(time=turn.now(), key=item.key, changes=changes))
            case "hook":
                await self._admit_payload(item)
            case "step":
                await self._admit_step(item, ended)
            case _:
                raise AssertionError(f"an inbox item of kind {item.kind}")

    async def _admit_step(self, item: InboxItem, ended: set[str]) -> None:
        turn, end = self._turn, msgspec.json.decode(item.data, type=StepEnd)
        if end.id not in turn.history.steps or end.id in turn.steps.running or end.id in ended:
            return  # it has ended, or runs here once more: the first end wins
        ended.add(end.id)
        kind: Any = ev.StepCompleted if end.kind == "completed" else ev.StepFailed
        field = kind.PAYLOAD
        data = await turn.payloads.open(field, end.id, bytes(end.data))
        event = kind(time=turn.now(), id=end.id, attempt=end.attempt, key=item.key, **{field: ev.Raw(data)})
        turn.feed(event)

    async def _admit_payload(self, item: InboxItem) -> None:
        """For the hook of its token. It stays here before there is one, as in a run that goes on for another, and when
        the body has ended: then it is for the run that goes on for this one."""
        turn, payload = self._turn, msgspec.json.decode(item.data, type=HookItem)
        id = turn.history.receiver_of(payload.digest, turn.batch)
        ended = turn.body is not None and turn.body.outcome is not None
        if id is None or ended:
            del self._admitted[item.key]
            self.early = self.early or not ended
            return
        data = await turn.payloads.open_letter("payload", payload.digest, bytes(payload.payload))
        turn.feed(ev.HookReceived(time=turn.now(), id=id, key=item.key, payload=ev.Raw(data)))

    def _nudge(self, item: InboxItem) -> None:
        """Another run has ended: the operation that waits for it looks again."""
        id = item.data.decode()
        self._nudges[item.key] = id
        self._turn.operations.start_again(id)

    async def drop_admitted(self) -> None:
        """After a commit: delete what it admitted, once enough of it lies there."""
        turn = self._turn
        done = [key for key, id in self._nudges.items() if id not in turn.history.operations]
        for key in done:
            self._admitted[key] = KEPT
            del self._nudges[key]
        ready = [key for key in self._admitted if key in turn.history.admitted or self._admitted[key] >= KEPT]
        if sum(self._admitted[key] for key in ready) >= KEPT:
            await turn.engine.world.runs.drop_items(*turn.key, ready)
            for key in ready:
                del self._admitted[key]

    def attributes_setter(self, started: ev.StepStarted) -> Callable[[dict[str, str | None]], Awaitable[None]]:
        """What `set_attributes` does in an inline step: the change rides in the next append."""
        count = 0

        async def set_attributes(changes: dict[str, str | None]) -> None:
            nonlocal count
            there = set(self._turn.history.labels)
            for earlier in self.labels:
                there |= {name for name, value in earlier.changes.items() if value is not None}
            check_attribute_count(there, changes)
            count += 1
            key = f"attributes:{started.id}:{started.attempt}:{count}"
            self.labels.append(ev.AttributesSet(time=self._turn.now(), key=key, changes=changes))

        return set_attributes

    async def hand_over(self, ends: list[tuple[str, Ending]]) -> None:
        """Ends of steps whose turn is over: into the inbox, for whoever holds the run next; then a message."""
        turn = self._turn
        put = False
        for id, result in ends:
            state, attempt = turn.history.steps.get(id), turn.steps.running.get(id)
            if state is None or attempt is None or result.kind == "interrupted":
                continue
            event = step_event(state, attempt, result, turn.now(), 0.0)
            if isinstance(event, ev.StepRetrying):
                continue  # no end: the next holder finds an attempt that was interrupted
            data = await turn.payloads.seal(event.PAYLOAD or "", id, bytes(_payload(event)))
            kind: Literal["completed", "failed"] = "completed" if isinstance(event, ev.StepCompleted) else "failed"
            end = StepEnd(id, kind, event.attempt, msgspec.Raw(data))
            item = InboxItem(key=f"step:{id}", kind="step", data=encode_item(end), time=turn.now())
            await turn.engine.world.runs.put_item(*turn.key, item)
            put = True
        if put:
            await turn.engine.world.queue.send([(outgoing.message(turn.engine, "wake", turn.head), 0.0)])


def _payload(event: ev.StepCompleted | ev.StepFailed) -> msgspec.Raw:
    return event.result if isinstance(event, ev.StepCompleted) else event.error


_WITH_KEY = (
    ev.StepCompleted,
    ev.StepFailed,
    ev.AttributesSet,
    ev.CancelRequested,
    ev.WakeRequested,
    ev.HookReceived,
)
