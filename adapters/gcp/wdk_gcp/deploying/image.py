"""The image: where it is kept, and how it comes there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from wdk_cloud.cli.console import CommandError
from wdk_gcp.deploying import tools
from wdk_gcp.packaging import context as contexts

if TYPE_CHECKING:
    from pathlib import Path

Builder = Literal["docker", "cloud"]

REPOSITORY = "wdk"
"""Of Artifact Registry, in the location of the services."""

TAG = 20
"""Hexadecimal digits of the context's hash: the same input is the same image, and is not pushed again."""


@dataclass(frozen=True, slots=True)
class Image:
    project: str
    location: str
    name: str
    sha256: str
    """Of the context."""

    @property
    def host(self) -> str:
        return f"{self.location}-docker.pkg.dev"

    @property
    def path(self) -> str:
        return f"{self.host}/{self.project}/{REPOSITORY}/{self.name}:{self.sha256[:TAG]}"

    def push(self, context: Path, builder: Builder) -> None:
        """Make it of the context, unless it is there. Raises CommandError, also for a context that was built anew: an
        image with this hash in its name would have other content for ever."""
        if contexts.read(context).sha256 != self.sha256:
            raise CommandError(
                f"{context} was built anew while this deployment went on, and nothing was deployed; deploy again"
            )
        of_project, there = ["--project", self.project], ["--location", self.location]
        if tools.tried(["gcloud", "artifacts", "docker", "images", "describe", self.path, *of_project]):
            return
        enable = ["gcloud", "services", "enable"]
        repository = ["gcloud", "artifacts", "repositories"]
        if not tools.tried([*repository, "describe", REPOSITORY, *there, *of_project]):
            what = "no repository for the image could be made, and nothing was deployed"
            tools.asked([*enable, "artifactregistry.googleapis.com", *of_project], what)
            made = ["create", REPOSITORY, "--repository-format", "docker", "--description", "Images of wdk-cloud"]
            tools.asked([*repository, *made, *there, *of_project], what)
        failed = "the image was not made, and nothing was deployed"
        if builder == "cloud":
            # It would ask whether to enable this, and nobody is asked there.
            tools.asked([*enable, "cloudbuild.googleapis.com", *of_project], failed)
            submitted = ["gcloud", "builds", "submit", str(context), "--tag", self.path]
            tools.shown([*submitted, "--region", self.location, *of_project], failed)
            return
        tools.asked(["gcloud", "auth", "configure-docker", self.host, "--quiet"], failed)
        tools.shown(["docker", "build", "--platform", "linux/amd64", "--tag", self.path, str(context)], failed)
        tools.shown(["docker", "push", self.path], failed)
