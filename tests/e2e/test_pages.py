"""Every example of the README and of docs/, run as its readers would run it."""

import asyncio
import importlib
import json
import os
import re
import subprocess
import sys

import pytest

from tests.e2e.pages import ROOT, Terminal, blocks, commands, run_program, run_python
from wdk_cloud import Request, resume_webhook
from wdk_cloud.testing import workflow_env

README = ROOT / "README.md"
IN_A_CLOUD = {
    "aws.md": "tests/aws/test_docs.py",
    "gcp.md": "tests/gcp/test_resources.py",
    "gcp-operations.md": "tests/infra/test_operations.py",
    "operations.md": "tests/infra/test_operations.py",
    "quickstart-aws.md": "tests/docs/test_quickstarts.py",
    "quickstart-gcp.md": "tests/docs/test_quickstarts.py",
    "rehearsal.md": "tests/infra/test_rehearsal_command.py",
}
"""Pages that need what stands in for a cloud, and the tests that type them."""
PAGES = sorted(page for page in (ROOT / "docs").rglob("*.md") if page.name not in IN_A_CLOUD)


def name_of(page):
    return str(page.relative_to(ROOT))


def having(language):
    return [page for page in PAGES if any(block.language == language for block in blocks(page))]


def typed_there(page):
    return [command for block in blocks(page) if block.language == "console" for command, _ in commands(block)]


SHELL_PAGES = [
    page
    for page in having("console")
    if any(re.search("wdk |python -m pytest", command) for command in typed_there(page))
]


@pytest.fixture(autouse=True)
def reader(tmp_path, monkeypatch):
    """A folder of the reader's own, and none of our settings."""
    for name in [name for name in os.environ if name.startswith("WDK_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield tmp_path
    for name, module in list(sys.modules.items()):
        if (getattr(module, "__file__", None) or "").startswith(str(tmp_path)):
            del sys.modules[name]  # another page, or another test, may have a module of that name


def test_a_page_that_needs_a_cloud_is_typed_by_a_test_of_its_own():
    for page, test in IN_A_CLOUD.items():
        assert f"docs/{page}" in (ROOT / test).read_text()


@pytest.mark.parametrize("page", having("python"), ids=name_of)
def test_the_python_of_a_page_runs(page, reader):
    run_python(page, reader)


def test_the_tests_on_the_page_about_testing_pass(reader):
    run_python(ROOT / "docs" / "testing.md", reader)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:randomly", "-p", "no:xdist"]
    done = subprocess.run([*command, "test_shop.py"], cwd=reader, capture_output=True, text=True, timeout=50)
    assert "2 passed" in done.stdout, done.stdout + done.stderr


@pytest.mark.timeout(120)  # docs/cli.md types some thirty commands, each a process that takes a second to start
@pytest.mark.parametrize("page", SHELL_PAGES, ids=name_of)
def test_the_commands_of_a_page_do_what_it_shows(page, reader):
    # As the README has it, but a little quicker: a page waits for several runs, and wakes some before their time.
    (reader / "signup.py").write_text(blocks(README)[0].text.replace('sleep("5 s")', 'sleep("3 s")'))
    Terminal(reader, "signup:app").type(page)


@pytest.mark.timeout(120)  # it types as many
def test_the_readme_can_be_followed_from_the_top_to_the_bottom(reader):
    signup, program, review, progress = [block for block in blocks(README) if block.language == "python"]
    (reader / "signup.py").write_text(signup.text)
    for block in (review, progress):
        (reader / block.file).write_text(block.text)
    Terminal(reader, "none").type(README)
    assert run_program(program, reader).splitlines()[-1] == "user-you@example.com"
    typed = [entry for block in blocks(README) if block.language == "console" for entry in commands(block)]
    (shown,) = [shown for command, shown in typed if command.endswith(f"python {progress.file}")]
    assert run_program(progress, reader).splitlines() == shown


def test_what_the_readme_types_with_curl_gets_the_answers_that_it_shows(reader, capsys):
    """By `resume_webhook`, which does with a request what the server does."""
    (code,) = [block for block in blocks(README) if block.file == "review.py"]
    (reader / "review.py").write_text(code.text)
    review = importlib.import_module("review")
    typed = [
        entry
        for block in blocks(README)
        if block.language == "console"
        for entry in commands(block)
        if re.match(r"curl .*\bURL\b", entry[0])
    ]

    async def main():
        async with workflow_env("memory", review.app) as env:
            run = await env.start(review.review, "the report", "ada@example.com")
            await env.run_until_blocked()
            url = capsys.readouterr().out.split()[-1]
            token = url.removeprefix("http://127.0.0.1:8787/.well-known/workflow/v1/webhook/")
            for command, shown in typed:
                method = {"curl URL": "GET", "curl -X POST URL": "POST"}[command]
                assert (await resume_webhook(token, Request(method, url))).text().splitlines() == shown
            return await run.return_value()

    assert len(typed) == 2
    assert asyncio.run(main()) == "ada@example.com has approved the report"


def test_what_the_readme_types_to_follow_a_run_shows_its_progress(reader):
    """Against `wdk dev`, with the reader's own curl; blank lines between events are not shown."""
    (code,) = [block for block in blocks(README) if block.file == "progress.py"]
    (reader / "progress.py").write_text(code.text)
    typed = [entry for block in blocks(README) if block.language == "console" for entry in commands(block)]
    (dev,) = [command for command, _ in typed if command.startswith("WDK_APP=progress:app")]
    (export,) = [command for command, _ in typed if command.startswith("export WDK_API_TOKEN=")]
    (start,) = [command for command, _ in typed if command.startswith("wdk start bakery")]
    ((follow, shown),) = [entry for entry in typed if entry[0].startswith("curl -N")]
    terminal = Terminal(reader, "none")
    try:
        terminal.enter(export, [])
        said = terminal.start_server(dev, [])
        terminal.enter(start, [])
        (base,) = [line.split()[1] for line in said if line.startswith("http ")]
        command = f"BASE={base}; {follow.replace('RUN_ID', terminal.run_id)}"
        followed = subprocess.run(["bash", "-c", command], env=terminal.env, capture_output=True, text=True, timeout=30)
    finally:
        terminal.leave()
    assert [line for line in followed.stdout.splitlines() if line] == shown


def test_the_table_of_settings_names_every_variable_that_the_code_reads_and_no_other():
    sources = "\n".join(path.read_text() for path in (ROOT / "wdk_cloud").rglob("*.py"))
    read = set(re.findall(r"""["'](WDK_[A-Z_]+)["']""", sources))
    table = (ROOT / "docs" / "local.md").read_text().partition("## Settings")[2]
    assert sorted(re.findall(r"^\| `(WDK_[A-Z_]+)` \|", table, re.MULTILINE)) == sorted(read)


@pytest.mark.parametrize("page", having("json"), ids=name_of)
def test_the_json_of_a_page_is_json(page):
    for block in blocks(page):
        if block.language == "json":
            json.loads(block.text)


def test_every_block_has_a_language_that_says_how_it_is_checked():
    for page in (README, *PAGES):
        text = page.read_text()
        opened = re.findall(r"^ *```(.*)$", text, re.MULTILINE)
        assert set(opened[::2]) <= {"python", "console", "text", "json"}, page
        assert set(opened[1::2]) <= {""}, page
