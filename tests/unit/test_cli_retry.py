"""`wdk retry`: the same input once more, as a new run."""

import base64
import re

import pytest

from tests.unit.test_cli import answer, complaint, completed, document, serve, shop
from tests.unit.test_cli_replay import change_to

__all__ = ["shop"]


def cancelled(*words):
    run_id = answer("start", *words)
    answer("cancel", run_id)
    serve(run_id)
    return run_id


def input_of(run_id):
    return document("inspect", "run", run_id)["input"]


def test_a_failed_run_is_tried_again_with_its_input_as_a_run_of_its_own():
    failed = completed("lost", "--arg", "amount=3.5")
    again = answer("retry", failed)
    assert re.fullmatch(r"wrun_[0-9a-z]{26}", again)
    assert again != failed
    shown = document("inspect", "run", again)
    assert (shown["status"], shown["input"]) == ("pending", {"order": "lost", "amount": 3.5})
    assert (shown["parent"], shown["root"], shown["idempotency_key"]) == (None, None, None)
    serve(again)
    assert [document("inspect", "run", run)["status"] for run in (failed, again)] == ["failed", "failed"]


def test_a_run_that_was_cancelled_before_it_began_is_tried_again_and_its_key_stays_with_it():
    first = cancelled("checkout", "o-1", "--idempotency-key", "k")
    again = document("retry", first)
    assert again == {"run_id": again["run_id"], "retry_of": first}
    serve(again["run_id"])
    shown = document("inspect", "run", again["run_id"])
    assert (shown["status"], shown["result"], shown["idempotency_key"]) == ("completed", "shipped o-1", None)
    assert answer("start", "checkout", "o-1", "--idempotency-key", "k") == first


def test_a_large_input_and_an_encrypted_one_come_along(monkeypatch):
    large = "x" * 400_000
    first = cancelled("nap", large)
    assert input_of(answer("retry", first)) == {"duration": large}
    monkeypatch.setenv("WDK_ENCRYPTION_KEY", base64.b64encode(bytes(range(32))).decode())
    second = cancelled("nap", "secret-nap")
    again = answer("retry", second)
    assert document("inspect", "run", again, "--decrypt")["input"] == {"duration": "secret-nap"}
    assert input_of(again) == {"$encrypted": True}
    monkeypatch.delenv("WDK_ENCRYPTION_KEY")
    assert "is encrypted; set WDK_ENCRYPTION_KEY" in complaint("retry", second, code=2)


def test_a_run_that_lives_or_has_its_result_is_refused():
    live = answer("start", "nap")
    assert f"run {live} lives (pending)" in complaint("retry", live, code=1)
    serve(live, until="wait_created")
    assert f"run {live} lives (running)" in complaint("retry", live, code=1)
    done = completed("o-1")
    assert f"run {done} has completed; wdk start begins a new one" in complaint("retry", done, code=1)
    assert len(document("inspect", "runs")["runs"]) == 2


def test_the_code_at_hand_has_to_have_the_workflow_and_without_any_the_version_stays(monkeypatch):
    first = cancelled("nap")
    version = document("inspect", "run", first)["version"]
    change_to("from wdk_cloud import Workflows\n\napp = Workflows()\n")
    assert "the app has no workflow 'workflow//shop//nap' any more" in complaint("retry", first, code=1)
    monkeypatch.delenv("WDK_APP")
    assert document("inspect", "run", answer("retry", first))["version"] == version


@pytest.mark.parametrize(("run", "code"), [("nobody", 1), ("no body", 2)])
def test_an_unknown_run_is_a_failure_and_an_impossible_id_wrong_usage(run, code):
    answer("start", "nap")
    assert run in complaint("retry", run, code=code)
