"""The handler: which events it answers, what becomes of each message of a batch, and what it asks for in which order."""

import asyncio
import functools
import json
import logging
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.aws.invoking import Hands, Played, played_at
from wdk_aws import events, messages
from wdk_aws.handler import lambda_handler
from wdk_aws.mapping import Context
from wdk_aws.serving import MARGIN
from wdk_cloud import (
    IdempotencyConflictError,
    WorkflowNotRegisteredError,
    Workflows,
    WorldConfigurationError,
    get_run,
    sleep,
    start,
)
from wdk_cloud.world.records import Message

SAMPLES: dict[str, dict[str, Any]] = {
    "messages": {
        "Records": [{"eventSource": "aws:sqs", "messageId": "m", "receiptHandle": "r", "body": "none of ours"}]
    },
    "http": {
        "version": "2.0",
        "rawPath": "/.well-known/workflow/v1/health",
        "requestContext": {"http": {"method": "GET"}},
    },
    "start": {"start": {"workflow": "unheard of"}},
    "tick": {"tick": {}},
    "sweep": {"sweep": {}},
    "doctor": {"doctor": True},
}

ROLES = {
    "all": {"messages", "http", "start", "tick", "sweep", "doctor"},
    "worker": {"messages", "http", "start", "tick", "sweep", "doctor"},
    "receiver": {"http", "doctor"},
}


def greeting() -> Workflows:
    app = Workflows()

    @app.workflow(name="greet")
    async def greet(name: str) -> str:
        return f"hello {name}"

    return app


@pytest.fixture
def played(dynoxide: str) -> Played:
    return functools.partial(played_at, dynoxide)


# -- events and roles -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("kind", SAMPLES)
def test_each_role_answers_its_events_and_no_others(
    played: Played, role: str, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WDK_ROLE", role)

    async def scenario(hands: Hands) -> str:
        try:
            await hands.invoke(SAMPLES[kind])
        except WorldConfigurationError as error:
            assert str(error).startswith(f"an event of the kind '{kind}' has come to a function with WDK_ROLE={role},")
            return "refused"
        except WorkflowNotRegisteredError:
            assert kind == "start"
        return "answered"

    assert played(scenario, greeting()) == ("answered" if kind in ROLES[role] else "refused")


def test_the_table_of_roles_names_every_kind() -> None:
    assert {role: set(kinds) for role, kinds in events.ANSWERED.items()} == ROLES
    assert {events.kind_of(event) for event in SAMPLES.values()} == set(SAMPLES)


@pytest.mark.parametrize(
    "event", [{}, {"password": "secret"}, {"Records": [{"eventSource": "aws:s3", "s3": "secret"}]}]
)
def test_an_event_of_nobody_is_refused_without_its_content(played: Played, event: dict[str, Any]) -> None:
    async def scenario(hands: Hands) -> None:
        with pytest.raises(ValueError, match="this event is not understood") as caught:
            await hands.invoke(event)
        assert "secret" not in str(caught.value)

    played(scenario, greeting())


def test_a_role_that_is_not_known_fails_each_event(played: Played, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WDK_ROLE", "sender")

    async def scenario(hands: Hands) -> None:
        for _ in range(2):
            with pytest.raises(WorldConfigurationError, match="WDK_ROLE='sender' is not known"):
                await hands.invoke(SAMPLES["sweep"])

    played(scenario, greeting())


# -- batches ----------------------------------------------------------------------------------------------------------


def test_of_a_batch_each_message_comes_back_or_not_by_itself(played: Played, caplog: pytest.LogCaptureFixture) -> None:
    async def scenario(hands: Hands) -> None:
        app = hands.instance.engines.apps()[0]
        good, bad = [await start(app.workflows["greet"], name) for name in ("a", "b")]
        records = hands.received("wdk-flow")
        foreign = {**records[0], "messageId": "foreign", "body": '{"card": "4000 0000"}'}
        runs = hands.env.world.runs
        acquire = runs.acquire

        async def failing(run_id: str, *rest: Any, **more: Any) -> Any:
            if run_id == bad.run_id:
                raise RuntimeError("a bug")
            return await acquire(run_id, *rest, **more)

        runs.acquire = failing  # type: ignore[method-assign]
        answer = await hands.invoke({"Records": [records[0], foreign, records[1]]})
        runs.acquire = acquire  # type: ignore[method-assign]
        assert answer == {"batchItemFailures": [{"itemIdentifier": records[1]["messageId"]}]}
        assert (await good.status(), await bad.status()) == ("completed", "pending")
        assert hands.telemetry.counts == {"ForeignMessages": 1, "ReturnedMessages": 1}
        # It is visible again after a second, not after the minute for which it was hidden.
        hands.env.clock.advance_to(hands.env.clock.now() + 1)
        (again,) = [record for record in hands.received("wdk-flow") if record["messageId"] == records[1]["messageId"]]
        assert again["attributes"]["ApproximateReceiveCount"] == "2"

    played(scenario, greeting())
    told = {(record.levelname, record.getMessage().partition(":")[0]) for record in caplog.records}
    assert any(level == "ERROR" and text.startswith("run wrun_") for level, text in told)
    assert (
        "message foreign of arn:aws:sqs:eu-central-1:123456789012:wdk-flow is none of ours and is dropped"
        in caplog.text
    )
    assert "4000" not in caplog.text


def test_the_messages_of_a_batch_are_worked_on_side_by_side(played: Played) -> None:
    app = Workflows()
    met = 0

    @app.workflow(name="meet")
    async def meet() -> None:
        await wait()

    @app.step
    async def wait() -> None:
        nonlocal met
        met += 1
        while met < 2:
            await asyncio.sleep(0)

    async def scenario(hands: Hands) -> list[str]:
        runs = [await start(meet) for _ in range(2)]
        async with asyncio.timeout(10):
            answer = await hands.invoke({"Records": hands.received("wdk-flow")})
        assert answer == {"batchItemFailures": []}
        return [await run.status() for run in runs]

    assert played(scenario, app) == ["completed", "completed"]


def test_the_messages_time_out_is_shortened_before_code_is_imported(
    played: Played, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "shortened_app.py").write_text(
        "from wdk_cloud import Workflows\nfrom tests.aws.test_handler import asked\n"
        "asked.append('import')\napp = Workflows()\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("WDK_APP", "shortened_app:app")
    asked.clear()

    async def scenario(hands: Hands) -> None:
        run = await start(greeting().workflows["greet"], "a")
        (record,) = hands.received("wdk-flow")
        queue = hands.env.stage.timetable.queue("wdk-flow")
        before = queue.show_at

        def show_at(receipt: str, when: float, now: float) -> bool:
            asked.append(("shorten", receipt == record["receiptHandle"], when - now))
            return before(receipt, when, now)

        queue.show_at = show_at  # type: ignore[method-assign]
        await hands.invoke({"Records": [record]})
        assert await run.status() == "running"

    played(scenario, from_environment=True)
    assert asked[:2] == [("shorten", True, 60.0), "import"]


asked: list[Any] = []


def test_a_message_that_was_received_before_is_exchanged(played: Played) -> None:
    async def scenario(hands: Hands) -> None:
        run = await start(hands.instance.engines.apps()[0].workflows["greet"], "a")
        (record,) = hands.received("wdk-flow")
        record["attributes"]["ApproximateReceiveCount"] = "2"
        assert await hands.invoke({"Records": [record]}) == {"batchItemFailures": []}
        assert await run.status() == "pending"
        copies = [messages.decode(body)[1] for body in hands.waiting("wdk-flow")]
        assert len({copy.identity for copy in copies}) == 1
        assert len(copies) == 2, "the copy, and the one that the mapping has yet to delete"

    played(scenario, greeting())


def test_a_delivery_ends_a_margin_before_its_invocation(played: Played) -> None:
    async def scenario(hands: Hands) -> None:
        await hands.instance.prepare()
        monotonic = hands.env.clock.monotonic
        left = hands.instance._time_left(Context(300, monotonic))
        assert (left.deadline, left.limit) == (monotonic() + 300 - MARGIN, 300 - MARGIN)
        assert hands.instance._time_left(Context(3, monotonic)).limit == pytest.approx(2.7)

    played(scenario, greeting())


# -- code that is not here ----------------------------------------------------------------------------------------------


def test_code_that_cannot_be_imported_hands_the_run_on_until_it_can(
    played: Played, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    module = tmp_path / "broken_app.py"
    module.write_text("raise RuntimeError('the database password is missing')\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("WDK_APP", "broken_app:app")
    monkeypatch.setattr(sys, "dont_write_bytecode", True)  # the file changes within a second

    async def scenario(hands: Hands) -> None:
        run = await start(greeting().workflows["greet"], "a")
        assert await hands.invoke({"Records": hands.received("wdk-flow")}) == {"batchItemFailures": []}
        assert await run.status() == "running"
        head = await hands.env.world.runs.head(run.run_id)
        assert head.trouble.count == 1
        assert hands.telemetry.counts == {"MissingCode": 1}
        onward = messages.decode(hands.waiting("wdk-flow")[-1])[1]
        assert onward.kind == "continue"
        module.write_text(
            "from wdk_cloud import Workflows\napp = Workflows()\n"
            "@app.workflow(name='greet')\nasync def greet(name: str) -> str:\n    return f'hello {name}'\n"
        )
        hands.env.clock.advance_to(hands.env.clock.now() + 1)
        (record,) = [r for r in hands.received("wdk-flow") if messages.decode(r["body"])[1].kind == "continue"]
        assert await hands.invoke({"Records": [record]}) == {"batchItemFailures": []}
        assert await run.return_value() == "hello a"

    played(scenario, from_environment=True)
    (imported,) = [r for r in caplog.records if r.getMessage().startswith("the code of WDK_APP cannot be imported")]
    assert imported.exc_info is not None
    assert "the database password is missing" in logging.Formatter().formatException(imported.exc_info)


def test_a_step_whose_code_is_not_here_is_put_off_and_fails_after_a_day(
    played: Played, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = Workflows()

    @app.step(dispatch="queue")
    async def work() -> None: ...

    @app.workflow(name="flow")
    async def flow() -> None:
        await work()

    async def scenario(hands: Hands) -> None:
        await start(flow)
        await hands.invoke({"Records": hands.received("wdk-flow")})
        (record,) = hands.received("wdk-step")
        hands.instance.engines._given = []
        hands.instance.engines._engines.clear()
        assert await hands.invoke({"Records": [record]}) == {"batchItemFailures": []}
        copy = messages.decode(hands.waiting("wdk-step")[-1])[1]
        assert (copy.kind, copy.count) == ("step", 1)
        _, message = messages.decode(record["body"])
        item = await hands.env.world.runs.step(message.run_id, message.birth, message.step_id)
        assert item is None, "nothing was claimed"
        late = Message(**{**{n: getattr(message, n) for n in message.__struct_fields__}, "count": 200})
        await hands.invoke({"Records": [{**record, "body": messages.encode(late, "")}]})
        item = await hands.env.world.runs.step(message.run_id, message.birth, message.step_id)
        assert b"StepNotRegisteredError" in item.end

    played(scenario, app)


@pytest.mark.parametrize("namespace", ["a#b", "Shop", "n" * 33, "../up"])
def test_a_namespace_that_there_cannot_be_is_none_of_ours(
    played: Played, caplog: pytest.LogCaptureFixture, namespace: str
) -> None:
    async def scenario(hands: Hands) -> None:
        run = await start(hands.instance.engines.apps()[0].workflows["greet"], "a")
        (record,) = hands.received("wdk-flow")
        body = json.dumps({**json.loads(record["body"]), "ns": namespace})
        assert await hands.invoke({"Records": [{**record, "body": body}]}) == {"batchItemFailures": []}
        assert (await run.status(), hands.telemetry.counts) == ("pending", {"ForeignMessages": 1})

    played(scenario, greeting())
    assert "is none of ours and is dropped: it is of no namespace that there can be" in caplog.text
    assert namespace not in caplog.text


def test_a_namespace_that_nobody_serves_is_handed_on(played: Played) -> None:
    theirs = Workflows("theirs")

    @theirs.workflow(name="greet")
    async def greet() -> None: ...

    async def scenario(hands: Hands) -> None:
        run = await start(greet)
        assert await hands.invoke({"Records": hands.received("wdk-flow")}) == {"batchItemFailures": []}
        head = await hands.env.world.scoped("theirs").runs.head(run.run_id)
        assert (head.status, head.trouble.count) == ("running", 1)
        assert messages.decode(hands.waiting("wdk-flow")[-1])[0] == "theirs"

    played(scenario, greeting())


# -- dead letters -------------------------------------------------------------------------------------------------------


def test_a_dead_letter_wakes_its_run_and_ends_nothing(played: Played, caplog: pytest.LogCaptureFixture) -> None:
    async def scenario(hands: Hands) -> None:
        run = await start(hands.instance.engines.apps()[0].workflows["greet"], "a")
        (record,) = hands.received("wdk-flow")
        record["eventSourceARN"] += "-dead"
        record["attributes"]["ApproximateReceiveCount"] = "900"
        assert await hands.invoke({"Records": [record]}) == {"batchItemFailures": []}
        assert await run.status() == "pending"
        woken = messages.decode(hands.waiting("wdk-flow")[-1])[1]
        first = messages.decode(record["body"])[1]
        assert (woken.kind, woken.run_id, woken.birth) == ("sweep", run.run_id, first.birth)
        assert woken.identity != first.identity
        assert hands.telemetry.counts == {"DeadLetters": 1}
        await hands.invoke({"Records": hands.received("wdk-flow")})
        assert await run.return_value() == "hello a"

    played(scenario, greeting())
    assert "was a dead letter; the run is woken again" in caplog.text


def test_an_order_of_a_step_among_the_dead_letters_of_runs_is_dropped(played: Played) -> None:
    """Or whoever may send to the queue of flow messages could have steps called by that way."""

    async def scenario(hands: Hands) -> None:
        await start(hands.instance.engines.apps()[0].workflows["greet"], "a")
        (record,) = hands.received("wdk-flow")
        first = messages.decode(record["body"])[1]
        record["body"] = messages.encode(msgspec.structs.replace(first, kind="step", step_id="say#1"), "")
        record["eventSourceARN"] += "-dead"
        assert await hands.invoke({"Records": [record]}) == {"batchItemFailures": []}
        assert (hands.waiting("wdk-step"), hands.telemetry.counts) == ([], {"ForeignMessages": 1})

    played(scenario, greeting())


def test_a_dead_step_message_goes_to_its_queue_again_as_it_is(played: Played) -> None:
    app = Workflows()

    @app.step(dispatch="queue")
    async def work() -> str:
        return "done"

    @app.workflow(name="flow")
    async def flow() -> str:
        return await work()

    async def scenario(hands: Hands) -> None:
        run = await start(flow)
        await hands.invoke({"Records": hands.received("wdk-flow")})
        (record,) = hands.received("wdk-step")
        dead = {**record, "eventSourceARN": record["eventSourceARN"] + "-dead"}
        assert await hands.invoke({"Records": [dead]}) == {"batchItemFailures": []}
        (again,) = hands.received("wdk-step")
        assert again["body"] == record["body"]
        await hands.invoke({"Records": [again]})
        await hands.invoke({"Records": hands.received("wdk-flow")})
        assert await run.return_value() == "done"

    played(scenario, app)


# -- direct invocations -------------------------------------------------------------------------------------------------


def test_a_direct_start_under_one_key_is_one_run_and_another_input_is_a_conflict(played: Played) -> None:
    async def scenario(hands: Hands) -> None:
        order = {"workflow": "greet", "args": ["a"], "idempotency_key": "k", "attributes": {"by": "hand"}}
        first = await hands.invoke({"start": order})
        assert await hands.invoke({"start": order}) == first
        with pytest.raises(IdempotencyConflictError):
            await hands.invoke({"start": {**order, "args": ["b"]}})
        assert (await get_run(first["run_id"]).attributes()) == {"by": "hand"}
        await hands.invoke({"Records": hands.received("wdk-flow")})
        assert await get_run(first["run_id"]).return_value() == "hello a"

    played(scenario, greeting())


@pytest.mark.parametrize(
    ("order", "error", "text"),
    [
        ({"workflow": "greet", "arg": []}, ValueError, "unknown field `arg`"),
        ({"args": []}, ValueError, "missing required field `workflow`"),
        ({"workflow": "greet"}, TypeError, "name"),
        ({"workflow": "greet", "args": ["a"], "run_id": "a/b"}, ValueError, "a run id is 1 to 128"),
        ({"workflow": "nobody"}, WorkflowNotRegisteredError, "cannot run 'nobody'"),
    ],
)
def test_a_direct_start_that_is_wrong_is_told_to_its_caller(
    played: Played, order: Any, error: type[Exception], text: str
) -> None:
    async def scenario(hands: Hands) -> None:
        with pytest.raises(error, match=text):
            await hands.invoke({"start": order})
        assert hands.waiting("wdk-flow") == []

    played(scenario, greeting())


def scheduled() -> Workflows:
    app = Workflows()

    @app.workflow(name="hourly", schedule="every 1 hour")
    async def hourly() -> None: ...

    return app


def test_each_tick_of_a_schedule_starts_one_run_however_often_it_comes(played: Played) -> None:
    async def scenario(hands: Hands) -> None:
        event = {"tick": {"workflow": "hourly", "time": "2026-01-31T12:00:00Z"}}
        assert await hands.invoke(event) == {"tick": 1_769_860_800}
        assert await hands.invoke(event) == {"tick": 1_769_860_800}
        # A schedule of the cloud that ticks at another minute has the tick before it.
        late = {"tick": {"workflow": "hourly", "time": "2026-01-31T12:59:00Z"}}
        assert await hands.invoke(late) == {"tick": 1_769_860_800}
        # One that comes more often than ours asks for the tick of its own time, or for none.
        for time, tick in (("13:00:59", 1_769_864_400), ("13:01:00", None), ("13:59:00", None)):
            exact = {"tick": {"workflow": "hourly", "time": f"2026-01-31T{time}Z", "exact": True}}
            assert await hands.invoke(exact) == {"tick": tick}
        page = await hands.env.world.runs.list_heads(events_of_all)
        keys = {head.idempotency_key for head in page.heads}
        assert keys == {"2026-01-31T12:00:00Z", "2026-01-31T13:00:00Z"} and len(page.heads) == 2

    from wdk_cloud.world.records import RunQuery

    events_of_all = RunQuery()
    played(scenario, scheduled())


def test_one_rule_of_each_minute_makes_up_for_the_last_tick_of_all_schedules(played: Played) -> None:
    from wdk_cloud.world.records import RunQuery

    async def scenario(hands: Hands) -> None:
        keys = []
        for minutes in (0, 1, 60, 1, 180):
            hands.env.clock.advance_to(hands.env.clock.now() + minutes * 60)
            assert await hands.invoke({"tick": {}}) == {"schedules": 1, "failed": []}
            page = await hands.env.world.runs.list_heads(RunQuery())
            keys.append(sorted(head.idempotency_key or "" for head in page.heads))
        one, four = "2026-01-01T01:00:00Z", "2026-01-01T04:00:00Z"
        assert keys == [[], [], [one], [one], [one, four]]

    played(scenario, scheduled())


@pytest.mark.parametrize("time", ["yesterday", "2026-01-31T12:00:00", 7])
def test_a_tick_at_no_time_is_told(played: Played, time: Any) -> None:
    async def scenario(hands: Hands) -> None:
        with pytest.raises(ValueError, match=r"time|wanted here"):
            await hands.invoke({"tick": {"workflow": "hourly", "time": time}})

    played(scenario, scheduled())


def test_the_sweep_wakes_a_run_whose_message_was_lost(played: Played) -> None:
    async def scenario(hands: Hands) -> None:
        run = await start(hands.instance.engines.apps()[0].workflows["greet"], "a")
        hands.env.stage.timetable.queue("wdk-flow").letters.clear()
        assert await hands.invoke({"sweep": {}}) == {"woken": 0}
        hands.env.clock.advance_to(hands.env.clock.now() + 3600)
        assert await hands.invoke({"sweep": {}}) == {"woken": 1}
        assert hands.telemetry.counts == {"SweptRuns": 1}
        await hands.invoke({"Records": hands.received("wdk-flow")})
        assert await run.return_value() == "hello a"

    played(scenario, greeting())


# -- the process --------------------------------------------------------------------------------------------------------


def test_importing_the_handler_makes_nothing_and_loads_no_sdk() -> None:
    program = (
        "import sys, wdk_aws.handler\n"
        "print(sorted({name.partition('.')[0] for name in sys.modules} & "
        "{'boto3', 'botocore', 'aws_lambda_powertools', 'starlette', 'opentelemetry', 'httpx'}))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_what_works_on_messages_loads_no_other_world() -> None:
    """Each module more is compiled at each cold start."""
    program = (
        "import sys, wdk_aws.batches, wdk_aws.world, wdk_cloud.engine.delivery\n"
        "print([name for name in sys.modules if name.startswith(('wdk_cloud.world.local', 'wdk_cloud.world.memory'))])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_a_handler_by_hand_takes_only_apps() -> None:
    with pytest.raises(TypeError, match=r"lambda_handler\(\) takes the Workflows to serve"):
        lambda_handler("app")  # type: ignore[arg-type]


def test_log_lines_carry_the_run_and_the_trace_and_metrics_are_written_at_the_end_of_an_event() -> None:
    program = """
import asyncio, json, logging
from wdk_aws.telemetry import Powertools
from wdk_cloud.world.records import Message

telemetry, log = Powertools(), logging.getLogger("wdk_cloud")

async def one(run_id, trace):
    with telemetry.delivery("shop", Message(kind="wake", run_id=run_id, birth="b", identity="i", trace=trace)):
        await asyncio.sleep(0)
        log.warning("at work on %s", run_id)

async def main():
    await asyncio.gather(one("r1", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"), one("r2", None))
    log.warning("over")
    telemetry.count("ForeignMessages", 2)
    telemetry.flush()
    telemetry.flush()

asyncio.run(main())
"""
    environment = {"PATH": "", "POWERTOOLS_SERVICE_NAME": "shop-worker", "PYTHONPATH": ":".join(sys.path)}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, env=environment)
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    traced = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    told = [
        (line.get("message"), line.get("run_id"), line.get("traceparent"), line.get("wdk_namespace")) for line in lines
    ]
    assert told[:3] == [
        ("at work on r1", "r1", traced, "shop"),
        ("at work on r2", "r2", None, "shop"),
        ("over", None, None, None),
    ]
    assert {line["service"] for line in lines[:3]} == {"shop-worker"}
    (metric,) = lines[3:]
    assert metric["ForeignMessages"] == [2.0]
    assert metric["_aws"]["CloudWatchMetrics"][0]["Namespace"] == "wdk-cloud"


def test_a_sleep_goes_through_the_handler_to_its_end(played: Played) -> None:
    app = Workflows()

    @app.workflow(name="nap")
    async def nap() -> str:
        await sleep("5 s")
        return "awake"

    async def scenario(hands: Hands) -> str:
        run = await start(nap)
        await hands.invoke({"Records": hands.received("wdk-flow")})
        assert await run.status() == "running"
        hands.env.clock.advance_to(hands.env.clock.now() + 5)
        await hands.invoke({"Records": hands.received("wdk-flow")})
        return await run.return_value()

    assert played(scenario, app) == "awake"
