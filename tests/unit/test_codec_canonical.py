"""One encoding in every process, whatever the seed of its hashes is and wherever its objects lie."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from pathlib import Path

from tests.unit.codec_inputs import KNOWN, anything
from wdk_cloud.codec.errors import encode_error
from wdk_cloud.codec.values import encode_arguments

ROOT = Path(__file__).parents[2]
VALUES = 1_500

PRINTS_ALL = """
import sys
from tests.unit.test_codec_canonical import encodings
print(hash("a text"), *({"b", "a", "d", "c"}))
print(*encodings(), sep="\\n")
"""


def encodings() -> list[str]:
    """The bytes of many values, with their digests, each as a line; errors as they end an attempt, without traceback."""
    lines: list[str] = []
    for seed in range(VALUES):
        value = anything(random.Random(seed), 4)
        encoded, digest = encode_arguments({"value": value}, known=KNOWN)
        lines.append(f"{digest} {encoded!r}")
        if isinstance(value, BaseException):
            lines.append(repr(encode_error(value, known=KNOWN).partition(b',"traceback":')[0]))
    return lines


def in_a_new_process(hash_seed: str) -> list[str]:
    environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
    command = [sys.executable, "-c", PRINTS_ALL]
    done = subprocess.run(command, env=environment, cwd=ROOT, check=True, capture_output=True, timeout=50)
    return done.stdout.decode().splitlines()


def test_three_processes_with_different_hashes_encode_alike() -> None:
    outputs = [in_a_new_process(seed) for seed in ("0", "1", "4242")]
    assert len({output[0] for output in outputs}) == 3, "the processes hash differently"
    here = encodings()
    assert len(here) > VALUES
    assert sum("$set" in line or "$frozenset" in line for line in here) > VALUES / 20
    for output in outputs:
        assert output[1:] == here
