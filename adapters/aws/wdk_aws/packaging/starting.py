"""What `wdk init --cloud aws` adds to a project: a description of all that it has there, and what to type."""

from __future__ import annotations

from pathlib import Path

from wdk_aws.deploying.names import BUCKETS_KEPT
from wdk_cloud.cli.project.parts import Part, text_of

TEMPLATE = Path(__file__).with_name("template.yaml")
"""The one of infra/aws/sam; a distribution has a copy of it here."""

MODULE = Path(__file__).with_name("terraform")
"""The one of infra/aws/terraform; a distribution has a copy of it here."""

NAMES = "^[a-z][a-z0-9-]{0,34}[a-z0-9]$"
"""Of the module's variable `name`: the provider puts a hyphen and 26 digits behind it, and a bucket's name has 63."""

KEPT = f"^(?!{'|'.join(BUCKETS_KEPT)})"
"""CloudFormation begins the name of a bucket with that of its stack, and Terraform with that of the module."""

INVALID = "cannot begin the name of a bucket (InvalidBucketName: The specified bucket is not valid)"
"""What S3 says."""

LONGEST = {NAMES: f"{INVALID}: 2 to 36 lowercase letters, digits and hyphens, a letter first"}

RESERVED = {KEPT: f"{INVALID}: S3 keeps those that begin with {', '.join(BUCKETS_KEPT)} for itself"}

OURS = "wdk_aws.packaging"


def sam() -> Part:
    described = {"template.yaml": TEMPLATE.read_text("utf-8"), "samconfig.toml": text_of(OURS, "samconfig.toml")}
    return Part("aws", described, text_of(OURS, "Makefile"), text_of(OURS, "README.md"), RESERVED)


def terraform() -> Part:
    described = {f"terraform/{file.name}": file.read_text("utf-8") for file in sorted(MODULE.glob("*.tf"))}
    values = {"terraform/terraform.tfvars": text_of(OURS, "terraform/terraform.tfvars")}
    reading = text_of(OURS, "terraform/README.md")
    return Part("aws", {**described, **values}, text_of(OURS, "terraform/Makefile"), reading, LONGEST | RESERVED)
