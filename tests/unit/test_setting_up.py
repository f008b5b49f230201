"""What make says on a machine that lacks something, and what continuous integration calls."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
VERSION = "{}.{}".format(*sys.version_info[:2])

# As Debian ships Python without python3-venv: the module `venv` is there, `ensurepip` is not.
WITHOUT_ENSUREPIP = """
from importlib.machinery import PathFinder

find = PathFinder.find_spec

@classmethod
def find_spec(cls, name, path=None, target=None):
    return None if name.partition(".")[0] == "ensurepip" else find(name, path, target)

PathFinder.find_spec = find_spec
"""


def program(path, text):
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


@pytest.fixture
def poor_python(tmp_path):
    (tmp_path / "sitecustomize.py").write_text(WITHOUT_ENSUREPIP)
    return program(tmp_path / "python3", f'PYTHONPATH="{tmp_path}" exec "{sys.executable}" "$@"')


@pytest.mark.parametrize(("target", "variable"), [("demo", "DEMO_VENV"), ("lint", "VENV")])
def test_make_names_the_system_package_that_is_missing_and_makes_nothing(target, variable, poor_python, tmp_path):
    command = ["make", target, f"PYTHON={poor_python}", f"{variable}={tmp_path / 'environment'}"]
    plain = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    done = subprocess.run(command, cwd=ROOT, env=plain, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 2
    assert "This Python cannot make virtual environments: its module `ensurepip` is missing." in done.stderr
    assert f"  Debian, Ubuntu:  apt-get install python{VERSION}-venv\n" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "environment").exists()


def test_a_python_that_has_all_is_found_good():
    done = subprocess.run([sys.executable, "requirements/check_python.py"], cwd=ROOT, capture_output=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


def test_a_python_that_is_too_old_is_told_so():
    old = "import sys; sys.version_info = (3, 10, 1); sys.path.insert(0, 'requirements'); import check_python"
    code = f"{old}; print(check_python.complaint())"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.startswith(f"wdk-cloud needs Python 3.11 to 3.14; {sys.executable} is 3.10.\n")


def test_continuous_integration_runs_make_test_at_the_root(tmp_path):
    program(tmp_path / "make", 'pwd; echo "$@"')
    path = os.pathsep.join([str(tmp_path), os.environ["PATH"]])
    done = subprocess.run(
        [ROOT / ".ci" / "run"],
        cwd=tmp_path,
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == f"{ROOT}\ntest\n"
