"""An async-generator step: recorded with its stream when it begins, which it fills from then on; it is not run again.

While it runs, a mark beside the stream says that it lives. A reader that finds no new one for a minute ends the stream
with an error, for itself and all others (`follower.py`).
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

from wdk_cloud.codec.errors import encode_error
from wdk_cloud.context import step_context
from wdk_cloud.engine import chunks
from wdk_cloud.engine.appender import Appender
from wdk_cloud.engine.follower import MARK_EVERY
from wdk_cloud.engine.leasing import RENEW_AT
from wdk_cloud.engine.streaming import OF_A_VALUE, Place
from wdk_cloud.errors import StreamError, WorldUnavailableError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from wdk_cloud.codec.known import KnownTypes
    from wdk_cloud.context import StepContext
    from wdk_cloud.engine.service import Engine
    from wdk_cloud.world.ports import Delivery

log = logging.getLogger("wdk_cloud")


def stream_of(call: str) -> str:
    """The name of the stream that this call of an async-generator step fills."""
    return OF_A_VALUE + call


class Mark:
    """Says every twenty seconds that the producer of a stream lives, until it is stopped."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._task: asyncio.Task[None] | None = None

    def go_on(self) -> None:
        self._task = asyncio.create_task(self._go_on())

    def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()

    async def put(self) -> None:
        await self._place.mark(self._place.world.clock.now())

    async def _go_on(self) -> None:
        clock = self._place.world.clock
        while True:
            over = asyncio.get_running_loop().create_future()
            timer = clock.call_at(clock.now() + MARK_EVERY, lambda over=over: over.done() or over.set_result(None))
            try:
                await over
                await self.put()
            except WorldUnavailableError as error:
                log.warning("%s: that its producer lives could not be noted: %s", self._place, error)
            finally:
                timer.cancel()


class Production:
    """Keeps the message of the step invisible while it produces."""

    def __init__(self, engine: Engine, delivery: Delivery) -> None:
        self._engine = engine
        self._delivery = delivery
        self._pause = engine.lease * RENEW_AT
        self.renew_after = engine.world.clock.monotonic() + self._pause

    def renew(self) -> None:
        self._engine.world.queue.extend(self._delivery, 2 * self._engine.lease)
        self.renew_after = self._engine.world.clock.monotonic() + self._pause


async def fill(
    engine: Engine, delivery: Delivery, upload: Upload, context: StepContext, produced: AsyncIterator[Any]
) -> None:
    """Run the generator, whose step is recorded."""
    production = Production(engine, delivery)
    token = step_context.set(context)
    engine.keeper.keep(production)
    try:
        await upload.run(produced, context.streams.known, context.call_id)
        await context.streams.drain()
    except StreamError as error:
        log.info("%s", error)  # the run has ended, or a reader took us for dead: nobody wants more
    finally:
        context.streams.is_over = True
        engine.keeper.drop(production)
        step_context.reset(token)


class Upload:
    """What fills a stream, once: an async-generator step, or `start` with a stream among its arguments."""

    def __init__(self, place: Place, mark: Mark) -> None:
        self.place = place
        self._mark = mark

    async def run(self, produced: AsyncIterator[Any], known: KnownTypes, producer: str, *, tell: bool = False) -> None:
        """Write all that is produced, and close the stream; with an error, if producing it raises, which is raised
        here too if somebody is to be told.

        Raises StreamError when the stream takes no more, WorldUnavailableError when the store does not.
        """
        appender = Appender(self.place, producer)
        self._mark.go_on()
        try:
            async for chunk in produced:
                await appender.write(chunks.encoded(chunk, known))
            await appender.close()
        except asyncio.CancelledError:
            reason = f"{self.place}: its producer was stopped, and is not run again; what came before is complete"
            await appender.close(_error(StreamError(reason), known))
            raise
        except Exception as error:
            if error is appender.error:  # the stream takes no more, or the store does not
                appender.abandon()
                raise
            # Of the generator, or a chunk that cannot be recorded: its readers are told.
            await appender.close(_error(error, known))
            if tell:
                raise
        finally:
            self._mark.stop()
            if (close := getattr(produced, "aclose", None)) is not None:
                await close()


async def begin(place: Place) -> Upload:
    """The run knows the stream, and that it has a producer which lives; both are durable when this returns.

    Raises StreamClosedError when the run has ended.
    """
    mark = Mark(place)
    await place.register()
    await mark.put()
    return Upload(place, mark)


def _error(error: BaseException, known: KnownTypes) -> bytes:
    return chunks.framed(encode_error(error, known=known), is_value=True)
