"""What a process loads before it needs it: a cold start pays for each of these modules."""

from __future__ import annotations

import subprocess
import sys

import pytest

LATER = ("google.cloud.storage", "google.cloud.kms", "google.cloud.kms_v1", "google.cloud.firestore_admin_v1")
"""Loaded at the first object, and at the first data key."""


def loaded(statement: str, among: tuple[str, ...]) -> list[str]:
    code = f"import sys; {statement}; print(' '.join(name for name in {among!r} if name in sys.modules))"
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()


@pytest.mark.parametrize("statement", ["import wdk_cloud", "import wdk_gcp.handler"])
def test_what_only_declares_and_what_a_server_imports_first_load_nothing_of_googles(statement: str) -> None:
    assert loaded(statement, ("grpc", "google.api_core", "google.cloud.firestore", "google.cloud.tasks_v2")) == []


def test_a_service_that_is_ready_has_loaded_no_client_of_objects_or_keys_and_no_other_world() -> None:
    parts = "wdk_gcp.handler, wdk_gcp.world, wdk_gcp.serving, wdk_gcp.routes, wdk_gcp.telemetry"
    others = ("wdk_cloud.world.memory", "wdk_cloud.world.local", "wdk_cloud.cli", "wdk_gcp.testing", "grpc")
    assert loaded(f"import {parts}", (*LATER, *others)) == ["grpc"]
