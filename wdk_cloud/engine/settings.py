"""The tuning variables, which docs/local.md lists, read once and checked."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from wdk_cloud import durations
from wdk_cloud.errors import WorldConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


@dataclass(frozen=True, slots=True)
class Settings:
    """How an engine works; times in seconds."""

    lease: float = 30.0
    inline_limit: int = 10
    cached_runs: int = 1000
    max_events: int = 50_000
    retention: float = 30 * 86400.0
    code_wait: float = 86400.0
    slice_seconds: float = 10.0
    code_version: str = ""
    public_url: str = ""

    @staticmethod
    def from_environment(environ: Mapping[str, str] | None = None) -> Settings:
        """Raises WorldConfigurationError that names the variable."""
        env = os.environ if environ is None else environ
        defaults = Settings()

        def read(name: str, default: float, parse: Callable[[str, str], float], least: float) -> float:
            text = env.get(name)
            if text is None or text == "":
                return default
            try:
                value = parse(text, name)
            except ValueError as error:
                raise WorldConfigurationError(str(error)) from None
            if value < least:
                unit = "" if parse is _whole else " s"
                raise WorldConfigurationError(f"{name} {text!r} is too small; the least is {least:g}{unit}")
            return value

        # A lease shorter than 3 s could run out between two renewals of a busy machine.
        return Settings(
            lease=read("WDK_LEASE", defaults.lease, durations.seconds, 3),
            inline_limit=int(read("WDK_INLINE_LIMIT", defaults.inline_limit, _whole, 1)),
            cached_runs=int(read("WDK_CACHED_RUNS", defaults.cached_runs, _whole, 0)),
            max_events=int(read("WDK_MAX_EVENTS", defaults.max_events, _whole, 10)),
            retention=read("WDK_RETENTION", defaults.retention, durations.seconds, 0),
            code_wait=read("WDK_CODE_WAIT", defaults.code_wait, durations.seconds, 0),
            slice_seconds=read("WDK_SLICE_SECONDS", defaults.slice_seconds, durations.seconds, 0.1),
            code_version=env.get("WDK_CODE_VERSION", ""),
            public_url=env.get("WDK_PUBLIC_URL", ""),
        )


def _whole(text: str, name: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise ValueError(f"{name} {text!r} is not understood; write a whole number") from None
