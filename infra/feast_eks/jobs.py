"""How runs end: one-off Jobs that an update waits for, and those that come by a schedule."""

import pulumi

from feast_eks.workload import Object, Workload, labels

REFUSED = (1, 2, 3)
"""Exit statuses of a runtime verb that says why it does not go on: it refuses, a change would break a model, it could not compare."""

START_DEADLINE_SECONDS = 3600
"""How late a scheduled run may still start: a control plane that was away at 02:00 catches up until 03:00."""

FINISHED_TTL_SECONDS = 7 * 24 * 3600
HISTORY = 3


def job_metadata(name: str, digest: str, namespace: pulumi.Input[str]) -> Object:
    """Metadata of a one-off Job that runs once per digest and, having failed, again on the next update."""
    return {
        "name": f"{name}-{digest}",
        "namespace": namespace,
        "labels": labels(name),
        "annotations": {"pulumi.com/replaceUnready": "true"},
    }


def job_spec(workload: Workload, *, deadline_seconds: int) -> Object:
    """Spec of a one-off Job. It has no TTL: a finished Job that vanished would be run again by the next refresh."""
    return {
        "backoffLimit": 3,
        # What a verb refuses it refuses every time, and whoever waits wants to know. Whatever else ends a pod is tried again.
        "podFailurePolicy": refusals_end_it(),
        "activeDeadlineSeconds": deadline_seconds,
        "template": workload.template(),
    }


def refusals_end_it() -> Object:
    """The policy by which a Job has failed once a container of it, init containers included, refused."""
    return {"rules": [{"action": "FailJob", "onExitCodes": {"operator": "In", "values": list(REFUSED)}}]}


def cron_job_spec(workload: Workload, *, schedule: str, deadline_seconds: int, refusals_are_final: bool = False) -> Object:
    """Spec of a CronJob, UTC: one run at a time, each of which ends, and what it said can be read for a week.

    What a run refuses is tried again unless `refusals_are_final`: at night nobody waits, and a store may be back by then.
    """
    return {
        "schedule": schedule,
        "timeZone": "Etc/UTC",
        "concurrencyPolicy": "Forbid",
        "startingDeadlineSeconds": START_DEADLINE_SECONDS,
        "successfulJobsHistoryLimit": HISTORY,
        "failedJobsHistoryLimit": HISTORY,
        "jobTemplate": {
            "metadata": {"labels": labels(workload.name)},
            "spec": {
                "backoffLimit": 2,
                **({"podFailurePolicy": refusals_end_it()} if refusals_are_final else {}),
                "activeDeadlineSeconds": deadline_seconds,
                "ttlSecondsAfterFinished": FINISHED_TTL_SECONDS,
                "template": workload.template(),
            },
        },
    }
