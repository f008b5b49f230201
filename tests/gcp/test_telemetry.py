"""What an instance writes to its log: one JSON document a line, in the fields that Cloud Logging reads."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import pytest

TRACE = "0af7651916cd43dd8448eb211c80319c"

AT_WORK = f"""
import asyncio, logging
from wdk_cloud.world.records import Message
from wdk_gcp.settings import GcpSettings
from wdk_gcp.telemetry import CloudLogging
from wdk_gcp.world import GcpWorld

telemetry, log = CloudLogging(GcpWorld(GcpSettings(project="p"))), logging.getLogger("wdk_cloud")

async def one(namespace, run_id, trace):
    with telemetry.delivery(namespace, Message(kind="wake", run_id=run_id, birth="b", identity="i", trace=trace)):
        await asyncio.sleep(0)
        log.warning("at work\\non %s", run_id)

async def main():
    await asyncio.gather(one("shop", "r1", "00-{TRACE}-b7ad6b7169203331-01"), one("", "r2", "00-{TRACE}-b7ad6b7169203331-00"))
    log.info("over", extra={{"wdk_step": "pay#1", "other": "not told"}})
    telemetry.count("ForeignMessages", 2)
    try:
        raise ZeroDivisionError("oops")
    except ZeroDivisionError:
        log.exception("failed")
    log.debug("not told")
    logging.getLogger("uvicorn.error").info("not told")
    logging.getLogger("uvicorn.error").warning("the server's")
    logging.getLogger("uvicorn.access").error("GET /.well-known/workflow/v1/webhook/secret")

asyncio.run(main())
"""

STARTED = """
import asyncio
from wdk_gcp.handler import app

async def main():
    said = [{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}]

    async def receive():
        return said.pop(0)

    async def send(message):
        assert message["type"] in ("lifespan.startup.complete", "lifespan.shutdown.complete"), message

    await app({"type": "lifespan"}, receive, send)

asyncio.run(main())
"""
"""An instance that starts and ends, as its server tells it."""


def lines(program: str, **environment: str) -> list[dict[str, Any]]:
    """What it has written, each line a document; nothing goes to the other output."""
    here = {"PATH": os.environ["PATH"], "PYTHONPATH": ":".join(sys.path), **environment}
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, env=here, timeout=60
    )
    assert done.stderr == ""
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_log_lines_carry_severity_run_and_trace_and_counts_are_lines_of_their_own() -> None:
    told = lines(AT_WORK)
    assert [(line["severity"], line["message"], line["logger"]) for line in told] == [
        ("WARNING", "at work\non r1", "wdk_cloud"),
        ("WARNING", "at work\non r2", "wdk_cloud"),
        ("INFO", "over", "wdk_cloud"),
        ("INFO", "counted: 2 ForeignMessages", "wdk_cloud"),
        ("ERROR", "failed", "wdk_cloud"),
        ("WARNING", "the server's", "uvicorn.error"),
    ]
    always = {"severity", "message", "time", "logger"}
    assert all(line["time"].endswith("+00:00") for line in told)
    more = [{name: value for name, value in line.items() if name not in always} for line in told]
    traced = {
        "logging.googleapis.com/trace": f"projects/p/traces/{TRACE}",
        "logging.googleapis.com/spanId": "b7ad6b7169203331",
    }
    assert more[0] == {
        "run_id": "r1",
        "wdk_namespace": "shop",
        "traceparent": f"00-{TRACE}-b7ad6b7169203331-01",
        "logging.googleapis.com/trace_sampled": True,
        **traced,
    }
    assert more[1] == {
        "run_id": "r2",
        "traceparent": f"00-{TRACE}-b7ad6b7169203331-00",
        "logging.googleapis.com/trace_sampled": False,
        **traced,
    }
    assert more[2] == {"wdk_step": "pay#1"}
    assert more[3] == {"wdk_count": "ForeignMessages", "wdk_value": 2}
    assert set(more[4]) == {"stack_trace"}
    assert more[4]["stack_trace"].startswith("Traceback ") and "ZeroDivisionError: oops" in more[4]["stack_trace"]
    assert more[5] == {}


def test_how_much_is_told_is_a_setting() -> None:
    assert [line["message"] for line in lines(AT_WORK, WDK_LOG="error")] == ["failed", "the server's"]


@pytest.mark.parametrize(
    ("environment", "warned"),
    [
        ({}, True),
        ({"PYTHONHASHSEED": "0"}, False),
        ({"WDK_ROLE": "receiver"}, False),
    ],
    ids=["unset", "fixed", "a receiver, which runs no bodies"],
)
def test_an_instance_that_runs_bodies_warns_of_a_hash_seed_that_is_not_fixed(
    environment: dict[str, str], warned: bool
) -> None:
    told = lines(STARTED, **environment)
    seed = [line for line in told if line["message"].startswith("PYTHONHASHSEED is not a fixed number")]
    assert [line["severity"] for line in seed] == ["WARNING"] * warned
    assert told == seed
