"""What Kubernetes takes for a cron schedule, which is less than other readers of cron expressions do."""

import re
from datetime import UTC, datetime, timedelta
from functools import cache
from itertools import pairwise

from croniter import CroniterError, croniter

# https://kubernetes.io/docs/concepts/workloads/controllers/cron-jobs/#schedule-syntax
FIELDS = (("minute", 0, 59), ("hour", 0, 23), ("day", 1, 31), ("month", 1, 12), ("weekday", 0, 6))
NAMES = {
    "month": ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"),
    "weekday": ("sun", "mon", "tue", "wed", "thu", "fri", "sat"),
}
SCHEDULE_START = datetime(2026, 1, 1, tzinfo=UTC)
SCHEDULE_RUNS = 400
"""Enough runs of any five-field schedule to see its gaps."""


def refusal_of_schedule(schedule: str) -> str:
    """The rule that a schedule breaks; empty when it is one that Kubernetes takes and that comes round."""
    parts = schedule.split(" ")
    if len(parts) != len(FIELDS):
        return "a cron expression of five fields"
    for part, (name, low, high) in zip(parts, FIELDS, strict=True):
        if not all(_is_range(item, name, low, high) for item in part.split(",")):
            return f"a cron expression of five fields; the {name} is {low} to {high}, a range, a list or *"
    try:
        croniter(schedule, SCHEDULE_START).get_next(datetime)
    except (CroniterError, ValueError, OverflowError):
        return "a cron expression of five fields that comes round; there is no such day"
    return ""


def longest_gap(schedule: str) -> timedelta:
    """The longest time between two runs of a cron schedule."""
    return max(_gaps(schedule))


def shortest_gap(schedule: str) -> timedelta:
    """The shortest time between two runs of a cron schedule."""
    return min(_gaps(schedule))


@cache
def _gaps(schedule: str) -> tuple[timedelta, ...]:
    runs = croniter(schedule, SCHEDULE_START)
    times: list[datetime] = [runs.get_next(datetime) for _ in range(SCHEDULE_RUNS)]
    return tuple(later - earlier for earlier, later in pairwise(times))


def _is_range(item: str, name: str, low: int, high: int) -> bool:
    match = re.fullmatch(r"(?:\*|(?P<first>[0-9]{1,2}|[A-Za-z]{3})(?:-(?P<last>[0-9]{1,2}|[A-Za-z]{3}))?)(?:/(?P<step>[0-9]{1,2}))?", item)
    if not match or (match["step"] is not None and not 1 <= int(match["step"]) <= high):
        return False
    if match["first"] is None:
        return True
    first = _number(match["first"], name, low)
    last = _number(match["last"], name, low) if match["last"] else first
    return first is not None and last is not None and low <= first <= last <= high


def _number(text: str, name: str, low: int) -> int | None:
    if text.isdecimal():
        return int(text)
    names = NAMES.get(name, ())
    return names.index(text.lower()) + low if text.lower() in names else None
