"""What `wdk init --cloud gcp` adds to a project: the Terraform of all that it has, its variables, and what to type."""

from __future__ import annotations

from wdk_cloud.cli.project.parts import Part, text_of
from wdk_gcp.deploying.command import FILE
from wdk_gcp.deploying.described import MODULE, OWN
from wdk_gcp.deploying.naming import LIKE_GOOGLE, RESTRICTED, RULES

OURS = "wdk_gcp.packaging"


def terraform() -> Part:
    described = {f"{OWN}/{file.name}": file.read_text("utf-8") for file in sorted(MODULE.glob("*.tf"))}
    return Part(
        "gcp",
        {**described, FILE: text_of(OURS, FILE)},
        text_of(OURS, "Makefile"),
        text_of(OURS, "README.md"),
        {RULES["name"].pattern: RULES["name"].said, f"^(?!.*{LIKE_GOOGLE})": RESTRICTED},
    )
