"""Tables of the documentation, so that tests compare what they say with what the code does."""

import re
from pathlib import Path

BENCHMARKS = Path(__file__).parents[1] / "docs" / "benchmarks.md"
ROW = re.compile(r"^\| ([^|\n]+?) \|((?: [^|\n]*\|)+)$", re.MULTILINE)


def section(page: Path, title: str) -> str:
    """What stands below a heading that begins so, up to the next one of its rank or above."""
    rank, rest = re.findall(rf"^(#+) {re.escape(title)}.*\n((?:.|\n)*)", page.read_text(), re.MULTILINE)[0]
    return re.split(rf"^#{{1,{len(rank)}}} ", rest, maxsplit=1, flags=re.MULTILINE)[0]


def rows(text: str) -> dict[str, list[str]]:
    """Each row by its first cell; the head of the table is none."""
    found = [(name, [cell.strip() for cell in cells.split("|")[:-1]]) for name, cells in ROW.findall(text)]
    return dict(found[1:])


def dollars(amount: float) -> str:
    """As the bills have them."""
    return f"{amount:.2f}" if amount < 1000 else f"{amount:,.0f}"
