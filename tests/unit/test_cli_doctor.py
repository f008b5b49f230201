"""`wdk doctor`: what it says of this environment and of the local world, and how adapters bring a check-up of theirs."""

import importlib.metadata
import json
import os
import platform
import sqlite3
import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from tests.unit.test_cli import answer, complaint, shop, wdk
from wdk_cloud.cli import checkup, variables
from wdk_cloud.engine.settings import Settings
from wdk_cloud.findings import GROUP

__all__ = ["shop"]

SLUGS = ["versions", "settings", "app", "hash-seed", "local-file"]


def examined(*words, code=0):
    """The document, with findings by slug; of several with one slug the last."""
    found = json.loads(wdk("doctor", *words, "--json", code=code).stdout)
    assert found["healthy"] is (code == 0)
    for one in found["findings"]:
        assert one["well"] is (one["mend"] is None)
    return found


def finding(slug, *words, code=0):
    (found,) = [one for one in examined(*words, code=code)["findings"] if one["slug"] == slug]
    return found["seen"], found["mend"]


def test_all_is_well_where_nothing_was_made_yet_and_nothing_is_made():
    found = examined()
    assert [one["slug"] for one in found["findings"]] == SLUGS
    assert found["world"] == "local"
    assert {"name": "WDK_LEASE", "value": "30s", "from": "default"} in found["settings"]
    assert {"name": "WDK_APP", "value": "shop:app", "from": "environment"} in found["settings"]
    assert {"name": "WDK_PUBLIC_URL", "value": None, "from": "not set"} in found["settings"]
    lines = answer("doctor").splitlines()
    assert lines[0] == "WDK_APP                     shop:app (environment)"
    assert (
        lines[-1] == f"well   local-file  {Path('.wdk/local.db').absolute()} is not there yet; the first run makes it"
    )
    assert not Path(".wdk").exists()


def test_what_is_shown_as_default_is_the_default():
    assert Settings.from_environment({name: text for name, text in variables.DEFAULTS.items() if text}) == Settings()


@pytest.mark.parametrize(
    ("name", "value", "seen", "mend"),
    [
        ("WDK_LEASE", "1s", "WDK_LEASE '1s' is too small; the least is 3 s", "export WDK_LEASE=30s"),
        ("WDK_RETENTION", "soon", "WDK_RETENTION 'soon' is not understood", "export WDK_RETENTION=30d"),
        ("WDK_ROLE", "boss", "WDK_ROLE='boss' is not known; there are: all, worker, receiver", "export WDK_ROLE=all"),
        ("WDK_ENCRYPTION_KEY", "c2hvcnQ=", "WDK_ENCRYPTION_KEY", "unset WDK_ENCRYPTION_KEY"),
        (
            "WDK_INLINE_LIMITS",
            "4",
            "WDK_INLINE_LIMITS is set, and no setting has that name; WDK_INLINE_LIMIT, which is not set, is near to it",
            "export WDK_INLINE_LIMIT=4; unset WDK_INLINE_LIMITS",
        ),
    ],
)
def test_a_setting_that_is_wrong_comes_with_the_line_that_mends_it(monkeypatch, name, value, seen, mend):
    monkeypatch.setenv(name, value)
    said, command = finding("settings", code=1)
    assert said.startswith(seen)
    assert command == mend
    assert "c2hvcnQ=" not in wdk("doctor", code=1).stdout  # a key is a secret, a bad one too


def test_two_settings_that_are_wrong_are_two_findings(monkeypatch):
    monkeypatch.setenv("WDK_LEASE", "1s")
    monkeypatch.setenv("WDK_ROLE", "boss")
    assert complaint("doctor", code=1).endswith("error: 2 things are wrong: settings\n".strip())


def test_the_code_of_the_app_is_looked_at(monkeypatch):
    said, _ = finding("app")
    assert said.startswith("shop:app: 2 workflows, code version ")
    assert finding("app", "--app", "shop:other", code=1)[0].startswith("shop:other must be an app (Workflows)")
    said, command = finding("app", "--app", "nowhere:app", code=1)
    assert said.startswith("nowhere:app: there is no module 'nowhere'")
    assert command == "python -c 'import nowhere'"
    monkeypatch.delenv("WDK_APP")
    assert finding("app")[0].startswith("WDK_APP is not set; ")


def test_adapters_belong_to_one_version(monkeypatch):
    there = {"wdk-cloud": "0.2.0", "wdk-cloud-aws": "0.1.0", "wdk-cloud-gcp": "0.2.0"}
    monkeypatch.setattr(checkup, "version", there.__getitem__)
    python = platform.python_version()
    assert finding("versions", code=1) == (
        f"Python {python}, wdk-cloud 0.2.0, wdk-cloud-aws 0.1.0, wdk-cloud-gcp 0.2.0: they belong together at one version",
        "python -m pip install wdk-cloud-aws==0.2.0",
    )


def test_the_file_of_runs_is_opened():
    answer("start", "nap")
    assert finding("local-file") == (f"{Path('.wdk/local.db').absolute()}: it can be opened and written", None)


def test_a_file_that_is_no_database_is_wrong():
    Path("runs.db").write_text("a letter to my aunt, of more than sixteen letters")
    os.environ["WDK_LOCAL_PATH"] = "runs.db"
    try:
        seen, mend = finding("local-file", code=1)
    finally:
        del os.environ["WDK_LOCAL_PATH"]
    assert str(Path("runs.db").absolute()) in seen
    assert mend == "export WDK_LOCAL_PATH=~/.wdk/local.db"
    assert Path("runs.db").read_text().startswith("a letter")


def test_a_file_of_a_newer_version_is_wrong():
    answer("start", "nap")
    with sqlite3.connect(".wdk/local.db") as database:
        database.execute("PRAGMA user_version = 999")
    database.close()
    assert "newer" in finding("local-file", code=1)[0]


def test_a_place_that_cannot_hold_a_file_is_wrong(monkeypatch):
    Path("taken").write_text("")
    monkeypatch.setenv("WDK_LOCAL_PATH", "taken/runs.db")
    seen, mend = finding("local-file", code=1)
    assert seen == f"{Path('taken/runs.db').absolute()} cannot be made: {Path('taken').absolute()} is no folder"
    assert mend == "export WDK_LOCAL_PATH=~/.wdk/local.db"


def test_a_file_of_somebody_else_is_wrong(monkeypatch):
    answer("start", "nap")
    monkeypatch.setattr(os, "access", lambda path, mode: not str(path).endswith(".wdk"))  # the tests may run as root
    seen, mend = finding("local-file", code=1)
    folder = Path(".wdk").absolute()
    assert seen == f"{folder} may not be written by this user"
    assert mend == f"sudo chown {os.getuid()} {folder} && chmod u+rw {folder}"


def test_the_hash_seed_of_this_process_is_said(monkeypatch):
    monkeypatch.setattr(checkup, "hash_seed_is_fixed", lambda: False)
    monkeypatch.delenv("PYTHONHASHSEED", raising=False)
    assert finding("hash-seed")[0].startswith("PYTHONHASHSEED is not set here; wdk dev, wdk worker")


ADAPTER = """
from wdk_cloud.findings import Doctor, Finding

async def examine(functions):
    return [Finding("cloud", f"asked for {list(functions)}"), Finding("rain", "it rains", "umbrella open")]

doctor = Doctor(examine, {"WDK_TEST_PLACE": "here"})
"""


@pytest.fixture
def adapter(tmp_path, monkeypatch):
    (tmp_path / "testcloud_doctor.py").write_text(ADAPTER)
    monkeypatch.syspath_prepend(str(tmp_path))
    points = [EntryPoint("testcloud", "testcloud_doctor:doctor", GROUP)]
    monkeypatch.setattr(importlib.metadata, "entry_points", lambda *, group: points if group == GROUP else [])
    yield
    sys.modules.pop("testcloud_doctor", None)


def test_a_world_of_an_adapter_has_a_checkup_of_its_own(adapter):
    found = examined("--world", "testcloud", "--function", "one", "--function", "two", code=1)
    assert [one["slug"] for one in found["findings"]] == ["versions", "settings", "app", "cloud", "rain"]
    assert found["findings"][3]["seen"] == "asked for ['one', 'two']"
    assert found["findings"][4]["mend"] == "umbrella open"
    assert {"name": "WDK_TEST_PLACE", "value": "here", "from": "default"} in found["settings"]
    said = wdk("doctor", "--world", "testcloud", code=1)
    assert said.stdout.splitlines()[-2:] == ["wrong  rain      it rains", "                 $ umbrella open"]
    assert said.stderr == "error: 1 thing is wrong: rain\n"


def test_functions_are_named_by_a_setting_too(adapter, monkeypatch):
    monkeypatch.setenv("WDK_FUNCTION", "three")
    assert examined("--world", "testcloud", code=1)["findings"][3]["seen"] == "asked for ['three']"


def test_a_world_that_nobody_knows_is_wrong_usage():
    assert complaint("doctor", "--world", "moon", code=2).startswith("error: WDK_WORLD='moon' is not known here")


def test_a_world_without_a_checkup_is_at_least_made():
    assert finding("world", "--world", "memory")[0] == "memory can be made; it brings no check-up of its own"
