"""The table of rights is what each kind of process asks for: nothing is called that is not in it, and all of it is."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from dataclasses import replace
from typing import Any

from tests.aws.invoking import TIMEOUT, stage_at
from tests.contract.records import a_head
from tests.scenes import LARGE, PAYLOADS, SETTINGS, app, child, everything, operate, staying, tokens, waiting
from wdk_aws.mapping import Context
from wdk_aws.rights import DONE_WITHOUT, IMPLIED, RIGHTS, Kind, Use
from wdk_aws.serving import Instance, Parts
from wdk_aws.testing.actions import Actions
from wdk_aws.testing.functions import Function
from wdk_aws.testing.stage import Stage
from wdk_aws.world import AwsWorld
from wdk_cloud import (
    Run,
    get_hook_by_token,
    resume_hook,
    start,
)
from wdk_cloud.telemetry import Silent
from wdk_cloud.testing.environment import WorkflowEnv
from wdk_cloud.world.clock import VirtualClock
from wdk_cloud.world.opening import use_world


class Processes:
    """Processes of every kind on one stage, each with clients of its own, whose actions are kept by kind."""

    def __init__(self, stage: Stage, clock: VirtualClock, encrypted: bool) -> None:
        self.stage = stage
        self.clock = clock
        self.settings = stage.begin(clock)
        if encrypted:
            self.settings = replace(self.settings, kms_key_id="alias/wdk")
        self.found: dict[Kind, frozenset[Use]] = dict.fromkeys(RIGHTS, frozenset())
        self.env: WorkflowEnv

    def world(self, actions: Actions) -> AwsWorld:
        session, clients = self.stage.another()
        actions.attach(session)
        return AwsWorld(self.settings, clients=clients, clock=self.clock)

    @contextmanager
    def acting(self, kind: Kind) -> Iterator[AwsWorld]:
        """What is called in this block is called by a fresh process of this kind, which may do what it needs."""
        actions = Actions(self.settings, RIGHTS[kind] | IMPLIED[kind])
        with use_world(world := self.world(actions)):
            yield world
        self.found[kind] |= actions.found

    async def invoke(self, kind: Kind, event: dict[str, Any]) -> Any:
        with self.acting(kind) as world:
            instance = Instance([app], Parts(lambda: world, Silent, SETTINGS))
            try:
                return await instance.handle(event, Context(TIMEOUT, self.clock.monotonic))
            finally:
                instance.close()


@asynccontextmanager
async def processes(dynoxide: str, *, encrypted: bool = True) -> AsyncIterator[Processes]:
    """And a worker, which begins with nothing."""
    clock = VirtualClock()
    found = Processes(stage_at(dynoxide), clock, encrypted)
    actions = Actions(found.settings, RIGHTS["worker"] | IMPLIED["worker"])
    async with AsyncExitStack() as stack:
        stack.callback(found.stage.end)
        worker = Function(found.world(actions), found.stage.timetable, [app], SETTINGS)
        await worker.start()
        stack.push_async_callback(worker.stop)
        found.env = WorkflowEnv(worker.world, clock)
        found.env.workers = [worker]  # type: ignore[list-item]
        yield found
    found.found["worker"] = actions.found


async def to_the_hook(found: Processes, run: Run[Any], token: str) -> None:
    """Up to where the run waits for a payload, over its sleeps."""
    for _ in range(200):
        await found.env.run_until_blocked()
        with suppress(Exception), use_world(found.env.world):
            await get_hook_by_token(token)
            return
        due = found.clock.next_due()
        assert due is not None, await run.status()
        found.clock.advance_to(due)
    raise AssertionError("it does not come there")


async def all_scenes(found: Processes) -> None:
    with found.acting("starter"):
        run = await start(everything.with_options(attributes={"a": "b"}), LARGE)
        waits = await start(waiting)
        await start(child.with_options(delay=2000.0), "small")
        await start(child.with_options(idempotency_key="one"), "small")
        await start(staying, "a token for months", LARGE)
        leaving = await start(staying, "a token for days", LARGE)
    await to_the_hook(found, run, "a token")
    for payload in ("small", LARGE, *[LARGE[:2000]] * (PAYLOADS - 2)):  # so many that the inbox is cleared
        with found.acting("resumer"):
            await resume_hook("a token", payload)
        await found.env.run_until_blocked()
    assert await called(found, LARGE) == 201
    assert await called(found, "nobody answers") == 502
    await operate(lambda: found.acting("operator"), found.env.run_until_blocked, run, waits)
    # A worker that is late: its run is deleted.
    head = await found.env.world.runs.head(run.run_id)
    assert head is not None
    await found.env.world.blobs.put_blob(head.run_id, head.birth, "late", b"")
    # A run whose deletion died when it had begun, one whose message was lost, and one that lives for long.
    runs = found.env.world.runs
    head = await runs.head(leaving.run_id)
    assert head is not None
    await runs.bury(head.run_id, head.birth, holder=None, fence=head.fence, now=found.clock.now())
    await runs.create(a_head(run_id="lost", workflow=child.id, wake_by=found.clock.now() + 60))
    for woken in (1, 0):
        found.clock.advance_to(found.clock.now() + 45 * 86_400)
        assert await found.invoke("sweeper", {"sweep": {}}) == {"woken": woken}
        await found.env.run_until_blocked()


async def called(found: Processes, body: str) -> int:
    """The status that a caller of the webhook gets."""
    await found.env.run_until_blocked()
    event = {
        "version": "2.0",
        "rawPath": f"/.well-known/workflow/v1/webhook/{tokens.pop()}",
        "headers": {"content-type": "text/plain"},
        "requestContext": {"http": {"method": "POST"}},
        "body": body,
    }
    answer = asyncio.create_task(found.invoke("receiver", event))
    while not answer.done():
        await found.env.run_until_blocked()
        await asyncio.sleep(0.01)  # the caller waits in real time
    return (await answer)["statusCode"]


def test_each_kind_of_process_asks_for_what_the_table_says_and_for_all_of_it(
    dynoxide: str,
) -> None:
    async def main() -> None:
        async with processes(dynoxide) as found:
            await all_scenes(found)
        for kind, uses in found.found.items():
            assert sorted(uses) == sorted(RIGHTS[kind] | DONE_WITHOUT[kind]), kind

    asyncio.run(main())


def test_a_client_with_small_values_and_without_encryption_asks_for_next_to_nothing(dynoxide: str) -> None:
    async def main() -> None:
        async with processes(dynoxide, encrypted=False) as found:
            with found.acting("starter"):
                run = await start(waiting)
            await to_the_hook(found, run, "another token")
            with found.acting("resumer"):
                await resume_hook("another token", "small")
            await found.env.run_until_blocked()
        assert {use.action for use in found.found["starter"]} == {"dynamodb:PutItem", "sqs:SendMessage"}
        assert {use.action for use in found.found["resumer"]} == {
            "dynamodb:GetItem",
            "dynamodb:PutItem",
            "sqs:SendMessage",
        }

    asyncio.run(main())
