"""Which CronJobs load which views: those with a tag `materialization_schedule` each by one of its own, all others together.

Pure.
"""

import hashlib
import re
from dataclasses import dataclass

from feast_eks.contract import Contract
from feast_eks.settings import MaterializationSettings

NAME = "materialize"
LONGEST_CRON_JOB_NAME = 52
"""https://kubernetes.io/docs/concepts/workloads/controllers/cron-jobs/#job-name"""


@dataclass(frozen=True, kw_only=True)
class Scheduled:
    """One CronJob: its logical name's end, its name, what it loads (arguments of the verb), and how."""

    part: str
    name: str
    arguments: tuple[str, ...]
    settings: MaterializationSettings


def scheduled_loads(settings: MaterializationSettings, contract: Contract) -> list[Scheduled]:
    """The CronJobs that together load every view: the nightly one, unless no view is left for it, and one for each view apart."""
    found = []
    if contract.schedules.keys() != contract.online or not contract.online:
        without = ("--without", *contract.schedules) if contract.schedules else ()
        found.append(Scheduled(part="nightly", name=NAME, arguments=without, settings=settings))
    return found + [
        Scheduled(part=f"apart-{view}", name=_name(view), arguments=("--views", view), settings=settings.apart(schedule))
        for view, schedule in contract.schedules.items()
    ]


def _name(view: str) -> str:
    """The CronJob's: the view's, where Kubernetes takes it and no other view could have the same."""
    name = f"{NAME}-{view.replace('_', '-')}"
    if re.fullmatch(r"[a-z0-9_]*[a-z0-9]", view) and len(name) <= LONGEST_CRON_JOB_NAME:
        return name
    digest = hashlib.sha256(view.encode()).hexdigest()[:8]
    return f"{re.sub(r'[^a-z0-9]+', '-', name.lower())[: LONGEST_CRON_JOB_NAME - 9].rstrip('-')}-{digest}"
