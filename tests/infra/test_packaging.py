"""The parts of `wdk build aws`: what is read from a project, what its code imports, which files are for which machine."""

import json
import os
import struct
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from wdk_aws.packaging import archive, installing, stamp
from wdk_aws.packaging.binaries import fault, is_compiled
from wdk_aws.packaging.target import Target
from wdk_cloud import bundle
from wdk_cloud.errors import WorldConfigurationError
from wdk_cloud.packaging import requirements
from wdk_cloud.packaging.imports import Modules, every, imports_of, module_of
from wdk_cloud.packaging.project import Project, name_of
from wdk_cloud.packaging.stamp import code_version

ARM = Target("3.13", "arm64")


def written(folder, files):
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


# --- imports ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "module"),
    [
        ("shop/__init__.py", "shop"),
        ("shop/flows/pay.py", "shop.flows.pay"),
        ("six.py", "six"),
        ("msgspec/_core.cpython-313-aarch64-linux-gnu.so", "msgspec._core"),
        ("certifi/cacert.pem", None),
        ("boto3-1.0.dist-info/METADATA", None),
    ],
)
def test_a_module_has_the_name_that_python_would_import_it_by(path, module):
    assert module_of(path) == module


SOURCE = b"""
import os, a.b
from . import sibling
from .deep.er import thing as other
from ..above import thing
try:
    import fast
except ImportError:
    import slow
else:
    import after
if TYPE_CHECKING:
    import types_only
else:
    import at_run_time
if sys.platform == "win32":
    import winapi
def work():
    import lazy
    if a:
        import lazier
    if sys.version_info >= (3, 14):
        import newer
with suppress(ImportError):
    import luxury
class C:
    import inner
"""


def test_each_import_says_whether_it_may_fail_and_whether_a_function_makes_it():
    found = {one.name: (one.taken, one.optional, one.lazy) for one in imports_of(SOURCE, "shop/flows/pay.py")}
    assert found == {
        "os": ((), False, False),
        "a.b": ((), False, False),
        "shop.flows": (("sibling",), False, False),
        "shop.flows.deep.er": (("thing",), False, False),
        "shop.above": (("thing",), False, False),
        "fast": ((), True, False),
        "slow": ((), True, False),
        "after": ((), False, False),
        "at_run_time": ((), False, False),
        "winapi": ((), True, False),
        "lazy": ((), False, True),
        "lazier": ((), False, True),
        "newer": ((), True, True),
        "luxury": ((), True, False),
        "inner": ((), False, False),
    }
    assert {one.name for one in imports_of(b"from . import x\nfrom .y import z", "shop/__init__.py")} == {
        "shop",
        "shop.y",
    }


def test_a_walk_goes_along_imports_and_says_which_lead_nowhere():
    files = {
        "main.py": b"import json, six.moves, shop.pay\nfrom shop import lib, NAME",
        "shop/__init__.py": b"NAME = 1",
        "shop/pay.py": b"from . import lib\nimport shop.gone, nowhere",
        "shop/lib.so": b"\x7fELF",
        "shop/unused.py": b"import nothing",
        "six.py": b"",
    }
    reach = Modules(files, files.__getitem__).walk(["main", "absent"], every, frozenset({"json"}))
    assert reach.files == {"main.py", "shop/__init__.py", "shop/pay.py", "shop/lib.so", "six.py"}
    assert reach.missing == [
        "absent is not there",
        "shop/pay.py:2 imports shop.gone, which is not there",
        "shop/pay.py:2 imports nowhere, which is not there",
    ]
    assert reach.importers["shop"] == {"main", "shop"}


def test_the_standard_library_is_that_of_the_function():
    here = frozenset(sys.stdlib_module_names)
    eleven, twelve, thirteen, fourteen = (
        Target(version, "arm64").standard_library(here) for version in ("3.11", "3.12", "3.13", "3.14")
    )
    assert ("distutils" in eleven, "distutils" in twelve) == (True, False)
    assert ("telnetlib" in twelve, "telnetlib" in thirteen) == (True, False)
    assert ("annotationlib" in thirteen, "annotationlib" in fourteen) == (False, True)
    assert "asyncio" in eleven & fourteen


# --- machines ---------------------------------------------------------------------------------------------------------


def elf(machine, bits=2, order=1):
    return b"\x7fELF" + bytes([bits, order]) + bytes(10) + struct.pack("<HH", 3, machine)


@pytest.mark.parametrize(
    ("name", "start", "wrong"),
    [
        ("a/_core.cpython-313-aarch64-linux-gnu.so", elf(183), None),
        ("a/_rust.abi3.so", elf(183), None),
        ("a.libs/libz-1.so.1", elf(183), None),
        ("a/_rust.abi3.so", elf(62), "a/_rust.abi3.so is for another machine (ELF 62) than arm64"),
        (
            "a/_core.cpython-312-aarch64-linux-gnu.so",
            elf(183),
            "a/_core.cpython-312-aarch64-linux-gnu.so is for cpython-312, not for cpython-313",
        ),
        (
            "a/b.cpython-313-aarch64-linux-musl.so",
            elf(183),
            "a/b.cpython-313-aarch64-linux-musl.so is for aarch64 with musl, not for aarch64 with glibc",
        ),
        (
            "a/b.cpython-313-x86_64-linux-gnu.so",
            elf(183),
            "a/b.cpython-313-x86_64-linux-gnu.so is for x86_64 with gnu, not for aarch64 with glibc",
        ),
        ("a/b.so", b"\xcf\xfa\xed\xfe" + bytes(16), "a/b.so is not for Linux"),
        ("a/b.so", b"\x7fELF", "a/b.so is not for Linux"),
        ("a/b.so", elf(183, bits=1), "a/b.so is not for a 64-bit, little-endian machine"),
    ],
)
def test_a_compiled_module_is_known_by_its_header_and_its_name(name, start, wrong):
    assert is_compiled(name)
    assert fault(name, start, ARM) == wrong


def test_each_function_has_its_names_for_uv_and_pip():
    assert ARM.uv_platform == "aarch64-manylinux_2_34"
    assert Target("3.11", "x86_64").uv_platform == "x86_64-manylinux_2_17"
    assert ARM.pip_platforms[0] == "manylinux_2_34_aarch64"
    assert Target("3.11", "x86_64").pip_platforms[0] == "manylinux_2_26_x86_64"
    with pytest.raises(WorldConfigurationError, match=r"Python 3\.10 and arm64"):
        Target.of("3.10", "arm64")


# --- the project ------------------------------------------------------------------------------------------------------


def test_the_app_brings_its_packages_whole_and_what_they_import_beside_them(tmp_path):
    folder = written(
        tmp_path,
        {
            "shop/__init__.py": "",
            "shop/flows.py": "import money\nimport boto3",
            "shop/prices.json": "{}",
            "shop/tests/test_flows.py": "",
            "shop/__pycache__/flows.cpython-311.pyc": "",
            "money.py": "",
            "unrelated.py": "",
            ".venv/lib/money2.py": "",
            "env/pyvenv.cfg": "",
            "env/lib.py": "",
            "texts/en.txt": "",
            "src/other/flows.py": "",
            "src/apart/flows.py": "",
        },
    )
    project = Project(folder, "shop.flows:app, other.flows:app", include=("texts",))
    assert sorted(project.files) == [
        "money.py",
        "other/flows.py",
        "shop/__init__.py",
        "shop/flows.py",
        "shop/prices.json",
        "texts/en.txt",
    ]
    with pytest.raises(WorldConfigurationError, match=r"^\.\./x of --include is nothing that lies in"):
        _ = Project(folder, "shop.flows:app", include=("../x",)).files
    with pytest.raises(WorldConfigurationError, match="which app"):
        _ = Project(folder, "").modules


def test_links_are_followed_but_into_circles_and_nowhere(tmp_path):
    folder = written(
        tmp_path / "project",
        {
            "shop/__init__.py": "import shop.build.parts, shop.shared",
            "shop/build/__init__.py": "",
            "shop/build/parts.py": "",
            "shop/dist/shop.whl": "",
            "shop/one/x.txt": "",
            "shop/two/y.txt": "",
        },
    )
    written(tmp_path / "elsewhere", {"__init__.py": "", "prices.json": "{}"})
    for link, to in {
        "itself": ".",
        "again": ".",
        "one/two": "../two",
        "two/one": "../one",
        "gone": "nowhere",
        "shared": "../../elsewhere",
    }.items():
        (folder / "shop" / link).symlink_to(to)
    os.mkfifo(folder / "shop/pipe")
    assert sorted(Project(folder, "shop:app").files) == [
        "shop/__init__.py",
        "shop/build/__init__.py",
        "shop/build/parts.py",
        "shop/one/two/y.txt",
        "shop/one/x.txt",
        "shop/shared/__init__.py",
        "shop/shared/prices.json",
        "shop/two/one/x.txt",
        "shop/two/y.txt",
    ]


def test_names_are_those_below_the_project_and_are_written_in_utf_8(tmp_path):
    folder = written(tmp_path, {"shop.py": "", "prix/été.json": "{}"})
    assert sorted(Project(folder, "shop:app", include=(".",)).files) == ["prix/été.json", "shop.py"]
    (folder / os.fsdecode(b"caf\xe9.txt")).write_text("")
    with pytest.raises(
        WorldConfigurationError, match=r"^the name of the file 'caf\\udce9\.txt' is not written in UTF-8"
    ):
        _ = Project(folder, "shop:app").files


def test_a_folder_that_cannot_be_read_is_said(tmp_path, monkeypatch):
    folder = written(tmp_path, {"shop.py": ""})

    def denied(self):
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "iterdir", denied)  # whoever runs the tests may be root, whom no mode keeps out
    with pytest.raises(WorldConfigurationError, match=r"^the folder \S+ cannot be read: Permission denied; move it"):
        _ = Project(folder, "shop:app").files


@pytest.mark.parametrize(
    ("file", "content", "said"),
    [
        ("requirements.txt", "httpx\n".encode("utf-16"), r"requirements\.txt is not written in UTF-8"),
        ("requirements.txt", b"idna @ file:///home/me/idna.whl\n", "'idna @ file:///home/me/idna.whl' is a folder of"),
        ("pyproject.toml", "# caf\u00e9".encode("latin-1"), r"pyproject\.toml is not valid TOML: 'utf-8' codec"),
        ("pyproject.toml", b"project = []\n", r"no list `dependencies` in a table `\[project\]`"),
        ("pyproject.toml", b"[project]\ndependencies = 'httpx'\n", "no list `dependencies`"),
    ],
)
def test_requirements_that_cannot_be_read_are_said(tmp_path, file, content, said):
    (tmp_path / file).write_bytes(content)
    with pytest.raises(WorldConfigurationError, match=said):
        _ = Project(tmp_path, "x").depends_on


def test_requirements_that_name_each_other_are_read_once(tmp_path):
    written(tmp_path, {"requirements.txt": "httpx\n-r more.txt\n", "more.txt": "-r requirements.txt\nidna\n"})
    assert Project(tmp_path, "x").depends_on == ["httpx", "idna"]


def test_dependencies_come_from_requirements_or_else_from_the_project_file(tmp_path):
    pyproject = '[project]\nname = "x"\ndependencies = ["httpx>=0.27", "wdk-cloud[aws,crypto]"]\n'
    folder = written(tmp_path, {"pyproject.toml": pyproject})
    assert Project(folder, "x").depends_on == ["httpx>=0.27", "wdk-cloud[aws,crypto]"]
    text = "# all\nattrs==25.1.0 \\\n    --hash=sha256:00 \\\n    --hash=sha256:01\n-r more.txt\n\nidna # why\n"
    written(folder, {"requirements.txt": text, "more.txt": "six>=1; python_version < '4'\n"})
    assert Project(folder, "x").depends_on == ["attrs==25.1.0", "six>=1; python_version < '4'", "idna"]
    assert Project(folder, "x", requirements=folder / "more.txt").depends_on == ["six>=1; python_version < '4'"]
    with pytest.raises(WorldConfigurationError, match=r"gone\.txt cannot be read: No such file"):
        _ = Project(folder, "x", requirements=folder / "gone.txt").depends_on
    written(folder, {"requirements.txt": "-e ./lib\n"})
    with pytest.raises(WorldConfigurationError, match=r"'-e \./lib' is a folder of this machine"):
        _ = Project(folder, "x").depends_on
    written(folder, {"pyproject.toml": "[project"})
    (folder / "requirements.txt").unlink()
    with pytest.raises(WorldConfigurationError, match=r"pyproject\.toml is not valid TOML: Expected"):
        _ = Project(folder, "x").depends_on


def names(lines):
    return sorted({name_of(line) for line in lines})


def test_a_function_gets_what_the_handler_needs_and_nothing_of_the_command_line():
    needed = ["aws-lambda-powertools", "boto3", "httpx", "msgspec", "starlette"]
    assert names(installing.all_requirements([])) == needed
    with_crypto = installing.all_requirements(["wdk-cloud[aws, crypto]>=0.1", "attrs"])
    assert names(with_crypto) == sorted([*needed, "cryptography", "attrs"])
    assert names(installing.all_requirements([], ["pydantic"])) == sorted([*needed, "pydantic"])


def test_versions_are_those_of_this_environment_unless_the_project_pins_them():
    here = requirements.versions_here(installing.OURS, ["msgspec==0.19.0", "starlette>=0.40"])
    assert [line for line in here if line.startswith(("msgspec==", "wdk-cloud==", "wdk-cloud-aws=="))] == []
    assert len([line for line in here if line.startswith("starlette==")]) == 1


# --- the zip ----------------------------------------------------------------------------------------------------------


def test_the_same_files_give_the_same_zip_whatever_their_times_and_their_order(tmp_path):
    one, two = (
        written(tmp_path / "1", {"a.py": "a", "b/c.py": "c"}),
        written(tmp_path / "2", {"b/c.py": "c", "a.py": "a"}),
    )
    os.utime(two / "a.py", (0, 0))
    (two / "a.py").chmod(0o600)
    done = []
    first = archive.write(tmp_path / "1.zip", {"a.py": one / "a.py", "b/c.py": one / "b/c.py"}, lambda: done.append(1))
    second = archive.write(tmp_path / "2.zip", {"b/c.py": two / "b/c.py", "a.py": b"a"}, lambda: done.append(2))
    assert first.sha256 == second.sha256 and first.unzipped == 2 and done == [1, 1, 2, 2]
    assert first.largest == (("a.py", 1), ("b", 1))
    with zipfile.ZipFile(first.path) as opened:
        assert [(e.filename, e.date_time, oct(e.external_attr >> 16)) for e in opened.infolist()] == [
            ("a.py", (1980, 1, 1, 0, 0, 0), "0o100644"),
            ("b/c.py", (1980, 1, 1, 0, 0, 0), "0o100644"),
        ]
    archive.write(first.path, {"start.sh": b"#!/bin/sh"}, list)
    with zipfile.ZipFile(first.path) as opened:
        assert oct(opened.getinfo("start.sh").external_attr >> 16) == "0o100755"


def test_a_zip_that_is_too_large_names_its_largest_packages(tmp_path):
    sizes = tuple((f"p{n}", (100 - n) * archive.MEGABYTE) for n in range(8))
    fits = archive.Archive(tmp_path, "", archive.MOST_SENT, archive.MOST_UNZIPPED, sizes)
    assert (archive.excess(fits), archive.heaviness(fits)) == (None, None)
    large = archive.Archive(tmp_path, "", archive.MOST_SENT + 1, archive.MOST_UNZIPPED + 1, sizes)
    named = "p0 (100.0 MB), p1 (99.0 MB), p2 (98.0 MB), p3 (97.0 MB), p4 (96.0 MB)"
    assert archive.excess(large) == (
        f"unzipped the function has 250.0 MB, and Lambda takes 250.0 MB; the largest parts are {named}"
    )
    assert archive.heaviness(large) == (
        "the zip has 50.0 MB: beyond 50.0 MB it reaches Lambda through S3 only, as with `sam deploy`, and starts "
        f"slowly; the largest parts are {named}"
    )


def test_two_that_build_at_once_get_in_no_way_of_each_other(tmp_path, monkeypatch):
    path = tmp_path / "build/function.zip"
    files = {"a.py": b"a" * 1000, "b.py": b"b" * 1000}

    def another():
        archive.replace(path, {"c.py": b"c"}, lambda: None)

    made = archive.replace(path, files, another)  # which is at it while the first one writes each of its files
    with zipfile.ZipFile(path) as opened:
        assert {name: opened.read(name) for name in opened.namelist()} == files
    assert (made.path, made.zipped) == (path, path.stat().st_size)
    before = path.read_bytes()
    monkeypatch.setattr(archive, "MOST_UNZIPPED", 1999)
    with pytest.raises(WorldConfigurationError, match="unzipped the function has"):
        archive.replace(path, files, lambda: None)
    assert path.read_bytes() == before and [each.name for each in path.parent.iterdir()] == ["function.zip"]


# --- the version ------------------------------------------------------------------------------------------------------


def git(folder, *words):
    names = ["-c", "user.name=t", "-c", "user.email=t@example.com", "-c", "commit.gpgsign=false"]
    dates = {"GIT_COMMITTER_DATE": "1700000000 +0000", "GIT_AUTHOR_DATE": "1600000000 +0000"}
    subprocess.run(["git", *names, *words], cwd=folder, check=True, capture_output=True, env={**os.environ, **dates})


def test_a_version_is_a_time_and_a_hash_of_the_apps_files(tmp_path, monkeypatch):
    for name in ("WDK_CODE_VERSION", "SOURCE_DATE_EPOCH"):
        monkeypatch.delenv(name, raising=False)
    folder = written(tmp_path, {"a.py": "a", "b.py": "b"})
    files = {name: folder / name for name in ("a.py", "b.py")}
    for name, time in (("a.py", 1_500_000_000), ("b.py", 1_400_000_000)):
        os.utime(folder / name, (time, time))
    version = code_version(files, folder)
    time, digest = version.split(".")
    assert (time, len(digest)) == ("1500000000", 12)
    git(folder, "init", "-q")
    git(folder, "add", ".")
    git(folder, "commit", "-qm", "x")
    assert code_version(files, folder) == f"1700000000.{digest}"
    (folder / "b.py").write_text("c")
    os.utime(folder / "b.py", (1_800_000_000, 1_800_000_000))
    changed = code_version(files, folder)
    assert changed.startswith("1800000000.") and not changed.endswith(digest)
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "12")
    assert code_version(files, folder).startswith("0000000012.")
    monkeypatch.setenv("WDK_CODE_VERSION", "release-7")
    assert code_version(files, folder) == "release-7"


def test_what_the_build_knows_is_set_where_nobody_else_has_set_it(tmp_path):
    assert bundle.read(tmp_path) == {} == bundle.read()
    (tmp_path / bundle.FILE).write_bytes(stamp.document("5.abc", "shop:app", [], ARM, "0.1.0"))
    assert bundle.read(tmp_path)["architecture"] == "arm64"
    for given, app in (({}, "shop:app"), ({"WDK_APP": ""}, "shop:app"), ({"WDK_APP": "other:app"}, "other:app")):
        bundle.apply(given, tmp_path)
        assert given == {"WDK_APP": app, "WDK_CODE_VERSION": "5.abc"}
    assert json.loads((tmp_path / bundle.FILE).read_bytes())["python"] == "3.13"


def test_a_receiver_is_told_of_the_app_only_where_it_has_a_namespace(tmp_path):
    for namespaces, told in (([], {}), (["shop"], {"WDK_APP": "shop:app"})):
        (tmp_path / bundle.FILE).write_bytes(stamp.document("5.abc", "shop:app", namespaces, ARM, "0.1.0"))
        given = {"WDK_ROLE": "receiver"}
        bundle.apply(given, tmp_path)
        assert given == {"WDK_ROLE": "receiver", "WDK_CODE_VERSION": "5.abc", **told}
