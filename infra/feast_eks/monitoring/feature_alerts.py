"""When to call somebody about what runs: the server that answers, the jobs that renew and compare, and their pods.

Pure. The names of Deployment, CronJob and volumes are the ones that the program gives.
"""

from feast_eks.addresses import FEATURE_SERVER_NAME
from feast_eks.monitoring.alert import Alert, series
from feast_eks.monitoring.scraping import FEATURE_SERVER_JOB

SKEW_PROBE_NAME = "skew-probe"
"""The CronJob; a test holds it against those that the program registers."""

REQUEST = {"endpoint": "~/get-online-features|/feast.serving.ServingService/GetOnlineFeatures"}
"""Requests for features, over HTTP and gRPC; probes and the contract's are counted apart."""
LATENCY_SECONDS = 0.1
ERROR_RATIO = 0.05
REFUSED_RATIO = 0.2


def server_alerts(namespace: str) -> list[Alert]:
    """Alerts of the feature server."""

    def server(metric: str, **labels: str) -> str:
        return series(metric, namespace=namespace, job=FEATURE_SERVER_JOB, **labels)

    def autoscaler(metric: str, **labels: str) -> str:
        return series(metric, namespace=namespace, horizontalpodautoscaler=FEATURE_SERVER_NAME, **labels)

    unavailable = series("kube_deployment_status_replicas_unavailable", namespace=namespace, deployment=FEATURE_SERVER_NAME)
    errors, refusals = (
        f"sum(rate({server('feast_feature_server_request_total', status=status, **REQUEST)}[5m]))" for status in ("error", "refused")
    )
    requests = f"sum(rate({server('feast_feature_server_request_total', **REQUEST)}[5m]))"
    buckets = f"sum by (le) (rate({server('feast_feature_server_request_latency_seconds_bucket', **REQUEST)}[5m]))"
    return [
        Alert(
            name="FeastServerUnseen",
            severity="critical",
            minutes=5,
            expr=f"absent({server('up')} == 1)",
            summary="Prometheus reads metrics of no feature server.",
            description="None is running, or none is reachable. No other alert about requests can fire while this holds.",
        ),
        Alert(
            name="FeastServerErrors",
            severity="critical",
            minutes=5,
            expr=f"{errors} / {requests} > {ERROR_RATIO:.2f}",
            summary="{{ $value | humanizePercentage }} of requests for features fail.",
            description="Callers get HTTP 503 (the online store does not answer) or 500 (a fault of the server). Refusals count apart.",
        ),
        Alert(
            name="FeastServerRefusals",
            severity="warning",
            minutes=15,
            expr=f"{refusals} / {requests} > {REFUSED_RATIO:.2f}",
            summary="{{ $value | humanizePercentage }} of requests for features are refused.",
            description="An application asks for what does not exist, in the wrong shape, or by the contract of another version.",
        ),
        Alert(
            name="FeastServerCannotRead",
            severity="critical",
            minutes=2,
            expr=f"{server('feast_feature_server_online_store_up')} == 0",
            summary="The feature server {{ $labels.pod }} does not reach the online store.",
            description="It answers HTTP 503. If all do, no features are served.",
        ),
        Alert(
            name="FeastServerKeepsOldDefinitions",
            severity="warning",
            minutes=10,
            expr=f"increase({server('feast_feature_server_registry_reload_total', result='~refused|failed')}[5m]) > 0",
            summary="The feature server {{ $labels.pod }} does not take over what the registry says ({{ $labels.result }}).",
            description=(
                "refused: the registry lacks what the server's contract promises, or has it with another type. "
                "failed: it does not answer. The server goes on with what it read before; a new one cannot start."
            ),
        ),
        Alert(
            name="FeastServerSlow",
            severity="warning",
            minutes=10,
            expr=f"histogram_quantile(0.99, {buckets}) > {LATENCY_SECONDS}",
            summary="One request for features in a hundred takes longer than {{ $value | humanizeDuration }}.",
            description="Applications that wait for features get slow, or give up.",
        ),
        Alert(
            name="FeastServerReplicasUnavailable",
            severity="warning",
            minutes=15,
            expr=f"{unavailable} > 0",
            summary="{{ $value }} replicas of the feature server are not available.",
            description="The others carry their load. A rollout that is stuck looks the same.",
        ),
        Alert(
            name="FeastServerAtItsLimit",
            severity="warning",
            minutes=30,
            expr=(
                f"{autoscaler('kube_horizontalpodautoscaler_status_current_replicas')} "
                f">= {autoscaler('kube_horizontalpodautoscaler_spec_max_replicas')}"
            ),
            summary="The feature server runs with {{ $value }} replicas, the most it may have.",
            description="More requests make it slower, not larger.",
        ),
        Alert(
            name="FeastServerDoesNotScale",
            severity="warning",
            minutes=15,
            expr=autoscaler("kube_horizontalpodautoscaler_status_condition", condition="ScalingActive", status="false") + " == 1",
            summary="The autoscaler of the feature server does not know the rate of requests.",
            description="The number of replicas stays as it is, whatever the load.",
        ),
    ]


def materialization_alerts(namespace: str, *, cron_job: str, renewed_within_seconds: int) -> list[Alert]:
    """Alerts of a CronJob that renews features. `renewed_within_seconds`: the longest gap of its schedule, and its deadline."""

    def cronjob(metric: str) -> str:
        return series(metric, namespace=namespace, cronjob=cron_job)

    last_success = cronjob("kube_cronjob_status_last_successful_time")
    failed = series("kube_job_failed", namespace=namespace, condition="true")
    owned = series("kube_job_owner", namespace=namespace, owner_kind="CronJob", owner_name=cron_job)
    return [
        Alert(
            name="FeastMaterializationFailed",
            severity="critical",
            minutes=0,
            # A failed Job is kept for a week; it counts only until a later run has succeeded.
            expr=(
                f"({series('kube_job_status_start_time', namespace=namespace)} "
                f"and on (namespace, job_name) ({failed} == 1) "
                f"and on (namespace, job_name) {owned}) "
                f"> scalar(max({last_success}) or vector(0))"
            ),
            summary="The materialization {{ $labels.job_name }} failed, and none has succeeded since.",
            description="Values in the online store are as old as the last successful run.",
        ),
        Alert(
            name="FeastMaterializationStale",
            severity="critical",
            minutes=5,
            expr=f"time() - {last_success} > {renewed_within_seconds}",
            summary="The last successful run of {{ $labels.cronjob }} was {{ $value | humanizeDuration }} ago.",
            description="Models receive old values; in the end keys expire, and models receive nulls.",
        ),
        Alert(
            name="FeastMaterializationNeverSucceeded",
            severity="critical",
            minutes=5,
            expr=f"(time() - {cronjob('kube_cronjob_created')} > {renewed_within_seconds}) unless on (namespace, cronjob) {last_success}",
            summary="No scheduled run of {{ $labels.cronjob }} has ever succeeded.",
            description="The online store holds what the first load brought, and nothing newer.",
        ),
        Alert(
            name="FeastMaterializationSuspended",
            severity="warning",
            minutes=60,
            expr=f"{cronjob('kube_cronjob_spec_suspend')} == 1",
            summary="Materialization ({{ $labels.cronjob }}) is suspended.",
            description="Somebody stopped it by hand. Values get older until it is resumed.",
        ),
        Alert(
            name="FeastMaterializationUnseen",
            severity="critical",
            minutes=15,
            expr=f"absent({cronjob('kube_cronjob_info')})",
            summary="Prometheus knows nothing of the materialization CronJob {{ $labels.cronjob }}.",
            description="It is gone, or kube-state-metrics is. No alert about stale or failed materialization can fire while this holds.",
        ),
    ]


def skew_probe_alerts(namespace: str, *, probed_within_seconds: int, skewed: str) -> list[Alert]:
    """Alerts of the CronJob that compares, which fails where it finds too much.

    `probed_within_seconds`: the longest gap of its schedule, and its deadline. `skewed`: the expression of what it found.
    """

    def cronjob(metric: str) -> str:
        return series(metric, namespace=namespace, cronjob=SKEW_PROBE_NAME)

    last_success = cronjob("kube_cronjob_status_last_successful_time")
    never = f"(time() - {cronjob('kube_cronjob_created')} > {probed_within_seconds}) unless on (namespace, cronjob) {last_success}"
    return [
        Alert(
            name="FeastSkewUnknown",
            severity="warning",
            minutes=5,
            expr=f"((time() - {last_success} > {probed_within_seconds}) or ({never})) unless on () ({skewed})",
            summary="What is served has not been compared with the history for {{ $value | humanizeDuration }}.",
            description="FeastFeaturesSkewed cannot notice new differences while this holds.",
        ),
    ]


def pod_alerts(namespace: str, *, volumes: list[str], stateful_sets: list[str]) -> list[Alert]:
    """Alerts of all pods of the namespace. `volumes`: how the claims of the stores' volumes begin; `stateful_sets`: their names."""
    reasons = "~CrashLoopBackOff|CreateContainerConfigError|ErrImagePull|ImagePullBackOff|InvalidImageName"
    waiting = series("kube_pod_container_status_waiting_reason", namespace=namespace, reason=reasons)
    restarts = series("kube_pod_container_status_restarts_total", namespace=namespace)
    alerts = [
        Alert(
            name="FeastPodDoesNotStart",
            severity="critical",
            minutes=10,
            expr=f"max by (pod, container, reason) ({waiting}) > 0",
            summary="The container {{ $labels.container }} of pod {{ $labels.pod }} does not start: {{ $labels.reason }}.",
            description="What the pod should do is not done.",
        ),
        Alert(
            name="FeastPodOutOfMemory",
            severity="critical",
            minutes=0,
            expr=(
                f"{series('kube_pod_container_status_last_terminated_reason', namespace=namespace, reason='OOMKilled')} == 1 "
                f"and on (namespace, pod, container) increase({restarts}[15m]) > 0"
            ),
            summary="The container {{ $labels.container }} of pod {{ $labels.pod }} was ended because it used more memory than its limit.",
            description="It starts again, and will probably end again: its memory_mib is too small for what it does.",
        ),
    ]
    if stateful_sets:
        labels = {"namespace": namespace, "statefulset": f"~{'|'.join(stateful_sets)}"}
        alerts.append(
            Alert(
                name="FeastStoreDegraded",
                severity="warning",
                minutes=10,
                expr=f"{series('kube_statefulset_status_replicas_ready', **labels)} < {series('kube_statefulset_replicas', **labels)}",
                summary="{{ $labels.statefulset }} has {{ $value }} pods ready, fewer than it should.",
                description="A store has lost a node, or its only one.",
            )
        )
    if volumes:
        labels = {"namespace": namespace, "persistentvolumeclaim": f"~({'|'.join(volumes)})-.+"}
        available, capacity = (series(f"kubelet_volume_stats_{what}_bytes", **labels) for what in ("available", "capacity"))
        alerts.append(
            Alert(
                name="FeastVolumeFilling",
                severity="warning",
                minutes=10,
                expr=f"{available} / {capacity} < 0.15",
                summary="The volume {{ $labels.persistentvolumeclaim }} has {{ $value | humanizePercentage }} of its space left.",
                description="A store whose volume is full stops writing.",
            )
        )
    return alerts
