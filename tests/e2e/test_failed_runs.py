"""What `return_value` says of a run that failed."""

import pytest

from tests.e2e.running import Play
from wdk_cloud import FatalError, Workflows


class OutOfStock(Exception):
    pass


RAISED = {
    "KeyError: 'order'": KeyError("order"),
    "FatalError: it is lost": FatalError("it is lost"),
    "OutOfStock: no tea": OutOfStock("no tea"),
    "ZeroDivisionError: ": ZeroDivisionError(),
}


@pytest.mark.parametrize("told", RAISED)
def test_the_error_of_a_failed_run_names_the_type_and_the_text_of_what_the_body_raised(play: Play, told: str) -> None:
    app = Workflows()

    @app.workflow(name="failing")
    async def failing() -> None:
        raise RAISED[told].with_traceback(None)  # it may have been raised before, and grown a traceback

    finished = play(failing)
    assert str(finished.failure) == f"run {finished.run.run_id} of failing failed with USER_ERROR: {told}"
    assert type(finished.error) is type(RAISED[told])


def test_a_run_that_failed_is_in_the_log_with_its_code_apart_from_the_text(
    play: Play, caplog: pytest.LogCaptureFixture
) -> None:
    app = Workflows()

    @app.workflow
    async def failing() -> None:
        raise ValueError("a secret")

    play(failing)
    (line,) = {record.getMessage() for record in caplog.records if hasattr(record, "wdk_failed")}
    assert {record.wdk_failed for record in caplog.records if hasattr(record, "wdk_failed")} == {"USER_ERROR"}
    assert line.endswith(f" of {failing.id} has failed with USER_ERROR") and "secret" not in line
