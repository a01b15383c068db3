"""Jobs that never end, never start, overlap, or come back to life."""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from functools import cache
from itertools import pairwise
from typing import Any

from croniter import CroniterBadDateError, croniter

from feast_eks_policies.rule import Resource, ResourceRule, Rule
from feast_eks_policies.values import UNKNOWN, get, mapping

SHORTEST_START_DEADLINE = 10
"""Seconds; the controller looks every ten, and below that may skip every run."""

MOST_RETRIES = 3
HISTORY = range(1, 11)
SCHEDULE_START = datetime(2026, 1, 1, tzinfo=UTC)
SCHEDULE_RUNS = 400
"""Enough runs of any five-field schedule to see its longest gap."""


def gaps(schedule: Any) -> tuple[timedelta, ...] | None:
    """The times between runs of a cron schedule; None if it is none, or not known."""
    return _gaps(schedule) if isinstance(schedule, str) and len(schedule.split()) in (1, 5) else None


@cache
def _gaps(schedule: str) -> tuple[timedelta, ...] | None:
    try:
        runs = croniter(schedule, SCHEDULE_START)
        times: list[datetime] = [runs.get_next(datetime) for _ in range(SCHEDULE_RUNS)]
    except (ValueError, KeyError, CroniterBadDateError):
        return None
    return tuple(later - earlier for earlier, later in pairwise(times))


def _cron_job(resource: Resource) -> Iterator[str]:
    spec = mapping(resource.props.get("spec"))
    job = mapping(get(spec, "jobTemplate", "spec"))
    if not spec:
        return
    between = gaps(spec.get("schedule"))
    if between is None and spec.get("schedule") is not UNKNOWN:
        yield "spec.schedule is no cron expression"
    if spec.get("concurrencyPolicy") not in ("Forbid", UNKNOWN):
        yield f"spec.concurrencyPolicy is {spec.get('concurrencyPolicy') or 'missing, which means Allow'}: runs overlap and undo each other"
    if spec.get("timeZone") not in ("Etc/UTC", "UTC", UNKNOWN):
        yield f"spec.timeZone is {spec.get('timeZone') or 'missing'}: the hour depends on the cluster, or comes twice a year"
    if spec.get("suspend") is True:
        yield "spec.suspend is true: it never runs"
    if _below(spec.get("startingDeadlineSeconds"), SHORTEST_START_DEADLINE):
        yield f"spec.startingDeadlineSeconds is {spec.get('startingDeadlineSeconds') or 'missing'}: late runs are lost, or never given up"
    for field in ("successfulJobsHistoryLimit", "failedJobsHistoryLimit"):
        if spec.get(field) is not UNKNOWN and spec.get(field) not in HISTORY:
            yield f"spec.{field} is {_shown(spec.get(field))}, not {HISTORY[0]} to {HISTORY[-1]}: nothing to look at, or too much"
    yield from _template(job, between)


def _template(job: Mapping[str, Any], between: tuple[timedelta, ...] | None) -> Iterator[str]:
    if not job:
        return
    path = "spec.jobTemplate.spec"
    deadline = job.get("activeDeadlineSeconds")
    if _below(deadline, 1):
        yield f"{path}.activeDeadlineSeconds is missing: a run that hangs keeps every later one from starting"
    elif isinstance(deadline, int) and between and deadline >= min(between).total_seconds():
        yield f"{path}.activeDeadlineSeconds is {deadline}, not below the schedule's shortest interval: a slow run swallows the next"
    if job.get("backoffLimit") is not UNKNOWN and job.get("backoffLimit") not in range(MOST_RETRIES + 1):
        yield f"{path}.backoffLimit is {_shown(job.get('backoffLimit'))}, not at most {MOST_RETRIES}"
    if _below(job.get("ttlSecondsAfterFinished"), 0):
        yield f"{path}.ttlSecondsAfterFinished is missing: finished Jobs pile up"
    restart = get(job, "template", "spec", "restartPolicy")
    if restart not in ("Never", "OnFailure", UNKNOWN):
        yield f"{path}.template.spec.restartPolicy is {restart or 'missing'}, not Never or OnFailure"


def _job(resource: Resource) -> Iterator[str]:
    spec = mapping(resource.props.get("spec"))
    if not spec:
        return
    if _below(spec.get("activeDeadlineSeconds"), 1):
        yield "spec.activeDeadlineSeconds is missing: a Job that hangs holds the deployment up for good"
    if spec.get("backoffLimit") is not UNKNOWN and spec.get("backoffLimit") not in range(MOST_RETRIES + 1):
        yield f"spec.backoffLimit is {_shown(spec.get('backoffLimit'))}, not at most {MOST_RETRIES}"
    if spec.get("ttlSecondsAfterFinished") is not None:
        yield "spec.ttlSecondsAfterFinished is set: once the Job has vanished, the next refresh makes it run again"


def _below(value: Any, least: int) -> bool:
    return value is None or (isinstance(value, int) and value < least)


def _shown(value: Any) -> str:
    return "missing" if value is None else str(value)


RULES: tuple[Rule, ...] = (
    ResourceRule(
        name="cronjob-safe",
        description="Scheduled runs come one at a time, end, and can be looked at afterwards.",
        harm="integrity",
        severity="high",
        remedy="concurrencyPolicy Forbid, timeZone Etc/UTC, startingDeadlineSeconds ≥ 10, history 3 and 3; for each Job "
        "activeDeadlineSeconds below the interval, backoffLimit ≤ 3, ttlSecondsAfterFinished",
        types=("kubernetes:*:CronJob",),
        check=_cron_job,
    ),
    ResourceRule(
        name="job-bounded",
        description="Jobs of the program end, and stay where they ended.",
        harm="workloads",
        severity="medium",
        remedy="set activeDeadlineSeconds and backoffLimit ≤ 3, and leave ttlSecondsAfterFinished out",
        types=("kubernetes:*:Job",),
        check=_job,
    ),
)
