"""Each error has a page in docs/errors, and each page says what the code really prints."""

import ast
import re
from pathlib import Path

import pytest

from wdk_cloud import WorkflowError, errors
from wdk_cloud.engine import replay

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "docs" / "errors"
INDEX = FOLDER / "README.md"

CLASSES = [cls for cls in vars(errors).values() if isinstance(cls, type) and issubclass(cls, WorkflowError)]
CODES = [value for name, value in vars(replay).items() if name == value and name.isupper()]
PAGES = sorted(path for path in FOLDER.glob("*.md") if path != INDEX)

LEAST = 18
"""Characters that a message's own words have to have in common with the code; less would match anything."""


def slug_of(code):
    return code.lower().replace("_", "-")


def named(page):
    return [cls for cls in CLASSES if cls.slug == page.stem]


def parts(node):
    """A text in the code, as its fixed parts and None for what is put in between; None for what is no text."""
    match node:
        case ast.Constant(value=str(text)):
            return [text]
        case ast.JoinedStr(values=values):
            return [part for value in values for part in (parts(value) or [None])]
        case ast.BinOp(op=ast.Add(), left=left, right=right):
            sides = [parts(left), parts(right)]
            return None if sides == [None, None] else [part for side in sides for part in (side or [None])]
        case _:
            return None


def texts(source, least):
    """Patterns of all texts in a source with so many characters of their own."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        pieces = parts(node)
        if pieces and sum(len(piece) for piece in pieces if piece) >= least:
            found.add("".join(".*" if piece is None else re.escape(piece) for piece in pieces))
    return found


def sources():
    packages = ("wdk_cloud", "adapters/aws/wdk_aws", "adapters/gcp/wdk_gcp")
    return {path: path.read_text() for package in packages for path in (ROOT / package).rglob("*.py")}


PLACE = r"(?:[\w.\[\]]+: )?"
"""Where in a value something lies goes before the message of a SerializationError."""

SOURCES = sources()
IN_THE_CODE = [re.compile(PLACE + text) for text in set().union(*(texts(one, LEAST) for one in SOURCES.values()))]


def blocks(page, language):
    return re.findall(rf"^```{language}\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL)


def is_made(cls):
    """Whether anything in the code makes an instance."""
    calls = re.compile(rf"(?<![\w.\"]){cls.__name__}\(")
    return any(
        calls.search(line) and not line.startswith("class ") for text in SOURCES.values() for line in text.splitlines()
    )


def test_every_class_and_every_code_has_a_page_and_every_page_is_of_one():
    expected = {cls.slug for cls in CLASSES} | {slug_of(code) for code in CODES}
    assert {page.stem for page in PAGES} == expected


def test_no_two_classes_share_a_page():
    slugs = [cls.slug for cls in CLASSES]
    assert sorted(slugs) == sorted(set(slugs))


def test_a_subclass_that_users_do_not_import_has_the_page_of_its_parent():
    from wdk_cloud.codec.refusal import NewerFormatError
    from wdk_cloud.world.local.failures import DatabaseLockedError

    assert (NewerFormatError.slug, DatabaseLockedError.slug) == ("serialization", "world-unavailable")


def test_the_codes_are_the_six_that_the_engine_writes():
    assert sorted(CODES) == [
        "CORRUPTED_EVENT_LOG",
        "MAX_DELIVERIES_EXCEEDED",
        "MAX_EVENTS_EXCEEDED",
        "REPLAY_DIVERGENCE",
        "RUNTIME_ERROR",
        "USER_ERROR",
    ]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_page_is_titled_by_its_class_or_code(page):
    names = [cls.__name__ for cls in named(page)] or [code for code in CODES if slug_of(code) == page.stem]
    assert page.read_text().splitlines()[0] == f"# {names[0]}"


def test_the_index_links_every_page_and_lists_every_code():
    text = INDEX.read_text()
    assert set(re.findall(r"\]\(([\w-]+)\.md\)", text)) == {page.stem for page in PAGES}
    rows = re.findall(r"^\| `([A-Z_]+)` \|.*\[([\w-]+)\]\(([\w-]+)\.md\) \|$", text, re.MULTILINE)
    assert sorted(rows) == sorted((code, slug_of(code), slug_of(code)) for code in CODES)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_page_shows_messages_as_the_code_prints_them(page):
    own = set().union(*(texts(source, 8) for source in blocks(page, "python"))) if blocks(page, "python") else set()
    patterns = [*IN_THE_CODE, *(re.compile(PLACE + text) for text in own)]
    for message in blocks(page, "text"):
        assert any(pattern.fullmatch(message.strip()) for pattern in patterns), message


@pytest.mark.parametrize("page", [page for page in PAGES if named(page)], ids=lambda page: page.stem)
def test_a_page_says_causes_and_what_to_do_or_that_nothing_raises_the_error_yet(page):
    text = page.read_text()
    (cls,) = named(page)
    if "Nothing raises this error yet" in text:
        assert not is_made(cls)
        return
    # A RetryableError is made by users alone.
    assert is_made(cls) or cls is errors.RetryableError
    assert blocks(page, "text")
    assert text.count("**Usual causes.**") == text.count("**What to do.**") == 1


def test_no_message_names_a_page_that_is_not_there():
    pages = {page.name for page in PAGES}
    for text in SOURCES.values():
        for name in re.findall(r"docs/errors/([\w-]+\.md)", text):
            assert name in pages
