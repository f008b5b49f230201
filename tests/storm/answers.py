"""What goes wrong between an instance of the service and Google Cloud: faults at single requests, below the ports.

Drawn by the servers when a request comes. So the repeats of Google's libraries are real ones, of the same request, and
a call that makes several may end between any two of them.
"""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from google.api_core.retry import retry_streaming, retry_unary

from tests.faults import Dead
from wdk_gcp import database
from wdk_gcp.settings import GcpSettings
from wdk_gcp.testing.mischief import Mischief
from wdk_gcp.testing.stage import InlineClients

if TYPE_CHECKING:
    from tests.faults import Life
    from tests.storm.faults import StormLife
    from wdk_gcp.clients import Clients
    from wdk_gcp.testing.mischief import Fault

P = ParamSpec("P")
T = TypeVar("T")

KINDS: dict[str, int] = {
    "die before": 2,
    "die after": 4,
    "lost": 8,
    "throttled": 3,
    "unavailable": 2,
    "aborted": 3,
}
"""Each with how often it is drawn. What is `lost` the libraries ask again."""

SLOW = {"slow before": 0.3, "slow after": 0.3}
"""Chances that a call takes its time where one is struck."""

DEADLY = frozenset(("die before", "die after"))


@dataclass(frozen=True)
class Struck:
    """One fault: at which of the requests of all instances, what."""

    number: int
    operation: str
    kind: str


class Requests(Mischief):
    """What the servers of a stage ask about each request. Those of whoever is no instance go well."""

    def __init__(self) -> None:
        super().__init__()
        self.line: Line | None = None
        """That of the execution which is carried out now."""
        self.asking: Life | None = None
        """Whose request it is."""
        self.dying = False
        """It has met its death; nothing of it is answered any more."""

    def draw(self, call: str, among: tuple[Fault, ...]) -> Fault | None:
        if self.asking is None or self.line is None:
            return None
        if self.dying:
            return "unavailable"
        kind = self.line.at(call, among)
        self.dying = kind in DEADLY
        match kind:
            case "die before":
                return "unavailable"
            case "die after":
                return "lost"
            case _:
                return kind

    def pause(self, _: float) -> None:
        """In the place of the libraries' pauses between repeats: whoever is dying makes none."""
        if self.dying and self.asking is not None:
            self.asking.end()


class Line:
    """Between all instances of one execution and Google Cloud: how often it fails, and how often it still may."""

    def __init__(self, rate: float = 0.0, left: int = 0, seed: object = 0) -> None:
        self.rate = rate
        self.left = left
        self.struck: list[Struck] = []
        self.counts: Counter[str] = Counter()
        self._rng = random.Random(seed)  # type: ignore[arg-type]
        self._number = 0

    @classmethod
    def drawn(cls, seed: int) -> Line:
        rng = random.Random(f"line {seed}")
        return cls(rng.choice((0.0, 0.01, 0.03, 0.1)), rng.choice((2, 6, 15)), f"answers {seed}")

    @property
    def has_killed(self) -> bool:
        return any(self.counts[kind] for kind in DEADLY)

    @property
    def harms_producers(self) -> bool:
        return self.has_killed or any(self.counts[kind] for kind in SLOW)

    def at(self, operation: str, among: tuple[Fault, ...]) -> Any:
        """The kind of fault that this request meets, if any."""
        self._number += 1
        if self.left <= 0 or self._rng.random() >= self.rate:
            return None
        kind = self._rng.choices(list(KINDS), list(KINDS.values()))[0]
        if kind not in DEADLY and kind not in among:
            return None
        self._strike(operation, kind)
        return kind

    def slowed(self, operation: str) -> tuple[str, float]:
        """When a call takes its time, and how many seconds."""
        if self.left <= 0 or self._rng.random() >= self.rate:
            return "", 0.0
        kind = next((kind for kind, chance in SLOW.items() if self._rng.random() < chance), "")
        if kind:
            self._strike(operation, kind)
        return kind, round(self._rng.choice((0.05, 1.0, 5.0, 40.0)) * self._rng.random(), 3)

    def _strike(self, operation: str, kind: str) -> None:
        self.left -= 1
        self.counts[kind] += 1
        self.struck.append(Struck(self._number, operation, kind))


class ClientsOf(InlineClients):
    """Those of one instance: the servers know whose requests they are, in the thread of the loop that asks."""

    def __init__(self, clients: Clients, life: Life, requests: Requests) -> None:
        super().__init__(GcpSettings())
        self._life = life
        self._requests = requests
        for name in ("firestore", "tasks", "storage"):
            self.__dict__[name] = getattr(clients, name)  # before the cached property would make one

    def ask_now(self, setting: str, method: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        life, requests = self._life, self._requests
        if life.dead:
            raise Dead
        requests.asking = life
        try:
            return super().ask_now(setting, method, *args, **kwargs)
        finally:
            dying, requests.asking, requests.dying = requests.dying, None, False
            if dying and not life.dead:
                life.end()


class StormClients(ClientsOf):
    """Those of an instance of the storm, whose calls may take their time."""

    def __init__(self, clients: Clients, life: StormLife, requests: Requests) -> None:
        super().__init__(clients, life, requests)
        self._storm_life = life

    async def ask(self, setting: str, method: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        life = self._storm_life
        if life.suspended:
            await life.resumed()
        line = self._requests.line
        when, seconds = ("", 0.0) if line is None else line.slowed(setting)
        if when == "slow before":
            await life.wait_until(life.later(seconds))
        answer = self.ask_now(setting, method, *args, **kwargs)
        if when == "slow after":
            await life.wait_until(life.later(seconds))
        return answer


@contextmanager
def without_pauses(requests: Requests) -> Iterator[None]:
    """The libraries repeat at once: what they wait for is the machine's time, in which nothing happens here."""
    modules: tuple[Any, ...] = (retry_unary, retry_streaming, database)
    clock = SimpleNamespace(sleep=requests.pause, monotonic=time.monotonic)
    for module in modules:
        module.time = clock
    try:
        yield
    finally:
        for module in modules:
            module.time = time
