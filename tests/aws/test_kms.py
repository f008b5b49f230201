"""Data keys from KMS: bound to their run, unwrapped once, and each refusal in words that say what to do."""

from __future__ import annotations

import asyncio
import importlib.util
import sys
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
from botocore.exceptions import ClientError
from moto import mock_aws

from tests.aws.metering import session_of
from tests.keys import check_that_keys_are_kept
from wdk_aws.clients import Clients
from wdk_aws.kms import KmsKeyService
from wdk_aws.settings import AwsSettings
from wdk_aws.testing.faults import EACH, Fault, Faults, without_pauses
from wdk_aws.world import AwsWorld
from wdk_cloud import SerializationError, ThrottleError, WorldConfigurationError, WorldUnavailableError
from wdk_cloud.codec.keys import LocalKeyService
from wdk_cloud.encryption import keys_of
from wdk_cloud.world.memory import MemoryWorld

if TYPE_CHECKING:
    from collections.abc import Iterator


class Bench:
    def __init__(self) -> None:
        self.session = session_of()
        self.calls: Counter[str] = Counter()
        self.session.events.register("before-call.kms", self._count)
        self.faults = Faults()
        self.faults.attach(self.session)
        self.kms: Any = self.session.client("kms")
        self.key: str = self.kms.create_key()["KeyMetadata"]["KeyId"]
        self.calls.clear()

    def _count(self, model: Any, **_: Any) -> None:
        self.calls[model.name] += 1

    def service(self, key: str | None = None) -> KmsKeyService:
        """As a process of its own has it."""
        return KmsKeyService(AwsSettings(kms_key_id=self.key if key is None else key), Clients(self.session))

    def refuses(self, operation: str, error: str) -> None:
        """KMS answers this from now on."""

        def refuse(**_: Any) -> None:
            raise ClientError({"Error": {"Code": error, "Message": "said KMS"}}, operation)

        self.session.events.register(f"before-call.kms.{operation}", refuse)


@pytest.fixture
def bench() -> Iterator[Bench]:
    with mock_aws(), without_pauses():
        yield Bench()


def test_a_key_opens_for_its_run_alone_and_is_bound_to_it_by_the_context(bench: Bench) -> None:
    async def test() -> None:
        key = await bench.service().generate("run-a")
        assert len(key.plain) == 32
        assert key.wrapped.startswith("kms:")
        assert await bench.service().unwrap("run-a", key.wrapped) == key.plain
        with pytest.raises(SerializationError, match=r"data key of run run-b cannot be unwrapped \(InvalidCiphertext"):
            await bench.service().unwrap("run-b", key.wrapped)

    asyncio.run(test())


def test_two_keys_of_a_run_differ_and_a_key_that_is_there_costs_no_request_more(bench: Bench) -> None:
    async def test() -> None:
        service = bench.service()
        first = await service.generate("run-a")
        second = await service.generate("run-a", beside=first.wrapped)
        assert first.plain != second.plain
        assert bench.calls == {"GenerateDataKey": 2}

    asyncio.run(test())


def test_a_process_unwraps_a_key_once_and_again_when_it_has_grown_old_or_made_room(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    asyncio.run(check_that_keys_are_kept(bench.service(), lambda: bench.calls["Decrypt"], monkeypatch))


def test_a_key_that_the_setting_no_longer_names_and_one_that_was_rotated_open_what_they_have_wrapped(
    bench: Bench,
) -> None:
    async def test() -> None:
        old = await bench.service().generate("run-a")
        bench.kms.enable_key_rotation(KeyId=bench.key)
        bench.kms.rotate_key_on_demand(KeyId=bench.key)
        other = bench.kms.create_key()["KeyMetadata"]["Arn"]
        service = bench.service(other)
        assert await service.unwrap("run-a", old.wrapped) == old.plain
        new = await service.generate("run-a", beside=old.wrapped)
        assert await bench.service().unwrap("run-a", new.wrapped) == new.plain

    asyncio.run(test())


@pytest.mark.parametrize("operation", ["GenerateDataKey", "Decrypt"])
@pytest.mark.parametrize(
    ("said", "kind", "words"),
    [
        ("AccessDeniedException", WorldConfigurationError, "give its role the right to {} on what WDK_AWS_KMS_KEY_ID"),
        ("DisabledException", WorldConfigurationError, "cannot be used ({}: DisabledException); enable it"),
        ("KMSInvalidStateException", WorldConfigurationError, "or set WDK_AWS_KMS_KEY_ID to a symmetric key"),
        ("InvalidKeyUsageException", WorldConfigurationError, "or set WDK_AWS_KMS_KEY_ID to a symmetric key"),
        ("NotFoundException", WorldConfigurationError, "what WDK_AWS_KMS_KEY_ID names is not there"),
        ("ValidationException", WorldConfigurationError, "look at WDK_AWS_KMS_KEY_ID"),
        ("ThrottlingException", ThrottleError, "{} for WDK_AWS_KMS_KEY_ID: ThrottlingException"),
        ("KeyUnavailableException", WorldUnavailableError, "it is tried again"),
        ("DependencyTimeoutException", WorldUnavailableError, "it is tried again"),
    ],
)
def test_what_kms_refuses_says_whose_matter_it_is(
    bench: Bench, operation: str, said: str, kind: type[Exception], words: str
) -> None:
    async def test() -> None:
        key = await bench.service().generate("run-a")
        bench.refuses(operation, said)
        with pytest.raises(kind) as refused:
            await (
                bench.service().generate("run-a")
                if operation == "GenerateDataKey"
                else bench.service().unwrap("run-a", key.wrapped)
            )
        assert type(refused.value) is kind
        assert words.format(operation) in str(refused.value)

    asyncio.run(test())


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        (Fault.THROTTLED, ThrottleError),
        (Fault.SERVER_ERROR, WorldUnavailableError),
        (Fault.TIMED_OUT, WorldUnavailableError),
        (Fault.EXPIRED, WorldUnavailableError),
    ],
)
def test_what_is_over_soon_is_asked_again_and_then_an_outage(bench: Bench, fault: Fault, kind: type[Exception]) -> None:
    async def test() -> None:
        key = await bench.service().generate("run-a")
        if fault is not Fault.EXPIRED:
            bench.faults.on("kms.Decrypt", fault)
            assert await bench.service().unwrap("run-a", key.wrapped) == key.plain
        bench.faults.on("kms.Decrypt", fault, attempts=EACH)
        with pytest.raises(kind):
            await bench.service().unwrap("run-a", key.wrapped)

    asyncio.run(test())


def test_a_key_of_the_other_service_and_a_damaged_one_are_told_apart_before_kms_is_asked(bench: Bench) -> None:
    async def test() -> None:
        local = await LocalKeyService(b"k" * 32).generate("run-a")
        bench.calls.clear()
        with pytest.raises(SerializationError, match="run-a was not wrapped by KMS: unset WDK_AWS_KMS_KEY_ID"):
            await bench.service().unwrap("run-a", local.wrapped)
        with pytest.raises(SerializationError, match="run-a was not wrapped by KMS"):
            await bench.service().generate("run-a", beside=local.wrapped)
        with pytest.raises(SerializationError, match="no base64"):
            await bench.service().unwrap("run-a", "kms:$")
        assert bench.calls == {}
        theirs = await bench.service().generate("run-a")
        with pytest.raises(SerializationError, match="was not wrapped by WDK_ENCRYPTION_KEY"):
            await LocalKeyService(b"k" * 32).unwrap("run-a", theirs.wrapped)

    asyncio.run(test())


# -- which service a process has ----------------------------------------------------------------------------------------


def test_the_world_brings_one_service_for_all_its_namespaces_where_the_variable_is_set(bench: Bench) -> None:
    world = AwsWorld(AwsSettings(kms_key_id=bench.key), clients=Clients(bench.session))
    mine = keys_of(world)
    assert isinstance(mine, KmsKeyService)
    assert keys_of(world.scoped("other").scoped("")) is mine
    assert keys_of(AwsWorld(AwsSettings(), clients=Clients(bench.session))) is None


def test_two_services_at_once_are_refused(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WDK_ENCRYPTION_KEY", "A" * 43 + "=")
    assert isinstance(keys_of(MemoryWorld()), LocalKeyService)
    assert isinstance(keys_of(AwsWorld(AwsSettings(), clients=Clients(bench.session))), LocalKeyService)
    with pytest.raises(WorldConfigurationError) as refused:
        keys_of(AwsWorld(AwsSettings(kms_key_id=bench.key), clients=Clients(bench.session)))
    assert str(refused.value) == (
        "WDK_ENCRYPTION_KEY is set, and the world aws has a key service of its own (WDK_AWS_KMS_KEY_ID); set only one "
        "of the two, the same in every process"
    )


def test_without_the_package_that_encrypts_nothing_is_asked_for(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    assert importlib.util.find_spec("cryptography") is not None
    monkeypatch.setitem(sys.modules, "cryptography", None)
    with pytest.raises(WorldConfigurationError, match=r"install wdk-cloud\[crypto\]"):
        asyncio.run(bench.service().generate("run-a"))
    assert bench.calls == {}
