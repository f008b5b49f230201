"""Real servers that stand in for a cloud: dynoxide for DynamoDB, ministack for SQS, S3 and EventBridge Scheduler.

`make .components/.installed` installs them. Each xdist worker starts its own at first use, on 127.0.0.1 and a free port,
and stops it at its end; a fixture gives the URL of its endpoint. They take any credentials and any region.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.request import ProxyHandler, build_opener

import pytest

COMPONENTS = Path(__file__).parents[1] / ".components"
DYNOXIDE = COMPONENTS / "npm/node_modules/@dynoxide/linux-x64/dynoxide"
MINISTACK = COMPONENTS / "ministack/bin/ministack"

READY_WITHIN = 30.0
"""Seconds: ministack answers after 0.3 on a quiet machine, and CI's is not quiet."""

START = 1_767_225_600.0
"""Where a virtual clock begins: 2026-01-01T00:00:00Z."""

TRIES = 3
"""Another process may take the free port between our look and the server's start."""

# A test process that is killed takes its servers with it: the kernel ends a child whose parent is gone (prctl 1,
# PR_SET_PDEATHSIG; 15, SIGTERM). Where there is no prctl the server outlives such a kill, no more.
TIED = """
import ctypes, os, sys
getattr(ctypes.CDLL(None), "prctl", lambda *_: 0)(1, 15)
os.execv(sys.argv[1], sys.argv[1:])
"""

# ministack with a clock that stands at what a file says, until somebody writes another time into it; its schedules are
# looked at at once, not each ten seconds.
STANDING = """
import sys, time
from pathlib import Path
path = Path(sys.argv.pop(1))
time.time = lambda: float(path.read_text())
from ministack.app import main
from ministack.services import scheduler
scheduler._SCHEDULE_TICK_INTERVAL = 0.05
main()
"""

_direct = build_opener(ProxyHandler({}))  # whatever proxy the environment names, these are on this machine


@contextmanager
def dynoxide_running(folder: Path) -> Iterator[str]:
    """A DynamoDB with nothing in it; the endpoint's URL."""

    def command(port: int) -> list[str]:
        return [str(DYNOXIDE), "serve", "--host", "127.0.0.1", "--port", str(port)]

    with running(DYNOXIDE, command, folder, {}) as url:
        yield url


@contextmanager
def ministack_running(folder: Path, environ: Mapping[str, str] | None = None) -> Iterator[str]:
    """SQS, S3, EventBridge Scheduler, Lambda and more, with nothing in them; the endpoint's URL."""
    quiet = {"BIND_HOST": "127.0.0.1", "IOT_MTLS_ENABLED": "0", "LOG_LEVEL": "WARNING", **(environ or {})}
    with running(MINISTACK, lambda _port: [str(MINISTACK)], folder, quiet, "/_ministack/health") as url:
        yield url


@dataclass(frozen=True)
class Standing:
    """A ministack whose time is moved: delays, time-outs and schedules run by it."""

    url: str
    file: Path

    def move_to(self, time: float) -> None:
        """Never back: what was sent by an earlier test would be sent in the future."""
        other = self.file.with_suffix(".new")
        other.write_text(repr(time))
        other.replace(self.file)

    def now(self) -> float:
        return float(self.file.read_text())


@contextmanager
def standing_ministack(folder: Path, start: float) -> Iterator[Standing]:
    clock = folder / "time"
    clock.write_text(repr(start))
    command = [str(MINISTACK.with_name("python")), "-c", STANDING, str(clock)]
    quiet = {"BIND_HOST": "127.0.0.1", "IOT_MTLS_ENABLED": "0", "LOG_LEVEL": "WARNING"}
    with running(MINISTACK, lambda _port: command, folder, quiet, "/_ministack/health") as url:
        yield Standing(url, clock)


@pytest.fixture(scope="session")
def dynoxide(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with dynoxide_running(tmp_path_factory.mktemp("dynoxide")) as url:
        yield url


@pytest.fixture(scope="session")
def ministack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with ministack_running(tmp_path_factory.mktemp("ministack")) as url:
        yield url


@pytest.fixture(scope="session")
def ministack_standing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Standing]:
    """Beside `ministack`, for tests that move the clock."""
    with standing_ministack(tmp_path_factory.mktemp("standing"), START) as standing:
        yield standing


@pytest.fixture(scope="session")
def gcp_standing() -> Iterator[Any]:
    """A Firestore and a Cloud Storage in this process, which go by one clock that the tests move."""
    from tests.gcp.stage import servers_standing  # it loads Google's clients, which takes a second

    with servers_standing() as servers:
        yield servers


@pytest.fixture(scope="session")
def gcp_failing() -> Iterator[Any]:
    """Beside `gcp_standing`, one of which every tenth request or so goes wrong: answers are lost, refusals pass."""
    from tests.gcp.stage import servers_standing

    with servers_standing({"lost": 0.06, "aborted": 0.02, "unavailable": 0.02}) as servers:
        yield servers


@pytest.fixture(scope="session")
def gcp_stage() -> Iterator[Any]:
    """The same once more, with deliveries on the loop of whoever is served: each test begins with empty ones."""
    from tests.gcp.wire import ShortStage

    with ShortStage() as stage:
        yield stage


@pytest.fixture(scope="session")
def gcp_service() -> Iterator[Any]:
    """The same on the machine's clock, for services in processes of their own."""
    from tests.gcp.service import Cloud

    with Cloud() as cloud:
        yield cloud


@pytest.fixture(scope="session")
def firestore_emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Google's own, where this machine has it; host and port."""
    from tests.gcp.emulator import emulator_running, warm_up

    with emulator_running(tmp_path_factory.mktemp("emulator")) as address:
        warm_up(address)
        yield address


@contextmanager
def running(
    program: Path, command: Callable[[int], list[str]], folder: Path, environ: Mapping[str, str], health: str = "/"
) -> Iterator[str]:
    if not program.exists():
        pytest.fail(f"{program.name} is not installed; do so with: make .components/.installed", pytrace=False)
    for left in reversed(range(TRIES)):
        port = _free_port()
        url = f"http://127.0.0.1:{port}"
        plain = {"PATH": os.environ["PATH"], "HOME": str(folder), "TMPDIR": str(folder), "GATEWAY_PORT": str(port)}
        log = folder / f"{port}.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                [sys.executable, "-c", TIED, *command(port)],
                cwd=folder,
                env={**plain, **environ},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        try:
            if _ready(process, url + health):
                yield url
                return
            if not left:
                said = log.read_text(errors="replace")[-2000:]
                pytest.fail(f"{program.name} did not start ({process.poll()}):\n{said}", pytrace=False)
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port: int = taken.getsockname()[1]
        return port


def _ready(process: subprocess.Popen[bytes], url: str) -> bool:
    """Whether it answers, whatever it says; False once it has ended or the time is over."""
    end = time.monotonic() + READY_WITHIN
    while time.monotonic() < end:
        try:
            _direct.open(url, timeout=READY_WITHIN).close()
        except HTTPError:
            return True
        except (URLError, OSError, HTTPException):
            if process.poll() is not None:
                return False
            time.sleep(0.02)  # it has no way to tell that it listens
        else:
            return True
    return False
