"""Workloads that starve, hang or fall together: resources, probes, spread over zones."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from feast_eks_policies.objects import RELEASE, REPLICATED, pod_labels, quantity, release_values, selects
from feast_eks_policies.rule import Resource, ResourceRule, Rule
from feast_eks_policies.stores import stores
from feast_eks_policies.values import UNKNOWN, WORKLOADS, containers, get, items, leaves, pod_specs

ZONE = "topology.kubernetes.io/zone"
HOST = "kubernetes.io/hostname"
KUBERNETES_PERIOD_SECONDS = 10
KUBERNETES_FAILURE_THRESHOLD = 3
_READINESS = re.compile(r"\bready|\breadiness")


def _resources(resource: Resource) -> Iterator[str]:
    for path, value in leaves(release_values(resource)):
        if path.endswith("resourcesPreset") and value not in (None, "", "none", UNKNOWN):
            yield f"values.{path} is {value}: sizes nobody chose, with more memory promised than reserved"
    reserved = {store.path for store in stores(resource)}
    for path, _, spec in pod_specs(resource):
        for within, container in containers(spec):
            if within.startswith("ephemeral"):
                continue
            for side, what in (("requests", "cpu"), ("requests", "memory"), ("limits", "memory")):
                given = get(container, "resources", side, what)
                if given is not UNKNOWN and not quantity(given):
                    yield f"{path}.{within}.resources.{side}.{what} is {'missing' if given is None else 'no positive quantity'}"
            request, limit = (quantity(get(container, "resources", side, "memory")) for side in ("requests", "limits"))
            if f"{path}.{within}" in reserved and request and limit and request != limit:
                yield f"{path}.{within}.resources: a store's memory request and limit differ: its node may end it for memory promised twice"


def _probes(resource: Resource) -> Iterator[str]:
    for path, _, spec in pod_specs(resource):
        for within, container in containers(spec):
            if not within.startswith("containers"):
                continue
            for probe in ("readinessProbe", "livenessProbe"):
                if not container.get(probe):
                    yield f"{path}.{within}.{probe} is missing"
            readiness, liveness = _patience(container.get("readinessProbe")), _patience(container.get("livenessProbe"))
            if readiness is not None and liveness is not None and liveness < readiness:
                yield (
                    f"{path}.{within}.livenessProbe gives up after {liveness} s, readinessProbe after {readiness} s: "
                    "a busy container is restarted before it is spared"
                )
            if _READINESS.search(str(get(container, "livenessProbe", "httpGet", "path", default=""))):
                yield f"{path}.{within}.livenessProbe asks whether it is ready: when a store is away, every replica is restarted"


def _patience(probe: Any) -> int | None:
    """Seconds of failing after which a probe gives up, if known."""
    if not isinstance(probe, Mapping):
        return None
    period = get(probe, "periodSeconds", default=KUBERNETES_PERIOD_SECONDS)
    threshold = get(probe, "failureThreshold", default=KUBERNETES_FAILURE_THRESHOLD)
    return period * threshold if isinstance(period, int) and isinstance(threshold, int) else None


def _spread(resource: Resource) -> Iterator[str]:
    replicas = get(resource.props, "spec", "replicas")
    # A Deployment that names no number leaves it to an autoscaler; a StatefulSet then has one.
    if replicas in (0, 1, UNKNOWN) or (replicas is None and not resource.is_a("kubernetes:*:Deployment")):
        return
    labels = pod_labels(resource)
    for path, _, spec in pod_specs(resource):
        constraints, apart = spec.get("topologySpreadConstraints"), get(spec, "affinity", "podAntiAffinity")
        required = get(apart, "requiredDuringSchedulingIgnoredDuringExecution")
        preferred = get(apart, "preferredDuringSchedulingIgnoredDuringExecution")
        if UNKNOWN in (constraints, apart, required, preferred):
            continue
        terms = [*items(constraints), *items(required), *(get(each, "podAffinityTerm") for each in items(preferred))]
        holding = [t for t in terms if get(t, "topologyKey") in (ZONE, HOST, UNKNOWN) and selects(get(t, "labelSelector"), labels)]
        if not holding:
            yield f"{path}.topologySpreadConstraints is missing or selects other pods: all replicas may stand in one zone, on one node"


RULES: tuple[Rule, ...] = (
    ResourceRule(
        name="resources-set",
        description="Containers say what they need; memory of the stores is reserved in full.",
        harm="workloads",
        severity="medium",
        controls=("CKV_K8S_10", "CKV_K8S_12", "CKV_K8S_13"),
        remedy="set requests for cpu and memory and a memory limit (no cpu limit: it only slows); for a store request = limit",
        types=(*WORKLOADS, RELEASE),
        check=_resources,
    ),
    ResourceRule(
        name="probes-set",
        description="Containers that serve are probed, and spared before they are restarted.",
        harm="workloads",
        severity="medium",
        controls=("CKV_K8S_8", "CKV_K8S_9"),
        remedy="give every container a readinessProbe, and a livenessProbe with at least its patience that asks for the process alone",
        types=(*REPLICATED, "kubernetes:*:DaemonSet", "kubernetes:*:ReplicaSet"),
        check=_probes,
    ),
    ResourceRule(
        name="spread-zones",
        description="Replicas stand apart, so that one node or zone takes one of them with it.",
        harm="workloads",
        severity="medium",
        remedy="add a topologySpreadConstraint on topology.kubernetes.io/zone, or a pod anti-affinity, with the pods' own labels",
        types=REPLICATED,
        check=_spread,
    ),
)
