"""Which part of a deployment a process is. Apart from the routes, so that whoever serves none needs no framework."""

from __future__ import annotations

from typing import Literal, get_args

from wdk_cloud.errors import WorldConfigurationError

Role = Literal["all", "worker", "receiver"]


def role_of(name: str) -> Role:
    """Raises WorldConfigurationError that lists the roles."""
    for role in get_args(Role):
        if role == name:
            return role
    raise WorldConfigurationError(f"WDK_ROLE={name!r} is not known; there are: {', '.join(get_args(Role))}")
