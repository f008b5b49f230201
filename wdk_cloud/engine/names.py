"""The guarded names: what `time.time`, `random.choice`, `print` and their like are while a slice runs.

They are swapped in with `module.__dict__.update` when the first slice of the process begins and out when the last one
ends. A swapped name acts only in a thread that is inside a slice; everywhere else it is the original. Functions that
somebody keeps from such a moment work for ever.
"""

from __future__ import annotations

import _thread
import asyncio
import builtins
import functools
import gc
import logging
import operator
import os
import random  # noqa: TID251 - its names are what is swapped
import sys
import threading
import time
import uuid
import warnings
from threading import get_ident
from typing import TYPE_CHECKING, Any, NoReturn

from wdk_cloud.engine import tasks
from wdk_cloud.engine.guard import active, clocks, guard_freezegun, halted, refuse

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType

    from wdk_cloud.engine.loop import BodyLoop

    Inside = Callable[..., object]

# --- the answers inside a body: the loop first, then what the caller passed -------------------------------------------

_plain_input = builtins.input
_gmtime, _plain_ctime, _plain_asctime, _plain_strftime = time.gmtime, time.ctime, time.asctime, time.strftime
_UUID_EPOCH = 0x01B21DD213814000  # from 1582, where version 1 and 6 begin, to 1970, in steps of 100 ns


def _seconds(loop: BodyLoop, *_clock: object) -> float:
    return loop.now


def _nanoseconds(loop: BodyLoop, *_clock: object) -> int:
    return round(loop.now * 1_000_000) * 1_000


def _utc(original: Callable[..., time.struct_time]) -> Inside:
    """`gmtime` or `localtime`: a clock without an argument, and then UTC; with one a conversion, left alone."""

    def inside(loop: BodyLoop, seconds: float | None = None) -> time.struct_time:
        return _gmtime(loop.now) if seconds is None else original(seconds)

    return inside


def _ctime(loop: BodyLoop, seconds: float | None = None) -> str:
    return _plain_asctime(_gmtime(loop.now)) if seconds is None else _plain_ctime(seconds)


def _asctime(loop: BodyLoop, moment: Any = None) -> str:
    return _plain_asctime(_gmtime(loop.now) if moment is None else moment)


def _strftime(loop: BodyLoop, form: str, moment: Any = None) -> str:
    return _plain_strftime(form, _gmtime(loop.now) if moment is None else moment)


def _sleep(loop: BodyLoop, *_delay: object) -> NoReturn:
    refuse(loop, "call time.sleep()", "Write `await asyncio.sleep(seconds)` or `await sleep(...)`: both are durable.")


def _input(loop: BodyLoop, *prompt: object) -> str:
    if halted():
        return _plain_input(*prompt)
    refuse(loop, "call input()", "Wait for an answer with a hook, and pass it in with resume_hook().")


def _start_thread(loop: BodyLoop, *_arguments: object) -> NoReturn:
    refuse(loop, "start a thread", "Make it a step: a plain `def` step runs in a thread of its own.")


def _start_program(loop: BodyLoop, *_arguments: object) -> NoReturn:
    refuse(loop, "run a program", "Run other programs in a step.")


def _urandom(loop: BodyLoop, size: int, *_flags: object) -> bytes:
    return loop.guard.bytes(size)


def _drawn(name: str) -> Inside:
    def inside(loop: BodyLoop, *args: object, **kwargs: object) -> object:
        return getattr(loop.guard.random, name)(*args, **kwargs)

    return inside


def _seed(loop: BodyLoop, a: Any = None, version: int = 2) -> None:
    loop.guard.random.seed(int.from_bytes(loop.guard.bytes(32), "big") if a is None else a, version)


def _time_uuid(version: int) -> Inside:
    """`uuid1` and `uuid6`: the run's clock, and a node and sequence from the run's stream unless given."""

    def inside(loop: BodyLoop, node: int | None = None, clock_seq: int | None = None) -> uuid.UUID:
        drawn = int.from_bytes(loop.guard.bytes(8), "big")
        node = (drawn & 0xFFFFFFFFFFFF) | 1 << 40 if node is None else node  # the multicast bit: no real card
        sequence = (drawn >> 48 if clock_seq is None else clock_seq) & 0x3FFF
        ticks = round(loop.now * 1_000_000) * 10 + _UUID_EPOCH
        if version == 1:
            stamp = (ticks & 0xFFFFFFFF) << 32 | (ticks >> 32 & 0xFFFF) << 16 | ticks >> 48 & 0xFFF
        else:
            stamp = (ticks >> 12 & 0xFFFFFFFFFFFF) << 16 | ticks & 0xFFF
        return uuid.UUID(int=_marked(stamp << 64 | sequence << 48 | node, version))

    return inside


def _uuid7(loop: BodyLoop) -> uuid.UUID:
    milliseconds = int(loop.now * 1_000)
    drawn = int.from_bytes(loop.guard.bytes(10), "big")
    return uuid.UUID(int=_marked(milliseconds << 80 | drawn, 7))


def _marked(value: int, version: int) -> int:
    return value & ~(0xF << 76 | 0b11 << 62) | version << 76 | 0b10 << 62


# --- output, of a slice that reads what is recorded, or of a body that is being closed --------------------------------


def _print(loop: BodyLoop, *args: object, file: Any = None, **kwargs: Any) -> None:
    # Into a buffer of the body's own it must go on: its content is part of what the body computes.
    if loop.live or (file or sys.stdout) not in loop.streams:
        _plain_print(*args, file=file, **kwargs)


_plain_print = builtins.print


def _dropped(original: Callable[..., object]) -> Inside:
    def inside(loop: BodyLoop, *args: object) -> object:
        return original(*args) if loop.live else None

    return inside


def _unraisable(loop: BodyLoop, report: Any) -> None:
    if loop.live:
        sys.__unraisablehook__(report)


# --- swapping ---------------------------------------------------------------------------------------------------------


class Swap:
    """The guarded names of one module. Its cells hold the originals, which somebody else may replace between slices."""

    __slots__ = ("_cells", "_found", "_inside", "_look", "_namespace", "_outside", "users")

    def __init__(self, module: ModuleType, answers: dict[str, Inside]) -> None:
        self._namespace: dict[str, Any] = module.__dict__
        present = {name: inside for name, inside in answers.items() if name in self._namespace}
        self._outside = {name: self._namespace[name] for name in present}
        self._look = _values_of(tuple(present))
        self._found = self._look(self._namespace)
        self._cells: list[list[Any]] = [[original] for original in self._found]
        self._inside = {
            name: _by_thread(cell, inside) for cell, (name, inside) in zip(self._cells, present.items(), strict=True)
        }
        self.users = 0

    def enter(self) -> None:
        found = self._look(self._namespace)
        if found != self._found:
            self._found = found
            self._outside = dict(zip(self._outside, found, strict=True))
            for cell, original in zip(self._cells, found, strict=True):
                cell[0] = original
        self._namespace.update(self._inside)

    def leave(self) -> None:
        self._namespace.update(self._outside)

    def guarded(self) -> dict[int, object]:
        return {id(self._outside[name]): guarded for name, guarded in self._inside.items()}


def _values_of(names: tuple[str, ...]) -> Callable[[dict[str, Any]], tuple[Any, ...]]:
    """What looks these names up in a namespace; in one call of C where it can, since each slice does so."""
    if len(names) > 1:
        return operator.itemgetter(*names)
    return lambda namespace: tuple(namespace[name] for name in names)


class OwnSwap:
    """The same objects under any global name of a workflow's own module: `from time import time`."""

    __slots__ = ("_candidates", "_inside", "_namespace", "_outside", "_size", "users")

    def __init__(self, namespace: dict[str, Any]) -> None:
        self._namespace = namespace
        self._size = -1
        self._candidates: dict[str, object] = {}  # names that were guarded once, with what they held last
        self._inside: dict[str, object] = {}
        self._outside: dict[str, object] = {}
        self.users = 0

    def enter(self) -> None:
        namespace, candidates = self._namespace, self._candidates
        if len(namespace) != self._size or list(map(namespace.get, candidates)) != list(candidates.values()):
            self._look_again()
        namespace.update(self._inside)

    def leave(self) -> None:
        self._namespace.update(self._outside)

    def _look_again(self) -> None:
        namespace = self._namespace
        by_id = {key: guarded for swap in _standard for key, guarded in swap.guarded().items()}
        self._outside = {name: value for name, value in namespace.items() if id(value) in by_id}
        self._inside = {name: by_id[id(value)] for name, value in self._outside.items()}
        names = self._candidates.keys() | self._outside.keys()
        self._candidates = {name: namespace.get(name) for name in names}
        self._size = len(namespace)


class _LoggerSwap:
    """`Logger.callHandlers`: an attribute of a type, so that it is touched only when output is dropped."""

    def __init__(self) -> None:
        self._cell: list[Any] = [logging.Logger.callHandlers]
        self._inside = _by_thread(self._cell, self._answer)

    def enter(self) -> None:
        self._cell[0] = logging.Logger.callHandlers
        logging.Logger.callHandlers = self._inside

    def leave(self) -> None:
        logging.Logger.callHandlers = self._cell[0]

    def _answer(self, loop: BodyLoop, logger: logging.Logger, record: logging.LogRecord) -> None:
        if loop.live:
            self._cell[0](logger, record)


class _PatcherSwap:
    """time-machine's own functions: they write through the method tables of builtins, and take the interpreter down
    when they find functions of ours in their place; so they see the names as they are."""

    def __init__(self, module: ModuleType) -> None:
        self._namespace = vars(module)
        names = {"patch", "unpatch", "patch_if_needed"} & self._namespace.keys()
        self._outside = {name: self._namespace[name] for name in names}
        self._inside = {name: self._unguarded(original) for name, original in self._outside.items()}

    def enter(self) -> None:
        self._namespace.update(self._inside)

    def leave(self) -> None:
        self._namespace.update(self._outside)

    def _unguarded(self, original: Callable[[], object]) -> Callable[[], object]:
        def unguarded() -> object:
            with _lock:
                loop = active.pop(get_ident(), None)
                for swap in _modules:
                    swap.leave()
                try:
                    return original()
                finally:
                    for swap in _modules:
                        swap.enter()
                    if loop is not None:
                        active[get_ident()] = loop

        return unguarded


def _by_thread(cell: list[Any], inside: Inside) -> Any:
    if isinstance(inside, type):  # a class, good for every thread
        return inside

    @functools.wraps(cell[0])
    def guarded(*args: object, **kwargs: object) -> object:
        loop = active.get(get_ident())
        if loop is None:
            return cell[0](*args, **kwargs)
        return inside(loop, *args, **kwargs)

    return guarded


_clocks = ("time", "monotonic", "perf_counter", "process_time", "thread_time", "clock_gettime")
_TIME: dict[str, Inside] = {
    **dict.fromkeys(_clocks, _seconds),
    **{f"{name}_ns": _nanoseconds for name in _clocks},
    "gmtime": _utc(time.gmtime),
    "localtime": _utc(time.localtime),
    "ctime": _ctime,
    "asctime": _asctime,
    "strftime": _strftime,
    "sleep": _sleep,
}
_RANDOM: dict[str, Inside] = {
    name: _drawn(name)
    for name, value in vars(random).items()
    if type(getattr(value, "__self__", None)) is random.Random
} | {"seed": _seed, "_urandom": _urandom}
_ASYNCIO: dict[str, Inside] = {"as_completed": tasks.as_completed, "all_tasks": tasks.all_tasks}

_standard = [
    Swap(time, _TIME),
    Swap(random, _RANDOM),
    Swap(os, {"urandom": _urandom, "getrandom": _urandom}),
    Swap(uuid, {"uuid1": _time_uuid(1), "uuid6": _time_uuid(6), "uuid7": _uuid7}),
    Swap(builtins, {"input": _input}),
    Swap(asyncio, _ASYNCIO),
    Swap(asyncio.tasks, {**_ASYNCIO, "_GatheringFuture": tasks.Gathering}),
]
if sys.version_info < (3, 12):  # its audit event came with 3.12
    _standard.append(Swap(threading, {"_start_new_thread": _start_thread}))
    _standard.append(Swap(_thread, {"start_new_thread": _start_thread, "start_new": _start_thread}))
if os.name == "posix":  # how multiprocessing spawns: no audit event tells of it
    _standard.append(Swap(__import__("_posixsubprocess"), {"fork_exec": _start_program}))
_modules: list[Swap | _PatcherSwap] = [*_standard]
_warn_unawaited: Any = vars(warnings)["_warn_unawaited_coroutine"]
_output = [
    Swap(builtins, {"print": _print}),
    Swap(warnings, {"_warn_unawaited_coroutine": _dropped(_warn_unawaited)}),
    Swap(sys, {"unraisablehook": _unraisable}),
    _LoggerSwap(),
]
_own: dict[int, OwnSwap] = {}

_lock = threading.Lock()
_slices = _quiet_slices = 0
_collecting = False
_freezegun: Any = None


def _meet_time_travellers() -> None:
    """Libraries that move the host's clock may be imported at any time."""
    global _freezegun
    if len(_modules) == len(_standard) and (patcher := sys.modules.get("_time_machine")) is not None:
        _modules.append(_PatcherSwap(patcher))
    if _freezegun is None and hasattr(api := sys.modules.get("freezegun.api"), "FakeDatetime"):
        guard_freezegun(_freezegun := api)


def enter(own: dict[str, Any] | None, quiet: bool) -> None:
    """A slice begins: the names of the standard library, those of the workflow's module, and output if `quiet`."""
    global _slices, _quiet_slices, _collecting
    with _lock:
        _slices += 1
        if _slices == 1:
            _collecting = gc.isenabled()
            gc.disable()  # or a stranger's __del__ runs inside the body
            _meet_time_travellers()
            for swap in _modules:
                swap.enter()
            for put, inside, _ in clocks:
                put(inside)
        if own is not None:
            mine = _own.get(id(own)) or _own.setdefault(id(own), OwnSwap(own))
            mine.users += 1
            if mine.users == 1:
                mine.enter()
        if quiet:
            _quiet_slices += 1
            if _quiet_slices == 1:
                for swap in _output:
                    swap.enter()


def leave(own: dict[str, Any] | None, quiet: bool) -> None:
    """A slice ends; the arguments are those it began with."""
    global _slices, _quiet_slices
    with _lock:
        if quiet:
            _quiet_slices -= 1
            if _quiet_slices == 0:
                for swap in _output:
                    swap.leave()
        if own is not None:
            mine = _own[id(own)]
            mine.users -= 1
            if mine.users == 0:
                mine.leave()
        _slices -= 1
        if _slices == 0:
            for put, _, outside in clocks:
                put(outside)
            for swap in _modules:
                swap.leave()
            if _collecting:
                gc.enable()
