"""The command line on hooks: what is listed of them, what a run that waits for one shows, and sending payloads."""

import base64
import hashlib

import pytest
from typer.testing import CliRunner

from tests.unit.test_cli import answer, complaint, document, serve, shop, wdk
from wdk_cloud.cli.program import program
from wdk_cloud.hooks import hook_id

__all__ = ["shop"]

DESK = """
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from wdk_cloud import BaseHook, Workflows, create_hook, create_webhook, sleep

app = Workflows()

@dataclass
class Approval(BaseHook):
    approved: bool
    until: date | None = None

@app.step
def mail(url: str) -> None:
    Path("mail").write_text(url)

@app.workflow
async def approve(order: int) -> list:
    approval = await Approval.wait(f"order:{order}", {"order": order})
    return [approval.approved, approval.until]

@app.workflow
async def collect(token: str, number: int) -> list:
    hook = create_hook(token)
    return [await hook for _ in range(number)]

@app.workflow
async def review() -> str:
    webhook = create_webhook(metadata="a page")
    await mail(webhook.url)
    return (await webhook).method

TOKENS = []

@app.workflow
async def guarded() -> str:
    made, webhook = create_hook(metadata={"of": "ada"}), create_webhook(metadata="a page")
    TOKENS[:] = [made.token, webhook.token]
    await mail("no link")
    return f"{await made} {(await webhook).method}"

@app.workflow
async def several(names: str) -> None:
    hooks = [create_hook(name) for name in names]
    hooks[0].dispose()
    await sleep("1 h")

@app.workflow
async def rival(token: str) -> str | None:
    run = await create_hook(token).get_conflict()
    await sleep("1 h")
    return None if run is None else run.run_id
"""


@pytest.fixture(autouse=True)
def desk(shop):
    (shop / "shop.py").write_text(DESK)


def waiting(*words, until="hook_created", run_id=None):
    """A run that was started and waits."""
    run_id = answer("start", *words, *(("--run-id", run_id) if run_id else ()))
    serve(run_id, until=until)
    return run_id


def mailed(shop):
    return (shop / "mail").read_text()


def listed(*words):
    return document("inspect", "hooks", *words)


# --- listing ----------------------------------------------------------------------------------------------------------


def test_a_hook_is_listed_with_its_run_and_metadata_until_the_run_has_ended():
    run_id = waiting("approve", "17")
    (hook,) = listed()["hooks"]
    created = hook.pop("created_at")
    assert hook == {
        "run_id": run_id,
        "workflow_name": "workflow//shop//approve",
        "hook_id": hook_id(run_id, "hook#1"),
        "kind": "hook",
        "token_sha256": hashlib.sha256(b"order:17").hexdigest(),
        "received": 0,
        "conflict": None,
        "metadata": {"order": 17},
    }
    assert created.endswith("Z")
    assert listed(run_id)["hooks"] == [{**hook, "created_at": created}]
    answer("resume", "order:17", "--payload", '{"approved": true}')
    serve(run_id)
    assert listed() == listed(run_id) == {"hooks": [], "cursor": None}
    assert answer("inspect", "hooks") == "no hooks"


def test_people_see_hooks_as_a_table_without_any_token(shop):
    approve, review = waiting("approve", "17"), waiting("review", until="step_completed")
    head, *rows = answer("inspect", "hooks").splitlines()
    assert head.split() == [
        "run",
        "workflow",
        "hook",
        "kind",
        "created",
        "(UTC)",
        "received",
        "conflict",
        "with",
        "metadata",
    ]
    assert [row.split()[:4] for row in rows] == [
        [review, "review", hook_id(review, "hook#1"), "webhook"],
        [approve, "approve", hook_id(approve, "hook#1"), "hook"],
    ]
    assert [row.split()[6:] for row in rows] == [["0", '"a', 'page"'], ["0", '{"order":17}']]
    token = mailed(shop).rpartition("/")[2]
    for words in ((), ("--json",), (review,), (review, "--json")):
        text = wdk("inspect", "hooks", *words).stdout
        assert token not in text
        assert "order:17" not in text


def test_a_hook_in_conflict_says_whose_the_token_is_and_a_disposed_one_is_not_listed():
    owner = waiting("approve", "17")
    rival = waiting("rival", "order:17", until="wait_created")
    assert [(hook["run_id"], hook["conflict"]) for hook in listed()["hooks"]] == [(rival, owner), (owner, None)]
    assert answer("inspect", "hooks", rival).splitlines()[1].split()[-2:] == ["0", owner]
    several = waiting("several", "xyz", until="wait_created")
    assert [hook["hook_id"] for hook in listed(several)["hooks"]] == [
        hook_id(several, "hook#2"),
        hook_id(several, "hook#3"),
    ]


def test_hooks_come_in_pages_that_end_inside_a_run_or_between_two():
    for run_id, names in (("r0", "xabc"), ("r1", "yabc"), ("r2", "zd")):  # those of r1 are in conflict, but listed
        waiting("several", names, until="wait_created", run_id=run_id)
    waiting("rival", "e", until="wait_created", run_id="r3")
    everything = [hook["hook_id"] for hook in listed()["hooks"]]
    made = [("r3", 1), ("r2", 2), *(("r1", n) for n in (2, 3, 4)), *(("r0", n) for n in (2, 3, 4))]
    assert everything == [hook_id(run_id, f"hook#{number}") for run_id, number in made]
    for limit in range(1, len(everything) + 2):
        pages, cursor = [], None
        while True:
            page = listed("--limit", str(limit), *(("--cursor", cursor) if cursor else ()))
            pages.append([hook["hook_id"] for hook in page["hooks"]])
            cursor = page["cursor"]
            if cursor is None:
                break
        assert [one for page in pages for one in page] == everything, limit
        assert all(len(page) == limit for page in pages[:-1]), limit
    of_one = [hook["hook_id"] for hook in listed("r1")["hooks"]]
    first = listed("r1", "--limit", "2")
    rest = listed("r1", "--cursor", first["cursor"])
    assert [hook["hook_id"] for hook in first["hooks"] + rest["hooks"]] == of_one
    shown = wdk("inspect", "hooks", "--limit", "2").stdout
    assert "\nmore: --cursor '" in shown


@pytest.mark.parametrize("cursor", ["x", "1", "1 ", "-1 r0 x", "1 r0 nonsense"])
def test_a_cursor_that_the_command_has_not_given_is_wrong_usage(cursor):
    waiting("approve", "17")
    assert "is none that this command has given" in complaint("inspect", "hooks", f"--cursor={cursor}", code=2)


def test_metadata_that_is_encrypted_is_shown_when_asked_for(monkeypatch):
    monkeypatch.setenv("WDK_ENCRYPTION_KEY", base64.b64encode(b"k" * 32).decode())
    run_id = waiting("approve", "17")
    assert [hook["metadata"] for hook in listed()["hooks"]] == [{"$encrypted": True}]
    assert answer("inspect", "hooks").endswith("encrypted; --decrypt shows it")
    assert [hook["metadata"] for hook in listed("--decrypt")["hooks"]] == [{"order": 17}]
    answer("resume", "order:17", "--payload", '{"approved": true}')
    serve(run_id)


def test_an_unknown_run_has_no_hooks_to_list():
    waiting("approve", "17")
    assert "wrun_0 does not exist" in complaint("inspect", "hooks", "wrun_0", code=1)


def test_no_command_shows_a_token_that_the_run_itself_has_not_recorded():
    run_id = waiting("guarded", until="step_completed")
    import shop

    made, webhook = shop.TOKENS
    wdk("resume", "--payload", "1", "--key", "event", "--", made)
    shown = [wdk("resume", "--payload", "1", "--", webhook, code=1)]
    for command in ("run", "steps", "events", "hooks"):
        for options in ((), ("--json",), ("--decrypt",)):
            shown.append(wdk("inspect", command, run_id, *options))
    shown += [wdk("inspect", what, *options) for what in ("runs", "hooks") for options in ((), ("--json",))]
    shown += [wdk("health"), wdk("sweep"), wdk("wake", run_id), wdk("cancel", run_id, "--reason", "enough")]
    serve(run_id)
    shown += [wdk("inspect", "run", run_id), wdk("resume", "--payload", "1", "--", made, code=1)]
    text = "\n".join(result.stdout + result.stderr for result in shown)
    assert hook_id(run_id, "hook#1") in text
    assert made not in text
    assert webhook not in text


# --- what a run waits for ---------------------------------------------------------------------------------------------


def test_a_run_that_waits_for_a_hook_and_a_webhook_names_them(shop):
    approve = waiting("approve", "17")
    (hook,) = document("inspect", "run", approve)["waits_for"]["hooks"]
    assert (hook["hook_id"], hook["kind"], hook["received"]) == (hook_id(approve, "hook#1"), "hook", 0)
    text = answer("inspect", "run", approve).partition("waits for\n")[2]
    assert text.startswith(f"  hook {hook_id(approve, 'hook#1')}  since ")
    assert " UTC; nothing received yet\n" in text
    assert "a worker" not in text
    review = waiting("review", until="step_completed")
    assert [one["kind"] for one in document("inspect", "run", review)["waits_for"]["hooks"]] == ["webhook"]
    assert f"  webhook {hook_id(review, 'hook#1')}  since " in answer("inspect", "run", review)


def test_a_payload_that_no_worker_has_taken_in_is_counted_until_one_has():
    run_id = waiting("collect", "token", "3")
    for number in (1, 2):
        answer("resume", "token", "--payload", str(number))
    assert document("inspect", "run", run_id)["waits_for"]["payloads"] == 2
    text = answer("inspect", "run", run_id).partition("waits for\n")[2]
    assert "payloads 2 sent; the next worker takes them in" in " ".join(text.split())
    serve(run_id, until="hook_received")
    shown = document("inspect", "run", run_id)["waits_for"]
    assert (shown["payloads"], shown["hooks"][0]["received"]) == (0, 2)
    assert "; 2 received\n" in answer("inspect", "run", run_id)


# --- sending ----------------------------------------------------------------------------------------------------------


def test_a_payload_is_json_and_fits_the_type_that_the_hook_has():
    run_id = waiting("approve", "17")
    payload = '{"approved": true, "until": "2026-03-01"}'
    assert answer("resume", "order:17", "--payload", payload) == f"run {run_id} has the payload"
    serve(run_id)
    assert document("inspect", "run", run_id)["result"] == [True, {"$date": "2026-03-01"}]


def test_a_payload_may_come_from_stdin_and_one_with_its_key_comes_once():
    run_id = waiting("collect", "token", "2")
    for text, key in (("[1,\n 2]", "a"), ("[1,\n 2]", "a"), ('"text"', "b")):
        words = ["resume", "token", "--payload", "-", "--key", key]
        done = CliRunner().invoke(program, words, prog_name="wdk", input=text)
        assert (done.exit_code, done.stdout) == (0, f"run {run_id} has the payload\n")
    serve(run_id)
    assert document("inspect", "run", run_id)["result"] == [[1, 2], "text"]


@pytest.mark.parametrize("payload", ["", "{", "approved", "NaN", "[Infinity]", "{'a': 1}", "1 2", "[" * 100_000])
def test_a_payload_that_is_no_json_is_wrong_usage_and_sends_nothing(payload):
    run_id = waiting("approve", "17")
    assert "--payload is no JSON: " in complaint("resume", "order:17", "--payload", payload, code=2)
    assert document("inspect", "run", run_id)["waits_for"]["payloads"] == 0


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (("never", "--payload", "1"), 1, "no live hook has this token (SHA-256 6497e4b3d7be…)"),
        (("", "--payload", "1"), 2, "a token is text of 1 to 256 printable characters"),
        (("x" * 257, "--payload", "1"), 2, "a token is text of 1 to 256 printable characters"),
        (("order:17",), 2, "Missing option '--payload'"),
        (("order:17", "--payload", "1", "--key", ""), 2, "key= must be text of 1 to 256 characters"),
        (("order:17", "--payload", "1", "--namespace", "other"), 1, "no live hook has this token"),
    ],
)
def test_what_cannot_be_delivered_says_why(words, code, says):
    run_id = waiting("approve", "17")
    said = complaint("resume", *words, code=code)
    assert says in said
    assert "never" not in said.replace("was never made", "")
    assert document("inspect", "run", run_id)["waits_for"]["payloads"] == 0


def test_a_webhook_is_called_and_not_resumed_and_its_token_is_not_repeated(shop):
    run_id = waiting("review", until="step_completed")
    token = mailed(shop).rpartition("/")[2]
    said = complaint("resume", "--payload", "1", "--", token, code=1)
    assert "is a webhook's, which takes requests: call its URL, as with curl" in said
    assert token not in said
    assert document("inspect", "run", run_id)["waits_for"]["payloads"] == 0


def test_a_reader_in_the_wrong_folder_is_told_so_and_makes_no_file(shop):
    assert "there are no runs here" in complaint("resume", "token", "--payload", "1", code=1)
    assert "there are no runs here" in complaint("inspect", "hooks", code=1)
    assert not (shop / ".wdk").exists()
