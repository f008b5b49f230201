"""A rehearsal of a deployment: the zip and the template that `wdk build aws` writes, deployed into ministack.

    with rehearsed("workflows:app") as deployed:
        assert deployed.run(signup, "you@example.com") == "user-you@example.com"

docs/rehearsal.md says what it proves and what it does not.
"""

from __future__ import annotations

import tempfile
from contextlib import closing, contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wdk_aws.packaging import making
from wdk_aws.packaging.making import Order
from wdk_aws.testing import ministack
from wdk_aws.testing.deployment import STACK, Deployed, deploy, here
from wdk_cloud.packaging.project import Project

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping, Sequence
    from contextlib import AbstractContextManager

    from wdk_aws.packaging.building import Built, Progress
    from wdk_aws.testing.ministack import Account

__all__ = ["Deployed", "account", "build", "deploy", "rehearsed"]


def _silently(_what: str, _total: int | None) -> AbstractContextManager[Any]:
    return nullcontext(lambda: None)


def build(
    project: Project,
    folder: Path,
    progress: Progress = _silently,
    extras: Sequence[str] = (),
    template: Path | None = None,
) -> Built:
    """The zip of the `project` for this machine and the template, as `wdk build aws` makes them, into the `folder`.

    `extras` are those of wdk-cloud beside what the project asks for, `template` one of yours in place of ours;
    `progress` is told what is being done. Raises `WorldConfigurationError` for what cannot be built.
    """
    return making.make(Order(project, here(), template, folder, extras), progress).built


@contextmanager
def account(folder: Path | None = None) -> Generator[Account]:
    """A stand-in for an account, ministack, which ends with the block. Its log and the functions' files lie in
    `folder`, by default one that ends with it."""
    home = ministack.environment()
    with (
        tempfile.TemporaryDirectory(prefix="wdk-rehearsal-") as own,
        ministack.running(home, folder or Path(own)) as made,
    ):
        yield made


@contextmanager
def rehearsed(
    app: str,
    folder: Path | str = ".",
    *,
    extras: Sequence[str] = (),
    parameters: Mapping[str, str] | None = None,
    variables: Mapping[str, str] | None = None,
) -> Generator[Deployed]:
    """Build the app (`module:app`) whose code lies in `folder`, and deploy it into a stand-in that ends with the block.

    `extras` are those of wdk-cloud beside what the project asks for; `parameters` are the template's; `variables` more
    ones for the functions.
    """
    with tempfile.TemporaryDirectory(prefix="wdk-rehearsal-") as built, account() as made:
        build(Project(Path(folder).absolute(), app), Path(built), extras=extras)
        with closing(deploy(made, Path(built), STACK, parameters, variables)) as deployed:
            yield deployed
