"""`wdk retry`: a run that failed or was cancelled, again and with the same input, as a new run."""

import os

import typer

from wdk_cloud.cli.console import CommandError, command, err, open_world, out
from wdk_cloud.cli.jsonout import print_json
from wdk_cloud.cli.options import AppSpec, Json, Namespace, RunId, WorldName
from wdk_cloud.cli.reading import RunView, find_head, read_run
from wdk_cloud.cli.sources import load_apps, namespace_of
from wdk_cloud.encryption import keys_of
from wdk_cloud.engine import requests, runids
from wdk_cloud.engine.version import version_of
from wdk_cloud.world.ports import Head


def add_to(program: typer.Typer) -> None:
    program.command(epilog="Example: wdk retry wrun_0123")(retry)


@command
async def retry(
    run: RunId,
    as_json: Json = False,
    app: AppSpec = None,
    namespace: Namespace = None,
    world: WorldName = None,
) -> None:
    """Start a failed or cancelled run again, with the same input.

    It is a new run, whose id is printed. The labels that the old one was started with come along, its idempotency key
    does not; the old run stays as it is.
    """
    async with open_world(world, must_exist=True) as opened:
        scoped = opened.scoped(namespace_of(app, namespace))
        head = await find_head(scoped, run)
        check(head, await requests.last_of(scoped, run))
        version = version_for(head, app)
        view = await read_run(scoped, run, decrypt=True)
        order = order_of(view, runids.new_run_id(scoped.clock.now()), version)
        run_id = (await requests.start(scoped, keys_of(scoped), order)).run_id
    if as_json:
        print_json({"run_id": run_id, "retry_of": run})
        return
    out.print(run_id, soft_wrap=True)
    if out.is_terminal:
        err.print(f"look at it: wdk inspect run {run_id}", soft_wrap=True)


def check(head: Head, last: Head) -> None:
    """Raises for a run that lives, has its result, or went on as another (`last`)."""
    if last.run_id != head.run_id:
        raise CommandError(f"run {head.run_id} went on as {last.run_id}, which is {last.status}; name that one")
    if not head.ended:
        raise CommandError(
            f"run {head.run_id} lives ({head.status}); only a run that failed or was cancelled can be tried again. "
            f"End it first: wdk cancel {head.run_id}"
        )
    if head.status not in ("failed", "cancelled"):
        raise CommandError(f"run {head.run_id} has completed; wdk start begins a new one")


def version_for(head: Head, app: str | None) -> str:
    """The version of the code at hand, which has to have the workflow; without any, the one that the run began with."""
    if not app:
        return os.environ.get("WDK_CODE_VERSION") or head.version
    for loaded in load_apps(app):
        if head.workflow in loaded.workflows:
            return os.environ.get("WDK_CODE_VERSION") or version_of(loaded)
    raise CommandError(f"the app has no workflow {head.workflow!r} any more: nobody could work on the new run")


def order_of(view: RunView, run_id: str, version: str) -> requests.Order:
    head, created = view.head, view.timeline.created
    assert view.input is not None  # in the log, or in the head of a run that ended before its first turn
    labels = {} if created is None else created.attributes or {}
    return requests.Order(
        workflow=head.workflow,
        input=view.input,
        digest=head.input_digest,
        run_id=run_id,
        version=version,
        # Those with a dollar say where a run belongs; a new run belongs nowhere.
        attributes={name: value for name, value in labels.items() if not name.startswith("$")},
    )
