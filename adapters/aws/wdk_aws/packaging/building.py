"""`wdk build aws`, without the command line: from a project to a zip that was checked."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from wdk_aws.packaging import archive, contents, installing, stamp
from wdk_cloud import bundle
from wdk_cloud.packaging.project import name_of
from wdk_cloud.packaging.stamp import code_version

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from contextlib import AbstractContextManager

    from wdk_aws.packaging.archive import Archive
    from wdk_aws.packaging.target import Target
    from wdk_cloud.packaging.project import Project

    Progress = Callable[[str, int | None], AbstractContextManager[Callable[[], None]]]


@dataclass(frozen=True, slots=True)
class Built:
    archive: Archive
    files: int
    code_version: str


def build(
    project: Project,
    target: Target,
    output: Path,
    progress: Progress,
    extras: Iterable[str] = (),
    namespaces: Sequence[str] = (),
) -> Built:
    """Write the zip. `progress` shows how far the parts are that take their time; `namespaces` are those of the apps.

    Raises WorldConfigurationError or WorldUnavailableError that says what is missing; then there is no zip.
    """
    requirements = installing.all_requirements(project.depends_on, extras)
    with tempfile.TemporaryDirectory(prefix="wdk-build-") as folder:
        with progress(f"fetching {len(requirements)} packages and what they need", None):
            installing.install(requirements, target, Path(folder))
        with progress("reading imports", None):
            rooms = contents.Rooms(project.files, contents.installed_files(Path(folder)), contents.own_files())
            chosen = contents.choose(rooms, project.modules, map(name_of, project.depends_on))
            contents.check(chosen, project, target)
        version = code_version(project.files, project.folder)
        chosen[bundle.FILE] = stamp.document(version, project.spec, namespaces, target, metadata.version("wdk-cloud"))
        with progress("writing the zip", len(chosen)) as done:
            written = archive.replace(output, chosen, done)
    return Built(written, len(chosen), version)
