"""`wdk build aws`: the zip for Lambda's machine, checked by itself, and the one for this machine, run."""

import json
import os
import re
import subprocess
import sys
import zipfile
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path

import pytest

from tests.unit.test_cli import complaint, wdk
from wdk_aws.packaging import building, contents
from wdk_aws.packaging.archive import Archive
from wdk_aws.packaging.binaries import fault, is_compiled
from wdk_aws.packaging.building import Built
from wdk_aws.packaging.command import print_made
from wdk_aws.packaging.making import Made
from wdk_aws.packaging.target import Target
from wdk_cloud.errors import WorldConfigurationError, WorldUnavailableError
from wdk_cloud.packaging.project import Project

SIGNUP = Path(__file__).parents[2] / "examples/signup/workflows.py"
ARM = Target("3.13", "arm64")
HERE = Target(f"{sys.version_info.major}.{sys.version_info.minor}", "x86_64")


@contextmanager
def silently(_what, _total):
    yield lambda: None


def built(folder, target, name="function.zip"):
    (folder / "workflows.py").write_bytes(SIGNUP.read_bytes())
    project = Project(folder, "workflows:app")
    return building.build(project, target, folder / "out" / name, silently)


@pytest.fixture(scope="module")
def arm(tmp_path_factory):
    """Built with a fixed time, as where all is committed: a copy's files have the time of the copy."""
    before = os.environ.get("SOURCE_DATE_EPOCH")
    os.environ["SOURCE_DATE_EPOCH"] = "1700000000"
    yield built(tmp_path_factory.mktemp("arm"), ARM)
    os.environ.pop("SOURCE_DATE_EPOCH")
    if before is not None:
        os.environ["SOURCE_DATE_EPOCH"] = before


@pytest.fixture(scope="module")
def here(arm, tmp_path_factory):
    return built(tmp_path_factory.mktemp("here"), HERE)


def files_of(path):
    with zipfile.ZipFile(path) as opened:
        return {name: opened.read(name) for name in opened.namelist()}


def test_two_builds_have_one_hash(arm, tmp_path):
    again = built(tmp_path, ARM, "other.zip")
    assert again.archive.path != arm.archive.path
    assert files_of(again.archive.path) == files_of(arm.archive.path)
    assert (again.archive.sha256, again.code_version) == (arm.archive.sha256, arm.code_version)
    assert (tmp_path / "out/other.zip").read_bytes() == arm.archive.path.read_bytes()
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["other.zip"]


def test_the_zip_for_lambda_has_the_files_of_this_machines_apart_from_compiled_modules(arm, here):
    there, local = set(files_of(arm.archive.path)), set(files_of(here.archive.path))

    def untagged(names):
        return {re.sub(r"\.(cpython-\d+|abi3)[\w-]*\.so$", ".so", name) for name in names}

    # Packages for Pythons older than the newest, which the requirements name by the Python's version.
    backports = {name for name in local if name.partition("/")[0].startswith("typing_extensions")}
    assert untagged(there) - untagged(local) == set()
    assert untagged(local) - untagged(there) <= backports
    assert {name for name in there ^ local if not is_compiled(name)} <= backports


def test_every_compiled_module_is_for_the_machine_of_the_function(arm, here):
    for result, target, other in ((arm, ARM, HERE), (here, HERE, ARM)):
        compiled = {name: data for name, data in files_of(result.archive.path).items() if is_compiled(name)}
        assert any(name.startswith("msgspec/_core.") for name in compiled)
        assert [fault(name, data, target) for name, data in compiled.items()] == [None] * len(compiled)
        assert None not in [fault(name, data, other) for name, data in compiled.items()]


def test_every_import_of_the_handler_and_the_app_leads_to_a_file_of_the_zip(arm, tmp_path):
    files = files_of(arm.archive.path)
    (tmp_path / "workflows.py").write_bytes(SIGNUP.read_bytes())
    project = Project(tmp_path, "workflows:app")
    assert contents.missing(files, project, ARM) == []
    for gone, importer in (("botocore/exceptions.py", "wdk_aws/"), ("starlette/routing.py", "wdk_cloud/http/")):
        missing = contents.missing({name: data for name, data in files.items() if name != gone}, project, ARM)
        assert any(line.startswith(importer) for line in missing), gone


def test_the_zip_has_only_what_a_function_needs(arm):
    files = files_of(arm.archive.path)
    tops = {name.partition("/")[0] for name in files}
    assert {"wdk_aws", "wdk_cloud", "workflows.py", "wdk_build.json", "boto3", "botocore"} <= tops
    assert tops & {"rich", "typer", "click", "pygments", "uvicorn", "cryptography", "pytest", "bin"} == set()
    unwanted = ("wdk_cloud/cli/", "wdk_cloud/testing/", "wdk_aws/testing/", "wdk_aws/packaging/")
    assert [name for name in files if name.startswith(unwanted)] == []
    assert [name for name in files if name.endswith((".pyc", ".pyi", "/RECORD")) or "__pycache__" in name] == []
    services = {name.split("/")[2] for name in files if name.startswith("botocore/data/") and name.count("/") > 2}
    assert services == {"dynamodb", "kms", "s3", "scheduler", "sqs", "sts"}
    assert arm.archive.zipped < 6_000_000  # a user's packages have the rest of 50 MB
    assert arm.archive.unzipped == sum(map(len, files.values())) and arm.files == len(files)
    said = json.loads(files["wdk_build.json"])
    assert (said["app"], said["python"], said["architecture"]) == ("workflows:app", "3.13", "arm64")
    assert said["code_version"] == arm.code_version and arm.code_version.startswith("1700000000.")


EVERYTHING = """
import importlib, os, pathlib, sys
for file in sorted(pathlib.Path("wdk_aws").rglob("*.py")):
    importlib.import_module(".".join(file.with_suffix("").parts).removesuffix(".__init__"))
from wdk_cloud import bundle
bundle.apply()
from wdk_cloud import sources
from wdk_cloud.world.opening import make_world
print(sorted(w.fn.__name__ for app in sources.load_apps(os.environ["WDK_APP"]) for w in app.workflows.values()))
print(make_world("aws").name, os.environ["WDK_CODE_VERSION"])
outside = [m.__file__ for m in list(sys.modules.values()) if "site-packages" in (getattr(m, "__file__", "") or "")]
print(outside)
"""


def test_the_zip_for_this_machine_runs_alone(here, tmp_path):
    with zipfile.ZipFile(here.archive.path) as opened:
        opened.extractall(tmp_path)
    plain = {"PATH": os.environ["PATH"], "AWS_DEFAULT_REGION": "eu-west-1", "PYTHONPATH": str(tmp_path)}
    interpreter = Path(sys.base_prefix, "bin/python3")
    command = [str(interpreter), "-S", "-s", "-c", EVERYTHING]
    done = subprocess.run(command, cwd=tmp_path, env=plain, capture_output=True, text=True, timeout=50, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["['signup']", f"aws {here.code_version}", "[]"]


# --- which files, by rule ---------------------------------------------------------------------------------------------

INSTALLED = {
    "botocore/data/endpoints.json": "{}",
    "botocore/data/sqs/1/service-2.json": "{}",
    "botocore/data/ses/1/service-2.json": "{}",
    "botocore/__init__.py": "",
    "boto3/__init__.py": "import botocore",
    "aws_lambda_powertools/__init__.py": "def ask():\n    import boto3",
    "plain/__init__.py": "",
    "plain/tests/test_plain.py": "",
    "odd/__init__.py": "from odd.tests import needed",
    "odd/tests/__init__.py": "",
    "odd/tests/needed.py": "",
}


def chosen(tmp_path, app, *requirements):
    for name, text in INSTALLED.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    (tmp_path / "shop.py").write_text(app)
    own = {"wdk_aws/handler.py": b"import boto3, aws_lambda_powertools, odd", "wdk_aws/__init__.py": b""}
    installed = contents.installed_files(tmp_path)
    del installed["shop.py"]
    rooms = contents.Rooms({"shop.py": tmp_path / "shop.py"}, installed, own)
    return set(contents.choose(rooms, ["shop"], requirements))


@pytest.mark.parametrize(
    ("app", "requirements", "all_services"),
    [
        ("import wdk_aws", (), False),
        ("def send():\n    import boto3", (), True),
        ("from botocore import session", (), True),
        ("import aws_lambda_powertools", (), True),
        ("import plain", ("boto3",), True),
        ("import plain", ("httpx",), False),
    ],
)
def test_all_services_of_botocore_are_there_where_somebody_may_ask_for_them(tmp_path, app, requirements, all_services):
    names = chosen(tmp_path, app, *requirements)
    assert {"botocore/data/endpoints.json", "botocore/data/sqs/1/service-2.json"} <= names
    assert ("botocore/data/ses/1/service-2.json" in names) == all_services


def test_tests_of_packages_stay_out_unless_the_package_imports_them(tmp_path):
    names = chosen(tmp_path, "import plain")
    assert "plain/__init__.py" in names and "plain/tests/test_plain.py" not in names
    assert "odd/tests/needed.py" in names


SCHEDULED = """
from wdk_cloud import Workflows

app = Workflows(namespace="shop")

@app.workflow(schedule="every 1 hour", name="hourly")
async def hourly() -> None: ...
"""

# --- what is wrong is said before there is a zip ----------------------------------------------------------------------


def project(tmp_path, source, requirements=""):
    (tmp_path / "shop.py").write_text(source)
    (tmp_path / "requirements.txt").write_text(requirements)
    return Project(tmp_path, "shop:app")


def test_an_import_that_is_in_no_requirement_is_named_and_there_is_no_zip(tmp_path):
    output = tmp_path / "function.zip"
    output.write_bytes(b"the last one")
    with pytest.raises(WorldConfigurationError) as raised:
        building.build(project(tmp_path, "def pay():\n    import stripe\n"), ARM, output, silently)
    assert "shop.py:2 imports stripe, which is not there" in str(raised.value)
    assert output.read_bytes() == b"the last one"


def test_a_requirement_without_a_wheel_for_the_function_is_said_in_the_installers_words(tmp_path):
    wrong = project(tmp_path, "", "msgspec==0.0.1\n")
    with pytest.raises(
        WorldUnavailableError, match=r"no wheels of all requirements for python3\.13 on arm64(?s:.*)msgspec"
    ):
        building.build(wrong, ARM, tmp_path / "function.zip", silently)


def test_a_project_with_terraform_is_told_of_the_values_in_place_of_the_template(capsys):
    archive = Archive(Path("build/aws/function.zip"), "0" * 64, 1, 2, ())
    print_made(Made(Built(archive, 3, "1.release"), ARM, []), with_terraform=True)
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1] == "values    build/aws/built.tfvars.json, with 0 schedules; for terraform -var-file"
    assert [line.split()[0] for line in lines if "template" in line] == []


def test_the_command_says_what_it_made_and_what_is_wrong(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delenv("WDK_APP", raising=False)
    name = "scheduled_for_the_build"  # no other test has imported it
    (tmp_path / f"{name}.py").write_text(SCHEDULED)
    assert "Example: wdk build aws --architecture x86_64" in wdk("build", "aws", "--help").stdout
    assert "which app? Set WDK_APP=module:app" in complaint("build", "aws", code=2)
    assert "there is no module 'absent'" in complaint("build", "aws", "--app", "absent:app", code=2)
    named = ("build", "aws", "--app", f"{name}:app")
    assert "the template no.yaml cannot be read: No such file" in complaint(*named, "--template", "no.yaml", code=2)
    made = json.loads(wdk(*named, "--python", "3.13", "--json").stdout)
    assert (made["function"], made["runtime"], made["warnings"]) == ("build/aws/function.zip", "python3.13", [])
    assert made["zipped"] == (tmp_path / "build/aws/function.zip").stat().st_size
    assert made["schedules"] == [{"workflow": "hourly", "expression": "cron(0 * * * ? *)", "timezone": "UTC"}]
    assert "ScheduleExpression: cron(0 * * * ? *)" in (tmp_path / made["template"]).read_text()
    terraform = json.loads((tmp_path / "build/aws/built.tfvars.json").read_text())
    assert [(one.pop("name")[:10], one) for one in terraform.pop("schedules")] == [("TickHourly", made["schedules"][0])]
    assert terraform == {"architecture": "arm64", "python_version": "3.13"}
    sealed = (tmp_path / "build/aws/built.sha256").read_text().split()
    assert sealed == [sha256((tmp_path / "build/aws/built.tfvars.json").read_bytes()).hexdigest(), "built.tfvars.json"]
    with zipfile.ZipFile(made["function"]) as opened:
        assert json.loads(opened.read("wdk_build.json"))["namespaces"] == ["shop"]
    del sys.modules[name]
