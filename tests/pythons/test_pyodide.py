"""The CPython 3.14 that the npm package `pyodide` carries: every machine can have it, so nobody goes without 3.14.

It has no threads, no processes and 32 bits; what needs those is named here, and everything else has to run.
"""

from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.pythons.environments import pyodide
from tests.pythons.sessions import PATIENCE, UNIT, run, unproven

IMPOSSIBLE = {
    "it cannot start threads": [
        "test_guard.py::test_two_runs_in_two_threads_have_their_own_values",
        "test_guard.py::test_another_thread_sees_nothing_of_a_slice",
        "test_loop.py::test_another_thread_cannot_call_into_a_body",
        "test_closing.py::test_a_body_can_be_closed_from_another_thread",
        "test_slices.py::test_slices_in_two_threads_do_not_disturb_each_other",
        "test_slices.py::test_a_body_that_computes_for_ever_is_stalled",
        "test_slices.py::test_a_body_that_catches_everything_is_stalled_too",
        "test_slices.py::test_it_works_in_another_thread_than_the_first",
        "test_slices.py::test_the_exception_never_strikes_after_the_slice",
        "test_slices.py::test_a_profiler_finds_nothing_left_of_the_exception",
    ],
    "it cannot start processes": [
        "test_guard.py::test_nothing_is_installed_by_importing_and_all_of_it_by_the_first_slice",
        "test_guard.py::test_opening_something_is_refused[<lambda>-run the program 'true']",
        "test_closing.py::test_the_end_of_the_interpreter_closes_what_is_left",
        "test_slices.py::test_a_fixed_hash_seed_is_recognised[0-options0-True]",
        "test_slices.py::test_a_fixed_hash_seed_is_recognised[7-options1-True]",
        "test_slices.py::test_a_fixed_hash_seed_is_recognised[random-options2-False]",
        "test_slices.py::test_a_fixed_hash_seed_is_recognised[-options3-False]",
        "test_slices.py::test_a_fixed_hash_seed_is_recognised[7-options4-False]",
        "test_slices.py::test_the_second_interpreters_hash_is_one_for_all",
    ],
    "its hashes have 32 bits": [
        "test_loop.py::test_tasks_and_futures_hash_by_birth_above_a_base_of_the_run",
    ],
    "it has no time.thread_time": [
        "test_guard.py::test_a_clock_tells_the_time_of_the_last_delivery[<lambda>-1000000000.25_4]",
    ],
    "it has no time.tzset": [
        "test_guard.py::test_naive_now_is_utc_wherever_the_process_runs",
    ],
    "it has no os.getrandom": [
        "test_guard.py::test_bytes_come_from_one_stream",
    ],
    "its standard library is in an archive, where open() finds no file": [
        "test_guard.py::test_innocent_things_work[_packaged_data-result4]",
    ],
    "it has no folder /etc": [
        "test_guard.py::test_innocent_things_work[<lambda>-True2]",
    ],
    "time-machine is written in C, and has no wheel for it": [
        "test_guard.py::test_time_machine_works_beside_it",
        "test_guard.py::test_time_machine_may_start_while_a_slice_runs",
    ],
}


@pytest.mark.timeout(PATIENCE + 120)  # it may have to be fetched first
def test_all_that_needs_neither_threads_nor_processes_passes_on_python_3_14(
    chosen: Sequence[str], tmp_path: Path
) -> None:
    impossible = {f"tests/unit/{test}" for tests in IMPOSSIBLE.values() for test in tests}
    unit = {test for test in chosen if test.partition("::")[0] in UNIT}
    assert impossible <= unit, "these have another name now, or are gone"
    left_out = [f"--deselect={test}" for test in sorted(impossible)]
    # No limit per test: that takes a timer or a thread.
    arguments = [*UNIT, *left_out, "--timeout=0"]
    outcomes = run(pyodide(tmp_path), "/written/outcomes.json", arguments, tmp_path / "outcomes.json")
    assert outcomes.keys() == unit - impossible
    assert unproven(outcomes, outcomes, minor=14) == {}
