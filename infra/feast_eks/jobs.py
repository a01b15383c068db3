"""How runs end: one-off Jobs that an update waits for, and those that come by a schedule."""

import hashlib
import json

import pulumi
import pulumi_kubernetes as kubernetes

from feast_eks.workload import Object, Workload, labels

NOT_YET = 75
"""Exit status of a runtime verb that only another pod can do: this one was admitted before its AWS role was known."""

AFTER_THE_DEADLINE_SECONDS = 120
"""How much longer than a Job may take Pulumi waits: the Job's own end has a reason, a wait that is given up has none."""

STORE_SECONDS = 40
"""How long a run that somebody waits for tries to reach a store that is away: a restart takes less, and a minute is patience enough."""

START_DEADLINE_SECONDS = 3600
"""How late a scheduled run may still start: a control plane that was away at 02:00 catches up until 03:00."""

FINISHED_TTL_SECONDS = 7 * 24 * 3600
HISTORY = 3


def one_off_job(
    logical_name: str,
    workload: Workload,
    *,
    name: str,
    namespace: pulumi.Input[str],
    deadline_seconds: int,
    opts: pulumi.ResourceOptions,
    subject: str = "",
) -> "kubernetes.batch.v1.Job":  # quoted: evaluating it would import the larger part of the SDK
    """A Job that an update waits for: it runs once for its pods and, having failed, again on the next update.

    `subject` is what its success is for beside what stands in its pods: with another one it runs again.

    Its name ends in their digest. A pod template cannot be changed, so another one under a name that a killed update has left would
    be refused for ever.
    """
    template = workload.template()
    plain = json.dumps([subject, deadline_seconds, template], sort_keys=True, default=_known_later)
    digest = hashlib.sha256(plain.encode()).hexdigest()[:8]
    waits = pulumi.CustomTimeouts(create=f"{deadline_seconds + AFTER_THE_DEADLINE_SECONDS}s")
    return kubernetes.batch.v1.Job(
        logical_name,
        metadata={
            "name": f"{name}-{digest}",
            "namespace": namespace,
            "labels": labels(name),
            "annotations": {"pulumi.com/replaceUnready": "true"},
        },
        spec={
            # One try, in the pod's one container: Pulumi knows no other reason than BackoffLimitExceeded and DeadlineExceeded,
            # and shows the last words of main containers only. No TTL: a Job that vanished would be run again by the next refresh.
            "backoffLimit": 0,
            "podFailurePolicy": _another_pod_may_do_better(),
            "activeDeadlineSeconds": deadline_seconds,
            "template": template,
        },
        opts=pulumi.ResourceOptions.merge(opts, pulumi.ResourceOptions(custom_timeouts=waits)),
    )


def cron_job_spec(workload: Workload, *, schedule: str, deadline_seconds: int, retries: int) -> Object:
    """Spec of a CronJob, UTC: one run at a time, each of which ends, and what it said can be read for a week."""
    return {
        "schedule": schedule,
        "timeZone": "Etc/UTC",
        "suspend": False,  # said, so that a suspended one is found as drift and resumed
        "concurrencyPolicy": "Forbid",
        "startingDeadlineSeconds": START_DEADLINE_SECONDS,
        "successfulJobsHistoryLimit": HISTORY,
        "failedJobsHistoryLimit": HISTORY,
        "jobTemplate": {
            "metadata": {"labels": labels(workload.name)},
            "spec": {
                "backoffLimit": retries,
                "podFailurePolicy": _another_pod_may_do_better(),
                "activeDeadlineSeconds": deadline_seconds,
                "ttlSecondsAfterFinished": FINISHED_TTL_SECONDS,
                "template": workload.template(),
            },
        },
    }


def _known_later(_value: object) -> str:
    """Stands for an output in a digest, which has to be known in previews: the name of a bucket that is yet to be made."""
    return "known later"


def _another_pod_may_do_better() -> Object:
    """What is no try: a pod that was evicted or lost its node, and one that came too early for its credentials."""
    return {
        "rules": [
            {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
            {"action": "Ignore", "onExitCodes": {"operator": "In", "values": [NOT_YET]}},
        ]
    }
