"""A built template says of itself what it said: whether it was edited since, wherever it lies."""

import json

import pytest
import yaml

from wdk_aws.packaging import marking
from wdk_aws.packaging.marking import is_edited, marked
from wdk_aws.packaging.starting import TEMPLATE

OWN = """\
# The project's own.
Metadata: # ours
  Owner: shop

Resources:
  Worker:
    Type: AWS::Serverless::Function
    Properties:
      CodeUri: function.zip
      Timeout: 900
      Tracing: yes
      Environment: { Variables: { WHERE: !Sub "${AWS::Region}-1", TABLE: !GetAtt Table.Arn, MODE: "off" } }
"""


def written_anew(text: str) -> str:
    """As tools do that put the code somewhere: without comments, in another order, with long forms."""
    said = marking.read(text)
    for resource in said["Resources"].values():
        if "CodeUri" in resource.get("Properties", {}):
            resource["Properties"]["CodeUri"] = "s3://artifacts/0123"
    return yaml.safe_dump(said, sort_keys=True)


def test_the_mark_is_a_line_of_the_metadata_and_nothing_else_changes() -> None:
    text = marked(OWN)
    (line,) = set(text.splitlines()) - set(OWN.splitlines())
    assert line.startswith("  WdkCloud: { Template: sha256-") and text.replace(f"{line}\n", "") == OWN
    assert marking.read(text)["Metadata"]["Owner"] == "shop"
    assert marked(text) == text
    without = OWN.replace("Metadata: # ours\n  Owner: shop\n\n", "")
    assert marked(without).startswith(without) and is_edited(marked(without)) is False
    assert marked(marked(without)) == marked(without)


@pytest.mark.parametrize("text", [OWN, TEMPLATE.read_text("utf-8")], ids=["small", "the packaged one"])
def test_how_it_is_written_and_what_a_deployment_fills_in_are_no_edits(text: str) -> None:
    built = marked(text)
    assert is_edited(built) is False
    assert is_edited(written_anew(built)) is False
    assert is_edited(json.loads(json.dumps(marking.read(built), default=str))) is False  # as boto3 gives one in JSON
    assert is_edited(built.replace("Tracing: yes", "Tracing: true")) is False
    assert is_edited(f"{built}# a comment\n") is False


@pytest.mark.parametrize(
    ("before", "after"), [("900", "300"), ("-1", "-2"), ("Table.Arn", "Table.Name"), ('"off"', "off")]
)
def test_what_it_says_otherwise_is_an_edit(before: str, after: str) -> None:
    edited = marked(OWN).replace(before, after)
    assert is_edited(edited) is True
    assert is_edited(written_anew(edited)) is True
    assert is_edited(marked(edited)) is False  # it was built anew


@pytest.mark.parametrize("text", ["Resources: [", "Metadata: { Owner: shop }\nResources: {}\n", "a", ""])
def test_what_cannot_be_marked_is_left_as_it_is(text: str) -> None:
    assert marked(text) == text


@pytest.mark.parametrize("body", [OWN, "Resources: {}", "a", "", {"Resources": {}}, {"Metadata": {"WdkCloud": 1}}])
def test_of_a_template_without_a_mark_nothing_is_said(body: object) -> None:
    assert is_edited(body) is None
