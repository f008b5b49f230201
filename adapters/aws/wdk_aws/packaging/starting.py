"""What `wdk init --cloud aws` adds to a project: the template, what `sam` asks for beside it, and what to type."""

from __future__ import annotations

from pathlib import Path

from wdk_cloud.cli.project.parts import Part, text_of

TEMPLATE = Path(__file__).with_name("template.yaml")
"""The one of infra/aws/sam; a distribution has a copy of it here."""

OURS = "wdk_aws.packaging"


def sam() -> Part:
    described = {"template.yaml": TEMPLATE.read_text("utf-8"), "samconfig.toml": text_of(OURS, "samconfig.toml")}
    return Part("aws", described, text_of(OURS, "Makefile"), text_of(OURS, "README.md"))
