"""The settings that every world has, as they are set here and where that comes from."""

from __future__ import annotations

import difflib
import os
import shlex
from typing import TYPE_CHECKING, NamedTuple

from wdk_cloud import encryption
from wdk_cloud.engine.settings import Settings
from wdk_cloud.errors import WorldConfigurationError
from wdk_cloud.findings import Finding
from wdk_cloud.http.roles import role_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

DEFAULTS: dict[str, str] = {
    "WDK_APP": "",
    "WDK_WORLD": "local",
    "WDK_PUBLIC_URL": "",
    "WDK_ROLE": "all",
    "WDK_CODE_VERSION": "",
    "WDK_API_TOKEN": "",
    "WDK_PORT": "8787",
    "WDK_ENCRYPTION_KEY": "",
    "WDK_LEASE": "30s",
    "WDK_INLINE_LIMIT": "10",
    "WDK_CACHED_RUNS": "1000",
    "WDK_MAX_EVENTS": "50000",
    "WDK_RETENTION": "30d",
    "WDK_CODE_WAIT": "1d",
    "WDK_SLICE_SECONDS": "10s",
    "WDK_LOG": "INFO",
    "WDK_FUNCTION": "",
}
"""What each has when nobody sets it, as one would write it; "" is none."""

SECRET = frozenset(("WDK_API_TOKEN", "WDK_ENCRYPTION_KEY"))

ALIKE = 0.85
"""How near a name has to be to that of a setting to be taken for it, as difflib measures: a letter or two apart."""


class Setting(NamedTuple):
    name: str
    value: str | None
    origin: str


def settings(of_world: Mapping[str, str], environ: Mapping[str, str] | None = None) -> list[Setting]:
    """Ours and those of the world. What is secret is only said to be set."""
    env = os.environ if environ is None else environ
    found: list[Setting] = []
    for name, default in {**DEFAULTS, **of_world}.items():
        if value := env.get(name):
            found.append(Setting(name, "(secret)" if name in SECRET else value, "environment"))
        elif default:
            found.append(Setting(name, default, "default"))
        else:
            found.append(Setting(name, None, "not set"))
    return found


def examine(names: Iterable[str], environ: Mapping[str, str] | None = None) -> list[Finding]:
    """Each setting by itself, and names that are none."""
    env = os.environ if environ is None else environ
    known = (*DEFAULTS, *names)
    wrong = [*_unreadable(env), *_misspelt(env, known)]
    number = sum(name in env for name in known)
    return wrong or [Finding("settings", f"{number} of {len(known)} are set, and all can be read")]


def _unreadable(env: Mapping[str, str]) -> Iterable[Finding]:
    checks: Mapping[str, Callable[[Mapping[str, str]], object]] = {
        "WDK_ENCRYPTION_KEY": encryption.of_environment,
        "WDK_ROLE": lambda alone: role_of(alone["WDK_ROLE"]),
    }
    for name, default in DEFAULTS.items():
        if not env.get(name):
            continue
        try:
            checks.get(name, Settings.from_environment)({name: env[name]})
        except WorldConfigurationError as error:
            yield Finding("settings", str(error), f"export {name}={default}" if default else f"unset {name}")


def _misspelt(env: Mapping[str, str], known: tuple[str, ...]) -> Iterable[Finding]:
    for name in sorted(env):
        if name in known or not name.startswith("WDK_"):
            continue
        for meant in difflib.get_close_matches(name, [each for each in known if each not in env], 1, ALIKE):
            yield Finding(
                "settings",
                f"{name} is set, and no setting has that name; {meant}, which is not set, is near to it",
                f"export {meant}={'…' if meant in SECRET else shlex.quote(env[name])}; unset {name}",
            )
