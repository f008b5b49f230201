"""What `wdk init --cloud aws` adds to a project: a description of all that it has there, and what to type."""

from __future__ import annotations

from pathlib import Path

from wdk_cloud.cli.project.parts import Part, text_of

TEMPLATE = Path(__file__).with_name("template.yaml")
"""The one of infra/aws/sam; a distribution has a copy of it here."""

MODULE = Path(__file__).with_name("terraform")
"""The one of infra/aws/terraform; a distribution has a copy of it here."""

NAMES = "^[a-z][a-z0-9-]{0,35}[a-z0-9]$"
"""Of the module's variable `name`; the template takes whatever `wdk init` does."""

REFUSAL = "cannot begin the name of a bucket: 2 to 37 lowercase letters, digits and hyphens, a letter first"

OURS = "wdk_aws.packaging"


def sam() -> Part:
    described = {"template.yaml": TEMPLATE.read_text("utf-8"), "samconfig.toml": text_of(OURS, "samconfig.toml")}
    return Part("aws", described, text_of(OURS, "Makefile"), text_of(OURS, "README.md"))


def terraform() -> Part:
    described = {f"terraform/{file.name}": file.read_text("utf-8") for file in sorted(MODULE.glob("*.tf"))}
    values = {"terraform/terraform.tfvars": text_of(OURS, "terraform/terraform.tfvars")}
    reading = text_of(OURS, "terraform/README.md")
    return Part("aws", {**described, **values}, text_of(OURS, "terraform/Makefile"), reading, NAMES, REFUSAL)
