"""What a cluster itself writes into an object: values that are no addition, though no program set them.

The API server fills in defaults (`SetDefaults_…` in `pkg/apis/*/v*/defaults.go` of Kubernetes 1.35), controllers write what
they allot. A path that is not here was set by somebody. A default that a later Kubernetes adds is a finding once, and
then a line here.
"""

from collections.abc import Callable, Mapping
from typing import Any

from delivery.by_hand.state import Object
from delivery.values import Path

Test = Callable[[Any, Object], bool]
"""Whether the cluster may have written a value, given the live object in which it lies."""
Pattern = tuple[str, ...]
"""A path in which `*` is an item of a list."""


def anything(_value: Any, _beside: Object) -> bool:
    """What the cluster allots, or a controller decides."""
    return True


def one_of(*values: Any) -> Test:
    """The default, and what is no harm in its place."""
    return lambda value, _: value in values


def same_as(sibling: str) -> Test:
    """A second name for a value, or a value that follows another."""
    return lambda value, beside: value == beside.get(sibling)


def policy_types(value: Any, beside: Object) -> bool:
    """`Egress` is among them where there are rules for it."""
    return bool(value == ["Ingress", *(["Egress"] if beside.get("egress") else [])])


def below(prefix: str, table: Mapping[str, Test]) -> dict[str, Test]:
    """The table with its paths below a prefix."""
    return {f"{prefix}.{path}": test for path, test in table.items()}


HTTP_GET: dict[str, Test] = {"path": one_of("/"), "scheme": one_of("HTTP")}
PROBE: dict[str, Test] = {
    "timeoutSeconds": one_of(1),
    "periodSeconds": one_of(10),
    "successThreshold": one_of(1),
    "failureThreshold": one_of(3),
    "grpc.service": one_of(""),
    **below("httpGet", HTTP_GET),
}
FIELD: dict[str, Test] = {"fieldRef.apiVersion": one_of("v1")}
CONTAINER: dict[str, Test] = {
    "imagePullPolicy": one_of("Always", "IfNotPresent"),
    "resources": one_of({}),
    "terminationMessagePath": one_of("/dev/termination-log"),
    "terminationMessagePolicy": one_of("File"),
    "ports.*.protocol": one_of("TCP"),
    "securityContext.procMount": one_of("Default"),
    **below("env.*.valueFrom", FIELD),
    **below("livenessProbe", PROBE),
    **below("readinessProbe", PROBE),
    **below("startupProbe", PROBE),
    **below("lifecycle.preStop.httpGet", HTTP_GET),
    **below("lifecycle.postStart.httpGet", HTTP_GET),
}
MODE = one_of(0o644)
VOLUME: dict[str, Test] = {
    "configMap.defaultMode": MODE,
    "secret.defaultMode": MODE,
    "downwardAPI.defaultMode": MODE,
    "projected.defaultMode": MODE,
    "projected.sources.*.serviceAccountToken.expirationSeconds": one_of(3600),
    "hostPath.type": one_of(""),
    **below("downwardAPI.items.*", FIELD),
    **below("projected.sources.*.downwardAPI.items.*", FIELD),
}
POD: dict[str, Test] = {
    "restartPolicy": one_of("Always"),
    "dnsPolicy": one_of("ClusterFirst"),
    "schedulerName": one_of("default-scheduler"),
    "securityContext": one_of({}),
    "terminationGracePeriodSeconds": one_of(30),
    "serviceAccount": same_as("serviceAccountName"),
    **below("containers.*", CONTAINER),
    **below("initContainers.*", CONTAINER),
    **below("volumes.*", VOLUME),
}
CLAIM: dict[str, Test] = {
    "apiVersion": one_of("v1"),
    "kind": one_of("PersistentVolumeClaim"),
    "spec.volumeMode": one_of("Filesystem"),
    "status.phase": one_of("Pending"),
}
JOB: dict[str, Test] = {
    "backoffLimit": one_of(6),
    "completions": one_of(1),
    "parallelism": one_of(1),
    "completionMode": one_of("NonIndexed"),
    "suspend": one_of(False),
    "manualSelector": one_of(False),
    "podReplacementPolicy": one_of("Failed", "TerminatingOrFailed"),
    "podFailurePolicy.rules.*.onPodConditions.*.status": one_of("True"),
    "selector": anything,  # the API server makes it, and no other is allowed
    **below("template.spec", POD),
}
NETWORK_PORT: dict[str, Test] = {"protocol": one_of("TCP")}
SCALING = {"selectPolicy": one_of("Max")}
BY_CPU = {"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 80}}}
BY_PERCENT = {"type": "Percent", "value": 100, "periodSeconds": 15}
BY_PODS = {"type": "Pods", "value": 4, "periodSeconds": 15}

TABLE: dict[str, dict[str, Test]] = {
    "Deployment": {
        "spec.replicas": anything,  # the autoscaler's
        "spec.strategy.type": one_of("RollingUpdate"),
        "spec.strategy.rollingUpdate.maxSurge": one_of("25%"),
        "spec.strategy.rollingUpdate.maxUnavailable": one_of("25%"),
        "spec.revisionHistoryLimit": one_of(10),
        "spec.progressDeadlineSeconds": one_of(600),
        **below("spec.template.spec", POD),
    },
    "StatefulSet": {
        "spec.replicas": one_of(1),
        "spec.podManagementPolicy": one_of("OrderedReady"),
        "spec.updateStrategy.type": one_of("RollingUpdate"),
        "spec.updateStrategy.rollingUpdate.partition": one_of(0),
        "spec.updateStrategy.rollingUpdate.maxUnavailable": one_of(1),
        "spec.persistentVolumeClaimRetentionPolicy.whenDeleted": one_of("Retain"),
        "spec.persistentVolumeClaimRetentionPolicy.whenScaled": one_of("Retain"),
        "spec.revisionHistoryLimit": one_of(10),
        **below("spec.volumeClaimTemplates.*", CLAIM),
        **below("spec.template.spec", POD),
    },
    "Job": below("spec", JOB),
    "CronJob": {
        "spec.concurrencyPolicy": one_of("Allow"),
        "spec.suspend": one_of(False),
        "spec.successfulJobsHistoryLimit": one_of(3),
        "spec.failedJobsHistoryLimit": one_of(1),
        **below("spec.jobTemplate.spec", JOB),
    },
    "Service": {
        "spec.type": one_of("ClusterIP"),
        "spec.clusterIP": anything,
        "spec.clusterIPs": anything,
        "spec.ipFamilies": anything,
        "spec.ipFamilyPolicy": anything,
        "spec.internalTrafficPolicy": one_of("Cluster"),
        "spec.sessionAffinity": one_of("None"),
        "spec.ports.*.protocol": one_of("TCP"),
        "spec.ports.*.targetPort": same_as("port"),
    },
    "NetworkPolicy": {
        "spec.policyTypes": policy_types,
        **below("spec.ingress.*.ports.*", NETWORK_PORT),
        **below("spec.egress.*.ports.*", NETWORK_PORT),
    },
    "HorizontalPodAutoscaler": {
        "spec.minReplicas": one_of(1),
        "spec.metrics": one_of([BY_CPU]),
        **below("spec.behavior.scaleUp", SCALING),
        **below("spec.behavior.scaleDown", SCALING),
        "spec.behavior.scaleUp.stabilizationWindowSeconds": one_of(0),
        "spec.behavior.scaleUp.policies": one_of([BY_PODS, BY_PERCENT]),
        "spec.behavior.scaleDown.policies": one_of([BY_PERCENT]),
    },
    "Namespace": {"spec.finalizers": one_of(["kubernetes"])},
    "Secret": {"type": one_of("Opaque")},
    "RoleBinding": {"subjects.*.apiGroup": one_of("rbac.authorization.k8s.io")},
    "ServiceMonitor": {"spec.endpoints.*.relabelings.*.action": one_of("replace")},
}
PATTERNS: dict[str, dict[Pattern, Test]] = {
    kind: {tuple(path.split(".")): test for path, test in table.items()} for kind, table in TABLE.items()
}


def is_of_the_cluster(kind: str, path: Path, value: Any, beside: Object) -> bool:
    """Whether the cluster may have written all of a value, which lies at a path of an object, beside others."""
    pattern = tuple("*" if isinstance(step, int) else step for step in path)
    test = PATTERNS.get(kind, {}).get(pattern)
    if test is not None and test(value, beside):
        return True
    return (
        isinstance(value, dict) and bool(value) and all(is_of_the_cluster(kind, (*path, key), item, value) for key, item in value.items())
    )
