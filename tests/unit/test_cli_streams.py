"""The command line on streams: which there are, what they hold, and following one."""

import asyncio
import base64
import json
import os
import pty
import signal
import subprocess
import sys

import pytest

from tests.unit.test_cli import answer, complaint, document, serve, shop, wdk
from wdk_cloud import worker
from wdk_cloud.client import start
from wdk_cloud.world.local import LocalWorld
from wdk_cloud.world.opening import use_world

__all__ = ["shop"]

WRITES = """
from wdk_cloud import Workflows, create_hook, get_writable

app = Workflows()

@app.step
async def write(name: str | None, chunks: list, close: bool = False) -> None:
    writer = get_writable(name)
    await writer.write_from(chunks)
    if close:
        await writer.close()

@app.workflow
async def writes(chunks: list, name: str | None = None) -> None:
    await write(name, chunks)

@app.workflow
async def waits(chunks: list) -> None:
    await write("closed", chunks, close=True)
    await write(None, chunks)
    await write(None, await create_hook("more"))
"""


@pytest.fixture(autouse=True)
def writing(shop, monkeypatch):
    monkeypatch.syspath_prepend(str(shop))
    (shop / "shop.py").write_text(WRITES)


def written(chunks):
    """A run that has ended, with these in its stream."""
    import shop

    async def main():
        world = LocalWorld()
        await world.open()
        try:
            with use_world(world):
                async with worker(shop.app):
                    run = await start(shop.writes, chunks)
                    await run.return_value(timeout=20)
                    return run.run_id
        finally:
            await world.close()

    return asyncio.run(main())


def test_the_streams_of_a_run_are_listed():
    run_id = answer("start", "waits", "[1, 2]")
    serve(run_id, until="hook_created")
    assert document("inspect", "streams", run_id) == {
        "run_id": run_id,
        "streams": [
            {"name": "closed", "tail_index": 1, "closed": True},
            {"name": "default", "tail_index": 1, "closed": False},
        ],
        "cursor": None,
    }
    lines = [line.split() for line in answer("inspect", "streams", run_id).splitlines()]
    assert lines == [["stream", "chunks", "state"], ["closed", "2", "closed"], ["default", "2", "open"]]


def test_the_streams_of_a_run_are_listed_in_pages():
    run_id = answer("start", "waits", "[1]")
    serve(run_id, until="hook_created")
    page = document("inspect", "streams", run_id, "--limit", "1")
    rest = document("inspect", "streams", run_id, "--cursor", page["cursor"])
    names = [[stream["name"] for stream in found["streams"]] for found in (page, rest)]
    assert (names, rest["cursor"]) == ([["closed"], ["default"]], None)


def test_a_run_without_streams_has_none():
    run_id = answer("start", "writes", "[]")
    assert answer("inspect", "streams", run_id) == "no streams"


def test_a_stream_is_shown_as_it_was_written():
    run_id = written(["grü", "ße\n", {"a": 1}, b"\x00\xff", None])
    assert wdk("inspect", "stream", run_id).stdout_bytes == "grüße\n".encode() + b'{"a":1}\n\x00\xffnull\n'


def test_a_stream_is_shown_as_a_document_for_each_chunk():
    run_id = written(["a\nb", 1.5, b"\x00\xff"])
    lines = wdk("inspect", "stream", run_id, "--json").stdout.splitlines()
    assert [json.loads(line) for line in lines] == [
        {"index": 0, "value": "a\nb"},
        {"index": 1, "value": 1.5},
        {"index": 2, "value": {"$bytes": base64.b64encode(b"\x00\xff").decode()}},
    ]


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        (["--start-index", "3"], [3, 4]),
        (["--start-index", "-1"], [4]),
        (["--start-index", "99"], []),
        (["--limit", "2"], [0, 1]),
        (["--start-index", "1", "--limit", "9"], [1, 2, 3, 4]),
        (["nothing"], []),
    ],
)
def test_a_part_of_a_stream_is_shown(words, shown):
    run_id = written([0, 1, 2, 3, 4])
    lines = wdk("inspect", "stream", run_id, *words, "--json").stdout.splitlines()
    assert [json.loads(line)["index"] for line in lines] == shown


def test_a_stream_that_was_never_written_is_said_beside_those_that_were():
    run_id = written([1])
    assert wdk("inspect", "stream", run_id, "nothing").stderr == (
        "nothing was written to a stream nothing; streams of the run: default\n"
    )
    assert wdk("inspect", "stream", run_id, "--start-index", "99").stderr == ""
    assert "streams of the run: none" in wdk("inspect", "stream", written([])).stderr


def test_what_is_not_there_or_makes_no_sense_is_said():
    run_id = written([1])
    for command in ("stream", "streams"):
        assert "nobody" in complaint("inspect", command, "nobody", code=1)
    assert "does not begin with '@'" in complaint("inspect", "stream", run_id, "@x", code=2)
    assert "--start-index" in complaint("inspect", "stream", run_id, "--start-index", "x", code=2)
    assert "a run id" in complaint("inspect", "stream", "a b", code=2)


def test_an_encrypted_stream_is_shown_to_whoever_asks_for_it(monkeypatch):
    monkeypatch.setenv("WDK_ENCRYPTION_KEY", base64.b64encode(bytes(32)).decode())
    run_id = written(["secret"])
    said = complaint("inspect", "stream", run_id, code=1)
    assert "pass --decrypt" in said
    assert "secret" not in said
    assert answer("inspect", "stream", run_id, "--decrypt") == "secret"


# --- following, in a process of its own --------------------------------------------------------------------------------


def following(shop, run_id, *words, **io):
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "NO_COLOR": "1"}
    command = [sys.executable, "-m", "wdk_cloud.cli", "inspect", "stream", run_id, *words]
    return subprocess.Popen(command, cwd=shop, env=env, **io)


def test_a_stream_is_followed_live_until_its_run_ends(shop):
    run_id = answer("start", "waits", '["first"]')
    serve(run_id, until="hook_created")
    process = following(shop, run_id, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout.read(5) == b"first"
    answer("resume", "more", "--payload", '["second"]')
    serve(run_id)
    rest, complained = process.communicate(timeout=20)
    assert (rest, complained, process.returncode) == (b"second", b"", 0)


def test_ctrl_c_ends_following_without_a_word(shop):
    run_id = answer("start", "waits", '["first"]')
    serve(run_id, until="hook_created")
    process = following(shop, run_id, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout.read(5) == b"first"
    process.send_signal(signal.SIGINT)
    rest, complained = process.communicate(timeout=20)
    assert (rest, complained, process.returncode) == (b"", b"", 130)


def test_a_terminal_is_shown_no_control_codes_and_gets_its_line_back(shop):
    run_id = written(["a\x1b[31mred\n", b"\xff", "end"])
    mine, theirs = pty.openpty()
    process = following(shop, run_id, stdout=theirs, stderr=theirs)
    assert process.wait(timeout=20) == 0
    os.close(theirs)
    shown = os.read(mine, 1000)
    os.close(mine)
    assert shown == rb"a\x1b[31mred" + b"\r\n" + rb"\xffend" + b"\r\n"
