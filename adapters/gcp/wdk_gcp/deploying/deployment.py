"""One deployment: the plan is made, shown, looked at, asked for, and carried out exactly as it was shown."""

from __future__ import annotations

import json
import shlex
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wdk_cloud.cli.console import UsageError, confirm, err, out
from wdk_cloud.cli.progress import progress
from wdk_gcp.deploying import described, losses, tools

if TYPE_CHECKING:
    from collections.abc import Mapping

    from wdk_gcp.deploying.image import Builder, Image

PLAN = "wdk.tfplan"

STATE = ".wdk/gcp"
"""Where the state lies unless a bucket is named: below the folder of the project."""


OF_TERRAFORM = "terraform.tfstate"
"""Where Terraform keeps the state of a folder unless it is told another place."""


@dataclass(frozen=True, slots=True)
class Consent:
    """What was said beforehand."""

    yes: bool = False
    dry_run: bool = False
    delete_data: bool = False


@dataclass(frozen=True, slots=True)
class State:
    """Where Terraform keeps what it has made: a bucket, or a file of this machine."""

    file: Path
    bucket: str
    name: str

    def backend(self) -> dict[str, Any]:
        """Raises UsageError where both are."""
        if not self.bucket:
            return {"local": {"path": str(self.file)}}
        if self.file.exists():
            there = f"gs://{self.bucket}/{self.name}/default.tfstate"
            raise UsageError(
                f"nothing was deployed or changed: the state of this deployment lies in {self.file}. Move it first:\n"
                f"gcloud storage cp {shlex.quote(str(self.file))} {there} && rm {shlex.quote(str(self.file))}"
            )
        return {"gcs": {"bucket": self.bucket, "prefix": self.name}}

    def refuse_another(self, module: Path) -> None:
        """Raises UsageError where `terraform apply` was typed in the module's own folder: a deployment does not know
        what that has made, and would make it once more."""
        other = module / OF_TERRAFORM
        if self.bucket or self.file.exists() or not _made_something(other):
            return
        there, here = shlex.quote(str(other)), shlex.quote(str(self.file))
        raise UsageError(
            f"nothing was deployed or changed: {other} says that `terraform apply` has made this app from there, and a "
            f"deployment, whose state is {self.file}, would make all of it once more. Let it go on with that state:\n"
            f"mkdir -p {shlex.quote(str(self.file.parent))} && mv {there} {here}"
        )


def _made_something(state: Path) -> bool:
    try:
        return bool(json.loads(state.read_text("utf-8"))["resources"])
    except (OSError, KeyError, TypeError, ValueError):
        return False


@dataclass(frozen=True, slots=True)
class Deployment:
    module: Path
    folder: Path
    """Where the module is copied to, beside the image's context."""
    context: Path
    image: Image
    variables: Mapping[str, Any]
    state: State
    builder: Builder

    def run(self, consent: Consent) -> None:
        """Raises CommandError or WorldConfigurationError that says what is not as it has to be, and UsageError when
        data would go; then the project is as it was."""
        self._write()
        # Its plan is in nobody else's way: another deployment that is refused, or still asks, has one of its own.
        with tempfile.TemporaryDirectory(prefix="wdk-plan-") as private:
            self._run(str(Path(private, PLAN)), consent)

    def _run(self, file: str, consent: Consent) -> None:
        """With the plan in this file."""
        with progress("planning"):
            tools.asked(tools.in_folder(self.folder, "init", "-input=false", "-no-color"), "Terraform cannot begin")
            words = tools.in_folder(self.folder, "plan", "-input=false", "-no-color", f"-out={file}")
            text = tools.asked(words, "nothing was deployed or changed, as Terraform has no plan")
            shown = tools.asked(tools.in_folder(self.folder, "show", "-json", file), "the plan cannot be read")
        plan: dict[str, Any] = json.loads(shown)
        out.print(text, soft_wrap=True, markup=False, highlight=False)
        counts = losses.counted(plan)
        if lines := losses.found(plan):
            self._refuse(lines, consent)
        if consent.dry_run:
            out.print("nothing was changed")
            return
        if any(counts.values()):
            if not consent.yes:
                self._ask(counts)
            self.image.push(self.context, self.builder)
            again = "not all of it was deployed; `wdk deploy gcp` once more goes on where this has ended"
            tools.shown(tools.in_folder(self.folder, "apply", "-input=false", "-no-color", file), again)
        else:
            out.print("everything is up to date")
        self._tell()

    def _write(self) -> None:
        """The module as a root, with the state's place; what Terraform has fetched there stays."""
        backend = {"terraform": {"backend": self.state.backend()}}
        variables = {**self.variables, "image": self.image.path}
        described.unseal(self.folder)
        for folder in (self.state.file.parent, self.folder):
            folder.mkdir(parents=True, exist_ok=True)
        (self.folder / described.VARIABLES).write_text(json.dumps(variables, indent=1), "utf-8")
        (self.folder / described.BACKEND).write_text(json.dumps(backend, indent=1), "utf-8")
        described.copy(self.module, self.folder)
        described.seal(self.folder)

    def _refuse(self, lines: list[str], consent: Consent) -> None:
        if consent.delete_data:
            err.print("data will go, as --delete-data says:\n" + "\n".join(lines), style="yellow", soft_wrap=True)
            return
        raise UsageError(
            "data would go, so nothing was changed:\n"
            + "\n".join(lines)
            + "\nLook for the variable that makes that of "
            "it; if that is what you want, say --delete-data"
        )

    def _ask(self, counts: Mapping[str, int]) -> None:
        """Raises when nobody is there to be asked, or says no."""
        what = ", ".join(f"{number} to {verb}" for verb, number in counts.items() if number)
        confirm(f"Deploy this to the project {self.image.project} ({what})?", "nothing was changed")

    def _tell(self) -> None:
        """Where it answers, and what a client types to reach it."""
        said = json.loads(tools.asked(tools.in_folder(self.folder, "output", "-json"), "the outputs cannot be read"))
        outputs = {name: each["value"] for name, each in said.items()}
        out.print(f"webhooks  {outputs['public_url']}\napi       {outputs['api_url']}", soft_wrap=True)
        if not self.state.bucket:
            out.print(f"state     {self.state.file}; keep it, or keep it in a bucket: --state-bucket", soft_wrap=True)
        out.print("\nTo start runs and look at them from here:\n")
        for name, value in outputs["environment"].items():
            if value:
                out.print(f"export {name}={shlex.quote(value)}", soft_wrap=True, markup=False, highlight=False)
        out.print("\nwdk inspect runs")
