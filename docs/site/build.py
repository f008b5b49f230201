"""The documentation as a site: `python docs/site/build.py FOLDER` makes FOLDER/site.

The pages are written for the forge, with relative links into other folders too. So the site has the layout of the
repository, and a link means the same in both: a folder is its README, what is no page is copied beside.
The navigation is docs/README.md: a heading is a section, a link in a list a page.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path, PurePosixPath

ROOT = Path(__file__).resolve().parents[2]
INDEX = "docs/README.md"
REFERENCE = "docs/reference.md"

LINK = re.compile(r"(?<=\]\()[^)#:\s]+(?=[)#])")
FENCE = re.compile(r"(^ *```.*?^ *```$)", re.MULTILINE | re.DOTALL)
HEADING = re.compile(r"^## (.+)$", re.MULTILINE)
ENTRY = re.compile(r"^- \[([^\]]+)\]\(([^)#]+)\)", re.MULTILINE)
BESIDE = re.compile(r"\[([^\]]+)\]\(([\w-]+\.md)\)")
NAME = re.compile(r"^- `([\w.]+)`$", re.MULTILINE)

Nav = list[dict[str, "str | Nav"]]


def sources() -> list[str]:
    """The pages, as paths within the repository."""
    found = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md")]
    found += sorted((ROOT / "docs").rglob("*.md")) + sorted((ROOT / "examples").rglob("README.md"))
    return [page.relative_to(ROOT).as_posix() for page in found]


def within(page: str, target: str) -> str:
    """What a page's link means, as a path within the repository; a folder is its README."""
    path = os.path.normpath(PurePosixPath(page).parent / target)
    return f"{path}/README.md" if (ROOT / path).is_dir() else path


def stage(pages: Path) -> None:
    """Writes the pages as the generator takes them, and copies what they link to besides."""
    staged = sources()
    for page in staged:
        text = (ROOT / page).read_text()
        parts = FENCE.split(text)
        for number in range(0, len(parts), 2):  # the others are blocks of code

            def mended(found: re.Match[str], page: str = page) -> str:
                target = within(page, found[0])
                if target not in staged:
                    copy(target, pages)
                return os.path.relpath(target, PurePosixPath(page).parent)

            parts[number] = LINK.sub(mended, parts[number])
        text = "".join(parts)
        if page == REFERENCE:
            text = NAME.sub(r"::: \1", text)
        if page.startswith("examples/"):
            text += listings((ROOT / page).parent)
        write(pages / page, text)


def copy(target: str, pages: Path) -> None:
    """What is no page; of a folder without a README, what it holds."""
    if target.endswith("/README.md"):
        folder = (ROOT / target).parent
        names = sorted(entry.parent.name for entry in folder.glob("*/README.md"))
        entries = "".join(f"- [{name}]({name}/README.md)\n" for name in names)
        write(pages / target, f"# {folder.name.capitalize()}\n\n{entries}")
    else:
        (pages / target).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / target, pages / target)


def listings(folder: Path) -> str:
    """The programs of an example: on the forge its reader sees them beside the page."""
    return "".join(f"\n## {code.name}\n\n```python\n{code.read_text()}```\n" for code in sorted(folder.glob("*.py")))


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def navigation() -> Nav:
    """The sections of docs/README.md; a folder below docs/ is a section of its own, with the list of its README."""
    nav: Nav = []
    _, *sections = HEADING.split((ROOT / INDEX).read_text())
    for title, text in zip(sections[::2], sections[1::2], strict=True):
        section: Nav = []
        for name, target in ENTRY.findall(text):
            page = within(INDEX, target)
            has_pages = page.startswith("docs/") and page.endswith("/README.md")
            section.append({name: [{name: page}, *listed(page)] if has_pages else page})
        nav.append({title: section})
    return nav


def listed(page: str) -> Nav:
    """The pages beside a folder's README, in the order in which it names them."""
    names = {target: name for name, target in reversed(BESIDE.findall((ROOT / page).read_text()))}
    return [{name.replace("`", ""): within(page, target)} for target, name in reversed(names.items())]


def settings() -> dict[str, object]:
    return {
        "site_name": "wdk-cloud",
        "site_description": "Durable workflows for Python, with nothing to keep running",
        "docs_dir": "pages",
        "site_dir": "site",
        "strict": True,
        "nav": navigation(),
        # Without a font of its own the theme asks no other host for anything.
        "theme": {
            "name": "material",
            "font": False,
            "features": ["navigation.sections", "content.code.copy"],
        },
        "plugins": ["search", {"mkdocstrings": {"handlers": {"python": docstrings()}}}],
        "markdown_extensions": [
            "tables",
            "pymdownx.highlight",
            "pymdownx.superfences",
            # Anchors as the forge makes them, so that a link with one leads there in both.
            {"toc": {"permalink": True, "slugify": {"object": "pymdownx.slugs.slugify", "kwds": {"case": "lower"}}}},
        ],
    }


def docstrings() -> dict[str, object]:
    """How the reference is read: from the sources, none of which is imported."""
    return {
        "paths": [str(ROOT), str(ROOT / "adapters/aws"), str(ROOT / "adapters/gcp")],
        "options": {
            "heading_level": 3,
            "show_source": False,
            "show_root_heading": True,
            "show_root_full_path": True,
            "show_signature_annotations": True,
            "separate_signature": True,
            "members_order": "source",
            "inherited_members": True,
        },
    }


def build(folder: Path) -> int:
    """Makes `folder`/site; gives 0, or 1 where anything was warned about, such as a link that leads nowhere."""
    shutil.rmtree(folder, ignore_errors=True)
    stage(folder / "pages")
    write(folder / "mkdocs.yml", json.dumps(settings(), indent=1))  # JSON is YAML
    command = [sys.executable, "-m", "zensical", "build", "--strict", "--clean", "--config-file", "mkdocs.yml"]
    return subprocess.run(command, cwd=folder, check=False).returncode  # noqa: S603 -- nothing from outside is in it


if __name__ == "__main__":
    sys.exit(build(Path(sys.argv[1]).resolve()))
