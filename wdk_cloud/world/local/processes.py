"""Which process is that, and is it gone? Judged only where the answer is certain; everything else is left to
time-outs."""

from __future__ import annotations

import hashlib
import os
import socket
import sys
from typing import NamedTuple

INITIAL_PID_NAMESPACE = "4026531836"  # PROC_PID_INIT_INO in the kernel's proc_ns.h: the machine itself, no container


class Process(NamedTuple):
    """One process. As text it lies beside a lease, a claim and a message that is being worked on."""

    machine: str
    boot: str
    pid_namespace: str
    pid: int
    started: str
    """In the kernel's ticks since the boot, so that a pid that is used again is somebody else."""

    def __str__(self) -> str:
        return "/".join(map(str, self))

    @classmethod
    def from_text(cls, text: str) -> Process | None:
        parts = text.split("/")
        if len(parts) != len(cls._fields) or not parts[3].isdecimal():
            return None
        return cls(parts[0], parts[1], parts[2], int(parts[3]), parts[4])


def this_process() -> Process:
    pid = os.getpid()
    if sys.platform.startswith("linux"):
        boot = _text("/proc/sys/kernel/random/boot_id")
        stat = _stat(pid)
        if boot and stat is not None:
            return Process(_short(_text("/etc/machine-id")), _short(boot), _pid_namespace(), pid, stat.started)
    return Process(_short(socket.gethostname()), "", "", pid, "")


def is_gone(text: str, us: Process) -> bool:
    """Whether the process of this text certainly does not run any more."""
    them = Process.from_text(text)
    if them is None or bool(them.boot) != bool(us.boot):
        return False
    if not us.boot:
        return them.machine == us.machine and _is_unknown(them.pid)
    if them.boot != us.boot:
        # The same machine after a restart. In a container the machine's id may be that of the image, and a folder
        # shared between virtual machines has living users of other boots: only the machine's own processes are judged.
        ours = bool(us.machine) and them.machine == us.machine
        return ours and them.pid_namespace == us.pid_namespace == INITIAL_PID_NAMESPACE
    if not us.pid_namespace or them.pid_namespace != us.pid_namespace:
        return False
    stat = _stat(them.pid)
    if stat is None:
        return _is_unknown(them.pid)  # /proc may hide the processes of other users (hidepid)
    return stat.dead or stat.started != them.started


class _Stat(NamedTuple):
    dead: bool
    started: str


def _stat(pid: int) -> _Stat | None:
    """What /proc says about a process; None: there is none."""
    line = _text(f"/proc/{pid}/stat")
    if not line:
        return None
    # The name, in brackets, may hold anything; what follows its last bracket begins with field 3. proc(5).
    fields = line[line.rindex(")") + 2 :].split()
    return _Stat(dead=fields[0] in "ZXx", started=fields[19])


def _is_unknown(pid: int) -> bool:
    """Whether the system has no process of this pid. One that is used again means that the time-out decides."""
    if sys.platform == "win32":
        return False  # there, signal 0 ends the process
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return False


def _pid_namespace() -> str:
    try:
        return str(os.stat("/proc/self/ns/pid").st_ino)
    except OSError:
        return ""


def _text(path: str) -> str:
    """A small file of the kernel's; empty if there is none, or none that we may see."""
    try:
        file = os.open(path, os.O_RDONLY)  # a third of what Path.read_text costs; idle workers do it each second
    except (FileNotFoundError, PermissionError):
        return ""
    try:
        return os.read(file, 4096).decode("utf-8", "replace").strip()
    except ProcessLookupError:  # it went away in between
        return ""
    finally:
        os.close(file)


def _short(text: str) -> str:
    return hashlib.blake2b(text.encode(), digest_size=6).hexdigest() if text else ""
