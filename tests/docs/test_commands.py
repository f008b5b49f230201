"""Every command that a page of the repository shows is typed by a test, or stands here with the reason why it is not.

Most are typed as they stand by tests/e2e/test_pages.py, and on pages of a cloud by the tests that it names.
"""

import ast
import builtins
import re
import shutil
import subprocess

import pytest

from tests.e2e.pages import ROOT, Terminal, blocks, commands
from tests.e2e.test_pages import IN_A_CLOUD, README, SHELL_PAGES, reader  # noqa: F401 -- a fixture

AS_ITS_READER = re.compile(r"(until )?(\w+=\S+ )*(wdk|python -m pytest)\b|export \w+=")
"""What `Terminal` types."""

LEFT_OUT = {
    r"python3 -m venv|pip install": "fetches from an index; tests/infra/test_release.py installs what is built, with each extra",
    r"source |cd |kill ": "where the reader goes; a test is there already",
    r"make (demo|test)$": "is what runs the tests: tests/e2e/test_examples.py has what the demo prints",
    r"make (install|check|dev|rehearse|deploy)$": "tests/infra/test_init.py calls the targets of a new project",
    r"curl( -X POST)? URL|PYTHONHASHSEED=0 python (main|progress)\.py|BASE=": "tests/e2e/test_pages.py",
    r"curl .*\$BASE": "tests/docs/test_commands.py and tests/e2e/test_pages.py",
    r"curl .*\$WDK_GCP_WORKER_URL": "tests/infra/test_gcp_rehearsal.py asks the API of what is rehearsed",
    r"(PYTHONHASHSEED=0 uvicorn (main:site|asgi:application)|flask )|curl .*:8000/reports": "tests/e2e/test_frameworks.py",
    r'curl (--data decision=approved )?"\$\(cat link.txt\)"': "tests/e2e/test_document_review.py",
    r"PYTHONHASHSEED=0 python \w+\.py": "tests/e2e/test_seed_samples.py",
    r"WDK_APP=\S+ WDK_API_TOKEN=\$TOKEN PYTHONHASHSEED=0 uvicorn --factory": "tests/e2e/test_http_dev.py",
    r"PYTHONHASHSEED=0 uvicorn wdk_gcp\.handler:app": "tests/gcp/test_signup.py",
    r"aws |output\(\)|export \w+=\$\(aws": "asks an account; tests/infra/test_operations.py compares it with the API and the template",
    r"gcloud ": "asks a project; tests/infra/test_operations.py compares what it names with the module",
    r"wdk init shop --cloud (aws|gcp)$": "tests/docs/test_quickstarts.py",
    r"wdk (deploy|build) (aws|gcp)": "tests/infra/test_deploy.py, tests/infra/test_gcp_deploy.py and those of what they build",
    r"wdk doctor --world gcp": "asks a project; tests/gcp/test_checkup.py",
    r"export \$\(terraform": "tests/infra/test_operations.py",
}
"""By what a command begins with: the test that does the same in another way, or compares what cannot be done here."""


def pages():
    found = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]
    for folder in ("examples", "infra", "adapters", "benchmarks", "release"):
        found += (ROOT / folder).rglob("*.md")
    return sorted(path for path in found if "node_modules" not in path.parts)


def shown():
    """Every command with its page."""
    return [
        (page, command)
        for page in pages()
        for block in blocks(page)
        if block.language in ("console", "text")
        for command, _ in commands(block)
    ]


def is_typed(page, command):
    own = IN_A_CLOUD.get(page.name) if page.parent == ROOT / "docs" else None
    of_example = page.parent.parent == ROOT / "examples"
    return bool(AS_ITS_READER.match(command)) and (page in SHELL_PAGES or page == README or bool(own) or of_example)


def reason(command):
    return next((why for pattern, why in LEFT_OUT.items() if re.match(pattern, command)), None)


def test_every_command_is_typed_or_says_why_not():
    found = shown()
    assert len(found) > 150
    assert [
        (str(page.relative_to(ROOT)), command)
        for page, command in found
        if not (is_typed(page, command) or reason(command))
    ] == []


def test_every_reason_is_one_and_names_tests_that_there_are():
    found = [command for _, command in shown()]
    for pattern, why in LEFT_OUT.items():
        assert any(re.match(pattern, command) for command in found), pattern
        for name in re.findall(r"tests/[\w/]+\.py", why):
            assert (ROOT / name).exists(), name


@pytest.mark.usefixtures("reader")
def test_what_the_page_of_http_types_with_curl_starts_a_run_and_follows_it(tmp_path):
    (tmp_path / "signup.py").write_text(blocks(README)[0].text)
    page = ROOT / "docs" / "http.md"
    start, follow = [
        command
        for block in blocks(page)
        if block.language == "console"
        for command, _ in commands(block)
        if command.startswith("curl ")
    ]
    terminal = Terminal(tmp_path, "signup:app")
    try:
        said = terminal.start_server("wdk dev", [])
        (base,) = [line.split()[1] for line in said if line.startswith("http ")]
        (token,) = [line.split()[1] for line in said if line.startswith("token ")]

        def typed(command, **variables):
            lines = [f"{name}={value}" for name, value in {"BASE": base, "TOKEN": token, **variables}.items()]
            done = subprocess.run(
                ["bash", "-c", "\n".join([*lines, command.replace("curl ", "curl -s -m 20 ", 1)])],
                env=terminal.env,
                capture_output=True,
                text=True,
                timeout=30,
            )
            assert done.returncode == 0, done.stderr
            return done.stdout

        (run_id,) = re.findall(r"wrun_\w{26}", typed(start))
        assert "event: end" in typed(follow, RUN=run_id)
    finally:
        terminal.leave()


@pytest.mark.timeout(120)  # some ten processes, each of which takes a second to start
@pytest.mark.usefixtures("reader")
@pytest.mark.parametrize("example", ["signup", "document-review", "seed"])
def test_the_commands_of_an_example_do_what_its_page_says(example, tmp_path):
    folder = tmp_path / example
    shutil.copytree(ROOT / "examples" / example, folder, ignore=shutil.ignore_patterns("__pycache__", ".wdk"))
    Terminal(folder, "none").type(folder / "README.md")


@pytest.mark.parametrize("page", ["migrating-from-celery.md", "migrating-from-durable-functions.md"])
def test_the_code_before_a_migration_is_whole(page):
    """It was run where these packages are, which this environment is not; here it is a program that names all it uses."""
    (before,) = [block.text for block in blocks(ROOT / "docs" / page) if block.language == "text"]
    nodes = list(ast.walk(ast.parse(before)))
    bound = {node.asname or node.name for node in nodes if isinstance(node, ast.alias)}
    bound |= {node.name for node in nodes if isinstance(node, ast.FunctionDef)}
    bound |= {node.arg for node in nodes if isinstance(node, ast.arg)}
    names = [node for node in nodes if isinstance(node, ast.Name)]
    bound |= {name.id for name in names if isinstance(name.ctx, ast.Store)}
    assert {name.id for name in names} - bound - set(dir(builtins)) == set()
