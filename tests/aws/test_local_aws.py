"""The fixture `local_aws`, as a user's test has it."""

from __future__ import annotations

import asyncio
import os

from wdk_aws.settings import AwsSettings
from wdk_cloud import Workflows, get_run, start
from wdk_cloud.world.opening import close_worlds

pytest_plugins = ("pytester",)

app = Workflows()


@app.step(dispatch="queue")
async def double(number: int) -> int:
    return 2 * number


@app.workflow
async def doubled(numbers: list[int]) -> list[int]:
    return list(await asyncio.gather(*map(double, numbers)))


def result_of(run_id: str) -> object:
    async def ask() -> object:
        try:
            return await get_run(run_id).return_value(timeout=5)
        finally:
            await close_worlds()

    return asyncio.run(ask())


def test_a_run_is_worked_on_when_the_test_says_so(local_aws):
    async def begin() -> str:
        try:
            return (await start(doubled, [1, 2, 3])).run_id
        finally:
            await close_worlds()

    run_id = asyncio.run(begin())
    assert local_aws.work(app) >= 4  # the run, and three steps
    assert result_of(run_id) == [2, 4, 6]
    assert local_aws.work(app) == 0


def test_the_variables_name_what_is_there_and_boto3_sees_it(local_aws):
    assert AwsSettings.from_environment() == local_aws.settings
    assert os.environ["WDK_WORLD"] == "aws"
    assert local_aws.session.client("dynamodb").list_tables()["TableNames"] == ["wdk"]
    names = {url.rpartition("/")[2] for url in local_aws.session.client("sqs").list_queues()["QueueUrls"]}
    assert names == {"wdk-flow", "wdk-flow-dead", "wdk-step", "wdk-step-dead"}


def test_each_test_has_an_account_of_its_own(local_aws):
    assert local_aws.session.client("dynamodb").scan(TableName="wdk")["Count"] == 0


def test_pytest_finds_the_fixture_by_itself_and_imports_no_sdk_for_it(pytester):
    pytester.makepyfile("""
        import sys

        def test_nothing_is_imported():
            assert "boto3" not in sys.modules and "moto" not in sys.modules
    """)
    done = pytester.runpytest_subprocess("-p", "no:randomly", "--fixtures")
    done.stdout.fnmatch_lines(["local_aws*"])
    pytester.runpytest_subprocess("-p", "no:randomly").assert_outcomes(passed=1)
