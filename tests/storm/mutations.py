"""The rules of docs/protocol.md and those behind it, each left out by a patch of a few lines: the storm must find it.

A patch reads as one: the lines of a function as they are, and as they would be without the rule. It is refused unless
the old ones are found exactly once, so that none goes stale unnoticed. The mutated function is compiled anew and its
code put in place of the old one's, so that whoever holds the function runs it.
"""

from __future__ import annotations
import __future__

import importlib
import inspect
import textwrap
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from types import CodeType, FunctionType
from typing import Any


class Stale(Exception):
    """The code has changed: the patch does not fit it any more."""


@dataclass(frozen=True)
class Patch:
    """Old lines of one function, and the new ones; without the indentation of the function."""

    function: str
    """`module:name`, the module without `wdk_cloud.`"""
    old: str
    new: str


@dataclass(frozen=True)
class Mutation:
    """One rule that is left out."""

    rule: str
    patches: tuple[Patch, ...]


@contextmanager
def applied(mutation: Mutation) -> Iterator[None]:
    with ExitStack() as stack:
        sources: dict[str, str] = {}
        for patch in mutation.patches:
            source = sources.get(patch.function) or _source(patch.function)
            if source.count(patch.old) != 1:
                raise Stale(f"{patch.function} has {source.count(patch.old)} times, not once:\n{patch.old}")
            sources[patch.function] = source.replace(patch.old, patch.new)
        for name, source in sources.items():
            function = _found(name)
            stack.callback(setattr, function, "__code__", function.__code__)
            function.__code__ = _compiled(function, source)
        yield


def _found(name: str) -> FunctionType:
    module, _, path = name.partition(":")
    found: Any = importlib.import_module(f"wdk_cloud.{module}")
    for part in path.split("."):
        found = getattr(found, part)
    assert isinstance(found, FunctionType)
    assert found.__closure__ is None, f"{name} has a closure: its code cannot be exchanged"
    return found


def _source(name: str) -> str:
    return textwrap.dedent(inspect.getsource(_found(name)))


def _compiled(function: FunctionType, source: str) -> CodeType:
    module = compile(source, f"<mutated {function.__qualname__}>", "exec", __future__.annotations.compiler_flag, True)
    names: dict[str, Any] = {}
    exec(module, function.__globals__, names)
    made = names[function.__name__]
    assert isinstance(made, FunctionType)
    return made.__code__.replace(co_qualname=function.__code__.co_qualname)


_STORE = "world.memory.store:MemoryStore"

PROTOCOL = {
    "an append asks for its free position": (Patch(f"{_STORE}.append", "if there is None:", "if True:"),),
    "release asks for `dirty` unset": (
        Patch("engine.leasing:LeaseHold._free", "unless_dirty=True", "unless_dirty=False"),
    ),
    "acknowledge last": (
        Patch(
            "engine.delivery:_deliver_to_run",
            "            return await Turn(",
            "            await engine.world.receiver.acknowledge(delivery)\n            return await Turn(",
        ),
    ),
    "a message that finds the run held sets `dirty`": (
        Patch("engine.delivery:_refused", "return await _tell_holder(engine, delivery, head)", "return True"),
    ),
    # It is proof as well: with only one of the two left out, the timer is armed again and comes a little late.
    "a timer message is proof": (
        Patch("engine.intake:Intake._fire_timers", "proof = self.delivery.message.due or 0.0", "proof = 0.0"),
        Patch("world.taking:Taking.lease", "None if unclean or head.armed == self.due else", "None if unclean else"),
    ),
    "a timer message that finds the run held clears `armed`": (
        Patch(
            "engine.delivery:_tell_holder",
            'due = message.due if message.kind == "timer" and head.armed == message.due else None',
            "due = None",
        ),
    ),
    "the holder's own message is never let go": (
        Patch("engine.delivery:_refused", "    if head.holder == message.identity and not over:", "    if False:"),
    ),
    "a message received before is exchanged": (
        Patch("engine.delivery:_deliver_to_run", "if delivery.again:", "if False:"),
    ),
    "an earlier receiver of an exchanged message cannot acquire": (
        Patch("world.taking:Taking.may_have", "    or self.provider_id in head.retired\n", ""),
    ),
    # Whoever committed and did not send has left a log that is longer than its release would have said: either rule
    # finds it, so that both are left out.
    "an unclean turn sends everything again": (
        Patch("engine.turn_state:TurnState.__init__", "self.unclean = lease.unclean", "self.unclean = False"),
        Patch("engine.turn:Turn._load", "self.unclean or loaded.longer", "False"),
    ),
    "`dirty` is set only if the holder seen still holds": (
        Patch(f"{_STORE}.mark_dirty", "self._held(run_id, birth, holder, fence)", "self._head_of(run_id, birth)"),
    ),
    # Seen when the log is read, or by a conflict: both read it.
    "a log longer than `length` makes a turn unclean": (
        Patch("engine.turn:Turn._conflict", "self.unclean = True", "pass"),
        Patch("engine.turn:Turn._load", "self.unclean or loaded.longer", "self.unclean"),
    ),
    "`continue` before `release`": (
        Patch(
            "engine.continuation:leave",
            "        await turn.engine.world.queue.send([(onward, min(delay, turn.engine.world.queue.longest_delay))])\n",
            "",
        ),
        Patch(
            "engine.continuation:leave",
            "            turn.put_aside()\n",
            "            turn.put_aside()\n            await turn.engine.world.queue.send([(onward, delay)])\n",
        ),
    ),
    "the end of a step before its message": (
        Patch(
            "engine.step:_end",
            "    if not await _record(",
            "    await nudge(engine, message.run_id, message.birth)\n    if not await _record(",
        ),
        Patch(
            "engine.step:_end",
            "    await nudge(engine, message.run_id, message.birth)\n    return True",
            "    return True",
        ),
    ),
    "a request before its message": (
        Patch(
            "engine.requests:put",
            "    await world.runs.put_item(head.run_id, head.birth, item)\n",
            "",
        ),
        Patch(
            "engine.requests:put",
            "    await world.queue.send([(wake, 0.0)])",
            "    await world.queue.send([(wake, 0.0)])\n    await world.runs.put_item(head.run_id, head.birth, item)",
        ),
    ),
    "`dirty` is cleared before the inbox is read": (
        Patch("engine.inbox:Inbox.clear_dirty", "    head = await", "    await self.read()\n    head = await"),
        Patch("engine.inbox:Inbox.clear_dirty", "self.unread = True", "self.unread = False"),
    ),
    # `dirty` on a free lease: no write of ours leaves it there, so that a step worker that trusts it does no harm by
    # itself. What it relies on is left out with it.
    "`dirty` counts only while the run is held": (
        Patch(
            "engine.step:nudge",
            "    if head.holder is None:",
            "    if head.dirty:\n            return\n        if head.holder is None:",
        ),
        Patch(f"{_STORE}.mark_dirty", "self._held(run_id, birth, holder, fence)", "self._head_of(run_id, birth)"),
    ),
    "a nudge that is refused looks again": (
        Patch(
            "engine.step:nudge",
            "holder=head.holder, fence=head.fence):",
            "holder=head.holder, fence=head.fence) or True:",
        ),
    ),
    "what follows the end is done again by the message that the head names": (
        Patch("engine.delivery:_refused", "            await ending.follow(engine, head)", "            pass"),
    ),
    # Not in the table: decision 012 adds it.
    "the run that goes on is there before the head names it": (
        Patch(
            "engine.turn:Turn._finish",
            "        await succession.create(self.engine, self.head, self.history, self.history.end)\n",
            "        pass\n",
        ),
        Patch(
            "engine.turn:Turn._finish",
            "    self._finishing = True\n",
            "    if isinstance(self.history.end, ev.RunContinued):\n"
            "        await succession.create(self.engine, self.head, self.history, self.history.end)\n"
            "    self._finishing = True\n",
        ),
    ),
    "an attempt is in the log before its body": (
        Patch(
            "engine.turn:Turn._write",
            "    if not await self._commit():",
            "    for event in self.batch:\n        if type(event) is ev.StepStarted:\n"
            "            await self._begin_attempt(event)\n    if not await self._commit():",
        ),
        Patch(
            "engine.turn:Turn._after_commit",
            "        if type(event) is ev.StepStarted:\n            await self._begin_attempt(event)",
            "        pass",
        ),
    ),
}
"""The rows of the table in docs/protocol.md, and two halves of rows that stand in two places."""

BEHIND = {
    "1: the time of an event is never before its predecessor's": (
        Patch(
            "engine.turn_state:TurnState.now",
            "return max(self.engine.world.clock.now(), last)",
            "return self.engine.world.clock.now()",
        ),
    ),
    "2: directly before a body the lease is looked at": (
        Patch("engine.turn:Turn._begin_attempt", "await self.hold.ensure()", "pass"),
    ),
    "2: directly before a body the claim is looked at": (
        Patch("engine.step:_run", "if not claim.ensure():", "if False:"),
    ),
    "3: an item whose key is in the log is dropped unread": (
        Patch(
            "engine.inbox:Inbox.read",
            "item.key not in turn.history.admitted and item.key not in seen",
            "item.key not in seen",
        ),
    ),
    "3: only what a committed batch admitted is deleted": (
        Patch(
            "engine.inbox:Inbox.read",
            "    self.unread = False\n",
            "    self.unread = False\n    await turn.engine.world.runs.drop_items(*turn.key, [item.key for item in items])\n",
        ),
    ),
    "4: a step is in the log before its message is sent": (
        Patch(
            "engine.turn:Turn._write",
            "    if not await self._commit():",
            "    queued = [event for event in self.batch if type(event) is ev.StepCreated and event.queued]\n"
            "    if queued:\n"
            "        await self.engine.world.queue.send([(await step_message(self, event), 0.0) for event in queued])\n"
            "    if not await self._commit():",
        ),
    ),
    "5: an attempt that an earlier lease began was interrupted": (
        Patch("engine.inline:InlineSteps.interrupted", "if state.open and", "if False and"),
    ),
    "5: a step without retries is never begun twice": (
        Patch("engine.inline:InlineSteps._interrupt", "step.options.max_retries == 0", "False"),
    ),
    "5: interrupted steps run one at a time": (
        Patch("engine.inline:InlineSteps._interrupt", "    self._suspects.add(id)\n", ""),
    ),
    "5: of several interrupted steps none is charged before the fifth time": (
        Patch(
            "engine.inline:InlineSteps._interrupt",
            "charged = alone or state.interruptions >= INTERRUPTIONS_UNCHARGED",
            "charged = True",
        ),
    ),
    "7: too many stalls end the run": (
        Patch("engine.turn:Turn._too_many_stalls", "self.hold.head.stalls > MAX_STALLS", "False"),
    ),
    "7: stalls begin anew when the log has grown": (
        Patch("engine.leasing:LeaseHold.note_growth", "head.stalls > 1 and", "False and"),
    ),
    "7: an outage of the world takes its stall back": (
        Patch("engine.leasing:LeaseHold.postpone", "stalls=max(0, self.head.stalls - 1)", "stalls=self.head.stalls"),
    ),
    "6: an end that is announced while its watcher looks makes it look again": (
        Patch(
            "engine.operations:Operations._run",
            "            self._again.discard(event.id)  # it may have looked just before, and nobody will tell it once more",
            "            break",
        ),
    ),
    "9: the first end of a step stands": (
        Patch(f"{_STORE}.end_step", "        if item.end is not None:\n            return item.end == end\n", ""),
    ),
    "9: a live claim is respected": (
        Patch(f"{_STORE}.claim_step", "item.end is not None or live or", "item.end is not None or"),
    ),
}
"""What the protocol stands on."""

TOKENS = {
    "tokens are claimed before anything that follows is announced or begun": (
        Patch(
            "engine.turn:Turn._after_commit",
            "await tokens.settle(self, batch, everything=everything or self.unclean)",
            "pass",
        ),
        Patch(
            "engine.turn:Turn._after_commit",
            "            await self._begin_attempt(event)",
            "            await self._begin_attempt(event)\n"
            "    await tokens.settle(self, batch, everything=everything or self.unclean)",
        ),
    ),
    "an unclean turn claims and frees again": (
        Patch("engine.turn:Turn._after_commit", "everything=everything or self.unclean", "everything=False"),
    ),
    "a token is taken over from nobody who is alive": (
        Patch("engine.tokens:_left_by", "return [] if await _is_disposed(world, token) else None", "return []"),
    ),
    # An end frees its tokens, so that nobody meets one but after a late claim: both are left out.
    "a token whose owner has ended is free": (
        Patch("engine.tokens:_left_by", "if head is None or head.ended:", "if head is None:"),
        Patch("engine.tokens:free", "if isinstance(history.end, ev.RunContinued):", "if True:"),
    ),
    # Whoever finds such a token taken reads whether its hook was disposed of: both are left out.
    "a token is free when its hook is disposed of": (
        Patch("engine.tokens:settle", "    if gone:\n", "    if False:\n"),
        Patch("engine.tokens:_left_by", "return [] if await _is_disposed(world, token) else None", "return None"),
    ),
    "an unclean turn frees again what was disposed of": (
        Patch("engine.tokens:settle", "gone = list(history.disposed.values())", "gone = []"),
        Patch("engine.tokens:_left_by", "return [] if await _is_disposed(world, token) else None", "return None"),
    ),
    "the runs that go on for a run keep its tokens": (
        Patch("engine.tokens:free", "if isinstance(history.end, ev.RunContinued):", "if False:"),
    ),
    "payloads come over before a token does": (
        Patch(
            "engine.tokens:_come_over",
            "    await passing.pass_on_to_the_last(world, turn.engine.keys, first)\n",
            "",
        ),
    ),
    "a token comes over only when the heads say for whom": (
        Patch("engine.tokens:_left_by", "        raise WorldUnavailableError(", "        return []\n        raise ("),
    ),
    "who has put a payload looks whether the run has gone on": (
        Patch("engine.resuming:resume", "    await _pass_on(world, keys, found.head.run_id)\n", ""),
    ),
    "payloads that a body has not taken go to the next run": (
        Patch("engine.passing:_left_in", "end.unread if isinstance(end, ev.RunContinued) else []", "[]"),
    ),
    "payloads that a run has not admitted go to the next run": (
        Patch("engine.passing:_left_in", "if item.key not in received:", "if False:"),
    ),
    "what a run has received goes no further": (
        Patch("engine.passing:_left_in", "if item.key not in received:", "if True:"),
    ),
    "a key that an earlier run has received delivers nothing": (
        Patch("engine.resuming:resume", "tokens.mark_of(name) in found.data.delivered", "False"),
    ),
    "a key that a run between the token's and the last has received delivers nothing": (
        Patch("engine.resuming:resume", "await _received_before(world, found, name)", "False"),
    ),
    "payloads that came before their hook are looked at when it is there": (
        Patch("engine.tokens:settle", "turn.inbox.unread = True", "pass"),
    ),
    "of several hooks of a run on one token the oldest receives": (
        Patch(
            "engine.history:History.receiver_of",
            "next((id for id in live if id not in gone), live[-1] if live else None)",
            "live[-1] if live else None",
        ),
    ),
    "several hooks of a run claim one token one after the other": (
        Patch(
            "engine.tokens:_claim_all",
            "for event in hooks\n        if (owner := await claim_of(turn, event)) is not None",
            "for event, owner in zip(hooks, await asyncio.gather(*(claim_of(turn, event) for event in hooks)))\n"
            "        if owner is not None",
        ),
    ),
    "what a body sends is noted before it is put": (
        Patch(
            "engine.operations:_resume",
            "if await world.runs.step(me.run_id, me.birth, note) is None:",
            "if True:",
        ),
    ),
}
"""docs/protocol.md, "Tokens", and what the modules that keep to it say besides."""

STREAMS = {
    "a step is recorded when its chunks are durable": (
        Patch("engine.attempt:Attempt._run", "await self.context.streams.drain()", "pass"),
    ),
    "who is refused an ordinal goes behind what lies there": (
        Patch(
            "engine.appender:Appender._go_behind",
            "self._at = ordinal + 1, there.next",
            "self._at = ordinal + 1, there.first",
        ),
    ),
    "an object whose answer was lost is not written again": (
        Patch(f"{_STORE}.put", "return None if there == data else there", "return there"),
    ),
    "a store that fails a writer or a reader is asked again": (
        Patch("engine.patience:patiently", "if waited >= PATIENCE:", "if True:"),
    ),
    "a producer is recorded when its first mark is durable": (
        Patch("engine.producing:begin", "    await mark.put()\n", ""),
    ),
    "a producer marks its stream again and again": (Patch("engine.producing:Mark._go_on", "await self.put()", "pass"),),
    "a producer is recorded before it produces": (
        Patch(
            "engine.step:_produce",
            "    result = encode_result(",
            "    await producing.fill(engine, delivery, upload, context, produced)\n    result = encode_result(",
        ),
    ),
    "of a producer that was recorded nobody begins another": (
        Patch(
            "engine.step:_produce",
            "        return await _is_over(engine, message, item)",
            "        pass",
        ),
    ),
    "the end of a run closes its streams": (
        Patch("engine.ending:follow", "    await streaming.close_all(engine.world, head, items)\n", ""),
    ),
    "a stream whose run ends before its producer is cut off": (
        Patch(
            "engine.streaming:Place.end_with_run",
            '"cut" if self.stream.startswith(OF_A_VALUE) else "closed"',
            '"closed"',
        ),
    ),
    "with `resume` what the step has written is left out": (
        Patch("engine.appender:Appender._find_place", "self._written = self._to_skip =", "self._written ="),
    ),
    "with `resume` it is left out beside an attempt that was given up as well": (
        Patch("engine.appender:Appender._without", "return group[max(0, ahead) :]", "return group"),
    ),
    "a reader that comes back begins at its index": (
        Patch("engine.follower:Follower._chunks", "if index >= self.index", "if index >= 0"),
    ),
}
"""docs/streams.md and decision 015, and what the modules about streams say besides."""

MUTATIONS = [Mutation(rule, patches) for rule, patches in (PROTOCOL | BEHIND | TOKENS | STREAMS).items()]
