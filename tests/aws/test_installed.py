"""The handler from its wheels, as a function has it that is built by other means, under AWS's runtime client and ours."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tests.aws.functions import PATIENCE, Site, received, under_client, url_event
from tests.aws.installed import Installed
from tests.aws.runtime_api import RuntimeApi


@pytest.fixture
def installed(distributions: Path, tmp_path: Path) -> Installed:
    made = Installed(tmp_path / "installed")
    made.make(distributions)
    return made


def test_a_stream_is_live_on_a_function_url_with_our_runtime_client(
    installed: Installed, site: Site, tmp_path: Path
) -> None:
    for number in range(3):
        (installed.marks / f"go{number}").unlink(missing_ok=True)
    token = "0123456789abcdef"
    reading = RuntimeApi()
    wrapper = next((installed.folder / "venv").glob("lib/python*/site-packages/wdk_aws/streaming.sh"))
    assert os.access(wrapper, os.X_OK)
    command = [wrapper, installed.python, "/var/runtime/bootstrap.py"]
    variables = {
        **site.variables,
        "AWS_LAMBDA_RUNTIME_API": reading.address,
        "_HANDLER": "wdk_aws.handler.handler",
        "WDK_API_TOKEN": token,
    }
    with (
        under_client(installed, site, tmp_path / "log") as (api, _),
        reading.serving(),
        installed.running(command, variables, tmp_path / "log"),
    ):
        run_id = reading.invoke({"start": {"workflow": "counting"}}).document["run_id"]
        assert reading.idle.is_set()
        working = api.begin(received(site).event)
        stream = reading.begin(url_event(f"/.well-known/workflow/v1/api/runs/{run_id}/streams/default", token))
        prelude, _, text = stream.chunks.get(timeout=PATIENCE).partition(b"\0" * 8)
        assert json.loads(prelude)["statusCode"] == 200
        for number in range(3):
            while f"data: {number}\n".encode() not in text:
                assert not stream.answered.is_set()
                text += stream.chunks.get(timeout=PATIENCE)
            (installed.marks / f"go{number}").touch()
        assert working.wait().document == {"batchItemFailures": []}
        answer = stream.wait()
    assert (answer.streamed, answer.trailers) == (True, {})
    assert answer.http()[1].count(b"\nevent: end") + answer.http()[1].startswith(b"event: end") == 1
