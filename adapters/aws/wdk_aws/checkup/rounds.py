"""One check-up: what is looked at, in which order."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import fields, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from wdk_aws.checkup import buckets, callers, functions, queues, roles, stacks, tables
from wdk_aws.checkup.account import Account, looked, quoted
from wdk_aws.policies import Place
from wdk_aws.schedules import DEAD
from wdk_aws.settings import VARIABLES, AwsSettings
from wdk_cloud import durations
from wdk_cloud.engine.settings import Settings
from wdk_cloud.findings import Finding

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from wdk_aws.checkup.functions import Function
    from wdk_aws.rights import Resource

FUNCTION = (
    "export WDK_FUNCTION=$(aws cloudformation describe-stacks --stack-name wdk-app --query "
    "\"Stacks[0].Outputs[?OutputKey=='WorkerName'].OutputValue\" --output text)"
)
"""Of the stack that docs/aws.md makes."""

QUEUES: Mapping[str, Resource] = {"flow_queue_url": "flow queue", "step_queue_url": "step queue"}


def make(named: Sequence[str]) -> list[Finding]:
    account = Account()
    try:
        first = account.examine()
        return [first, *Round(account, named).all()] if first.well else [first]
    finally:
        account.close()


class Round:
    def __init__(self, account: Account, named: Sequence[str]) -> None:
        self._account = account
        self._named = named
        self._functions: dict[str, Function] = {}
        self._here = AwsSettings.from_environment()
        self._settings = self._here
        self._mapped: dict[str, list[Any]] = {}
        """Event source mappings by the name of their function."""
        self._group_arn = ""

    def all(self) -> list[Finding]:
        found = [finding for name in self._named for finding in self._meet(name)]
        self._take_settings()
        if self._settings == AwsSettings():
            names = ", ".join(VARIABLES.values())
            return [*found, Finding("settings", f"none of {names} is set, and no function is named", FUNCTION)]
        for field in QUEUES:
            found += self._look(field, self._queue)
        found += self._look("table", lambda name: tables.examine(name, self._account))
        found += self._look("bucket", lambda name: buckets.examine(name, self._retention(), self._account))
        found += self._look("scheduler_group", self._group)
        found += self._look("scheduler_role_arn", self._scheduler_role)
        return found + self._of_functions()

    def _look(self, field: str, look: Callable[[str], list[Finding]]) -> list[Finding]:
        """At what this setting names; nothing where it names nothing."""
        value: str = getattr(self._settings, field)
        return looked(field.replace("_", "-"), VARIABLES[field], lambda: look(value)) if value else []

    # -- functions, and what they say of the settings -----------------------------------------------------------------

    def _meet(self, name: str) -> list[Finding]:
        def look() -> list[Finding]:
            function = functions.find(name, self._account)
            if function is None:
                return [functions.absent(name)]
            if function.name not in self._functions:
                self._functions[function.name] = function
                return functions.settings(function, self._here)
            return []

        return looked("function", "WDK_FUNCTION", look)

    def _take_settings(self) -> None:
        """What is not set here is as the functions have it."""
        for function in self._functions.values():
            theirs = AwsSettings.from_environment(function.environment)
            missing = {one.name: getattr(theirs, one.name) for one in fields(theirs)}
            missing = {name: value for name, value in missing.items() if value and not getattr(self._settings, name)}
            self._settings = replace(self._settings, **missing)

    def _retention(self) -> float:
        """The longest that any of them keeps runs."""
        told = [
            os.environ.get("WDK_RETENTION"),
            *(f.environment.get("WDK_RETENTION") for f in self._functions.values()),
        ]
        said: list[float] = []
        for text in filter(None, told):
            with suppress(ValueError):  # one that makes no sense is a finding of its own
                said.append(durations.seconds(text))
        return max(said, default=Settings().retention)

    def _of_functions(self) -> list[Finding]:
        documents: dict[str, Mapping[str, Any]] = {}
        found = [finding for function in self._functions.values() for finding in self._of(function, documents)]
        found += self._of_stacks()
        return found + functions.one_code({name: said for name, said in documents.items() if said})

    def _of_stacks(self) -> list[Finding]:
        account, named = self._account, dict[str, None]()

        def find() -> list[Finding]:
            found = [stacks.stack_of(function, account) for function in self._functions.values()]
            named.update(dict.fromkeys(filter(None, found)))
            return []

        found = looked("template", "WDK_FUNCTION", find)
        looks = [partial(stacks.examine, stack, account) for stack in named]
        return [*found, *(finding for look in looks for finding in looked("template", "WDK_FUNCTION", look))]

    def _of(self, function: Function, documents: dict[str, Mapping[str, Any]]) -> list[Finding]:
        account, mapped = self._account, self._mapped.get(function.name, [])
        place = Place(self._settings, account.functions.meta.region_name)

        def asked() -> list[Finding]:
            told, documents[function.name] = functions.asked(function, account)
            return told

        looks: dict[str, Callable[[], list[Finding]]] = {
            "function": asked,
            "rights": lambda: roles.simulated(function, place, account),
        }
        if function.works:
            looks["callers"] = lambda: callers.examine(function, account)
            looks["recursion"] = lambda: [functions.recursion(function, account)]
            looks["concurrency"] = lambda: [functions.concurrency(function, mapped, account)]
        return [finding for slug, look in looks.items() for finding in looked(slug, "WDK_FUNCTION", look)]

    # -- queues -------------------------------------------------------------------------------------------------------

    def _queue(self, url: str) -> list[Finding]:
        field = "flow_queue_url" if url == self._settings.flow_queue_url else "step_queue_url"
        queue = queues.find(VARIABLES[field], url, self._account)
        if queue is None:
            return [queues.absent(VARIABLES[field], url)]
        found = self._consumers(queue.name, queue.arn)
        consumer = next((self._functions[name] for name in self._mapped_to(queue.arn) if name in self._functions), None)
        found += queues.attributes(queue, consumer)
        found += queues.dead_letters(queue, self._account)
        dead = queues.find(VARIABLES[field], url + DEAD, self._account)
        return found + (self._consumers(dead.name, dead.arn) if dead is not None else [])

    def _consumers(self, name: str, arn: str) -> list[Finding]:
        mapped = queues.mappings(arn, self._account)
        found: list[Finding] = []
        for one in mapped:
            function = one["FunctionArn"].split(":")[6]
            self._mapped.setdefault(function, []).append(one)
            found += self._meet(function)
        worker = next((function.name for function in self._functions.values() if function.works), "WORKER")
        return found + queues.consumers(name, arn, mapped, worker)

    def _mapped_to(self, arn: str) -> Iterable[str]:
        return [name for name, mapped in self._mapped.items() if any(one["EventSourceArn"] == arn for one in mapped)]

    # -- schedules ----------------------------------------------------------------------------------------------------

    def _group(self, name: str) -> list[Finding]:
        scheduler = self._account.scheduler
        create = quoted("aws", "scheduler", "create-schedule-group", "--name", name)
        try:
            said = scheduler.get_schedule_group(Name=name)
        except scheduler.exceptions.ResourceNotFoundException:
            seen = f"there is no schedule group {name}: runs that sleep for more than 15 minutes fail"
            return [Finding("scheduler-group", seen, create)]
        self._group_arn = said.get("Arn", "")
        if said.get("State") != "ACTIVE":
            seen = f"the schedule group {name} is {said.get('State', '').lower()}, with all timers in it"
            return [Finding("scheduler-group", seen, create)]
        return [Finding("scheduler-group", f"{name} is there")]

    def _scheduler_role(self, arn: str) -> list[Finding]:
        if not self._group_arn:
            return []  # there is nothing yet that it would be trusted for
        used: list[Resource] = [resource for field, resource in QUEUES.items() if getattr(self._settings, field)]
        place = Place(self._settings, self._account.scheduler.meta.region_name)
        return [roles.of_scheduler(arn, self._group_arn, used, place, self._account)]
