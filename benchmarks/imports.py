"""What `import wdk_cloud` costs a process that does nothing else: CPU time, as a multiple of `import asyncio`; and what
the handlers on Lambda and on Cloud Run cost, as multiples of the two clients that every turn needs.

Fresh processes by turns: one that imports nothing, one for each of the imports. Of each kind the least counts,
since a disturbance only ever adds; the interpreter's own start is subtracted from both. All of them read bytecode from
a folder that the first process of each kind fills, whatever the environment says of writing it: compiling the sources,
which happens once after an installation, would be half of the cost.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from typing import TYPE_CHECKING

from benchmarks.figures import Figure, Json, Report
from benchmarks.fresh import ENVIRONMENT

if TYPE_CHECKING:
    from benchmarks.measuring import Folder
    from benchmarks.plan import Plan

MULTIPLE = 1.4

FORBIDDEN = ("msgspec", "sqlite3", "pydantic", "boto3", "grpc", "starlette")
"""What has to stay out of a process that only declares workflows or starts runs."""

MULTIPLE_ON_AWS = 1.15
MULTIPLE_ON_GCP = 1.2

_CLIENTS = "; ".join(f"boto3.client('{service}', region_name='eu-west-1')" for service in ("dynamodb", "sqs"))

_GOOGLE = (
    "from google.auth.credentials import AnonymousCredentials as C; from google.cloud.firestore import Client;"
    " from google.cloud.tasks_v2 import CloudTasksClient; Client('p', C()); CloudTasksClient(credentials=C())"
)

STATEMENTS = {
    "nothing": "pass",
    "asyncio": "import asyncio",
    "wdk_cloud": "import wdk_cloud",
    "boto3": f"import boto3; {_CLIENTS}",
    "handler": "import wdk_aws.handler",
    "ready": f"import wdk_aws.handler, wdk_aws.world, wdk_aws.batches, boto3; {_CLIENTS}",
    "google": _GOOGLE,
    "service": "import wdk_gcp.handler",
    "serving": f"import wdk_gcp.handler, wdk_gcp.routes, wdk_gcp.serving, wdk_gcp.telemetry, wdk_gcp.world; {_GOOGLE}",
}
"""`ready` is what a function has loaded when its first message comes, `serving` what a service has."""


def run(plan: Plan, folder: Folder) -> Report:
    del folder  # no database
    with tempfile.TemporaryDirectory(prefix="wdk-bench-") as bytecode:
        least = _least(plan.imports, {**ENVIRONMENT, "PYTHONDONTWRITEBYTECODE": "", "PYTHONPYCACHEPREFIX": bytecode})
    asyncio_ms = (least["asyncio"] - least["nothing"]) * 1000
    ours_ms = (least["wdk_cloud"] - least["nothing"]) * 1000
    boto3_ms = (least["boto3"] - least["nothing"]) * 1000
    handler_ms, ready_ms = ((least[name] - least["nothing"]) * 1000 for name in ("handler", "ready"))
    google_ms, service_ms, serving_ms = (
        (least[name] - least["nothing"]) * 1000 for name in ("google", "service", "serving")
    )
    on_gcp = "import wdk_gcp.handler ÷ Google's two clients, CPU"
    on_aws = "import wdk_aws.handler ÷ boto3 with two clients, CPU"
    found = forbidden_modules()
    figures = [
        Figure("import wdk_cloud ÷ import asyncio, CPU", None, ours_ms / max(asyncio_ms, 0.001), "×", most=MULTIPLE),
        Figure("import wdk_cloud, CPU", None, ours_ms, "ms"),
        Figure(on_aws, "aws", handler_ms / boto3_ms, "×", most=MULTIPLE_ON_AWS),
        Figure(f"{on_aws}, with our clients", "aws", ready_ms / boto3_ms, "×"),
        Figure(on_gcp, "gcp", service_ms / google_ms, "×", most=MULTIPLE_ON_GCP),
        Figure(f"{on_gcp}, with our clients", "gcp", serving_ms / google_ms, "×", most=MULTIPLE_ON_GCP),
        Figure("forbidden modules after import wdk_cloud", None, len(found), "modules", most=0),
    ]
    details: Json = {
        "interpreter_start_ms": round(least["nothing"] * 1000, 3),
        "asyncio_ms": round(asyncio_ms, 3),
        "wdk_cloud_ms": round(ours_ms, 3),
        "boto3_ms": round(boto3_ms, 3),
        "handler_ms": round(handler_ms, 3),
        "handler_with_clients_ms": round(ready_ms, 3),
        "google_ms": round(google_ms, 3),
        "service_ms": round(service_ms, 3),
        "service_with_clients_ms": round(serving_ms, 3),
        "forbidden_modules": found,
        "processes": plan.imports,
    }
    return Report(figures, details)


def _least(processes: int, environment: dict[str, str]) -> dict[str, float]:
    for statement in STATEMENTS.values():
        _cpu(statement, environment)  # writes the bytecode
    least = dict.fromkeys(STATEMENTS, float("inf"))
    for _ in range(processes):
        for name, statement in STATEMENTS.items():
            least[name] = min(least[name], _cpu(statement, environment))
    return least


def _cpu(statement: str, environment: dict[str, str]) -> float:
    """CPU seconds of a process from its start to its end, user and system."""
    child = subprocess.Popen([sys.executable, "-c", statement], env=environment)
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise RuntimeError(f"{statement!r} ended with {child.returncode}")
    return usage.ru_utime + usage.ru_stime


def forbidden_modules() -> list[str]:
    """Those of FORBIDDEN that a fresh process has after `import wdk_cloud`."""
    code = f"import json, sys, wdk_cloud; print(json.dumps([m for m in {FORBIDDEN!r} if m in sys.modules]))"
    found = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, check=True, env=ENVIRONMENT)
    return json.loads(found.stdout)
