"""`wdk init`: what it refuses before anything is written, and that a project is there whole or not at all."""

import importlib.metadata
import json
import shutil
import subprocess
import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import hcl2
import pytest

from tests.infra.hcl import module
from tests.unit.test_cli import complaint, wdk
from wdk_aws.packaging import starting
from wdk_cloud.cli.project import origin, parts, writing
from wdk_cloud.cli.project.naming import name_of
from wdk_gcp.deploying import naming

ROOT = Path(__file__).parents[2]

MADE = [".github", ".gitignore", "Makefile", "README.md", "histories", "pyproject.toml", "requirements-dev.txt"]
MADE += ["requirements.txt", "shop", "tests"]

SAM = EntryPoint("aws.sam", "wdk_aws.packaging.starting:sam", parts.GROUP)
GCP = EntryPoint("gcp.terraform", "wdk_gcp.packaging.starting:terraform", parts.GROUP)
TERRAFORM = EntryPoint("aws.terraform", "wdk_aws.packaging.starting:terraform", parts.GROUP)
BROKEN = EntryPoint("moon.rocket", "elsewhere:rocket", parts.GROUP)


@pytest.fixture(autouse=True)
def adapters(tmp_path, monkeypatch):
    """The parts of the adapters that are installed."""
    found = [SAM, GCP]
    monkeypatch.setattr(parts, "entry_points", lambda *, group: [point for point in found if point.group == group])
    monkeypatch.chdir(tmp_path)
    return found


def refused(*words, code=2):
    """What is said, and nothing is there that was not there before."""
    before = sorted(Path().rglob("*"))
    said = complaint("init", *words, code=code)
    assert sorted(Path().rglob("*")) == before
    return said


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_project_lies_in_its_folder_and_nothing_beside_it(tmp_path):
    said = wdk("init", "shop", "--cloud", "none").stdout.splitlines()
    assert said == [
        "made      shop, with 12 files",
        "workflow  shop/shop/workflows.py",
        "next      cd shop && make install && make check && make dev",
        "read      shop/README.md",
    ]
    assert names(tmp_path) == ["shop"]
    assert names(tmp_path / "shop") == sorted(MADE)
    assert (tmp_path / "shop/requirements.txt").read_text() == f"wdk-cloud[http]~={version()}\n"


def test_a_project_for_aws_with_terraform_has_the_module_of_the_package_as_it_is(adapters, tmp_path):
    adapters.append(TERRAFORM)
    wdk("init", "night-shop", "--cloud", "aws", "--iac", "terraform")
    made = tmp_path / "night-shop"
    assert names(made) == sorted({*MADE, "night_shop", "terraform"} - {"shop"})
    here = ROOT / "infra/aws/terraform"
    assert names(made / "terraform") == sorted(["terraform.tfvars", *(path.name for path in here.glob("*.tf"))])
    for path in (made / "terraform").glob("*.tf"):
        assert path.read_bytes() == (here / path.name).read_bytes()
    values = hcl2.loads((made / "terraform/terraform.tfvars").read_text())
    assert "night-shop" in values["name"]
    (rule,) = module(here).variables["name"]["validation"]
    assert f'regex("{starting.NAMES}", var.name)' in rule["condition"]
    for name in ("s", "s" * 37):
        said = refused(name, "--cloud", "aws", "--iac", "terraform")
        assert (
            f"nothing was written: '{name}' {starting.INVALID}: 2 to 36 lowercase letters, digits and hyphens" in said
        )
    wdk("init", "s" * 36, "--cloud", "aws", "--iac", "terraform")
    for iac in ("sam", "terraform"):
        said = refused("sthree-shop", "--cloud", "aws", "--iac", iac)
        assert f"nothing was written: 'sthree-shop' {starting.INVALID}: S3 keeps those that begin with xn--" in said
    assert set(values) - {"__comments__"} <= set(module(here).variables)


def test_a_deployment_with_terraform_begins_with_the_question_whether_it_is_there(adapters, tmp_path):
    adapters.append(TERRAFORM)
    wdk("init", "shop", "--cloud", "aws", "--iac", "terraform")
    make = shutil.which("make")
    done = subprocess.run(
        [make, "deploy"], cwd=tmp_path / "shop", env={"PATH": str(tmp_path)}, capture_output=True, text=True, timeout=20
    )
    assert done.returncode == 2 and done.stdout == ""  # nothing was built
    assert done.stderr.startswith(
        "terraform is not in the PATH: https://developer.hashicorp.com/terraform/install\nmake: ***"
    )


def test_a_project_for_google_cloud_has_the_module_of_the_package_as_it_is(tmp_path):
    wdk("init", "night-shop", "--cloud", "gcp", "--iac", "terraform")
    made = tmp_path / "night-shop"
    assert names(made) == sorted({*MADE, "night_shop", "gcp.tfvars.json", "terraform"} - {"shop"})
    here = ROOT / "infra/gcp/terraform"
    assert names(made / "terraform") == sorted(path.name for path in here.glob("*.tf"))
    for path in (made / "terraform").iterdir():
        assert path.read_bytes() == (here / path.name).read_bytes()
    assert (made / "requirements.txt").read_text() == f"wdk-cloud[gcp]~={version()}\n"
    assert "wdk deploy gcp" in (made / "Makefile").read_text()
    variables = json.loads((made / "gcp.tfvars.json").read_text())
    assert (variables["name"], variables["database"]) == ("night-shop", "night-shop-runs")
    assert set(variables) <= set(module(here).variables)
    naming.check({"project": "my-project", **variables})


def test_a_name_that_the_cloud_would_refuse_is_refused_before_anything_is_written():
    for name in ("s", "a-shop-with-22-letters"):
        said = refused(name, "--cloud", "gcp")
        assert f"nothing was written: '{name}' cannot begin the names of accounts: 2 to 21 lowercase letters" in said
    wdk("init", "a-shop-of-21-letters2", "--cloud", "gcp")
    for name in ("google-shop", "my-g00gle"):
        said = refused(name, "--cloud", "gcp")
        assert f"nothing was written: '{name}' cannot be in the name of a bucket (Use of this bucket name is" in said


def version():
    return importlib.metadata.version("wdk-cloud")


def test_a_project_for_aws_has_the_template_of_the_package_as_it_is(tmp_path):
    wdk("init", "night-shop", "--cloud", "aws", "--iac", "sam")
    made = tmp_path / "night-shop"
    assert names(made) == sorted({*MADE, "night_shop", "samconfig.toml", "template.yaml"} - {"shop"})
    here = ROOT / "infra/aws/sam/template.yaml"
    assert (made / "template.yaml").read_bytes() == here.read_bytes()
    assert 'stack_name = "night-shop"' in (made / "samconfig.toml").read_text()
    assert "wdk deploy aws" in (made / "Makefile").read_text()


@pytest.mark.parametrize("cloud", ["none", "aws", "gcp"])
def test_no_placeholder_is_left(tmp_path, cloud):
    wdk("init", "shop", "--cloud", cloud)
    texts = {path: path.read_text() for path in (tmp_path / "shop").rglob("*") if path.is_file()}
    assert [
        str(path) for path, text in texts.items() if "@" in str(path) or "@package@" in text or "@name@" in text
    ] == []
    assert [str(path) for path, text in texts.items() if text and not text.endswith("\n")] == []


def test_an_empty_folder_is_taken(tmp_path):
    (tmp_path / "shop").mkdir()
    wdk("init", "shop", "--cloud", "none")
    assert names(tmp_path / "shop") == sorted(MADE)


def test_a_folder_in_which_there_is_something_is_refused(tmp_path):
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop/.hidden").write_text("mine")
    assert "shop is not empty; nothing was written" in refused("shop")
    (tmp_path / "file").write_text("mine")
    assert "file is a file" in refused("file")
    assert "there is no folder" in refused("nowhere/shop") and "to make shop in" in refused("nowhere/shop")
    assert "name a folder to be made, as in `wdk init my-app`" in refused(".")
    assert "Missing argument 'FOLDER'" in " ".join(wdk("init", code=2).stderr.split())


@pytest.mark.parametrize(
    ("folder", "reason"),
    [
        ("Shop", "cannot be that of a Python package, too; it takes small letters and digits"),
        ("2shops", "a letter first, 40 characters at most: wdk init shops"),
        ("my shop", "wdk init my-shop"),
        ("shöp", "small letters"),
        ("shop-", "wdk init shop"),
        ("s" * 41, "40 characters at most: wdk init my-app"),
        ("class", "class is a word of Python, and no package can have it as its name: wdk init my-class"),
        ("json", "a package json would hide the one of that name which is there already"),
        ("typer", "a package typer would hide the one of that name"),
        ("wdk-cloud", "a package wdk_cloud would hide the one of that name"),
        ("tests", "a package tests would hide the one of that name"),
    ],
)
def test_a_name_that_no_package_can_have_is_refused(folder, reason):
    assert reason in refused(folder, "--cloud", "none")


def test_the_name_of_a_cloud_has_hyphens_and_that_of_the_package_underscores():
    name = name_of("night-shop_2")
    assert (name.project, name.package) == ("night-shop-2", "night_shop_2")


def test_an_unknown_cloud_or_tool_is_refused_with_what_there_is(adapters):
    assert "there is no --cloud azure here; there are: aws, gcp, none; an adapter" in refused(
        "shop", "--cloud", "azure"
    )
    assert "there is no --iac pulumi for aws; there is: sam" in refused("shop", "--cloud", "aws", "--iac", "pulumi")
    assert "there is no --iac sam for gcp; there is: terraform" in refused("shop", "--cloud", "gcp", "--iac", "sam")
    assert "--iac sam is for a cloud" in refused("shop", "--cloud", "none", "--iac", "sam")
    adapters.append(TERRAFORM)
    assert "for aws; there is: sam, terraform" in refused("shop", "--cloud", "aws", "--iac", "pulumi")


def test_the_cloud_is_that_of_the_adapter_that_is_installed(adapters, tmp_path):
    adapters[:] = [SAM, BROKEN]
    assert "which cloud is it for? Name it with --cloud: aws, moon, none" in refused("shop")
    said = refused("shop", "--cloud", "moon", code=1)
    assert "elsewhere:rocket (wdk_cloud.projects) cannot be loaded: ModuleNotFoundError" in said
    adapters.clear()
    wdk("init", "shop")
    assert names(tmp_path / "shop") == sorted(MADE)


def test_what_cannot_be_written_is_said_and_leaves_nothing(tmp_path):
    contents = {"one.txt": "1", "deep/two.txt": "2", "one.txt/three.txt": "a file is in the way"}
    with pytest.raises(writing.CommandError, match=r"cannot be written to .*shop: "):
        writing.write(tmp_path / "shop", contents)
    assert names(tmp_path) == []


def test_a_folder_that_somebody_fills_in_the_meantime_stays_as_it_is(tmp_path):
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop/theirs").write_text("theirs")
    with pytest.raises(writing.CommandError, match="cannot be written"):
        writing.write(tmp_path / "shop", {"one.txt": "1"})
    assert names(tmp_path) == ["shop"] and names(tmp_path / "shop") == ["theirs"]


DIES = """
import os, sys
from pathlib import Path
from wdk_cloud.cli.project import writing

class Deadly(dict):
    def items(self):
        yield "one.txt", "1"
        os.kill(os.getpid(), 9)

writing.write(Path(sys.argv[1]), Deadly())
"""


def test_who_dies_in_the_middle_leaves_no_project(tmp_path):
    died = subprocess.run([sys.executable, "-c", DIES, str(tmp_path / "shop")], timeout=50, check=False)
    assert died.returncode == -9
    (left,) = tmp_path.iterdir()  # hidden, and in nobody's way
    assert left.name.startswith(".shop.")
    wdk("init", "shop", "--cloud", "none")
    assert names(tmp_path / "shop") == sorted(MADE)


def test_whoever_installed_from_a_folder_is_told_how_another_environment_gets_the_same(tmp_path, monkeypatch):
    clone = tmp_path / "a clone"
    (clone / "adapters" / "aws").mkdir(parents=True)
    url = json.dumps({"url": clone.as_uri(), "dir_info": {}})
    assert origin.to_install("http", url) == f"pip install '{clone}[http]'"
    assert origin.to_install("aws", url) == f"pip install '{clone}[aws]' '{clone}/adapters/aws'"
    assert origin.to_install("http", json.dumps({"url": clone.as_uri(), "dir_info": {"editable": True}})) is None
    assert origin.to_install("http", json.dumps({"url": "https://example.org/wdk.whl", "archive_info": {}})) is None
    assert [origin.to_install("http", what) for what in (None, "{", "[]")] == [None] * 3
    monkeypatch.setattr(origin, "read", lambda: url)
    said = wdk("init", "shop", "--cloud", "none")
    assert said.stderr == f"in an environment of its own, before make install: pip install '{clone}[http]'\n"
