"""Workloads that starve, hang, overlap or fall together: one thing is broken, and the rule it belongs to must say so."""

from dataclasses import replace

import pytest

from feast_eks_policies import availability, jobs, workloads
from feast_eks_policies.objects import quantity, share
from feast_eks_policies.values import UNKNOWN
from tests.policies.resources_aws import ABSENT, changed, resource
from tests.policies.resources_kubernetes import (
    POSTGRESQL,
    REDIS,
    SERVER,
    assert_found,
    assert_not_hidden,
    damaged,
    findings,
    good,
    identifier,
    named,
    rules_of,
)

SPEC = "spec.template.spec"
C = f"{SPEC}.containers.0"
RUN = "spec.jobTemplate.spec"
SIDECAR = {"name": "proxy", "image": "proxy", "resources": {}}
SECOND = "feast-redis:PodDisruptionBudget/feast-redis-node"

WORKLOADS = [
    ("resources-set and replicas-hpa-consistent", "server", f"{C}.resources", ABSENT, "resources.requests.cpu is missing"),
    ("resources-set", "apply", f"{C}.resources.requests.memory", ABSENT, "resources.requests.memory is missing"),
    ("resources-set", "server", f"{C}.resources.limits", ABSENT, "resources.limits.memory is missing"),
    ("resources-set", "nightly", f"{RUN}.template.spec.containers.0.resources.requests.cpu", "0", "no positive quantity"),
    ("resources-set", "apply", f"{C}.resources.requests.memory", "plenty", "no positive quantity"),
    ("resources-set", REDIS, f"{C}.resources.limits.memory", "4Gi", "a store's memory"),
    ("resources-set", POSTGRESQL, f"{C}.resources.requests.memory", "128Mi", "a store's memory"),
    ("resources-set", "old-redis", "values.replica.resourcesPreset", "nano", "resourcesPreset is nano"),
    ("probes-set", "server", f"{C}.readinessProbe", ABSENT, "readinessProbe is missing"),
    ("probes-set", "server", f"{C}.livenessProbe", ABSENT, "livenessProbe is missing"),
    ("probes-set", "server", f"{C}.livenessProbe.failureThreshold", 0, "restarted before it is spared"),
    ("probes-set", "server", f"{C}.livenessProbe", {"httpGet": {"path": "/live"}, "periodSeconds": 1}, "gives up after 3 s"),
    ("probes-set", "server", f"{C}.livenessProbe.httpGet.path", "/ready", "every replica is restarted"),
    ("probes-set", REDIS, f"{C}.livenessProbe", ABSENT, "livenessProbe is missing"),
    ("spread-zones", "server", f"{SPEC}.topologySpreadConstraints", ABSENT, "missing"),
    ("spread-zones", "server", f"{SPEC}.topologySpreadConstraints.0.topologyKey", "kubernetes.io/arch", "missing"),
    ("spread-zones", "server", f"{SPEC}.topologySpreadConstraints.0.labelSelector.matchLabels", {"app": "other"}, "selects other pods"),
    ("spread-zones", REDIS, f"{SPEC}.affinity", ABSENT, "one node"),
]

AVAILABILITY = [
    ("replicas-hpa-consistent and pdb-present-and-drainable", "autoscaler", "spec.minReplicas", 1, "minReplicas is 1"),
    ("replicas-hpa-consistent and pdb-present-and-drainable", "autoscaler", "spec.minReplicas", ABSENT, "minReplicas is 1"),
    ("replicas-hpa-consistent", "autoscaler", "spec.maxReplicas", 2, "maxReplicas 2 is not above"),
    (
        "replicas-hpa-consistent and pdb-present-and-drainable",
        "autoscaler",
        "spec.scaleTargetRef.name",
        "feast-server",
        "names no workload of this stack",
    ),
    (
        "replicas-hpa-consistent and pdb-present-and-drainable",
        "autoscaler",
        "spec.scaleTargetRef.kind",
        "StatefulSet",
        "names no workload of this stack",
    ),
    (
        "replicas-hpa-consistent and pdb-present-and-drainable",
        "autoscaler",
        "spec.scaleTargetRef",
        {"kind": "StatefulSet", "name": "feast-redis-node"},
        "scales a store",
    ),
    ("replicas-hpa-consistent", "server", "spec.replicas", 3, "beside an autoscaler"),
    ("replicas-hpa-consistent and resources-set", "server", f"{C}.resources.requests.cpu", ABSENT, "of which the autoscaler wants a share"),
    ("replicas-hpa-consistent and pdb-present-and-drainable", "autoscaler", None, ABSENT, "no autoscaler raises it"),
    ("pdb-present-and-drainable", "budget", None, ABSENT, "2 replicas and no disruption budget"),
    ("pdb-present-and-drainable", "budget", "spec.maxUnavailable", 0, "none may be evicted"),
    ("pdb-present-and-drainable", "budget", "spec.maxUnavailable", "100%", "all may be evicted"),
    ("pdb-present-and-drainable", "budget", "spec", {"minAvailable": 2, "selector": {"matchLabels": SERVER}}, "none may be evicted"),
    ("pdb-present-and-drainable", "budget", "spec", {"minAvailable": "51%", "selector": {"matchLabels": SERVER}}, "minAvailable is 51%"),
    ("pdb-present-and-drainable", "budget", "spec.selector.matchLabels", {"app": "feast"}, "protects nothing"),
    ("pdb-present-and-drainable", SECOND, None, ABSENT, "3 replicas and no disruption budget"),
    ("pdb-present-and-drainable", "budget", "spec.selector", {}, "2 disruption budgets"),
    ("pdb-present-and-drainable and redis-ha-prod", REDIS, "spec.replicas", 1, "a budget for one replica"),
]

JOBS = [
    ("cronjob-safe", "nightly", "spec.concurrencyPolicy", ABSENT, "means Allow"),
    ("cronjob-safe", "nightly", "spec.concurrencyPolicy", "Replace", "concurrencyPolicy is Replace"),
    ("cronjob-safe", "nightly", "spec.timeZone", ABSENT, "timeZone is missing"),
    ("cronjob-safe", "nightly", "spec.timeZone", "Europe/Berlin", "twice a year"),
    ("cronjob-safe", "nightly", "spec.suspend", True, "never runs"),
    ("cronjob-safe", "nightly", "spec.startingDeadlineSeconds", ABSENT, "startingDeadlineSeconds"),
    ("cronjob-safe", "nightly", "spec.startingDeadlineSeconds", 5, "startingDeadlineSeconds is 5"),
    ("cronjob-safe", "nightly", "spec.failedJobsHistoryLimit", 0, "failedJobsHistoryLimit is 0"),
    ("cronjob-safe", "nightly", "spec.successfulJobsHistoryLimit", ABSENT, "successfulJobsHistoryLimit is missing"),
    ("cronjob-safe", "nightly", "spec.schedule", "every night", "no cron expression"),
    ("cronjob-safe", "nightly", "spec.schedule", "0 2 30 2 *", "no cron expression"),
    ("cronjob-safe", "nightly", "spec.schedule", "@yesterday", "no cron expression"),
    ("cronjob-safe", "nightly", "spec.schedule", "0 * * * *", "a slow run swallows the next"),
    ("cronjob-safe", "nightly", f"{RUN}.activeDeadlineSeconds", ABSENT, "a run that hangs"),
    ("cronjob-safe", "nightly", f"{RUN}.activeDeadlineSeconds", 86_400, "a slow run swallows the next"),
    ("cronjob-safe", "nightly", f"{RUN}.backoffLimit", ABSENT, "backoffLimit is missing"),
    ("cronjob-safe", "nightly", f"{RUN}.backoffLimit", 6, "backoffLimit is 6"),
    ("cronjob-safe", "nightly", f"{RUN}.ttlSecondsAfterFinished", ABSENT, "pile up"),
    ("cronjob-safe", "nightly", f"{RUN}.template.spec.restartPolicy", "Always", "restartPolicy is Always"),
    ("job-bounded", "apply", "spec.activeDeadlineSeconds", ABSENT, "a Job that hangs"),
    ("job-bounded", "apply", "spec.backoffLimit", ABSENT, "backoffLimit is missing"),
    ("job-bounded", "apply", "spec.backoffLimit", 10, "backoffLimit is 10"),
    ("job-bounded", "apply", "spec.ttlSecondsAfterFinished", 3600, "run again"),
]

DAMAGES = [*WORKLOADS, *AVAILABILITY, *JOBS]

HARMLESS = [
    ("server", f"{C}.resources.limits.memory", "2Gi"),
    ("server", f"{SPEC}.initContainers", []),
    ("server", f"{SPEC}.topologySpreadConstraints.0.topologyKey", "kubernetes.io/hostname"),
    ("server", f"{C}.startupProbe", {"httpGet": {"path": "/live"}, "periodSeconds": 1, "failureThreshold": 1}),
    ("autoscaler", "spec.metrics", [{"type": "Pods", "pods": {"metric": {"name": "requests"}}}]),
    ("autoscaler", "spec.scaleTargetRef.apiVersion", "extensions/v1beta1"),
    ("budget", "spec.maxUnavailable", "50%"),
    ("budget", "spec", {"minAvailable": 1, "selector": {"matchLabels": SERVER}}),
    ("budget", "spec", {"minAvailable": "50%", "selector": {"matchLabels": SERVER}}),
    ("budget", "spec.selector", {"matchExpressions": [{"key": "app", "operator": "In", "values": ["feature-server"]}]}),
    ("nightly", "spec.schedule", "0 3 * * *"),
    ("nightly", f"{RUN}.template.spec.restartPolicy", "OnFailure"),
    ("apply", "spec.backoffLimit", 3),
]


@pytest.mark.parametrize("case", DAMAGES, ids=identifier)
def test_one_damage_is_one_rules_finding(case):
    assert_found(case)


def test_every_rule_has_a_damage_that_it_finds():
    assert {case[0].split(" and ")[0] for case in DAMAGES} == rules_of(workloads, availability, jobs)


@pytest.mark.parametrize("case", HARMLESS, ids=lambda case: f"{case[0]}-{case[1]}")
def test_what_harms_nobody_is_no_finding(case):
    assert [str(v) for v in findings(damaged(*case))] == []


@pytest.mark.parametrize("case", [case for case in DAMAGES if case[2] is not None], ids=identifier)
def test_an_unknown_value_elsewhere_hides_no_finding(case):
    assert_not_hidden(case)


def test_replicas_that_the_cluster_wrote_are_nobodys_mistake():
    def of(**metadata):
        live = changed(good(), "server", "metadata", named("feature-server", **metadata))
        return {v.rule for v in findings(changed(live, "server", "spec.replicas", 4), "replicas-hpa-consistent")}

    def applied(fields):
        return [{"manager": "pulumi", "operation": "Apply", "fieldsV1": {"f:spec": fields}}, {"operation": "Update", "fieldsV1": {}}]

    assert of(uid="1", managedFields=applied({"f:template": {}})) == set(), "the autoscaler set them"
    assert of(uid="1", managedFields=applied({"f:replicas": {}})) == {"replicas-hpa-consistent"}
    assert of(uid="1") == set(), "nothing tells who set them"
    assert of(uid=UNKNOWN) == set(), "a dry run shows them too"


def test_bounds_that_are_being_changed_do_not_accuse_what_runs_now():
    live = changed(good(), "server", "metadata", named("feature-server", uid="1"))
    assert not findings(changed(live, "server", "spec.replicas", 9), "replicas-hpa-consistent")


def test_a_deployment_that_no_service_reaches_may_have_one_replica():
    resources = {name: each for name, each in good().items() if name not in ("autoscaler", "budget", "service")}
    assert [str(v) for v in findings(resources, "replicas-hpa-consistent", "pdb-present-and-drainable")] == []


def test_fixed_replicas_do_without_an_autoscaler():
    resources = {name: each for name, each in good().items() if name != "autoscaler"}
    assert [str(v) for v in findings(changed(resources, "server", "spec.replicas", 2))] == []


def test_an_environment_may_serve_with_one_replica():
    config = {"replicas-hpa-consistent": {"min_replicas": 1}}
    resources = changed(good(), "autoscaler", "spec.minReplicas", 1)
    del resources["budget"]
    assert [str(v) for v in findings(resources, config=config)] == []


def test_workloads_of_another_namespace_are_not_mixed_up():
    far = replace(good()["budget"], name="far", urn="urn:far", props={**good()["budget"].props, "metadata": {"namespace": "other"}})
    found = findings(good() | {"far": far}, "pdb-present-and-drainable")
    assert [(v.resource, "protects nothing" in v.message) for v in found] == [("far", True)]


def test_a_sidecar_is_measured_and_probed_like_any_other_container():
    found = findings(damaged("server", f"{SPEC}.containers", [*good()["server"].props["spec"]["template"]["spec"]["containers"], SIDECAR]))
    assert {"resources-set", "probes-set"} <= {v.rule for v in found}
    assert all("containers[1]" in v.message for v in found)


def test_one_replica_stands_nowhere_apart():
    single = damaged("server", f"{SPEC}.topologySpreadConstraints", [])
    assert findings(changed(single, "server", "spec.replicas", 1), "spread-zones") == []
    assert findings(changed(single, "server", "spec.replicas", 2), "spread-zones")


def test_anti_affinity_that_is_only_preferred_counts():
    preferred = {"podAffinityTerm": {"topologyKey": "kubernetes.io/hostname", "labelSelector": {"matchLabels": SERVER}}, "weight": 1}
    apart = {"podAntiAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [preferred]}}
    without = damaged("server", f"{SPEC}.topologySpreadConstraints", ABSENT)
    assert findings(changed(without, "server", f"{SPEC}.affinity", apart), "spread-zones") == []


def test_an_old_autoscaler_asks_for_a_share_of_the_cpu_too():
    old = resource(
        "kubernetes:autoscaling/v1:HorizontalPodAutoscaler",
        "autoscaler",
        {
            "metadata": named("feature-server"),
            "spec": {
                "scaleTargetRef": {"kind": "Deployment", "name": "feature-server"},
                "minReplicas": 2,
                "maxReplicas": 4,
                "targetCPUUtilizationPercentage": 50,
            },
        },
    )
    without = changed(good() | {"autoscaler": old}, "server", f"{C}.resources.requests.cpu", ABSENT)
    assert any("wants a share" in v.message for v in findings(without, "replicas-hpa-consistent"))


@pytest.mark.parametrize(
    ("text", "number"),
    [("250m", 0.25), ("1Gi", 2**30), ("1.5", 1.5), (2, 2), ("1e3", 1000), ("512Mi", 2**29), ("1k", 1000), ("plenty", None), (None, None)],
)
def test_quantities_are_numbers(text, number):
    assert quantity(text) == number


@pytest.mark.parametrize(("given", "of", "pods"), [(1, 3, 1), ("50%", 3, 2), ("1%", 2, 1), ("100%", 2, 2), ("2", 5, 2), ("half", 2, None)])
def test_a_share_of_pods_is_rounded_up(given, of, pods):
    assert share(given, of) == pods
