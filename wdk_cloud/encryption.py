"""Which key service a process has: that of WDK_ENCRYPTION_KEY, or the one that its world brings."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from wdk_cloud.errors import WorldConfigurationError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from wdk_cloud.codec.keys import KeyService, LocalKeyService
    from wdk_cloud.world.ports import World

_VARIABLE = "WDK_ENCRYPTION_KEY"


@runtime_checkable
class BringsKeys(Protocol):
    """A world with a key service of its own, as those of cloud providers have."""

    def key_service(self) -> KeyService | None:
        """The same one each time, with whatever it keeps; None: the world is not set up to encrypt."""
        ...


def of_environment(environ: Mapping[str, str] | None = None) -> LocalKeyService | None:
    """The service of WDK_ENCRYPTION_KEY, None without it. Raises WorldConfigurationError when it is malformed, or when
    the package that encrypts is not installed."""
    env = os.environ if environ is None else environ
    if not env.get(_VARIABLE):
        return None
    from wdk_cloud.codec.keys import key_service

    return key_service(env)


def keys_of(world: World) -> KeyService | None:
    """The key service of this process for the runs of a world; None: it does not encrypt.

    Raises WorldConfigurationError also where there are two: half of the runs would be closed to half of the processes.
    """
    own = of_environment()
    others = world.key_service() if isinstance(world, BringsKeys) else None
    if own is not None and others is not None:
        raise WorldConfigurationError(
            f"{_VARIABLE} is set, and the world {world.name} has a key service of its own ({others.name}); set only "
            "one of the two, the same in every process"
        )
    return own or others
