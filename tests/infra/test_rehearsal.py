"""The template and a zip of the build, deployed as stacks into ministack: real processes, queues, URLs and policies."""

import asyncio
import os
import shutil
import signal
import time
from contextlib import closing, contextmanager

import pytest

from tests.infra.rehearsing import (
    ENVIRONMENT,
    VARIABLES,
    Ledger,
    asked,
    build,
    changed,
    info,
    result,
    start,
    until,
)
from wdk_aws.testing import command, deployment, functionurls, ministack
from wdk_cloud import Workflows, client
from wdk_cloud.cli.console import CommandError
from wdk_cloud.errors import WorldConfigurationError
from wdk_cloud.world.opening import use_world

# One stand-in for all of them; the first one waits for the build, too.
pytestmark = [pytest.mark.xdist_group("rehearsal"), pytest.mark.timeout(180)]


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    return build(tmp_path_factory.mktemp("built"))


@pytest.fixture(scope="module")
def account(tmp_path_factory):
    with ministack.running(ENVIRONMENT, tmp_path_factory.mktemp("ministack")) as made:
        yield made


@pytest.fixture(scope="module")
def prod(account, built):
    deployed = deployment.deploy(account, built, "wdk-prod", {"Stage": "prod"}, VARIABLES)
    yield deployed
    refused = [line.text for output in ("WorkerLogs", "ReceiverLogs") for line in deployed.refusals(output)]
    deployed.close()
    assert refused == []


@pytest.fixture(scope="module")
def staging(account, built):
    with closing(deployment.deploy(account, built, "wdk-staging", {"Stage": "staging"}, VARIABLES)) as deployed:
        yield deployed


@pytest.fixture
def ledger(tmp_path):
    return Ledger(tmp_path)


def quiet(deployed):
    """Once no queue has a message, nor a worker one in its hands."""
    return until(lambda: not any(deployed.messages().values()))


def test_the_example_signup_runs(prod):
    run_id = start(prod, "signup", "ada@example.com")
    assert result(prod, run_id) == "user-ada@example.com"
    quiet(prod)
    lines = [line.text for line in prod.lines()]
    for once in ("creating a user for ada@", "welcome, ada@", "how is it going, ada@"):
        assert [line.startswith(once) for line in lines].count(True) == 1, once


def test_a_step_is_retried_and_one_has_an_invocation_of_its_own(prod, ledger):
    assert result(prod, start(prod, "persistent", ledger.path)) == [3, "elsewhere"]
    quiet(prod)
    assert ledger.lines() == ["attempt 1", "attempt 2", "attempt 3", "elsewhere"]


def test_a_webhook_is_answered_three_ways(prod, ledger):
    run_id = start(prod, "asked", ledger.path)
    plain, fixed, manual = ledger.wait_for(3)
    assert plain.startswith(prod.outputs["WebhookUrl"])
    answers = [prod.public.post(url, content=text) for url, text in ((plain, "a"), (fixed, "b"), (manual, "c"))]
    assert [(one.status_code, one.text) for one in answers] == [(202, ""), (200, "thanks"), (201, "made c")]
    assert answers[1].headers["X-Kind"] == "fixed" and answers[2].headers["X-Made-By"] == "a step"
    assert result(prod, run_id) == ["POST a", "POST b", "POST c"]
    gone = until(lambda: one if (one := prod.public.post(plain)).status_code == 404 else None)
    assert gone.content == b""


def test_the_api_is_for_those_whom_iam_lets_through(prod, account):
    runs = f"{prod.outputs['ApiUrl']}.well-known/workflow/v1/api/runs"
    assert prod.api.get("runs").status_code == 200
    assert prod.public.get(runs).status_code == 403
    assert prod.public.get("api/runs").status_code == 404  # the receiver has no such route
    stranger = account.client("iam")
    stranger.create_user(UserName="stranger")
    key = stranger.create_access_key(UserName="stranger")["AccessKey"]
    session = ministack.AccountSession(account.url, (key["AccessKeyId"], key["SecretAccessKey"]))
    with functionurls.client(account.url, session=session) as other:
        assert other.get(runs).status_code == 403


def chunks(answer):
    """Of server-sent events: their ids and data, the last one's type in place of an id."""
    blocks = [dict(line.split(": ", 1) for line in block.splitlines()) for block in answer.text.strip().split("\n\n")]
    return [(block.get("event") or block["id"], block["data"]) for block in blocks if "data" in block]


def test_a_stream_is_read_while_its_step_writes(prod, ledger, tmp_path):
    told = tmp_path / "told"
    run_id = start(prod, "speaker", ledger.path, told)
    ledger.wait_for(1)
    try:
        first = chunks(prod.api.get(f"runs/{run_id}/streams/default"))
        assert first == [("0", '"one"'), ("1", '"two"')]
        assert info(prod, run_id)["status"] == "running"
    finally:
        told.touch()
    rest = []
    while not rest or rest[-1][0] != "end":
        last = {"Last-Event-ID": (first + rest)[-1][0]}
        rest += chunks(prod.api.get(f"runs/{run_id}/streams/default", headers=last))
    assert rest == [("2", '"three"'), ("end", '{"tail_index":2}')]
    assert result(prod, run_id) is None


def test_a_message_that_is_not_ours_is_logged_counted_and_gone(prod):
    before = prod.counted("ForeignMessages")
    sent = prod.account.client("sqs").send_message(QueueUrl=prod.settings.flow_queue_url, MessageBody="a secret")
    until(lambda: prod.counted("ForeignMessages") > before)
    quiet(prod)
    assert prod.counted("ForeignMessages") == before + 1
    told = [line.document for line in prod.lines() if sent["MessageId"] in line.text]
    assert [one["level"] for one in told] == ["ERROR"] and "is none of ours and is dropped" in told[0]["message"]
    assert [line.text for line in prod.lines() if "a secret" in line.text] == []


@contextmanager
def paused(deployed):
    """No flow message is delivered meanwhile, and none is in the hands of a worker: a deployment ends the stand-in's
    workers, and one that has only begun leaves its message invisible for as long as the queue says, 16 minutes."""
    lambdas, mapping = deployed.account.client("lambda"), flow_mapping(deployed)
    lambdas.update_event_source_mapping(UUID=mapping, Enabled=False)
    try:
        until(lambda: not in_hand(deployed))
        yield
    finally:
        lambdas.update_event_source_mapping(UUID=mapping, Enabled=True)


def in_hand(deployed):
    asked_for = {
        "QueueUrl": deployed.settings.flow_queue_url,
        "AttributeNames": ["ApproximateNumberOfMessagesNotVisible"],
    }
    (count,) = deployed.account.client("sqs").get_queue_attributes(**asked_for)["Attributes"].values()
    return int(count)


def flow_mapping(deployed):
    mappings = deployed.account.client("lambda").list_event_source_mappings(FunctionName=deployed.outputs["WorkerName"])
    (found,) = [one for one in mappings["EventSourceMappings"] if one["EventSourceArn"].endswith("-flow")]
    return found["UUID"]


def test_a_dead_letter_wakes_its_run(prod, ledger):
    sqs, flow = prod.account.client("sqs"), prod.settings.flow_queue_url
    quiet(prod)
    before = prod.counted("DeadLetters")
    with paused(prod):
        run_id = start(prod, "persistent", ledger.path)
        (message,) = sqs.receive_message(QueueUrl=flow)["Messages"]
        assert run_id in message["Body"]
        sqs.delete_message(QueueUrl=flow, ReceiptHandle=message["ReceiptHandle"])
    assert info(prod, run_id)["status"] == "pending" and ledger.lines() == []
    sqs.send_message(QueueUrl=f"{flow}-dead", MessageBody=message["Body"])
    assert result(prod, run_id) == [3, "elsewhere"]
    quiet(prod)
    assert ledger.lines() == ["attempt 1", "attempt 2", "attempt 3", "elsewhere"]
    assert prod.counted("DeadLetters") == before + 1


def test_a_worker_that_is_killed_in_a_step_costs_an_attempt_and_seconds(prod, ledger):
    run_id = start(prod, "mortal", ledger.path)
    began, died = ledger.wait_for(2)
    killed = time.monotonic()
    os.kill(int(died.split()[2]), signal.SIGKILL)
    assert result(prod, run_id, within=60) == ["before", 2, "after"]
    assert time.monotonic() - killed < 60
    quiet(prod)
    first, again = [line.rpartition(" ") for line in ledger.lines() if line.startswith("dies")]
    assert (first[0], again[0]) == ("dies 1", "dies 2") and first[2] != again[2]
    assert [line for line in ledger.lines() if not line.startswith("dies")] == [began, "after"]


def test_two_stages_live_side_by_side(prod, staging, tmp_path):
    ledgers = {deployed: Ledger(tmp_path / deployed.name) for deployed in (prod, staging)}
    for deployed, ledger in ledgers.items():
        ledger.path.parent.mkdir()
        assert start(deployed, "overtaken", ledger.path, "side-by-side", run_id="side-by-side") == "side-by-side"
    for deployed in ledgers:
        hook_of(deployed, "side-by-side")
    for deployed, other, text in ((prod, staging, "to prod"), (staging, prod, "to staging")):
        resume(deployed, "side-by-side", text)
        assert result(deployed, "side-by-side")[1] == text
        assert info(other, "side-by-side")["status"] == ("running" if deployed is prod else "completed")
    assert [len(ledger.lines()) for ledger in ledgers.values()] == [2, 2]


def hook_of(deployed, token):
    return until(lambda: answer if (answer := deployed.api.get(f"hooks/{token}")).status_code == 200 else None)


def resume(deployed, token, payload):
    answer = asked(deployed, "POST", f"hooks/{token}", json={"payload": payload, "key": "once"})
    assert answer.status_code == 202, answer.text


def begun_by_newer_code(deployed, path):
    """A run of a workflow that the deployed code does not have, as a client with newer code starts it."""
    app = Workflows()

    @app.workflow(name="novelty")
    async def novelty(ledger: str) -> str:
        return ledger

    async def begin():
        world = deployed.world()
        with use_world(world):
            run = await client.start(novelty, str(path))
        await world.close()
        return run.run_id

    return asyncio.run(begin())


def test_a_second_deployment_comes_in_the_middle_of_runs(staging, account, built, tmp_path):
    """One waits, with a step done; of another one the code is not there yet."""
    old, new = Ledger(tmp_path / "old"), Ledger(tmp_path / "new")
    old.path.parent.mkdir()
    new.path.parent.mkdir()
    waiting = start(staging, "overtaken", old.path, "overtaken")
    hook_of(staging, "overtaken")
    early = begun_by_newer_code(staging, new.path)
    until(lambda: [line for line in staging.lines() if f"run {early} is handed on (1. time)" in line.text])
    assert (info(staging, early)["status"], new.lines()) == ("running", [])
    first = info(staging, waiting)["version"]
    with paused(staging):
        deployment.deploy(account, changed(built, tmp_path / "second"), "wdk-staging", {"Stage": "staging"}, VARIABLES)
    resume(staging, "overtaken", "go on")
    assert result(staging, waiting) == ["first", "go on", "second"]
    assert result(staging, early, within=60) == "second"
    assert (old.lines(), new.lines()) == (["first", "second"], ["second"])
    assert info(staging, waiting)["version"] == first  # a run is told by the code that started it


def test_the_schedules_of_the_template_fire(prod, account):
    quiet(prod)
    begun = invocations(prod)
    account.move_schedules(7201 - account.schedules_at % 3600)
    # A tick, the turn of its run, and a sweep; a schedule that has missed several times comes once.
    until(lambda: invocations(prod) >= begun + 3)
    (hourly,) = prod.api.get("runs", params={"workflow": "hourly"}).json()["runs"]
    assert result(prod, hourly["run_id"]) is None
    assert prod.messages()["tick-dead"] == 0


def invocations(deployed):
    return sum(line.text.startswith("START ") for line in deployed.lines())


def test_what_no_policy_allows_is_refused(account, built, tmp_path):
    poor = shutil.copytree(built, tmp_path / "poor") / "template.yaml"
    right = "                  - dynamodb:PutItem\n"
    assert poor.read_text().count(right) == 1  # the worker's; the receiver's stands in another form
    poor.write_text(poor.read_text().replace(right, ""))
    with closing(deployment.deploy(account, poor.parent, "wdk-poor", None, VARIABLES)) as deployed:
        answer = deployed.api.post("start", json={"workflow": "signup", "args": ["ada@example.com"]})
        assert (answer.status_code, answer.json()["error"]) == (500, "world-configuration")
        assert "PutItem for WDK_AWS_TABLE: AccessDenied" in answer.text
        with pytest.raises(CommandError, match=r"the roles of the template lack rights(?s:.*)PutItem"):
            command.check(deployed)


def test_a_template_that_is_refused_says_why(account, built, tmp_path):
    wrong = shutil.copytree(built, tmp_path / "wrong") / "template.yaml"
    wrong.write_text(wrong.read_text().replace("!GetAtt FlowDead.Arn", "!GetAtt Absent.Arn"))
    with pytest.raises(
        WorldConfigurationError, match=r"^the stack wdk-wrong is ROLLBACK_COMPLETE: FlowQueue: .*Redrive"
    ):
        deployment.deploy(account, wrong.parent, "wdk-wrong")
