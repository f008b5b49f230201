"""`wdk deploy gcp`, with terraform, gcloud and docker that keep what they are asked and answer as they are told."""

import json
import os
import re
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from tests.infra.hcl import module
from tests.unit.test_cli import complaint, wdk
from wdk_cloud.cli.console import CommandError
from wdk_gcp.deploying import described, losses, naming
from wdk_gcp.deploying.described import MODULE
from wdk_gcp.deploying.image import Image
from wdk_gcp.packaging import context as contexts

ROOT = Path(__file__).parents[2]

TOOL = f"""#!{sys.executable} -IS
import json, os, sys
from pathlib import Path
folder = Path(os.environ["STANDING_IN"])
name, words = Path(sys.argv[0]).name, sys.argv[1:]
with (folder / "calls").open("a") as calls:
    calls.write(json.dumps([name, *words]) + "\\n")
answers = json.loads((folder / "answers").read_text())
line = " ".join([name, *words])
for pattern, answer in answers:
    if pattern in line:
        print(answer.get("out", ""))
        print(answer.get("err", ""), file=sys.stderr)
        sys.exit(answer.get("code", 0))
"""
"""The first answer whose words are in the call; none is an empty one, and all is well."""

SOURCE = """
from wdk_cloud import Workflows

app = Workflows()

@app.workflow(schedule="every 1 hour", name="hourly")
async def hourly() -> None: ...
"""

OUTPUTS = {
    "public_url": {"value": "https://wdk-public-1.europe-west1.run.app"},
    "api_url": {"value": "https://wdk-turns-1.europe-west1.run.app"},
    "environment": {"value": {"WDK_WORLD": "gcp", "WDK_GCP_PROJECT": "my-project", "WDK_GCP_KMS_KEY": ""}},
}


def change(type, actions, name="x", **before):
    address = f"{type}.{name}"
    return {"address": address, "type": type, "name": name, "change": {"actions": actions, "before": before or None}}


CREATED = [change("google_firestore_database", ["create"]), change("google_cloud_tasks_queue", ["create"])]

NAMED = ("--gcp-project", "my-project", "--location", "europe-west1")


class Cloud:
    """What the tools are told to say, and what they were asked."""

    def __init__(self, folder):
        self.folder = folder
        self.plan = CREATED
        self.answers = []
        self.builds = False
        for name in ("terraform", "gcloud", "docker"):
            (folder / "bin").mkdir(exist_ok=True)
            path = folder / "bin" / name
            path.write_text(TOOL)
            path.chmod(path.stat().st_mode | stat.S_IXUSR)

    def deploy(self, *words, code=0):
        told = [
            *self.answers,
            ("show -json", {"out": json.dumps({"resource_changes": self.plan})}),
            ("output -json", {"out": json.dumps(OUTPUTS)}),
            ("images describe", {"code": 1}),
            ("repositories describe", {"code": 1}),
            (" plan ", {"out": "Plan: 2 to add, [bold]0 to change."}),
        ]
        (self.folder / "answers").write_text(json.dumps(told))
        (self.folder / "calls").write_text("")
        command = ("deploy", "gcp", "--app", "hourly_app:app", *words)
        if not self.builds:
            command += ("--no-build",)
        return complaint(*command, code=code) if code else wdk(*command).stdout

    @property
    def calls(self):
        return [json.loads(line) for line in (self.folder / "calls").read_text().splitlines()]

    @property
    def verbs(self):
        """Without options and folders."""
        return [" ".join(word for word in call if not re.match(r"[-/]", word)) for call in self.calls]


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    folder = tmp_path_factory.mktemp("built")
    (folder / "hourly_app.py").write_text(SOURCE)
    wdk("build", "gcp", "--app", "hourly_app:app", "--project", str(folder), "--output", str(folder / "build/gcp"))
    sys.path.remove(str(folder))
    del sys.modules["hourly_app"]
    return folder


@pytest.fixture
def cloud(built, tmp_path, monkeypatch):
    shutil.copytree(built, tmp_path / "app")
    monkeypatch.chdir(tmp_path / "app")
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "hourly_app", raising=False)
    for name in ("WDK_APP", "WDK_GCP_PROJECT", "WDK_GCP_LOCATION"):
        monkeypatch.delenv(name, raising=False)
    made = Cloud(tmp_path)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{Path(sys.executable).parent}")
    monkeypatch.setenv("STANDING_IN", str(tmp_path))
    yield made
    sys.modules.pop("hourly_app", None)


ASKED_FIRST = ["gcloud projects describe my-project value(projectId)", "terraform init", "terraform plan"]
ONLY_LOOKS = [*ASKED_FIRST, "terraform show"]


def test_a_first_deployment_builds_shows_pushes_and_applies_what_was_shown(cloud):
    cloud.builds = True
    shutil.rmtree("build")
    said = cloud.deploy(*NAMED, "--var", "mode=single", "--yes")
    assert "Plan: 2 to add, [bold]0 to change." in said
    context = Path("build/gcp/image")
    variables = json.loads(Path("build/gcp/terraform/wdk.auto.tfvars.json").read_text())
    image = variables["image"]
    assert re.fullmatch(r"europe-west1-docker\.pkg\.dev/my-project/wdk/wdk:[0-9a-f]{20}", image)
    assert cloud.verbs == [
        *ONLY_LOOKS,
        f"gcloud artifacts docker images describe {image} my-project",
        "gcloud artifacts repositories describe wdk europe-west1 my-project",
        "gcloud services enable artifactregistry.googleapis.com my-project",
        "gcloud artifacts repositories create wdk docker Images of wdk-cloud europe-west1 my-project",
        "gcloud auth configure-docker europe-west1-docker.pkg.dev",
        f"docker build linux/amd64 {image} {context}",
        f"docker push {image}",
        "terraform apply",
        "terraform output",
    ]
    assert (variables["project"], variables["mode"]) == ("my-project", "single")
    (entry,) = variables["schedules"]
    assert entry["workflow"] == "hourly"
    assert {path.name for path in Path("build/gcp/terraform").glob("*.tf")} == {
        path.name for path in MODULE.glob("*.tf")
    }
    state = Path.cwd() / ".wdk/gcp/wdk.tfstate"
    backend = json.loads(Path("build/gcp/terraform/backend.tf.json").read_text())
    assert backend == {"terraform": {"backend": {"local": {"path": str(state)}}}}
    assert f"state {state}; keep it" in " ".join(said.split())
    exports = re.findall(r"^export (.*)$", said, re.M)
    assert exports == ["WDK_WORLD=gcp", "WDK_GCP_PROJECT=my-project"]


def test_what_is_carried_out_is_the_plan_that_was_shown_whatever_others_plan_meanwhile(cloud):
    plans = []
    for _ in range(2):
        cloud.deploy(*NAMED, "--yes")
        (made,) = [word.removeprefix("-out=") for call in cloud.calls for word in call if word.startswith("-out=")]
        read = [call[-1] for call in cloud.calls if {"show", "apply"} & set(call)]
        assert read == [made, made] and not Path(made).parent.exists()
        plans.append(made)
    assert plans[0] != plans[1]


def test_the_same_image_is_not_made_twice_and_cloud_build_needs_no_docker(cloud):
    cloud.answers = [("images describe", {})]
    cloud.deploy(*NAMED, "--yes")
    assert not [call for call in cloud.calls if call[0] == "docker"]
    cloud.answers = []
    (cloud.folder / "bin/docker").unlink()
    cloud.deploy(*NAMED, "--yes", "--builder", "cloud")
    building = [" ".join(call[:4]) for call in cloud.calls if {"submit", "cloudbuild.googleapis.com"} & set(call)]
    assert building == ["gcloud services enable cloudbuild.googleapis.com", "gcloud builds submit build/gcp/image"]


def test_without_changes_nothing_is_pushed_and_a_dry_run_only_looks(cloud):
    said = cloud.deploy(*NAMED, "--dry-run")
    assert said.endswith("nothing was changed\n") and cloud.verbs == ONLY_LOOKS
    cloud.plan = [change("google_storage_bucket", ["no-op"])]
    assert "everything is up to date" in cloud.deploy(*NAMED)
    assert cloud.verbs == [*ONLY_LOOKS, "terraform output"]


def test_where_nobody_can_be_asked_nothing_is_done_without_yes(cloud):
    assert "nobody can be asked here; add --yes" in cloud.deploy(*NAMED, code=2)
    assert cloud.verbs == ONLY_LOOKS


# --- data -------------------------------------------------------------------------------------------------------------

LOSSES = [
    (change("google_firestore_database", ["delete", "create"], name="wdk"), "the runs"),
    (change("google_storage_bucket", ["delete"], name="my-project-wdk"), "large values and streams"),
    (change("google_cloud_tasks_queue", ["create", "delete"], name="wdk-flow"), "the messages that wait in it"),
    (change("google_kms_crypto_key_iam_member", ["delete"], "worker"), "cannot be opened any more"),
]


@pytest.mark.parametrize(("loss", "said"), LOSSES)
def test_what_would_take_data_away_is_refused_unless_it_is_said(cloud, loss, said):
    cloud.plan = [loss]
    told = cloud.deploy(*NAMED, "--yes", code=2)
    assert "data would go, so nothing was changed" in told and loss["address"] in told and said in told
    assert cloud.verbs == ONLY_LOOKS
    cloud.deploy(*NAMED, "--yes", "--delete-data")
    assert "terraform apply" in cloud.verbs


def bucket(*ages, actions=("update",), before=(730,)):
    rules = [[{"action": [{"type": "Delete"}], "condition": [{"age": age}]} for age in each] for each in (before, ages)]
    states = [{"name": "my-project-wdk", "lifecycle_rule": each} for each in rules]
    told = dict(zip(("before", "after"), states, strict=True))
    return {**change("google_storage_bucket", list(actions)), "change": {"actions": list(actions), **told}}


def test_a_bucket_that_keeps_objects_for_less_time_takes_some_of_live_runs_away():
    (line,) = losses.found({"resource_changes": [bucket(60)]})
    assert line == (
        "google_storage_bucket.x keeps objects for 60 days, and no longer for 730: large values and streams that are "
        "older go, those of runs that live among them"
    )
    (line,) = losses.found({"resource_changes": [bucket(60, before=())]})
    assert "for 60 days, and no longer for ever" in line
    kept = [bucket(730), bucket(), bucket(60, before=(60,)), bucket(730, before=(60,)), bucket(60, actions=["no-op"])]
    assert losses.found({"resource_changes": kept}) == []


def test_what_holds_no_data_may_go():
    others = [
        change("google_cloud_run_v2_service", ["delete", "create"]),
        change("google_kms_crypto_key_iam_member", ["delete"], "receiver"),
        change("google_firestore_field", ["delete"]),
        change("google_firestore_database", ["update"]),
    ]
    assert losses.found({"resource_changes": others}) == []
    assert losses.counted({"resource_changes": others}) == {"create": 0, "change": 1, "replace": 1, "remove": 2}
    assert losses.found({}) == []


def test_what_holds_data_is_in_the_module():
    resources = module(ROOT / "infra/gcp/terraform").resources
    assert set(losses.HOLDS) <= set(resources)
    kind, name = losses.RIGHT_TO_OPEN
    assert name in resources[kind]


# --- what is wrong is said before anything is done --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "the project is not known: pass --gcp-project, set WDK_GCP_PROJECT"),
        (("--gcp-project", "my-project"), "the location is not known: pass --location, set WDK_GCP_LOCATION"),
        (("--gcp-project", "My Project", "--location", "europe-west1"), "project='My Project' is no id of a project"),
        (("--gcp-project", "my-project", "--location", "eur3"), "location='eur3' is no region"),
        ((*NAMED, "--var", "name=Orders"), "name='Orders' cannot begin the names of accounts"),
        ((*NAMED, "--var", "bucket=Things"), "bucket='Things' is no name of a bucket (Invalid bucket name): 3 to 63"),
        ((*NAMED, "--var", "name=my-google"), f"bucket='my-project-my-google' {naming.RESTRICTED}; unless it is named"),
        ((*NAMED, "--var", "bucket=goog-1"), "bucket='goog-1' cannot be in the name of a bucket (Use of this bucket"),
    ],
)
def test_names_and_regions_that_google_would_refuse_are_refused(cloud, words, said):
    shutil.rmtree("build")
    told = cloud.deploy(*words, "--yes", code=2)
    assert "nothing was deployed or changed" in told and said in told
    assert cloud.calls == [] and not Path("build").exists()


def test_a_bucket_of_another_name_lets_the_app_have_its_own():
    naming.check({"project": "my-project", "location": "europe-west1", "name": "my-google", "bucket": "things-of-mine"})
    naming.check({"project": "my-project", "location": "europe-west1", "bucket": ""})


def test_patterns_of_names_are_those_of_the_module():
    variables = module(ROOT / "infra/gcp/terraform").variables
    for name, rule in naming.RULES.items():
        (validation,) = variables[name]["validation"]
        assert f'regex("{rule.pattern}", var.{name})' in validation["condition"]


def test_tools_that_are_missing_are_all_named_with_where_they_come_from(cloud):
    shutil.rmtree("build")
    for name in ("terraform", "docker"):
        (cloud.folder / "bin" / name).unlink()
    told = cloud.deploy(*NAMED, "--yes", code=2)
    assert "terraform is not in the PATH: https://developer.hashicorp.com/terraform/install" in told
    assert "docker is not in the PATH" in told and "--builder cloud" in told and "gcloud is not" not in told
    assert cloud.calls == [] and not Path("build").exists()


@pytest.mark.parametrize(
    ("failing", "said", "pushed"),
    [
        ("projects describe", "the project my-project cannot be seen: gcloud says", False),
        ("terraform init", "Terraform cannot begin: terraform says", False),
        (" plan ", "nothing was deployed or changed, as Terraform has no plan: terraform says", False),
        ("repositories create", "no repository for the image could be made, and nothing was deployed", False),
        ("docker push", "the image was not made, and nothing was deployed: docker ended with 1", True),
        (" apply ", "`wdk deploy gcp` once more goes on where this has ended: terraform ended with 1", True),
    ],
)
def test_a_tool_that_fails_is_quoted_and_what_was_done_is_said(cloud, failing, said, pushed):
    words = failing if " -chdir" in failing else failing.replace("terraform init", "init -input")
    cloud.answers = [(words, {"code": 1, "err": "the disk is full"})]
    told = cloud.deploy(*NAMED, "--yes", code=1)
    assert said in told and (pushed or "the disk is full" in told)
    assert (["terraform", "apply"] in [call[:1] + call[2:3] for call in cloud.calls]) == (failing == " apply ")


# --- variables and state ----------------------------------------------------------------------------------------------


def test_variables_of_the_file_are_those_of_each_deployment_and_the_command_line_wins(cloud, monkeypatch):
    Path("gcp.tfvars.json").write_text(json.dumps({"project": "my-project", "location": "us-east1", "name": "orders"}))
    monkeypatch.setenv("WDK_GCP_LOCATION", "europe-west1")
    cloud.deploy("--var", 'max_instances={"turns": 3}', "--dry-run")
    variables = json.loads(Path("build/gcp/terraform/wdk.auto.tfvars.json").read_text())
    assert (variables["location"], variables["name"]) == ("europe-west1", "orders")
    assert variables["max_instances"] == {"turns": 3}
    assert variables["image"].startswith("europe-west1-docker.pkg.dev/my-project/wdk/orders:")
    assert Path(".wdk/gcp").exists()


@pytest.mark.parametrize(
    ("text", "said"), [("{", "is not JSON"), ("[]", "is not an object of JSON"), (None, "cannot be read")]
)
def test_a_file_of_variables_that_is_none_is_refused(cloud, text, said):
    if text is not None:
        Path("mine.json").write_text(text)
    assert said in cloud.deploy("--var-file", "mine.json", code=2)
    assert "--var 'x' is not NAME=VALUE" in cloud.deploy(*NAMED, "--var", "x", code=2)
    assert cloud.calls == []


def test_the_state_lies_in_one_place(cloud):
    said = cloud.deploy(*NAMED, "--state-bucket", "my-state", "--yes")
    backend = json.loads(Path("build/gcp/terraform/backend.tf.json").read_text())
    assert backend == {"terraform": {"backend": {"gcs": {"bucket": "my-state", "prefix": "wdk"}}}}
    assert "state" not in said
    state = Path(".wdk/gcp/wdk.tfstate")
    state.write_text("{}")
    told = cloud.deploy(*NAMED, "--state-bucket", "my-state", "--yes", code=2)
    assert "gs://my-state/wdk/default.tfstate" in told and "Move it first" in told
    assert cloud.calls == []


def test_what_terraform_has_made_by_itself_is_not_made_once_more(cloud):
    copied()
    other, state = Path("terraform/terraform.tfstate"), Path.cwd() / ".wdk/gcp/wdk.tfstate"
    other.write_text(json.dumps({"version": 4, "resources": [{"type": "google_firestore_database"}]}))
    said = cloud.deploy(*NAMED, "--yes", code=2)
    assert "terraform/terraform.tfstate says that `terraform apply` has made this app from there" in said
    assert cloud.calls == [] and not Path(".wdk").exists()
    (typed,) = re.findall(r"with that state: (mkdir .*)$", said)
    assert typed == f"mkdir -p {state.parent} && mv terraform/terraform.tfstate {state}"
    subprocess.run(typed, shell=True, check=True, env={"PATH": os.defpath})
    cloud.deploy(*NAMED, "--dry-run")
    backend = json.loads(Path("build/gcp/terraform/backend.tf.json").read_text())
    assert backend == {"terraform": {"backend": {"local": {"path": str(state)}}}}


@pytest.mark.parametrize("text", ['{"version": 4, "resources": []}', "{", "[]"])
def test_a_state_of_terraform_in_which_there_is_nothing_is_in_nobodys_way(cloud, text):
    copied()
    Path("terraform/terraform.tfstate").write_text(text)
    cloud.deploy(*NAMED, "--dry-run")
    assert "terraform plan" in cloud.verbs


# --- Terraform of the project's own -----------------------------------------------------------------------------------


def copied():
    """The module, as `wdk init` puts it into a project, without its newlines at the end: as somebody has changed it."""
    for file in MODULE.glob("*.tf"):
        Path("terraform").mkdir(exist_ok=True)
        Path("terraform", file.name).write_text(file.read_text().rstrip())


def deployed():
    root = Path("build/gcp/terraform")
    return {path.relative_to(root).as_posix(): path.read_text() for path in root.rglob("*.tf")}


def test_the_terraform_of_the_project_is_what_is_deployed_as_it_is_now(cloud):
    copied()
    Path("terraform/mine.tf").write_text('module "pages" { source = "./pages" }')
    for path in ("terraform/pages/main.tf", "terraform/.terraform/fetched.tf", "terraform/examples/main.tf"):
        Path(path).parent.mkdir()
        Path(path).write_text("# mine")
    cloud.deploy(*NAMED, "--dry-run")
    files = {path.relative_to("terraform").as_posix(): path.read_text() for path in Path("terraform").glob("*.tf")}
    assert deployed() == {**files, "pages/main.tf": "# mine"}
    Path("terraform/mine.tf").unlink()
    cloud.deploy(*NAMED, "--dry-run")
    assert "mine.tf" not in deployed() and "main.tf" in deployed()


def test_terraform_for_other_things_is_none_of_ours(cloud):
    Path("terraform").mkdir()
    Path("terraform/main.tf").write_text('variable "project" {}')
    cloud.deploy(*NAMED, "--dry-run")
    assert deployed() == {path.name: path.read_text() for path in MODULE.glob("*.tf")}


def test_a_copy_of_the_module_that_lacks_what_a_deployment_needs_is_refused(cloud):
    copied()
    variables = Path("terraform/variables.tf")
    variables.write_text(variables.read_text().replace('variable "schedules"', 'variable "timetable"'))
    Path("terraform/outputs.tf").unlink()
    said = cloud.deploy(*NAMED, "--yes", code=2)
    lacking = 'output "api_url", output "environment", output "public_url", variable "schedules"'
    assert f"nothing was deployed or changed: terraform lacks {lacking}, which a deployment needs" in said
    assert cloud.calls == [] and not Path("build/gcp/terraform").exists()
    Path("terraform").rename("cloud")
    assert f"cloud lacks {lacking}" in cloud.deploy(*NAMED, "--terraform", "cloud", code=2)
    Path("build/gcp/terraform").mkdir()
    said = cloud.deploy(*NAMED, "--terraform", "build/gcp/terraform", code=2)
    assert "build/gcp/terraform is where a deployment copies its Terraform to, and would be written over" in said


def test_terraform_of_somebody_else_is_not_written_over(cloud):
    copied()
    Path("terraform").rename("cloud")
    Path("terraform").mkdir()
    Path("terraform/network.tf").write_text("# mine")
    shutil.copytree("build/gcp/image", "image")
    said = cloud.deploy(*NAMED, "--terraform", "cloud", "--output", ".", "--yes", code=2)
    assert "nothing was deployed or changed: terraform has Terraform that no deployment has put there" in said
    assert cloud.calls == [] and [path.name for path in Path("terraform").iterdir()] == ["network.tf"]


def test_what_a_deployment_needs_of_the_module_is_in_it(tmp_path):
    assert described.folder_of(tmp_path, MODULE, tmp_path / "build") == MODULE
    assert described.folder_of(tmp_path, None, tmp_path / "build") == MODULE


def test_a_build_that_ended_half_way_is_none(cloud):
    Path("build/gcp/built.sha256").unlink()  # a build takes it away before it writes
    for path in ("build/gcp/schedules.auto.tfvars.json", "build/gcp/image/app/wdk_build.json"):
        for content in ("{}", "[]", "{", None):
            Path(path).write_text(content) if content else Path(path).unlink()
            assert "is nothing that `wdk build gcp` has made: " in cloud.deploy(*NAMED, code=2)
        Path(path).write_text('{"schedules": [], "code_version": "1.abc"}')
    assert cloud.deploy(*NAMED, "--dry-run").endswith("nothing was changed\n")


def test_without_a_build_there_has_to_be_one(cloud):
    shutil.rmtree("build")
    assert "is nothing that `wdk build gcp` has made" in cloud.deploy(*NAMED, code=2)


def test_no_image_is_made_of_what_was_built_since(cloud):
    cloud.deploy(*NAMED, "--dry-run")
    before, context = cloud.calls, Path("build/gcp/image")
    image = Image("my-project", "europe-west1", "wdk", contexts.read(context).sha256)
    Path(context, "app/more.py").write_text("")
    with pytest.raises(
        CommandError, match=r"image was built anew while this deployment went on, and nothing was deployed"
    ):
        image.push(context, "docker")
    assert cloud.calls == before


def test_an_image_has_the_hash_of_what_it_is_made_of():
    image = Image("my-project", "europe-west1", "wdk", "a" * 64)
    assert image.path == f"europe-west1-docker.pkg.dev/my-project/wdk/wdk:{'a' * 20}"
    rule = module(ROOT / "infra/gcp/terraform").variables["image"]["validation"][0]["condition"]
    (pattern,) = re.findall(r'regex\("(\^\[a-z0-9.*?)", var\.image', rule)
    assert re.search(pattern.replace("\\\\", "\\"), image.path)
