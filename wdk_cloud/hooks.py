"""Hooks: a run waits for payloads that somebody sends to a token."""

from __future__ import annotations

import base64
import dataclasses
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar, cast, overload

from wdk_cloud.app import check_namespace, current_body
from wdk_cloud.codec.refusal import belonging_to
from wdk_cloud.context import require_body
from wdk_cloud.errors import HookDisposedError, SerializationError, WorkflowContextError
from wdk_cloud.registration import apply_to
from wdk_cloud.world.opening import current_world

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Generator
    from types import TracebackType

    from wdk_cloud.client import Run
    from wdk_cloud.engine.hooks import BodyHook
    from wdk_cloud.engine.replay import Body

T = TypeVar("T")
H = TypeVar("H", bound="Hook[Any]")

MAX_TOKEN = 256
"""Characters: it is part of URLs and of shell commands."""

RANDOM_BYTES = 16
"""Of a token that is made for the caller: 128 bits, which nobody guesses."""


class Hook(Generic[T]):
    """A hook. In the body that made it: awaitable (one payload), async-iterable (many), and disposable.

    `token` is what payloads are sent to, `hook_id` is unique across runs, `run_id` the run that made it, `created_at`
    is in UTC, `metadata` is what it was made with.
    """

    def __init__(self, token: str, hook_id: str, run_id: str, created_at: datetime, metadata: Any = None) -> None:
        self.token = token
        self.hook_id = hook_id
        self.run_id = run_id
        self.created_at = created_at
        self.metadata = metadata
        self._own: BodyHook | None = None

    def __repr__(self) -> str:
        return f"<Hook {self.hook_id} of run {self.run_id}>"  # the token is a secret

    def __await__(self) -> Generator[Any, None, T]:
        """The next payload. Raises HookConflictError, HookDisposedError, SerializationError for one that does not fit
        the schema, WorkflowContextError elsewhere than in the body that made the hook."""
        body, own = self._here()
        return cast("Generator[Any, None, T]", body.next_of(own).__await__())

    async def __aiter__(self) -> AsyncIterator[T]:
        """Payload after payload, until the hook is disposed of, by another task too."""
        body, own = self._here()
        while not own.disposed:
            try:
                payload = await body.next_of(own)
            except HookDisposedError:
                return
            yield payload

    async def get_conflict(self) -> Run[Any] | None:
        """The live run that owns the token, if it is not this hook's; raises WorkflowContextError outside its body."""
        from wdk_cloud.client import Run

        body, own = self._here()
        owner = own.conflict or await body.operation("hook.get_conflict", {"hook": own.id})
        return None if owner is None else Run(owner)

    def dispose(self) -> None:
        """Take no more payloads, and free the token. Disposing twice changes nothing."""
        body, own = self._here()
        body.dispose_hook(own)

    def __enter__(self) -> Self:
        self._here()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.dispose()

    async def __aenter__(self) -> Self:
        return self.__enter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.dispose()

    def _here(self) -> tuple[Body, BodyHook]:
        body = current_body()
        if body is None or self._own is None or body.hooks.get(self._own.id) is not self._own:
            raise WorkflowContextError(
                f"{self.hook_id} can be awaited and disposed of in the workflow body that made it only; send it a "
                "payload with resume_hook()"
            )
        return body, self._own


@overload
def create_hook(token: str | None = None, *, schema: type[T], metadata: object = None) -> Hook[T]: ...
@overload
def create_hook(token: str | None = None, schema: None = None, metadata: object = None) -> Hook[Any]: ...
def create_hook(token: str | None = None, schema: Any = None, metadata: object = None) -> Hook[Any]:
    """A hook of this run; works in a body only. Its token is claimed before anything that the body asks for afterwards.

    `token`: 1 to 256 printable characters that are nobody else's; left out, one of 128 random bits. `schema`: the type
    that payloads are converted to. `metadata`: anything that can be recorded, for those who ask with
    `get_hook_by_token`. A token belongs to one live run: awaiting a hook on another's raises HookConflictError. Raises
    `ValueError` for text that cannot be a token, SerializationError, WorkflowContextError outside a body.
    """
    body = require_body("create_hook()")
    if token is None:
        token = random_token(body)
    digest = digest_of(token)
    own = body.create_hook(digest, encoded(metadata, "the metadata of a hook"), Any if schema is None else schema)
    return open_hook(Hook[Any], body, own, token, metadata)


class BaseHook:
    """A typed hook: subclass it as a dataclass or beside pydantic's `BaseModel`; instances are payloads."""

    @classmethod
    def wait(cls, token: str | None = None, metadata: object = None) -> Hook[Self]:
        """A hook whose payloads are instances of this class; `token` and `metadata` are as in `create_hook`."""
        return create_hook(token, schema=cls, metadata=metadata)

    async def resume(self, token: str | Hook[Any], key: str | None = None) -> None:
        """Send this instance to the hook with that `token`; `key`, and what is raised, are as in `resume_hook`."""
        await resume_hook(token, self, key)


async def resume_hook(
    token: str | Hook[Any], payload: object = None, key: str | None = None, *, namespace: str | None = None
) -> None:
    """Send a payload to the hook that has this token; durable when it returns. In a body it is recorded, once.

    Payloads of one caller arrive in their order. `key`: the same one delivers once, however often it is sent. Raises
    HookNotFoundError when no live hook has the token, SerializationError, `ValueError` for a bad token or key.
    `namespace` is that of the hook's app, as in `get_run`.
    """
    from wdk_cloud.encryption import keys_of
    from wdk_cloud.engine import resuming

    digest = digest_of(token.token if isinstance(token, Hook) else token)
    if key is not None and (not isinstance(key, str) or not key or len(key) > MAX_TOKEN):
        raise ValueError(f"key= must be text of 1 to {MAX_TOKEN} characters, not {key!r}")
    body = current_body()
    data = encoded(payload, "the payload of a hook")
    if body is not None:
        await body.operation("hook.resume", {"digest": digest, "payload": data, "key": key})
        return
    world = await current_world(namespaced(namespace))
    await resuming.resume(world, keys_of(world), digest, data, key)


async def get_hook_by_token(token: str, *, namespace: str | None = None) -> Hook[Any]:
    """The live hook that has this token; raises HookNotFoundError. `namespace` is as in `get_run`.

    Raises WorkflowContextError in a body, which reads no store.
    """
    from wdk_cloud.codec.values import decode
    from wdk_cloud.encryption import keys_of
    from wdk_cloud.engine import resuming
    from wdk_cloud.references import types_known_to

    if current_body() is not None:
        raise WorkflowContextError("get_hook_by_token() reads the store; call it in a step, or outside a workflow")
    world = await current_world(namespaced(namespace))
    found = await resuming.find(world, digest_of(token))
    data = await resuming.metadata(world, keys_of(world), found)
    owner = found.token
    metadata = decode(data, Any, known=types_known_to(None), path=f"the metadata of {owner.hook_id}")
    return Hook(token, hook_id(owner.run_id, owner.hook_id), found.head.run_id, _time(found.data.created_at), metadata)


def random_token(body: Body) -> str:
    """Of the body's own generator, so that each replay finds it again; whoever knows run id and code does not."""
    return base64.urlsafe_b64encode(body.loop.guard.bytes(RANDOM_BYTES)).decode().rstrip("=")


def open_hook(cls: Callable[..., H], body: Body, own: BodyHook, token: str, metadata: object, **more: Any) -> H:
    """The handle of a hook, in the body that has just made it."""
    hook = cls(token, hook_id(body.run_id, own.id), body.run_id, _time(own.created_at), metadata, **more)
    hook._own = own  # pyright: ignore[reportPrivateUsage] -- its own module
    return hook


def hook_id(run_id: str, call_id: str) -> str:
    """The public id of a hook, unique across runs."""
    from hashlib import sha256

    return "hook_" + sha256(f"{run_id}\n{call_id}".encode()).hexdigest()[:26]


def digest_of(token: str) -> str:
    """Raises `ValueError` for what cannot be a token."""
    from wdk_cloud.engine import tokens

    if not isinstance(token, str) or not 0 < len(token) <= MAX_TOKEN or not token.isprintable():
        what = f"text of {len(token)} characters" if isinstance(token, str) else type(token).__name__
        raise ValueError(f"a token is text of 1 to {MAX_TOKEN} printable characters, not {what}")
    return tokens.digest_of(token)


def encoded(value: object, what: str) -> bytes:
    """A payload, or metadata, as JSON text. A typed one is its fields: whoever receives it knows the type."""
    from wdk_cloud.codec.values import encode
    from wdk_cloud.references import types_known_to

    if isinstance(value, BaseHook):
        value = _fields(value)
    body = current_body()
    if body is None:
        apply_to(known := types_known_to(None), 0)
    else:
        known = body.known
    try:
        return encode(value, known=known)
    except SerializationError as error:
        raise belonging_to(error, what) from error.__cause__


def _fields(payload: BaseHook) -> dict[str, object]:
    if dataclasses.is_dataclass(payload):
        return {field.name: getattr(payload, field.name) for field in dataclasses.fields(payload)}
    dump = getattr(payload, "model_dump", None)
    if dump is None:
        raise TypeError(f"{type(payload).__qualname__} must be a dataclass or a pydantic model as well as a BaseHook")
    return cast("dict[str, object]", dump())


def namespaced(namespace: str | None) -> str:
    """As worlds are asked for it. Raises `ValueError` for text that can be none."""
    return check_namespace(namespace) if namespace else ""


def _time(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
