"""Which code started a run: what `start` writes is what a worker computes for the same sources."""

import asyncio
import importlib
import os
import sys
from pathlib import Path

import pytest

from wdk_cloud import start
from wdk_cloud.engine.version import code_version, version_of, written_by_newer
from wdk_cloud.testing import workflow_env

SOURCE = """
from wdk_cloud import Workflows

app = Workflows()

@app.workflow
async def nine() -> int:
    return 9
"""


@pytest.fixture
def versioned(tmp_path, monkeypatch):
    """A module with an app, written at a known time."""
    for name in [name for name in os.environ if name.startswith("WDK_")]:
        monkeypatch.delenv(name)
    path = tmp_path / "versioned.py"
    path.write_text(SOURCE)
    os.utime(path, (1_700_000_000, 1_700_000_000))
    monkeypatch.syspath_prepend(str(tmp_path))
    yield importlib.import_module("versioned"), path
    del sys.modules["versioned"]


def started_by(module):
    """The version in the run's head and in its first event."""

    async def main():
        async with workflow_env("memory", module.app) as env:
            run = await start(module.nine)
            await env.run_until_blocked()
            (first, *_) = [event async for event in run.events()]
            return (await run.info()).version, first.data["version"]

    return asyncio.run(main())


def test_a_run_records_the_version_that_a_worker_computes_from_the_sources(versioned):
    module, _ = versioned
    version = code_version([module.app])
    assert version.startswith("1700000000.")
    assert started_by(module) == (version, version)


def test_a_version_of_the_environment_goes_before_the_computed_one(versioned, monkeypatch):
    monkeypatch.setenv("WDK_CODE_VERSION", "release-7")
    assert started_by(versioned[0]) == ("release-7", "release-7")


def test_the_version_is_that_of_what_was_loaded_not_of_what_was_edited_since(versioned):
    module, path = versioned
    version = version_of(module.app)
    path.write_text(SOURCE.replace("9", "10"))
    assert version_of(module.app) == version
    assert code_version([module.app]) != version


def test_the_version_is_computed_anew_when_the_app_declares_more(versioned):
    module, path = versioned
    version = version_of(module.app)
    path.write_text(SOURCE.replace("9", "10"))

    @module.app.step
    async def more() -> None: ...

    assert version_of(module.app) not in ("", version)


def test_a_folder_is_looked_through_once_however_many_steps_and_apps_it_declares(tmp_path, monkeypatch):
    """Each process that starts waits for it, a cold function among them."""
    package = tmp_path / "shop"
    package.mkdir()
    (package / "__init__.py").write_text("from shop.one import app as one\nfrom shop.two import app as two\n")
    steps = "".join(f"\n@app.step\nasync def step_{number}() -> None: ...\n" for number in range(20))
    for name in ("one", "two"):
        (package / f"{name}.py").write_text(SOURCE + steps)
    monkeypatch.syspath_prepend(str(tmp_path))
    looked, rglob = [], Path.rglob
    monkeypatch.setattr(Path, "rglob", lambda folder, pattern: looked.append(folder) or rglob(folder, pattern))
    shop = importlib.import_module("shop")
    try:
        both = code_version([shop.one, shop.two])
        assert looked == [package]
        assert both == code_version([shop.one]) == code_version([shop.two])
        (package / "three.py").write_text("# not imported, and of the package all the same\n")
        assert code_version([shop.one]).partition(".")[2] != both.partition(".")[2]
    finally:
        for name in [name for name in sys.modules if name.partition(".")[0] == "shop"]:
            del sys.modules[name]


@pytest.mark.parametrize(
    ("theirs", "mine", "newer"),
    [
        ("1700000001.aaa", "1700000000.bbb", True),
        ("1700000000.aaa", "1700000001.bbb", False),
        ("1700000001.aaa", "1700000000.aaa", False),
        ("v2", "v1", True),
        ("v1", "v1", False),
        ("v2", "1700000000.aaa", True),
        ("1700000000.aaa", "v2", True),
    ],
)
def test_newer_is_what_was_written_later_by_other_code(theirs, mine, newer):
    assert written_by_newer(theirs, mine) is newer
