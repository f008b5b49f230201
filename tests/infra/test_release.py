"""What is released: its files, that they can be built again, that they install, and that all of it names one version."""

import fnmatch
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from email.parser import HeaderParser
from pathlib import Path, PurePosixPath

import pytest
import yaml

from release import check
from release.build import EPOCH, PROJECTS, build, dated
from tests.aws.installed import CONSTRAINTS, ROOT, UV
from wdk_aws.packaging.target import PYTHONS

# A machine that does much else takes four times as long to build and to install.
pytestmark = pytest.mark.timeout(180)

VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]

WORKFLOW = ROOT / ".github/workflows/release.yml"

PACKAGES = {"wdk_cloud": ".", "wdk_aws": "adapters/aws", "wdk_gcp": "adapters/gcp"}
"""The package of each distribution, and its folder."""

NAMES = {"wdk_cloud": "wdk_cloud", "wdk_aws": "wdk_cloud_aws", "wdk_gcp": "wdk_cloud_gcp"}

PROJECT = "wdk_cloud/cli/project/files"
FILES = {
    "wdk_cloud": [
        *(f"{PROJECT}/{name}.template" for name in [".gitignore", "Makefile", "README.md", "pyproject.toml"]),
        *(f"{PROJECT}/{name}.template" for name in ["requirements.txt", "requirements-dev.txt"]),
        f"{PROJECT}/.github/workflows/ci.yaml.template",
        f"{PROJECT}/@package@/__init__.py.template",
        f"{PROJECT}/@package@/workflows.py.template",
        f"{PROJECT}/histories/signup.json.template",
        f"{PROJECT}/tests/__init__.py.template",
        f"{PROJECT}/tests/test_workflows.py.template",
    ],
    "wdk_aws": [
        "wdk_aws/streaming.sh",
        "wdk_aws/packaging/template.yaml",
        *(f"wdk_aws/packaging/starter/{name}.template" for name in ["Makefile", "README.md", "samconfig.toml"]),
        *(f"wdk_aws/packaging/starter/terraform/{name}.template" for name in ["Makefile", "README.md"]),
        "wdk_aws/packaging/starter/terraform/terraform.tfvars.template",
        "wdk_aws/packaging/terraform/README.md",
        "wdk_aws/packaging/terraform/*.tf",
        "wdk_aws/packaging/terraform/examples/simple/*.tf",
        "wdk_aws/packaging/terraform/examples/complete/*.tf",
    ],
    "wdk_gcp": [
        "wdk_gcp/packaging/Dockerfile",
        *(f"wdk_gcp/packaging/starter/{name}.template" for name in ["Makefile", "README.md", "gcp.tfvars.json"]),
        "wdk_gcp/packaging/terraform/README.md",
        "wdk_gcp/packaging/terraform/*.tf",
        "wdk_gcp/packaging/terraform/examples/minimal/*.tf",
        "wdk_gcp/packaging/terraform/examples/split/*.tf",
    ],
}
"""What lies in a package beside its modules, as patterns: each matches something, and all is matched by one."""

BESIDE_WHEEL = ["METADATA", "RECORD", "WHEEL", "entry_points.txt", "licenses/LICENSE"]
BESIDE_SDIST = {
    "wdk_cloud": [".gitignore", "CHANGELOG.md", "LICENSE", "PKG-INFO", "README.md", "pyproject.toml"],
    "wdk_aws": [".gitignore", "LICENSE", "PKG-INFO", "README.md", "pyproject.toml"],
    "wdk_gcp": [".gitignore", "LICENSE", "PKG-INFO", "README.md", "pyproject.toml"],
}

EXTRAS = {
    "aws": ["wdk_aws.handler", "wdk_aws.packaging.command"],
    "gcp": ["wdk_gcp.world", "wdk_gcp.packaging.command"],
    "http": ["wdk_cloud.http", "uvicorn"],
    "crypto": ["wdk_cloud.encryption", "cryptography.fernet"],
    "pydantic": ["pydantic"],
    "otel": ["opentelemetry.trace"],
    "all": ["wdk_aws.world", "cryptography.fernet", "opentelemetry.trace", "pydantic"],
}
"""What each is for, as the modules that can be imported with it."""


def in_wheel(folder, package):
    """The files of the wheel, by name."""
    with zipfile.ZipFile(folder / f"{NAMES[package]}-{VERSION}-py3-none-any.whl") as wheel:
        return {name: wheel.read(name) for name in wheel.namelist()}


def in_sdist(folder, package):
    """The files of the sdist, by name; it has nothing but files, so no links."""
    top = f"{NAMES[package]}-{VERSION}"
    with tarfile.open(folder / f"{top}.tar.gz") as sdist:
        members = sdist.getmembers()
        assert [member.name for member in members if not member.isreg()] == []
        return {member.name.removeprefix(f"{top}/"): sdist.extractfile(member).read() for member in members}


def lying(package):
    """The files of a package in this checkout, links followed, without what programs and tests leave or need."""
    start = ROOT / PACKAGES[package]
    for folder, folders, names in os.walk(start / package, followlinks=True):
        unwanted = {"__pycache__", ".terraform", *(["tests"] if folder.endswith("/terraform") else [])}
        folders[:] = [name for name in folders if name not in unwanted]
        for name in names:
            if not fnmatch.fnmatch(name, "*.tfstate*") and name != ".terraform.lock.hcl":
                yield (Path(folder) / name).relative_to(start).as_posix(), (Path(folder) / name).read_bytes()


# --- files ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("package", PACKAGES)
def test_a_wheel_has_the_files_of_its_package_and_nothing_else(distributions, package):
    files = in_wheel(distributions, package)
    info = f"{NAMES[package]}-{VERSION}.dist-info"
    beside = {name for name in files if not name.startswith(f"{package}/")}
    assert beside == {f"{info}/{name}" for name in BESIDE_WHEEL}
    assert files[f"{info}/licenses/LICENSE"] == (ROOT / "LICENSE").read_bytes()
    assert {name: files[name] for name in files.keys() - beside} == dict(lying(package))


@pytest.mark.parametrize("package", PACKAGES)
def test_an_sdist_has_the_same_package_and_what_builds_it(distributions, package):
    files = in_sdist(distributions, package)
    inside = {name: text for name, text in files.items() if name.startswith(f"{package}/")}
    assert inside == {k: v for k, v in in_wheel(distributions, package).items() if k.startswith(f"{package}/")}
    assert sorted(files.keys() - inside.keys()) == BESIDE_SDIST[package]


@pytest.mark.parametrize("package", PACKAGES)
def test_what_lies_beside_the_modules_is_known(distributions, package):
    names = [name for name in in_wheel(distributions, package) if name.startswith(f"{package}/")]
    assert {f"{package}/__init__.py", f"{package}/py.typed"} <= set(names)
    beside = [name for name in names if not name.endswith((".py", "/py.typed"))]
    known = {pattern: [name for name in beside if PurePosixPath(name).match(pattern)] for pattern in FILES[package]}
    assert sorted(beside) == sorted(name for found in known.values() for name in found)
    assert [pattern for pattern, found in known.items() if not found] == []


def test_what_installers_read_is_as_promised(distributions):
    for package, name in NAMES.items():
        text = in_wheel(distributions, package)[f"{name}-{VERSION}.dist-info/METADATA"].decode()
        metadata = HeaderParser().parsestr(text)
        assert (metadata["Metadata-Version"], metadata["License-Expression"]) == ("2.4", "Apache-2.0")
        assert metadata["Requires-Python"] == "<3.15,>=3.11"
        assert metadata["Description-Content-Type"] == "text/markdown" and metadata.get_payload().startswith(
            "# wdk-cloud"
        )
    core = HeaderParser().parsestr(
        in_wheel(distributions, "wdk_cloud")[f"wdk_cloud-{VERSION}.dist-info/METADATA"].decode()
    )
    assert sorted(core.get_all("Provides-Extra")) == sorted(EXTRAS)


# --- building again ---------------------------------------------------------------------------------------------------


def test_another_checkout_gives_the_same_files_to_the_byte(distributions, tmp_path):
    """Elsewhere, with other times and rights of files and other caches; wheels from the checkout, not from an sdist."""
    copy = tmp_path / "copy"
    before = os.umask(0o077)
    try:
        wanted = [
            "wdk_cloud",
            "adapters",
            "infra",
            "pyproject.toml",
            "README.md",
            "CHANGELOG.md",
            "LICENSE",
            ".gitignore",
        ]
        for name in wanted:
            if (ROOT / name).is_dir():
                shutil.copytree(ROOT / name, copy / name, symlinks=True, copy_function=shutil.copyfile)
            else:
                copy.mkdir(exist_ok=True)
                shutil.copyfile(ROOT / name, copy / name)
        (copy / "adapters/aws/wdk_aws/streaming.sh").chmod(0o700)
        for left in [
            "wdk_cloud/__pycache__/left.pyc",
            "infra/gcp/terraform/.terraform/left",
            "infra/gcp/terraform/a.tfstate",
        ]:
            (copy / left).parent.mkdir(exist_ok=True)
            (copy / left).write_text("left")
        for project in PROJECTS:
            command = [sys.executable, "-m", "hatchling", "build", "-d", tmp_path / "again"]
            environ = {name: value for name, value in os.environ.items() if name != EPOCH} | dated(ROOT)
            done = subprocess.run(command, cwd=copy / project, env=environ, capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stderr
    finally:
        os.umask(before)
    assert hashes(tmp_path / "again") == hashes(distributions)
    assert len(hashes(distributions)) == 6


def hashes(folder):
    files = [*folder.glob("*.whl"), *folder.glob("*.tar.gz")]
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


def test_a_checkout_is_dated_by_its_commit_and_a_folder_by_the_builder(tmp_path):
    assert int(dated(ROOT)[EPOCH]) > 1_700_000_000
    assert dated(tmp_path) == {}


def test_nothing_is_built_beside_what_is_there(tmp_path):
    (tmp_path / "wdk_cloud-0.0.9.tar.gz").touch()
    with pytest.raises(FileExistsError, match="is not empty: remove it, or name another folder"):
        build(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["wdk_cloud-0.0.9.tar.gz"]


# --- installing -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def environment(distributions, tmp_path_factory):
    """Makes fresh environments: gives the Python of one with these requirements and what they need."""

    def make(*wanted):
        folder = tmp_path_factory.mktemp("fresh") / "venv"
        run(UV, "venv", "--quiet", "--python", sys.executable, folder)
        options = ["--quiet", "--python", folder / "bin/python", "--constraint", CONSTRAINTS]
        run(UV, "pip", "install", *options, "--find-links", distributions, *wanted)
        return folder / "bin/python"

    return make


def run(*command):
    """What a program says, in a folder and with variables in which there is nothing of this checkout."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "WDK_"))}
    done = subprocess.run(command, cwd="/", env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_core_alone_imports_and_has_its_command(environment):
    python = environment("wdk-cloud")
    said = run(python, "-c", "import wdk_cloud; print(wdk_cloud.__file__)")
    assert Path(said.strip()).is_relative_to(python.parents[1])
    assert "Usage: wdk" in run(python.with_name("wdk"), "--help")


@pytest.mark.parametrize("extra", EXTRAS)
def test_every_extra_installs_and_brings_what_it_is_for(environment, extra):
    python = environment(f"wdk-cloud[{extra}]=={VERSION}")
    assert run(python, "-c", f"import {', '.join(EXTRAS[extra])}; print('imported')") == "imported\n"
    listed = run(UV, "pip", "list", "--quiet", "--python", python)
    ours = dict(re.findall(r"^(wdk-cloud\S*) +(\S+)$", listed, re.MULTILINE))
    adapters = {"aws", "gcp"} & ({extra} if extra != "all" else {"aws", "gcp"})
    assert ours == {"wdk-cloud": VERSION, **{f"wdk-cloud-{cloud}": VERSION for cloud in adapters}}


# --- one version ------------------------------------------------------------------------------------------------------


def test_distributions_templates_and_changelog_name_one_version():
    assert check.complaints() == []


@pytest.fixture
def copied(tmp_path):
    """What names a version, to be changed."""
    for name in (*check.PROJECTS, *check.TEMPLATES, "CHANGELOG.md"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, tmp_path / name)
    return tmp_path


def change(folder, file, before, after):
    text = (folder / file).read_text()
    assert before in text
    (folder / file).write_text(text.replace(before, after))


@pytest.mark.parametrize(
    ("file", "before", "after", "said"),
    [
        ("adapters/aws/pyproject.toml", f'version = "{VERSION}"', 'version = "0.0.9"', "version 0.0.9, not"),
        ("adapters/gcp/pyproject.toml", f"[http]=={VERSION}", "[http]>=0.0.9", "wdk-cloud[http]>=0.0.9, not"),
        ("adapters/gcp/pyproject.toml", f"[crypto]=={VERSION}", "[crypto]", "wdk-cloud[crypto], not"),
        ("pyproject.toml", f"wdk-cloud-aws=={VERSION}", "wdk-cloud-aws==0.0.9", "wdk-cloud-aws==0.0.9, not"),
        ("infra/aws/sam/template.yaml", f'WDK_AWS_TEMPLATE: "{VERSION}" #', 'WDK_AWS_TEMPLATE: "9" #', "template 9, not"),
        ("infra/aws/terraform/main.tf", "template = ", "another = ", "template none, not"),
    ],
)  # fmt: skip
def test_a_file_that_names_another_version_is_named(copied, file, before, after, said):
    change(copied, file, before, after)
    found = check.complaints(copied)
    assert found and [one for one in found if not one.startswith(f"{file}: {said} {VERSION}")] == []


@pytest.mark.parametrize(
    ("headings", "said"),
    [
        ("## [Unreleased]\n\n## [0.0.1] - 2026-01-02\n", []),
        (f"## [{VERSION}] - 2026-01-02\n", []),
        ("", [f"CHANGELOG.md: the newest heading is nothing, not {VERSION} or Unreleased"]),
        ("## [0.0.9] - 2026-01-02\n", [f"CHANGELOG.md: the newest heading is 0.0.9, not {VERSION} or Unreleased"]),
        (
            f"## [Unreleased]\n\n## [{VERSION}] - 2026-01-02\n",
            [f"CHANGELOG.md: {VERSION} is released; the next version has to be above it, and is {VERSION}"],
        ),
    ],
)
def test_the_newest_heading_of_the_changelog_is_this_version_or_what_will_be(copied, headings, said):
    (copied / "CHANGELOG.md").write_text(f"# Changelog\n\n{headings}")
    assert check.complaints(copied) == said


def test_a_release_is_made_of_a_tag_of_this_version_whose_changes_are_written_up(copied):
    unwritten = f"CHANGELOG.md: the newest heading is not `## [{VERSION}] - DATE`"
    (copied / "CHANGELOG.md").write_text("# Changelog\n\n## [Unreleased]\n")
    assert check.complaints(copied, "v0.0.9") == [f"the tag is v0.0.9, not v{VERSION}", unwritten]
    change(copied, "CHANGELOG.md", "## [Unreleased]", f"## [{VERSION}]")
    assert check.complaints(copied, f"v{VERSION}") == [unwritten]
    change(copied, "CHANGELOG.md", f"[{VERSION}]", f"[{VERSION}] - 2026-01-02")
    assert check.complaints(copied, f"v{VERSION}") == []


def test_all_that_names_supported_pythons_names_the_same():
    page = (ROOT / "docs/releases.md").read_text().partition("## Supported Pythons")[2].partition("\n## ")[0]
    told = re.findall(r"3\.\d+", page.partition(", on Linux")[0])
    assert told == list(PYTHONS)
    for project in check.PROJECTS:
        said = tomllib.loads((ROOT / project).read_text())["project"]
        named = [one.rpartition(" ")[2] for one in said["classifiers"] if re.search(r":: 3\.\d+$", one)]
        assert (named, said["requires-python"]) == (told, ">=3.11,<3.15")
    workflow = yaml.safe_load(WORKFLOW.read_text())["jobs"]["test"]["steps"]
    (found,) = [step["with"]["python-version"].split() for step in workflow if "python-version" in step.get("with", {})]
    assert (sorted(found), found[-1]) == (told, told[0])


# --- the workflow that does it ----------------------------------------------------------------------------------------


def test_no_job_of_the_release_may_do_more_than_it_has_to():
    workflow = yaml.safe_load(WORKFLOW.read_text())
    assert workflow["permissions"] == {}
    assert {name: job["permissions"] for name, job in workflow["jobs"].items()} == {
        "test": {"contents": "read"},
        "build": {"contents": "read"},
        "attest": {"id-token": "write", "attestations": "write"},
        "publish": {"id-token": "write"},
        "announce": {"contents": "write"},
    }
    # Nothing of the repository runs where something may be written.
    for name in ("attest", "publish", "announce"):
        assert [step for step in workflow["jobs"][name]["steps"] if "checkout" in step.get("uses", "")] == []
