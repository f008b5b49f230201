"""Options of `wdk build aws`, which `wdk deploy aws` has, too."""

from pathlib import Path
from typing import Annotated, Literal

import typer

Python = Literal["3.11", "3.12", "3.13", "3.14"]
Architecture = Literal["arm64", "x86_64"]

OUTPUT = Path("build/aws")

Folder = Annotated[
    Path, typer.Option("--project", metavar="FOLDER", help="Where the app's code lies; this folder unless named.")
]
ForPython = Annotated[Python | None, typer.Option("--python", help="The function's Python; this one's unless named.")]
Machine = Annotated[
    Architecture | None, typer.Option("--architecture", help="The function's machine; arm64 unless named.")
]
Requirements = Annotated[
    Path | None,
    typer.Option("--requirements", metavar="FILE", help="In place of requirements.txt or pyproject.toml."),
]
Extra = Annotated[
    list[str] | None, typer.Option("--extra", metavar="NAME", help="Of wdk-cloud: crypto, pydantic, otel.")
]
Include = Annotated[
    list[str] | None, typer.Option("--include", metavar="PATH", help="A file or folder that no import leads to.")
]
Template = Annotated[
    Path | None,
    typer.Option(
        "--template",
        metavar="FILE",
        help="Yours, to which schedules are added; the project's template.yaml, or else wdk-cloud's, unless named.",
    ),
]
Output = Annotated[Path, typer.Option("--output", metavar="FOLDER", help="Where to write what is deployed.")]
