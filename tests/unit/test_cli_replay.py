"""`wdk replay`: histories in files and runs of the world, against the code of WDK_APP."""

import json
import sys
from pathlib import Path

import pytest

from tests.unit.test_cli import SHOP, answer, complaint, completed, document, serve, shop, wdk

__all__ = ["shop"]

CHANGED = SHOP.replace("await charge(order, amount)", "await charge(order, amount + 1)")


def change_to(source):
    """From now on the app's module is this one; its length differs, so no cache of Python's takes it for the old."""
    Path("shop.py").write_text(source)
    del sys.modules["shop"]


def exported(run_id, name):
    Path(name).write_text(wdk("inspect", "events", run_id, "--json").stdout)


def test_a_run_and_its_history_agree_with_the_code_that_recorded_them(shop):
    run_id = completed("o-1")
    exported(run_id, "history.json")
    assert document("replay", "history.json", run_id) == {
        "histories": [
            {
                "source": source,
                "run_id": run_id,
                "workflow_name": "workflow//shop//checkout",
                "events": 11,
                "agrees": True,
                "differences": [],
            }
            for source in ("history.json", run_id)
        ]
    }
    lines = answer("replay", run_id).splitlines()
    assert lines[0].split() == ["history", "workflow", "events", "code", "difference"]
    assert lines[1].split() == [run_id, "checkout", "11", "agrees"]
    assert lines[2] == "today's code agrees with 1 history"


def test_every_difference_of_every_history_is_shown_and_the_check_fails():
    runs = [completed("o-1"), completed("o-2"), answer("start", "nap")]
    serve(runs[2], until="wait_created")
    exported(runs[0], "history.json")
    change_to(CHANGED)
    result = wdk("replay", "history.json", *runs, "--json", code=1)
    assert result.stderr == "error: today's code differs from 3 of 4 histories\n"
    found = json.loads(result.stdout)["histories"]
    assert [(one["source"], one["agrees"], len(one["differences"])) for one in found] == [
        ("history.json", False, 1),
        (runs[0], False, 1),
        (runs[1], False, 1),
        (runs[2], True, 0),
    ]
    assert all("10.5" in difference for one in found for difference in one["differences"])
    text = wdk("replay", *runs, code=1).stdout
    assert [line.split()[3] for line in text.splitlines()[1:]] == ["differs", "differs", "agrees"]
    assert found[0]["differences"][0] in text


def test_a_folder_is_all_its_histories(shop):
    run_id = completed("o-1")
    (shop / "kept").mkdir()
    exported(run_id, "kept/b.json")
    exported(run_id, "kept/a.json")
    (shop / "kept" / "notes.txt").write_text("none")
    assert [one["source"] for one in document("replay", "kept")["histories"]] == ["kept/a.json", "kept/b.json"]


def test_a_mere_list_of_events_is_a_history_too():
    run_id = completed("o-1")
    events = document("inspect", "events", run_id)["events"]
    Path("events.json").write_text(json.dumps(events))
    (found,) = document("replay", "events.json")["histories"]
    assert (found["workflow_name"], found["agrees"]) == ("workflow//shop//checkout", True)


def test_a_workflow_that_is_gone_is_a_difference():
    run_id = completed("o-1")
    change_to("from wdk_cloud import Workflows\n\napp = Workflows()\n")
    result = wdk("replay", run_id, code=1)
    assert "the app has no workflow 'workflow//shop//checkout'" in result.stdout


def test_a_run_that_no_worker_had_agrees_with_any_code():
    run_id = answer("start", "nap")
    (found,) = document("replay", run_id)["histories"]
    assert (found["events"], found["agrees"]) == (0, True)


def test_what_a_body_prints_stays_out_of_the_document(shop):
    (shop / "shop.py").write_text(
        SHOP.replace("    await sleep(duration)\n", "    await sleep(duration)\n    print(1)\n")
    )
    run_id = answer("start", "nap", "0.001")
    serve(run_id)
    exported(run_id, "history.json")
    cut = json.loads((shop / "history.json").read_text())
    cut["events"] = cut["events"][:-1]
    (shop / "history.json").write_text(json.dumps(cut))
    assert document("replay", "history.json")["histories"][0]["agrees"] is True


@pytest.mark.parametrize(
    ("words", "text", "message"),
    [
        (["gone.json"], "", "there is no file gone.json"),
        (["h.json"], "{", "h.json is no JSON"),
        (["h.json"], "7", 'h.json is no history, it has no "events"; a history is what `wdk inspect events RUN'),
        (["h.json"], "[]", "h.json is no history, nothing in it says of which workflow; a history is what"),
        (["folder"], "", "there is no history (*.json) in the folder folder"),
        (["no run"], "", "a run id is 1 to 128 of A-Z a-z 0-9 _ -, not 'no run'"),
        ([], "", "Missing argument 'HISTORY...'"),
    ],
)
def test_what_is_no_history_is_wrong_usage(shop, words, text, message):
    (shop / "h.json").write_text(text)
    (shop / "folder").mkdir()
    wdk("start", "nap")
    assert message in complaint("replay", *words, code=2)


def test_without_an_app_there_is_nothing_to_compare_with(monkeypatch):
    monkeypatch.delenv("WDK_APP")
    assert "which app?" in complaint("replay", "wrun_0123", code=2)


def test_an_unknown_run_is_a_failure():
    wdk("start", "nap")
    said = complaint("replay", "nobody", code=1)
    assert "run nobody does not exist" in said and "There is no file or folder nobody here either" in said
