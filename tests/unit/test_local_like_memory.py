"""Two implementations of one port: whatever is asked of both, the answers and what lies there are the same."""

import asyncio
import random

import pytest

from wdk_cloud.world.clock import VirtualClock
from wdk_cloud.world.local import LocalWorld
from wdk_cloud.world.memory import MemoryWorld
from wdk_cloud.world.ports import Batch, Head, InboxItem, Labels, RunQuery, Token, Trouble

CALLS = 1_500
NOW = 1_767_225_600.0


def pick(draw):
    """One call of the store: its name, its arguments, its keywords. Few values, so that calls meet each other."""
    run = (draw.choice(("run1", "run2")), draw.choice(("b1", "b1", "b2")))
    identity = draw.choice(("m1", "m2"))
    provider = draw.choice(("1", "11", "2"))
    fence = draw.randrange(5)
    attempt = draw.randrange(4)
    now = NOW + draw.randrange(10)
    until = now + draw.choice((0.5, 2.0, 5.0))
    token = Token(digest="d", run_id=run[0], birth=run[1], hook_id=draw.choice(("h1", "h2")))
    batch = Batch(at=draw.randrange(1, 6), count=1, fence=fence, nonce=draw.choice("xyz"), data=b"d")
    step = (*run, draw.choice(("s1", "s2")))
    claim = {"identity": identity, "provider_id": provider, "now": now, "until": until}
    fields = draw.choice(
        (
            {"holder": None, "last": identity, "armed": draw.choice((None, 5.0)), "length": 3},
            {"stalls": 0, "stalls_length": 2, "dirty": False},
            {"status": "running", "input": None, "last_version": "v2", "wake_by": now},
            {"trouble": draw.choice((None, Trouble(reason="r", since=1.0, count=3))), "until": until},
            *([{"status": "completed", "ended_at": now, "end_at": 3}] if draw.random() < 0.02 else []),
        )
    )
    return draw.choice(
        (
            ("create", (new_head(*run),), {}),
            ("head", run[:1], {}),
            ("acquire", run, {**claim, "due": draw.choice((None, 5.0)), "unclean": draw.random() < 0.2}),
            ("acquire", run, claim),
            ("mark_dirty", run, {"holder": identity, "fence": fence, "due": draw.choice((None, 5.0))}),
            ("retire", (*run, draw.choice((provider, str(draw.randrange(30))))), {}),
            ("renew", run, {"holder": identity, "fence": fence, "until": until}),
            ("change", (*run, fields), {"holder": identity, "fence": fence, "unless_dirty": draw.random() < 0.5}),
            ("change", (*run, fields), {"holder": identity, "fence": fence}),
            ("append", (*run, batch), {}),
            ("read", (*run, draw.randrange(4)), {}),
            ("read_at", (*run, draw.randrange(6)), {}),
            ("put_item", (*run, InboxItem(key=draw.choice("abcd"), kind="k", data=b"d", time=now)), {}),
            ("items", run, {}),
            ("drop_items", (*run, draw.sample("abcd", 2)), {}),
            ("step", step, {}),
            ("claim_step", step, claim),
            ("renew_step", step, {"attempt": attempt, "identity": identity, "until": until}),
            ("retire_step", (*step, provider), {}),
            ("end_step", step, {"attempt": draw.choice((None, attempt, attempt)), "end": draw.choice((b"e", b"f"))}),
            ("retry_step", step, {"attempt": attempt, "identity": identity, "retry_at": now + 1}),
            ("cancel_step", step, {}),
            ("put_labels", (*run, Labels(values={"l": draw.choice("xy")}, position=draw.randrange(1, 9))), {}),
            ("labels", run, {}),
            ("claim_token", (token,), {"instead_of": draw.choice((None, token, TAKEN))}),
            ("token", ("d",), {}),
            ("free_token", (token,), {}),
            ("overdue", (now, 30), {}),
            ("removable", (), {"ended_before": now, "buried_before": now - 5, "limit": 30}),
            *([("erase", ([run],), {})] if draw.random() < 0.05 else []),
            *([("bury", run, {"holder": None, "fence": fence, "now": now})] if draw.random() < 0.1 else []),
            *([("forget", run, {})] if draw.random() < 0.05 else []),
        )
    )


TAKEN = Token(digest="d", run_id="run1", birth="b1", hook_id="h1")


UNORDERED = ("overdue", "items")  # where they do not differ in what the order is by


def new_head(run_id, birth):
    return Head(
        run_id=run_id, birth=birth, workflow="w", created_at=NOW, seed=b"s", input_digest="d", input=b"i", armed=5.0
    )


async def answer(world, name, args, keywords):
    found = getattr(world.runs, name)(*args, **keywords)
    return found if name in ("renew", "renew_step") else await found


async def compare(path, seed):
    draw = random.Random(seed)
    clock = VirtualClock(NOW)
    memory, local = MemoryWorld(clock), LocalWorld(path, clock=clock)
    await local.open()
    try:
        for _ in range(CALLS):
            call = pick(draw)
            expected, found = await answer(memory, *call), await answer(local, *call)
            if call[0] in UNORDERED:
                found, expected = sorted(found, key=repr), sorted(expected, key=repr)
            assert found == expected, call
    finally:
        await local.close()


@pytest.mark.parametrize("seed", range(6))
def test_random_calls_are_answered_as_by_the_memory_world(tmp_path, seed):
    asyncio.run(compare(tmp_path / "local.db", seed))


def test_pages_of_a_listing_are_those_of_the_memory_world(tmp_path):
    draw = random.Random(1)
    heads = [
        Head(
            run_id=f"run{n}",
            birth="b",
            workflow=draw.choice("vw"),
            created_at=NOW + draw.randrange(5),
            seed=b"",
            input_digest="",
            status=draw.choice(("running", "failed")),
            version=draw.choice(("1", "2")),
        )
        for n in range(60)
    ]
    queries = [
        RunQuery(workflow=workflow, status=status, version=version, since=since, until=until, limit=7)
        for workflow in (None, "w")
        for status in (None, "failed")
        for version in (None, "2")
        for since, until in ((None, None), (NOW + 1, NOW + 3))
    ]

    async def pages(world, query):
        found = []
        while True:
            page = await world.runs.list_heads(query)
            found.append(page.heads)
            if page.cursor is None:
                return found
            query = RunQuery(
                workflow=query.workflow,
                status=query.status,
                version=query.version,
                since=query.since,
                until=query.until,
                limit=7,
                cursor=page.cursor,
            )

    async def main():
        memory, local = MemoryWorld(), LocalWorld(tmp_path / "local.db")
        await local.open()
        try:
            for head in heads:
                await memory.runs.create(head)
                await local.runs.create(head)
            for query in queries:
                assert await pages(local, query) == await pages(memory, query)
            with pytest.raises(ValueError, match="is no cursor of a listing of runs"):
                await local.runs.list_heads(RunQuery(cursor="x"))
        finally:
            await local.close()

    asyncio.run(main())
