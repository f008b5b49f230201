"""Whether a project describes itself with the Terraform module: then the template of SAM would be a second system."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

from wdk_aws.packaging.making import DEPLOYED, VARIABLES
from wdk_aws.packaging.starting import MODULE
from wdk_cloud.cli.console import UsageError

OWN = "terraform"
"""The folder of a project in which `wdk init --iac terraform` puts a copy, to be changed there."""

_OURS = re.compile(r"^\s*WDK_AWS_TEMPLATE\s*=", re.MULTILINE)
"""In each copy of the module: `wdk doctor` asks the functions for this variable."""

_DEPLOYS = re.compile(r"^deploy:.*\n(?:\t.*\n)*?\t.*\bterraform\b.* apply\b", re.MULTILINE)
"""The rule of the Makefile that `wdk init` writes."""


def own(folder: Path) -> Path | None:
    """The project's copy of the module, where that alone describes it; Terraform for other things is none of ours."""
    files = sorted((folder / OWN).glob("*.tf"))
    ours = any(_OURS.search(file.read_text("utf-8", "replace")) for file in files)
    return folder / OWN if ours and not (folder / DEPLOYED).is_file() else None


def changed(copy: Path) -> list[str]:
    """The files in which it is not, or not any more, the module as it is packaged."""
    there, packaged = ({file.name: file.read_bytes() for file in folder.glob("*.tf")} for folder in (copy, MODULE))
    return sorted(name for name in there.keys() | packaged.keys() if there.get(name) != packaged.get(name))


def refuse_a_second_system(folder: Path) -> None:
    """Raises UsageError where the Terraform of the project is what deploys it."""
    copy = own(folder)
    if copy is None:
        return
    raise UsageError(
        f"nothing was built, deployed or changed: {copy} describes this app on AWS, and a stack of SAM's template "
        "would be a second system beside it, with a table and queues of its own. To deploy what is described:\n"
        f"{_typed(folder)}\nTo have a stack all the same, name its template with --template"
    )


def _typed(folder: Path) -> str:
    makefile = folder / "Makefile"
    elsewhere = folder.resolve() != Path.cwd()
    place = shlex.quote(str(folder))
    if makefile.is_file() and _DEPLOYS.search(makefile.read_text("utf-8", "replace")):
        return f"make -C {place} deploy" if elsewhere else "make deploy"
    inside = f"cd {place} && " if elsewhere else ""
    terraform = f"terraform -chdir={OWN}"
    return f"{inside}wdk build aws && {terraform} init && {terraform} apply -var-file=../build/aws/{VARIABLES}"
