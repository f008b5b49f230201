"""docs/aws.md, typed as it stands, on a stand-in for AWS."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from tests.aws.stage import ACCOUNT, REGION

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/aws.md").read_text()
WDK = Path(sys.executable).with_name("wdk")
PATIENCE = 60.0


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


def commands(block: str) -> list[tuple[str, str]]:
    """Each command, and what the page says that it prints."""
    return [(command, said) for command, said in re.findall(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", block, re.MULTILINE)]


@pytest.fixture
def typed(ministack: str, tmp_path: Path):
    """Types a command in a shell that keeps what was exported; the page's account and region are the stand-in's."""
    environ = {
        "PATH": f"{WDK.parent}:{os.environ['PATH']}",
        "HOME": str(tmp_path),
        "SIGNUP_SEED": "1",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_REGION": REGION,
        "AWS_DEFAULT_REGION": REGION,
        "AWS_ENDPOINT_URL": ministack,
    }

    def here(text: str) -> str:
        return text.replace(f"https://sqs.{REGION}.amazonaws.com/123456789012", f"{ministack}/{ACCOUNT}")

    def run(command: str) -> str:
        words = shlex.split(here(command))
        if words[0] == "export":
            environ.update(word.split("=", 1) for word in words[1:])
            return ""
        process = start(command, subprocess.PIPE)
        out, err = process.communicate(timeout=PATIENCE)
        assert process.returncode == 0, err
        return out

    def start(command: str, out: object) -> subprocess.Popen[str]:
        words = shlex.split(here(command))
        own = dict(word.split("=", 1) for word in words if re.match(r"[A-Z_]+=", word))
        plain = [word for word in words if not re.match(r"[A-Z_]+=", word)]
        return subprocess.Popen(
            plain, cwd=ROOT / "examples/signup", env={**environ, **own}, text=True, stdout=out, stderr=subprocess.PIPE
        )

    run.start, run.here = start, here
    return run


def test_the_first_run_goes_as_the_page_says(typed, tmp_path):
    setting_up, running, _deploying = blocks("console")  # tests/infra/test_deploy.py types the last one
    for command, said in commands(setting_up):
        assert typed(command) == typed.here(said), command
    (serve, _), (begin, result), (look, _) = commands(running)
    with (tmp_path / "log").open("w") as log:
        server = typed.start(serve + " --port 0", log)
        try:
            assert typed(begin) == result
            (line,) = [line for line in typed(look).splitlines() if "signup" in line]
            assert " completed " in line
        finally:
            server.terminate()
            _, told = server.communicate(timeout=PATIENCE)
    assert server.returncode == 0, told
    assert "PYTHONHASHSEED" not in told
    assert "stopping; runs go on when this, or a function, serves again" in told
    steps = ["creating a user for you@example.com", "welcome, you@example.com", "how is it going, you@example.com?"]
    printed = (tmp_path / "log").read_text().splitlines()
    assert [line for line in printed if line in steps] == steps


def test_the_tests_on_the_page_pass(tmp_path):
    """Each block is a test of its own, as in a project with the signup example."""
    folder = tmp_path / "project"
    shutil.copytree(ROOT / "examples/signup", folder, ignore=shutil.ignore_patterns("__pycache__"))
    on_a_clock, on_moto = blocks("python")
    imports, _, body = on_a_clock.partition("\n\n")
    wrapped = f"import asyncio\n\n\nasync def story():\n{textwrap.indent(body, '    ')}\n\n"
    (folder / "test_clock.py").write_text(f"{imports}\n{wrapped}def test_story():\n    asyncio.run(story())\n")
    (folder / "test_moto.py").write_text(on_moto)
    plain = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "WDK_"))}
    options = [
        "-q",
        "-p",
        "no:cacheprovider",
        "-p",
        "no:xdist",
        "-p",
        "no:randomly",
        "-c",
        os.devnull,
        "--rootdir",
        folder,
    ]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options, folder],
        cwd=folder,
        env={**plain, "SIGNUP_SEED": "1"},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert "2 passed" in done.stdout, done.stdout + done.stderr


def test_the_table_of_events_is_that_of_the_code():
    from wdk_aws.events import ORDERS

    named = set(re.findall(r"^\| `\{\"(\w+)\":", PAGE, re.MULTILINE))
    assert named == set(ORDERS)


def test_the_table_of_settings_is_that_of_the_code():
    from wdk_aws.settings import TEMPLATE, VARIABLES

    # The template says its version; nobody sets it.
    assert set(re.findall(r"`(WDK_AWS_\w+)`", PAGE)) == {*VARIABLES.values(), TEMPLATE}
