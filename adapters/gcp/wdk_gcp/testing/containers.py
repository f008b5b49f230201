"""A service as Cloud Run has it: the image's own command in a process of this machine, with the code of a folder."""

from __future__ import annotations

import json
import os
import shlex
import signal
import socket
import subprocess
import sys
import threading
from contextlib import contextmanager
from time import monotonic
from typing import TYPE_CHECKING, Any, cast

import httpx

from wdk_cloud.errors import WorldConfigurationError
from wdk_gcp.packaging import dockerfile
from wdk_gcp.testing.serving import HOST

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping
    from pathlib import Path

EVERYWHERE = "0.0.0.0"  # noqa: S104 -- what the command of the image has, and a process of this machine must not
ROUTES = "/.well-known/workflow/v1/"

PATIENCE = 60.0
"""Seconds for a process to serve, or to end; it takes two, and thirty where others want the machine, too."""

LOOK_EVERY = 0.05
"""Seconds between two looks whether anybody listens."""

ANSWERED = 1.0
"""Seconds until one that has answered, and is not well, is asked again."""

LOUD = frozenset(("WARNING", "ERROR", "CRITICAL"))
"""Lines of the log that somebody is told of."""

SERVERS = "INFO:"
"""What lines of the server begin with, until the log is set up."""

NEEDS = (
    "\nNothing of your environment reaches it: what the app needs there is given with --env NAME=VALUE, or in "
    "`environment` of gcp.tfvars.json"
)

KEPT = ("PATH", "HOME", "SSL_CERT_FILE", "SSL_CERT_DIR")
"""Variables of this process that an image has, too, or whose place it has something of its own for. No others: what an
app finds in the environment of this machine it would not find in its container."""


class Container:
    """A process; `lines` is what it has written."""

    def __init__(self, name: str, port: int, process: subprocess.Popen[str], told: Callable[[str], None]) -> None:
        self.name = name
        self.port = port
        self.process = process
        self.lines: list[str] = []
        self._told = told

    def ask(self, method: str, path: str, token: str = "") -> httpx.Response:
        """The answer to a request below the routes. Raises httpx.TransportError when nobody listens."""
        headers = {"Authorization": f"Bearer {token}"} if token else None
        url = f"http://{HOST}:{self.port}{ROUTES}{path}"
        return httpx.request(method, url, headers=headers, timeout=PATIENCE, trust_env=False)

    def until_healthy(self) -> None:
        """Raises WorldConfigurationError with what it has written, as soon as it has said that there is no code of the
        app that it could run: that does not come by itself here."""
        deadline, missing = monotonic() + PATIENCE, False
        while monotonic() < deadline and self.process.poll() is None:
            pause = LOOK_EVERY
            try:
                if self.ask("GET", "health").status_code == 200:
                    return
                pause = ANSWERED  # else it would say the same again before its first words are read here
            except httpx.TransportError:
                pass
            threading.Event().wait(pause)
            missing = any(said.get("wdk_count") == "MissingCode" for said in self.documents())
            if missing:
                break
        wrote = "\n".join(text for line in self.lines if (text := shown(line))) or "nothing"
        raise WorldConfigurationError(
            f"the service {self.name} does not serve; it has written:\n{wrote}{NEEDS * missing}"
        )

    def documents(self) -> list[dict[str, Any]]:
        """What it has logged."""
        return [found for line in list(self.lines) if (found := document_of(line)) is not None]

    def terminate(self) -> int:
        """SIGTERM, as Cloud Run sends it; the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(PATIENCE)

    def read(self) -> None:
        for line in self.process.stdout or ():
            self.lines.append(line.rstrip())
            self._told(self.lines[-1])


def document_of(line: str) -> dict[str, Any] | None:
    """What a line of a service's log says; None for text that the app has printed."""
    if not line.startswith("{"):
        return None
    try:
        read: Any = json.loads(line)
    except ValueError:
        return None
    return cast("dict[str, Any]", read) if isinstance(read, dict) and "severity" in read else None


def shown(line: str) -> str:
    """What somebody is told of a line: what the app has printed, and what the log warns of with the end of its
    traceback; "" for all else."""
    said = document_of(line)
    if said is None:
        return "" if line.startswith(SERVERS) else line
    if said["severity"] not in LOUD:
        return ""
    trace = str(said.get("stack_trace", "")).strip().splitlines()
    return ": ".join((said["severity"].lower(), said["message"], *trace[-1:]))


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind((HOST, 0))
        return listener.getsockname()[1]


def _nobody(_line: str) -> None:
    """Nobody is told."""


@contextmanager
def running(
    name: str,
    port: int,
    folder: Path,
    variables: Mapping[str, str],
    *options: str,
    told: Callable[[str], None] = _nobody,
) -> Generator[Container]:
    """The command of the image, and more options of the server, with the code of the folder, until the block ends.

    The packages are those of this environment. `told` gets each line that it writes, in a thread.
    """
    *shell, command = (word.replace(EVERYWHERE, HOST) for word in dockerfile.start_command())
    command = command.replace("exec python ", f"exec {shlex.quote(sys.executable)} ")
    kept = {name: os.environ[name] for name in KEPT if name in os.environ}
    image = {**dockerfile.environment(), "PYTHONPATH": str(folder), "PORT": str(port)}
    process = subprocess.Popen(  # noqa: S603 -- the command of our own image
        [*shell, " ".join((command, *options))],
        cwd=folder,
        env={**kept, **image, **variables},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    container = Container(name, port, process, told)
    reader = threading.Thread(target=container.read, name=f"wdk-{name}", daemon=True)
    reader.start()
    try:
        yield container
    finally:
        process.kill()
        process.wait(PATIENCE)
        reader.join(PATIENCE)
        if process.stdout is not None:
            process.stdout.close()
