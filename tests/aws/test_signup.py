"""The signup example, unchanged, through the handler as Lambda has it: real SQS, real time, a process of its own."""

import json
import os
import subprocess
import sys
from pathlib import Path

EXAMPLE = Path(__file__).parents[2] / "examples" / "signup"

PROGRAM = """
import asyncio, json, time
from wdk_aws.clients import Clients
from wdk_aws.handler import handler
from wdk_aws.settings import AwsSettings
from wdk_aws.testing import EventSourceMapping, create_resources
from wdk_aws.mapping import Context

create_resources()
settings, sqs = AwsSettings.from_environment(), Clients().sqs
began = time.monotonic()
run_id = handler({"start": {"workflow": "signup", "args": ["ada@example.com"]}}, Context(30))["run_id"]
mappings = [EventSourceMapping(sqs, url, timeout=30) for url in (settings.flow_queue_url, settings.step_queue_url)]
run = {"status": "pending"}
while run["status"] in ("pending", "running") and time.monotonic() - began < 40:
    for mapping in mappings:
        mapping.poll(handler, wait=1)
    asked = {
        "rawPath": f"/.well-known/workflow/v1/api/runs/{run_id}",
        "headers": {"authorization": "Bearer a-secret-of-sixteen-and-more"},
        "requestContext": {"http": {"method": "GET"}},
    }
    run = json.loads(handler(asked, Context(30))["body"])
again = handler({"start": {"workflow": "signup", "args": ["b"], "idempotency_key": "k"}}, Context(30))
assert handler({"start": {"workflow": "signup", "args": ["b"], "idempotency_key": "k"}}, Context(30)) == again
print(json.dumps({**run, "took": time.monotonic() - began}))
"""


def test_the_signup_example_runs_on_the_handler(ministack: str, dynoxide: str) -> None:
    queues = f"{ministack}/000000000000"
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(EXAMPLE),
        "PYTHONHASHSEED": "0",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": ministack,
        "AWS_ENDPOINT_URL_DYNAMODB": dynoxide,
        "WDK_APP": "workflows:app",
        "WDK_API_TOKEN": "a-secret-of-sixteen-and-more",
        "WDK_AWS_TABLE": "signup",
        "WDK_AWS_FLOW_QUEUE_URL": f"{queues}/signup-flow",
        "WDK_AWS_STEP_QUEUE_URL": f"{queues}/signup-step",
        "WDK_AWS_BUCKET": "signup",
        "SIGNUP_SEED": "friday",  # the first welcome meets a busy mail server
    }
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], env=environment, capture_output=True, text=True, timeout=50, check=False
    )
    assert done.returncode == 0, done.stderr + done.stdout
    *said, last = done.stdout.splitlines()
    run = json.loads(last)
    assert (run["status"], run["result"]) == ("completed", "user-ada@example.com")
    assert run["took"] >= 5, "it slept"
    printed = [line for line in said if not line.startswith("{")]
    assert printed == [
        "creating a user for ada@example.com",
        "the mail server is busy: the welcome will be tried again",
        "welcome, ada@example.com",
        "how is it going, ada@example.com?",
    ]
