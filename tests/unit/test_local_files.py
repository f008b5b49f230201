"""The file of the local world: how it is made, and what is refused with which words."""

import asyncio
import os
import sqlite3
import stat
import tempfile
import threading
from contextlib import closing
from pathlib import Path

import pytest

from wdk_cloud.errors import WorldConfigurationError, WorldUnavailableError
from wdk_cloud.world.local import LocalWorld, connection, open_world
from wdk_cloud.world.local import database as database_module
from wdk_cloud.world.local.schema import APPLICATION_ID, HEAD_FIELDS, VERSION, VERSION_1
from wdk_cloud.world.ports import Batch, Head, Trouble


def open_and_close(path, **options):
    async def main():
        world = LocalWorld(path, **options)
        await world.open()
        await world.close()

    asyncio.run(main())


def refused(path):
    with pytest.raises(WorldConfigurationError) as caught:
        open_and_close(path)
    return str(caught.value)


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077, 0o277, 0o777], ids=oct)
def test_opening_makes_a_folder_and_files_for_their_owner_alone(umask, tmp_path):
    path = tmp_path / ".wdk" / "local.db"

    async def main():
        world = LocalWorld(path)
        await world.open()
        await world.runs.create(Head(run_id="run", birth="b", workflow="w", created_at=1.0, seed=b"", input_digest=""))
        modes = {entry.name: mode(entry) for entry in path.parent.iterdir()}
        await world.close()
        return modes

    before = os.umask(umask)
    try:
        modes = asyncio.run(main())
    finally:
        os.umask(before)
    assert modes == {"local.db": 0o600, "local.db-wal": 0o600, "local.db-shm": 0o600}
    assert mode(path.parent) == 0o700
    assert [entry.name for entry in path.parent.iterdir()] == ["local.db"]


def test_a_folder_we_may_not_look_into_is_refused(somebody):
    somebody.chmod(0o000)
    assert refused(somebody / "local.db").startswith(
        f"the database {somebody / 'local.db'} cannot be made (Permission "
    )


def test_a_folder_that_was_there_keeps_its_rights(tmp_path):
    tmp_path.chmod(0o755)
    open_and_close(tmp_path / "local.db")
    assert mode(tmp_path) == 0o755


def test_the_file_says_whose_it_is_and_of_which_version(tmp_path):
    path = tmp_path / "local.db"
    open_and_close(path)
    sql = sqlite3.connect(path)
    try:
        assert sql.execute("PRAGMA application_id").fetchone() == (APPLICATION_ID,)
        assert sql.execute("PRAGMA user_version").fetchone() == (VERSION,)
        assert sql.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        columns = {row[1] for row in sql.execute("PRAGMA table_info(heads)")}
    finally:
        sql.close()
    assert columns == {*HEAD_FIELDS, "namespace", "owner", "unclean"}


def test_path_and_sync_come_from_the_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("WDK_LOCAL_PATH", str(tmp_path / "named.db"))
    monkeypatch.setenv("WDK_LOCAL_SYNC", "full")

    async def main():
        world = open_world("shop")
        await world.open()
        try:
            return world.path, world.namespace, world._database.read("PRAGMA synchronous")
        finally:
            await world.close()

    assert asyncio.run(main()) == (tmp_path / "named.db", "shop", [(2,)])


def test_the_path_is_below_the_working_directory_by_default(tmp_path, monkeypatch):
    monkeypatch.delenv("WDK_LOCAL_PATH", raising=False)
    monkeypatch.chdir(tmp_path)
    assert LocalWorld().path == tmp_path / ".wdk" / "local.db"


def test_an_unknown_sync_is_refused():
    with pytest.raises(WorldConfigurationError) as caught:
        LocalWorld("x.db", sync="off")
    assert str(caught.value).startswith("WDK_LOCAL_SYNC is 'off'; it can be 'normal', ")


def test_a_file_that_is_no_database_is_refused_and_left_as_it_is(tmp_path):
    path = tmp_path / "notes.txt"
    path.write_bytes(b"to do: buy milk\n" * 100)
    assert refused(path) == (
        f"the file {path} is not a database of wdk-cloud, and was left as it is; set WDK_LOCAL_PATH to another place, "
        "or move that file away"
    )
    assert path.read_bytes() == b"to do: buy milk\n" * 100
    assert list(tmp_path.iterdir()) == [path]


def test_a_database_of_somebody_else_is_refused_and_left_as_it_is(tmp_path):
    path = tmp_path / "theirs.db"
    sql = sqlite3.connect(path)
    sql.execute("CREATE TABLE theirs (x)")
    sql.close()
    before = path.read_bytes()
    assert refused(path).startswith(f"the file {path} is not a database of wdk-cloud")
    assert path.read_bytes() == before


def test_a_database_of_a_newer_version_is_refused(tmp_path):
    path = tmp_path / "local.db"
    open_and_close(path)
    sql = sqlite3.connect(path)
    sql.execute(f"PRAGMA user_version = {VERSION + 1}")
    sql.close()
    assert refused(path) == (
        f"the database {path} was written by a newer wdk-cloud (format {VERSION + 1}, this one knows up to {VERSION}); "
        "install that version or a later one, or set WDK_LOCAL_PATH to another file"
    )


def test_an_empty_file_becomes_a_database(tmp_path):
    path = tmp_path / "local.db"
    path.touch()
    open_and_close(path)
    assert path.stat().st_size > 0


def test_a_folder_as_path_is_refused(tmp_path):
    assert refused(tmp_path) == (
        f"WDK_LOCAL_PATH names the folder {tmp_path}; name a file in it, for example {tmp_path / 'local.db'}"
    )


def test_a_path_through_a_file_is_refused(tmp_path):
    (tmp_path / "file").touch()
    assert refused(tmp_path / "file" / "local.db").startswith("the database ")


@pytest.fixture
def somebody():
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


def test_a_read_only_folder_is_refused(somebody):
    path = somebody / "local.db"
    somebody.chmod(0o555)
    assert refused(path) == (
        f"the database {path} cannot be made (Permission denied): give this user the right to write its folder, or "
        "set WDK_LOCAL_PATH to another place"
    )
    assert list(somebody.iterdir()) == []


def test_a_read_only_file_is_refused(somebody):
    path = somebody / "local.db"
    open_and_close(path)
    path.chmod(0o444)
    assert refused(path).startswith(f"the database {path} cannot be written: give this user the right to write ")


def test_a_file_in_a_folder_that_became_read_only_is_refused(somebody):
    path = somebody / "local.db"
    open_and_close(path)
    somebody.chmod(0o555)
    assert refused(path).startswith(f"the database {path} cannot be written: give this user the right to write ")


def test_a_locked_file_is_waited_for_and_then_reported(tmp_path, monkeypatch):
    path = tmp_path / "local.db"
    open_and_close(path)
    monkeypatch.setattr(database_module, "PATIENCE", 0.0)
    holder = sqlite3.connect(path, isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    try:
        with pytest.raises(WorldUnavailableError, match="stayed locked by another process"):
            open_and_close(path)
    finally:
        holder.close()
    open_and_close(path)


def test_a_world_that_is_not_open_says_so(tmp_path):
    async def main():
        world = LocalWorld(tmp_path / "local.db")
        with pytest.raises(WorldUnavailableError, match=r"is not open: await its open\(\) first"):
            await world.runs.head("run")
        with pytest.raises(WorldUnavailableError, match=r"is not open: await its open\(\) first"):
            await world.runs.append("run", "birth", Batch(at=1, count=1, fence=1, nonce="n", data=b""))
        with pytest.raises(WorldUnavailableError, match=r"is not open: await its open\(\) first"):
            world.runs.renew("run", "birth", holder="m", fence=1, until=1.0)

    asyncio.run(main())


def test_a_world_stays_open_until_its_last_user_closes_it(tmp_path):
    async def main():
        world = LocalWorld(tmp_path / "local.db")
        shop = world.scoped("shop")
        await shop.open()
        await world.open()
        await world.open()
        await world.close()
        await world.close()
        assert await shop.runs.head("run") is None
        await shop.close()
        with pytest.raises(WorldUnavailableError):
            await shop.runs.head("run")

    asyncio.run(main())


def test_every_field_of_a_head_comes_back_as_it_was(tmp_path):
    full = Head(
        run_id="run",
        birth="birth",
        workflow="workflow",
        created_at=1767225600.123456,
        seed=bytes(range(32)),
        input_digest="digest",
        input=b"\0input",
        status="running",
        not_before=40.0,
        data_key="key",
        parent="parent",
        root="root",
        trace="trace",
        idempotency_key="idempotency",
        version="v1",
        last_version="v2",
        holder="holder",
        fence=3,
        until=50.0,
        dirty=True,
        last="last",
        armed=60.0,
        stalls=1,
        stalls_length=2,
        length=3,
        retired=("1", 'with "quotes"', "with\nnewline", "line\u2028separator", "ünï"),
        trouble=Trouble(reason="why", since=1.0, count=2, onward="message-9", interrupt=True),
        ended_at=70.0,
        end_at=4,
        error_code="RUNTIME_ERROR",
        continued_from="before",
        continued_to="after",
        wake_by=80.0,
    )
    least = Head(run_id="least", birth="b", workflow="w", created_at=2.0, seed=b"", input_digest="")

    async def main():
        world = LocalWorld(tmp_path / "local.db")
        await world.open()
        try:
            await world.runs.create(full)
            await world.runs.create(least)
            found = await world.runs.head("run"), await world.runs.head("least")
            changed = await world.runs.change("run", "birth", {"stalls": 0}, holder="holder", fence=3)
        finally:
            await world.close()
        return found, changed

    (found, other), (written, changed) = asyncio.run(main())
    assert (found, other, written) == (full, least, True)
    assert all(
        getattr(full, name) != field for name, field in zip(HEAD_FIELDS, (None,) * len(HEAD_FIELDS), strict=True)
    )
    assert [type(getattr(changed, name)) for name in HEAD_FIELDS] == [type(getattr(full, name)) for name in HEAD_FIELDS]


def test_a_file_of_version_1_gets_the_columns_that_came_later_and_keeps_its_runs(tmp_path):
    path = tmp_path / "local.db"
    with closing(sqlite3.connect(path)) as sql:
        sql.executescript(VERSION_1)
        sql.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        sql.execute("PRAGMA user_version = 1")
        sql.execute(
            "INSERT INTO heads VALUES ('', 'old', 'b', 'w', 1.0, x'00', 'd', 'completed', 0.0, NULL, NULL, NULL, NULL, "
            "NULL, '1', '1', NULL, 1, 0.0, 0, NULL, NULL, 0, 0, 3, '', NULL, 2.0, 3, NULL, 0.0, NULL, 0, NULL)"
        )
        sql.commit()

    async def main():
        world = LocalWorld(path)
        await world.open()
        try:
            return await world.runs.head("old")
        finally:
            await world.close()

    head = asyncio.run(main())
    assert (head.status, head.length, head.continued_from, head.continued_to) == ("completed", 3, None, None)


def test_a_file_that_another_process_makes_just_now_is_not_taken_for_a_strangers(tmp_path):
    """The other one is quick, and comes between two of the looks at a file that was empty at the first."""
    path = tmp_path / "local.db"
    with closing(sqlite3.connect(path)) as other:
        other.execute("PRAGMA journal_mode = WAL")
    made = []

    def meanwhile(statement):
        if statement == "PRAGMA user_version":
            made.append(connection.connect(path, "normal"))

    with closing(sqlite3.connect(path, isolation_level=None)) as ours:
        ours.set_trace_callback(meanwhile)
        assert connection._checked_version(ours, path) == 0
        ours.set_trace_callback(None)
        assert connection._checked_version(ours, path) == connection.VERSION
    assert len(made) == 1
    made[0].close()


def test_several_that_open_one_new_file_at_once_all_get_it(tmp_path):
    together, failed = threading.Barrier(4), []

    def one():
        for number in range(100):
            path = tmp_path / str(number) / "local.db"
            together.wait()
            try:
                connection.prepare_file(path)
                connection.connect(path, "normal").close()
            except Exception as error:  # whatever it is: nobody may be turned away
                failed.append(f"{number}: {error!r}")

    threads = [threading.Thread(target=one) for _ in range(together.parties)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
