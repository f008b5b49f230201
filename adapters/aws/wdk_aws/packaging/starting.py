"""What `wdk init --cloud aws` adds to a project: the template, what `sam` asks for beside it, and what to type."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from wdk_cloud.cli.project.parts import Part

TEMPLATE = Path(__file__).with_name("template.yaml")
"""The one of infra/aws/sam; a distribution has a copy of it here."""

SUFFIX = ".template"


def sam() -> Part:
    def text(name: str) -> str:
        return (files("wdk_aws.packaging") / "starter" / f"{name}{SUFFIX}").read_text("utf-8")

    described = {"template.yaml": TEMPLATE.read_text("utf-8"), "samconfig.toml": text("samconfig.toml")}
    return Part("aws", described, text("Makefile"), text("README.md"))
