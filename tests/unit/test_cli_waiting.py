"""The command line on runs that wait for each other, sleep, were asked for something, or went on as others."""

import pytest

from tests.unit.test_cli import SHOP, answer, complaint, document, serve, shop, wdk

__all__ = ["shop"]

MORE = """
from wdk_cloud import continue_as_new, get_run

@app.workflow
async def countdown(number: int) -> int:
    await sleep("1 h")
    if number:
        await continue_as_new(number - 1)
    return number

@app.workflow
async def follow(run_id: str) -> int:
    return await get_run(run_id).return_value()

@app.workflow
async def refuse(message: str) -> None:
    raise FatalError(message)
"""


@pytest.fixture(autouse=True)
def more(shop):
    (shop / "shop.py").write_text(SHOP + MORE)


def test_what_was_asked_of_a_run_is_shown_until_a_worker_has_seen_to_it():
    run_id = answer("start", "nap")
    serve(run_id, until="wait_created")
    wdk("wake", run_id)
    wdk("cancel", run_id)
    assert document("inspect", "run", run_id)["waits_for"]["asked"] == ["cancel", "wake_up"]
    text = answer("inspect", "run", run_id).partition("waits for\n")[2]
    assert "  end            asked for; the next worker sees to it\n" in text
    assert "  wake           asked for; the next worker sees to it\n" in text
    serve(run_id)
    assert document("inspect", "run", run_id)["waits_for"] is None


def test_a_wake_says_when_the_run_does_not_sleep():
    run_id = answer("start", "nap")
    said = wdk("wake", run_id)
    assert said.stdout == f"{run_id} is asked to wake\n"
    assert said.stderr == f"it does not sleep as far as its log tells; see wdk inspect run {run_id}\n"
    asleep = answer("start", "nap")
    serve(asleep, until="wait_created")
    assert wdk("wake", asleep).stderr == ""


def test_a_run_that_waits_for_another_names_it_and_the_one_that_went_on_for_it():
    child = answer("start", "countdown", "1")
    run_id = answer("start", "follow", child)
    serve(run_id, until="operation_created")
    waits = document("inspect", "run", run_id)["waits_for"]
    awaited = {"id": "run.return_value#1", "run_id": child, "workflow_name": "workflow//shop//countdown"}
    assert waits["runs"] == [{**awaited, "status": "running"}]
    assert f"  run {child}  the result of countdown; it is running\n" in answer("inspect", "run", run_id)
    wdk("wake", child)
    serve(child, until="run_continued")
    later = document("inspect", "run", child)["continued_to"]
    assert document("inspect", "run", later)["status"] in ("pending", "running")
    shown = document("inspect", "run", run_id)
    assert shown["status"] == "running"
    assert [one["run_id"] for one in shown["waits_for"]["runs"]] == [later]


def test_what_failed_a_run_is_shown_to_its_end():
    message = "x" * 500 + " and what to do"
    run_id = answer("start", "refuse", message)
    serve(run_id)
    text = answer("inspect", "run", run_id)
    assert f"  error     USER_ERROR: FatalError: {message}\n" in text
    assert text.endswith(f"FatalError: {message}")


def test_a_run_that_went_on_as_another_is_tried_again_by_the_last_of_them():
    first = answer("start", "countdown", "2")
    serve(first, until="wait_created")
    answer("wake", first)
    serve(first, until="run_continued")
    second = document("inspect", "run", first)["continued_to"]
    assert f"run {first} went on as {second}, which is " in complaint("retry", first, code=1)
    answer("cancel", second)
    serve(second)
    again = document("retry", second)["run_id"]
    assert document("inspect", "run", again)["input"] == {"number": 1}
