"""Commands of adapters: found through entry points, loaded when they are asked for."""

import importlib.metadata
import sys
import tomllib
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from tests.unit.test_cli import complaint, wdk
from wdk_cloud.cli import adapters

ROOT = Path(__file__).parents[2]

SOURCE = '''
import typer
from typing import Annotated

def add_aws(program: typer.Typer) -> None:
    program.command(epilog="Example: wdk build testcloud --size 2")(testcloud)

def testcloud(size: Annotated[int, typer.Option(help="How big.")] = 1) -> None:
    """Build for the tests' cloud."""
    print("built", size)

def add_shine(program: typer.Typer) -> None:
    program.command()(shine)

def shine() -> None:
    """Shine."""
    print("shining")
'''

POINTS = {
    "build.testcloud": "testcloud_commands:add_aws",
    "build.broken": "testcloud_missing:aws",
    "shine": "testcloud_commands:add_shine",
}


@pytest.fixture(autouse=True)
def looked(tmp_path, monkeypatch):
    """The distributions that are installed; a list with an item for each time that they were looked through."""
    looked = []

    def entry_points(*, group):
        assert group == "wdk_cloud.commands"
        looked.append(group)
        return [EntryPoint(name, value, group) for name, value in POINTS.items()]

    (tmp_path / "testcloud_commands.py").write_text(SOURCE)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(importlib.metadata, "entry_points", entry_points)
    forget()
    yield looked
    forget()
    sys.modules.pop("testcloud_commands", None)


def forget():
    adapters._found.cache_clear()
    adapters._command.cache_clear()


def test_a_command_of_an_adapter_runs_alone_or_in_a_group():
    assert wdk("build", "testcloud", "--size", "3").stdout == "built 3\n"
    assert wdk("shine").stdout == "shining\n"


def test_help_shows_the_commands_of_adapters_beside_ours():
    text = wdk("--help").stdout
    assert [word for word in ("build", "shine", "inspect") if f"  {word} " not in text] == []
    assert "Build what a cloud is given to run." in text
    inner = wdk("build", "--help").stdout
    assert "Build for the tests' cloud." in inner
    assert "Example: wdk build testcloud --size 2" in wdk("build", "testcloud", "--help").stdout


def test_our_own_commands_look_through_no_distribution(looked):
    wdk("--version")
    wdk("inspect", "--help")
    assert looked == []
    wdk("shine")
    assert looked == ["wdk_cloud.commands"]
    assert "testcloud_commands" in sys.modules


def test_a_command_that_cannot_be_loaded_says_why_and_leaves_the_others_alone():
    assert "It cannot be loaded." in wdk("build", "--help").stdout
    said = complaint("build", "broken", code=1)
    assert "testcloud_missing:aws (wdk_cloud.commands) cannot be loaded: ModuleNotFoundError: No module named" in said


def test_every_command_says_on_one_line_what_it_is_for():
    for words in ([], ["inspect"]):
        listed = wdk(*words, "--help").stdout.partition("Commands:")[2].partition("Example:")[0]
        assert [line for line in listed.splitlines() if line.endswith("...")] == []
    groups = {name.partition(".")[0] for name in ours() if "." in name}
    assert groups == adapters.ABOUT.keys()


def ours():
    """The names of the commands that the adapters of this repository bring."""
    for project in ("aws", "gcp"):
        text = (ROOT / "adapters" / project / "pyproject.toml").read_text()
        yield from tomllib.loads(text)["project"]["entry-points"]["wdk_cloud.commands"]


def test_a_command_that_nobody_brings_is_wrong_usage():
    assert "No such command 'fly'" in complaint("fly", code=2)
    assert "No such command 'mars'" in complaint("build", "mars", code=2)


def test_a_command_of_an_adapter_that_is_not_installed_says_what_to_install():
    said = complaint("deploy", code=2)
    assert "`wdk deploy` comes with an adapter, and none that has it is installed: pip install" in said
    assert '"wdk-cloud[aws]" or pip install "wdk-cloud[gcp]"' in said
    assert complaint("rehearse", "aws", code=2).endswith('is installed: pip install "wdk-cloud[aws]"')
    assert complaint("build", "gcp", code=2).endswith('is installed: pip install "wdk-cloud[gcp]"')
