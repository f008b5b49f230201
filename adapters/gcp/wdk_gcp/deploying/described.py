"""The Terraform that is deployed: the project's own, where it has one, or else the module as it is packaged."""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path

from wdk_cloud.cli.console import UsageError
from wdk_cloud.packaging import seals

MODULE = Path(__file__).parents[1] / "packaging/terraform"
"""The one of infra/gcp/terraform; a distribution has a copy of it here."""

OWN = "terraform"
"""The folder of a project in which `wdk init` puts a copy, to be changed there."""

NEEDED = frozenset(
    (
        *(("variable", name) for name in ("project", "location", "image", "schedules")),
        *(("output", name) for name in ("public_url", "api_url", "environment")),
    )
)
"""What a deployment gives to it, and what it asks of it in the end."""

BACKEND = "backend.tf.json"

VARIABLES = "wdk.auto.tfvars.json"
"""What a deployment writes beside its copy before all else: a folder without it is somebody else's."""

_OURS = re.compile(r'^\s*audience\s*=\s*"wdk-cloud"$', re.MULTILINE)
"""In each copy of the module, as nothing that is deployed works with another audience."""

_LEFT = shutil.ignore_patterns(".terraform", "*.tfstate*", "*.tfplan", "*.md", "examples", "tests")
"""What is no part of the description: it stays where it is."""

_DECLARED = re.compile(r'^(variable|output)\s+"(\w+)"', re.MULTILINE)


def folder_of(project: Path, named: Path | None, copied_to: Path) -> Path:
    """Raises UsageError for a folder that was named, or is a copy of the module, and lacks what a deployment needs.

    A project may have Terraform for other things in a folder of that name, which is none of ours.
    """
    own = named or project / OWN
    if own.resolve() == copied_to.resolve():
        raise UsageError(
            f"nothing was deployed or changed: {own} is where a deployment copies its Terraform to, and would be "
            "written over; keep it elsewhere, or name another folder with --output"
        )
    if any(copied_to.glob("*.tf")) and not (copied_to / VARIABLES).exists():
        raise UsageError(
            f"nothing was deployed or changed: {copied_to} has Terraform that no deployment has put there, and would "
            "be written over; name another folder with --output"
        )
    text = "\n".join(file.read_text("utf-8", "replace") for file in sorted(own.glob("*.tf")))
    if named is None and not _OURS.search(text):
        return MODULE
    missing = [f'{kind} "{name}"' for kind, name in sorted(NEEDED - set(_DECLARED.findall(text)))]
    if not missing:
        return own
    raise UsageError(
        f"nothing was deployed or changed: {own} lacks {', '.join(missing)}, which a deployment needs; "
        f"write it again as in {MODULE}, or name another folder with --terraform"
    )


def refuse_edits(into: Path) -> None:
    """Raises UsageError for a copy in which somebody has written: the next deployment copies over that."""
    edits = seals.edited(_seal(into), _written(into))
    if edits:
        raise UsageError(
            f"nothing was deployed or changed: {', '.join(map(str, edits))} was edited since it was copied, and a "
            f"deployment writes it anew. Write that into the project's {OWN}/ (a copy of {MODULE}) or its file of "
            f"variables, or drop the edits: rm {shlex.quote(str(_seal(into)))}"
        )


def unseal(into: Path) -> None:
    """Before anything of it is written."""
    seals.unseal(_seal(into))


def seal(into: Path) -> None:
    """When all of it is."""
    seals.write(_seal(into), _written(into))


def _seal(into: Path) -> Path:
    return into.with_name(f"{into.name}.sha256")


def _written(into: Path) -> list[Path]:
    """What a deployment writes there, or takes away; the rest stays as it is."""
    return [*into.glob("*.tf"), *(file for file in (into / BACKEND, into / VARIABLES) if file.is_file())]


def copy(module: Path, into: Path) -> None:
    """As it is now; what Terraform has fetched there stays."""
    into.mkdir(parents=True, exist_ok=True)
    for old in into.glob("*.tf"):
        old.unlink()
    shutil.copytree(module, into, ignore=_LEFT, dirs_exist_ok=True)
