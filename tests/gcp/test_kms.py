"""Data keys by Cloud KMS: bound to their run, unwrapped once, and each refusal in words that say what to do."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from google.api_core import exceptions

from tests.keys import check_that_keys_are_kept
from wdk_cloud import SerializationError, ThrottleError, WorldConfigurationError, WorldUnavailableError
from wdk_cloud.codec.keys import LocalKeyService
from wdk_cloud.encryption import keys_of
from wdk_gcp.clients import Clients
from wdk_gcp.kms import KmsKeyService
from wdk_gcp.settings import GcpSettings
from wdk_gcp.testing import CloudKmsServer, Mischief
from wdk_gcp.world import GcpWorld

KEY = "projects/wdk-testing/locations/europe-west1/keyRings/wdk/cryptoKeys/runs"
OTHER = f"{KEY}-2"


class Bench:
    def __init__(self, server: CloudKmsServer) -> None:
        self.server = server
        self.clients = Clients(GcpSettings(), kms=server.client)

    def service(self, key: str = KEY) -> KmsKeyService:
        """As a process of its own has it."""
        return KmsKeyService(GcpSettings(kms_key=key), self.clients)


@pytest.fixture
def bench() -> Iterator[Bench]:
    with CloudKmsServer(mischief=Mischief()) as server:
        server.create(KEY)
        server.create(OTHER)
        bench = Bench(server)
        yield bench
        bench.clients.close()


def test_a_key_opens_for_its_run_alone(bench: Bench) -> None:
    async def test() -> None:
        key = await bench.service().generate("run-a")
        assert len(key.plain) == 32
        assert key.wrapped.startswith(f"gcpkms:{KEY}#")
        assert key.plain not in key.wrapped.encode()
        assert await bench.service().unwrap("run-a", key.wrapped) == key.plain
        with pytest.raises(SerializationError, match=r"run run-b cannot be unwrapped \(Decryption failed"):
            await bench.service().unwrap("run-b", key.wrapped)

    asyncio.run(test())


def test_two_keys_of_a_run_differ_and_a_key_that_is_there_costs_no_request_more(bench: Bench) -> None:
    async def test() -> None:
        service = bench.service()
        first = await service.generate("run-a")
        second = await service.generate("run-a", beside=first.wrapped)
        assert first.plain != second.plain
        assert bench.server.calls == {"Encrypt": 2}

    asyncio.run(test())


def test_a_process_unwraps_a_key_once_and_again_when_it_has_grown_old_or_made_room(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    asyncio.run(check_that_keys_are_kept(bench.service(), lambda: bench.server.calls["Decrypt"], monkeypatch))


def test_a_key_that_the_setting_no_longer_names_and_one_that_was_rotated_open_what_they_have_wrapped(
    bench: Bench,
) -> None:
    async def test() -> None:
        old = await bench.service().generate("run-a")
        bench.server.rotate(KEY)
        service = bench.service(OTHER)
        assert await service.unwrap("run-a", old.wrapped) == old.plain
        new = await service.generate("run-a", beside=old.wrapped)
        assert new.wrapped.startswith(f"gcpkms:{OTHER}#")
        assert await bench.service().unwrap("run-a", new.wrapped) == new.plain

    asyncio.run(test())


async def asked(service: KmsKeyService, operation: str, wrapped: str) -> object:
    return await (service.generate("run-a") if operation == "encrypt" else service.unwrap("run-a", wrapped))


@pytest.mark.parametrize("operation", ["encrypt", "decrypt"])
@pytest.mark.parametrize(
    ("said", "kind", "words"),
    [
        (exceptions.PermissionDenied("said KMS"), WorldConfigurationError, "give its service account the right"),
        (
            exceptions.FailedPrecondition("said KMS"),
            WorldConfigurationError,
            "run run-a cannot be used (400 said KMS); enable",
        ),
        (exceptions.NotFound("said KMS"), WorldConfigurationError, "what WDK_GCP_KMS_KEY names is not there"),
        (exceptions.InvalidArgument("said KMS"), WorldConfigurationError, "look at WDK_GCP_KMS_KEY"),
        (exceptions.InvalidArgument("Decryption failed"), SerializationError, "run-a cannot be unwrapped"),
        (exceptions.ResourceExhausted("said KMS"), ThrottleError, "WDK_GCP_KMS_KEY"),
        (exceptions.DeadlineExceeded("said KMS"), WorldUnavailableError, "it is tried again"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else None,
)
def test_what_kms_refuses_says_whose_matter_it_is(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, operation: str, said: Exception, kind: type[Exception], words: str
) -> None:
    async def test() -> None:
        key = await bench.service().generate("run-a")

        def refuse(**_: Any) -> None:
            raise said

        monkeypatch.setattr(bench.clients.kms, operation, refuse)
        with pytest.raises(kind) as refused:
            await asked(bench.service(), operation, key.wrapped)
        assert type(refused.value) is kind
        assert words in str(refused.value)

    asyncio.run(test())


def test_a_key_that_is_disabled_says_what_to_do(bench: Bench) -> None:
    bench.server.enable(KEY, False)
    with pytest.raises(WorldConfigurationError, match=r"DISABLED.*enable it, or set WDK_GCP_KMS_KEY"):
        asyncio.run(bench.service().generate("run-a"))


@pytest.mark.parametrize("fault", ["unavailable", "throttled", "lost"])
def test_what_is_over_soon_is_asked_again(bench: Bench, fault: Any) -> None:
    async def test() -> None:
        bench.server.mischief.plan("Encrypt", fault)
        key = await bench.service().generate("run-a")
        bench.server.mischief.plan("Decrypt", fault)
        assert await bench.service().unwrap("run-a", key.wrapped) == key.plain

    asyncio.run(test())


@pytest.mark.parametrize("operation", ["encrypt", "decrypt"])
def test_an_answer_that_was_damaged_on_its_way_is_asked_for_again(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, operation: str
) -> None:
    async def test() -> None:
        key = await bench.service().generate("run-a")
        ask = getattr(bench.clients.kms, operation)

        def damaged(**asked: Any) -> Any:
            answer = ask(**asked)
            if operation == "encrypt":
                answer.ciphertext = bytes((answer.ciphertext[0] ^ 1, *answer.ciphertext[1:]))
            else:
                answer.plaintext = bytes(32)
            return answer

        monkeypatch.setattr(bench.clients.kms, operation, damaged)
        with pytest.raises(WorldUnavailableError, match="damaged on its way"):
            await asked(bench.service(), operation, key.wrapped)

    asyncio.run(test())


def test_a_key_of_the_other_service_and_a_damaged_one_are_told_apart_before_kms_is_asked(bench: Bench) -> None:
    async def test() -> None:
        local = await LocalKeyService(b"k" * 32).generate("run-a")
        with pytest.raises(SerializationError, match="run-a was not wrapped by Cloud KMS: unset WDK_GCP_KMS_KEY"):
            await bench.service().unwrap("run-a", local.wrapped)
        with pytest.raises(SerializationError, match="run-a was not wrapped by Cloud KMS"):
            await bench.service().generate("run-a", beside=local.wrapped)
        with pytest.raises(SerializationError, match="no base64"):
            await bench.service().unwrap("run-a", f"gcpkms:{KEY}#$")
        assert bench.server.calls == {}
        theirs = await bench.service().generate("run-a")
        with pytest.raises(SerializationError, match="was not wrapped by WDK_ENCRYPTION_KEY"):
            await LocalKeyService(b"k" * 32).unwrap("run-a", theirs.wrapped)

    asyncio.run(test())


def test_the_world_brings_one_service_for_all_its_namespaces_where_the_variable_is_set(bench: Bench) -> None:
    world = GcpWorld(GcpSettings(kms_key=KEY), clients=bench.clients)
    mine = keys_of(world)
    assert isinstance(mine, KmsKeyService)
    assert keys_of(world.scoped("other").scoped("")) is mine
    assert keys_of(GcpWorld(GcpSettings(), clients=bench.clients)) is None


def test_two_services_at_once_are_refused(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WDK_ENCRYPTION_KEY", "A" * 43 + "=")
    assert isinstance(keys_of(GcpWorld(GcpSettings(), clients=bench.clients)), LocalKeyService)
    with pytest.raises(
        WorldConfigurationError, match=r"the world gcp has a key service of its own \(WDK_GCP_KMS_KEY\)"
    ):
        keys_of(GcpWorld(GcpSettings(kms_key=KEY), clients=bench.clients))


def test_without_the_package_that_encrypts_nothing_is_asked_for(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cryptography", None)
    with pytest.raises(WorldConfigurationError, match=r"install wdk-cloud\[crypto\]"):
        asyncio.run(bench.service().generate("run-a"))
    assert bench.server.calls == {}
