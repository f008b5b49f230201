"""The engine of one process: which code it has, which runs it works on, and what it keeps warm."""

from __future__ import annotations

import logging
import os
import random  # noqa: TID251 -- identities and jitter of the host, nothing that a body sees
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from wdk_cloud.builtin import BUILT_IN
from wdk_cloud.engine.keeper import Keeper
from wdk_cloud.engine.slices import under_debugger
from wdk_cloud.engine.version import code_version

if TYPE_CHECKING:
    from collections.abc import Sequence
    from concurrent.futures import Executor

    from wdk_cloud.app import Step, Workflow, Workflows
    from wdk_cloud.codec.keys import KeyService
    from wdk_cloud.engine.settings import Settings
    from wdk_cloud.engine.turn import Turn, WarmRun
    from wdk_cloud.world.ports import World

log = logging.getLogger("wdk_cloud")

RunKey = tuple[str, str]

DEBUGGED_LEASE = 3600.0
"""Seconds: a debugger may halt every thread of the process, the renewing one too, for as long as somebody looks."""


class Engine:
    """Serves the runs of some apps, all of one namespace, on one world."""

    def __init__(
        self, world: World, apps: Sequence[Workflows], settings: Settings, keys: KeyService | None = None
    ) -> None:
        self.world = world
        self.apps = list(apps)
        self.settings = settings
        self.keys = keys
        self.version = settings.code_version or code_version(apps)
        self.live: dict[RunKey, Turn] = {}
        """The turns that hold a lease in this process."""
        self.keeper = Keeper(world, settings)
        self._warm: OrderedDict[RunKey, WarmRun] = OrderedDict()
        self._outages: dict[RunKey, float] = {}
        self._executor: ThreadPoolExecutor | None = None
        self._random = random.Random(os.urandom(16))  # noqa: S311 -- jitter, not a secret

    @property
    def lease(self) -> float:
        """Seconds for which a lease or a claim is taken and renewed."""
        return max(self.settings.lease, DEBUGGED_LEASE) if under_debugger() else self.settings.lease

    def workflow(self, id: str) -> Workflow[..., Any] | None:
        for app in self.apps:
            if (workflow := app.workflows.get(id)) is not None:
                return workflow
        return None

    def step(self, id: str) -> Step[..., Any] | None:
        for app in self.apps:
            if (step := app.steps.get(id)) is not None:
                return step
        return BUILT_IN.get(id)

    def executor(self) -> Executor:
        """The threads of plain functions; made when the first one runs."""
        if self._executor is None:
            # Steps of several runs share it: as many threads as asyncio's own default executor would have at most.
            self._executor = ThreadPoolExecutor(max_workers=32, thread_name_prefix="wdk-step")
        return self._executor

    def draw(self) -> float:
        """A random number below 1, for jitter."""
        return self._random.random()

    def identity(self) -> str:
        """A new identity for a message, or a nonce."""
        return f"{self._random.getrandbits(96):024x}"

    def outage_delay(self, key: RunKey) -> float:
        """Seconds until a run that met an outage is tried again: 1, doubled each time up to a lease."""
        delay = self._outages[key] = min(self._outages.get(key, 0.5) * 2, self.settings.lease)
        return delay

    def outage_over(self, key: RunKey) -> None:
        """A turn of this run has met none."""
        self._outages.pop(key, None)

    # -- coroutines kept warm ---------------------------------------------------------------------------------------

    def take_warm(self, key: RunKey) -> WarmRun | None:
        return self._warm.pop(key, None)

    def keep_warm(self, key: RunKey, warm: WarmRun) -> None:
        """Keep a suspended body for the run's next delivery; the one that rested longest makes room, closed."""
        if not self.settings.cached_runs:
            warm.body.discard()
            return
        other = self._warm.pop(key, None)
        if other is not None:  # another turn of this process came between our release and now
            if other.body.position > warm.body.position:
                warm, other = other, warm
            other.body.discard()
        self._warm[key] = warm
        if len(self._warm) > self.settings.cached_runs:
            _, oldest = self._warm.popitem(last=False)
            oldest.body.discard()

    def forget_warm(self) -> None:
        """Close every suspended body; their runs go on from their logs."""
        while self._warm:
            _, warm = self._warm.popitem(last=False)
            warm.body.discard()

    def close(self) -> None:
        self.keeper.close()
        self.forget_warm()
        if self._executor is not None:
            self._executor.shutdown(wait=False, cancel_futures=True)
            self._executor = None
