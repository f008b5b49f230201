"""Run by the environment of aws-sam-cli: prints what CloudFormation makes of a SAM template, as JSON, asking nobody.

Most of what is wrong with a template shows only there; what it needs of the account are the ARNs of managed policies,
and this template names none by a name of SAM's.
"""

import json
import sys
from pathlib import Path

import boto3
from samtranslator.parser.parser import Parser
from samtranslator.translator.translator import Translator
from samtranslator.yaml_helper import yaml_parse

CODE = "s3://bucket/function.zip"
"""`sam deploy` puts the place of the zip that it has uploaded there."""

template = yaml_parse(Path(sys.argv[1]).read_text("utf-8"))
template["Globals"]["Function"]["CodeUri"] = CODE
session = boto3.Session(region_name=sys.argv[2])
print(json.dumps(Translator({}, Parser(), boto_session=session).translate(template, {}), indent=1))
