"""The samples of the original's documentation, as examples/seed has them: each on every world, warm and cold."""

from __future__ import annotations

import asyncio
import gzip
import importlib.util
import random
import re
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

import pytest

from tests.e2e.conftest import WAYS
from tests.e2e.pages import ROOT, environment
from tests.e2e.running import Finished, Play, finish
from wdk_cloud import (
    FatalError,
    ReadableStream,
    Request,
    RetryableError,
    Run,
    StepFailedError,
    StreamError,
    Workflow,
    WorkflowSandboxError,
    resume_webhook,
)
from wdk_cloud.testing import workflow_env
from wdk_cloud.testing.environment import WorkflowEnv
from wdk_cloud.world.clock import VirtualClock
from wdk_cloud.world.local import LocalWorld
from wdk_cloud.world.memory import MemoryWorld
from wdk_cloud.world.ports import World

T = TypeVar("T")

WORLDS: dict[str, Callable[[Path], World]] = {
    "memory": lambda folder: MemoryWorld(VirtualClock()),
    "local": lambda folder: LocalWorld(folder / "wdk.db", clock=VirtualClock()),
}
"""Every one of them is to run the samples: another joins by its line here."""

SAMPLES = ROOT / "examples" / "seed"

PATIENCE = 40
"""Seconds for a program that takes four."""


class Stage:
    """A world, fresh for each scene, and a way to run workflows there."""

    def __init__(self, world: str, way: str, folder: Path) -> None:
        self._make = WORLDS[world]
        self._play = Play(WAYS[way])
        self._folder = folder

    def scene(self, scenario: Callable[[WorkflowEnv], Awaitable[T]], sample: ModuleType) -> T:
        async def main() -> T:
            async with workflow_env(self._make(self._folder), sample.app, settings=self._play.settings) as env:
                return await scenario(env)

        with self._play.staged():
            return asyncio.run(main())

    def __call__(self, workflow: Workflow[..., Any], *args: Any, sample: ModuleType) -> Finished:
        async def scenario(env: WorkflowEnv) -> Finished:
            return await finish(env, await env.start(workflow, *args))

        return self.scene(scenario, sample)


@pytest.fixture(params=[(world, way) for world in WORLDS for way in ("warm", "cold")], ids="-".join)
def stage(request: pytest.FixtureRequest, tmp_path: Path) -> Stage:
    return Stage(*request.param, tmp_path)


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Any]:
    """Import a sample as a process does that has just begun."""

    def loaded(name: str) -> Any:
        spec = importlib.util.spec_from_file_location(name, SAMPLES / f"{name}.py")
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, name, module)
        spec.loader.exec_module(module)
        return module

    return loaded


Load = Callable[[str], Any]
Printed = pytest.CaptureFixture[str]


def lines(printed: Printed) -> list[str]:
    """What the steps have done: they print it."""
    return printed.readouterr().out.splitlines()


async def read(run: Run[Any], namespace: str | None = None, type: Any = None) -> list[Any]:
    return [chunk async for chunk in run.readable(namespace, type=type)]


# -- workflows and steps ---------------------------------------------------------------------------------------------


def test_a_signup_creates_one_user_however_often_the_welcome_is_tried(
    stage: Stage, load: Load, capsys: Printed
) -> None:
    signup = load("signup")
    signup.mail_server.seed("friday")  # busy once, then not
    ended = stage(signup.handle_signup, "ada@example.com", sample=signup)
    assert ended.value["status"] == "onboarded"
    assert re.fullmatch(r"[0-9a-f-]{36}", ended.value["user_id"])
    assert lines(capsys) == [
        "creating a user for ada@example.com",
        "sending a welcome to ada@example.com",
        "sending a welcome to ada@example.com",
        "sending an introduction to ada@example.com",
        "ada@example.com is on board",
    ]
    assert (ended.count("step_retrying"), ended.count("step_completed")) == (1, 3)
    assert ended.times("run_completed") == [5.0]


def test_a_signup_whose_mail_server_stays_busy_fails_after_four_attempts(
    stage: Stage, load: Load, capsys: Printed
) -> None:
    signup = load("signup")
    signup.mail_server.seed(next(seed for seed in range(10_000) if busy_for_four(seed)))
    ended = stage(signup.handle_signup, "ada@example.com", sample=signup)
    assert isinstance(ended.error, StepFailedError)
    assert (ended.error.attempts, str(ended.error.__cause__)) == (4, "the mail server is busy")
    assert lines(capsys).count("sending a welcome to ada@example.com") == 4


def busy_for_four(seed: int) -> bool:
    moods = random.Random(seed)
    return all(moods.random() < 0.3 for _ in range(4))


def test_a_signup_without_an_address_fails_at_its_last_step_and_is_not_tried_again(
    stage: Stage, load: Load, capsys: Printed
) -> None:
    signup = load("signup")
    signup.mail_server.seed("friday")
    ended = stage(signup.handle_signup, "ada", sample=signup)
    assert isinstance(ended.error, FatalError)
    assert str(ended.error) == "ada is not an address"
    assert ended.info.status == "failed"
    assert lines(capsys)[-1] == "sending a welcome to ada"
    assert ended.types[-3:] == ["step_started", "step_failed", "run_failed"]


def test_a_greeting_keeps_the_hour_at_which_its_step_ran(stage: Stage, load: Load, capsys: Printed) -> None:
    greeting = load("greeting")
    before = datetime.now(UTC)
    ended = stage(greeting.greeting, "Ada", sample=greeting)
    message = ended.value["message"]
    assert lines(capsys) == [message]
    assert before <= datetime.fromisoformat(message.removeprefix("Hello Ada at ")) <= datetime.now(UTC)


def test_an_order_is_charged_once_under_the_id_of_its_step(stage: Stage, load: Load, capsys: Printed) -> None:
    order = load("order")
    ended = stage(order.process_order, "o-1", sample=order)
    (charging,) = [event.step_id for event in ended.events if event.step_name == order.charge_payment.id][:1]
    assert ended.value == {"order_id": "o-1", "charge_id": f"charge-{charging}", "status": "completed"}
    assert lines(capsys) == ["charging 49.90 to the token of o-1"]


def test_a_step_is_recorded_in_a_workflow_and_a_plain_function_elsewhere(
    stage: Stage, load: Load, capsys: Printed
) -> None:
    onboarding = load("onboarding")
    ended = stage(onboarding.onboard, "u-1", sample=onboarding)
    assert (ended.value, ended.count("step_completed")) == ("on board", 2)
    assert asyncio.run(onboarding.block("u-1")) == "blocked"  # in no world at all
    assert lines(capsys) == ["u-1 is invited", "u-1 is on board", "u-1 is blocked"]


def test_a_review_waits_a_month_then_for_whoever_presses_the_button(stage: Stage, load: Load, capsys: Printed) -> None:
    review = load("review")

    async def scenario(env: WorkflowEnv) -> Finished:
        run = await env.start(review.review_document, "ada@example.com")
        await env.advance("27 days")
        assert lines(capsys) == []
        await env.advance("4 days")
        (mail,) = lines(capsys)
        assert mail.startswith("to ada@example.com: open this link to accept the document: http")
        url = mail.split()[-1]
        token = url.rpartition("/")[2]
        opened = await resume_webhook(token, Request("GET", url))
        assert (opened.status, opened.text()) == (200, review.PAGE)
        await env.run_until_blocked()
        assert await run.status() == "running"
        assert (await resume_webhook(token, Request("POST", url))).status == 200
        return await finish(env, run)

    ended = stage.scene(scenario, review)
    assert ended.value == "accepted by ada@example.com"
    assert lines(capsys) == ["the document is reviewed"]


# -- streams ---------------------------------------------------------------------------------------------------------


def test_progress_is_read_from_the_beginning_or_from_where_a_reader_was(
    stage: Stage, load: Load, capsys: Printed
) -> None:
    progress = load("progress")

    async def scenario(env: WorkflowEnv) -> Any:
        run = await env.start(progress.make_report)
        watching = asyncio.create_task(progress.watch(run.run_id))
        assert await env.run_to_end(run) == "report.pdf"
        await watching
        for start_index in (1, -1, 3):
            await progress.watch(run.run_id, start_index)
        return await run.stream_info(), await run.list_streams()

    info, streams = stage.scene(scenario, progress)
    messages = ["0: collecting the figures", "1: drawing the charts", "2: done"]
    assert lines(capsys) == [*messages, *messages[1:], *messages[2:]]
    assert (info.tail_index, info.closed, streams) == (2, True, ["default"])


def test_a_body_that_writes_is_refused_and_a_step_that_writes_for_it_is_not(stage: Stage, load: Load) -> None:
    in_steps = load("in_steps")

    async def scenario(env: WorkflowEnv) -> Any:
        wrong = await finish(env, await env.start(in_steps.wrong))
        right = await finish(env, await env.start(in_steps.right))
        return wrong, right, await read(wrong.run), await read(right.run)

    wrong, right, nothing, data = stage.scene(scenario, in_steps)
    assert isinstance(wrong.error, WorkflowSandboxError)
    assert "Do it in a step" in str(wrong.error)
    assert (right.value, nothing, data) == (None, [], ["data"])


def test_each_namespace_is_a_stream_of_its_own_that_is_closed_before_the_run_ends(stage: Stage, load: Load) -> None:
    channels = load("channels")

    async def scenario(env: WorkflowEnv) -> Any:
        run = await env.start(channels.work)
        logs = asyncio.create_task(read(run, "logs", channels.LogEntry))
        metrics = asyncio.create_task(read(run, "metrics", channels.Metric))
        await env.run_to_end(run)
        infos = [await run.stream_info(name) for name in ("logs", "metrics")]
        return await logs, await metrics, infos, await run.list_streams(), await read(run)

    logs, metrics, infos, streams, default = stage.scene(scenario, channels)
    assert logs == [channels.LogEntry("info", "started"), channels.LogEntry("info", "at work")]
    assert metrics == [channels.Metric(45, 512), channels.Metric(52, 520)]
    assert [(info.tail_index, info.closed) for info in infos] == [(1, True), (1, True)]
    assert (streams, default) == (["logs", "metrics"], [])


def test_a_batch_says_how_far_it_is_after_each_item(stage: Stage, load: Load) -> None:
    batch = load("batch")

    async def scenario(env: WorkflowEnv) -> Any:
        run = await env.start(batch.process_batch, ["apples", "pears", "plums"])
        await env.run_until_blocked()
        early = await run.stream_info()
        ended = await finish(env, run)
        return early, ended, await read(run, type=batch.Progress)

    early, ended, chunks = stage.scene(scenario, batch)
    assert (early.tail_index, early.closed) == (0, False)  # the others come when the first pause is over
    assert chunks == [
        batch.Progress("apples", 33, "processed"),
        batch.Progress("pears", 67, "processed"),
        batch.Progress("plums", 100, "processed"),
    ]
    assert (ended.value, ended.count("step_completed"), ended.count("wait_completed")) == (3, 4, 3)
    assert ended.times("run_completed") == [3.0]


def test_a_batch_of_nothing_has_a_stream_that_is_closed_and_empty(stage: Stage, load: Load) -> None:
    batch = load("batch")

    async def scenario(env: WorkflowEnv) -> Any:
        ended = await finish(env, await env.start(batch.process_batch, []))
        return ended.value, await read(ended.run), await ended.run.stream_info()

    assert stage.scene(scenario, batch) == (0, [], (-1, True))


def test_an_upload_reaches_a_step_of_the_run_that_was_started_with_it(stage: Stage, load: Load, tmp_path: Path) -> None:
    upload = load("upload")
    file = tmp_path / "text"
    text = "".join(f"línea {number}\n" for number in range(20_000))  # characters that blocks cut in the middle
    file.write_text(text)

    async def scenario(env: WorkflowEnv) -> Any:
        run = await env.start(upload.process_upload, ReadableStream.from_iterable(upload.blocks(file)))
        await run.uploaded()
        return await env.run_to_end(run)

    assert stage.scene(scenario, upload) == {"length": len(text)}


def test_a_stream_of_one_step_is_consumed_by_another(stage: Stage, load: Load) -> None:
    pipeline = load("pipeline")
    ended = stage(pipeline.run_pipeline, sample=pipeline)
    assert ended.value == {"count": 10, "sum": 45}
    assert ended.count("step_completed") == 2


def test_a_file_is_compressed_block_by_block(stage: Stage, load: Load, tmp_path: Path) -> None:
    files = load("files")
    source, target = tmp_path / "source", tmp_path / "target.gz"
    content = random.Random(7).randbytes(5 * files.BLOCK // 2)
    source.write_bytes(content)
    ended = stage(files.process_file, source, target, sample=files)
    assert gzip.decompress(target.read_bytes()) == content
    assert ended.value == target.stat().st_size
    assert ended.count("step_completed") == 3


def test_who_consumes_a_stream_that_breaks_off_gets_what_came_before_and_decides(
    stage: Stage, load: Load, capsys: Printed
) -> None:
    broken_stream = load("broken_stream")
    ended = stage(broken_stream.read_to_the_end, sample=broken_stream)
    assert isinstance(ended.error, FatalError)
    assert str(ended.error) == "the stream broke off"
    assert isinstance(ended.error.__cause__, StreamError)
    assert "its producer failed with RuntimeError: the source is gone" in str(ended.error.__cause__)
    assert isinstance(ended.error.__cause__.__cause__, RuntimeError)
    assert lines(capsys) == ["1", "2"]
    assert (ended.count("step_retrying"), ended.count("step_completed"), ended.count("step_failed")) == (0, 1, 1)


# -- errors ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("workflow", "endpoint", "statuses", "outcome", "seconds"),
    [
        ("call_insistently", "/steady", [200], 200, 0),
        ("call_insistently", "/flaky", [500, 500, 200], 200, 0),
        ("call_insistently", "/down", [500] * 6, StepFailedError, 0),
        ("call_reasonably", "/flaky", [500, 500, 200], 200, 0),
        ("call_reasonably", "/down", [500] * 4, StepFailedError, 0),
        ("call_reasonably", "/missing", [404], FatalError, 0),
        ("call_politely", "/flaky", [500, 500, 200], 200, 0),
        ("call_politely", "/missing", [404], FatalError, 0),
        ("call_politely", "/busy", [429, 200], 200, 60),
        ("call_once", "/steady", [200], 200, 0),
        ("call_once", "/down", [500], StepFailedError, 0),
    ],
)
def test_a_step_is_tried_again_at_once_or_later_or_never(
    stage: Stage,
    load: Load,
    capsys: Printed,
    workflow: str,
    endpoint: str,
    statuses: list[int],
    outcome: Any,
    seconds: float,
) -> None:
    retries = load("retries")
    ended = stage(getattr(retries, workflow), endpoint, sample=retries)
    assert lines(capsys) == [f"GET {endpoint}: {status}" for status in statuses]
    if isinstance(outcome, int):
        assert ended.value == outcome
    else:
        assert type(ended.error) is outcome
    assert ended.count("step_retrying") == len(statuses) - 1
    assert ended.times("step_started")[-1] == seconds


@pytest.mark.parametrize(
    ("endpoint", "statuses", "outcome", "begun"),
    [
        ("/flaky", [500, 500, 500, 200], 200, [0, 1, 5, 14]),
        ("/down", [500] * 6, StepFailedError, [0, 1, 5, 14, 30, 55]),
        ("/missing", [404], FatalError, [0]),
    ],
)
def test_a_step_that_backs_off_waits_for_the_square_of_its_attempt(
    stage: Stage, load: Load, capsys: Printed, endpoint: str, statuses: list[int], outcome: Any, begun: list[float]
) -> None:
    backoff = load("backoff")
    ended = stage(backoff.call, endpoint, sample=backoff)
    assert lines(capsys) == [f"GET {endpoint}: {status}" for status in statuses]
    if isinstance(outcome, int):
        assert ended.value == outcome
    else:
        assert type(ended.error) is outcome
        if outcome is StepFailedError:
            assert isinstance(ended.error.__cause__, RetryableError)
    assert ended.times("step_started") == begun


def test_a_step_that_is_to_come_back_at_a_certain_time_comes_back_then(
    stage: Stage, load: Load, capsys: Printed
) -> None:
    backoff = load("backoff")
    before = datetime.now(UTC)
    ended = stage(backoff.call, "/busy", sample=backoff)
    after = datetime.now(UTC)
    assert ended.value == 200
    assert lines(capsys) == ["GET /busy: 429", "GET /busy: 200"]
    begun = [event.time for event in ended.events if event.type == "step_started"]
    minute = timedelta(minutes=1)
    assert before + minute <= begun[1] <= after + minute


@pytest.mark.parametrize(
    ("order", "outcome", "done"),
    [
        ("o-1", "o-1 is on its way", ["reserved", "charged", "shipped"]),
        ("o-2-unpaid", FatalError("the card was declined"), ["reserved", "released"]),
        ("o-3-unshipped", FatalError("nobody delivers there"), ["reserved", "charged", "refunded", "released"]),
    ],
)
def test_a_saga_undoes_what_has_succeeded_last_one_first_and_fails_with_the_reason(
    stage: Stage, load: Load, capsys: Printed, order: str, outcome: Any, done: list[str]
) -> None:
    saga = load("saga")
    ended = stage(saga.place_order, order, sample=saga)
    assert lines(capsys) == [f"{order}: {what}" for what in done]
    if isinstance(outcome, str):
        assert ended.value == outcome
    else:
        assert (ended.info.status, type(ended.error), str(ended.error)) == ("failed", FatalError, str(outcome))


# -- as programs -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("program", "shown"),
    [
        (
            ["progress.py"],
            [
                "0: collecting the figures",
                "1: drawing the charts",
                "2: done",
                "again, from the last message on:",
                "2: done",
            ],
        ),
        (
            ["channels.py"],
            [
                "info: started",
                "info: at work",
                "45 % of the processor, 512 MB",
                "52 % of the processor, 520 MB",
            ],
        ),
        (["batch.py"], [" 33 % apples: processed", " 67 % pears: processed", "100 % plums: processed"]),
        (["upload.py", "text"], ["{'length': 13}"]),
    ],
    ids=lambda value: value[0] if value[0].endswith(".py") else "",
)
def test_a_sample_that_is_a_program_shows_its_stream(tmp_path: Path, program: list[str], shown: list[str]) -> None:
    (tmp_path / "text").write_text("Grüße an alle")
    done = subprocess.run(
        [sys.executable, "-W", "error", str(SAMPLES / program[0]), *program[1:]],
        cwd=tmp_path,
        env=environment(PYTHONHASHSEED="0"),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert (done.stdout.splitlines(), done.returncode, done.stderr) == (shown, 0, "")


# -- the page ---------------------------------------------------------------------------------------------------------


def modules() -> Iterator[str]:
    return (path.stem for path in sorted(SAMPLES.glob("*.py")))


def test_the_table_names_every_sample_once() -> None:
    table = re.findall(r"\| \[(\w+)\.py\]\((\w+)\.py\) \|$", (SAMPLES / "README.md").read_text(), re.MULTILINE)
    assert sorted({name for name, _ in table}) == list(modules())
    assert [name for name, target in table if name != target] == []


def test_the_apps_that_the_page_serves_are_those_of_all_samples() -> None:
    (served,) = re.findall(r"^\$ export WDK_APP=(.+)$", (SAMPLES / "README.md").read_text(), re.MULTILINE)
    assert sorted(served.split(",")) == [f"{name}:app" for name in modules()]


def test_every_sample_is_run_by_a_test() -> None:
    loaded = re.findall(r'load\("(\w+)"\)', Path(__file__).read_text())
    assert sorted(set(loaded)) == list(modules())
