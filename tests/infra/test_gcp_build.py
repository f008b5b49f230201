"""`wdk build gcp`: the folder of the image, the same for the same input, and its own start command, run."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import zipfile
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.request import ProxyHandler, Request, build_opener

import pytest

from tests.infra.conftest import run
from tests.infra.test_ticking import DAY, SCHEDULES, ticks, values
from tests.unit.test_cli import complaint, wdk
from wdk_cloud.errors import WorldConfigurationError, WorldUnavailableError
from wdk_cloud.packaging.project import Project
from wdk_cloud.packaging.ticking import Entry
from wdk_cloud.schedules import parse_schedule
from wdk_gcp import handler
from wdk_gcp.packaging import context, dockerfile, pinning
from wdk_gcp.packaging.ticking import expressions, name_of

ROOT = Path(__file__).parents[2]
SIGNUP = ROOT / "examples/signup/workflows.py"
VERSION = version("wdk-cloud")
HERE = f"{sys.version_info.major}.{sys.version_info.minor}"


@contextmanager
def silently(_what, _total):
    yield lambda: None


def built(folder, python=HERE, name="image"):
    (folder / "workflows.py").write_bytes(SIGNUP.read_bytes())
    return context.build(Project(folder, "workflows:app"), python, folder / name, silently)


@pytest.fixture(scope="module")
def here(tmp_path_factory):
    """Built with a fixed time, as where all is committed: a copy's files have the time of the copy."""
    before = os.environ.get("SOURCE_DATE_EPOCH")
    os.environ["SOURCE_DATE_EPOCH"] = "1700000000"
    yield built(tmp_path_factory.mktemp("gcp"))
    os.environ.pop("SOURCE_DATE_EPOCH")
    if before is not None:
        os.environ["SOURCE_DATE_EPOCH"] = before


def files_of(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_same_input_gives_the_same_folder(here, tmp_path):
    again = built(tmp_path)
    assert (again.sha256, again.code_version) == (here.sha256, here.code_version)
    assert files_of(again.folder) == files_of(here.folder)
    assert again.code_version.startswith("1700000000.")
    twice = built(tmp_path)  # in the place of the one before
    assert twice.sha256 == again.sha256 and sorted(path.name for path in tmp_path.iterdir()) == [
        "image",
        "workflows.py",
    ]


def test_the_folder_has_what_the_dockerfile_copies_and_nothing_else(here):
    files = files_of(here.folder)
    assert sorted(files) == [
        "Dockerfile",
        "app/wdk_build.json",
        "app/workflows.py",
        "requirements.txt",
        f"wheels/wdk_cloud-{VERSION}-py3-none-any.whl",
        f"wheels/wdk_cloud_gcp-{VERSION}-py3-none-any.whl",
    ]
    assert here.files == len(files) and here.size == sum(map(len, files.values()))
    text = files["Dockerfile"].decode()
    copied = set(re.findall(r"^COPY (\S+) ", text, re.M))
    assert copied == {name.partition("/")[0] for name in files} - {"Dockerfile"}
    assert text == dockerfile.FILE.read_text().replace("ARG PYTHON=3.13", f"ARG PYTHON={HERE}")
    said = json.loads(files["app/wdk_build.json"])
    assert (said["app"], said["python"], said["code_version"]) == ("workflows:app", HERE, here.code_version)


def test_every_package_is_pinned_with_hashes_and_no_line_names_a_host(here):
    text = (here.folder / "requirements.txt").read_text()
    packages = re.findall(r"^([a-z0-9._-]+)==\S+ \\?$", text, re.M)
    assert len(packages) == here.packages == text.count("==")
    assert {"google-cloud-firestore", "google-cloud-tasks", "google-cloud-storage", "msgspec", "uvicorn"} <= set(
        packages
    )
    assert not {"wdk-cloud", "wdk-cloud-gcp", "pytest"} & set(packages)
    assert all(
        f"\n{name}==" in f"\n{text}" and "--hash=sha256:" in text.partition(f"{name}==")[2][:120] for name in packages
    )
    assert "://" not in text and "--index" not in text


def test_our_wheels_have_what_lies_here_and_what_pip_asks_of_them(here):
    (path,) = here.folder.glob("wheels/wdk_cloud_gcp-*.whl")
    with zipfile.ZipFile(path) as wheel:
        assert wheel.testzip() is None
        names = set(wheel.namelist())
        record = wheel.read(f"wdk_cloud_gcp-{VERSION}.dist-info/RECORD").decode()
        points = wheel.read(f"wdk_cloud_gcp-{VERSION}.dist-info/entry_points.txt").decode()
    assert {"wdk_gcp/handler.py", "wdk_gcp/py.typed", f"wdk_cloud_gcp-{VERSION}.dist-info/METADATA"} <= names
    assert {line.partition(",")[0] for line in record.splitlines()} == names
    assert "gcp = wdk_gcp.world:open_world" in points
    assert not [name for name in names if "__pycache__" in name or "terraform" in name]


# --- the start command ------------------------------------------------------------------------------------------------


def test_the_start_command_serves_the_handler_with_the_seed_that_bodies_rely_on():
    words = dockerfile.start_command()
    assert words[:2] == ["sh", "-c"]
    asked = words[2].split()
    assert asked[:5] == ["exec", "python", "-m", "uvicorn", "wdk_gcp.handler:app"] and callable(handler.app)
    assert "--no-access-log" in asked, "paths hold tokens"
    assert float(asked[asked.index("--timeout-graceful-shutdown") + 1]) < 10, "what Cloud Run gives"
    assert dockerfile.environment()["PYTHONHASHSEED"] == "0"
    text = dockerfile.FILE.read_text()
    assert text.index("\nUSER wdk\n") < text.index("\nCMD ")
    for wrong in ("", 'CMD ["a"]\nCMD ["b"]\n'):
        with pytest.raises(WorldConfigurationError, match="lines CMD"):
            dockerfile.start_command(wrong)


@pytest.mark.timeout(120)
def test_the_container_serves_what_it_was_built_of_and_ends_when_it_is_told(here, tmp_path):
    """Everything but the base image: the packages with their hashes, our wheels, the app, the start command."""
    site, app = tmp_path / "site", tmp_path / "app"
    uv = [str(Path(sys.executable).with_name("uv")), "pip", "install", "--quiet", "--python", sys.executable]
    pinned = ["--require-hashes", "--only-binary", ":all:", "--requirement", str(here.folder / "requirements.txt")]
    subprocess.run([*uv, "--no-deps", "--target", str(site), *pinned], check=True)
    for wheel in here.folder.glob("wheels/*.whl"):
        with zipfile.ZipFile(wheel) as opened:
            opened.extractall(site)
    shutil.copytree(here.folder / "app", app)
    interpreter = tmp_path / "bin/python"
    interpreter.parent.mkdir()
    interpreter.write_text(f'#!/bin/sh\nexec {Path(sys.base_prefix, "bin/python3")} -S -s "$@"\n')
    interpreter.chmod(0o755)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    env = {
        **dockerfile.environment(),
        "PATH": f"{interpreter.parent}:{os.environ['PATH']}",
        "PORT": str(port),
        "PYTHONPATH": f"{site}:{app}",
        "WDK_GCP_PROJECT": "wdk-testing",
        "WDK_GCP_INVOKER": "queues@wdk-testing.iam.gserviceaccount.com",
    }
    words = [word.replace("0.0.0.0", "127.0.0.1") for word in dockerfile.start_command()]
    log = tmp_path / "log"
    with log.open("wb") as output:
        server = subprocess.Popen(words, cwd=app, env=env, stdout=output, stderr=subprocess.STDOUT)
    try:
        route = f"http://127.0.0.1:{port}/.well-known/workflow/v1"
        assert status_of(server, f"{route}/sweep") == 401, "nobody without a token of the invoker"
        server.send_signal(signal.SIGTERM)
        server.wait(15)  # the shell is gone: the signal comes to the server
    finally:
        server.kill()
        server.wait()
    said = log.read_text()
    assert "Application shutdown complete" in said and "Traceback" not in said, said
    assert "/sweep HTTP" not in said


def status_of(server, url):
    """Of a POST, as soon as there is an answer."""
    direct = build_opener(ProxyHandler({}))
    end = time.monotonic() + 60
    while time.monotonic() < end and server.poll() is None:
        try:
            return direct.open(Request(url, b"{}", method="POST"), timeout=30).status
        except HTTPError as error:
            return error.code
        except (URLError, OSError):
            time.sleep(0.05)  # it has no way to tell that it listens
    return None


@pytest.mark.timeout(240)
def test_checkov_finds_nothing_in_the_dockerfile_that_is_not_justified():
    said = run("checkov/bin/checkov", "--framework", "dockerfile", "--compact", "-f", ROOT / "infra/gcp/Dockerfile")
    passed, failed, left_out = map(int, re.findall(r"(?:Passed|Failed|Skipped) checks: (\d+)", said))
    assert (failed, left_out) == (0, 1) and passed > 10


# --- schedules --------------------------------------------------------------------------------------------------------


def fired(expression, zone, begin, end):
    """When Cloud Scheduler calls, by https://cloud.google.com/scheduler/docs/configuring/cron-job-schedules: as cron,
    and never at a time that does not exist."""
    from datetime import datetime

    minutes, hours, days, months, of_week = expression.split()
    either = days != "*" and of_week != "*"
    minutes, hours, months = values(minutes, 0, 59), values(hours, 0, 23), values(months, 1, 12)
    days, of_week = values(days, 1, 31), values(of_week, 0, 6)
    for moment in range(begin, end, 60):
        at = datetime.fromtimestamp(moment, zone)
        named = at.day in days, at.isoweekday() % 7 in of_week
        day = any(named) if either else all(named)
        if at.minute in minutes and at.hour in hours and at.month in months and day:
            yield moment


@pytest.mark.parametrize("text", SCHEDULES)
def test_each_tick_has_its_job(text):
    from datetime import UTC, datetime
    from zoneinfo import ZoneInfo

    timezone, _ = SCHEDULES[text]
    schedule = parse_schedule(text, timezone)
    for day in ("2026-03-27", "2026-10-24"):
        begin = int(datetime.fromisoformat(day).replace(tzinfo=UTC).timestamp())
        end = begin + 4 * DAY
        moments = {m for one in expressions(schedule) for m in fired(one, ZoneInfo(timezone), begin, end)}
        known = set(ticks(schedule, begin, end))
        assert known <= moments


def test_names_of_jobs_are_readable_and_differ():
    entries = [Entry(name, "0 * * * *", "UTC") for name in ("workflow//a//Pay it", "workflow//b//Pay it", "x" * 300)]
    names = list(map(name_of, entries))
    assert len(set(names)) == 3 and names[0].startswith("tick-pay-it-")
    assert all(re.fullmatch(r"[A-Za-z0-9_-]{1,80}", name) for name in names)


# --- what is wrong is said before anything is replaced ----------------------------------------------------------------


def project(tmp_path, source, requirements=""):
    (tmp_path / "shop.py").write_text(source)
    (tmp_path / "requirements.txt").write_text(requirements)
    return Project(tmp_path, "shop:app")


def test_an_import_that_is_in_no_requirement_is_named_and_the_folder_stays(tmp_path, here):
    folder = tmp_path / "image"
    shutil.copytree(here.folder, folder)
    wrong = project(
        tmp_path, "import msgspec, moto\ntry:\n    import ruff\nexcept ImportError: ...\ndef f():\n    import flask\n"
    )
    with pytest.raises(WorldConfigurationError) as raised:
        context.build(wrong, HERE, folder, silently)
    assert str(raised.value).splitlines()[1:3] == [
        "shop.py:1 imports moto, which no requirement brings",
        "shop.py:6 imports flask, which no requirement brings",
    ]
    assert files_of(folder) == files_of(here.folder)


def test_a_module_of_the_app_that_is_not_packed_is_named(tmp_path):
    (tmp_path / "store/tests").mkdir(parents=True)
    for name, text in {
        "__init__.py": "import store.tests.tools\nfrom . import rows",
        "rows.py": "",
        "tests/tools.py": "",
    }.items():
        (tmp_path / "store" / name).write_text(text)
    with pytest.raises(WorldConfigurationError) as raised:
        context.check_imports(Project(tmp_path, "store:app"), set())
    assert str(raised.value).splitlines()[1:-1] == ["store/__init__.py:1 imports store.tests.tools, which is not there"]


def test_wheels_of_a_folder_here_are_refused_as_the_image_has_no_such_folder(tmp_path):
    wheels = project(tmp_path, "", f"--find-links {tmp_path}\nidna\n")
    with pytest.raises(WorldConfigurationError, match=r"^'--find-links \S+' names wheels of this machine"):
        context.build(wheels, HERE, tmp_path / "image", silently)
    assert not (tmp_path / "image").exists()


def test_a_package_is_known_by_its_version_or_its_url():
    text = "idna==3.10 \\\n    --hash=sha256:00\nsix @ https://example.com/six.whl \\\n    --hash=sha256:01\n"
    assert context.PINNED.findall(text) == ["idna", "six"]


def test_a_folder_of_somebody_else_is_not_replaced(tmp_path):
    folder = tmp_path / "image"
    folder.mkdir()
    (folder / "thesis.txt").write_text("mine")
    with pytest.raises(WorldConfigurationError, match="is not a folder that a build has made"):
        context.build(project(tmp_path, ""), HERE, folder, silently)
    assert (folder / "thesis.txt").read_text() == "mine"


def test_two_that_build_at_once_get_in_no_way_of_each_other(tmp_path):
    folder, files = tmp_path / "build/image", {"app/a.py": b"a", "app/b.py": b"b"}

    def another():
        context._write(folder, {"app/c.py": b"c"}, lambda: None)

    assert context._write(folder, files, another) == context._digest(files)
    assert files_of(folder) == files and [each.name for each in folder.parent.iterdir()] == ["image"]
    blocked = tmp_path / "file"
    blocked.write_text("")  # nobody can put a folder there
    with pytest.raises(WorldUnavailableError, match=r"file cannot be replaced \(Not a directory\)"):
        context._write(blocked, files, lambda: None)
    assert sorted(each.name for each in tmp_path.iterdir()) == ["build", "file"]


def test_a_requirement_without_a_wheel_is_said_in_the_tools_words():
    with pytest.raises(WorldUnavailableError, match=r"no wheels of all requirements for Python 3\.1\d(?s:.*)msgspec"):
        pinning.pinned(["msgspec==0.0.1"], HERE)


def test_without_uv_pip_pins_the_same_versions(monkeypatch, tmp_path):
    lines = ["msgspec", "certifi"]
    with_uv = pinning.pinned(lines, HERE)
    monkeypatch.setattr(shutil, "which", lambda _: None)
    link = tmp_path / "python"
    link.symlink_to(sys.executable)
    monkeypatch.setattr(sys, "executable", str(Path(os.path.realpath(tmp_path)) / "python"))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
    with_pip = pinning.pinned(lines, HERE)
    versions = r"^(\S+==\S+)"
    assert re.findall(versions, with_pip, re.M) == re.findall(versions, with_uv, re.M)
    for digest in re.findall(r"--hash=(\S+)", with_pip):
        assert digest in with_uv


SCHEDULED = """
from wdk_cloud import Workflows

app = Workflows(namespace="shop")

@app.workflow(schedule="every 1 hour", name="hourly")
async def hourly() -> None: ...
"""


def test_the_command_says_what_it_made_and_what_is_wrong(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delenv("WDK_APP", raising=False)
    name = "scheduled_for_the_image"  # no other test has imported it
    (tmp_path / f"{name}.py").write_text(SCHEDULED)
    assert "Example: wdk build gcp --app signup:app" in wdk("build", "gcp", "--help").stdout
    assert "which app? Set WDK_APP=module:app" in complaint("build", "gcp", code=2)
    assert "there is no module 'absent'" in complaint("build", "gcp", "--app", "absent:app", code=2)
    made = json.loads(wdk("build", "gcp", "--app", f"{name}:app", "--python", HERE, "--json").stdout)
    assert (made["image"], made["python"]) == ("build/gcp/image", HERE)
    (entry,) = made["schedules"]
    assert (entry["workflow"], entry["schedule"], entry["time_zone"]) == ("hourly", "0 * * * *", "UTC")
    assert json.loads(Path("build/gcp/schedules.auto.tfvars.json").read_text()) == {"schedules": [entry]}
    assert json.loads(Path("build/gcp/image/app/wdk_build.json").read_text())["namespaces"] == ["shop"]
    del sys.modules[name]
