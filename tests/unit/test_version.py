"""Code versions: which code wrote a record, and which of two is newer."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest

from wdk_cloud import Workflows
from wdk_cloud.engine.version import code_version, written_by_newer

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("theirs", "mine", "newer"),
    [
        ("0000000200.aaa", "0000000100.bbb", True),
        ("0000000100.bbb", "0000000200.aaa", False),
        ("0000000200.aaa", "0000000100.aaa", False),
        ("0000000100.aaa", "0000000100.bbb", False),
        ("v2", "v2", False),
        ("v1", "v2", True),
        ("", "v2", True),
        ("0000000200.aaa", "v2", True),
        ("v2", "0000000200.aaa", True),
    ],
)
def test_of_two_versions_the_later_is_newer_and_without_times_the_other_one(
    theirs: str, mine: str, newer: bool
) -> None:
    assert written_by_newer(theirs, mine) is newer


def declared_in(file: Path, text: str, mtime: float) -> Workflows:
    """The app of a module that stands alone."""
    file.write_text(text)
    os.utime(file, (mtime, mtime))
    namespace: dict[str, Any] = {"__name__": "a_module_of_no_package"}
    exec(compile(text, str(file), "exec"), namespace)
    return namespace["app"]


SOURCE = """
from wdk_cloud import Workflows
app = Workflows()

@app.workflow
async def main() -> int:
    return {}
"""


def test_the_version_is_the_newest_change_and_a_hash_of_the_source(tmp_path: Path) -> None:
    file = tmp_path / "code.py"
    first = code_version([declared_in(file, SOURCE.format(1), 1_000)])
    touched = code_version([declared_in(file, SOURCE.format(1), 2_000)])
    changed = code_version([declared_in(file, SOURCE.format(2), 3_000)])
    assert [version.partition(".")[0] for version in (first, touched, changed)] == [
        *("0000001000", "0000002000", "0000003000")
    ]
    hashes = [version.partition(".")[2] for version in (first, touched, changed)]
    assert hashes[0] == hashes[1] != hashes[2]
    assert not written_by_newer(touched, first)
    assert written_by_newer(changed, first)


def test_code_without_a_file_has_a_version_all_the_same() -> None:
    namespace: dict[str, Any] = {"__name__": "typed_at_a_prompt"}
    exec(SOURCE.format(1), namespace)
    assert code_version([namespace["app"]]).startswith("0000000000.")
