"""One service as Cloud Run has it, with variables that a test says, behind the servers of `wdk_gcp.testing`."""

from __future__ import annotations

from contextlib import AbstractContextManager
from itertools import count
from pathlib import Path

from tests.gcp.stage import INVOKER
from wdk_gcp.callers import CERTIFICATES_VARIABLE
from wdk_gcp.testing import rehearsal
from wdk_gcp.testing.containers import Container, running

PROJECT = "wdk-service"
API_TOKEN = "a-secret-of-sixteen-and-more"

_numbers = count(1)


class Cloud(rehearsal.Cloud):
    def environment(self, port: int) -> dict[str, str]:
        """The variables of a deployment that nobody has used, whose service listens on this port. Its resources are to
        be made with them."""
        number = next(_numbers)
        return {
            **self.variables,
            CERTIFICATES_VARIABLE: self.tasks.certs_url,
            "WDK_WORLD": "gcp",
            "WDK_GCP_PROJECT": f"{PROJECT}-{number}",
            "WDK_GCP_LOCATION": "europe-west1",
            "WDK_GCP_FLOW_QUEUE": "flow",
            "WDK_GCP_STEP_QUEUE": "step",
            "WDK_GCP_BUCKET": f"service-{number}",
            "WDK_GCP_WORKER_URL": f"http://127.0.0.1:{port}",
            "WDK_GCP_INVOKER": INVOKER,
            "WDK_API_TOKEN": API_TOKEN,
        }


def serving(
    environment: dict[str, str], folder: Path, *options: str, port: int | None = None
) -> AbstractContextManager[Container]:
    """The image's command with the code of this folder. The port is that of WDK_GCP_WORKER_URL unless one is given."""
    port = int(environment["WDK_GCP_WORKER_URL"].rpartition(":")[2]) if port is None else port
    return running("service", port, folder, environment, *options)
