"""Steps, workflows and runs as values: a record holds the id, and what the reading app has under it comes back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn

from wdk_cloud.app import Step, Workflow, current_body
from wdk_cloud.client import Run
from wdk_cloud.codec.known import KnownTypes
from wdk_cloud.codec.refusal import Refusal

if TYPE_CHECKING:
    from collections.abc import Mapping

    from wdk_cloud.app import Workflows

    Declared = Step[..., Any] | Workflow[..., Any]


def types_known_to(app: Workflows | None) -> KnownTypes:
    """What an app knows before it has looked around: references. Without one, for `get_run`, only runs come back."""
    known = KnownTypes()
    steps = {} if app is None else app.steps
    workflows = {} if app is None else app.workflows

    def workflow_of(id: str | None, namespace: str | None) -> Workflow[..., Any] | None:
        return workflows.get(id or "") if app is not None and app.namespace == (namespace or "") else None

    def run_from(body: dict[str, Any]) -> Run[Any]:
        namespace = body["namespace"]
        return Run(body["run_id"], workflow_of(body["workflow"], namespace), namespace)

    known.register(Run, serialize=_run_parts, deserialize=run_from, class_id="wdk_cloud.Run")
    known.register(
        Step,
        serialize=lambda step: _id_of(step, steps),
        deserialize=lambda id: steps.get(id) or _gone("step", id),
        class_id="wdk_cloud.Step",
    )
    known.register(
        Workflow,
        serialize=lambda workflow: _id_of(workflow, workflows),
        deserialize=lambda id: workflows.get(id) or _gone("workflow", id),
        class_id="wdk_cloud.Workflow",
    )
    return known


def _run_parts(run: Run[Any]) -> dict[str, object]:
    # What a user may not ask a handle for; the two belong together.
    workflow = run._workflow  # pyright: ignore[reportPrivateUsage]
    namespace = run._namespace  # pyright: ignore[reportPrivateUsage]
    body = current_body()
    if namespace is None and body is not None:  # in a body that is the body's own, elsewhere none
        namespace = body.workflow.app.namespace
    return {"run_id": run.run_id, "namespace": namespace, "workflow": None if workflow is None else workflow.id}


def _id_of(declared: Declared, there: Mapping[str, Declared]) -> str:
    if there.get(declared.id) is declared:
        return declared.id
    if declared.id in there and there[declared.id].app is declared.app:
        raise Refusal(
            f"{declared!r} has options of its own, which cannot be recorded; pass it as declared, and give them where "
            "it is called"
        )
    raise Refusal(f"{declared!r} belongs to another app and cannot be recorded here; pass what this app declares")


def _gone(kind: str, id: object) -> NoReturn:
    raise Refusal(
        f"the record refers to the {kind} {id}, which is not registered here; declare it again, or keep its name="
    )
