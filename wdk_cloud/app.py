"""`Workflows`, the registry that people call "the app", with its steps and workflows."""

from __future__ import annotations

import asyncio
import inspect
import re
import typing
import weakref
from functools import partial, update_wrapper
from typing import TYPE_CHECKING, Any, ClassVar, Generic, ParamSpec, TypeVar, cast, overload

from wdk_cloud import registration
from wdk_cloud.options import RetryPolicy, StartOptions, StepOptions
from wdk_cloud.signature import Signature

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping, Sequence

    from wdk_cloud.codec.known import KnownTypes
    from wdk_cloud.durations import Duration
    from wdk_cloud.engine.replay import Body
    from wdk_cloud.options import Dispatch
    from wdk_cloud.schedules import Schedule
    from wdk_cloud.signature import AnyFunction
    from wdk_cloud.streams import ReadableStream

P = ParamSpec("P")
T = TypeVar("T")

NAMESPACE = re.compile(r"[a-z][a-z0-9-]{0,31}")


def current_body() -> Body | None:
    """The body whose slice this thread is in. Its loop is the running one and carries it."""
    loop = asyncio._get_running_loop()
    return getattr(loop, "owner", None)


def check_namespace(namespace: object) -> str:
    """Raises `ValueError` for what cannot be the name of a namespace."""
    if not isinstance(namespace, str) or not NAMESPACE.fullmatch(namespace):
        raise ValueError(
            f"a namespace is 1 to 32 lower case letters, digits and dashes and begins with a letter: {namespace!r}"
        )
    return namespace


class Step(Generic[P, T]):
    """A step: a function whose result is recorded once. In a body a call is durable; elsewhere it is just awaited.

    `@app.step` makes it. `fn` is the function itself, `id` what runs remember it by, `options` how it is tried.
    """

    def __init__(self, app: Workflows, id: str, fn: AnyFunction, options: StepOptions, static: bool = False) -> None:
        self.app = app
        self.id = id
        self.fn = fn
        self.options = options
        self.name = fn.__name__
        self.is_async = inspect.iscoroutinefunction(fn)
        self.is_generator = inspect.isasyncgenfunction(fn)
        """Its result is a stream, which it fills while the run goes on."""
        self.signature = Signature(fn)
        self._static = static
        update_wrapper(self, fn)

    def __set_name__(self, owner: type, name: str) -> None:
        """Called when the body of a class ends. A step of elsewhere may be an attribute; one declared in it may not."""
        if not self._static and self.fn.__qualname__ == f"{owner.__qualname__}.{self.fn.__name__}":
            self.app.steps.pop(self.id, None)
            raise TypeError(_NO_METHODS.format(self.fn.__qualname__))

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Coroutine[object, None, T]:
        arguments = self.signature.bind(args, kwargs)
        body = current_body()
        if body is not None:
            return body.step(self, arguments)
        return run_plain(self, arguments)

    def with_options(
        self,
        *,
        max_retries: int | None = None,
        retry: RetryPolicy | None = None,
        timeout: Duration | None = None,
        dispatch: Dispatch | None = None,
        cancellable: bool | None = None,
    ) -> Step[P, T]:
        """A copy with other options, for one call; what is left out stays as declared.

        `max_retries`, `retry`, `timeout`, `dispatch` and `cancellable` are as in `Workflows.step`, and raise alike.
        """
        given: dict[str, object] = {"max_retries": max_retries, "retry": retry, "timeout": timeout}
        given |= {"dispatch": dispatch, "cancellable": cancellable}
        changes = {name: value for name, value in given.items() if value is not None}
        return Step(self.app, self.id, self.fn, self.options.updated(changes), self._static)

    @property
    def annotations(self) -> Mapping[str, object]:
        """Of the parameters and of the result, by name."""
        return self.signature.hints

    @property
    def returns(self) -> object:
        """What its result is annotated with; `Any` without an annotation."""
        return Any if self.is_generator else self.signature.hints.get("return", Any)

    def __repr__(self) -> str:
        return f"<step {self.id}>"


async def run_plain(step: Step[..., T], arguments: Mapping[str, object]) -> T:
    """Run the function once, as itself: no retries, nothing recorded. A plain function runs in a thread."""
    if step.is_async:
        return await step.signature.call(arguments)
    if step.is_generator:
        from wdk_cloud.streams import ReadableStream

        produced: AsyncIterator[Any] = step.signature.call(arguments)
        return cast("T", ReadableStream[Any].from_iterable(produced))
    return await asyncio.to_thread(step.signature.call, arguments)


class Workflow(Generic[P, T]):
    """A workflow: an `async def` that survives. In a body it runs inside that run, `start` makes one of its own.

    `@app.workflow` makes it. `fn` is the function itself, `id` what runs remember it by.
    """

    def __init__(
        self,
        app: Workflows,
        id: str,
        fn: Callable[P, Coroutine[Any, Any, T]],
        options: StartOptions | None = None,
        schedule: Schedule | None = None,
    ) -> None:
        self.app = app
        self.id = id
        self.fn = fn
        self.options = options or StartOptions()
        self.schedule = schedule
        self.signature = Signature(fn)
        update_wrapper(self, fn)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Coroutine[Any, Any, T]:
        return self.fn(*args, **kwargs)

    def invoke(self, arguments: Mapping[str, object]) -> Coroutine[Any, Any, T]:
        """Call the function with these `arguments`, by name."""
        return self.signature.call(arguments)

    def with_options(
        self,
        *,
        run_id: str | None = None,
        idempotency_key: str | None = None,
        attributes: Mapping[str, str] | None = None,
        delay: object = None,
    ) -> Workflow[P, T]:
        """A copy with options for `start`; what is left out stays.

        `run_id`: 1 to 128 of `[A-Za-z0-9_-]`. `idempotency_key`: text of at most 256 bytes; the same key and input give
        the same run for as long as it is kept. `attributes`: the run's labels, as of `set_attributes`. `delay`: when it
        begins, as of `sleep`. `start` raises for what makes no sense.
        """
        given = {"run_id": run_id, "idempotency_key": idempotency_key, "attributes": attributes, "delay": delay}
        changes = {name: value for name, value in given.items() if value is not None}
        return Workflow(self.app, self.id, self.fn, self.options.updated(changes), self.schedule)

    @property
    def annotations(self) -> Mapping[str, object]:
        """Of the parameters and of the result, by name."""
        return self.signature.hints

    @property
    def returns(self) -> object:
        """What its result is annotated with; `Any` without an annotation."""
        return self.signature.hints.get("return", Any)

    def __repr__(self) -> str:
        return f"<workflow {self.id}>"


_NO_METHODS = (
    "{} is a class or instance method: its class or instance would become a recorded argument. "
    "Make it a static method (@staticmethod), or a function outside the class"
)


class Workflows:
    """The registry of an application's workflows and steps.

    `namespace` (lower case letters, digits and dashes, at most 32) becomes part of all keys, tokens and messages, so
    that apps can share a table or a database file.
    """

    _every: ClassVar[weakref.WeakSet[Workflows]] = weakref.WeakSet()

    @classmethod
    def all(cls) -> list[Workflows]:
        """Every app of the process, for tests that serve them all."""
        return sorted(cls._every, key=id)

    def __init__(self, namespace: str | None = None) -> None:
        self.namespace = "" if namespace is None else check_namespace(namespace)
        self.steps: dict[str, Step[..., Any]] = {}
        self.workflows: dict[str, Workflow[..., Any]] = {}
        self._known: KnownTypes | None = None
        self._modules: dict[int, tuple[dict[str, object], int]] = {}
        self._learned: set[str] = set()
        self._process_wide = 0
        self._registrations: list[Callable[[KnownTypes], None]] = []
        self._registered = 0
        self.on_schedule: list[Callable[[], None]] = []
        """Called when a workflow with a schedule has been declared, from whichever thread does so."""
        Workflows._every.add(self)

    # -- declaring --------------------------------------------------------------------------------------------------

    @overload
    def step(self, fn: Callable[P, Coroutine[Any, Any, T]], /) -> Step[P, T]: ...
    @overload
    def step(self, fn: Callable[P, AsyncIterator[T]], /) -> Step[P, ReadableStream[T]]: ...
    @overload
    def step(self, fn: Callable[P, T], /) -> Step[P, T]: ...
    @overload
    def step(
        self,
        /,
        *,
        name: str | None = None,
        max_retries: int = 3,
        retry: RetryPolicy | None = None,
        timeout: Duration | None = None,
        dispatch: Dispatch = "auto",
        cancellable: bool = False,
    ) -> StepDecorator: ...
    def step(
        self,
        fn: Any = None,
        /,
        *,
        name: str | None = None,
        max_retries: int = 3,
        retry: RetryPolicy | None = None,
        timeout: Duration | None = None,
        dispatch: Dispatch = "auto",
        cancellable: bool = False,
    ) -> Any:
        """Declare a step: `fn` is a function, plain or async, an async generator, or a static method.

        `name`: its id, by default `step//<module>//<qualname>`; set one before it moves. `max_retries`: attempts after
        the first. `retry`: when, by default at once. `timeout`: of an attempt, text, seconds or a `timedelta`; none by
        default. `dispatch`: `"inline"`, `"queue"` or `"auto"`, which is inline unless many wait. `cancellable`: whether
        cancelling may interrupt it. Raises `TypeError` for what cannot be a step, `ValueError` for a second one of that
        id and for options that make no sense.
        """
        options = StepOptions(
            max_retries, retry if retry is not None else RetryPolicy(), timeout, dispatch, cancellable
        )
        decorate = partial(self._declare_step, name, options)
        return decorate if fn is None else decorate(fn)

    @overload
    def workflow(self, fn: Callable[P, Coroutine[Any, Any, T]], /) -> Workflow[P, T]: ...
    @overload
    def workflow(
        self, /, *, name: str | None = None, schedule: str | None = None, timezone: str = "UTC"
    ) -> Callable[[Callable[P, Coroutine[Any, Any, T]]], Workflow[P, T]]: ...
    def workflow(
        self, fn: Any = None, /, *, name: str | None = None, schedule: str | None = None, timezone: str = "UTC"
    ) -> Any:
        """Declare a workflow: `fn` is an `async def`; its id is `name`, by default `workflow//<module>//<qualname>`.

        `schedule` is an interval, "every 1 hour", or the five fields of cron, "0 9 * * 1-5", in the local time of
        `timezone`: workers start a run of it, without arguments, at each tick. Raises `TypeError` for what cannot be a
        workflow, `ValueError` for a second one of that id and for a schedule that makes no sense.
        """
        decorate = partial(self._declare_workflow, name, _schedule(schedule, timezone))
        return decorate if fn is None else decorate(fn)

    def _declare_step(self, name: str | None, options: StepOptions, fn: Any) -> Step[..., Any]:
        static = isinstance(fn, staticmethod)
        function: Any = fn.__func__ if static else fn
        if isinstance(fn, classmethod):
            raise TypeError(_NO_METHODS.format(fn.__func__.__qualname__))  # pyright: ignore[reportUnknownMemberType]
        if isinstance(function, Step | Workflow):
            raise TypeError(f"{function!r} is declared already; decorate the function once")
        if not inspect.isfunction(function):
            raise TypeError(f"@app.step takes a function, not {fn!r}; write @app.step(option=…) to give options")
        if inspect.isgeneratorfunction(function):
            raise TypeError(
                f"{function.__qualname__} is a generator; a step returns its result as one value, or is an async "
                "generator, whose result is a stream"
            )
        if inspect.isasyncgenfunction(function):
            options = options.updated({"dispatch": "queue"})  # it goes on when its turn is over
        first = next(iter(inspect.signature(function).parameters), "")
        in_class = function.__qualname__.rpartition(".")[0].rpartition(".")[2] not in ("", "<locals>")
        if in_class and not static and first in ("self", "cls"):
            raise TypeError(_NO_METHODS.format(function.__qualname__))
        id = self._new_id(name, "step", function)
        step = self.steps[id] = Step(self, id, function, options, static)
        self._note_module(function)
        return step

    def _declare_workflow(self, name: str | None, schedule: Schedule | None, fn: Any) -> Workflow[..., Any]:
        if isinstance(fn, Step | Workflow):
            raise TypeError(f"{fn!r} is declared already; decorate the function once")
        if not inspect.iscoroutinefunction(fn):
            what = getattr(fn, "__qualname__", repr(fn))
            raise TypeError(
                f"@app.workflow takes an `async def`; {what} is none. Declare it `async def`, without `yield`; work "
                "that is not async belongs in a step"
            )
        if schedule is not None:
            _check_it_needs_no_arguments(fn)
        id = self._new_id(name, "workflow", fn)
        workflow = self.workflows[id] = Workflow(self, id, fn, schedule=schedule)
        self._note_module(fn)
        if schedule is not None:
            for tell in list(self.on_schedule):
                tell()
        return workflow

    def _new_id(self, name: str | None, kind: str, fn: AnyFunction) -> str:
        # It stands in every record and on terminals; the number of a call follows its '#'.
        if name is not None and (not isinstance(name, str) or not name or "#" in name or not name.isprintable()):
            raise ValueError(f"name= must be printable text that is not empty and has no '#', not {name!r}")
        id = name or f"{kind}//{fn.__module__}//{fn.__qualname__}"
        other = self.steps.get(id) or self.workflows.get(id)
        if other is not None:
            raise ValueError(f"{_declared_twice(id, other.fn, fn)}: ids must be unique in an app; {_RENAME}")
        return id

    # -- types ------------------------------------------------------------------------------------------------------

    def _note_module(self, fn: AnyFunction) -> None:
        self._modules.setdefault(id(fn.__globals__), (fn.__globals__, -1))

    def register_serializable(
        self,
        cls: type,
        serialize: Callable[[Any], object] | None = None,
        deserialize: Callable[[Any], Any] | None = None,
        class_id: str | None = None,
    ) -> None:
        """Let values of `cls` be recorded by this app. `wdk_cloud.register_serializable` does so for all apps, and says
        what `serialize`, `deserialize` and `class_id` are."""
        self._registrations.append(
            lambda known: known.register(cls, serialize=serialize, deserialize=deserialize, class_id=class_id)
        )

    @property
    def known(self) -> KnownTypes:
        """The types that may come back from a record: what the modules of the app know by now."""
        if self._known is None:
            from wdk_cloud.references import types_known_to

            self._known = types_known_to(self)
        known = self._known
        self._process_wide = registration.apply_to(known, self._process_wide)
        for register in self._registrations[self._registered :]:
            self._registered += 1
            register(known)
        for key, (module, size) in list(self._modules.items()):
            if len(module) != size:
                self._modules[key] = (module, len(module))
                known.learn_module(module)
        if len(self._learned) < len(self.steps) + len(self.workflows):
            self._learn_annotations(known)
        return known

    def _learn_annotations(self, known: KnownTypes) -> None:
        for id, declared in (*self.steps.items(), *self.workflows.items()):
            if id not in self._learned:
                self._learned.add(id)
                for annotation in declared.annotations.values():
                    known.learn_annotation(annotation)


def _schedule(text: str | None, timezone: str) -> Schedule | None:
    if text is None:
        if timezone != "UTC":
            raise TypeError("timezone= is that of a schedule=, and this workflow has none")
        return None
    from wdk_cloud.schedules import parse_schedule

    return parse_schedule(text, timezone)


def _check_it_needs_no_arguments(fn: AnyFunction) -> None:
    star = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    for name, parameter in inspect.signature(fn).parameters.items():
        if parameter.default is inspect.Parameter.empty and parameter.kind not in star:
            raise TypeError(
                f"{fn.__qualname__} has a schedule, and a tick brings no arguments: give its parameter {name} a "
                "default, or call it from a scheduled workflow"
            )


if TYPE_CHECKING:

    class StepDecorator(typing.Protocol):
        """What `@app.step(…)` gives: it keeps the signature of what it decorates."""

        @overload
        def __call__(self, fn: Callable[P, Coroutine[Any, Any, T]], /) -> Step[P, T]: ...
        @overload
        def __call__(self, fn: Callable[P, AsyncIterator[T]], /) -> Step[P, ReadableStream[T]]: ...
        @overload
        def __call__(self, fn: Callable[P, Awaitable[T]], /) -> Step[P, T]: ...
        @overload
        def __call__(self, fn: Callable[P, T], /) -> Step[P, T]: ...


def refuse_twins(apps: Sequence[Workflows]) -> None:
    """Raises ValueError if two of the apps that one worker serves have declared the same id."""
    seen: dict[str, AnyFunction] = {}
    for app in dict.fromkeys(apps):
        for id, declared in (app.steps | app.workflows).items():
            if id in seen:
                told = _declared_twice(id, seen[id], declared.fn)
                raise ValueError(f"{told}, of two apps: a worker could not tell whose runs are whose; {_RENAME}")
            seen[id] = declared.fn


_RENAME = "give one of them another name="


def _declared_twice(id: str, first: AnyFunction, second: AnyFunction) -> str:
    return (
        f"{id} is declared twice, by {first.__qualname__} in {first.__module__} and by {second.__qualname__} in "
        f"{second.__module__}"
    )
