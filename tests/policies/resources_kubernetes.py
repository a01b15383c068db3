"""A feature store of Kubernetes objects that breaks no rule, from which tests break one thing at a time.

The stores are charts as the official provider registers them, and once more as Releases, which show nothing but their values.
"""

import copy
import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import yaml

from feast_eks_policies import (
    RULES,
    access,
    availability,
    durability,
    exposure,
    images,
    integrity,
    jobs,
    network,
    online_store,
    pods,
    secrets,
    serving,
    workloads,
)
from feast_eks_policies.objects import RELEASE
from feast_eks_policies.rule import Resource
from feast_eks_policies.values import UNKNOWN
from tests.policies.charts import CHART, Object, children, handle, rendered
from tests.policies.recording import Violation
from tests.policies.resources_aws import as_recording, changed, resource, steps, urn

MODULES = (access, availability, durability, exposure, images, integrity, jobs, network, online_store, pods, secrets, serving, workloads)
KUBERNETES_RULES = tuple(rule for module in MODULES for rule in module.RULES if rule in RULES)
NAMESPACE = "feast"
REGISTRY = "123456789012.dkr.ecr.eu-west-1.amazonaws.com"
DIGEST = "sha256:5de61d8994b5909b607677bbf0baeb35857eaf4f923a9e1cf8a1269517fae2de"
IMAGE = f"{REGISTRY}/feature-runtime@{DIGEST}"
SERVER = {"app": "feature-server"}
WEEK = 604_800
CANARY = "canary-Pa55word"
"""A secret; no message may repeat it."""


def named(name: str, **more: Any) -> Object:
    return {"name": name, "namespace": NAMESPACE, **more}


def from_secret(variable: str, secret: str, key: str) -> Object:
    return {"name": variable, "valueFrom": {"secretKeyRef": {"name": secret, "key": key}}}


def registry_user(identity: str, schema_mode: str) -> list[Object]:
    return [
        from_secret("REGISTRY_PASSWORD", f"{identity}-credentials", "registry-password"),
        {"name": "REGISTRY_SCHEMA_MODE", "value": schema_mode},
    ]


def container(name: str, args: list[str], env: list[Object], **more: Any) -> Object:
    return {
        "name": name,
        "image": IMAGE,
        "args": args,
        "env": [{"name": "PYTHONHASHSEED", "value": "0"}, *env],
        "resources": {"requests": {"cpu": "250m", "memory": "1Gi"}, "limits": {"memory": "1Gi"}},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        **more,
    }


def pod(labels: Mapping[str, str], *containers: Object, **more: Any) -> Object:
    return {
        "metadata": {"labels": dict(labels), "annotations": {"checksum/definitions": "66aa1388"}},
        "spec": {
            "serviceAccountName": "feature-store",
            "automountServiceAccountToken": False,
            "securityContext": {"runAsNonRoot": True, "runAsUser": 1001, "seccompProfile": {"type": "RuntimeDefault"}},
            "containers": list(containers),
            "volumes": [{"name": "feature-repo", "configMap": {"name": "feature-definitions"}}, {"name": "tmp", "emptyDir": {}}],
            **more,
        },
    }


FEATURE_STORE = {
    "project": "employee_attrition",
    "provider": "local",
    "registry": {
        "registry_type": "sql",
        "path": "postgresql+psycopg://${REGISTRY_USER}:${REGISTRY_PASSWORD}@feast-postgresql-primary:5432/feast",
        "schema_mode": "${REGISTRY_SCHEMA_MODE}",
        "serve_features_while_materializing": True,
        "sqlalchemy_config_kwargs": {"pool_recycle": 0},
    },
    "online_store": {
        "type": "redis",
        "redis_type": "redis_sentinel",
        "connection_string": "feast-redis-node-0.feast-redis-headless.feast.svc.cluster.local:26379,password=${ONLINE_STORE_PASSWORD}",
        "key_ttl_seconds": 784_800,
    },
    "entity_key_serialization_version": 3,
}
CONTRACT = {"project": "employee_attrition", "views": {"employee_features": {"online": True, "ttl_seconds": WEEK}}}


def feature_store(path: str = "", value: Any = None) -> str:
    """feature_store.yaml, with the value at a dotted path replaced; None removes it."""
    document = copy.deepcopy(FEATURE_STORE)
    if path:
        *parents, last = path.split(".")
        place: Any = document
        for key in parents:
            place = place[key]
        place[last] = value
        if value is None:
            del place[last]
    return yaml.safe_dump(document)


def contract(**ttls: Any) -> str:
    """contract.lock.json with these views."""
    return json.dumps({"views": {view: {"online": True, "ttl_seconds": ttl} for view, ttl in ttls.items()}})


def chart(name: str, file: str) -> tuple[Resource, ...]:
    """A chart as it is registered: a component without inputs, and the rendered objects as its children."""
    component = resource(CHART, name, {}, protect=True)
    return (component, *children(component, rendered(file)))


def release(name: str, values: Object) -> Resource:
    """A chart that is installed out of sight."""
    inputs = {"chart": f"oci://registry/{name}", "name": f"old-{name}", "namespace": NAMESPACE, "values": values}
    return resource(RELEASE, f"old-{name}", inputs, protect=True)


def chart_image(repository: str) -> Object:
    return {"registry": REGISTRY, "repository": repository, "tag": "", "digest": DIGEST}


READY = {"httpGet": {"path": "/ready", "port": "http"}, "periodSeconds": 5, "failureThreshold": 2}
ALIVE = {"httpGet": {"path": "/live", "port": "http"}, "periodSeconds": 20, "failureThreshold": 6}
SPREAD = {
    "maxSkew": 1,
    "topologyKey": "topology.kubernetes.io/zone",
    "whenUnsatisfiable": "ScheduleAnyway",
    "labelSelector": {"matchLabels": SERVER},
}
JOB = {"app": "feature-jobs"}
NEVER = {"restartPolicy": "Never"}
UNCOUNTED = {
    "rules": [
        {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
        {"action": "Ignore", "onExitCodes": {"operator": "In", "values": [75]}},
    ]
}
"""Ends of a pod that are no failure of its Job."""


def run_once(name: str, args: list[str], env: list[Object], after: str = "") -> Resource:
    """A Job, which another one precedes."""
    spec = {"backoffLimit": 0, "podFailurePolicy": UNCOUNTED, "activeDeadlineSeconds": 900}
    return resource(
        "kubernetes:batch/v1:Job",
        name,
        {"metadata": named(f"feast-{name}"), "spec": {**spec, "template": pod(JOB, container(name, args, env), **NEVER)}},
        dependencies=(urn("kubernetes:batch/v1:Job", after),) if after else (),
    )


GOOD = (
    resource(
        "kubernetes:core/v1:Namespace",
        "namespace",
        {
            "metadata": {
                "name": NAMESPACE,
                "labels": {
                    **{f"pod-security.kubernetes.io/{mode}": "restricted" for mode in ("enforce", "warn", "audit")},
                    "pod-security.kubernetes.io/enforce-version": "latest",
                },
            }
        },
    ),
    resource("kubernetes:core/v1:ServiceAccount", "account", {"metadata": named("feature-store"), "automountServiceAccountToken": False}),
    resource(
        "kubernetes:core/v1:Secret",
        "users",
        {"metadata": named("feast-redis-acl"), "type": "Opaque", "stringData": {"users.acl": "user default on #0a1b ~* &* +@all\n"}},
    ),
    resource(
        "kubernetes:rbac.authorization.k8s.io/v1:Role",
        "role",
        {
            "metadata": named("reader"),
            "rules": [
                {"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get", "list"]},
                {"apiGroups": [""], "resources": ["secrets"], "resourceNames": ["one"], "verbs": ["get"]},
            ],
        },
    ),
    resource(
        "kubernetes:rbac.authorization.k8s.io/v1:RoleBinding",
        "binding",
        {
            "metadata": named("reader"),
            "roleRef": {"kind": "Role", "name": "reader"},
            "subjects": [{"kind": "ServiceAccount", "name": "feature-store", "namespace": NAMESPACE}],
        },
    ),
    resource(
        "kubernetes:core/v1:ConfigMap",
        "definitions",
        {
            "metadata": named("feature-definitions"),
            "data": {
                "feature_store.yaml": feature_store(),
                "contract.lock.json": json.dumps(CONTRACT),
                "feature_views.py": 'password = os.environ["PASSWORD"]\ntoken: str = ask()\n',
            },
        },
    ),
    resource(
        "kubernetes:apps/v1:Deployment",
        "server",
        {
            "metadata": named("feature-server"),
            "spec": {
                "selector": {"matchLabels": SERVER},
                "template": pod(
                    SERVER,
                    container(
                        "feature-server",
                        ["feast", "serve", "--host", "0.0.0.0", "--workers", "2"],
                        registry_user("feature-server", "verify"),
                        ports=[{"name": "http", "containerPort": 6566}],
                        readinessProbe=READY,
                        livenessProbe=ALIVE,
                    ),
                    topologySpreadConstraints=[SPREAD],
                ),
            },
        },
    ),
    resource(
        "kubernetes:core/v1:Service",
        "service",
        {
            "metadata": named("feature-server", annotations={}),
            "spec": {"type": "ClusterIP", "selector": SERVER, "ports": [{"name": "http", "port": 6566, "targetPort": "http"}]},
        },
    ),
    resource(
        "kubernetes:networking.k8s.io/v1:Ingress",
        "ingress",
        {
            "metadata": named("features", annotations={"alb.ingress.kubernetes.io/scheme": "internal"}),
            "spec": {"ingressClassName": "alb", "tls": [{"hosts": ["features.example.org"], "secretName": "tls"}]},
        },
    ),
    resource(
        "kubernetes:autoscaling/v2:HorizontalPodAutoscaler",
        "autoscaler",
        {
            "metadata": named("feature-server"),
            "spec": {
                "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "feature-server"},
                "minReplicas": 2,
                "maxReplicas": 6,
                "metrics": [{"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 60}}}],
            },
        },
    ),
    resource(
        "kubernetes:policy/v1:PodDisruptionBudget",
        "budget",
        {"metadata": named("feature-server"), "spec": {"maxUnavailable": 1, "selector": {"matchLabels": SERVER}}},
    ),
    run_once("roles", ["prepare-registry"], []),
    run_once("check", ["check", "--against", "registry", "--format", "text"], registry_user("check", "verify"), after="roles"),
    run_once("apply", ["feast", "apply"], registry_user("apply", "auto"), after="check"),
    resource(
        "kubernetes:batch/v1:CronJob",
        "nightly",
        {
            "metadata": named("materialize"),
            "spec": {
                "schedule": "0 2 * * *",
                "timeZone": "Etc/UTC",
                "concurrencyPolicy": "Forbid",
                "startingDeadlineSeconds": 3600,
                "successfulJobsHistoryLimit": 3,
                "failedJobsHistoryLimit": 3,
                "suspend": False,
                "jobTemplate": {
                    "spec": {
                        "backoffLimit": 0,
                        "podFailurePolicy": UNCOUNTED,
                        "activeDeadlineSeconds": 7200,
                        "ttlSecondsAfterFinished": 3600,
                        "template": pod(
                            JOB,
                            container("materialize", ["feast", "materialize-incremental"], registry_user("materialize", "verify")),
                            **NEVER,
                        ),
                    }
                },
            },
        },
    ),
    resource(
        "kubernetes:networking.k8s.io/v1:NetworkPolicy",
        "default-deny",
        {"metadata": named("default-deny"), "spec": {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}},
    ),
    resource(
        "kubernetes:networking.k8s.io/v1:NetworkPolicy",
        "dns",
        {
            "metadata": named("allow-dns"),
            "spec": {"podSelector": {}, "policyTypes": ["Egress"], "egress": [{"ports": [{"protocol": "UDP", "port": 53}]}]},
        },
    ),
    resource(
        "kubernetes:networking.k8s.io/v1:NetworkPolicy",
        "server-from-clients",
        {
            "metadata": named("server-from-clients"),
            "spec": {
                "podSelector": {"matchLabels": SERVER},
                "policyTypes": ["Ingress"],
                "ingress": [
                    {
                        "from": [{"namespaceSelector": {"matchLabels": {"feast.dev/feature-client": "true"}}}],
                        "ports": [{"protocol": "TCP", "port": 6566}],
                    }
                ],
            },
        },
    ),
    resource(
        "kubernetes:networking.k8s.io/v1:NetworkPolicy",
        "jobs-to-bucket",
        {
            "metadata": named("jobs-to-bucket"),
            "spec": {
                "podSelector": {"matchLabels": JOB},
                "policyTypes": ["Egress"],
                "egress": [
                    {
                        "to": [{"ipBlock": {"cidr": "0.0.0.0/0", "except": ["169.254.169.254/32"]}}],
                        "ports": [{"protocol": "TCP", "port": 443}],
                    }
                ],
            },
        },
    ),
    resource("kubernetes:storage.k8s.io/v1:StorageClass", "gp3", {"provisioner": "ebs.csi.aws.com", "reclaimPolicy": "Retain"}),
    resource(
        "kubernetes:monitoring.coreos.com/v1:PrometheusRule",
        "alerts",
        {
            "metadata": named("feast"),
            "spec": {"groups": [{"rules": [{"alert": "Stale", "expr": "time() - kube_cronjob_status_last_successful_time > 93600"}]}]},
        },
    ),
    *chart("feast-redis", "redis-sentinel"),
    *chart("feast-postgresql", "postgresql-replication"),
    release(
        "redis",
        {
            "global": {"security": {"allowInsecureImages": True}},
            "image": chart_image("redis"),
            "architecture": "replication",
            "auth": {"enabled": True, "existingSecret": "feast-redis-auth", "existingSecretPasswordKey": "redis-password"},
            "commonConfiguration": "appendonly yes\nmaxmemory 600mb\nmaxmemory-policy noeviction\naclfile /opt/feast/acl/users.acl",
            "networkPolicy": {"enabled": True, "allowExternal": False},
            "replica": {"replicaCount": 3, "persistence": {"enabled": True}, "resourcesPreset": "none"},
            "sentinel": {"enabled": True, "quorum": 2, "service": {"type": "ClusterIP"}},
        },
    ),
    release(
        "postgresql",
        {
            "image": chart_image("postgresql"),
            "architecture": "replication",
            "auth": {"username": "feast", "existingSecret": "feast-postgresql-auth", "secretKeys": {"userPasswordKey": "password"}},
            "primary": {"persistence": {"enabled": True}, "networkPolicy": {"enabled": True, "allowExternal": False}},
        },
    ),
)
REDIS = "feast-redis:StatefulSet/feast-redis-node"
REDIS_CONFIGURATION = "feast-redis:ConfigMap/feast-redis-configuration"
POSTGRESQL = "feast-postgresql:StatefulSet/feast-postgresql-read"


def good() -> dict[str, Resource]:
    """The stack by what its resources are called; a copy, to be damaged."""
    return {handle(each): replace(each, props=copy.deepcopy(dict(each.props))) for each in GOOD}


def plain_pod_kinds() -> list[str]:
    """Logical names of workloads of every shape that the stack has."""
    return ["server", "apply", "nightly", REDIS, POSTGRESQL]


Damage = tuple[Any, ...]
"""(rule, resource, path, new value, what the message must name); no path and no value removes the resource."""


def damaged(name: str, path: Any, value: Any) -> dict[str, Resource]:
    """The stack with one thing broken; `path` may be None (the resource is gone) or "+" (`value` is a further resource)."""
    resources = good()
    if path is None:
        del resources[name]
        return resources
    if path == "+":
        return resources | {name: value}
    return changed(resources, name, path, value)


def findings(resources: dict[str, Resource], *names: str, config: Mapping[str, Any] | None = None) -> list[Violation]:
    """What the rules of Kubernetes say, all or the named ones."""
    rules = tuple(rule for rule in KUBERNETES_RULES if not names or rule.name in names)
    return as_recording(resources).violations(config or {}, rules)


def assert_found(case: Damage) -> None:
    """The damage is a finding of its rule, by a message that names the place, and of no other rule but those it lists."""
    rules, name, path, value, place = case
    rule, *others = rules.split(" and ")
    found = findings(damaged(name, path, value))
    assert rule in {v.rule for v in found}, f"{rule} does not see it; found: {[str(v) for v in found]}"
    assert {v.rule for v in found} <= {rule, *others}, [str(v) for v in found]
    assert any(place in v.message for v in found if v.rule == rule), [v.message for v in found]
    assert not any(CANARY in v.message for v in found), f"{rule} prints a secret"


def identifier(case: Damage) -> str:
    return "-".join(str(part) for part in case[:3]).replace("spec.template.spec.", "")


DECIDING = {
    "image-verification-not-bypassed": ("allowInsecureImages",),
    "service-selects-pods": ("labels.app",),
    "resources-set": ("requests.memory", "limits.memory"),
    "probes-set": ("readinessProbe.periodSeconds", "readinessProbe.failureThreshold"),
    "spread-zones": ("labels.app", "spec.replicas"),
    "replicas-hpa-consistent": ("metadata.name",),
    "cronjob-safe": ("spec.schedule", "activeDeadlineSeconds"),
    "ttl-vs-schedule": ("metadata.name",),
    "feast-server-hardened": ("containers.0.args.1",),
    "feast-apply-gated": (
        "containers.0.args.0",
        "containers.0.args.1",
        "env.1.valueFrom.secretKeyRef.key",
        "env.1.valueFrom.secretKeyRef.name",
        "containers.0.args.2",
    ),
    "feast-store-hosts-resolve": ("env.1.name", "env.1.value"),
    "feast-hash-seed-pinned": ("env.1.name", "env.2.name", "containers.0.args.0", "containers.0.args.1"),
    "redis-ha-prod": ("replicaCount",),
    "redis-auth": ("containers.0.args",),
}
"""What else of the resource a finding of a rule needs to know, as ends of paths."""


def assert_not_hidden(case: Damage) -> None:
    """The rule sees the damage whatever else of the resource is not known yet."""
    rules, name, path, value, _ = case
    rule, at, bad = rules.split(" and ")[0], steps(path), damaged(name, path, value)
    for other in leaf_paths(bad[name].props):
        together = at[: len(other)] == other or other[: len(at)] == at or other[: len(at) - 1] == at[:-1]
        together = together or ".".join(map(str, other)).endswith(DECIDING.get(rule, ()))
        if not together and rule not in {v.rule for v in findings(changed(bad, name, other, UNKNOWN), rule)}:
            raise AssertionError(f"{'.'.join(map(str, other))} being unknown hides it")


def leaf_paths(value: Any, prefix: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    if not value or not isinstance(value, (dict, list)):
        return [prefix]
    below = value.items() if isinstance(value, dict) else enumerate(value)
    return [path for key, each in below for path in leaf_paths(each, (*prefix, key))]


def rules_of(*modules: Any) -> set[str]:
    return {rule.name for module in modules for rule in module.RULES}


def assert_no_secret(found: list[Violation], *secrets: str) -> None:
    for violation in found:
        assert not any(secret in violation.message for secret in secrets), f"{violation.rule} prints a secret"
