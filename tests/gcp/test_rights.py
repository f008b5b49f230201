"""The table of rights is what each kind of process asks for: nothing is called that is not in it, and all of it is."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import grpc
import httpx
import pytest
from google.auth.credentials import AnonymousCredentials
from google.cloud import storage
from google.cloud.firestore import Client as FirestoreClient
from google.cloud.kms_v1 import KeyManagementServiceClient
from google.cloud.kms_v1.services.key_management_service.transports import KeyManagementServiceGrpcTransport
from google.cloud.tasks_v2 import CloudTasksClient
from google.cloud.tasks_v2.services.cloud_tasks.transports import CloudTasksGrpcTransport

from tests.contract.records import a_head
from tests.gcp.driving import Driver
from tests.gcp.stage import Servers
from tests.scenes import LARGE, PAYLOADS, SETTINGS, app, child, everything, operate, staying, tokens, waiting
from wdk_cloud import (
    direct,
    resume_hook,
    start,
)
from wdk_cloud.telemetry import Silent
from wdk_cloud.worker import engine_for
from wdk_cloud.world.opening import use_world
from wdk_gcp.clients import Clients
from wdk_gcp.rights import DONE_WITHOUT, IMPLIED, RIGHTS, Kind, Use
from wdk_gcp.routes import Routes
from wdk_gcp.serving import Instance, Parts
from wdk_gcp.testing import CloudKmsServer
from wdk_gcp.testing.actions import Actions
from wdk_gcp.testing.firestore import named_by_environment
from wdk_gcp.world import GcpWorld

KEY = "projects/wdk-testing/locations/europe-west1/keyRings/r/cryptoKeys/k"


class Seen(FirestoreClient):
    """A client whose requests are seen."""

    actions: Actions

    def _emulator_channel(self, transport: Any) -> Any:
        return self.actions.channel(super()._emulator_channel(transport))  # type: ignore[no-untyped-call]


class Processes:
    """Processes of every kind on one stage, each with clients of its own, whose requests are kept by kind."""

    def __init__(self, servers: Servers, driver: Driver, kms: CloudKmsServer) -> None:
        self.servers = servers
        self.driver = driver
        self.kms = kms
        self.settings = driver.world.settings
        self.found: dict[Kind, frozenset[Use]] = dict.fromkeys(RIGHTS, frozenset())

    def clients(self, actions: Actions) -> Clients:
        def firestore() -> FirestoreClient:
            with named_by_environment(self.servers.firestore.address):
                client = Seen(self.settings.project, AnonymousCredentials(), self.settings.database)
            client.actions = actions
            return client

        def tasks() -> CloudTasksClient:
            channel = actions.channel(grpc.insecure_channel(self.servers.tasks.address))
            return CloudTasksClient(transport=CloudTasksGrpcTransport(channel=channel))

        def objects() -> Any:
            options = {"api_endpoint": self.servers.storage.url}
            return storage.Client(
                self.settings.project, AnonymousCredentials(), _http=actions.session(), client_options=options
            )

        def kms() -> KeyManagementServiceClient:
            channel = actions.channel(grpc.insecure_channel(self.kms.address))
            return KeyManagementServiceClient(transport=KeyManagementServiceGrpcTransport(channel=channel))

        return Clients(self.settings, firestore=firestore, tasks=tasks, storage=objects, kms=kms)

    def world(self, actions: Actions) -> GcpWorld:
        return GcpWorld(self.settings, clients=self.clients(actions), clock=self.servers.clock)

    @contextmanager
    def acting(self, kind: Kind) -> Iterator[GcpWorld]:
        """What is called in this block is called by a fresh process of this kind, which may do what it needs."""
        actions = Actions(self.settings, RIGHTS[kind] | IMPLIED[kind])
        with use_world(world := self.world(actions)):
            yield world
        world.clients.close()
        self.found[kind] |= actions.found

    @contextmanager
    def instance(self, kind: Kind, role: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Instance]:
        monkeypatch.setenv("WDK_ROLE", role)
        actions = Actions(self.settings, RIGHTS[kind] | IMPLIED[kind])
        world = self.world(actions)
        yield Instance([app], Parts(lambda: world, lambda _: Silent(), SETTINGS))
        self.found[kind] |= actions.found


@contextmanager
def processes(servers: Servers, *, encrypted: bool = True) -> Iterator[Processes]:
    """And a worker, which begins with nothing."""
    with ExitStack() as stack:
        kms = stack.enter_context(CloudKmsServer())
        kms.create(KEY)
        driver = stack.enter_context(Driver(servers, app, kms_key=KEY if encrypted else ""))
        _ = driver.world.clients.tasks, driver.world.clients.storage  # its queues and its bucket are there from now on
        found = Processes(servers, driver, kms)
        actions = Actions(found.settings, RIGHTS["worker"] | IMPLIED["worker"])
        driver.world = found.world(actions)
        driver._engine = engine_for(driver.world, [app], settings=SETTINGS)
        stack.callback(driver._engine.close)
        stack.callback(driver.world.clients.close)
        yield found
        found.found["worker"] = actions.found


async def all_scenes(found: Processes, monkeypatch: pytest.MonkeyPatch) -> None:
    quiet, clock = found.driver.until_quiet, found.servers.clock
    with found.acting("starter"):
        run = await start(everything.with_options(attributes={"a": "b"}), LARGE)
        waits = await start(waiting)
        await start(child.with_options(delay=2000.0), "small")
        await start(child.with_options(idempotency_key="one"), "small")
        await start(staying, "a token for months", LARGE)
        leaving = await start(staying, "a token for days", LARGE)
    await quiet()  # over its sleeps, up to where it waits for a payload
    for payload in ("small", LARGE, *[LARGE[:2000]] * (PAYLOADS - 2)):  # so many that the inbox is cleared
        with found.acting("resumer"):
            await resume_hook("a token", payload)
        await quiet()
    assert await called(found, LARGE, monkeypatch) == 201
    assert await called(found, "nobody answers", monkeypatch) == 502
    await operate(lambda: found.acting("operator"), found.driver.until_quiet, run, waits)
    # A worker that is late: its run is deleted.
    runs = found.driver.world.runs
    head = await runs.head(run.run_id)
    assert head is not None
    await found.driver.world.blobs.put_blob(head.run_id, head.birth, "late", b"")
    # A run whose deletion died when it had begun, one whose message was lost, and one that lives for long.
    head = await runs.head(leaving.run_id)
    assert head is not None
    await runs.bury(head.run_id, head.birth, holder=None, fence=head.fence, now=clock.now())
    await runs.create(a_head(run_id="lost", workflow=child.id, wake_by=clock.now() + 60))
    for woken in (1, 0):
        clock.advance_to(clock.now() + 45 * 86_400)
        with found.instance("sweeper", "worker", monkeypatch) as instance:
            await instance.prepare()
            assert await direct.obey(instance.engines, Silent(), "sweep", {}) == {"woken": woken}
            await instance.close()
        await quiet()


async def called(found: Processes, body: str, monkeypatch: pytest.MonkeyPatch) -> int:
    """The status that a caller of the webhook gets."""
    await found.driver.until_quiet()
    with found.instance("receiver", "receiver", monkeypatch) as instance:
        await instance.prepare()
        async with httpx.AsyncClient(
            transport=httpx.ASGITransport(Routes(instance)), base_url="https://example.com"
        ) as caller:
            path = f"/.well-known/workflow/v1/webhook/{tokens.pop()}"
            answer = asyncio.create_task(caller.post(path, content=body, headers={"content-type": "text/plain"}))
            while not answer.done():
                await found.driver.until_quiet()
                await asyncio.sleep(0.01)  # the caller waits in real time
            status = (await answer).status_code
        await instance.close()
    return status


def test_each_kind_of_process_asks_for_what_the_table_says_and_for_all_of_it(
    gcp_standing: Servers, monkeypatch: pytest.MonkeyPatch
) -> None:
    with processes(gcp_standing) as found:
        asyncio.run(all_scenes(found, monkeypatch))
    for kind, uses in found.found.items():
        assert sorted(uses) == sorted(RIGHTS[kind] | DONE_WITHOUT[kind]), kind


def test_a_client_with_small_values_and_without_encryption_asks_for_next_to_nothing(gcp_standing: Servers) -> None:
    async def main(found: Processes) -> None:
        with found.acting("starter"):
            await start(waiting)
        await found.driver.until_quiet()
        with found.acting("resumer"):
            await resume_hook("another token", "small")
        await found.driver.until_quiet()

    with processes(gcp_standing, encrypted=False) as found:
        asyncio.run(main(found))
    sends = {"cloudtasks.tasks.create", "iam.serviceAccounts.actAs"}
    assert {use.permission for use in found.found["starter"]} == {*sends, "datastore.entities.create"}
    assert {use.permission for use in found.found["resumer"]} == {
        *sends,
        "datastore.entities.create",
        "datastore.entities.get",
    }


def test_who_may_not_is_refused_as_google_refuses(gcp_standing: Servers) -> None:
    """Else the table could not be trusted."""
    with processes(gcp_standing) as found:
        clients = found.clients(actions := Actions(found.settings, frozenset()))
        with pytest.raises(Exception, match=r"datastore\.entities\.get on the database"):
            clients.firestore.document("wdk_runs/x").get()
        with pytest.raises(Exception, match=r"storage\.objects\.delete on the bucket"):
            clients.storage.bucket("b").blob("o").upload_from_string(b"")
        clients.close()
    assert {use.permission for use in actions.found} == {
        "datastore.entities.get",
        "storage.objects.create",
        "storage.objects.delete",
    }
