"""The check-up of what needs no cloud: this environment, the code of the app, and the file of the local world."""

from __future__ import annotations

import os
import platform
import shlex
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING

from wdk_cloud import sources
from wdk_cloud.engine.version import code_version
from wdk_cloud.errors import WorkflowError, WorldConfigurationError
from wdk_cloud.findings import Doctor, Finding
from wdk_cloud.worker import hash_seed_is_fixed

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

ADAPTERS = ("wdk-cloud-aws", "wdk-cloud-gcp")


def versions() -> Finding:
    """An adapter is made for one version of the runtime, and says so; pip alone keeps to that."""
    ours = _version("wdk-cloud") or "unknown"
    adapters = {name: found for name in ADAPTERS if (found := _version(name)) is not None}
    seen = ", ".join(
        [f"Python {platform.python_version()}", f"wdk-cloud {ours}", *(f"{a} {v}" for a, v in adapters.items())]
    )
    others = [name for name, found in adapters.items() if found != ours]
    if not others:
        return Finding("versions", seen)
    wanted = " ".join(f"{name}=={ours}" for name in others)
    return Finding("versions", f"{seen}: they belong together at one version", f"python -m pip install {wanted}")


def app_of(spec: str | None) -> Finding:
    if not spec:
        return Finding("app", "WDK_APP is not set; commands that need the code of the app ask for it")
    try:
        apps = sources.load_apps(spec)
    except WorldConfigurationError as error:
        return Finding("app", str(error), f"python -c {shlex.quote('import ' + spec.partition(':')[0])}")
    number = sum(len(app.workflows) for app in apps)
    return Finding("app", f"{spec}: {number} workflow{'s' * (number != 1)}, code version {code_version(apps)}")


def hash_seed() -> Finding:
    seed = os.environ.get("PYTHONHASHSEED")
    if hash_seed_is_fixed():
        return Finding("hash-seed", f"PYTHONHASHSEED={seed}: sets iterate alike in every process with this environment")
    said = "is not set" if not seed else f"is {seed}"
    return Finding(
        "hash-seed",
        f"PYTHONHASHSEED {said} here; wdk dev, wdk worker and wdk replay fix it by themselves, a program of yours with "
        "worker(app) has to be started with PYTHONHASHSEED=0",
    )


async def examine_local(functions: Sequence[str]) -> list[Finding]:
    return [hash_seed(), await _file()]


LOCAL = Doctor(examine_local, {"WDK_LOCAL_PATH": ".wdk/local.db", "WDK_LOCAL_SYNC": "normal"})


async def _file() -> Finding:
    """A file that is there is opened, as everybody does; where there is none, none is made."""
    from wdk_cloud.world.local.disk import refuse_network_disk
    from wdk_cloud.world.local.world import LocalWorld

    elsewhere = "export WDK_LOCAL_PATH=~/.wdk/local.db"
    try:
        world = LocalWorld()
    except WorldConfigurationError as error:
        return Finding("local-file", str(error), "export WDK_LOCAL_SYNC=normal")
    path = world.path
    if not path.exists():
        return _place_of(path, elsewhere)
    for place in (path, path.parent):
        if not os.access(place, os.W_OK):
            return Finding("local-file", f"{place} may not be written by this user", _permit(place))
    try:
        refuse_network_disk(path)
        await world.open()
    except WorkflowError as error:
        return Finding("local-file", str(error), elsewhere)
    await world.close()
    return Finding("local-file", f"{path}: it can be opened and written")


def _place_of(path: Path, elsewhere: str) -> Finding:
    from wdk_cloud.world.local.disk import refuse_network_disk

    folder = next(each for each in path.parents if each.exists())
    if not folder.is_dir():
        return Finding("local-file", f"{path} cannot be made: {folder} is no folder", elsewhere)
    if not os.access(folder, os.W_OK | os.X_OK):
        return Finding("local-file", f"{path} cannot be made: {folder} may not be written by this user", elsewhere)
    try:
        refuse_network_disk(path)
    except WorldConfigurationError as error:
        return Finding("local-file", str(error), elsewhere)
    return Finding("local-file", f"{path} is not there yet; the first run makes it")


def _permit(place: Path) -> str:
    return f"sudo chown {os.getuid()} {shlex.quote(str(place))} && chmod u+rw {shlex.quote(str(place))}"


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:  # run from a source tree that is not installed
        return None
