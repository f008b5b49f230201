"""Schedules of workflows as entries of the template. That an event at another time starts nothing is for the handler."""

import json
import re
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from tests.infra.conftest import TEMPLATE, transform
from wdk_aws import events
from wdk_aws.packaging.ticking import MARK, entries_of, expressions, name_of, variable, written_into
from wdk_cloud import Workflows
from wdk_cloud.errors import WorldConfigurationError
from wdk_cloud.packaging.ticking import Entry
from wdk_cloud.schedules import parse_schedule

DAY = 86_400


def values(word, least, most):
    """Of a field of Scheduler, by its documentation: https://docs.aws.amazon.com/scheduler/latest/UserGuide/schedule-types.html"""
    if word in ("*", "?"):
        return set(range(least, most + 1))
    found = set()
    for part in word.split(","):
        first, _, last = part.partition("-")
        assert least <= int(first) <= int(last or first) <= most
        found |= set(range(int(first), int(last or first) + 1))
    return found


def fired(expression, zone, begin, end):
    """When Scheduler invokes: never at a time that does not exist. Whether it does at the second of two times, which its
    documentation denies, makes no difference."""
    assert len(expression) <= 256
    minutes, hours, days, months, weekdays, years = re.fullmatch(r"cron\((.*)\)", expression)[1].split()
    assert years == "*" and [days, weekdays].count("?") == 1
    minutes, hours, days = values(minutes, 0, 59), values(hours, 0, 23), values(days, 1, 31)
    months, weekdays = values(months, 1, 12), values(weekdays, 1, 7)
    for moment in range(begin, end, 60):
        at = datetime.fromtimestamp(moment, zone)
        time = at.minute in minutes and at.hour in hours
        if time and at.day in days and at.month in months and at.isoweekday() % 7 + 1 in weekdays:
            yield moment


def ticks(schedule, begin, end):
    moment = begin - 1
    while (moment := schedule.next_after(moment)) < end:
        yield moment


def started(schedule, known, begin, end):
    """By the handler, which looks with `exact` whether the time of an event is a tick."""
    zone = ZoneInfo(schedule.timezone)
    moments = {moment for expression in expressions(schedule) for moment in fired(expression, zone, begin, end)}
    return [moment for moment in sorted(moments) if moment in known]


# Ours and what they become: it may come more often, never less often.
SCHEDULES = {
    "every 1 minute": ("UTC", ["cron(* * * * ? *)"]),
    "every 20 minutes": ("UTC", ["cron(0,20,40 * * * ? *)"]),
    "every 7 minutes": ("UTC", ["cron(* * * * ? *)"]),
    "every 90 min": ("UTC", ["cron(0,30 * * * ? *)"]),
    "every 6 hours": ("UTC", ["cron(0 0,6,12,18 * * ? *)"]),
    "every 10 hours": ("UTC", ["cron(0 0,2,4,6,8,10,12,14,16,18,20,22 * * ? *)"]),
    "every 1 day": ("UTC", ["cron(0 0 * * ? *)"]),
    "every 3 days": ("UTC", ["cron(0 0 * * ? *)"]),
    "0 9 * * 1-5": ("Europe/Berlin", ["cron(0 9 ? * 2-6 *)"]),
    "0 0 1 jan,jul *": ("America/New_York", ["cron(0 0 1 1,7 ? *)"]),
    "15 8 13 * fri": ("Asia/Kolkata", ["cron(15 8 13 * ? *)", "cron(15 8 ? * 6 *)"]),
    "0 12 */2 * sun": ("UTC", ["cron(0 12 ? * 1 *)"]),
    "*/20 * * * *": ("Europe/Berlin", ["cron(0,20,40 * * * ? *)"]),
    "30 2 * * *": ("Europe/Berlin", ["cron(30 2 * * ? *)", "cron(0 3 * * ? *)"]),
    "30 2 * * sun": ("America/New_York", ["cron(30 2 ? * 1 *)", "cron(0 3 ? * 1 *)"]),
    "15,45 2 * 3 *": ("Australia/Lord_Howe", ["cron(15,45 2 * 3 ? *)"]),
    "10 0 * * *": ("America/Havana", ["cron(10 0 * * ? *)", "cron(0 1 * * ? *)"]),
}


@pytest.mark.parametrize("text", SCHEDULES)
def test_each_tick_has_its_event(text):
    timezone, written = SCHEDULES[text]
    schedule = parse_schedule(text, timezone)
    assert expressions(schedule) == written
    # Around both days on which clocks are set in Europe, in America, and a month's end.
    for day in ("2026-03-05", "2026-03-26", "2026-10-23", "2026-10-30", "2026-12-29"):
        begin = int(datetime.fromisoformat(day).replace(tzinfo=UTC).timestamp())
        end = begin + 6 * DAY
        known = list(ticks(schedule, begin, end))
        assert started(schedule, set(known), begin, end) == known


def test_the_longest_expression_has_room():
    odd = ",".join(map(str, range(1, 60, 2)))
    schedule = parse_schedule(
        f"{odd} {','.join(map(str, range(1, 24, 2)))} {','.join(map(str, range(1, 32, 2)))} 1,3,5,7,9 *"
    )
    (expression,) = expressions(schedule)
    assert len(expression) <= 256


def shop():
    app = Workflows("shop")

    @app.workflow(schedule="every 1 hour", name="it's hourly")
    async def hourly(): ...

    @app.workflow(schedule="30 2 * * *", timezone="Europe/Berlin", name="nightly")
    async def nightly(): ...

    @app.workflow
    async def by_hand(): ...

    return app


def test_entries_go_into_the_template_which_is_otherwise_the_same(tmp_path):
    before = TEMPLATE.read_text()
    entries = entries_of([shop(), shop()])
    assert [(one.workflow, one.expression) for one in entries] == [
        ("it's hourly", "cron(0 * * * ? *)"),
        ("nightly", "cron(0 3 * * ? *)"),
        ("nightly", "cron(30 2 * * ? *)"),
    ]
    once = written_into(before, entries)
    assert written_into(once, entries) == once  # in the place of those that are there
    assert written_into(once, []) == before
    path = tmp_path / "template.yaml"
    path.write_text(once)
    made = transform(path)["Resources"]
    schedules = {
        name: one["Properties"] for name, one in made.items() if name.startswith("Tick") and "Sched" in one["Type"]
    }
    schedules = {name: one for name, one in schedules.items() if "ScheduleExpression" in one}
    assert sorted(schedules) == sorted(map(name_of, entries))
    for entry in entries:
        one = schedules[name_of(entry)]
        assert (one["ScheduleExpression"], one["ScheduleExpressionTimezone"]) == (entry.expression, entry.timezone)
        order = json.loads(one["Target"]["Input"])
        assert order == {"tick": {"workflow": entry.workflow, "time": "<aws.scheduler.scheduled-time>", "exact": True}}
        assert events.kind_of(order) == "tick"
        assert one["GroupName"] == {"Ref": "TickGroup"}
        assert one["Target"]["DeadLetterConfig"] == {"Arn": {"Fn::GetAtt": ["TickDead", "Arn"]}}
    assert len(made) == len(transform(TEMPLATE)["Resources"]) + 3


def test_the_terraform_module_gets_the_same_entries_under_names_that_scheduler_takes():
    entries = [*entries_of([shop()]), Entry("workflow//a//" + "x" * 300, "cron(0 * * * ? *)", "UTC")]
    given = variable(entries)
    assert [(one["workflow"], one["expression"], one["timezone"]) for one in given] == [
        (entry.workflow, entry.expression, entry.timezone) for entry in entries
    ]
    lengths = [len(one["name"]) for one in given]
    assert max(lengths) == 64 and len({one["name"] for one in given}) == 4
    assert all(re.fullmatch(r"[A-Za-z0-9]+", one["name"]) for one in given)


def test_names_are_those_that_a_template_takes_and_differ():
    names = {
        name_of(Entry(workflow, "cron(0 * * * ? *)", "UTC"))
        for workflow in ("workflow//a//x", "workflow//b//x", "x" * 300)
    }
    assert len(names) == 3 and all(re.fullmatch(r"[A-Za-z0-9]{1,255}", name) for name in names)


def test_a_template_without_the_place_for_entries_is_refused():
    for wrong in ("Resources:\n", f"Resources:\n{MARK}\n"):
        with pytest.raises(WorldConfigurationError, match="has no line that begins with"):
            written_into(wrong, [])
