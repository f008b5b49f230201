"""What goes wrong between an instance of the function and AWS: faults at single requests, below the calls of a port.

A call of a port is a request or several; one that dies or fails between two of them has done a part of its work.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from botocore.exceptions import ClientError, ConnectTimeoutError, ReadTimeoutError

from wdk_aws.clients import Clients

if TYPE_CHECKING:
    from tests.storm.faults import StormLife

P = ParamSpec("P")
T = TypeVar("T")

KINDS = {
    "die before": 2,
    "die after": 4,
    "repeat": 6,
    "lose the answer": 3,
    "not sent": 2,
    "throttle": 3,
    "internal error": 2,
    "credentials have expired": 1,
    "slow before": 4,
    "slow after": 4,
}
"""Each with how often it is drawn. `repeat`: the answer is lost and the SDK asks again, as it does by itself."""

NOTED = frozenset(("append", "claim_step", "end_step", "retry_step", "change", "free_token", "claim_token"))
"""Calls of ports whose answers the judge goes by. Those it must see: they lose theirs above the port (`faults.py`)."""

LOSING = frozenset(("lose the answer",))
DEADLY = frozenset(("die before", "die after"))
SLOW = frozenset(("slow before", "slow after"))

port_call: ContextVar[str] = ContextVar("port_call", default="")
"""The call of a port that a request belongs to."""


@dataclass(frozen=True)
class Struck:
    worker: int
    number: int
    operation: str
    kind: str
    seconds: float


@dataclass
class Line:
    """Between all instances of one execution and AWS: how often it fails, and how often it still may."""

    rate: float = 0.0
    left: int = 0
    rng: random.Random = field(default_factory=lambda: random.Random(0))
    struck: list[Struck] = field(default_factory=list[Struck])
    counts: Counter[str] = field(default_factory=Counter[str])

    @classmethod
    def drawn(cls, seed: int) -> Line:
        rng = random.Random(f"line {seed}")
        return cls(rate=rng.choice((0.0, 0.01, 0.03, 0.1)), left=rng.choice((2, 6, 15)), rng=rng)

    @property
    def has_killed(self) -> bool:
        return any(self.counts[kind] for kind in DEADLY)

    @property
    def harms_producers(self) -> bool:
        return self.has_killed or any(self.counts[kind] for kind in SLOW)

    def at(self, life: StormLife, number: int, operation: str, *, at_once: bool) -> Struck | None:
        if self.left <= 0 or self.rng.random() >= self.rate:
            return None
        kind = self.rng.choices(list(KINDS), list(KINDS.values()))[0]
        if (at_once and kind in SLOW) or (kind in LOSING and port_call.get() in NOTED):
            return None
        self.left -= 1
        self.counts[kind] += 1
        seconds = round(self.rng.choice((0.05, 1.0, 5.0, 40.0)) * self.rng.random(), 3)
        self.struck.append(struck := Struck(life.number, number, operation, kind, seconds))
        return struck


_REFUSALS = {
    "throttle": ("ThrottlingException", 400),
    "internal error": ("InternalServerError", 500),
    "credentials have expired": ("ExpiredTokenException", 400),
}


class ClientsOfOne(Clients):
    """Those of one instance: its requests go through the line, in the thread of the loop that asks."""

    def __init__(self, clients: Clients, life: StormLife, line: Line) -> None:
        super().__init__()
        self._life = life
        self._line = line
        self._number = 0
        for name in ("dynamodb", "sqs", "s3", "scheduler"):
            self.__dict__[name] = getattr(clients, name)  # before the cached property would make one

    async def ask(self, setting: str, method: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        life = self._life
        if life.suspended:
            await life.resumed()
        struck = self._met(method, at_once=False)
        if struck is not None and struck.kind == "slow before":
            await life.wait_until(life.later(struck.seconds))
        answer = self._asked(struck, setting, method, *args, **kwargs)
        if struck is not None and struck.kind == "slow after":
            await life.wait_until(life.later(struck.seconds))
        return answer

    def ask_now(self, setting: str, method: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        return self._asked(self._met(method, at_once=True), setting, method, *args, **kwargs)

    def _met(self, method: Callable[..., Any], *, at_once: bool) -> Struck | None:
        self._life.must_live()
        self._number += 1
        operation: str = getattr(method, "__name__", "get_object")
        return self._line.at(self._life, self._number, operation, at_once=at_once)

    def _asked(
        self, struck: Struck | None, setting: str, method: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs
    ) -> T:
        if struck is None:
            return super().ask_now(setting, method, *args, **kwargs)

        def met() -> T:
            answer = _sent(struck, method, *args, **kwargs)
            if struck.kind == "lose the answer":
                raise ReadTimeoutError(endpoint_url=struck.operation)
            return answer

        if struck.kind == "die before":
            self._life.end()
        try:
            return super().ask_now(setting, met)
        finally:
            if struck.kind == "die after":
                self._life.end()


def _sent(struck: Struck, method: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
    if struck.kind == "not sent":
        raise ConnectTimeoutError(endpoint_url=struck.operation)
    if struck.kind in _REFUSALS:
        code, status = _REFUSALS[struck.kind]
        said: Any = {"Error": {"Code": code}, "ResponseMetadata": {"HTTPStatusCode": status}}
        raise ClientError(said, struck.operation)
    if struck.kind == "repeat":
        with suppress(ClientError):  # an answer as well, and lost
            method(*args, **kwargs)
    return method(*args, **kwargs)
