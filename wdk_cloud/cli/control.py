"""`wdk wake`, `wdk delete` and `wdk sweep`."""

from typing import Annotated

import typer

from wdk_cloud.cli.console import command, confirm, err, open_world, out
from wdk_cloud.cli.options import AppSpec, Namespace, RunId, WorldName
from wdk_cloud.cli.progress import progress
from wdk_cloud.cli.reading import read_run, run_of
from wdk_cloud.cli.sources import namespace_of
from wdk_cloud.engine import requests


def add_to(program: typer.Typer) -> None:
    program.command(epilog="Example: wdk wake wrun_0123")(wake)
    program.command(epilog="Example: wdk delete wrun_0123 --yes")(delete)
    program.command(epilog="Example: wdk sweep --world local")(sweep)


@command
async def wake(run: RunId, app: AppSpec = None, namespace: Namespace = None, world: WorldName = None) -> None:
    """End the pending sleeps of a run now."""
    async with open_world(world, must_exist=True) as opened:
        scoped = opened.scoped(namespace_of(app, namespace))
        run_of(run, scoped.namespace)
        head = await requests.last_of(scoped, run)
        if head.ended:
            out.print(f"{run} has ended already: {head.status}", soft_wrap=True)
            return
        view = await read_run(scoped, head.run_id, decrypt=False)
        await run_of(head.run_id, scoped.namespace).wake_up()
        out.print(f"{run} is asked to wake", soft_wrap=True)
        if not view.timeline.open_timers():
            err.print(f"it does not sleep as far as its log tells; see wdk inspect run {run}", soft_wrap=True)


@command
async def delete(
    run: RunId,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    app: AppSpec = None,
    namespace: Namespace = None,
    world: WorldName = None,
) -> None:
    """Erase everything of a run but its id and time, for ever. One that has not ended is ended first."""
    async with open_world(world, must_exist=True):
        handle = run_of(run, namespace_of(app, namespace))
        if not yes:
            info = await handle.info()
            question = f"Erase {run} of {info.workflow_name} ({info.status})? This cannot be undone."
            confirm(question, f"{run} is not erased")
        await handle.delete()
        out.print(f"{run} is erased", soft_wrap=True)


@command
async def sweep(app: AppSpec = None, namespace: Namespace = None, world: WorldName = None) -> None:
    """Wake runs that were forgotten, and remove old ones.

    Forgotten are runs that show no progress, which should be none; old are those that ended longer ago than the
    retention. `wdk dev` and `wdk worker` do so each minute."""
    from wdk_cloud.engine import sweep as sweeping
    from wdk_cloud.worker import engine_for

    async with open_world(world, must_exist=True) as opened:
        engine = engine_for(opened.scoped(namespace_of(app, namespace)), [])
        try:
            with progress("sweeping"):
                woken = await sweeping.sweep(engine)
        finally:
            engine.close()
        out.print(f"{woken} run{'s' * (woken != 1)} woken")
        if woken >= sweeping.PAGE:
            err.print(f"a sweep wakes at most {sweeping.PAGE}; call it again when workers have had these")
