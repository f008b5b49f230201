"""`wdk dev --reload`: runs live through changes of their code."""

import json
import os
import signal
import subprocess
import sys
import threading

import pytest

from tests.e2e.pages import PATIENCE, ROOT, environment

SHOP = """
from wdk_cloud import Workflows, sleep

app = Workflows()

@app.step
async def reserve(item: str) -> str:
    with open("begun.txt", "a") as file:
        file.write("reserve\\n")
    return item

@app.step
async def ship(item: str) -> str:
    return f"shipped {item}"

@app.workflow
async def order(item: str) -> str:
    reserved = await reserve(item)
    await sleep("1 h")
    return await ship(reserved)
"""


class Dev:
    """A folder with shop.py under `wdk dev --reload`, and all that it says."""

    def __init__(self, folder):
        self.folder = folder
        self.env = environment(PYTHONPATH=str(ROOT), WDK_APP="shop:app")
        self.lines = []
        self.news = threading.Condition()
        self.process = self.listener = None

    def write(self, source):
        (self.folder / "shop.tmp").write_text(source)
        (self.folder / "shop.tmp").rename(self.folder / "shop.py")

    def serve(self):
        self.process = subprocess.Popen(
            [sys.executable, "-m", "wdk_cloud.cli", "dev", "--reload"],
            cwd=self.folder,
            env=self.env,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self.listener = threading.Thread(target=self.listen, daemon=True)
        self.listener.start()
        self.hears("stop  ")

    def listen(self):
        with self.process.stdout as said:
            for line in said:
                with self.news:
                    self.lines.append(line.rstrip())
                    self.news.notify_all()

    def hears(self, text):
        """Wait until it says so; what was said before is forgotten."""
        with self.news:
            heard = self.news.wait_for(lambda: any(text in line for line in self.lines), PATIENCE)
            assert heard, f"{text!r} is not in\n" + "\n".join(self.lines)
            at = next(number for number, line in enumerate(self.lines) if text in line)
            said, self.lines = self.lines[: at + 1], self.lines[at + 1 :]
        return said

    def wdk(self, *words):
        done = subprocess.run(
            [sys.executable, "-m", "wdk_cloud.cli", *words],
            cwd=self.folder,
            env=self.env,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout.strip()

    def until(self, run_id, holds):
        """Look at the run again and again until this holds."""
        while True:
            shown = json.loads(self.wdk("inspect", "run", run_id, "--json"))
            if holds(shown):
                return shown
            assert shown["status"] in ("pending", "running"), shown


@pytest.fixture
def dev(tmp_path):
    dev = Dev(tmp_path)
    yield dev
    if dev.process is not None:
        if dev.process.poll() is None:
            os.killpg(dev.process.pid, signal.SIGKILL)
        dev.process.wait()
        dev.listener.join(PATIENCE)


def asleep(shown):
    return bool(shown["waits_for"] and shown["waits_for"]["timers"])


def test_a_run_that_sleeps_goes_on_with_the_changed_code_and_no_step_runs_again(dev):
    dev.write(SHOP)
    dev.serve()
    run_id = dev.wdk("start", "order", "book")
    dev.until(run_id, asleep)
    dev.write(SHOP.replace("shipped {item}", "sent {item}"))
    dev.hears("shop.py changed; starting anew")
    dev.hears("stop  ")
    dev.wdk("wake", run_id)
    assert dev.until(run_id, lambda shown: shown["status"] == "completed")["result"] == "sent book"
    assert (dev.folder / "begun.txt").read_text() == "reserve\n"
    dev.process.send_signal(signal.SIGTERM)
    assert dev.process.wait(PATIENCE) == 0


def test_code_that_a_run_does_not_fit_is_shown_and_the_run_lives_until_it_fits_again(dev):
    dev.write(SHOP)
    dev.serve()
    run_id = dev.wdk("start", "order", "book")
    dev.until(run_id, asleep)
    dev.write(SHOP.replace("await reserve(item)", "await reserve(item + 's')"))
    dev.hears(f"run {run_id} does not fit this code and waits for code that it fits:")
    (difference,) = dev.hears("books")
    assert difference.startswith("  - ")
    dev.wdk("wake", run_id)
    dev.until(run_id, lambda shown: shown["trouble"] is not None)
    dev.write(SHOP + "\n")
    dev.hears("stop  ")
    assert dev.until(run_id, lambda shown: shown["status"] == "completed")["result"] == "shipped book"


def test_a_step_that_runs_when_its_code_changes_is_tried_again_with_the_new_code(dev):
    dev.write(
        SHOP.replace("    return item\n", "    await asyncio.Event().wait()\n").replace(
            "from", "import asyncio\nfrom", 1
        )
    )
    dev.serve()
    run_id = dev.wdk("start", "order", "book")
    dev.until(run_id, lambda shown: (dev.folder / "begun.txt").exists() and shown["waits_for"]["steps"])
    dev.write(SHOP)
    dev.hears("stop  ")
    (step,) = dev.until(run_id, asleep)["steps"]
    assert [attempt["state"] for attempt in step["attempts"]] == ["interrupted", "completed"]
    assert (dev.folder / "begun.txt").read_text() == "reserve\nreserve\n"
    dev.wdk("wake", run_id)
    assert dev.until(run_id, lambda shown: shown["status"] == "completed")["result"] == "shipped book"


def test_code_that_cannot_be_imported_is_waited_out_and_runs_go_on_when_it_is_mended(dev):
    dev.write(SHOP)
    dev.serve()
    run_id = dev.wdk("start", "order", "book")
    dev.until(run_id, asleep)
    dev.write("def def\n")
    said = dev.hears("waiting for the next change")
    assert any("shop cannot be imported: SyntaxError" in line and "shop.py:1" in line for line in said), said
    dev.wdk("wake", run_id)
    assert asleep(json.loads(dev.wdk("inspect", "run", run_id, "--json")))
    dev.write(SHOP.replace("shipped {item}", "sent {item}"))
    dev.hears("stop  ")
    assert dev.until(run_id, lambda shown: shown["status"] == "completed")["result"] == "sent book"
    assert (dev.folder / "begun.txt").read_text() == "reserve\n"


def test_the_serving_process_ends_with_the_one_that_watches(dev):
    dev.write(SHOP)
    dev.serve()
    dev.process.kill()
    dev.hears("stopping; runs go on when the next worker starts")


@pytest.mark.parametrize(
    ("words", "message"), [(["--world", "memory"], "the memory world"), (["--app", ""], "which app?")]
)
def test_what_cannot_be_served_is_wrong_usage_at_once(dev, words, message):
    dev.write(SHOP)
    done = subprocess.run(
        [sys.executable, "-m", "wdk_cloud.cli", "dev", "--reload", *words],
        cwd=dev.folder,
        env=dev.env,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert (done.returncode, message in done.stderr) == (2, True), done.stderr
