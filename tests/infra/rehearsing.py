"""What the rehearsal's tests share: the build, the stand-in with its stacks, and waiting for what is seen from outside."""

import json
import os
import shutil
import subprocess
import sys
import time
import zipfile
from pathlib import Path

from tests.components import COMPONENTS
from wdk_aws.testing.deployment import here

ROOT = Path(__file__).parents[2]
APPS = (Path(__file__).with_name("rehearsed") / "rehearsed.py", ROOT / "examples/signup/workflows.py")
WDK = Path(sys.executable).with_name("wdk")
ENVIRONMENT = COMPONENTS / "ministack"

PATIENCE = 60.0
"""Seconds: a process of a function begins in one, and in fifteen where others want the machine, too."""

LOOK_EVERY = 0.1

LEASE = 5.0
"""Seconds: a death costs a run two of them."""

VARIABLES = {"WDK_LEASE": f"{LEASE:g} s", "SIGNUP_SEED": "1"}

ENDED = {"completed", "failed", "cancelled"}

SECOND = """
@app.workflow(name="novelty")
async def novelty(ledger: str) -> str:
    return await version(ledger)
"""


def environ():
    """Of a `wdk` command. The installer's own settings stay: where there is a mirror, it is there."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "WDK_"))}
    return {**inherited, "WDK_MINISTACK": str(ENVIRONMENT)}


def typed(*words, folder, code=0):
    """What a `wdk` command says, as a process of its own: the app is not imported into this one."""
    done = subprocess.run(
        [str(WDK), *map(str, words)], cwd=folder, env=environ(), capture_output=True, text=True, timeout=120
    )
    assert done.returncode == code, done.stderr
    return done


def build(folder):
    """The folder of what `wdk build aws` made for this machine."""
    project = folder / "project"
    project.mkdir()
    for path in APPS:
        shutil.copy(path, project)
    target = here()
    app = ("--app", "rehearsed:app,workflows:app")
    typed("build", "aws", *app, "--architecture", target.architecture, "--output", folder / "first", folder=project)
    return folder / "first"


def changed(first, second):
    """The same build with a later version of the code: another VERSION, and one workflow more."""
    shutil.copytree(first, second)
    with zipfile.ZipFile(first / "function.zip") as old, zipfile.ZipFile(second / "function.zip", "w") as new:
        for item in old.infolist():
            data = old.read(item)
            if item.filename == "rehearsed.py":
                data = data.replace(b'VERSION = "first"', b'VERSION = "second"') + SECOND.encode()
            if item.filename == "wdk_build.json":
                said = json.loads(data)
                data = json.dumps({**said, "code_version": f"{int(time.time()) + 3600}.second"}).encode()
            new.writestr(item, data)
    return second


def until(look, within=PATIENCE):
    """What `look` gives, once it is something."""
    end = time.monotonic() + within
    while not (found := look()):
        assert time.monotonic() < end, f"nothing after {within:g} s"
        time.sleep(LOOK_EVERY)
    return found


class Ledger:
    """The effects of a run."""

    def __init__(self, folder):
        self.path = folder / "ledger"

    def lines(self):
        return self.path.read_text().splitlines() if self.path.exists() else []

    def wait_for(self, count):
        return until(lambda: lines if len(lines := self.lines()) >= count else None)


def start(deployed, workflow, *args, **more):
    answer = deployed.api.post("start", json={"workflow": workflow, "args": [str(arg) for arg in args], **more})
    assert answer.status_code == 201, answer.text
    return answer.json()["run_id"]


def asked(deployed, method, url, **more):
    """The answer to a request that may be made twice. A deployment ends the stand-in's workers in the middle of their
    work, those that answer a request too, which AWS does not: the caller of such a one gets 502, and asks again."""
    return until(lambda: one if (one := deployed.api.request(method, url, **more)).status_code != 502 else None)


def info(deployed, run_id):
    answer = asked(deployed, "GET", f"runs/{run_id}")
    assert answer.status_code == 200, answer.text
    return answer.json()


def result(deployed, run_id, within=PATIENCE):
    """Of a run that completes."""
    found = until(lambda: one if (one := info(deployed, run_id))["status"] in ENDED else None, within)
    assert found["status"] == "completed", found
    return found["result"]
