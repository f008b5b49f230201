"""The guard: what a body may not do, and the values of its own that it gets instead.

A body runs again from its log after every pause, so whatever it learns from the machine must be the same each time:
clocks and randomness are answered per run (`names` puts the answers in place), and opening files, sockets, databases,
subprocesses and threads, and changing folders, is refused by an audit hook. It is a seat belt and no jail: what was
opened before, the environment, `os.stat` and C extensions are not seen.
"""

from __future__ import annotations

import ctypes
import datetime
import functools
import gc
import hmac
import inspect
import logging
import operator
import os
import signal
import sys
import threading
from random import Random  # noqa: TID251 - one per run, seeded from the run
from threading import get_ident
from typing import TYPE_CHECKING, Any, NoReturn

from wdk_cloud.errors import WorkflowSandboxError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import CodeType, FrameType

    from wdk_cloud.engine.loop import BodyLoop

Bytes = bytes  # the class below has a method of that name

logger = logging.getLogger("wdk_cloud.engine")

active: dict[int, BodyLoop] = {}
"""Which thread is inside a slice of which loop. Everything that is guarded asks here first."""

boundaries: set[CodeType] = set()
"""Code that runs a body's callbacks: a walk up the stack ends there."""


class BodyGuard:
    """The values that belong to one run, all made from its seed, and the first thing its body was refused."""

    __slots__ = ("_blocks", "_pool", "_random", "_seed", "module_globals", "violation")

    def __init__(self, seed: Bytes) -> None:
        self._seed = seed
        self._random: Random | None = None
        self._pool = b""
        self._blocks = 0
        self.violation: WorkflowSandboxError | None = None
        self.module_globals: dict[str, object] | None = None

    @property
    def random(self) -> Random:
        """What `random.*` draws from inside the body."""
        if self._random is None:
            key = hmac.digest(self._seed, b"random", "sha256")
            self._random = Random(int.from_bytes(key, "big"))  # noqa: S311 - a body's `random`; secrets use bytes()
        return self._random

    def bytes(self, n: int) -> Bytes:
        """The next `n` bytes of the run's stream: tokens, `os.urandom`, `uuid` and `secrets` inside the body."""
        if n < 0:
            raise ValueError("negative argument not allowed")
        while len(self._pool) < n:
            block = b"bytes" + self._blocks.to_bytes(8, "big")
            self._pool += hmac.digest(self._seed, block, "sha256")
            self._blocks += 1
        taken, self._pool = self._pool[:n], self._pool[n:]
        return taken


def refuse(loop: BodyLoop, what: str, instead: str) -> NoReturn:
    """Raise, and remember: the run fails even when the body catches the error."""
    error = WorkflowSandboxError(
        f"the body of run {loop.run_id} tried to {what}. A body runs again from its log after every pause, so it may "
        f"not do that. {instead}"
    )
    if loop.guard.violation is None:
        loop.guard.violation = error
    raise error


# --- datetime, and generators: a descriptor in the type's own dict ----------------------------------------------------


class _Clock(functools.partial[object]):
    """Stands where `datetime.now` stood; hands out the genuine builtin, except to a thread inside a slice.

    Never a function or a classmethod of ours for everybody: time-machine writes through the builtin's method table
    and would take the interpreter down. Never a subclass in place of `datetime`: pydantic and msgspec refuse it.

    While no slice is open the look-up runs no Python code: the interpreter asks `__get__`, which calls this partial,
    which is the genuine descriptor's own `__get__`.
    """

    __slots__ = ()
    __get__: Any = operator.call


def _by_slice(genuine: Any, inside: Callable[..., object]) -> Callable[..., object]:
    """The `__get__` of a clock while any slice of the process is open."""

    def get(instance: object, owner: type | None = None) -> object:
        loop = active.get(get_ident())
        if loop is None:
            return genuine.__get__(instance, owner)
        return functools.partial(inside, loop, owner or type(instance))

    return get


clocks: list[tuple[Callable[[object], None], object, object]] = []
"""Of each clock: what sets its state, its state while a slice is open, and its state while none is."""


def _now(loop: BodyLoop, cls: type[datetime.datetime], tz: datetime.tzinfo | None = None) -> datetime.datetime:
    if tz is None:  # naive is UTC: a laptop and a Lambda must agree
        return cls.fromtimestamp(loop.now, datetime.UTC).replace(tzinfo=None)
    return cls.fromtimestamp(loop.now, tz)


def _utcnow(loop: BodyLoop, cls: type[datetime.datetime]) -> datetime.datetime:
    return _now(loop, cls)


def _today(loop: BodyLoop, cls: type[datetime.date]) -> datetime.date:
    if issubclass(cls, datetime.datetime):
        return _now(loop, cls)
    return cls.fromordinal(_now(loop, datetime.datetime).toordinal())


def _put_clock(cls: type, name: str, inside: Callable[..., object]) -> None:
    # CPython internals: the only thing that a type's mappingproxy refers to is the dict that it hides. A change made
    # there by hand must be announced, or cached look-ups go on finding the old entry.
    (namespace,) = gc.get_referents(cls.__dict__)
    if not isinstance(namespace.get(name), _Clock):
        genuine = namespace[name]
        namespace[name] = _stand_in(genuine, _by_slice(genuine, inside))
        ctypes.pythonapi.PyType_Modified(ctypes.py_object(cls))
    if not isinstance(cls.__dict__[name], _Clock):
        raise TypeError(f"{cls.__name__}.{name} did not change")


def _stand_in(genuine: Any, by_slice: Callable[..., object]) -> _Clock:
    clock = _Clock(genuine.__get__)
    put: Callable[[object], None] = vars(functools.partial)["__setstate__"].__get__(clock)
    states: list[object] = [(get, (), {}, None) for get in (by_slice, genuine.__get__)]
    clocks.append((put, states[0], states[1]))
    return clock


def guard_freezegun(api: Any) -> None:
    """While freezegun freezes the host, `datetime` is a class of its own, whose clocks are guarded like the genuine."""
    clocks_of_it: tuple[tuple[Any, str, Callable[..., object]], ...] = (
        (api.FakeDatetime, "now", _now),
        (api.FakeDatetime, "utcnow", _utcnow),
        (api.FakeDatetime, "today", _today),
        (api.FakeDate, "today", _today),
    )
    for cls, method, inside in clocks_of_it:
        genuine: Any = cls.__dict__[method]
        setattr(cls, method, _stand_in(genuine, _by_slice(genuine, inside)))


def _guard_seed() -> None:
    """A generator that a body makes without a seed takes its seed from the run, not from the operating system."""
    genuine: Any = vars(Random)["seed"]

    def get(generator: object, owner: type | None = None) -> object:
        loop = active.get(get_ident())
        bound = genuine.__get__(generator, owner)
        return bound if loop is None or generator is None else functools.partial(_seed, loop, bound)

    if not isinstance(genuine, _Clock):
        setattr(Random, "seed", _stand_in(genuine, get))  # noqa: B010 - not the type that is declared there


def _seed(loop: BodyLoop, bound: Callable[..., None], a: Any = None, version: int = 2) -> None:
    bound(int.from_bytes(loop.guard.bytes(32), "big") if a is None else a, version)


def _genuine(cls: type) -> type:
    """The class of the standard library: this module may be loaded while freezegun has put one of its own there."""
    return next(base for base in cls.__mro__ if base.__module__ == "datetime")


def _guard_datetime() -> None:
    try:
        _put_clock(_genuine(datetime.datetime), "now", _now)
        _put_clock(_genuine(datetime.datetime), "utcnow", _utcnow)
        _put_clock(_genuine(datetime.date), "today", _today)
    except Exception:
        logger.warning(
            "datetime.now() cannot be guarded on this interpreter: in a workflow body use wdk_cloud.now() instead, "
            "or the body sees another time at every replay",
            exc_info=True,
        )


# --- the audit hook ---------------------------------------------------------------------------------------------------

_FILE = "Read or write files in a step, and pass on what the body needs as its result."
_FOLDER = "Do it in a step: at the next replay it would be done again."
_SOCKET = "Talk to the network in a step, or use wdk_cloud.fetch()."
_DATABASE = "Use a database in a step."
_PROCESS = "Run other programs in a step."
_THREAD = "Make it a step: a plain `def` step runs in a thread of its own, and asyncio.gather runs several at once."

_OPENING: dict[str, tuple[str, str]] = {
    "open": ("open the file {0!r}", _FILE),
    "os.remove": ("remove the file {0!r}", _FOLDER),  # unlink too
    "os.rename": ("rename {0!r} to {1!r}", _FOLDER),  # replace and most of shutil.move too
    "os.mkdir": ("make the folder {0!r}", _FOLDER),
    "os.rmdir": ("remove the folder {0!r}", _FOLDER),
    "os.link": ("link {1!r} to {0!r}", _FOLDER),
    "os.symlink": ("link {1!r} to {0!r}", _FOLDER),
    "os.truncate": ("truncate the file {0!r}", _FOLDER),
    "os.chmod": ("change the mode of {0!r}", _FOLDER),
    "os.chown": ("change the owner of {0!r}", _FOLDER),
    "os.utime": ("change the times of {0!r}", _FOLDER),
    "socket.__new__": ("open a socket", _SOCKET),
    "socket.connect": ("connect a socket to {1!r}", _SOCKET),
    "socket.bind": ("bind a socket to {1!r}", _SOCKET),
    "socket.getaddrinfo": ("look up the host {0!r}", _SOCKET),
    "socket.gethostbyname": ("look up the host {0!r}", _SOCKET),
    "socket.gethostbyaddr": ("look up the host {0!r}", _SOCKET),
    "socket.getnameinfo": ("look up the host {0!r}", _SOCKET),
    "sqlite3.connect": ("open the database {0!r}", _DATABASE),
    "subprocess.Popen": ("run the program {0!r}", _PROCESS),
    "os.system": ("run the command {0!r}", _PROCESS),
    "os.exec": ("run the program {0!r}", _PROCESS),
    "os.posix_spawn": ("run the program {0!r}", _PROCESS),
    "os.spawn": ("run the program {1!r}", _PROCESS),
    "os.startfile": ("open {0!r}", _PROCESS),
    "os.fork": ("fork the process", _PROCESS),
    "os.forkpty": ("fork the process", _PROCESS),
    "pty.spawn": ("run the program {0!r}", _PROCESS),
    "_thread.start_new_thread": ("start a thread", _THREAD),
    "_thread.start_joinable_thread": ("start a thread", _THREAD),
}

_DEBUGGING = frozenset({"bdb", "pdb"})
"""Where somebody halts a body and looks at it, what is done is theirs."""

_LENIENT = (
    frozenset({"importlib", "_frozen_importlib", "_frozen_importlib_external", "zipimport"})
    | frozenset({"linecache", "traceback", "warnings"})
    | _DEBUGGING
)
"""Packages that may open things on a body's behalf: what they read does not steer it."""

_LOGGING = frozenset({logging.Logger.handle.__code__, logging.Handler.handle.__code__})
"""While it deals with a record, logging may open what it likes: a rotated file, a connection that was lost. A handler
that a body makes is the body's own doing."""

_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


def _audit(event: str, args: tuple[object, ...]) -> None:
    if not active:  # nearly always, and this runs for every audit event of the process
        return
    opening = _OPENING.get(event)
    if opening is None:
        return
    loop = active.get(get_ident())
    if loop is None or (event == "open" and _harmless(*args)) or _on_behalf(inspect.currentframe()):
        return
    what, instead = opening
    refuse(loop, what.format(*args), instead)


def _harmless(path: object, mode: object = None, flags: object = 0) -> bool:
    """A file that is open already, or reading what belongs to the installation: packaged data, time zones."""
    if isinstance(path, int):
        return True
    if not isinstance(path, (str, bytes)) or not isinstance(flags, int) or flags & _WRITING:
        return False
    name = os.path.abspath(os.fsdecode(path))
    return any(name.startswith(os.path.join(root, "")) for root in _readable())


def _readable() -> list[str]:
    roots = [sys.prefix, sys.base_prefix]
    zoneinfo = sys.modules.get("zoneinfo")
    if zoneinfo is not None:
        roots.extend(getattr(zoneinfo, "TZPATH", ()))  # not there yet while it is being imported
    return roots


def _on_behalf(frame: FrameType | None) -> bool:
    handlers = {getattr(signal.getsignal(number), "__code__", None) for number in signal.valid_signals()}
    return any(
        caller.f_code in _LOGGING
        or caller.f_code in handlers
        or caller.f_globals.get("__name__", "").partition(".")[0] in _LENIENT
        for caller in _callers(frame)
    )


def halted() -> bool:
    """Whether a debugger has halted the body of this thread, and asks on."""
    return any(caller.f_globals.get("__name__") in _DEBUGGING for caller in _callers(inspect.currentframe()))


def _callers(frame: FrameType | None) -> Iterator[FrameType]:
    """From this frame up, as far as the body reaches."""
    while frame is not None and frame.f_code not in boundaries:
        yield frame
        frame = frame.f_back


_lifted: dict[int, BodyLoop] = {}


def _during_collection(phase: str, info: dict[str, int]) -> None:
    # A finalizer that a collection runs is a stranger's: it must find the world as it is.
    thread = get_ident()
    if phase == "start" and thread in active:
        _lifted[thread] = active.pop(thread)
    elif phase == "stop" and thread in _lifted:
        active[thread] = _lifted.pop(thread)


_installing = threading.Lock()
_installed = False


def install() -> None:
    """Once, with the first slice and never at import: an audit hook can never be removed again."""
    global _installed
    if _installed:
        return
    with _installing:
        if not _installed:
            _guard_datetime()
            _guard_seed()
            gc.callbacks.append(_during_collection)
            sys.addaudithook(_audit)
            _installed = True
