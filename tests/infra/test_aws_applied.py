"""The Terraform module, applied to a stand-in for AWS, where Terraform and its provider are found."""

import json
import os
import shutil
from contextlib import closing

import pytest

from tests.infra.modules import initialized, needs_provider, terraform
from tests.infra.rehearsing import ENVIRONMENT, build, here, result, start
from tests.infra.test_aws_terraform import FOLDER
from wdk_aws.testing import deployment, functionurls, ministack

ASKED_FOR = "WDK_TERRAFORM_APPLY"
"""The provider waits for what AWS may take time over: 25 s for a queue, 55 for a lifecycle, ten for a stack. That is more
than all tests of this folder have to themselves, so it is run where somebody asks for it."""


class Applied:
    """What the outputs of an example name, as `rehearsing` asks for it."""

    def __init__(self, account, outputs):
        base = f"{outputs['api_url']['value']}{deployment.ROUTES}api/"
        self.api = functionurls.client(account.url, base, account.session)
        self.public = functionurls.client(account.url, outputs["webhook_url"]["value"] + deployment.ROUTES)

    def close(self):
        self.api.close()
        self.public.close()


@needs_provider("aws")
@pytest.mark.skipif(ASKED_FOR not in os.environ, reason=f"not run here: 1 case of two minutes, {ASKED_FOR} is not set")
@pytest.mark.timeout(400)
def test_the_simple_example_is_applied_and_a_signup_runs(tmp_path):
    package = build(tmp_path) / "function.zip"
    shutil.copytree(FOLDER, tmp_path / "module")
    # The stand-in asks for a right by the name of the request, where AWS has one for both, to send one and to send ten.
    iam = tmp_path / "module/iam.tf"
    iam.write_text(iam.read_text().replace('"sqs:SendMessage"', '"sqs:SendMessage*"'))
    example = tmp_path / "module/examples/simple"
    given = {
        "package": str(package),
        "architecture": here().architecture,
        "environment": {"SIGNUP_SEED": "1"},
    }
    (example / "terraform.tfvars.json").write_text(json.dumps(given))
    initialized(example, "aws")
    folder = tmp_path / "ministack"
    folder.mkdir()
    with ministack.running(ENVIRONMENT, folder) as account:
        place = {"AWS_ENDPOINT_URL": account.url, **ministack.CREDENTIALS}
        terraform(example, "apply", "-auto-approve", "-input=false", "-no-color", **place)
        outputs = json.loads(terraform(example, "output", "-json"))
        with closing(Applied(account, outputs)) as applied:
            assert result(applied, start(applied, "signup", "ada@example.com")) == "user-ada@example.com"
        again = terraform(example, "plan", "-input=false", "-no-color", "-detailed-exitcode", **place)
        assert "No changes." in again
