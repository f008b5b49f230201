"""Every test that takes `play` runs twice: with bodies kept warm, and with every delivery replayed from its log."""

import os

import pytest

from tests.e2e.running import Play
from wdk_cloud.engine.settings import Settings

WAYS = {"warm": Settings(), "cold": Settings(cached_runs=0)}


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("WDK_")]:
        monkeypatch.delenv(name)


@pytest.fixture(params=WAYS)
def play(request: pytest.FixtureRequest) -> Play:
    return Play(WAYS[request.param])


@pytest.fixture
def warm() -> Play:
    return Play(WAYS["warm"])


@pytest.fixture
def cold() -> Play:
    return Play(WAYS["cold"])
