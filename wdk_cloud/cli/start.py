"""`wdk start`: start a run, and wait for its result if asked to."""

import asyncio
import inspect
import json
from typing import Annotated, Any, NoReturn

import typer

from wdk_cloud import admission, client
from wdk_cloud.app import Workflow
from wdk_cloud.cli.console import UsageError, command, err, open_world, out
from wdk_cloud.cli.jsonout import print_json
from wdk_cloud.cli.options import AppSpec, Json, WorldName
from wdk_cloud.cli.sources import find_workflow, load_apps
from wdk_cloud.errors import SerializationError, WorkflowRunCancelledError, WorkflowRunFailedError


def add_to(program: typer.Typer) -> None:
    program.command(epilog="Example: wdk start signup you@example.com --wait")(start)


@command
async def start(
    workflow: Annotated[str, typer.Argument(metavar="WORKFLOW", help="Its id, or the name of its function.")],
    args: Annotated[
        list[str] | None,
        typer.Argument(metavar="[ARGS]...", help="Its arguments: JSON where they parse as JSON, else text."),
    ] = None,
    arg: Annotated[
        list[str] | None, typer.Option("--arg", metavar="NAME=VALUE", help="An argument by name; may be repeated.")
    ] = None,
    run_id: Annotated[str | None, typer.Option("--run-id", metavar="ID", help="The id of the new run.")] = None,
    idempotency_key: Annotated[
        str | None, typer.Option("--idempotency-key", metavar="KEY", help="The same key gives the same run.")
    ] = None,
    delay: Annotated[
        str | None, typer.Option("--delay", metavar="DURATION", help='Begin no sooner than in, say, "10m".')
    ] = None,
    wait: Annotated[bool, typer.Option("--wait", help="Wait for the run's end and print its result.")] = False,
    app: AppSpec = None,
    world: WorldName = None,
    as_json: Json = False,
) -> None:
    """Start a run and print its id; with --wait, its result."""
    from wdk_cloud.codec.values import decode_arguments

    found = find_workflow(load_apps(app), workflow)
    positional, named = arguments(found, args or [], arg or [])
    ready = found.with_options(run_id=run_id, idempotency_key=idempotency_key, delay=delay)
    try:
        data, _, _ = admission.check_start(ready, tuple(positional), named)  # before a file is made for the run
        # A worker would find it out, and the run would fail: who sits here can be told at once.
        decode_arguments(data, found.annotations, known=found.app.known)
    except (TypeError, ValueError, SerializationError) as error:
        raise UsageError(str(error)) from None
    async with open_world(world) as opened:
        by = "what is deployed works on it" if opened.receiver is None else "a worker has to run: wdk dev"
        try:
            run = await client.start(ready, *positional, **named)
        except ValueError as error:  # a delay that ends more than a century after the world's present
            raise UsageError(str(error)) from None
        if not wait:
            _print_started(run.run_id, as_json)
            return
        err.print(f"started {run.run_id}; waiting for its end ({by})", soft_wrap=True)
        await _print_result(run, found, as_json)


async def _print_result(run: client.Run[Any], workflow: Workflow[..., Any], as_json: bool) -> None:
    try:
        result = shown_result(workflow, await run.return_value())
    except (WorkflowRunFailedError, WorkflowRunCancelledError) as error:
        if as_json:
            failed = isinstance(error, WorkflowRunFailedError)
            document = {"run_id": run.run_id, "status": "failed" if failed else "cancelled", "error": str(error)}
            print_json(document)
        raise
    except asyncio.CancelledError:
        err.print(f"not waiting any more; the run goes on: wdk inspect run {run.run_id}", soft_wrap=True)
        raise
    print_json({"run_id": run.run_id, "status": "completed", "result": result} if as_json else result)


def _print_started(run_id: str, as_json: bool) -> None:
    if as_json:
        print_json({"run_id": run_id})
        return
    out.print(run_id, soft_wrap=True)
    if out.is_terminal:
        err.print(f"look at it: wdk inspect run {run_id}", soft_wrap=True)


def shown_result(workflow: Workflow[..., Any], result: object) -> object:
    """A result as JSON says it, with the codec's tags for what JSON has no word for."""
    from wdk_cloud.codec.values import encode

    return json.loads(encode(result, known=workflow.app.known))


def arguments(
    workflow: Workflow[..., Any], positional: list[str], named: list[str]
) -> tuple[list[object], dict[str, object]]:
    """What the words of a command line mean as arguments of this workflow."""
    signature = inspect.signature(workflow.fn)
    places = list(signature.parameters.values())
    by_place: list[object] = []
    for number, text in enumerate(positional):
        place = places[min(number, len(places) - 1)].name if places else ""
        by_place.append(value_of(text, workflow.annotations.get(place)))
    by_name: dict[str, object] = {}
    for word in named:
        name, equals, text = word.partition("=")
        if not equals or not name:
            raise UsageError(f"--arg takes NAME=VALUE, not {word!r}")
        if name in by_name:
            raise UsageError(f"--arg {name} is given twice")
        by_name[name] = value_of(text, workflow.annotations.get(name))
    return by_place, by_name


def value_of(text: str, annotation: object) -> object:
    """JSON where it parses, else text. What a parameter that is text would get as something else stays text."""
    try:
        value = json.loads(text, parse_constant=_refuse)
    except ValueError:
        return text
    return text if annotation is str and not isinstance(value, str) else value


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no JSON")
