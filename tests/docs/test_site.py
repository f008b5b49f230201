"""The documentation as a site: it builds without a warning, every page is found in it, and no link leads nowhere.

The generator checks links between pages and their anchors as the site has them; `forge` is how they are read in the
repository itself, where a link may lead to any file.
"""

import importlib.util
import re
from pathlib import Path

import pytest

pytestmark = pytest.mark.timeout(120)  # whichever comes first builds the site, beside whatever else runs

ROOT = Path(__file__).parents[2]
BUILDER = ROOT / "docs" / "site" / "build.py"
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")


@pytest.fixture(scope="module")
def builder():
    spec = importlib.util.spec_from_file_location("build_docs", BUILDER)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def pages_of(nav):
    """Every page of the navigation, at any depth."""
    for entry in nav:
        for value in entry.values():
            if isinstance(value, str):
                yield value
            else:
                yield from pages_of(value)


def test_every_page_is_in_the_navigation_once(builder):
    named = list(pages_of(builder.navigation()))
    assert sorted({page for page in named if named.count(page) > 1}) == []
    examples = {page for page in builder.sources() if page.startswith("examples/")}
    assert set(builder.sources()) - examples - {"docs/README.md"} <= set(named)


def test_every_page_is_in_the_site(builder, built):
    for page in {*builder.sources(), *pages_of(builder.navigation())}:
        parts = Path(page).with_suffix("").parts
        assert (built / "site").joinpath(*parts[: -1 if parts[-1] == "README" else None], "index.html").exists(), page


def test_the_programs_of_the_examples_are_in_the_site(built):
    page = (built / "site/examples/signup/index.html").read_text()
    assert "send_onboarding_email" in page
    assert (built / "site/infra/aws/sam/template.yaml").exists()


def test_the_site_asks_no_other_host_for_anything(built):
    for page in (built / "site").rglob("*.html"):
        asked = re.findall(r'<(?:script|img|iframe|link)\b[^>]*\b(?:src|href)="?(https?:[^\s">]+)', page.read_text())
        assert asked == [], page


def without_code(text):
    return re.sub(r"^ *```.*?^ *```$", "", text, flags=re.MULTILINE | re.DOTALL)


def anchors(page):
    """Those of a page's headings, as the forge makes them."""
    found = []
    for title in re.findall(r"^#+ (.+)$", without_code(page.read_text()), re.MULTILINE):
        words = re.sub(r"[^\w\- ]", "", re.sub(r"\]\([^)]*\)", "]", title).lower()).strip().replace(" ", "-")
        found.append(f"{words}-{found.count(words)}" if words in found else words)
    return found


def forge(builder):
    """Every link of every page: the page, the link, its file and its anchor."""
    for page in builder.sources():
        for link in LINK.findall(without_code((ROOT / page).read_text())):
            if "://" not in link:
                target, _, anchor = link.partition("#")
                yield page, link, (ROOT / page).parent / target if target else ROOT / page, anchor


def test_every_link_leads_somewhere_on_the_forge(builder):
    links = list(forge(builder))
    assert len(links) > 100
    assert [(page, link) for page, link, target, _ in links if not target.exists()] == []
    lost = [(page, link) for page, link, target, anchor in links if anchor and anchor not in anchors(target)]
    assert lost == []
