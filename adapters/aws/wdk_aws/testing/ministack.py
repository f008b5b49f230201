"""ministack: a stand-in for an AWS account, a server in an environment of its own, for rehearsals.

It runs functions as processes of its own Python, behind SQS, function URLs and schedules, and asks the policies of
their roles before each request. What it needs is pinned here; it pins a botocore, too, so it is no requirement of ours.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from contextlib import closing, contextmanager
from http.client import HTTPException
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.error import URLError
from urllib.request import ProxyHandler, build_opener

from boto3.session import Session

from wdk_aws.packaging import installing
from wdk_cloud.errors import WorldConfigurationError, WorldUnavailableError

if TYPE_CHECKING:
    from collections.abc import Generator

REQUIREMENTS = ("ministack==1.5.33", "aws-sam-translator==1.115.0", "boto3==1.43.106")
"""The versions that the rehearsals were written with: what is mended at its start below is theirs."""

VARIABLE = "WDK_MINISTACK"
"""Names the folder of an environment that has ministack, where there is one already."""

PLACE = Path(".wdk/ministack")
"""Where the environment is made unless the variable names one."""

STAMP = "installed.json"
"""Written when all of it is there, with what was installed."""

REGION = "eu-west-1"

CREDENTIALS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": REGION}
"""Those of the stand-in's owner, who may do everything; an account knows them not."""

READY_WITHIN = 30.0
"""Seconds: it answers after 0.3 on a quiet machine."""

TRIES = 3
"""Another process may take the free port between our look and the server's start."""

LAST_WORDS = 2000
"""Characters of its log that an error shows."""

# Run by the Python of its environment. It ends with the process that started it (prctl 1, PR_SET_PDEATHSIG), where
# there is a prctl. Five things are mended:
# - requests count as encrypted, whatever the connection: the bucket's policy refuses others, and it does, here too;
# - schedules are looked at at once, not each ten seconds, by a clock that is ahead by what a file says;
# - what a schedule sends has the time of its tick, as Scheduler puts it in;
# - a function URL of a stack is one that leads here, with a path in the place of a host that no network knows;
# - a request that IAM has let through to a function URL says so, as Lambda's events do.
LAUNCH = """
import ctypes, os, sys, time, types
from datetime import datetime, timezone
from pathlib import Path
getattr(ctypes.CDLL(None), "prctl", lambda *_: 0)(1, 15)
ahead = Path(sys.argv.pop(1))
from ministack.core import iam_evaluator
pin = iam_evaluator.pin_request_origin
iam_evaluator.pin_request_origin = lambda source_ip, secure_transport: pin(source_ip, True)

from ministack.app import main
from ministack.services import eventbridge, lambda_svc, scheduler
from ministack.services.cloudformation import provisioners

now = lambda: time.time() + float(ahead.read_text())
scheduler.time = types.SimpleNamespace(time=now, sleep=lambda _: time.sleep(0.1))

invoke = eventbridge._invoke_target
def invoke_at(target, event, *more):
    if event.get("Source") == "aws.scheduler" and target.get("Input"):
        minute = datetime.fromtimestamp(event["Time"] // 60 * 60, timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
        target = {**target, "Input": target["Input"].replace("<aws.scheduler.scheduled-time>", minute)}
    return invoke(target, event, *more)
eventbridge._invoke_target = invoke_at

build = lambda_svc._build_function_url_event
def build_signed(url_id, account_id, *args, anonymous=False, **more):
    event = build(url_id, account_id, *args, anonymous=anonymous, **more)
    if not anonymous:
        event["requestContext"]["authorizer"] = {"iam": {"accountId": account_id}}
    return event
lambda_svc._build_function_url_event = build_signed

attributes = provisioners._lambda_url_attributes
def reachable(config):
    made = attributes(config)
    url_id = lambda_svc._function_url_id(made["FunctionUrl"])
    return {**made, "FunctionUrl": f"http://127.0.0.1:{os.environ['GATEWAY_PORT']}/_aws/lambda-url/{url_id}/"}
provisioners._lambda_url_attributes = reachable

main()
"""

_direct = build_opener(ProxyHandler({}))  # whatever proxy the environment names, this is on this machine


class AccountSession(Session):
    """boto3's, with the stand-in for its endpoint and, unless there are other keys, its owner's: nothing is
    taken from the environment."""

    def __init__(self, url: str, keys: tuple[str, str] = ("test", "test")) -> None:
        super().__init__(*keys, region_name=REGION)
        self._url = url

    def client(self, service_name: Any, *args: Any, **kwargs: Any) -> Any:
        made: Any = super()
        return made.client(service_name, *args, **{**kwargs, "endpoint_url": self._url})


class Account:
    """A running stand-in, with nothing in it at first."""

    def __init__(self, url: str, ahead: Path) -> None:
        self.url = url
        self.session = AccountSession(url)
        self._ahead = ahead
        self._clients: dict[str, Any] = {}

    def client(self, service: str) -> Any:
        """boto3's, with the owner's credentials."""
        if service not in self._clients:
            made: Any = self.session  # its types know each service by a literal of its own
            self._clients[service] = made.client(service)
        return self._clients[service]

    def close(self) -> None:
        """The clients that were asked for."""
        for one in self._clients.values():
            one.close()
        self._clients.clear()

    def move_schedules(self, seconds: float) -> None:
        """Let EventBridge Scheduler be so much further: what is due by then comes at once. All others go by real
        time, the functions among them."""
        moved = float(self._ahead.read_text()) + seconds
        new = self._ahead.with_suffix(".new")
        new.write_text(repr(moved))
        new.replace(self._ahead)

    @property
    def schedules_at(self) -> float:
        """What Scheduler takes for the time."""
        return time.time() + float(self._ahead.read_text())


def environment() -> Path:
    """The folder of an environment that has it: that of the variable, or one that is made here, which takes a minute at
    most. Raises WorldConfigurationError or WorldUnavailableError."""
    if given := os.environ.get(VARIABLE):
        if not (Path(given) / "bin/ministack").exists():
            raise WorldConfigurationError(f"{VARIABLE} is {given}, and there is no bin/ministack in it")
        return Path(given).absolute()
    place = PLACE.absolute()
    if not there():
        _install(place)
        (place / STAMP).write_text(json.dumps(REQUIREMENTS))
    return place


def there() -> bool:
    """Whether nothing has to be installed for that."""
    stamp = PLACE.absolute() / STAMP
    return bool(os.environ.get(VARIABLE)) or (stamp.exists() and json.loads(stamp.read_text()) == list(REQUIREMENTS))


def _install(place: Path) -> None:
    shutil.rmtree(place, ignore_errors=True)
    python = str(place / "bin/python")
    uv = installing.uv()
    if uv is not None:
        made = [uv, "venv", "--quiet", "--python", sys.executable, str(place)]
        filled = [uv, "pip", "install", "--quiet", "--python", python, *REQUIREMENTS]
    else:
        made = [sys.executable, "-m", "venv", str(place)]
        filled = [python, "-m", "pip", "install", "--quiet", *REQUIREMENTS]
    for command in (made, filled):
        done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 -- words of ours
        if done.returncode:
            said = (done.stderr or done.stdout).strip()[-LAST_WORDS:]
            raise WorldUnavailableError(
                f"{', '.join(REQUIREMENTS)} cannot be installed into {place}; name an environment that has them with "
                f"{VARIABLE}. The installer:\n{said}"
            )


@contextmanager
def running(home: Path, folder: Path) -> Generator[Account]:
    """A fresh one on 127.0.0.1, of the environment `home`; its files and its log lie in `folder`.

    Raises WorldUnavailableError if it does not start.
    """
    ahead = folder / "ahead"
    ahead.write_text("0.0")
    for left in reversed(range(TRIES)):
        port = _free_port()
        url = f"http://127.0.0.1:{port}"
        log = folder / "ministack.log"
        process = _started(home, folder, port, ahead, log)
        try:
            if _ready(process, f"{url}/_ministack/health"):
                with closing(Account(url, ahead)) as account:
                    yield account
                return
            if not left:
                said = log.read_text(errors="replace")[-LAST_WORDS:]
                raise WorldUnavailableError(f"ministack did not start ({process.poll()}); its log:\n{said}")
        finally:
            _end(process)


def _started(home: Path, folder: Path, port: int, ahead: Path, log: Path) -> subprocess.Popen[bytes]:
    environ = {
        "PATH": os.environ.get("PATH", ""),
        "HOME": str(folder),
        "TMPDIR": str(folder),
        "GATEWAY_PORT": str(port),
        "BIND_HOST": "127.0.0.1",  # else every interface
        "MINISTACK_HOST": "127.0.0.1",  # in the URLs of queues
        "IOT_MTLS_ENABLED": "0",
        "LOG_LEVEL": "WARNING",
        "AUTH": "true",  # the policies of roles count
    }
    with log.open("wb") as output:
        return subprocess.Popen(  # noqa: S603 -- a program of the given environment, with words of ours
            [str(home / "bin/python"), "-c", LAUNCH, str(ahead)],
            cwd=folder,
            env=environ,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )


def _end(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGTERM)
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
    """False once it has ended, or the time is over."""
    end = time.monotonic() + READY_WITHIN
    while time.monotonic() < end and process.poll() is None:
        try:
            _direct.open(url, timeout=READY_WITHIN).close()
        except (URLError, OSError, HTTPException):
            time.sleep(0.02)  # it has no way to tell that it listens
        else:
            return True
    return False
