"""`wdk cancel` of many runs: which ones, asked before, and what it says."""

import io
import os
import pty
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from tests.unit.test_cli import answer, complaint, document, serve, shop, wdk
from wdk_cloud.cli.progress import progress

__all__ = ["shop"]

ROOT = Path(__file__).parents[2]


def started(*names):
    return [answer("start", name, *(["o"] if name == "checkout" else [])) for name in names]


def asked(run_id):
    """Whether the run's end was asked for: it is cancelled as soon as a worker has it."""
    serve(run_id)
    return document("inspect", "run", run_id)["status"] == "cancelled"


def test_a_dry_run_shows_the_runs_and_asks_none():
    first, other, second = started("nap", "checkout", "nap")
    lines = answer("cancel", "--workflow", "nap", "--dry-run").splitlines()
    assert [line.split()[0] for line in lines[1:3]] == [second, first]
    assert lines[3:] == ["", "2 runs would be asked to end"]
    assert answer("cancel", other, "--dry-run") == f"{other} would be asked to end"
    assert not asked(other)


def test_the_live_runs_of_a_filter_are_asked_with_the_reason_and_no_others():
    (second,) = started("nap")
    serve(second, until="wait_created")
    first, other = started("nap", "checkout")
    result = wdk("cancel", "--workflow", "nap", "--yes", "--reason", "closed")
    assert (result.stdout, result.stderr) == ("2 runs are asked to end\n", "")
    assert (asked(first), asked(second), asked(other)) == (True, True, False)
    assert {document("inspect", "run", run)["cancel_reason"] for run in (first, second)} == {"closed"}
    assert answer("cancel", "--workflow", "nap", "--yes") == "no runs"


def test_the_filters_are_those_of_inspect_runs():
    (first,) = started("nap")
    assert answer("cancel", "--status", "running", "--dry-run") == "no runs"
    assert answer("cancel", "--until", "1h", "--dry-run") == "no runs"
    (version,) = {run["version"] for run in document("inspect", "runs")["runs"]}
    by = ["--status", "pending"], ["--since", "1h"], ["--workflow", "workflow//shop//nap"], ["--version", version]
    for words in by:
        assert answer("cancel", *words, "--dry-run").endswith("\n\n1 run would be asked to end")
    assert answer("cancel", "--version", "0000000001.other", "--dry-run") == "no runs"
    assert not answer("cancel", "--workflow", "workflow//gone//nap", "--dry-run").startswith(first)


def test_more_runs_than_a_page_has_are_all_asked(monkeypatch):
    monkeypatch.setattr("wdk_cloud.cli.selection.LONGEST_PAGE", 2)
    runs = started("nap", "nap", "nap", "nap", "nap")
    assert answer("cancel", "--status", "pending", "--yes") == "5 runs are asked to end"
    assert all(asked(run) for run in runs)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "which runs? Give a run's id, or --status, --workflow, --version, --since or --until"),
        (["--yes"], "which runs?"),
        (["wrun_0123", "--status", "pending"], "give a run, or filters for many; not both"),
        (["--status", "completed", "--yes"], "only runs that are pending or running can be asked to end"),
        (["--version", "", "--yes"], "--version is empty"),
        (["--since", "soon", "--yes"], "--since 'soon' is not understood"),
        (["--status", "pending"], "1 run is not asked to end: nobody can be asked here; add --yes"),
    ],
)
def test_what_names_no_runs_or_nobody_agreed_to_is_wrong_usage_and_asks_none(words, message):
    (run,) = started("checkout")
    assert message in complaint("cancel", *words, code=2)
    assert not asked(run)


def typed(said, *words):
    """What the command says on a terminal where somebody types an answer."""
    ours, theirs = pty.openpty()
    os.write(ours, f"{said}\n".encode())
    done = subprocess.run(
        [sys.executable, "-m", "wdk_cloud.cli", *words],
        stdin=theirs,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        timeout=50,
        check=False,
    )
    os.close(ours)
    os.close(theirs)
    return done


@pytest.mark.parametrize(
    ("said", "code", "told"), [("y", 0, "1 run is asked to end\n"), ("n", 1, "error: 1 run is not asked to end\n")]
)
def test_on_a_terminal_it_asks_first(said, code, told):
    (run,) = started("checkout")
    done = typed(said, "cancel", "--status", "pending")
    assert done.stderr.startswith("Ask 1 run to end? [y/N]:")
    assert done.returncode == code, done.stderr
    assert (done.stderr + done.stdout.lstrip()).endswith(told)  # the prompt's last blank goes to stdout
    assert asked(run) is (code == 0)


def test_no_answer_is_a_no():
    (run,) = started("checkout")
    done = typed("\x04", "cancel", "--status", "pending")  # Ctrl-D
    assert (done.returncode, done.stderr.splitlines()[-1]) == (1, "error: 1 run is not asked to end")
    assert not asked(run)


def test_ctrl_c_at_a_question_ends_the_command_as_it_ends_any(shop):
    (run,) = started("checkout")
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "wdk_cloud.cli", "delete", run]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, stdin=theirs, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=env) as asking:
        assert asking.stderr.read(5) == b"Erase"
        asking.send_signal(signal.SIGINT)
        _, said = asking.communicate(timeout=20)
    os.close(ours)
    os.close(theirs)
    assert (asking.returncode, said.splitlines()[-1]) == (130, b"Aborted.")
    assert document("inspect", "run", run)["status"] == "pending"


def test_erasing_asks_in_the_same_way():
    (run,) = started("checkout")
    done = typed("n", "delete", run)
    assert done.stderr == (
        f"Erase {run} of workflow//shop//checkout (pending)? This cannot be undone. [y/N]:error: {run} is not erased\n"
    )
    assert done.returncode == 1
    assert document("inspect", "run", run)["status"] == "pending"


def test_progress_is_seen_on_a_terminal_and_leaves_nothing_in_a_file():
    for terminal in (True, False):
        file = io.StringIO()
        console = Console(file=file, force_terminal=terminal, width=100)
        with progress("cancelling", 2, console) as advance:
            advance()
            advance()
        assert ("cancelling" in file.getvalue()) is terminal
        assert ("2/2" in file.getvalue()) is terminal
