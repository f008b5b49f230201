"""What somebody gives to `wdk init`, a build or a deployment and cannot be taken: said before anything is changed.

| given | by | the test, which also finds nothing written and nobody asked |
|---|---|---|
| a folder that is not empty, a file, no parent | all | test_a_folder_in_which_there_is_something_is_refused |
| a folder that somebody fills meanwhile | all | test_a_folder_that_somebody_fills_in_the_meantime_stays_as_it_is |
| an unknown cloud, an unknown tool | all | test_an_unknown_cloud_or_tool_is_refused_with_what_there_is |
| a name that no package can have | all | test_a_name_that_no_package_can_have_is_refused |
| a name that AWS refuses | Terraform | test_a_project_for_aws_with_terraform_has_the_module_of_the_package_as_it_is |
| a name that AWS refuses | SAM | test_a_name_that_no_stack_can_have |
| names that follow from the stack's | SAM | test_names_that_the_template_makes_of_that_of_the_stack |
| a name that Google refuses | init | test_a_name_that_the_cloud_would_refuse_is_refused_before_anything_is_written |
| a name that Google refuses | deploy | test_names_and_regions_that_google_would_refuse_are_refused |
| a built template edited by hand | SAM | test_a_build_writes_over_no_edits |
| a built template edited by hand | SAM, --no-build | test_a_template_that_was_edited_since_it_was_built |
| a template that is none, or broken | SAM | test_a_template_that_is_none |
| a template without a place for schedules | SAM | test_a_template_of_ones_own_without_its_mark_is_refused |
| values of a build edited by hand | Terraform on AWS | test_values_of_a_build_for_terraform_that_were_edited_are_kept |
| a copy of the module edited by hand | Terraform on AWS | test_what_was_changed_in_the_copy_is_told_by_its_files |
| a stack beside a copy of the module | Terraform on AWS | test_a_stack_beside_what_terraform_describes_is_refused_with_what_to_type_instead |
| a copy of the module edited by hand | Google | test_the_terraform_of_the_project_is_what_is_deployed_as_it_is_now |
| a copy of the module that lacks something | Google | test_a_copy_of_the_module_that_lacks_what_a_deployment_needs_is_refused |
| the Terraform of a deployment edited by hand | Google | test_what_was_edited_where_a_deployment_copies_its_terraform_to_is_kept |
| what `terraform apply` has made beside a deployment | Google | test_what_terraform_has_made_by_itself_is_not_made_once_more |
| a built image edited by hand | Google | test_what_was_edited_in_a_built_image_is_kept |
| variables that AWS refuses | SAM | test_a_parameter_that_cloudformation_would_refuse |
| variables that AWS refuses | Terraform | test_what_aws_would_refuse_is_refused_before_anything_is_made |
| variables that Google refuses | Terraform | test_what_google_cloud_would_refuse_is_refused_before_anything_is_made |
| variables that Google refuses together | Terraform | test_what_variables_make_together_is_refused_before_anything_is_made |
| a file of variables that is none | Google | test_a_file_of_variables_that_is_none_is_refused |
| a samconfig.toml that does not say enough | SAM | test_a_samconfig_that_does_not_say_enough_is_refused |
"""

import os
import re
import shutil
import sys
from pathlib import Path

import pytest

from tests.unit.test_cli import complaint
from wdk_cloud.packaging import seals
from wdk_gcp.deploying.described import MODULE
from wdk_gcp.packaging.command import SEAL

ROOT = Path(__file__).parents[2]

SOURCE = "from wdk_cloud import Workflows\n\napp = Workflows()\n"

NAMED = ("--gcp-project", "my-project", "--location", "europe-west1", "--yes")


def test_each_test_of_the_table_is_there():
    named = re.findall(r"\| (test_\w+) \|$", __doc__, re.MULTILINE)
    files = [*(ROOT / "tests/infra").glob("*.py"), ROOT / "tests/unit/test_cli_init.py"]
    known = {name for file in files for name in re.findall(r"^def (test_\w+)\(", file.read_text(), re.MULTILINE)}
    assert len(named) == 27 and [name for name in named if name not in known] == []


@pytest.fixture
def project(tmp_path, monkeypatch):
    """An app, and tools that note down that they were called."""
    folder = tmp_path / "app"
    (tmp_path / "bin").mkdir()
    for name in ("sam", "terraform", "gcloud", "docker"):
        tool = tmp_path / "bin" / name
        tool.write_text(f"#!/bin/sh\necho {name} $* >> {tmp_path / 'called'}\n")
        tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{Path(sys.executable).parent}")
    monkeypatch.setattr(sys, "path", list(sys.path))
    folder.mkdir()
    (folder / "given_app.py").write_text(SOURCE)
    monkeypatch.chdir(folder)
    yield folder
    sys.modules.pop("given_app", None)


def refused(project, *words):
    """What is said; nothing was written, and nobody was called."""
    before = contents(project.parent)
    said = complaint(*words, "--app", "given_app:app", code=2)
    assert contents(project.parent) == before
    return said


def contents(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts}


def test_a_template_of_ones_own_without_its_mark_is_refused(project):
    (project / "template.yaml").write_text("Resources: {}\n")
    said = refused(project, "build", "aws")
    assert "the template has no line that begins with '# --- the schedules of the app" in said


def test_values_of_a_build_for_terraform_that_were_edited_are_kept(project):
    values, seal = project / "build/aws/built.tfvars.json", project / "build/aws/built.sha256"
    values.parent.mkdir(parents=True)
    values.write_text("{}\n")
    seals.write(seal, [values])
    values.write_text('{"architecture": "x86_64"}\n')
    said = refused(project, "build", "aws")
    assert "build/aws/built.tfvars.json was edited since it was built, and a build would write over that" in said
    assert "--architecture" in said and f"rm {values.relative_to(project)}" in said


@pytest.fixture
def built(project):
    """As a build of the image leaves it, and a deployment its Terraform."""
    folder = project / "build/gcp"
    for name, text in {
        "image/Dockerfile": "FROM scratch\n",
        "image/app/wdk_build.json": '{"code_version": "1"}',
        "image/requirements.txt": "",
        "schedules.auto.tfvars.json": '{"schedules": []}\n',
    }.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    seals.write(folder / SEAL, [path for path in folder.rglob("*") if path.is_file()])
    return folder


@pytest.mark.parametrize("edited", ["image/Dockerfile", "image/app/more.py", "schedules.auto.tfvars.json"])
def test_what_was_edited_in_a_built_image_is_kept(project, built, edited):
    (built / edited).write_text('{"schedules": [], "mine": 1}')
    said = refused(project, "build", "gcp")
    assert f"nothing was built, deployed or changed: build/gcp/{edited} was edited since it was built" in said
    assert "a build would write over that" in said and "rm build/gcp/built.sha256" in said
    (project.parent / "bin/gcloud").write_text("#!/bin/sh\n")  # deploying asks for the project first
    assert "the next build would undo what you deploy" in refused(project, "deploy", "gcp", "--no-build", *NAMED)


@pytest.mark.parametrize("edited", ["queues.tf", "mine.tf", "wdk.auto.tfvars.json", "backend.tf.json"])
def test_what_was_edited_where_a_deployment_copies_its_terraform_to_is_kept(project, edited):
    root = project / "build/gcp/terraform"
    shutil.copytree(MODULE, root)
    for name in ("wdk.auto.tfvars.json", "backend.tf.json"):
        (root / name).write_text("{}")
    seals.write(root.with_name("terraform.sha256"), [*root.glob("*.tf"), *root.glob("*.json")])
    (root / edited).write_text("# mine\n")
    said = refused(project, "deploy", "gcp", *NAMED)
    assert f"nothing was deployed or changed: build/gcp/terraform/{edited} was edited since it was copied" in said
    assert "Write that into the project's terraform/" in said and "rm build/gcp/terraform.sha256" in said


def test_what_is_without_a_seal_was_left_by_somebody_who_died_and_is_written_anew(project, built):
    (built / SEAL).unlink()
    (built / "image/Dockerfile").write_text("# half")
    assert seals.edited(built / SEAL, [built / "image/Dockerfile"]) == []
