"""The command line: what it prints, what it refuses, and with which exit code."""

import asyncio
import base64
import io
import json
import os
import re
import shlex
import sys
from datetime import UTC, datetime, timedelta

import msgspec
import pytest
import typer
from rich.console import Console
from rich.text import Text
from typer.testing import CliRunner

import wdk_cloud.cli
from wdk_cloud import worker
from wdk_cloud.cli import sources, start, tables
from wdk_cloud.cli.console import UsageError
from wdk_cloud.cli.options import moment
from wdk_cloud.cli.program import program
from wdk_cloud.cli.reading import RunView
from wdk_cloud.cli.report import print_run
from wdk_cloud.cli.timeline import Timeline
from wdk_cloud.client import get_run
from wdk_cloud.codec.errors import encode_error
from wdk_cloud.codec.known import KnownTypes
from wdk_cloud.engine import events as ev
from wdk_cloud.world.local import LocalWorld
from wdk_cloud.world.opening import use_world
from wdk_cloud.world.ports import Head, StepItem, Trouble

SHOP = """
from wdk_cloud import FatalError, Workflows, get_step_metadata, sleep

app = Workflows()

@app.step
async def charge(order: str, amount: float) -> dict:
    if get_step_metadata().attempt == 1:
        raise RuntimeError("the bank is busy")
    return {"order": order, "amount": amount}

@app.step
async def ship(order: str) -> str:
    if order == "lost":
        raise FatalError("it is lost")
    return f"shipped {order}"

@app.workflow
async def checkout(order: str, amount: float = 9.5) -> str:
    await charge(order, amount)
    return await ship(order)

@app.workflow
async def nap(duration: str = "1 h") -> str:
    await sleep(duration)
    return "rested"
"""


@pytest.fixture(autouse=True)
def shop(tmp_path, monkeypatch):
    """A folder with an app in it, as a user would have it; the app as a module."""
    for name in list(os.environ):
        if name.startswith("WDK_") or name in ("COLUMNS", "FORCE_COLOR"):
            monkeypatch.delenv(name)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WDK_APP", "shop:app")
    (tmp_path / "shop.py").write_text(SHOP)
    monkeypatch.delitem(sys.modules, "shop", raising=False)  # of another test, of the same name
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(tmp_path)):
            del sys.modules[name]


def wdk(*words, code=0):
    result = CliRunner().invoke(program, list(words), prog_name="wdk", catch_exceptions=False)
    assert result.exit_code == code, (result.stdout, result.stderr)
    return result


def answer(*words, code=0):
    return wdk(*words, code=code).stdout.strip()


def document(*words):
    return json.loads(wdk(*words, "--json").stdout)


def complaint(*words, code):
    result = wdk(*words, code=code)
    assert "Traceback" not in result.stderr
    return " ".join(result.stderr.split())


def serve(run_id, until=None):
    """Work until the run has ended, or its events have one of this type."""
    import shop

    async def main():
        world = LocalWorld()
        await world.open()
        try:
            with use_world(world):
                async with worker(shop.app):
                    run = get_run(run_id)
                    while not await reached(run, world):
                        await asyncio.sleep(0.002)
        finally:
            await world.close()

    async def reached(run, world):
        if until is None:
            return await run.status() not in ("pending", "running")
        # A turn that is broken off keeps its lease for as long as this process lives.
        head = await world.runs.head(run_id)
        return (head.holder is None or head.ended) and until in [event.type async for event in run.events()]

    asyncio.run(asyncio.wait_for(main(), 20))


def completed(*words):
    run_id = answer("start", "checkout", *words)
    serve(run_id)
    return run_id


# --- the program ------------------------------------------------------------------------------------------------------


def found_in(command, words=()):
    yield words, command
    for name, child in getattr(command, "commands", {}).items():
        yield from found_in(child, (*words, name))


COMMANDS = dict(found_in(typer.main.get_command(program)))


@pytest.mark.parametrize("words", COMMANDS, ids=lambda words: " ".join(("wdk", *words)))
def test_every_help_ends_with_an_example_and_says_what_each_option_is_for(words):
    text = wdk(*words, "--help").stdout
    assert re.search(rf"^ *Example: (\w+=\S+ )*{' '.join(('wdk', *words))}\b", text, re.MULTILINE)
    assert [option.name for option in COMMANDS[words].params if not option.help] == []


def test_the_version_is_that_of_the_distribution():
    assert re.fullmatch(r"wdk (\d+\.\d+\.\d+|unknown)", answer("--version"))


def test_an_unknown_command_is_wrong_usage():
    assert "No such command 'fly'" in complaint("fly", code=2)


def test_processes_that_serve_start_again_with_a_fixed_hash_seed(monkeypatch):
    started = []
    monkeypatch.setattr(os, "execve", lambda *call: started.append(call))
    monkeypatch.setattr("wdk_cloud.cli.program.program", lambda prog_name: None)
    for argv, seed in ((["wdk", "dev"], None), (["wdk", "dev"], "0"), (["wdk", "inspect", "runs"], None)):
        monkeypatch.setattr(sys, "argv", argv)
        monkeypatch.setattr(sys, "orig_argv", ["python", *argv])
        monkeypatch.delenv("PYTHONHASHSEED", raising=False)
        if seed is not None:
            monkeypatch.setenv("PYTHONHASHSEED", seed)
        wdk_cloud.cli.main()
    (program, argv, environment), *others = started
    assert (program, argv, environment["PYTHONHASHSEED"]) == (sys.executable, [sys.executable, "wdk", "dev"], "0")
    assert others == []


# --- finding the app --------------------------------------------------------------------------------------------------


def test_an_app_is_found_in_the_current_folder_by_name_or_as_the_only_one_of_its_module():
    (by_name,) = sources.load_apps("shop:app")
    assert sources.load_apps("shop") == [by_name]
    assert sources.load_apps("shop:app, shop:app") == [by_name]


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("", "which app? Set WDK_APP=module:app, or pass --app module:app"),
        (
            "nowhere:app",
            "nowhere:app: there is no module 'nowhere' in {folder} nor in the environment; write module:app",
        ),
        (
            "shop:nothing",
            "shop:nothing must be an app (Workflows), there is nothing of that name; apps of the module: shop:app",
        ),
        (
            "shop:SHOPS",
            "shop:SHOPS must be an app (Workflows), there is nothing of that name; apps of the module: shop:app",
        ),
        (
            "shop:checkout",
            "shop:checkout must be an app (Workflows), there is a Workflow; apps of the module: shop:app",
        ),
        ("json", "json holds 0 apps (Workflows); name one: json:app"),
        (
            "broken:app",
            "broken cannot be imported: ZeroDivisionError: division by zero ({folder}/broken.py:2); look there",
        ),
        (
            "bad:app",
            "bad cannot be imported: SyntaxError: invalid syntax (bad.py, line 1) ({folder}/bad.py:1); look there",
        ),
        (
            "lacking:app",
            "lacking cannot be imported: ModuleNotFoundError: No module named 'gone' ({folder}/lacking.py:1); look there",
        ),
    ],
)
def test_an_app_that_cannot_be_loaded_is_wrong_usage_and_says_why(shop, spec, message):
    (shop / "broken.py").write_text("\n1 / 0\n")
    (shop / "bad.py").write_text("def def\n")
    (shop / "lacking.py").write_text("import gone\n")
    with pytest.raises(UsageError) as caught:
        sources.load_apps(spec)
    assert str(caught.value) == message.format(folder=shop)


def test_a_workflow_goes_by_its_id_or_by_a_function_name_that_only_one_has(shop):
    (shop / "second.py").write_text(SHOP)
    first, second = sources.load_apps("shop:app,second:app")
    assert sources.find_workflow([first, second], "workflow//second//nap") is second.workflows["workflow//second//nap"]
    assert sources.find_workflow([first], "nap").id == "workflow//shop//nap"
    with pytest.raises(
        UsageError, match="'nap' names several workflows; give the id: workflow//shop//nap, workflow//s"
    ):
        sources.find_workflow([first, second], "nap")
    with pytest.raises(UsageError, match="there is no workflow 'fly' in the app; there are: checkout, nap"):
        sources.find_workflow([first], "fly")


# --- starting ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "annotation", "value"),
    [
        ("7", None, 7),
        ("7", int, 7),
        ("7", str, "7"),
        ("true", None, True),
        ("true", str, "true"),
        ('"7"', str, "7"),
        ("[1, 2]", None, [1, 2]),
        ("you@example.com", None, "you@example.com"),
        ("NaN", None, "NaN"),
        ("", None, ""),
    ],
)
def test_an_argument_is_json_where_it_parses_and_text_where_text_is_asked_for(text, annotation, value):
    assert start.value_of(text, annotation) == value


def test_arguments_go_by_place_and_by_name():
    (app,) = sources.load_apps("shop:app")
    found = sources.find_workflow([app], "checkout")
    assert start.arguments(found, ["17"], ["amount=3.5"]) == (["17"], {"amount": 3.5})
    with pytest.raises(UsageError, match="--arg takes NAME=VALUE, not 'amount'"):
        start.arguments(found, [], ["amount"])
    with pytest.raises(UsageError, match="--arg amount is given twice"):
        start.arguments(found, [], ["amount=1", "amount=2"])


def test_start_prints_the_id_of_the_run_and_nothing_else():
    result = wdk("start", "checkout", "o-1", "--arg", "amount=3")
    run_id = result.stdout.strip()
    assert re.fullmatch(r"wrun_[0-9a-z]{26}", run_id)
    assert result.stderr == ""
    shown = document("inspect", "run", run_id)
    assert (shown["status"], shown["input"]) == ("pending", {"order": "o-1", "amount": 3})


def test_start_takes_an_id_and_gives_it_once():
    assert document("start", "nap", "--run-id", "mine") == {"run_id": "mine"}
    assert "error: a run with the id mine exists already" in complaint("start", "nap", "--run-id", "mine", code=1)


def test_the_same_idempotency_key_gives_the_same_run():
    first = answer("start", "nap", "--idempotency-key", "k")
    assert answer("start", "nap", "--idempotency-key", "k") == first
    assert "'k' belongs to run" in complaint("start", "nap", "2 h", "--idempotency-key", "k", code=1)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["checkout"], "missing a required argument: 'order'"),
        (["checkout", "a", "1", "2"], "too many positional arguments"),
        (["checkout", "a", "--arg", "size=1"], "got an unexpected keyword argument 'size'"),
        (["checkout", "a", "dear"], "amount: 'dear' (str) does not fit its annotation float"),
        (["checkout", "--arg", "order=a", "--arg", "amount={"], "amount: '{' (str) does not fit its annotation float"),
        (["nap", "--delay", "5 parsecs"], "delay '5 parsecs' is not understood"),
        (["nap", "--run-id", "no good"], "a run id is 1 to 128 of A-Z a-z 0-9 _ -, not 'no good'"),
        (["fly"], "there is no workflow 'fly' in the app; there are: checkout, nap"),
        (["nap", "--app", "nowhere:app"], "there is no module 'nowhere'"),
        (["nap", "--world", "moon"], "WDK_WORLD='moon' is not known here"),
        (["nap", "--world", "memory"], "the memory world ends with the process that made it"),
    ],
)
def test_a_start_that_cannot_work_is_wrong_usage_and_leaves_nothing(words, message):
    assert message in complaint("start", *words, code=2)
    assert wdk("start", "nap", "--run-id", "only").stdout == "only\n"
    assert [run["run_id"] for run in document("inspect", "runs")["runs"]] == ["only"]


# --- looking ----------------------------------------------------------------------------------------------------------


def test_a_factory_of_worlds_is_found_in_the_current_folder(shop, monkeypatch):
    monkeypatch.delenv("WDK_APP")
    monkeypatch.setattr(sys, "path", [folder for folder in sys.path if folder != str(shop)])
    (shop / "houses.py").write_text(
        "from wdk_cloud.world.local import LocalWorld\n\n\ndef make():\n    return LocalWorld('house.db')\n"
    )
    assert f"{shop}/house.db does not exist" in complaint("inspect", "runs", "--world", "houses:make", code=1)


def test_a_reader_in_the_wrong_folder_is_told_so_and_makes_no_file(shop):
    expected = (
        f"error: there are no runs here: {shop}/.wdk/local.db does not exist. Start one with `wdk start`, or name"
    )
    for words in (
        ["inspect", "runs"],
        ["inspect", "run", "x"],
        ["cancel", "x"],
        ["wake", "x"],
        ["delete", "x"],
        ["sweep"],
    ):
        assert complaint(*words, code=1).startswith(expected)
    assert not (shop / ".wdk").exists()


def test_an_unknown_run_is_a_failure_and_an_impossible_id_wrong_usage():
    wdk("start", "nap")
    for words in (["inspect", "run"], ["inspect", "steps"], ["inspect", "events"], ["cancel"], ["wake"], ["delete"]):
        assert complaint(*words, "nobody", code=1).startswith("error: run nobody does not exist in this world")
        assert complaint(*words, "no body", code=2) == "error: a run id is 1 to 128 of A-Z a-z 0-9 _ -, not 'no body'"


def test_runs_can_be_looked_at_without_their_code(monkeypatch):
    run_id = answer("start", "nap")
    monkeypatch.delenv("WDK_APP")
    assert document("inspect", "run", run_id)["workflow_name"] == "workflow//shop//nap"
    monkeypatch.setenv("WDK_APP", "gone:app")
    result = wdk("inspect", "runs", "--json")
    assert [run["run_id"] for run in json.loads(result.stdout)["runs"]] == [run_id]
    assert result.stderr.startswith("looking without a namespace: gone:app: there is no module 'gone'")


def test_runs_of_an_app_with_a_namespace_are_found_through_the_app_or_by_the_namespace(shop):
    (shop / "spaced.py").write_text(SHOP.replace("Workflows()", 'Workflows("spaced")'))
    run_id = answer("start", "nap", "--app", "spaced:app")
    assert document("inspect", "runs")["runs"] == []
    assert [run["run_id"] for run in document("inspect", "runs", "--app", "spaced:app")["runs"]] == [run_id]
    assert document("inspect", "run", run_id, "--namespace", "spaced")["run_id"] == run_id


def test_runs_are_listed_newest_first_in_pages_and_by_filter():
    first, second, third = (answer("start", name, *args) for name, *args in (["nap"], ["checkout", "o"], ["nap"]))

    def listed(*words):
        return [run["run_id"] for run in document("inspect", "runs", *words)["runs"]]

    assert listed() == [third, second, first]
    page = document("inspect", "runs", "--limit", "2")
    assert [run["run_id"] for run in page["runs"]] == [third, second]
    rest = document("inspect", "runs", "--limit", "2", "--cursor", page["cursor"])
    assert ([run["run_id"] for run in rest["runs"]], rest["cursor"]) == ([first], None)
    assert listed("--workflow", "nap") == listed("--workflow", "workflow//shop//nap") == [third, first]
    assert listed("--status", "running") == []
    assert listed("--since", "1h") == [third, second, first]
    assert listed("--until", "1h") == []
    assert listed("--since", "2000-01-01", "--until", "2000-01-02T00:00:00+01:00") == []


def test_runs_are_listed_by_the_version_of_the_code_that_started_them(monkeypatch):
    monkeypatch.setenv("WDK_CODE_VERSION", "0000000001.one")
    older = answer("start", "nap")
    monkeypatch.setenv("WDK_CODE_VERSION", "0000000002.two")
    newer = answer("start", "nap")
    serve(older, until="wait_created")
    listed = document("inspect", "runs", "--version", "0000000001.one")["runs"]
    assert [(run["run_id"], run["status"], run["version"]) for run in listed] == [(older, "running", "0000000001.one")]
    assert newer in answer("inspect", "runs", "--version", "0000000002.two")
    assert answer("inspect", "runs", "--version", "0000000001") == "no runs"
    assert [line.split()[-1] for line in answer("inspect", "runs").splitlines()[1:]] == [
        "0000000002.two",
        "0000000001.one",
    ]
    shown = dict(re.findall(r"^  (version|last version) +(\S+)$", answer("inspect", "run", older), re.MULTILINE))
    assert shown == {"version": "0000000001.one", "last version": "0000000002.two"}
    assert "last version" not in answer("inspect", "run", newer)


def test_the_cursor_that_a_table_shows_can_be_pasted():
    older = answer("start", "nap")
    answer("start", "nap")
    shown = answer("inspect", "runs", "--limit", "1").splitlines()[-1]
    assert older in answer("inspect", "runs", *shlex.split(shown.removeprefix("more:")))


@pytest.mark.parametrize(
    "words", [["--since", "soon"], ["--limit", "0"], ["--status", "lost"], ["--limit", "x"], ["--version", ""]]
)
def test_a_filter_without_a_meaning_is_wrong_usage(words):
    wdk("start", "nap")
    complaint("inspect", "runs", *words, code=2)


def test_a_moment_is_a_time_in_utc_or_a_duration_ago():
    assert moment("2026-01-31T12:00", "--since") == datetime(2026, 1, 31, 12, tzinfo=UTC)
    assert moment("2026-01-31T12:00+02:00", "--since").astimezone(UTC) == datetime(2026, 1, 31, 10, tzinfo=UTC)
    before = datetime.now(UTC)
    assert before <= moment("1h 30m", "--since") + timedelta(hours=1.5) <= datetime.now(UTC)
    assert moment(None, "--since") is None


def test_a_completed_run_is_shown_with_all_its_attempts():
    run_id = completed("o-1")
    shown = document("inspect", "run", run_id)
    assert (shown["status"], shown["result"], shown["error"]) == ("completed", "shipped o-1", None)
    assert (shown["waits_for"], shown["lease"], shown["trouble"]) == (None, None, None)
    steps = [(step["step_name"], step["state"], step["attempt"], step["result"]) for step in shown["steps"]]
    assert steps == [
        ("step//shop//charge", "completed", 2, {"order": "o-1", "amount": 9.5}),
        ("step//shop//ship", "completed", 1, "shipped o-1"),
    ]
    first, second = shown["steps"][0]["attempts"]
    assert (first["attempt"], first["state"], second["attempt"], second["state"]) == (1, "retried", 2, "completed")
    assert (first["error"]["type"], first["error"]["message"]) == ("RuntimeError", "the bank is busy")
    times = [shown["created_at"], first["started_at"], first["ended_at"], second["started_at"], shown["ended_at"]]
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", time) for time in times)
    assert times == sorted(times)


def test_people_see_the_same_as_a_table_with_a_row_for_each_attempt():
    run_id = completed("o-1")
    lines = answer("inspect", "run", run_id).splitlines()
    assert lines[0] == f"run {run_id}"
    assert lines[1:3] == ["  workflow  workflow//shop//checkout", "  status    completed"]
    assert '  result    "shipped o-1"' in lines
    header = lines.index(next(line for line in lines if line.startswith("step ")))
    assert lines[header].split() == ["step", "attempt", "state", "started", "took"]
    rows = [re.split(r"\s{2,}", line) for line in lines[header + 1 :]]
    assert [row[:3] for row in rows] == [
        ["charge", "1", "retried"],
        ["charge", "2", "completed"],
        ["ship", "1", "completed"],
    ]
    assert rows[0][-1] == "RuntimeError: the bank is busy"
    assert [line for line in lines if line != line.rstrip()] == []


def test_steps_can_be_filtered_and_paged():
    run_id = completed("o-1")
    page = document("inspect", "steps", run_id, "--limit", "1")
    assert [step["call"] for step in page["steps"]] == ["step//shop//charge#1"]
    rest = document("inspect", "steps", run_id, "--cursor", page["cursor"])
    assert ([step["call"] for step in rest["steps"]], rest["cursor"]) == (["step//shop//ship#1"], None)
    assert document("inspect", "steps", run_id, "--status", "failed")["steps"] == []
    assert answer("inspect", "steps", run_id, "--status", "failed") == "no steps"
    assert [line.split()[0] for line in answer("inspect", "steps", run_id).splitlines()] == ["step", "charge", "ship"]


def test_events_as_json_are_the_whole_history_in_order():
    run_id = completed("o-1")
    shown = document("inspect", "events", run_id)
    events = shown["events"]
    assert (shown["run_id"], shown["workflow_name"], shown["cursor"]) == (run_id, "workflow//shop//checkout", None)
    assert [event["position"] for event in events] == list(range(1, len(events) + 1))
    assert [event["type"] for event in events] == [
        "run_created",
        "run_started",
        *["step_created", "step_started", "step_retrying", "step_started", "step_completed"],
        *["step_created", "step_started", "step_completed"],
        "run_completed",
    ]
    assert events[0]["data"]["input"] == {"order": "o-1"}
    assert len(base64.b64decode(events[0]["data"]["seed"])) == 32
    assert events[4]["data"]["retry_at"].endswith("Z")
    assert {event["step_id"] for event in events[2:7]} == {events[2]["step_id"]}
    assert (events[2]["step_name"], events[0]["step_name"]) == ("step//shop//charge", None)
    assert events[-1]["data"] == {"result": "shipped o-1"}


def test_events_can_be_paged_and_filtered_by_time():
    run_id = completed("o-1")
    whole = document("inspect", "events", run_id)["events"]
    pages, cursor = [], None
    while True:
        page = document("inspect", "events", run_id, "--limit", "3", *(["--cursor", cursor] if cursor else []))
        pages += page["events"]
        cursor = page["cursor"]
        if cursor is None:
            break
    assert pages == whole
    assert document("inspect", "events", run_id, "--since", whole[-1]["time"])["events"][-1] == whole[-1]
    assert document("inspect", "events", run_id, "--until", whole[0]["time"])["events"] == []
    assert complaint("inspect", "events", run_id, "--cursor", "x", code=2).startswith(
        "error: --cursor 'x' is none that"
    )
    assert len(answer("inspect", "events", run_id).splitlines()) == len(whole) + 1


def test_a_failed_run_shows_its_error_and_where_it_was_raised():
    run_id = completed("lost")
    shown = document("inspect", "run", run_id)
    assert (shown["status"], shown["error_code"]) == ("failed", "USER_ERROR")
    assert (shown["error"]["type"], shown["error"]["message"]) == ("FatalError", "it is lost")
    text = answer("inspect", "run", run_id)
    assert "  error     USER_ERROR: FatalError: it is lost" in text
    assert "return await ship(order)" in text.partition("\ntraceback\n")[2]
    assert "USER_ERROR" in answer("inspect", "runs", "--status", "failed")


def test_a_sleeping_run_shows_its_timer_and_wakes_when_told_to():
    run_id = answer("start", "nap")
    serve(run_id, until="wait_created")
    shown = document("inspect", "run", run_id)
    assert [timer["id"] for timer in shown["waits_for"]["timers"]] == ["sleep#1"]
    text = answer("inspect", "run", run_id)
    assert re.search(r"^sleep 1 h +waiting", text, re.MULTILINE)
    assert re.search(r"waits for\n  timer sleep#1  until \S+ \S+ UTC \(in (1 h|59 min \d+ s)\)\n  lease ", text)
    assert answer("wake", run_id) == f"{run_id} is asked to wake"
    serve(run_id)
    assert document("inspect", "run", run_id)["result"] == "rested"
    assert answer("wake", run_id) == f"{run_id} has ended already: completed"


def test_a_run_with_a_delay_waits_for_its_start_and_can_be_cancelled():
    run_id = answer("start", "nap", "--delay", "1h")
    assert re.search(r"waits for\n  start  \S+ \S+ UTC \(in ", answer("inspect", "run", run_id))
    assert answer("cancel", run_id, "--reason", "not needed") == f"{run_id} is asked to end"
    serve(run_id)
    shown = document("inspect", "run", run_id)
    assert (shown["status"], shown["cancel_reason"]) == ("cancelled", "not needed")
    assert answer("cancel", run_id) == f"{run_id} has ended already: cancelled"


def test_a_pending_run_says_that_it_waits_for_a_worker():
    run_id = answer("start", "nap")
    assert "waits for\n  start  a worker: wdk dev\n  lease  nobody holds it" in answer("inspect", "run", run_id)


def test_a_run_is_erased_only_when_somebody_says_so():
    run_id = completed("2")
    assert complaint("delete", run_id, code=2) == f"error: {run_id} is not erased: nobody can be asked here; add --yes"
    assert document("inspect", "run", run_id)["status"] == "completed"
    assert answer("delete", run_id, "--yes") == f"{run_id} is erased"
    gone = (
        f"error: run {run_id} ended longer ago than the retention, or was deleted; set a longer WDK_RETENTION to keep "
    )
    gone += "later runs"
    assert complaint("inspect", "run", run_id, code=1) == gone
    assert answer("delete", run_id, "--yes") == f"{run_id} is erased"
    assert [run["status"] for run in document("inspect", "runs")["runs"]] == ["deleted"]


def test_a_sweep_of_a_healthy_world_wakes_nobody():
    wdk("start", "nap")
    assert answer("sweep") == "0 runs woken"


def test_encrypted_payloads_are_shown_when_asked_for(monkeypatch):
    monkeypatch.setenv("WDK_ENCRYPTION_KEY", base64.b64encode(bytes(range(32))).decode())
    run_id = completed("secret-order")
    for words in (["run"], ["steps"], ["events"]):
        for form in ([], ["--json"]):
            assert "secret-order" not in answer("inspect", *words, run_id, *form)
            assert "secret-order" in answer("inspect", *words, run_id, *form, "--decrypt")
    assert document("inspect", "run", run_id)["input"] == {"$encrypted": True}
    monkeypatch.delenv("WDK_ENCRYPTION_KEY")
    assert document("inspect", "run", run_id)["status"] == "completed"
    assert "is encrypted; set WDK_ENCRYPTION_KEY" in complaint("inspect", "run", run_id, "--decrypt", code=2)


# --- the parts of a report --------------------------------------------------------------------------------------------

STEP = "step//shop//charge#1"


def raw(value):
    return ev.Raw(json.dumps(value).encode())


def error(exception):
    return ev.Raw(encode_error(exception, known=KnownTypes()))


def created(time, call=STEP, *, queued=False):
    name = call.rpartition("#")[0]
    return ev.StepCreated(time=time, id=call, name=name, digest="", input=raw({}), queued=queued)


def timeline_of(*events):
    return Timeline.of(enumerate(events, 1))


def test_an_interrupted_attempt_is_followed_by_the_next():
    timeline = timeline_of(
        created(1.0),
        ev.StepStarted(time=2.0, id=STEP, attempt=1),
        ev.StepInterrupted(time=9.0, id=STEP, attempt=1, charged=True),
        ev.StepStarted(time=9.0, id=STEP, attempt=2),
        ev.StepCompleted(time=10.0, id=STEP, attempt=2, result=raw(1)),
    )
    (step,) = timeline.steps.values()
    assert (step.state, step.started_at, step.ended_at, step.result) == ("completed", 2.0, 10.0, b"1")
    assert [(attempt.number, attempt.state) for attempt in step.attempts] == [(1, "interrupted"), (2, "completed")]


def test_a_step_that_failed_by_its_interruption_has_one_interrupted_attempt():
    timeline = timeline_of(
        created(1.0),
        ev.StepStarted(time=2.0, id=STEP, attempt=1),
        ev.StepInterrupted(time=9.0, id=STEP, attempt=1, charged=True),
        ev.StepFailed(time=9.0, id=STEP, attempt=1, error=error(RuntimeError("gone"))),
    )
    (step,) = timeline.steps.values()
    assert (step.state, [attempt.state for attempt in step.attempts]) == ("failed", ["interrupted"])


def test_what_is_open_when_the_run_ends_is_unfinished():
    timeline = timeline_of(
        created(1.0),
        ev.StepStarted(time=2.0, id=STEP, attempt=1),
        ev.WaitCreated(time=2.0, id="sleep#1", due=9.0),
        ev.RunCompleted(time=3.0, result=raw(None)),
    )
    (step,), (timer,) = timeline.steps.values(), timeline.timers.values()
    assert (step.state, step.attempts[0].state, timer.state) == ("unfinished", "unfinished", "unfinished")


def test_a_step_that_ran_elsewhere_has_the_attempt_that_ended_it():
    timeline = timeline_of(
        created(1.0, queued=True), ev.StepCompleted(time=4.0, id=STEP, attempt=3, result=raw(1), key="step:x")
    )
    (step,) = timeline.steps.values()
    assert [(attempt.number, attempt.started_at, attempt.state) for attempt in step.attempts] == [
        (3, None, "completed")
    ]


HEAD = Head(
    run_id="r1", birth="b", workflow="workflow//shop//nap", created_at=0.0, seed=b"", input_digest="", status="running"
)


def report_of(capsys, head, timeline, queued=()):
    view = RunView(
        head=head,
        labels={"plan": "pro"},
        timeline=timeline,
        input=b"{}",
        queued={i.step_id: i for i in queued},
        now=100.0,
    )
    print_run(view, list(timeline.steps.values()))
    return capsys.readouterr().out


def changed(head, **fields):
    return msgspec.structs.replace(head, **fields)


def test_a_report_tells_apart_the_calls_of_one_step_and_shows_the_hooks_between_them(capsys):
    def hook(time, number, webhook=None):
        return ev.HookCreated(time=time, id=f"hook#{number}", digest=f"{number}", metadata=raw(None), webhook=webhook)

    again = f"{STEP.rpartition('#')[0]}#2"
    timeline = timeline_of(
        created(1.0),
        ev.StepStarted(time=1.0, id=STEP, attempt=1),
        ev.StepCompleted(time=2.0, id=STEP, attempt=1, result=raw(1)),
        hook(2.0, 1),
        hook(2.0, 2),
        ev.HookConflict(time=2.0, id="hook#2", run_id="r2"),
        ev.HookReceived(time=5.0, id="hook#1", payload=raw("yes"), key="k"),
        hook(5.0, 3),
        ev.HookDisposed(time=7.0, id="hook#1"),
        created(7.0, again),
    )
    rows = report_of(capsys, HEAD, timeline).partition("took\n")[2].partition("\n\n")[0].splitlines()
    assert [" ".join(row.split()) for row in rows] == [
        "charge#1 1 completed +1 s 1 s",
        "hook disposed +2 s 5 s 1 received",
        "hook refused +2 s run r2 has its token",
        "hook waiting +5 s 0 received",
        "charge#2 waiting +7 s",
    ]


def test_a_report_ends_with_what_the_run_waits_for_who_holds_it_and_its_trouble(capsys):
    queued = "step//shop//ship#1"
    timeline = timeline_of(
        created(1.0),
        ev.StepStarted(time=2.0, id=STEP, attempt=1),
        ev.StepRetrying(time=90.0, id=STEP, attempt=1, error=error(OSError("busy")), retry_at=160.0),
        created(3.0, queued, queued=True),
        ev.OperationCreated(time=4.0, id="run.cancel#1", name="run.cancel", digest="", input=raw({"run_id": "r2"})),
    )
    head = changed(
        HEAD, holder="m1", fence=4, until=125.0, trouble=Trouble(reason="no code\x1b[31m", since=40.0, count=2)
    )
    text = report_of(capsys, head, timeline, [StepItem(step_id=queued, attempt=2, holder="m2", until=130.0)])
    assert text.partition("\nwaits for\n")[2].splitlines() == [
        "  step charge             attempt 1 failed, next try 1970-01-01 00:02:40 UTC (in 1 min)",
        "  step ship               attempt 2 running, claimed until 1970-01-01 00:02:10 UTC (in 30 s)",
        '  operation run.cancel#1  {"run_id": "r2"}',
        "  lease                   held until 1970-01-01 00:02:05 UTC (in 25 s) (message m1, fence 4)",
        "",
        "trouble",
        "  reason  no code\\x1b[31m",
        "  since   1970-01-01 00:00:40 UTC (1 min ago)",
        "  met     2 times",
        "  what    handed on until a worker can go on with it",
    ]
    assert "  labels    plan=pro\n" in text


def test_a_lease_that_ran_out_says_that_its_holder_is_gone(capsys):
    timeline = timeline_of(created(1.0), ev.StepStarted(time=2.0, id=STEP, attempt=1))
    held = report_of(capsys, changed(HEAD, holder="m1", fence=4, until=105.0), timeline)
    assert "  step charge  attempt 1 running\n" in held
    text = report_of(capsys, changed(HEAD, holder="m1", fence=4, until=95.0), timeline)
    assert "  step charge  attempt 1 was interrupted; the next worker sees to it\n" in text
    assert (
        "  lease        ran out 1970-01-01 00:01:35 UTC (5 s ago); its holder is gone (message m1, fence 4)\n" in text
    )


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (0, "0 ms"),
        (0.0002, "<1 ms"),
        (0.0031, "3 ms"),
        (0.99949, "999 ms"),
        (0.9996, "1 s"),
        (5, "5 s"),
        (5.024, "5.02 s"),
        (59.996, "1 min"),
        (65.4, "1 min 5 s"),
        (3 * 3600 + 240, "3 h 4 min"),
        (2 * 86400 + 3600, "2 d 1 h"),
        (-1, "0 ms"),
    ],
)
def test_a_length_of_time_has_at_most_two_units(seconds, shown):
    assert tables.span(seconds) == shown


def test_a_terminal_that_is_narrow_is_shown_every_id_and_time_whole(monkeypatch):
    shown = io.StringIO()
    narrow = Console(file=shown, width=40, force_terminal=True, color_system=None)
    monkeypatch.setattr(tables, "out", narrow)
    table = tables.table_of("run", "created (UTC)", "state", "error")
    table.add_row("wrun_s9b1tnrej8jc52vz01m8mfnn8x", "2026-11-29 20:24:19", Text("completed"), "")
    tables.print_table(table)
    _, row = shown.getvalue().splitlines()
    assert row.split("  ")[:3] == ["wrun_s9b1tnrej8jc52vz01m8mfnn8x", "2026-11-29 20:24:19", "completed"]


def test_no_text_of_a_run_reaches_the_terminal_as_a_command():
    assert tables.plain("a\x1b[2J\nb\u202e") == "a\\x1b[2J\\nb\\u202e"
    assert tables.plain("x" * 300) == "x" * 200 + "…"


def test_a_name_is_short_where_it_is_an_id_of_ours_and_whole_where_it_was_chosen():
    names = ["step//shop.orders//Orders.charge", "workflow//shop//nap", "charge//v2", "charge"]
    assert [tables.short(name) for name in names] == ["Orders.charge", "nap", "charge//v2", "charge"]


def test_a_key_without_the_package_that_encrypts_is_wrong_usage_and_starts_nothing(monkeypatch):
    monkeypatch.setenv("WDK_ENCRYPTION_KEY", base64.b64encode(bytes(32)).decode())
    monkeypatch.setitem(sys.modules, "cryptography", None)
    told = complaint("start", "nap", code=2)
    assert told.startswith("error: WDK_ENCRYPTION_KEY is set, but this environment cannot encrypt (")
    assert told.endswith("); install wdk-cloud[crypto], or unset the variable")
    assert document("inspect", "runs")["runs"] == []
