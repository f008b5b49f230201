"""Says what is missing on this machine before anything is installed. Runs on any Python 3, so that it can say so."""

import sys
from importlib.util import find_spec

MISSING_VENV = """\
This Python cannot make virtual environments: its module `{module}` is missing.

  Debian, Ubuntu:  apt-get install python{version}-venv
  elsewhere:       the system package that brings Python's `venv` and `ensurepip`
  or:              make PYTHON=/path/to/another/python3

Looked at: {executable} ({version})
"""

WRONG_VERSION = """\
wdk-cloud needs Python 3.11 to 3.14; {executable} is {version}.

Name another one:  make PYTHON=python3.11
"""


def complaint():
    """What is wrong with this Python, or None."""
    version = "{}.{}".format(*sys.version_info[:2])
    if not (3, 11) <= sys.version_info[:2] < (3, 15):
        return WRONG_VERSION.format(executable=sys.executable, version=version)
    for module in ("venv", "ensurepip"):
        spec = find_spec(module)
        if spec is None or spec.origin is None:  # no module, or only the empty folder of one
            return MISSING_VENV.format(module=module, executable=sys.executable, version=version)
    return None


if __name__ == "__main__":
    sys.exit(complaint())
