"""The tuning variables of the environment."""

from __future__ import annotations

import pytest

from wdk_cloud import WorldConfigurationError
from wdk_cloud.engine.settings import Settings


def test_an_empty_environment_gives_the_defaults() -> None:
    assert Settings.from_environment({}) == Settings()
    assert Settings.from_environment({"WDK_LEASE": "", "WDK_MAX_EVENTS": ""}) == Settings()


def test_each_variable_sets_its_own() -> None:
    there = Settings.from_environment(
        {
            "WDK_LEASE": "1m",
            "WDK_INLINE_LIMIT": "3",
            "WDK_CACHED_RUNS": "0",
            "WDK_MAX_EVENTS": "200",
            "WDK_RETENTION": "2 days",
            "WDK_CODE_WAIT": "1h",
            "WDK_SLICE_SECONDS": "2.5",
            "WDK_CODE_VERSION": "v7",
            "WDK_PUBLIC_URL": "https://example.org",
        }
    )
    assert there == Settings(
        lease=60,
        inline_limit=3,
        cached_runs=0,
        max_events=200,
        retention=172_800,
        code_wait=3600,
        slice_seconds=2.5,
        code_version="v7",
        public_url="https://example.org",
    )


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("WDK_LEASE", "soon", "WDK_LEASE 'soon' is not understood"),
        ("WDK_LEASE", "2s", "WDK_LEASE '2s' is too small; the least is 3"),
        ("WDK_INLINE_LIMIT", "0", "WDK_INLINE_LIMIT '0' is too small; the least is 1"),
        ("WDK_INLINE_LIMIT", "2.5", "WDK_INLINE_LIMIT '2.5' is not understood"),
        ("WDK_CACHED_RUNS", "-1", "WDK_CACHED_RUNS '-1' is too small; the least is 0"),
        ("WDK_MAX_EVENTS", "9", "WDK_MAX_EVENTS '9' is too small; the least is 10"),
        ("WDK_SLICE_SECONDS", "0", "WDK_SLICE_SECONDS '0' is too small"),
        ("WDK_CODE_WAIT", "-1s", "WDK_CODE_WAIT '-1s' is not understood"),
    ],
)
def test_a_value_without_a_meaning_is_refused_by_the_name_of_its_variable(name: str, text: str, says: str) -> None:
    with pytest.raises(WorldConfigurationError, match=says):
        Settings.from_environment({name: text})
