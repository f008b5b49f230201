"""The service as Cloud Run has it: uvicorn in a process of its own, behind the servers of `wdk_gcp.testing`."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.client import HTTPConnection
from itertools import count
from pathlib import Path
from time import monotonic

from tests.gcp.stage import INVOKER, indexes
from wdk_gcp.callers import CERTIFICATES_VARIABLE
from wdk_gcp.clients import FIRESTORE_VARIABLE, STORAGE_VARIABLE, TASKS_VARIABLE
from wdk_gcp.packaging.dockerfile import environment as image_environment
from wdk_gcp.packaging.dockerfile import start_command
from wdk_gcp.testing import CloudStorageServer, CloudTasksServer, FirestoreServer

PROJECT = "wdk-service"
API_TOKEN = "a-secret-of-sixteen-and-more"

PATIENCE = 30.0
"""Seconds for a process to serve, or to end; it takes two."""

_numbers = count(1)


@dataclass
class Cloud:
    """One of each server, on the machine's clock."""

    firestore: FirestoreServer
    storage: CloudStorageServer
    tasks: CloudTasksServer

    def environment(self, port: int) -> dict[str, str]:
        """The variables of a deployment that nobody has used, whose service listens on this port. Its resources are to
        be made with them."""
        number = next(_numbers)
        return {
            FIRESTORE_VARIABLE: self.firestore.address,
            STORAGE_VARIABLE: self.storage.url,
            TASKS_VARIABLE: self.tasks.address,
            CERTIFICATES_VARIABLE: self.tasks.certs_url,
            "WDK_WORLD": "gcp",
            "WDK_GCP_PROJECT": f"{PROJECT}-{number}",
            "WDK_GCP_LOCATION": "europe-west1",
            "WDK_GCP_FLOW_QUEUE": "flow",
            "WDK_GCP_STEP_QUEUE": "step",
            "WDK_GCP_BUCKET": f"service-{number}",
            "WDK_GCP_WORKER_URL": f"http://127.0.0.1:{port}",
            "WDK_GCP_INVOKER": INVOKER,
            "WDK_API_TOKEN": API_TOKEN,
        }


@contextmanager
def cloud_standing() -> Generator[Cloud]:
    with (
        FirestoreServer(indexes=indexes()) as firestore,
        CloudStorageServer() as storage,
        CloudTasksServer() as tasks,
    ):
        yield Cloud(firestore, storage, tasks)


@dataclass
class Service:
    """A process; `lines` is what it has written."""

    port: int
    process: subprocess.Popen[str]
    lines: list[str] = field(default_factory=list)

    def ask(self, method: str, path: str, body: bytes | None = None, **headers: str) -> tuple[int, bytes]:
        connection = HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        try:
            named = {name.replace("_", "-"): value for name, value in headers.items()}
            connection.request(method, f"/.well-known/workflow/v1/{path}", body, named)
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def until_healthy(self) -> None:
        deadline = monotonic() + PATIENCE
        while monotonic() < deadline and self.process.poll() is None:
            try:
                if self.ask("GET", "health")[0] == 200:
                    return
            except OSError:
                threading.Event().wait(0.05)
        raise AssertionError(f"the service does not serve: {self.lines}")

    def terminate(self) -> int:
        """SIGTERM, as Cloud Run sends it; the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(PATIENCE)


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


@contextmanager
def serving(environment: Mapping[str, str], folder: Path, *options: str, port: int | None = None) -> Generator[Service]:
    """The container's start command, and more options of the server, with the code of this folder. The port is that of
    WDK_GCP_WORKER_URL unless one is given."""
    port = int(environment["WDK_GCP_WORKER_URL"].rpartition(":")[2]) if port is None else port
    *shell, command = (word.replace("0.0.0.0", "127.0.0.1") for word in start_command())
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    process = subprocess.Popen(
        [*shell, " ".join((command, *options))],
        cwd=folder,
        env={"PATH": path, **image_environment(), "PYTHONPATH": str(folder), "PORT": str(port), **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    service = Service(port, process)
    reader = threading.Thread(target=_read, args=(process, service.lines), daemon=True)
    reader.start()
    try:
        yield service
    finally:
        process.kill()
        process.wait(PATIENCE)
        reader.join(PATIENCE)
        if process.stdout is not None:
            process.stdout.close()


def _read(process: subprocess.Popen[str], lines: list[str]) -> None:
    assert process.stdout is not None
    for line in process.stdout:
        lines.append(line.rstrip())
