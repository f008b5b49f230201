"""What docs/security.md says that a leaked URL, token, queue right or table read gives, shown by using each.

What it says of IAM is compared with what processes ask for in tests/aws/test_rights.py; of tokens in logs and files in
tests/e2e/test_hook_secrecy.py; of signatures in tests/e2e/test_webhooks.py.
"""

import asyncio
import base64
import os
import re
from pathlib import Path

import httpx
import msgspec
import pytest

from wdk_aws import messages
from wdk_aws.rights import RIGHTS, Use
from wdk_aws.testing import lambda_env
from wdk_cloud import Workflows, create_webhook, get_workflow_metadata, http, sleep
from wdk_cloud.engine.orders import StepOrder
from wdk_cloud.testing import workflow_env
from wdk_cloud.world.ports import Message
from wdk_gcp import messages as gcp_messages
from wdk_gcp.testing import cloud_run_env

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "security.md").read_text()
PREFIX = "/.well-known/workflow/v1"
API_TOKEN = "a-token-of-the-api"
DROPPED = "is none of ours and is dropped: a step is ordered in the queue for steps alone"
SECRET = "four-hundred-and-four-roses"


class Shop:
    def __init__(self):
        self.app = Workflows()
        self.seen = []

        @self.app.step(name="refund")
        async def refund(amount: int) -> int:
            self.seen.append((get_workflow_metadata().run_id, amount))
            return amount

        @self.app.workflow(name="wait")
        async def wait(note: str) -> str:
            webhook = create_webhook()
            self.seen.append(webhook.url)
            return (await webhook).text()

        @self.app.workflow(name="nap")
        async def nap(note: str) -> str:
            await sleep("1 day")
            return note

        @self.app.workflow(name="pays")
        async def pays() -> int:
            await sleep("1 day")
            return await refund.with_options(dispatch="queue")(5)

        self.wait, self.nap, self.refund, self.pays = wait, nap, refund, pays


def client(app, token=None):
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    return httpx.AsyncClient(transport=httpx.ASGITransport(http.app(app)), base_url="http://shop", headers=headers)


@pytest.fixture(autouse=True)
def api_token(monkeypatch):
    monkeypatch.setenv("WDK_API_TOKEN", API_TOKEN)
    monkeypatch.delenv("WDK_ENCRYPTION_KEY", raising=False)


def test_who_has_a_webhook_url_can_send_to_that_hook_while_it_lives_and_nothing_else():
    shop = Shop()

    async def main():
        async with workflow_env("memory", shop.app) as env:
            run = await env.start(shop.wait, SECRET)
            await env.run_until_blocked()
            path = PREFIX + shop.seen[0].partition(PREFIX)[2]
            token = path.rpartition("/")[2]
            async with client(shop.app, token) as holder:  # the token of a webhook is no token of the API
                for asked in (f"/api/runs/{run.run_id}", f"/api/runs/{run.run_id}/events", f"/api/hooks/{token}"):
                    assert (await holder.get(PREFIX + asked)).status_code == 401
                delivered = await holder.post(path, content="hello")
                assert (delivered.status_code, delivered.content) == (202, b"")
                assert SECRET not in str(delivered.headers) and run.run_id not in str(delivered.headers)
                assert await env.run_to_end(run) == "hello"
                over = await holder.post(path, content="again")
                assert (over.status_code, over.content) == (404, b"")

    asyncio.run(main())


def test_who_has_the_token_of_the_api_starts_reads_and_cancels_but_deletes_nothing():
    shop = Shop()

    async def main():
        async with workflow_env("memory", shop.app) as env:
            run = await env.start(shop.nap, SECRET)
            await env.run_until_blocked()
            async with client(shop.app, API_TOKEN) as holder:
                started = await holder.post(f"{PREFIX}/api/start", json={"workflow": "nap", "args": ["mine"]})
                assert started.status_code == 201
                assert SECRET in (await holder.get(f"{PREFIX}/api/runs/{run.run_id}/events")).text
                assert (await holder.delete(f"{PREFIX}/api/runs/{run.run_id}")).status_code == 405
                assert (await holder.post(f"{PREFIX}/api/runs/{run.run_id}/cancel", json={})).status_code == 202
            await env.run_until_blocked()
            assert await run.status() == "cancelled"

    asyncio.run(main())


def forged(kind, head, **more):
    return Message(kind=kind, run_id=head.run_id, birth=head.birth, identity="somebody-else", **more)


def order(amount, made=0.0):
    text = msgspec.Raw(msgspec.json.encode({"amount": amount}))
    return msgspec.json.encode(StepOrder(name="refund", input=text, workflow="nap", run_started=0.0, made=made))


@pytest.mark.parametrize("encrypted", [False, True])
def test_who_may_send_to_a_queue_calls_any_step_and_changes_no_run(encrypted, monkeypatch):
    if encrypted:
        monkeypatch.setenv("WDK_ENCRYPTION_KEY", base64.b64encode(os.urandom(32)).decode())
    shop = Shop()

    async def main():
        async with workflow_env("memory", shop.app) as env:
            run = await env.start(shop.nap, SECRET)
            await env.run_until_blocked()
            head = await env.world.runs.head(run.run_id)
            before = [event async for event in run.events()]
            step = forged("step", head, step_id="refund#1", order=order(1000))
            await env.world.queue.send([(step, 0.0), (forged("hook", head), 0.0), (forged("sweep", head), 0.0)])
            await env.run_until_blocked()
            assert shop.seen == [(run.run_id, 1000)]  # the step was called ...
            assert [event async for event in run.events()] == before  # ... and is in no log
            assert await env.run_to_end(run) == SECRET

    asyncio.run(main())


def test_who_may_start_runs_on_aws_calls_no_step_by_a_message_of_theirs(caplog):
    shop = Shop()

    async def main():
        async with lambda_env(shop.app) as env:
            run = await env.start(shop.nap, SECRET)
            head = await env.world.runs.head(run.run_id)
            settings, made = env.world.settings, env.clock.now()
            for number, queue in enumerate((settings.flow_queue_url, settings.step_queue_url)):
                text = forged("step", head, step_id=f"refund#{number}", order=order(1000 + number, made))
                env.stage.clients.sqs.send_message(QueueUrl=queue, MessageBody=messages.encode(text, ""))
            await env.run_until_blocked()

    asyncio.run(main())
    assert [amount for _, amount in shop.seen] == [1001]
    assert DROPPED in caplog.text
    for kind in ("starter", "receiver"):
        assert Use("sqs:SendMessage", "flow queue") in RIGHTS[kind]
        assert Use("sqs:SendMessage", "step queue") not in RIGHTS[kind]


def test_who_may_start_runs_on_google_cloud_calls_no_step_by_a_task_of_theirs(caplog):
    shop = Shop()

    async def main():
        async with cloud_run_env(shop.app) as env:
            run = await env.start(shop.nap, SECRET)
            head = await env.world.runs.head(run.run_id)
            settings, made = env.world.settings, env.clock.now()
            for number, queue in enumerate((settings.flow_queue, settings.step_queue)):
                text = forged("step", head, step_id=f"refund#{number}", order=order(1000 + number, made))
                await env.world.pass_on(gcp_messages.encode(text), queue.rpartition("/")[2], 0.0)
            await env.run_until_blocked()

    asyncio.run(main())
    assert [amount for _, amount in shop.seen] == [1001]
    assert DROPPED in caplog.text


def test_the_result_of_a_step_that_was_ordered_beforehand_is_that_of_the_run_that_comes_to_it():
    shop = Shop()

    async def main():
        async with workflow_env("memory", shop.app) as env:
            run = await env.start(shop.pays)
            await env.run_until_blocked()
            head = await env.world.runs.head(run.run_id)
            step = forged("step", head, step_id="refund#1", order=order(1000))
            await env.world.queue.send([(step, 0.0)])
            await env.run_until_blocked()
            return await env.run_to_end(run)

    assert asyncio.run(main()) == 1000


def test_a_message_for_a_run_that_is_not_there_does_nothing_but_a_fresh_order_on_sqs_needs_no_run():
    shop = Shop()

    async def main():
        async with lambda_env(shop.app) as env:
            run = await env.start(shop.nap, SECRET)
            head = msgspec.structs.replace(await env.world.runs.head(run.run_id), run_id="run-of-nobody")
            await env.world.queue.send([(forged("start", head), 0.0)])
            await env.world.queue.send([(forged("step", head, step_id="refund#1", order=order(1)), 0.0)])
            await env.run_until_blocked()
            assert shop.seen == []
            fresh = order(2, made=env.clock.now())
            await env.world.queue.send([(forged("step", head, step_id="refund#2", order=fresh), 0.0)])
            await env.run_until_blocked()
            assert shop.seen == [("run-of-nobody", 2)]

    asyncio.run(main())


@pytest.mark.parametrize("encrypted", [False, True])
def test_who_may_read_the_store_reads_payloads_unless_they_are_encrypted(encrypted, tmp_path, monkeypatch):
    if encrypted:
        monkeypatch.setenv("WDK_ENCRYPTION_KEY", base64.b64encode(os.urandom(32)).decode())
    shop = Shop()

    async def main():
        async with workflow_env("local", shop.app, path=tmp_path / "local.db") as env:
            labelled = shop.nap.with_options(attributes={"customer": "visible-label"})
            await env.start(labelled, SECRET)
            await env.run_until_blocked()
            return b"".join(path.read_bytes() for path in tmp_path.glob("local.db*"))

    stored = asyncio.run(main())
    assert (SECRET.encode() in stored) is not encrypted
    assert b"visible-label" in stored and b"nap" in stored


def test_the_public_receiver_never_decrypts_and_who_starts_runs_reads_nothing():
    for kind in ("starter", "resumer", "receiver"):
        assert "kms:Decrypt" not in {use.action for use in RIGHTS[kind]}
    reading = {"dynamodb:GetItem", "dynamodb:Query", "dynamodb:BatchGetItem", "s3:GetObject"}
    assert {use.action for use in RIGHTS["starter"]} & reading == set()
    assert {use.action for use in RIGHTS["receiver"]} & reading == {"dynamodb:GetItem"}


def test_every_section_of_the_page_is_one_that_is_shown_here_or_names_its_page():
    shown = {"A webhook URL", "The token of the API", "A right to send to a queue", "A right to read the store"}
    assert shown <= set(re.findall(r"^## (.+)$", PAGE, re.MULTILINE))
