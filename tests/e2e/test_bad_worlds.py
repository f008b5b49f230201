"""Bad input as a place: a world that there is not, a file that is not ours or newer, a folder that cannot be written, a
disk that is full. What was there stays as it was, and nothing is half written.

`test_bad_input.py` says where the rest of the bad input is tested; the files one by one are in
`unit/test_local_files.py`.
"""

import asyncio
import os
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Awaitable, Callable, Generator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from tests.e2e.running import until
from wdk_cloud import (
    Workflows,
    WorldConfigurationError,
    WorldUnavailableError,
    get_run,
    list_runs,
    sleep,
    start,
    use_world,
    worker,
)
from wdk_cloud.cli.program import program
from wdk_cloud.world.local import LocalWorld
from wdk_cloud.world.local.schema import VERSION
from wdk_cloud.world.opening import close_worlds
from wdk_cloud.world.ports import Message

app = Workflows()
loads: list[int] = []


@app.step(name="load")
async def load(size: int) -> bytes:
    loads.append(size)
    return os.urandom(size)


@app.workflow(name="loading")
async def loading(size: int) -> int:
    await sleep(0.01)
    return len(await load(size))


@pytest.fixture(autouse=True)
def _clean() -> None:
    loads.clear()


def on_local(path: Path, work: Callable[[LocalWorld], Awaitable[Any]]) -> Any:
    async def main() -> Any:
        world = LocalWorld(path)
        await world.open()
        try:
            with use_world(world):
                return await work(world)
        finally:
            await world.close()

    return asyncio.run(main())


def refused(monkeypatch: pytest.MonkeyPatch, kind: type[Exception] = WorldConfigurationError, **environ: str) -> str:
    """What `start` and a worker say in this environment; `wdk` says the same, without a traceback."""
    for name, value in environ.items():
        monkeypatch.setenv(name, value)

    async def serve() -> None:
        async with worker(app):
            pass

    async def ask(what: Callable[[], Awaitable[object]]) -> str:
        try:
            with pytest.raises(kind) as caught:
                await what()
            assert type(caught.value) is kind
            return str(caught.value)
        finally:
            await close_worlds()

    told = {asyncio.run(ask(what)) for what in (lambda: start(loading, 1), serve, list_runs)}
    monkeypatch.setenv("WDK_APP", f"{__name__}:app")
    answer = CliRunner().invoke(program, ["start", "loading", "1"], prog_name="wdk")
    assert answer.exit_code == 2
    assert "Traceback" not in answer.stderr
    [text] = told
    assert "".join(text.split()) in "".join(answer.stderr.split())
    return text


def test_an_unknown_world_is_refused_with_those_that_there_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    text = refused(monkeypatch, WDK_WORLD="moon")
    assert text.startswith("WDK_WORLD='moon' is not known here; there are: local, memory")
    assert text.endswith(", or module:factory")
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_not_ours_is_refused_and_left_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    notes, theirs = tmp_path / "notes.txt", tmp_path / "theirs.db"
    notes.write_bytes(b"to do: buy milk\n" * 100)
    with closing(sqlite3.connect(theirs)) as sql:
        sql.execute("CREATE TABLE theirs (x)")
    for path in (notes, theirs):
        before = path.read_bytes()
        assert refused(monkeypatch, WDK_LOCAL_PATH=str(path)) == (
            f"the file {path} is not a database of wdk-cloud, and was left as it is; set WDK_LOCAL_PATH to another "
            "place, or move that file away"
        )
        assert path.read_bytes() == before
    assert sorted(tmp_path.iterdir()) == [notes, theirs]


def test_a_file_of_a_newer_version_is_refused_and_keeps_its_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "local.db"
    run = on_local(path, lambda _: start(loading, 1))
    with closing(sqlite3.connect(path)) as sql:
        sql.execute(f"PRAGMA user_version = {VERSION + 1}")
    assert refused(monkeypatch, WDK_LOCAL_PATH=str(path)) == (
        f"the database {path} was written by a newer wdk-cloud (format {VERSION + 1}, this one knows up to {VERSION}); "
        "install that version or a later one, or set WDK_LOCAL_PATH to another file"
    )
    with closing(sqlite3.connect(path)) as sql:
        sql.execute(f"PRAGMA user_version = {VERSION}")

    async def ids(_: LocalWorld) -> list[str]:
        return [info.run_id for info in await list_runs()]

    assert on_local(path, ids) == [run.run_id]


@pytest.fixture
def somebody() -> Generator[Path]:
    """Their folder, while this process has their rights and not root's, which no folder stops."""
    with tempfile.TemporaryDirectory() as folder:
        root = os.geteuid() == 0
        if root:
            os.chown(folder, 65534, 65534)
            os.seteuid(65534)
        try:
            yield Path(folder)
        finally:
            if root:
                os.seteuid(0)
            os.chmod(folder, 0o700)


def test_a_read_only_folder_is_refused(somebody: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    somebody.chmod(0o555)
    path = somebody / "local.db"
    assert refused(monkeypatch, WDK_LOCAL_PATH=str(path)) == (
        f"the database {path} cannot be made (Permission denied): give this user the right to write its folder, or set "
        "WDK_LOCAL_PATH to another place"
    )
    assert list(somebody.iterdir()) == []


def test_a_folder_that_became_read_only_is_refused_and_keeps_its_runs(
    somebody: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = somebody / "local.db"
    run = on_local(path, lambda _: start(loading, 1))
    before = path.read_bytes()
    somebody.chmod(0o555)
    text = refused(monkeypatch, WDK_LOCAL_PATH=str(path))
    assert text.startswith(f"the database {path} cannot be written: give this user the right to write the file and its")
    assert path.read_bytes() == before
    somebody.chmod(0o755)

    async def finished(_: LocalWorld) -> int:
        async with worker(app):
            return await get_run(run.run_id).return_value(timeout=50)

    assert on_local(path, finished) == 1


@pytest.mark.skipif(
    not Path("/proc/self").exists(), reason="only Linux has a folder in which not even root makes files"
)
def test_a_folder_that_not_even_root_can_write_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    for path in ("/proc/local.db", "/proc/.wdk/local.db"):
        text = refused(monkeypatch, WDK_LOCAL_PATH=path)
        assert text.startswith(f"the database {path} cannot be made (")
        assert text.endswith("give this user the right to write its folder, or set WDK_LOCAL_PATH to another place")


# -- a full disk --------------------------------------------------------------------------------------------------------------


def room(world: LocalWorld, pages: int) -> None:
    """So many pages more than it has may the file have; SQLite says of the next one what it says of a full disk."""
    ((count,),) = world._database.read("PRAGMA page_count")
    world._database.read(f"PRAGMA max_page_count = {count + pages}")


def test_a_start_on_a_full_disk_starts_nothing_and_says_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "local.db"

    async def scenario(world: LocalWorld) -> None:
        room(world, 0)
        begun: list[str] = []

        async def use_up_the_pages_that_are_there() -> None:
            for _ in range(1000):
                begun.append((await start(loading, 1)).run_id)

        with pytest.raises(WorldUnavailableError) as caught:
            await use_up_the_pages_that_are_there()
        assert str(caught.value) == (
            f"the disk of {path} is full: nothing of this was written; make room, the runs go on by themselves"
        )
        there = {info.run_id for info in await list_runs(limit=1000)}
        assert there >= set(begun)
        assert len(there) <= len(begun) + 1  # the run was written, its first message not: the sweep sends it
        room(world, 10_000)
        async with worker(app):
            assert await (await start(loading, 7)).return_value(timeout=50) == 7
            for run_id in begun:
                assert await get_run(run_id).return_value(timeout=50) == 1

    on_local(path, scenario)
    assert loads.count(7) == 1


def test_a_run_whose_disk_fills_goes_on_when_there_is_room(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The result of its step finds no room. The step has run: its result is kept, or the step is tried again."""
    path = tmp_path / "local.db"

    async def scenario(world: LocalWorld) -> tuple[int, list[str]]:
        async with worker(app):
            assert await (await start(loading, 1)).return_value(timeout=50) == 1
            room(world, 40)
            run = await start(loading, 1_000_000)
            await until(lambda: f"the disk of {path} is full: nothing of this was written; make room" in caplog.text)
            assert await run.status() == "running"
            assert "step_completed" not in [event.type async for event in run.events()]
            room(world, 10_000)
            return await run.return_value(timeout=50), [event.type async for event in run.events()]

    size, types = on_local(path, scenario)
    assert size == 1_000_000
    assert types.count("step_completed") == 1
    assert types[-1] == "run_completed"
    with closing(sqlite3.connect(path)) as sql:
        assert sql.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


FILLS = """
import asyncio, resource, sys
from pathlib import Path
from tests.e2e.test_bad_worlds import fill
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]),) * 2)
asyncio.run(fill(Path(sys.argv[1])))
"""


async def fill(path: Path) -> None:
    """Start runs until the file may not grow; print which have begun, then what was said."""
    world = LocalWorld(path)
    await world.open()
    with use_world(world):
        try:
            for _ in range(100_000):
                print((await start(loading, 1)).run_id)
        except WorldUnavailableError as error:
            print(error)
    await world.close()


def test_a_process_that_may_write_no_more_leaves_only_whole_runs(tmp_path: Path) -> None:
    """A limit of the system itself: a write of SQLite ends in the middle of a page.

    `start` writes the run, then its first message. If the second of them was refused, the run is there, whole, and the
    sweep sends what is missing, as it does after a death between the two.
    """
    path = tmp_path / "local.db"
    on_local(path, lambda _: list_runs())
    done = subprocess.run(
        [sys.executable, "-c", FILLS, str(path), "300001"], capture_output=True, text=True, timeout=50, check=True
    )
    *begun, said = done.stdout.splitlines()
    assert said == (
        f"the disk of {path} failed (disk I/O error): nothing of this was written; look at its room, at quotas and limits "
        "of file sizes, and at the system's log. The runs go on by themselves"
    )
    assert len(begun) > 10

    async def scenario(world: LocalWorld) -> None:
        there = {info.run_id for info in await list_runs(limit=1000)}
        assert there >= set(begun)
        without_message = there - set(begun)
        assert len(without_message) <= 1
        for head in await world.runs.overdue(world.clock.now() + 3600, 1000):
            if head.run_id in without_message:
                without_message.remove(head.run_id)
                message = Message(kind="sweep", run_id=head.run_id, birth=head.birth, identity="of the sweep")
                await world.queue.send([(message, 0.0)])
        assert not without_message
        async with worker(app):
            for run_id in there:
                assert await get_run(run_id).return_value(timeout=50) == 1

    on_local(path, scenario)
    with closing(sqlite3.connect(path)) as sql:
        assert sql.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
