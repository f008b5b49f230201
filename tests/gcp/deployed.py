"""A deployment: the services of one image, each a process, behind the queues; and requests to them from outside."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import httpx

from tests.gcp.service import API_TOKEN, Cloud, Service, free_port, serving

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

ROUTES = "/.well-known/workflow/v1/"


class Kind(NamedTuple):
    """A service, as `infra/gcp/terraform/locals.tf` has it."""

    role: str
    seed: str
    concurrency: int


SINGLE = {"all": Kind("all", "0", 4)}
SPLIT = {"public": Kind("receiver", "random", 80), "turns": Kind("worker", "0", 4), "steps": Kind("worker", "0", 1)}


class Deployed:
    """`kinds` are its services by their names. `variables` are more ones for those that run bodies."""

    def __init__(
        self, cloud: Cloud, kinds: Mapping[str, Kind], folder: Path, variables: Mapping[str, str] | None = None
    ) -> None:
        self.cloud = cloud
        self.name = "-".join(kinds)
        self._kinds = kinds
        self._variables = dict(variables or {})
        self.ports = {name: free_port() for name in kinds}
        turns, steps, public = (self._url(name) for name in ("turns", "steps", "public"))
        self.environment = {
            **cloud.environment(free_port()),
            "WDK_GCP_WORKER_URL": turns,
            "WDK_GCP_STEP_URL": steps,
            "WDK_GCP_SERVICES": "split" if "steps" in kinds else "single",
            "WDK_PUBLIC_URL": public,
        }
        self.folder = folder
        self.services: dict[str, Service] = {}
        self._open = ExitStack()
        self._running: dict[str, ExitStack] = {}
        self.public = httpx.Client(base_url=public, trust_env=False, timeout=30.0)
        self.api = httpx.Client(
            base_url=f"{turns}{ROUTES}api/",
            headers={"Authorization": f"Bearer {API_TOKEN}"},
            trust_env=False,
            timeout=30.0,
        )

    def _url(self, name: str) -> str:
        return f"http://127.0.0.1:{self.ports.get(name) or self.ports['all']}"

    def __enter__(self) -> Self:
        self._open.enter_context(self.public)
        self._open.enter_context(self.api)
        for name in self._kinds:
            self.begin(name)
        return self

    def __exit__(self, *_: object) -> None:
        for running in self._running.values():
            running.close()
        self._open.close()

    def begin(self, name: str) -> Service:
        """A process of this service, in the place of the one before."""
        if name in self._running:
            self._running.pop(name).close()
        kind = self._kinds[name]
        said = {"WDK_ROLE": kind.role, "PYTHONHASHSEED": kind.seed}
        bodies = {"WDK_APP": "rehearsed:app,workflows:app", **self._variables} if kind.role != "receiver" else {}
        running = self._running[name] = ExitStack()
        # Cloud Run holds back what is above the concurrency of an instance; uvicorn would answer it with 503.
        started = serving({**self.environment, **said, **bodies}, self.folder, port=self.ports[name])
        self.services[name] = service = running.enter_context(started)
        service.until_healthy()
        return service

    def replace(self, folder: Path) -> None:
        """Another revision takes over: its processes begin when those of the one before have been told to end."""
        self.folder = folder
        for name in self._kinds:
            self.services[name].terminate()
            self.begin(name)

    def documents(self, name: str) -> list[dict[str, Any]]:
        """What a service has logged."""
        import json

        return [json.loads(line) for line in self.services[name].lines if line.startswith("{")]
