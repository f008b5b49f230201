"""What the tests of both Terraform modules share: the module's face, and Terraform itself where it is found."""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.infra.conftest import run
from tests.infra.hcl import module, references

TERRAFORM = shutil.which("terraform")

needs_terraform = pytest.mark.skipif(TERRAFORM is None, reason="not run here: 1 case, terraform is not installed")

MIRRORS = ("~/.terraform.d/plugins", "/usr/local/share/terraform/plugins", "/usr/share/terraform/plugins")
"""Where Terraform looks for providers by itself: https://developer.hashicorp.com/terraform/cli/config/config-file."""


def provider(*names):
    """The folder of a mirror that has these providers; nothing is fetched here."""
    folders = [Path(one).expanduser() for one in (os.environ.get("TF_PLUGIN_CACHE_DIR", ""), *MIRRORS) if one]
    folders += sorted(Path("/opt").glob("*"))
    wanted = [f"registry.terraform.io/hashicorp/{name}/*" for name in names]
    return next((one for one in folders if all(list(one.glob(each)) for each in wanted)), None)


def needs_provider(*names):
    told = " or ".join(f"the provider hashicorp/{name}" for name in names)
    reason = f"not run here: 1 case, terraform or {told} is not here"
    return pytest.mark.skipif(TERRAFORM is None or provider(*names) is None, reason=reason)


def terraform(folder, *words, code=0, **more):
    home = {"PATH": str(Path(TERRAFORM).parent), "HOME": str(folder), "CHECKPOINT_DISABLE": "1"}
    done = subprocess.run(
        [TERRAFORM, f"-chdir={folder}", *words],
        env={**home, "TF_IN_AUTOMATION": "1", "AWS_EC2_METADATA_DISABLED": "true", **more},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == code, f"{done.stdout}\n{done.stderr}"
    return done.stdout + done.stderr


def initialized(folder, *names):
    """With the providers of a mirror."""
    terraform(folder, "init", "-backend=false", "-input=false", f"-plugin-dir={provider(*names)}")
    return folder


def unframed(said):
    """What Terraform says, without the frames and line breaks of its messages."""
    return " ".join(re.sub(r"[│╷╵]", " ", said).split())


def refusals(folder, wrong, **given):
    """What Terraform says of wrong values of variables, of a folder that asks no provider; each is refused by itself."""
    (folder / "terraform.tfvars.json").write_text(
        json.dumps({**given, **{name: bad for name, (bad, _) in wrong.items()}})
    )
    said = unframed(terraform(folder, "plan", "-no-color", "-input=false", code=1))
    assert [name for name, (_, message) in wrong.items() if message not in said] == []
    assert said.count("Invalid value for variable") == len(wrong)
    return said


# --- the module's face ------------------------------------------------------------------------------------------------


def check_variables(made):
    """Each is explained, typed, used, and checked by itself: older versions of Terraform know no other variable there."""
    for name, one in made.variables.items():
        assert len(one["description"]) > 5 and "type" in one, name
        for rule in one.get("validation", []):
            assert references(rule["condition"], "var") == {name}
    outside = "\n".join(path.read_text() for path in made.folder.glob("*.tf") if path.name != "variables.tf")
    assert references(outside, "var") == set(made.variables)
    assert references(outside, "local") == set(made.locals), "a local that nobody uses, or that there is not"


def inputs(made):
    """The rows of the README."""
    for name, one in made.variables.items():
        kind = one["type"].removeprefix("${").removesuffix("}")
        default = f"`{json.dumps(one['default'])}`" if "default" in one else "needed"
        yield f"| `{name}` | {one['description']} | `{kind}` | {default} |"


def outputs(made):
    for name, one in made.outputs.items():
        yield f"| `{name}` | {one['description']} |"


def rows(made, title):
    """Of a table in the README, without its head."""
    section = (made.folder / "README.md").read_text().partition(f"## {title}\n")[2].partition("\n## ")[0]
    return re.findall(r"^\| `.*\|$", section, re.M)


def check_readme(made):
    assert rows(made, "Inputs") == list(inputs(made))
    assert rows(made, "Outputs") == list(outputs(made))


def check_example(made, name):
    example = module(made.folder / "examples" / name)
    (call,) = example.modules.values()
    needed = {one for one, body in made.variables.items() if "default" not in body}
    assert needed <= set(call) - {"source"} <= set(made.variables)
    assert (made.folder / "examples" / name / call["source"]).resolve() == made.folder
    assert example.terraform["required_providers"] == made.terraform["required_providers"]
    for output in example.outputs.values():
        assert references(output["value"], "module.wdk") <= set(made.outputs)


def checkov(made):
    """How many checks pass, and each that is skipped with its reason; none fails, and no reason is out of date."""
    said = run("checkov/bin/checkov", "--skip-download", "--framework", "terraform", "--compact", "-d", made.folder)
    passed, failed, _ = map(int, re.findall(r"(?:Passed|Failed|Skipped) checks: (\d+)", said))
    reasons = re.findall(r"#checkov:skip=(\w+):(.*)", made.text())
    assert failed == 0 and [reason for _, reason in reasons if len(reason) < 20] == []
    assert {check for check, _ in reasons} == set(re.findall(r"Check: (\w+): .*\n\tSKIPPED", said))
    return passed, reasons


def check_format(made):
    assert terraform(made.folder, "fmt", "-check", "-recursive", "-list=true") == ""


CHECK = """
output "check_{number}" {{
  value = 1
  precondition {{
    condition     = {condition}
    error_message = "{message}"
  }}
}}
"""


def preconditions(made):
    """Those of resources that ask for variables alone, as outputs of a folder that asks no provider."""
    rules = [
        rule
        for named in made.resources.values()
        for body in named.values()
        for lifecycle in body.get("lifecycle", [])
        for rule in lifecycle.get("precondition", [])
    ]
    return "".join(
        CHECK.format(number=number, condition=rule["condition"][2:-1], message=rule["error_message"])
        for number, rule in enumerate(rules)
    )
