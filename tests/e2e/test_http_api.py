"""The API over HTTP: runs and hooks, for those who are accepted, and what bad input gets."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import msgspec
import pydantic
import pytest

from tests.e2e.browsing import TOKEN, browser, call, scope_of, serve
from tests.e2e.running import Play
from wdk_cloud import BaseHook, Workflows, create_hook, get_run, http, list_runs, sleep
from wdk_cloud.errors import WorldConfigurationError, WorldUnavailableError
from wdk_cloud.http.authentication import BearerToken
from wdk_cloud.testing.environment import WorkflowEnv
from wdk_cloud.world.memory import MemoryWorld
from wdk_cloud.world.opening import use_world
from wdk_cloud.world.ports import Message


@dataclass
class Order:
    id: str
    amount: int = 1


class Shop:
    def __init__(self, namespace: str | None = None) -> None:
        self.app = Workflows(namespace)

        @self.app.step(name="charge")
        async def charge(order: Order) -> str:
            return f"{order.id} × {order.amount}"

        @self.app.workflow(name="checkout")
        async def checkout(order: Order, note: str = "") -> dict[str, str]:
            return {"charged": await charge(order), "note": note}

        @self.app.workflow(name="nap")
        async def nap() -> str:
            await sleep("1 day")
            return "rested"

        @self.app.workflow(name="fails")
        async def fails() -> None:
            raise ValueError("as it should")

        @self.app.workflow(name="approval")
        async def approval(token: str) -> Any:
            return await create_hook(token, metadata={"for": token})

        self.checkout, self.nap, self.approval = checkout, nap, approval


START = "/api/start"


def test_a_run_is_started_and_its_result_and_log_are_read(play: Play) -> None:
    shop = Shop()

    async def scenario(env: WorkflowEnv) -> Any:
        async with browser(serve(shop.app)) as user:
            order = {"workflow": "checkout", "args": [{"id": "o-1"}], "kwargs": {"note": "grüße"}, "run_id": "r1"}
            started = await user.post(START, json={**order, "attributes": {"who": "me"}})
            assert (started.status_code, started.json()) == (201, {"run_id": "r1"})
            await env.run_until_blocked()
            run = (await user.get("/api/runs/r1")).json()
            assert run["status"] == "completed"
            assert run["result"] == {"charged": "o-1 × 1", "note": "grüße"}
            assert (run["error"], run["attributes"]) == (None, {"who": "me"})
            types = [event["type"] for event in (await user.get("/api/runs/r1/events")).json()["events"]]
            return [run["workflow_name"], types]

    assert play.scene(scenario, shop.app) == [
        "checkout",
        ["run_created", "run_started", "step_created", "step_started", "step_completed", "run_completed"],
    ]


def test_the_same_idempotency_key_gives_the_same_run_and_another_input_a_conflict(warm: Play) -> None:
    shop = Shop()

    async def scenario(env: WorkflowEnv) -> Any:
        async with browser(serve(shop.app)) as user:
            order = {"workflow": "checkout", "args": [{"id": "o-1"}], "idempotency_key": "k"}
            first, second = [await user.post(START, json=order) for _ in range(2)]
            assert first.json() == second.json()
            other = await user.post(START, json={**order, "args": [{"id": "o-2"}]})
            taken = await user.post(START, json={"workflow": "nap", "run_id": first.json()["run_id"]})
            return [other.status_code, other.json()["error"], taken.status_code, taken.json()["error"]]

    assert warm.scene(scenario, shop.app) == [409, "idempotency-conflict", 409, "run-exists"]


def test_a_failed_run_tells_its_error(warm: Play) -> None:
    shop = Shop()

    async def scenario(env: WorkflowEnv) -> Any:
        async with browser(serve(shop.app)) as user:
            await user.post(START, json={"workflow": "fails", "run_id": "r"})
            await env.run_until_blocked()
            run = (await user.get("/api/runs/r")).json()
            return [run["status"], run["error_code"], run["error"]["type"], run["error"]["message"], run["result"]]

    assert warm.scene(scenario, shop.app) == ["failed", "USER_ERROR", "ValueError", "as it should", None]


def test_runs_are_listed_in_pages_newest_first(warm: Play) -> None:
    shop = Shop()

    async def scenario(env: WorkflowEnv) -> Any:
        async with browser(serve(shop.app)) as user:
            for number in range(5):
                await user.post(START, json={"workflow": "nap", "run_id": f"n{number}"})
                await env.advance(1)
            await user.post(START, json={"workflow": "fails"})
            pages, cursor = [], None
            while True:
                query = {"workflow": "nap", "status": "running", "limit": "2"} | ({"cursor": cursor} if cursor else {})
                page = (await user.get("/api/runs", params=query)).json()
                pages.append([run["run_id"] for run in page["runs"]])
                cursor = page["cursor"]
                if cursor is None:
                    return pages

    assert warm.scene(scenario, shop.app) == [["n4", "n3"], ["n2", "n1"], ["n0"]]


def test_a_log_is_read_in_pages(warm: Play) -> None:
    shop = Shop()

    async def scenario(env: WorkflowEnv) -> Any:
        async with browser(serve(shop.app)) as user:
            await user.post(START, json={"workflow": "checkout", "args": [{"id": "o"}], "run_id": "r"})
            await env.run_until_blocked()
            pages, after = [], "0"
            while after is not None:
                page = (await user.get("/api/runs/r/events", params={"limit": "4", "after": after})).json()
                pages.append([event["position"] for event in page["events"]])
                after = page["cursor"]
            return pages

    assert warm.scene(scenario, shop.app) == [[1, 2, 3, 4], [5, 6]]


def test_a_run_is_woken_and_another_cancelled(warm: Play) -> None:
    shop = Shop()

    async def scenario(env: WorkflowEnv) -> Any:
        async with browser(serve(shop.app)) as user:
            for run_id in ("woken", "cancelled", "bare"):
                await user.post(START, json={"workflow": "nap", "run_id": run_id})
            await env.run_until_blocked()
            asked = [
                await user.post("/api/runs/woken/wake"),
                await user.post("/api/runs/cancelled/cancel", json={"reason": "enough"}),
                await user.post("/api/runs/bare/cancel"),
            ]
            assert [answer.status_code for answer in asked] == [202, 202, 202]
            await env.run_until_blocked()
            reasons = [e.data.get("reason") async for e in get_run("cancelled").events() if e.type == "run_cancelled"]
            return [reasons] + [await get_run(run_id).status() for run_id in ("woken", "cancelled", "bare")]

    assert warm.scene(scenario, shop.app) == [["enough"], "completed", "cancelled", "cancelled"]


@pytest.mark.parametrize("token", ["order:42", "a/b c?d", "grüße", "x/resume", "100%"])
def test_a_hook_is_found_by_its_token_and_resumed_once_for_a_key(token: str, warm: Play) -> None:
    shop = Shop()
    path = f"/api/hooks/{quote(token, safe='')}"

    async def scenario(env: WorkflowEnv) -> Any:
        async with browser(serve(shop.app)) as user:
            await user.post(START, json={"workflow": "approval", "args": [token], "run_id": "r"})
            await env.run_until_blocked()
            hook = (await user.get(path)).json()
            assert (hook["run_id"], hook["metadata"]) == ("r", {"for": token})
            for _ in range(2):
                answer = await user.post(path, json={"payload": {"approved": True}, "key": "once"})
                assert (answer.status_code, answer.json()) == (202, {"hook_id": hook["hook_id"], "run_id": "r"})
            await env.run_until_blocked()
            gone = await user.get(path)
            assert (gone.status_code, gone.json()["error"]) == (404, "hook-not-found")
            assert token not in gone.json()["message"]
            return (await user.get("/api/runs/r")).json()["result"]

    assert warm.scene(scenario, shop.app) == {"approved": True}


def test_what_looks_like_a_tag_of_the_codec_is_data(warm: Play) -> None:
    shop = Shop()
    payload = {"$bytes": "AAAA", "n": 2**70, "deep": [{"$run": 1}]}

    async def scenario(env: WorkflowEnv) -> Any:
        async with browser(serve(shop.app)) as user:
            run = await env.start(shop.approval, "t")
            await env.run_until_blocked()
            assert (await user.post("/api/hooks/t", json={"payload": payload})).status_code == 202
            return await env.run_to_end(run)

    assert warm.scene(scenario, shop.app) == payload


@dataclass
class Approval(BaseHook):
    approved: bool
    amount: int = 0


class Decision(BaseHook, pydantic.BaseModel):
    approved: bool


@pytest.mark.parametrize("schema", [Approval, Decision])
@pytest.mark.parametrize(
    ("payload", "why"), [({"approved": "perhaps"}, "approved"), ({}, "approved"), (None, "payload")]
)
def test_a_payload_that_does_not_fit_is_400_and_the_run_waits_on(
    schema: type[Any], payload: Any, why: str, play: Play
) -> None:
    app = Workflows()

    @app.workflow
    async def body() -> bool:
        return (await schema.wait(token="t")).approved

    async def scenario(env: WorkflowEnv) -> Any:
        run = await env.start(body)
        await env.run_until_blocked()
        async with browser(serve(app)) as user:
            answer = await user.post("/api/hooks/t", json={"payload": payload})
            assert (answer.status_code, answer.json()["error"]) == (400, "serialization")
            assert why in answer.json()["message"]
            await env.run_until_blocked()
            assert [event.type async for event in run.events()].count("hook_received") == 0
            assert (await user.post("/api/hooks/t", json={"payload": {"approved": True}})).status_code == 202
        return await env.run_to_end(run)

    assert play.scene(scenario, app) is True


# -- bad input --------------------------------------------------------------------------------------------------------

BAD_STARTS = {
    "no workflow": ({}, "Object missing required field `workflow`"),
    "no object": ([], "Expected `object`, got `array`"),
    "another field": ({"workflow": "nap", "oops": 1}, "unknown field `oops`"),
    "no text": ({"workflow": 1}, "Expected `str`, got `int`"),
    "no list": ({"workflow": "nap", "args": "x"}, "Expected `array`, got `str`"),
    "too many arguments": ({"workflow": "nap", "args": [1]}, "too many positional arguments"),
    "too few arguments": ({"workflow": "checkout"}, "missing a required argument: 'order'"),
    "an unknown argument": ({"workflow": "nap", "kwargs": {"x": 1}}, "unexpected keyword argument 'x'"),
    "a run id": ({"workflow": "nap", "run_id": "a b"}, "a run id is 1 to 128 of"),
    "id and key": ({"workflow": "nap", "run_id": "a", "idempotency_key": "b"}, "give run_id or idempotency_key"),
    "an empty key": ({"workflow": "nap", "idempotency_key": ""}, "an idempotency key is text of 1 to 256"),
    "a long key": ({"workflow": "nap", "idempotency_key": "x" * 257}, "an idempotency key is text of 1 to 256"),
    "a label": ({"workflow": "nap", "attributes": {"$x": "1"}}, "begins with '$', which is reserved"),
    "a label's value": ({"workflow": "nap", "attributes": {"x": 1}}, "Expected `str`, got `int`"),
    "a delay": ({"workflow": "nap", "delay": "soon"}, "soon"),
    "a negative delay": ({"workflow": "nap", "delay": -1}, "delay"),
    "a century": ({"workflow": "nap", "delay": "200 years"}, "delay"),
    "another type": ({"workflow": "checkout", "args": [{"id": "o", "amount": "many"}]}, "order.amount"),
}


@pytest.mark.parametrize("case", BAD_STARTS)
def test_a_start_that_makes_no_sense_is_400_says_why_and_writes_nothing(case: str, warm: Play) -> None:
    shop = Shop()
    order, why = BAD_STARTS[case]

    async def scenario(env: WorkflowEnv) -> Any:
        async with browser(serve(shop.app)) as user:
            answer = await user.post(START, json=order)
        assert answer.json()["error"] in ("bad-request", "serialization")
        assert why in answer.json()["message"]
        return [answer.status_code, len(await list_runs())]

    assert warm.scene(scenario, shop.app) == [400, 0]


def test_an_unknown_workflow_is_404(warm: Play) -> None:
    shop = Shop()

    async def scenario(env: WorkflowEnv) -> Any:
        async with browser(serve(shop.app)) as user:
            answer = await user.post(START, json={"workflow": "nop"})
        return [answer.status_code, answer.json()["error"], len(await list_runs())]

    assert warm.scene(scenario, shop.app) == [404, "workflow-not-registered", 0]


@pytest.mark.parametrize("path", [START, "/api/hooks/t", "/api/runs/r/cancel", "/flow"])
@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b'{"workflow": ', 400),
        (b"", 400),
        (b"\xff\xfe", 400),
        (b"[" * 100_000, 400),
        (b'{"reason": NaN}', 400),
        (b'"\\ud800"', 400),
        (b"null", 400),
    ],
)
def test_malformed_json_is_400(path: str, body: bytes, status: int, warm: Play) -> None:
    shop = Shop()

    async def scenario(env: WorkflowEnv) -> Any:
        run = await env.start(shop.approval.with_options(run_id="r"), "t")
        await env.run_until_blocked()
        async with browser(serve(shop.app)) as user:
            answer = await user.post(path, content=body, headers={"content-type": "application/json"})
        if not body and path.endswith("/cancel"):
            assert answer.status_code == 202  # nothing needs to be said there
        else:
            assert (answer.status_code, answer.json()["error"]) == (status, "bad-request")
            await env.run_until_blocked()
            assert await run.status() == "running"

    warm.scene(scenario, shop.app)


@pytest.mark.parametrize("path", [START, "/api/hooks/t", "/api/runs/r/cancel", "/api/runs/r/wake", "/flow"])
@pytest.mark.parametrize("type", ["text/plain", "application/x-www-form-urlencoded", "", "application/jsonp"])
def test_another_content_type_is_415(path: str, type: str, warm: Play) -> None:
    shop = Shop()

    async def scenario(env: WorkflowEnv) -> Any:
        async with browser(serve(shop.app)) as user:
            answer = await user.post(path, content=b'{"workflow": "nap"}', headers={"content-type": type})
        return [answer.status_code, answer.json()["error"], len(await list_runs())]

    assert warm.scene(scenario, shop.app) == [415, "unsupported-media-type", 0]


@pytest.mark.parametrize(
    ("path", "status", "error"),
    [
        ("/api/runs/unknown", 404, "workflow-run-not-found"),
        ("/api/runs/unknown/events", 404, "workflow-run-not-found"),
        ("/api/runs/a%20b", 400, "bad-request"),
        ("/api/runs/" + "x" * 129, 400, "bad-request"),
        ("/api/runs/r/events?limit=0", 400, "bad-request"),
        ("/api/runs/r/events?after=-1", 400, "bad-request"),
        ("/api/runs?limit=many", 400, "bad-request"),
        ("/api/runs?limit=1001", 400, "bad-request"),
        ("/api/runs?status=sleeping", 400, "bad-request"),
        ("/api/runs?since=yesterday", 400, "bad-request"),
        ("/api/runs?cursor=nonsense", 400, "bad-request"),
        ("/api/runs?namespace=Not%20One", 400, "bad-request"),
        ("/api/hooks/", 400, "bad-request"),
        ("/api/hooks/" + "x" * 257, 400, "bad-request"),
        ("/api/hooks/%00", 400, "bad-request"),
        ("/api/hooks/unknown", 404, "hook-not-found"),
        ("/api/nothing", 404, "not-found"),
    ],
)
def test_what_cannot_be_looked_at_says_why(path: str, status: int, error: str, warm: Play) -> None:
    shop = Shop()

    async def scenario(env: WorkflowEnv) -> Any:
        await env.start(shop.nap.with_options(run_id="r"))
        async with browser(serve(shop.app)) as user:
            answer = await user.get(path)
        assert answer.json()["message"]
        return [answer.status_code, answer.json()["error"]]

    assert warm.scene(scenario, shop.app) == [status, error]


@pytest.mark.parametrize("path", ["/api/runs/unknown/cancel", "/api/runs/unknown/wake"])
def test_an_unknown_run_cannot_be_told_anything(path: str, warm: Play) -> None:
    shop = Shop()

    async def scenario(env: WorkflowEnv) -> Any:
        async with browser(serve(shop.app)) as user:
            answer = await user.post(path)
        return [answer.status_code, answer.json()["error"]]

    assert warm.scene(scenario, shop.app) == [404, "workflow-run-not-found"]


def test_a_deleted_run_is_410(warm: Play) -> None:
    shop = Shop()

    async def scenario(env: WorkflowEnv) -> Any:
        run = await env.start(shop.nap)
        await run.delete()
        async with browser(serve(shop.app)) as user:
            answer = await user.get(f"/api/runs/{run.run_id}")
        return [answer.status_code, answer.json()["error"]]

    assert warm.scene(scenario, shop.app) == [410, "run-expired"]


def test_another_method_is_405_and_says_which_there_are(warm: Play) -> None:
    shop = Shop()

    async def scenario(env: WorkflowEnv) -> Any:
        async with browser(serve(shop.app)) as user:
            answer = await user.delete("/api/hooks/t")
        assert set(answer.headers["allow"].split(", ")) == {"GET", "HEAD", "POST"}
        return [answer.status_code, answer.json()["error"]]

    assert warm.scene(scenario, shop.app) == [405, "method-not-allowed"]


# -- who may ----------------------------------------------------------------------------------------------------------

GUARDED = [
    ("POST", START),
    ("GET", "/api/runs"),
    ("GET", "/api/runs/r"),
    ("GET", "/api/runs/r/events"),
    ("POST", "/api/runs/r/cancel"),
    ("POST", "/api/runs/r/wake"),
    ("GET", "/api/hooks/t"),
    ("POST", "/api/hooks/t"),
    ("GET", "/api/openapi.json"),
    ("POST", "/flow"),
]


@pytest.mark.parametrize(("method", "path"), GUARDED)
@pytest.mark.parametrize(
    "header", [None, "", "Bearer", "Bearer ", f"Bearer {TOKEN}x", f"Basic {TOKEN}", f"bearer{TOKEN}"]
)
def test_whoever_has_not_the_token_is_refused(method: str, path: str, header: str | None, warm: Play) -> None:
    shop = Shop()

    async def scenario(env: WorkflowEnv) -> Any:
        async with browser(serve(shop.app), token=None) as public:
            headers = {} if header is None else {"Authorization": header}
            answer = await public.request(method, path, headers=headers)
        assert answer.headers["www-authenticate"] == "Bearer"
        return [answer.status_code, answer.json()["error"]]

    assert warm.scene(scenario, shop.app) == [401, "unauthorized"]


def test_an_authenticator_of_ones_own_decides_and_may_be_a_coroutine_function(warm: Play) -> None:
    shop = Shop()

    async def only_on_tuesdays(request: Any) -> bool:
        return request.headers.get("day") == "tuesday"

    async def scenario(env: WorkflowEnv) -> Any:
        async with browser(http.app(shop.app, only_on_tuesdays), token=None) as user:
            days = [await user.get("/api/runs", headers={"day": day}) for day in ("monday", "tuesday")]
            return [answer.status_code for answer in days]

    assert warm.scene(scenario, shop.app) == [401, 200]


def test_an_authenticator_that_says_anything_but_true_refuses(warm: Play) -> None:
    shop = Shop()

    async def scenario(env: WorkflowEnv) -> Any:
        said: list[Any] = ["yes", 1, None, object()]
        statuses = []
        for word in said:
            async with browser(http.app(shop.app, lambda _, word=word: word)) as user:
                statuses.append((await user.get("/api/runs")).status_code)
        return statuses

    assert warm.scene(scenario, shop.app) == [401] * 4


def test_the_token_of_the_environment_is_asked_for_and_without_one_nobody_gets_in(
    warm: Play, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop = Shop()

    async def scenario(env: WorkflowEnv) -> Any:
        async with browser(http.app(shop.app)) as user:
            answer = await user.get("/api/runs")
            assert answer.status_code == 401
            assert "set WDK_API_TOKEN to a secret of yours" in answer.json()["message"]
            assert (await user.get("/health")).status_code == 200
        monkeypatch.setenv("WDK_API_TOKEN", TOKEN)
        async with browser(http.app(shop.app)) as user:
            return (await user.get("/api/runs")).status_code

    assert warm.scene(scenario, shop.app) == 200


@pytest.mark.parametrize("token", ["short", "x" * 15, "with spaces in it, many", "ümlaut-" * 5, "x" * 20 + "\n"])
def test_a_token_that_is_a_mistake_is_refused(token: str) -> None:
    with pytest.raises(WorldConfigurationError, match="WDK_API_TOKEN must have at least 16"):
        BearerToken(token)


# -- the rest ---------------------------------------------------------------------------------------------------------


def test_health_says_whether_the_world_answers_and_nothing_else(warm: Play) -> None:
    shop = Shop()

    class Away(MemoryWorld):
        def scoped(self, namespace: str) -> Any:
            raise WorldUnavailableError("the disk of the database is gone")

    async def scenario(env: WorkflowEnv) -> Any:
        app = serve(shop.app)
        async with browser(app, token=None) as public:
            answer = await public.get("/health")
            assert (answer.status_code, answer.json()) == (200, {"status": "ok"})
            with use_world(Away()):
                answer = await public.get("/health")
                assert (answer.status_code, answer.json()) == (503, {"status": "unavailable"})
                hook = await public.post("/webhook/x")
                assert (hook.status_code, hook.content, hook.headers["retry-after"]) == (503, b"", "1")
        async with browser(app) as user:
            with use_world(Away()):
                answer = await user.get("/api/runs")
        return [answer.status_code, answer.json()["error"], answer.headers["retry-after"]]

    assert warm.scene(scenario, shop.app) == [503, "world-unavailable", "1"]


@pytest.mark.parametrize(
    ("role", "there"),
    [
        ("all", {"/health", "/webhook/x", "/flow", "/api/runs"}),
        ("worker", {"/health", "/flow", "/api/runs"}),
        ("receiver", {"/health", "/webhook/x"}),
    ],
)
def test_a_role_answers_only_its_routes(
    role: str, there: set[str], warm: Play, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop = Shop()
    monkeypatch.setenv("WDK_ROLE", role)

    async def scenario(env: WorkflowEnv) -> Any:
        found = set()
        async with browser(serve(shop.app)) as user:
            for path in ("/health", "/webhook/x", "/flow", "/api/runs"):
                answer = await user.get(path)
                # The route of webhooks says 404 without a body, what is not there says so in JSON.
                if answer.status_code != 404 or not answer.content:
                    found.add(path)
        return found

    assert warm.scene(scenario, shop.app) == there


def test_a_receiver_needs_no_app_and_the_others_do(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(WorldConfigurationError, match="which app"):
        http.app()
    monkeypatch.setenv("WDK_ROLE", "receiver")
    assert http.app() is not None
    monkeypatch.setenv("WDK_ROLE", "sender")
    with pytest.raises(
        WorldConfigurationError, match="WDK_ROLE='sender' is not known; there are: all, worker, receiver"
    ):
        http.app()


def test_what_is_no_app_is_refused() -> None:
    with pytest.raises(TypeError, match="takes the Workflows to serve"):
        http.app("module:app")  # type: ignore[arg-type]


def test_a_message_that_is_pushed_is_worked_on(warm: Play) -> None:
    shop = Shop()

    async def scenario(env: WorkflowEnv) -> Any:
        app = serve(shop.app)
        run = await env.start(shop.checkout, Order("o"))
        head = await env.world.runs.head(run.run_id)
        assert head is not None
        message = Message(kind="wake", run_id=run.run_id, birth=head.birth, identity=head.birth)
        headers = {"content-type": "application/json", "wdk-delivery-id": "m-1"}
        async with browser(app) as queue:
            bare = await queue.post(
                "/flow", content=msgspec.json.encode(message), headers={**headers, "wdk-delivery-id": ""}
            )
            assert (bare.status_code, await run.status()) == (400, "pending")
            answer = await queue.post("/flow", content=msgspec.json.encode(message), headers=headers)
            assert (answer.status_code, answer.json()) == (200, {"acknowledged": True})
        return await run.return_value(timeout=5)

    assert warm.scene(scenario, shop.app, start_worker=False) == {"charged": "o × 1", "note": ""}


def test_a_pushed_message_of_a_run_that_is_held_elsewhere_is_taken_or_comes_again(warm: Play) -> None:
    shop = Shop()

    async def scenario(env: WorkflowEnv) -> Any:
        run = await env.start(shop.nap)
        head = await env.world.runs.head(run.run_id)
        assert head is not None
        message = msgspec.json.encode(Message(kind="wake", run_id=run.run_id, birth=head.birth, identity="i"))
        headers = {"content-type": "application/json", "wdk-delivery-id": "m-1"}
        async with browser(serve(shop.app)) as queue:
            await env.world.runs.retire(run.run_id, head.birth, "m-1")  # exchanged by an earlier receiver
            again = await queue.post("/flow", content=message, headers=headers)
        return [again.status_code, again.json()["error"], again.headers["retry-after"]]

    assert warm.scene(scenario, shop.app, start_worker=False) == [503, "not-acknowledged", "1"]


def test_the_lifespan_serves_the_runs_of_a_world_that_is_asked_for_messages() -> None:
    shop = Shop()

    async def main() -> Any:
        world = MemoryWorld()
        with use_world(world):
            app = serve(shop.app)
            async with app.router.lifespan_context(app), browser(app) as user:
                started = await user.post(START, json={"workflow": "checkout", "args": [{"id": "o"}]})
                return await get_run(started.json()["run_id"]).return_value(timeout=10)

    assert asyncio.run(main()) == {"charged": "o × 1", "note": ""}


def test_a_caller_who_breaks_off_a_start_starts_nothing(warm: Play) -> None:
    shop = Shop()

    async def scenario(env: WorkflowEnv) -> Any:
        parts = iter(
            [{"type": "http.request", "body": b'{"workflow":', "more_body": True}, {"type": "http.disconnect"}]
        )

        async def receive() -> dict[str, Any]:
            return next(parts)

        headers = [("Authorization", f"Bearer {TOKEN}"), ("Content-Type", "application/json")]
        await call(serve(shop.app), scope_of("POST", START, headers), receive)
        return len(await list_runs())

    assert warm.scene(scenario, shop.app) == 0
