"""Canonical runs on the AWS world, through the handler, while the instance's requests fail or it dies at one of them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from tests.canonical import Canonical, app, journal
from tests.deaths import Shape, shape_of
from tests.e2e.test_death_at_every_call import judge
from tests.faults import FaultyWorld, Life
from tests.histories import SETTINGS, Play, fixed_draws, watch
from wdk_aws.clients import Clients
from wdk_aws.testing.functions import Function
from wdk_aws.testing.stage import Stage
from wdk_aws.world import AwsWorld
from wdk_cloud.world.clock import VirtualClock
from wdk_cloud.world.opening import use_world

if TYPE_CHECKING:
    from tests.faults import Plan
    from wdk_aws.settings import AwsSettings

P = ParamSpec("P")
T = TypeVar("T")


class ClientsOfALife(Clients):
    """Those of one instance: each request is a call of its life."""

    def __init__(self, clients: Clients, life: Life) -> None:
        super().__init__()
        self._life = life
        for name in ("dynamodb", "sqs", "s3", "scheduler", "kms"):
            self.__dict__[name] = getattr(clients, name)  # before the cached property would make one

    async def ask(self, setting: str, method: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        return self.ask_now(setting, method, *args, **kwargs)

    def ask_now(self, setting: str, method: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        asked: Callable[..., T] = partial(super().ask_now, setting, method)
        answer: T = self._life.call_now(f"{setting}: {_name(method)}", asked, args, kwargs)
        return answer


def _name(method: Callable[..., object]) -> str:
    return getattr(method, "__name__", "")


class AwsPlay(Play):
    """One run of a canonical, while one function after the other is there."""

    def __init__(self, canonical: Canonical, world: AwsWorld, stage: Stage, settings: AwsSettings) -> None:
        super().__init__(canonical, world)
        self.stage = stage
        self.settings = settings

    async def serve(self, life: Life, settings: Any = SETTINGS) -> None:
        await self.serve_with(ClientsOfALife(self.stage.clients, life), life)

    async def serve_with(self, clients: Clients, life: Life) -> None:
        """Until nothing is left to do and no message is on its way, or until this life ends."""
        own = AwsWorld(self.settings, clients=clients, clock=self.clock)
        seen: Any = FaultyWorld(own, Life(None, watch))
        seen.settings, seen.clients, seen.key_service = self.settings, self.stage.clients, own.key_service
        seen.scoped = lambda namespace: seen
        function = Function(seen, self.stage.timetable, [app], SETTINGS)

        def leave_its_messages() -> None:
            for mapping in function._mappings.values():
                mapping.show_again = lambda invocation: None  # nobody is there who could

        life.at_death.append(leave_its_messages)
        await function.start()
        try:
            with use_world(self.world):  # what the test and steps ask by themselves is not the function's
                self.env.workers = [function]
                await self._until_over(life)
            await life.mourn()
        finally:
            await function.stop()


def played(
    stage: Stage,
    canonical: Canonical,
    deaths: Iterable[Plan] = (),
    *,
    clients: Callable[[AwsPlay], Clients] | None = None,
    key: str = "",
) -> tuple[list[Life], Shape]:
    """Play it with one function after the other; each but the last dies. `clients`: those of the last one. `key`: of KMS.

    How their lives went, and the logs that are left.
    """

    async def main() -> tuple[list[Life], Shape]:
        journal.clear()
        clock = VirtualClock()
        settings = replace(stage.begin(clock), kms_key_id=key)
        with ExitStack() as stack:
            stack.callback(stage.end)
            stack.enter_context(fixed_draws())
            world = AwsWorld(settings, clients=stage.clients, clock=clock)
            play = AwsPlay(canonical, world, stage, settings)
            await play.begin()
            lives: list[Life] = []
            for plan in deaths:
                lives.append(Life(plan, watch))
                await play.serve(lives[-1])
            lives.append(Life(None, watch))
            if clients is None:
                await play.serve(lives[-1])
            else:
                await play.serve_with(clients(play), lives[-1])
            await judge(canonical, play, died=len(lives) > 1 or clients is not None)
            assert dead_letters(stage) == []
            return lives, await shape_of(world, canonical.name)

    return asyncio.run(main())


def dead_letters(stage: Stage) -> list[str]:
    queues = stage.timetable.queues
    return [
        letter.body for name, queue in queues.items() if name.endswith("-dead") for letter in queue.letters.values()
    ]
