"""What a world has granted to its workers, as its answers say: claims of steps, leases of runs, and tokens."""

from __future__ import annotations

from typing import Any

from tests.faults import Call
from wdk_cloud.context import step_id
from wdk_cloud.engine import events as ev
from wdk_cloud.world.ports import Lease, Token


class Claims:
    """Of the steps that run elsewhere, as the calls that a world has granted say."""

    def __init__(self) -> None:
        self._until: dict[tuple[str, str], float] = {}
        self.taken_alive: list[str] = []
        """Claims that were over for nobody's clock when another worker took the step over."""

    def note(self, call: Call, answer: Any) -> None:
        match call.method, answer:
            case "claim_step", (True, item):
                key = (call.args[0], item.step_id)
                if self._until.get(key, 0.0) > call.kwargs["now"]:
                    self.taken_alive.append(f"{item.step_id} of {call.args[0]}, attempt {item.attempt}")
                self._until[key] = call.kwargs["until"]
            case "renew_step", item if item is not None:
                self._until[call.args[0], call.args[2]] = call.kwargs["until"]
            case (("end_step" | "retry_step"), True):
                self._until.pop((call.args[0], call.args[2]), None)
            case _:
                pass


class Leases:
    """Of the runs. A worker whose clock is ahead takes a run over before the lease is over for its holder; that one may
    be about to begin a body, and cannot know."""

    def __init__(self) -> None:
        self._held: dict[str, tuple[int, float, float]] = {}
        """The fence, until when, and by how much the clock of the holder is ahead."""
        self._early: set[tuple[str, int]] = set()
        self._begun: dict[tuple[str, int], tuple[str, int]] = {}
        """Under which lease each attempt came into the log."""

    def note(self, call: Call, answer: Any, now: float) -> None:
        match call.method, answer:
            case "acquire", Lease(head=head):
                fence, until, ahead = self._held.get(head.run_id, (0, 0.0, 0.0))
                if now + ahead < until:
                    self._early.add((head.run_id, fence))
                self._held[head.run_id] = head.fence, head.until, call.kwargs["now"] - now
            case "renew", head if head is not None:
                fence, _, ahead = self._held[head.run_id]
                self._held[head.run_id] = fence, head.until, ahead
            case "change", (True, head) if head is not None and head.holder is None:
                self._held.pop(head.run_id, None)
            case "append", None:
                run_id, _, batch = call.args
                for event in ev.decode_batch(batch.data, run_id, batch.at).events:
                    if type(event) is ev.StepStarted:
                        self._begun[step_id(run_id, event.id), event.attempt] = run_id, batch.fence
            case _:
                pass

    def taken_early(self) -> set[tuple[str, int]]:
        """The attempts that began under leases which others took over too soon."""
        return {attempt for attempt, lease in self._begun.items() if lease in self._early}


class Tokens:
    """Of hooks. Nobody takes one over while the hook that has it may receive what is not for the taker."""

    def __init__(self) -> None:
        self._over: dict[str, str | None] = {}
        """The runs whose heads say that they have ended, and which go on for them."""
        self._disposed: set[tuple[str, str]] = set()
        self.taken_alive: list[str] = []

    def note(self, call: Call, answer: Any) -> None:
        match call.method, answer:
            case "change", (True, head) if head is not None and head.ended:
                self._over[head.run_id] = head.continued_to
            case "append", None:
                run_id, _, batch = call.args
                for event in ev.decode_batch(batch.data, run_id, batch.at).events:
                    if type(event) is ev.HookDisposed:
                        self._disposed.add((run_id, event.id))
            case "claim_token", None:
                token, seen = call.args[0], call.kwargs.get("instead_of")
                if seen is not None and seen.run_id != token.run_id and not self._may_take(token, seen):
                    self.taken_alive.append(f"{seen.hook_id} of {seen.run_id}, by {token.run_id}")
            case _:
                pass

    def _may_take(self, token: Token, seen: Token) -> bool:
        if (seen.run_id, seen.hook_id) in self._disposed:
            return True
        following: str | None = seen.run_id
        while following is not None and following != token.run_id:
            if following not in self._over:
                return False
            following = self._over[following]
        return True
