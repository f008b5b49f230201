"""`wdk dev` over HTTP: a process, its socket, and clients of their own."""

from __future__ import annotations

import itertools
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.e2e.pages import environment

WDK = [sys.executable, "-m", "wdk_cloud.cli"]
PATIENCE = 30

APP = """
import os
from pathlib import Path
from wdk_cloud import Request, Response, Workflows, create_webhook, get_workflow_metadata

app = Workflows()

@app.step
async def mail(url: str) -> None:
    print("mailed", url, flush=True)

@app.step
async def answer(request: Request) -> None:
    await request.respond_with(Response(200, request.text().upper()))

@app.workflow
async def approval() -> str:
    webhook = create_webhook("manual", timeout="20 s")
    await mail(webhook.url)
    request = await webhook
    if request.text() != "silence":
        await answer(request)
    else:
        await webhook
    return request.text()

@app.workflow
async def base() -> str:
    return get_workflow_metadata().url
"""


class Dev:
    def __init__(self, folder: Path, *words: str, **variables: str) -> None:
        (folder / "approving.py").write_text(APP)
        self.env = environment(WDK_APP="approving:app", **variables)
        self.process = subprocess.Popen(
            [*WDK, "dev", *words],
            cwd=folder,
            env=self.env,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.said: list[str] = []
        self.hear("stop  ")
        lines = {line.split()[0]: line.split()[1] for line in self.said}
        self.base, self.token = lines["http"], lines["token"]
        self.client = httpx.Client(base_url=self.base, headers={"Authorization": f"Bearer {self.token}"}, timeout=20)

    def hear(self, begin: str) -> str:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.said.append(line.rstrip())
            if line.startswith(begin):
                return line.rstrip()
        raise AssertionError(f"no line began with {begin!r}: {self.said}")

    def start(self, workflow: str) -> str:
        return self.client.post("/api/start", json={"workflow": workflow}).raise_for_status().json()["run_id"]

    def result(self, run_id: str) -> Any:
        """Looked at again and again, as somebody at a terminal would."""
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            run = self.client.get(f"/api/runs/{run_id}").json()
            if run["status"] not in ("pending", "running"):
                return run["result"]
        raise AssertionError(f"run {run_id} does not end")

    def stop(self) -> int:
        self.client.close()
        self.process.send_signal(signal.SIGINT)
        out, _ = self.process.communicate(timeout=PATIENCE)
        self.said += out.splitlines()
        return self.process.returncode


@pytest.fixture
def dev(tmp_path: Path) -> Iterator[Dev]:
    dev = Dev(tmp_path, "--port", "0", WDK_LOG="DEBUG")
    yield dev
    dev.client.close()
    dev.process.kill()
    dev.process.communicate()


def test_an_approval_goes_from_start_to_answer_over_http_and_no_token_is_logged(dev: Dev) -> None:
    run_id = dev.start("approval")
    url = dev.hear("mailed ").partition(" ")[2]
    assert url.startswith(f"{dev.base}/webhook/")  # the public URL follows the port
    assert httpx.post(url, content=b"yes").text == "YES"
    assert dev.result(run_id) == "yes"
    assert httpx.get(url).status_code == 404
    assert dev.client.get(f"/api/hooks/{url.rpartition('/')[2]}").status_code == 404
    assert dev.stop() == 0
    token = url.rpartition("/")[2]
    told = [line for line in dev.said if token in line and not line.startswith("mailed ")]
    assert told == []
    assert not any("Traceback" in line for line in dev.said), dev.said


def test_a_client_that_hangs_up_leaves_the_run_and_the_server_unharmed(dev: Dev) -> None:
    run_id = dev.start("approval")
    url = httpx.URL(dev.hear("mailed ").partition(" ")[2])
    with socket.create_connection((url.host, url.port)) as client:
        client.sendall(f"POST {url.path} HTTP/1.1\r\nHost: x\r\nContent-Length: 7\r\n\r\nsilence".encode())
        types: list[str] = []
        while "hook_received" not in types:
            types = [event["type"] for event in dev.client.get(f"/api/runs/{run_id}/events").json()["events"]]
    # It has hung up by now; the second request is taken all the same.
    with httpx.Client(timeout=20) as second:
        assert second.post(url, content=b"more").status_code == 502  # the run ends without an answer
    assert dev.result(run_id) == "silence"
    assert dev.stop() == 0
    assert not any("Traceback" in line for line in dev.said), dev.said


def test_a_client_that_follows_a_stream_when_the_server_stops_is_cut_off_without_a_word(dev: Dev) -> None:
    run_id = dev.start("approval")
    dev.hear("mailed ")
    with (
        httpx.Client(base_url=dev.base, headers=dev.client.headers, timeout=20) as follower,
        follower.stream("GET", f"/api/runs/{run_id}/streams/default") as response,
    ):
        lines = response.iter_lines()
        assert next(lines) == "retry: 1000"
        before = len(dev.said)
        assert dev.stop() == 0
        with pytest.raises(httpx.RemoteProtocolError):
            list(lines)
    assert [line for line in dev.said[before:] if "DEBUG" not in line] == [
        "stopping; runs go on when the next worker starts"
    ]


def test_a_body_that_breaks_off_is_not_delivered(dev: Dev) -> None:
    run_id = dev.start("approval")
    url = httpx.URL(dev.hear("mailed ").partition(" ")[2])
    with socket.create_connection((url.host, url.port)) as client:
        client.sendall(f"POST {url.path} HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nhalf of it".encode())
    assert httpx.post(url, content=b"whole").text == "WHOLE"
    assert dev.result(run_id) == "whole"


def test_a_port_that_is_in_use_is_one_clear_line(dev: Dev, tmp_path: Path) -> None:
    port = str(httpx.URL(dev.base).port)
    for words in (["--port", port], ["--port", port, "--reload"]):
        done = subprocess.run(
            [*WDK, "dev", *words],
            cwd=tmp_path,
            env=dev.env,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        assert done.returncode == 1
        assert done.stderr.strip() == (
            f"error: port {port} is in use, by another `wdk dev` perhaps; choose another one with --port (0 takes any "
            "that is free)"
        )


def test_a_token_and_a_public_url_of_the_environment_are_taken(tmp_path: Path) -> None:
    secret = "my own token, not to be shown".replace(" ", "-").replace(",", "")
    dev = Dev(tmp_path, WDK_API_TOKEN=secret, WDK_PUBLIC_URL="https://example.org/here/")
    try:
        assert dev.client.get("/api/runs").status_code == 401  # what is printed there is no token
        dev.client.headers["Authorization"] = f"Bearer {secret}"
        run_id = dev.start("base")
        assert dev.result(run_id) == "https://example.org/here/"
        dev.start("approval")
        url = dev.hear("mailed ").partition(" ")[2]
        assert url.startswith("https://example.org/here/.well-known/workflow/v1/webhook/")
    finally:
        assert dev.stop() == 0
    assert not any(secret in line for line in dev.said)
    assert "webhooks   https://example.org/here/.well-known/workflow/v1/webhook/" in dev.said


def test_without_the_extra_runs_are_served_and_the_line_says_what_is_missing(tmp_path: Path) -> None:
    (tmp_path / "approving.py").write_text(APP)
    (tmp_path / "sitecustomize.py").write_text(
        "import importlib.util\n"
        "find = importlib.util.find_spec\n"
        "importlib.util.find_spec = lambda name, *rest: None if name == 'uvicorn' else find(name, *rest)\n"
    )
    env = environment(WDK_APP="approving:app")
    env["PYTHONPATH"] += f":{tmp_path}"
    del env["WDK_PORT"]
    process = subprocess.Popen(
        [*WDK, "dev"], cwd=tmp_path, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    try:
        assert process.stdout is not None
        lines = iter(process.stdout.readline, "")
        said = [line.rstrip() for line in itertools.takewhile(lambda line: not line.startswith("stop"), lines)]
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=PATIENCE)
    assert "http       not served: install wdk-cloud[http]" in said
    done = subprocess.run(
        [*WDK, "dev", "--port", "0"],
        cwd=tmp_path,
        env=env,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == 2
    assert "HTTP cannot be served without uvicorn: install wdk-cloud[http]" in done.stderr
    assert (done.stderr.startswith("error: "), done.stdout) == (True, "")


def test_uvicorn_makes_the_app_runs_its_worker_and_shows_no_token_in_its_access_log(tmp_path: Path) -> None:
    (tmp_path / "approving.py").write_text(APP)
    secret = "a-token-of-the-environment"
    env = environment(WDK_APP="approving:app", WDK_API_TOKEN=secret, PYTHONHASHSEED="0")
    env["PYTHONPATH"] += f":{tmp_path}"
    command = [sys.executable, "-m", "uvicorn", "--factory", "wdk_cloud.http:app", "--port", "0"]
    process = subprocess.Popen(
        command, cwd=tmp_path, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    said: list[str] = []

    def hear(text: str) -> str:
        assert process.stdout is not None
        for line in process.stdout:
            said.append(line.rstrip())
            if text in line:
                return line.rstrip()
        raise AssertionError(f"{text!r} is not in {said}")

    try:
        site = hear("running on ").partition("running on ")[2].split()[0]
        headers = {"Authorization": f"Bearer {secret}"}
        with httpx.Client(base_url=f"{site}/.well-known/workflow/v1", headers=headers, timeout=20) as client:
            client.post("/api/start", json={"workflow": "approval"}).raise_for_status()
            token = hear("mailed ").rpartition("/")[2]
            assert client.post(f"/webhook/{token}?a=b", content=b"yes").text == "YES"
            assert client.get("/api/hooks/mine").status_code == 404
    finally:
        process.send_signal(signal.SIGINT)
        out, _ = process.communicate(timeout=PATIENCE)
    said += out.splitlines()
    assert sum(token in line for line in said) == 1, said  # where the step itself printed it
    assert any('"POST /.well-known/workflow/v1/webhook/…?a=b HTTP/1.1" 200' in line for line in said), said
    assert any('"GET /.well-known/workflow/v1/api/hooks/… HTTP/1.1" 404' in line for line in said), said
