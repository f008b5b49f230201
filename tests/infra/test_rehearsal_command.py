"""`wdk rehearse aws`, as docs/rehearsal.md shows it."""

import inspect
import re
import shlex
import shutil

import pytest

from tests.infra.rehearsing import ROOT, typed
from wdk_aws.testing.deployment import Deployed

pytestmark = pytest.mark.timeout(
    180
)  # a build, a stand-in and a run, each a process that starts: a busy machine takes long

PAGE = (ROOT / "docs/rehearsal.md").read_text()


@pytest.fixture
def project(tmp_path):
    shutil.copy(ROOT / "examples/signup/workflows.py", tmp_path)
    return tmp_path


def test_the_command_says_what_the_page_says(project):
    command, shown = re.search(r"^\$ wdk (.*)\n((?:(?!```).*\n)*)", PAGE, re.MULTILINE).groups()
    done = typed(*shlex.split(command), folder=project)
    said = (done.stderr + done.stdout).splitlines()

    def plain(lines):
        """Without what differs from one machine, and one run, to the next; what is printed has two streams."""
        return sorted(re.sub(r"\d[\d.]*|x86_64|arm64|wrun_\w+", "…", line) for line in lines)

    assert plain(said) == plain(shown.splitlines())
    assert done.stdout == '"user-you@example.com"\n'


def test_the_page_names_what_a_deployment_has():
    table = PAGE.partition("| of `deployed` | |\n")[2].partition("\n\n")[0]
    named = {name for row in table.splitlines() for name in re.findall(r"`(\w+)", row.split("|")[1])}
    assert {"run", "public", "api", "lines", "settings", "account"} <= named
    made = set(dir(Deployed)) | set(re.findall(r"self\.(\w+)", inspect.getsource(Deployed.__init__)))
    assert named - made == set()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("absent",), "there is no workflow 'absent'"),
        (("signup",), "email"),
        (("signup", "a@b", "--parameter", "Stage"), "--parameter takes NAME=VALUE, not 'Stage'"),
    ],
)
def test_a_wrong_word_is_said_before_anything_is_built(project, words, said):
    done = typed("rehearse", "aws", "--app", "workflows:app", *words, folder=project, code=2)
    assert said in done.stderr and "built" not in done.stderr


def test_an_environment_without_ministack_is_said(project, monkeypatch):
    monkeypatch.setattr("tests.infra.rehearsing.ENVIRONMENT", project)
    done = typed("rehearse", "aws", "--app", "workflows:app", folder=project, code=2)
    assert f"WDK_MINISTACK is {project}, and there is no bin/ministack in it" in done.stderr
