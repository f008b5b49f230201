"""Names that Google Cloud would refuse in the middle of a deployment, by the patterns of the module."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from wdk_cloud.errors import WorldConfigurationError

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class Rule:
    pattern: str
    said: str


RULES: Mapping[str, Rule] = {
    "project": Rule(
        "^[a-z][a-z0-9-]{4,28}[a-z0-9]$",
        "is no id of a project: 6 to 30 lowercase letters, digits and hyphens, a letter first (not its name or number)",
    ),
    "location": Rule(
        "^[a-z]+-[a-z]+[0-9]+$",
        "is no region of Cloud Run and Cloud Tasks, as europe-west1 is one; a zone or a multi-region is not",
    ),
    "name": Rule(
        "^[a-z][a-z0-9-]{0,19}[a-z0-9]$",
        "cannot begin the names of accounts: 2 to 21 lowercase letters, digits and hyphens, a letter first",
    ),
    "bucket": Rule(
        "^[a-z0-9][a-z0-9_-]{1,61}[a-z0-9]$",
        "is no name of a bucket (Invalid bucket name): 3 to 63 lowercase letters, digits, hyphens and underscores, a "
        "letter or digit first and last",
    ),
}
"""By the module's variables."""

UNNAMED = ("bucket", "")
"""Then it is PROJECT-NAME."""

LIKE_GOOGLE = "g[o0][o0]gle"
"""What no bucket may have in its name, nor `goog` at its beginning:
https://cloud.google.com/storage/docs/buckets#naming"""

FORBIDDEN = f"^goog|{LIKE_GOOGLE}"

RESTRICTED = (
    "cannot be in the name of a bucket (Use of this bucket name is restricted): none begins with goog, or has google "
    "in it, or what looks like that"
)

NAME = "wdk"
"""The module's default for `name`."""

NEEDED = ("project", "location")


def check(variables: Mapping[str, object]) -> None:
    """Raises WorldConfigurationError with all that is wrong."""
    wrong: list[str] = []
    for name, rule in RULES.items():
        value = variables.get(name)
        if value is None and name in NEEDED:
            where = "pass --gcp-project" if name == "project" else "pass --location"
            wrong.append(
                f"the {name} is not known: {where}, set WDK_GCP_{name.upper()}, or write it into the file of variables"
            )
        elif value is not None and not re.search(rule.pattern, str(value)) and (name, value) != UNNAMED:
            wrong.append(f"{name}={value!r} {rule.said}")
    if not wrong and re.search(FORBIDDEN, bucket := _bucket(variables)):
        wrong.append(f"bucket={bucket!r} {RESTRICTED}; unless it is named it is PROJECT-NAME: --var bucket=NAME")
    if wrong:
        raise WorldConfigurationError("nothing was deployed or changed:\n" + "\n".join(wrong))


def _bucket(variables: Mapping[str, object]) -> str:
    """As the module names it."""
    return str(variables.get("bucket") or f"{variables['project']}-{variables.get('name', NAME)}")
