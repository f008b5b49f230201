"""The template, looked at by those who know all of CloudFormation."""

import re

import pytest

from tests.infra.conftest import REGION, TEMPLATE, run

# Each is a program that takes some ten seconds to start on a machine that does nothing else.
pytestmark = pytest.mark.timeout(240)

WITHOUT = {
    "CKV_AWS_258": "the receiver's URL is public by its purpose; that no other one is has a test of its own",
}
"""Checks of checkov that are left out for all of the template, because the resource is made by SAM and takes no comment.
Those left out for one resource have their reason beside it, in the template."""


def test_sam_finds_nothing_to_say():
    assert "is a valid SAM Template" in run("sam/bin/sam", "validate", "--lint", "--region", REGION, "-t", TEMPLATE)


def test_cfn_lint_finds_nothing_in_what_cloudformation_gets(transformed):
    assert run("sam/bin/cfn-lint", "--regions", REGION, "--template", transformed) == ""


def test_checkov_finds_nothing_that_is_not_justified(transformed, template):
    skipped = ["--skip-check", ",".join(WITHOUT), "--compact"]
    said = run("checkov/bin/checkov", "--skip-download", "--framework", "cloudformation", *skipped, "-f", transformed)
    passed, failed, left_out = map(int, re.findall(r"(?:Passed|Failed|Skipped) checks: (\d+)", said))
    assert failed == 0 and passed > 40
    reasons = [
        skip["comment"]
        for one in template["Resources"].values()
        if one["Type"] != "AWS::Lambda::EventInvokeConfig"  # SAM gives it the metadata of its function
        for skip in one.get("Metadata", {}).get("checkov", {}).get("skip", [])
    ]
    assert left_out == len(reasons) == 17
    assert [reason for reason in reasons if len(reason) < 20] == []
