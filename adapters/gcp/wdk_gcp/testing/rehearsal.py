"""A rehearsal of a deployment: the folder of the image that `wdk build gcp` writes, as the services of the Terraform
module, behind servers for Firestore, Cloud Tasks and Cloud Storage on this machine.

    with rehearsed("workflows:app") as deployed:
        assert deployed.run(signup, "you@example.com") == "user-you@example.com"

docs/rehearsal.md says what it proves and what it does not.
"""

from __future__ import annotations

import os
import secrets
import tempfile
from contextlib import ExitStack, contextmanager
from functools import cached_property, partial
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import httpx

from wdk_cloud.packaging.project import Project
from wdk_cloud.testing.rehearsed import Rehearsed
from wdk_gcp import schema
from wdk_gcp.callers import CERTIFICATES_VARIABLE
from wdk_gcp.clients import FIRESTORE_VARIABLE, STORAGE_VARIABLE, TASKS_VARIABLE, Clients
from wdk_gcp.packaging import command as building
from wdk_gcp.packaging.context import APP
from wdk_gcp.queue import AUDIENCE
from wdk_gcp.settings import VARIABLES, GcpSettings, Services
from wdk_gcp.testing import containers
from wdk_gcp.testing.containers import ROUTES, Container, free_port
from wdk_gcp.testing.firestore import FirestoreServer
from wdk_gcp.testing.indexes import Index, Indexes
from wdk_gcp.testing.resources import create
from wdk_gcp.testing.storage import CloudStorageServer
from wdk_gcp.testing.tasks import CloudTasksServer
from wdk_gcp.world import GcpWorld

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping, Sequence

    Told = Callable[[str, str], None]
    """Gets the name of a service, and a line that it has written."""

__all__ = ["Cloud", "Deployed", "rehearsed"]

PROJECT = "wdk-rehearsal"
INVOKER = "queues@wdk-rehearsal.iam.gserviceaccount.com"

API_TOKEN = "WDK_API_TOKEN"  # noqa: S105 -- the name of a variable

_numbers = count(1)


class Kind(NamedTuple):
    """A service, as `locals.tf` of the module has it."""

    role: str
    seed: str
    concurrency: int


KINDS: Mapping[str, Mapping[str, Kind]] = {
    "single": {"all": Kind("all", "0", 4)},
    "split": {
        "public": Kind("receiver", "random", 80),
        "turns": Kind("worker", "0", 4),
        "steps": Kind("worker", "0", 1),
    },
}
"""The services of each mode, by their names."""


class Cloud:
    """One of each server, on the machine's clock, while it is entered as a context."""

    def __init__(self) -> None:
        declared = [Index(index.collection, index.fields) for index in schema.COMPOSITE]
        self.firestore = FirestoreServer(indexes=Indexes(declared, schema.EXEMPT))
        self.storage = CloudStorageServer()
        self.tasks = CloudTasksServer()
        self._open = ExitStack()

    def __enter__(self) -> Self:
        for server in (self.firestore, self.storage, self.tasks):
            self._open.enter_context(server)
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    @property
    def variables(self) -> dict[str, str]:
        """With which Google's clients, and ours, find the servers."""
        return {
            FIRESTORE_VARIABLE: self.firestore.address,
            STORAGE_VARIABLE: self.storage.url,
            TASKS_VARIABLE: self.tasks.address,
        }


class Deployed(Rehearsed):
    """The services of one image, each a process, while it is entered as a context. Raises WorldConfigurationError, with
    what a service has written, when it does not serve."""

    def __init__(
        self,
        cloud: Cloud,
        folder: Path,
        mode: Services = "split",
        variables: Mapping[str, str] | None = None,
        told: Told = lambda _name, _line: None,
    ) -> None:
        """`cloud` has the servers, `folder` the code of the app. `mode` is that of the Terraform module: `"split"` is
        three services, `"single"` one. `variables` are more ones for those that run code of the app. `told` gets the
        name of a service and each line that it writes, in a thread."""
        self.cloud = cloud
        self.folder = folder
        self.kinds = KINDS[mode]
        self.containers: dict[str, Container] = {}
        self.token = os.environ.get(API_TOKEN) or secrets.token_urlsafe()
        """Of the API."""
        self._ports = {name: free_port() for name in self.kinds}
        self._variables = dict(variables or {})
        self._told = told
        number = next(_numbers)
        self.settings = GcpSettings(
            project=f"{PROJECT}-{number}",
            location="europe-west1",
            flow_queue="flow",
            step_queue="step",
            bucket=f"rehearsal-{number}",
            worker_url=self.url("turns"),
            step_url=self.url("steps"),
            invoker=INVOKER,
            services=mode,
        )
        self._open = ExitStack()
        self._running: dict[str, ExitStack] = {}

    def url(self, name: str) -> str:
        """Of the service of that `name`, or of the one that does its work."""
        return f"http://{containers.HOST}:{self._ports.get(name) or self._ports['all']}"

    @property
    def worker(self) -> Container:
        """The one that works on runs."""
        return self.containers.get("turns") or self.containers["all"]

    @property
    def variables(self) -> dict[str, str]:
        """With which `wdk`, and any client, works on this deployment."""
        settings = {variable: getattr(self.settings, field) for field, variable in VARIABLES.items()}
        named = {name: value for name, value in settings.items() if value}
        return {"WDK_WORLD": "gcp", **named, **self.cloud.variables, API_TOKEN: self.token}

    @cached_property
    def public(self) -> httpx.Client:
        """Somebody from outside. URLs of webhooks reach the receiver."""
        made = httpx.Client(base_url=self.url("public") + ROUTES, trust_env=False, timeout=containers.PATIENCE)
        return self._open.enter_context(made)

    @cached_property
    def api(self) -> httpx.Client:
        """Who has the token; relative URLs are those of the API (docs/http.md)."""
        headers = {"Authorization": f"Bearer {self.token}"}
        base = f"{self.url('turns')}{ROUTES}api/"
        made = httpx.Client(base_url=base, headers=headers, trust_env=False, timeout=containers.PATIENCE)
        return self._open.enter_context(made)

    def __enter__(self) -> Self:
        with ExitStack() as failing:
            failing.push(self.__exit__)
            clients = self._clients()
            try:
                create(self.settings, clients)
            finally:
                clients.close()
            for name in self.kinds:
                self._start(name)
            for container in self.containers.values():  # they start side by side
                container.until_healthy()
            failing.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        for running in self._running.values():
            running.close()
        self._open.close()

    def begin(self, name: str) -> Container:
        """A process of the service of that `name`, in the place of the one before. Raises WorldConfigurationError, with
        what it has written, when it does not serve."""
        container = self._start(name)
        container.until_healthy()
        return container

    def _start(self, name: str) -> Container:
        if name in self._running:
            self._running.pop(name).close()
        kind = self.kinds[name]
        said = {**self.variables, CERTIFICATES_VARIABLE: self.cloud.tasks.certs_url}
        said |= {"WDK_PUBLIC_URL": self.url("public"), "WDK_ROLE": kind.role, "PYTHONHASHSEED": kind.seed}
        if kind.role != "receiver":
            said = {**self._variables, **said}
        running = self._running[name] = ExitStack()
        # With no limit of concurrency: Cloud Run holds back what is above one, and uvicorn would answer it with 503.
        told = partial(self._told, name)
        started = containers.running(name, self._ports[name], self.folder, said, told=told)
        container = self.containers[name] = running.enter_context(started)
        return container

    def replace(self, folder: Path) -> None:
        """Another revision takes over, with the code of `folder`: its processes begin when those of the one before have
        been told to end. Raises as `begin`."""
        self.folder = folder
        for name in self.kinds:
            self.containers[name].terminate()
            self.begin(name)

    def _clients(self) -> Clients:
        settings = self.settings
        return Clients(
            settings,
            firestore=lambda: self.cloud.firestore.client(settings.project, settings.database),
            tasks=self.cloud.tasks.client,
            storage=self.cloud.storage.client,
        )

    def world(self) -> GcpWorld:
        """That of a client outside; close it after use."""
        return GcpWorld(self.settings, clients=self._clients())

    def sweep(self) -> dict[str, Any]:
        """As Cloud Scheduler asks for it; what the service that works on runs answers. Raises httpx.HTTPStatusError."""
        token = self.cloud.tasks.signer.token(AUDIENCE, INVOKER)
        return self.worker.ask("POST", "sweep", token).raise_for_status().json()

    def documents(self, name: str) -> list[dict[str, Any]]:
        """What the service of that `name` has logged."""
        return self.containers[name].documents()

    def counted(self, metric: str) -> int:
        """The sum of `metric`, a count, in all logs: there the alerts take them from."""
        documents = [one for name in self.containers for one in self.documents(name)]
        return sum(int(one.get("wdk_value", 0)) for one in documents if one.get("wdk_count") == metric)


@contextmanager
def rehearsed(
    app: str,
    folder: Path | str = ".",
    *,
    mode: Services = "split",
    extras: Sequence[str] = (),
    variables: Mapping[str, str] | None = None,
) -> Generator[Deployed]:
    """Build `app` (`module:app`) whose code lies in `folder`, and run it behind a stand-in that ends with the block.

    `mode` is that of the Terraform module, `extras` are those of wdk-cloud that the image has, and `variables` more
    ones for the services that run code of the app. Raises WorldConfigurationError that says what is missing.
    """
    with tempfile.TemporaryDirectory(prefix="wdk-rehearsal-") as made:
        project = Project(Path(folder).absolute(), app)
        built, _ = building.build(project, building.HERE, Path(made), tuple(extras))
        with Cloud() as cloud, Deployed(cloud, built.folder / APP, mode, variables) as deployed:
            yield deployed
