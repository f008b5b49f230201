"""Google's own Firestore emulator, where this machine has it: `$FIRESTORE_EMULATOR_HOST`, `$WDK_FIRESTORE_JAR`, or the
one of the Google Cloud SDK."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.components import running

HOST, JAR = "FIRESTORE_EMULATOR_HOST", "WDK_FIRESTORE_JAR"
SDKS = ("/usr/lib/google-cloud-sdk", "/usr/share/google-cloud-sdk", "/opt/google-cloud-sdk", "~/google-cloud-sdk")
PROGRAM = "com.google.cloud.datastore.emulator.firestore.CloudFirestore"

# A small heap and the first compiler only: it starts in a second, and its tests are soon over.
FLAGS = ["-XX:+UseSerialGC", "-Xmx256m", "-XX:TieredStopAtLevel=1"]


def found() -> bool:
    return bool(os.environ.get(HOST)) or bool(_jar() and shutil.which("java"))


@contextmanager
def emulator_running(folder: Path) -> Iterator[str]:
    """An empty Firestore, or the one that the environment names; host and port."""
    if named := os.environ.get(HOST):
        yield named
        return
    java, jar = shutil.which("java"), _jar()
    assert java is not None and jar is not None

    def arguments(port: int) -> list[str]:
        return [java, *FLAGS, "-cp", str(jar), PROGRAM, "start", "--host=127.0.0.1", f"--port={port}"]

    with running(Path(java), arguments, folder, {}) as url:
        yield url.removeprefix("http://")


def warm_up(address: str) -> None:
    """Ask it once for all that a store asks: its first answers take seconds on a machine with much to do."""
    from google.auth.credentials import AnonymousCredentials
    from google.cloud.firestore import Client

    from wdk_gcp.clients import close_firestore
    from wdk_gcp.testing.firestore import named_by_environment

    with named_by_environment(address):
        client = Client("warming-up", AnonymousCredentials())
    for number in range(20):
        document = client.document(f"things/{number}")
        made = document.create({"n": number})
        document.update({"n": -number}, client.write_option(last_update_time=made.update_time))
        list(client.collection("things").order_by("n").limit(5).stream())
        document.get()
        document.delete()
    close_firestore(client)


def _jar() -> Path | None:
    if named := os.environ.get(JAR):
        return Path(named)
    gcloud = shutil.which("gcloud")
    sdks = [Path(sdk).expanduser() for sdk in SDKS] + ([Path(gcloud).resolve().parents[1]] if gcloud else [])
    jars = (jar for sdk in sdks for jar in sdk.glob("platform/cloud-firestore-emulator/cloud-firestore-emulator*.jar"))
    return next(jars, None)
