"""A program that goes round every component: plain Kubernetes objects, of which each breaks one rule. `table.py` says which."""

import json
from typing import Any

import pulumi
import pulumi_kubernetes as kubernetes
import yaml

REGISTRY = "123456789012.dkr.ecr.eu-west-1.amazonaws.com"
DIGEST = "sha256:5de61d8994b5909b607677bbf0baeb35857eaf4f923a9e1cf8a1269517fae2de"
NAMESPACE = "bypass"
DAY = 86_400
GATE = ("check", "--against", "registry")
RESTRICTED = {f"pod-security.kubernetes.io/{mode}": "restricted" for mode in ("enforce", "warn", "audit")}

cluster = pulumi.ResourceOptions(provider=kubernetes.Provider("cluster", context="feast-dev", cluster_identifier="feast-dev"))
protected = pulumi.ResourceOptions.merge(cluster, pulumi.ResourceOptions(protect=True))


def image(name: str, tag: str = "") -> str:
    """An image by digest."""
    return f"{REGISTRY}/{name}{tag and ':' + tag}@{DIGEST}"


def metadata(name: str, namespace: str = NAMESPACE) -> dict[str, Any]:
    """Metadata of an object."""
    return {"name": name, "namespace": namespace}


def container(name: str, *arguments: str, **more: Any) -> dict[str, Any]:
    """A container with which nothing is wrong, but for what the caller replaces."""
    security = {"allow_privilege_escalation": False, "read_only_root_filesystem": True, "capabilities": {"drop": ["ALL"]}}
    return {
        "name": name,
        "image": image(name),
        "args": list(arguments),
        "resources": {"requests": {"cpu": "100m", "memory": "256Mi"}, "limits": {"memory": "256Mi"}},
        "readiness_probe": {"tcp_socket": {"port": 80}},
        "liveness_probe": {"tcp_socket": {"port": 80}},
        **more,
        "security_context": {**security, **more.get("security_context", {})},
    }


def pod(name: str, *containers: dict[str, Any], labels: dict[str, str] | None = None, **more: Any) -> dict[str, Any]:
    """A pod with which nothing is wrong, but for what the caller replaces."""
    return {
        "metadata": {"labels": labels or {"app": name}},
        "spec": {
            "service_account_name": "worker",
            "automount_service_account_token": False,
            "security_context": {"run_as_non_root": True, "run_as_user": 1001, "seccomp_profile": {"type": "RuntimeDefault"}},
            "containers": list(containers) or [container(name)],
            **more,
        },
    }


def deployment(
    name: str, *containers: dict[str, Any], replicas: int = 1, namespace: str = NAMESPACE, labels: dict[str, str] | None = None, **more: Any
) -> None:
    """A Deployment of one replica."""
    kubernetes.apps.v1.Deployment(
        name,
        metadata=metadata(name, namespace),
        spec={
            "replicas": replicas,
            "selector": {"match_labels": labels or {"app": name}},
            "template": pod(name, *containers, labels=labels, **more),
        },
        opts=cluster,
    )


def budget(name: str) -> None:
    """A disruption budget for a workload."""
    kubernetes.policy.v1.PodDisruptionBudget(
        f"{name}-budget", metadata=metadata(name), spec={"max_unavailable": 1, "selector": {"match_labels": {"app": name}}}, opts=cluster
    )


def apart(name: str) -> list[dict[str, Any]]:
    """Replicas in different zones."""
    selector = {"match_labels": {"app": name}}
    zone = "topology.kubernetes.io/zone"
    return [{"max_skew": 1, "topology_key": zone, "when_unsatisfiable": "DoNotSchedule", "label_selector": selector}]


def store(name: str, *containers: dict[str, Any], replicas: int = 3, volume: bool = True) -> None:
    """A database with its volume, its nodes apart and a disruption budget."""
    claims = [{"metadata": {"name": "data"}, "spec": {"access_modes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}}]
    kubernetes.apps.v1.StatefulSet(
        name,
        metadata=metadata(name),
        spec={
            "replicas": replicas,
            "service_name": name,
            "selector": {"match_labels": {"app": name}},
            "template": pod(name, *containers, topology_spread_constraints=apart(name)),
            **({"volume_claim_templates": claims} if volume else {}),
        },
        opts=protected,
    )
    if replicas > 1:
        budget(name)


def redis(name: str, *, users: bool = True, replicas: int = 3, volume: bool = True) -> None:
    """Redis with a Sentinel in every pod."""
    arguments = ["redis-server", "/etc/redis/redis.conf"] if users else ["redis-server"]
    store(name, container("cache", *arguments), container("sentinel", "redis-sentinel"), replicas=replicas, volume=volume)


def job(name: str, *arguments: str, env: list[dict[str, Any]] | None = None, **more: Any) -> dict[str, Any]:
    """The spec of a Job that ends."""
    template = pod(name, container(name, *arguments, env=env or []), restart_policy="Never", **more)
    return {"active_deadline_seconds": 900, "backoff_limit": 2, "template": template}


def cron_job(name: str, *arguments: str, concurrency: str = "Forbid", **more: Any) -> None:
    """A run every night."""
    kubernetes.batch.v1.CronJob(
        name,
        metadata=metadata(name),
        spec={
            "schedule": "0 2 * * *",
            "time_zone": "Etc/UTC",
            "concurrency_policy": concurrency,
            "starting_deadline_seconds": 600,
            "successful_jobs_history_limit": 3,
            "failed_jobs_history_limit": 3,
            "job_template": {"spec": {**job(name, *arguments, **more), "ttl_seconds_after_finished": DAY}},
        },
        opts=cluster,
    )


def config_map(name: str, opts: pulumi.ResourceOptions = cluster, namespace: str | None = NAMESPACE, **data: str) -> None:
    """A ConfigMap; `redis_conf` becomes the key redis.conf."""
    place = {"namespace": namespace} if namespace else {}
    files = {
        key.replace("_conf", ".conf").replace("_yaml", ".yaml").replace("_lock_json", ".lock.json"): text for key, text in data.items()
    }
    kubernetes.core.v1.ConfigMap(name, metadata={"name": name, **place}, data=files, opts=opts)


def feature_store(name: str, **more: Any) -> None:
    """A feature_store.yaml with which nothing is wrong, but for what the caller replaces."""
    registry = {
        "registry_type": "sql",
        "path": "postgresql://${USER}:${PASSWORD}@${HOST}/feast",
        "schema_mode": "verify",
        "serve_features_while_materializing": True,
        "sqlalchemy_config_kwargs": {"pool_recycle": 0},
    }
    document = {
        "project": "bypass",
        "online_store": {"type": "redis", "connection_string": "${REDIS},password=${PASSWORD}"},
        "entity_key_serialization_version": 3,
        **more,
        "registry": {**registry, **more.get("registry", {})},
    }
    config_map(name, feature_store_yaml=yaml.safe_dump(document))


def network_policy(name: str, namespace: str = NAMESPACE, **spec: Any) -> None:
    """A network policy."""
    kubernetes.networking.v1.NetworkPolicy(name, metadata=metadata(name, namespace), spec=spec, opts=cluster)


def secret_variable(variable: str, secret: str) -> dict[str, Any]:
    """An environment variable from a Secret."""
    return {"name": variable, "value_from": {"secret_key_ref": {"name": secret, "key": "password"}}}


# What a namespace needs, and everybody's own policy.
network_policy("default-deny", pod_selector={}, policy_types=["Ingress", "Egress"])
for place in (NAMESPACE, "open"):
    everybody = {"match_expressions": [{"key": "app", "operator": "Exists"}]}
    inside = [{"from_": [{"pod_selector": {}}], "ports": [{"port": 80}]}]
    network_policy(f"everybody-{place}", place, pod_selector=everybody, policy_types=["Ingress", "Egress"], ingress=inside)
kubernetes.core.v1.ServiceAccount("worker", metadata=metadata("worker"), automount_service_account_token=False, opts=cluster)

deployment("nothing-wrong")
deployment("serving", replicas=2, topology_spread_constraints=apart("serving"))
budget("serving")

# Exposure.
kubernetes.core.v1.Namespace("soft", metadata={"name": "soft", "labels": {**RESTRICTED}}, opts=cluster)
config_map("homeless", namespace=None)
kubernetes.core.v1.Service(
    "public",
    metadata=metadata("public"),
    spec={"type": "LoadBalancer", "selector": {"app": "serving"}, "ports": [{"port": 80}]},
    opts=cluster,
)
kubernetes.core.v1.Service(
    "to-nobody", metadata=metadata("to-nobody"), spec={"selector": {"app": "nobody"}, "ports": [{"port": 80}]}, opts=cluster
)
network_policy(
    "from-anywhere", pod_selector={"match_labels": {"app": "serving"}}, policy_types=["Ingress"], ingress=[{"ports": [{"port": 80}]}]
)
deployment("in-the-open", namespace="open")
deployment("unlisted", labels={"component": "unlisted"})
deployment("telling", container("telling", env=[{"name": "REDIS_PASSWORD", "value": "canary"}]))

# Identity.
deployment("with-token", automount_service_account_token=True)
kubernetes.rbac.v1.Role(
    "almighty", metadata=metadata("almighty"), rules=[{"api_groups": [""], "resources": ["pods"], "verbs": ["*"]}], opts=cluster
)

# Pods.
deployment("as-root", container("as-root", security_context={"run_as_user": 0}))
deployment("escalating", container("escalating", security_context={"allow_privilege_escalation": True}))
deployment("capable", container("capable", security_context={"capabilities": {"drop": ["ALL"], "add": ["SYS_PTRACE"]}}))
deployment("unfiltered", container("unfiltered", security_context={"seccomp_profile": {"type": "Unconfined"}}))
deployment("writable", container("writable", security_context={"read_only_root_filesystem": False}))
deployment("on-the-host", host_network=True)
deployment("hungry", container("hungry", resources={"requests": {"cpu": "1", "memory": "1Gi"}}))
deployment("unprobed", container("unprobed", liveness_probe=None))
deployment("side-by-side", replicas=2)
budget("side-by-side")
deployment("all-at-once", replicas=2, topology_spread_constraints=apart("all-at-once"))
kubernetes.autoscaling.v2.HorizontalPodAutoscaler(
    "of-nothing",
    metadata=metadata("of-nothing"),
    spec={"scale_target_ref": {"api_version": "apps/v1", "kind": "Deployment", "name": "renamed"}, "min_replicas": 2, "max_replicas": 4},
    opts=cluster,
)

# Images.
deployment("latest", container("latest", image=image("latest", tag="latest")))
deployment("by-tag", container("by-tag", image=f"{REGISTRY}/by-tag:1.0"))
deployment("of-somebody", container("of-somebody", image=f"docker.io/somebody/something@{DIGEST}"))
kubernetes.helm.v3.Release(
    "unverified",
    name="unverified",
    chart="./unverified",
    namespace=NAMESPACE,
    values={"global": {"security": {"allowInsecureImages": True}}},
    opts=cluster,
)
kubernetes.helm.v4.Chart("nothing-wrong-with-a-chart", chart="./unverified", namespace=NAMESPACE, opts=cluster)

# Jobs.
cron_job("overlapping", "report", concurrency="Allow")
endless = job("endless", "count")
del endless["active_deadline_seconds"]
kubernetes.batch.v1.Job("endless", metadata=metadata("endless"), spec=endless, opts=cluster)
kubernetes.batch.v1.Job("ungated", metadata=metadata("ungated"), spec=job("ungated", "feast", "apply"), opts=cluster)
gate = kubernetes.batch.v1.Job(
    "gate", metadata=metadata("gate"), spec=job("gate", *GATE, env=[secret_variable("PASSWORD", "reader")]), opts=cluster
)
kubernetes.batch.v1.Job(
    "gated",
    metadata=metadata("gated"),
    spec=job("gated", "apply", env=[secret_variable("PASSWORD", "owner")]),
    opts=pulumi.ResourceOptions.merge(cluster, pulumi.ResourceOptions(depends_on=[gate])),
)

# Stores.
redis("nothing-wrong-either")
redis("passwordless", users=False)
redis("alone", replicas=1)
redis("forgetting", volume=False)
config_map("full-of-holes", redis_conf="appendonly yes\nmaxmemory 100mb\nmaxmemory-policy allkeys-lru\n")
config_map("in-memory", redis_conf="maxmemory 100mb\n")
store("only-copy", container("database", "postgres"), replicas=1)
kubernetes.storage.v1.StorageClass(
    "shredder", metadata={"name": "shredder"}, provisioner="ebs.csi.aws.com", reclaim_policy="Delete", opts=cluster
)
kubernetes.core.v1.PersistentVolumeClaim(
    "up-for-grabs",
    metadata=metadata("up-for-grabs"),
    spec={"access_modes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
    opts=cluster,
)

# Feast.
config_map("short-lived", contract_lock_json=json.dumps({"views": {"minute": {"online": True, "ttl_seconds": 1}}}))
cron_job("nightly", "materialize", volumes=[{"name": "repo", "config_map": {"name": "short-lived"}}])
kubernetes.batch.v1.Job(
    "owner",
    metadata=metadata("owner"),
    spec=job("owner", "apply", env=[secret_variable("PASSWORD", "owner")], init_containers=[container("gate", *GATE)]),
    opts=cluster,
)
deployment("over-privileged", container("over-privileged", "serve", env=[secret_variable("PASSWORD", "owner")]))
deployment("shuffling", container("shuffling", "feast", "serve"))
deployment("forking", container("forking", "gunicorn", "-w", "2"), volumes=[{"name": "repo", "config_map": {"name": "shared-connection"}}])
feature_store("shared-connection", registry={"sqlalchemy_config_kwargs": {}})
feature_store("to-each-its-own", registry={"registry_type": "file", "path": "data/registry.db"})
feature_store("old-keys", entity_key_serialization_version=2)
feature_store("pausing", registry={"serve_features_while_materializing": False})
feature_store("readable", online_store={"type": "redis", "connection_string": "cache.example.org:6379"})
feature_store("lost", online_store={"type": "redis", "connection_string": "feast-postgres:6379"})
kubernetes.apiextensions.CustomResource(
    "deaf",
    api_version="monitoring.coreos.com/v1",
    kind="PrometheusRule",
    metadata=metadata("deaf"),
    spec={"groups": [{"name": "deaf", "rules": [{"alert": "Deaf", "expr": "time() - kube_cronjob_status_last_schedule_time > 90000"}]}]},
    opts=cluster,
)

# Through whatever cluster the operator's own kubeconfig names.
config_map("wherever", pulumi.ResourceOptions())
