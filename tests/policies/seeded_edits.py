"""What somebody changed in the program; seen on the resource that it registers."""

import json
import re
from dataclasses import replace
from typing import Any

from tests.policies.seeded import Edited, replaced

SERVER, APPLY, NIGHTLY = "feature-server-deployment", "feature-definitions-apply", "materialization-nightly"
DEFINITIONS, ALERTS = "feature-definitions-config-map", "monitoring-alerts"
REDIS, REDIS_CONF = "feast-redis:StatefulSet/feast-redis-node", "feast-redis:ConfigMap/feast-redis-configuration"
REGISTRY = "feast-postgresql:StatefulSet/feast-postgresql-primary"
POD = "spec.template.spec"
C = f"{POD}.containers.0"
RUN = "spec.jobTemplate.spec"
FILE, LOCK = "data.feature_store~yaml", "data.contract~lock~json"
STATEMENT = "policy.Statement.0"


def edit(id: str, what: str, caught_by: str, resource: str, path: str = "", *value: Any) -> Edited:  # noqa: A002 - a row of the table
    """A row; without a value something is removed."""
    return Edited(id=id, what=what, caught_by=caught_by, resource=resource, path=path, **({"value": value[0]} if value else {}))


def ttl(seconds: Any) -> Any:
    """An edit of the contract: every view's ttl."""

    def change(text: str) -> str:
        contract = json.loads(text)
        for view in contract["views"].values():
            view["ttl_seconds"] = seconds
        return json.dumps(contract)

    return change


def expression(text: str) -> Any:
    """An edit of the first alert."""

    def change(groups: list[Any]) -> list[Any]:
        groups[0]["rules"][0]["expr"] = text
        return groups

    return change


def without_line(word: str) -> Any:
    """An edit that removes the lines with a word."""

    def change(text: str) -> str:
        assert word in text
        return re.sub(rf"(?m)^.*{word}.*\n?", "", text)

    return change


def with_first_port(groups: list[Any]) -> list[Any]:
    """Egress to the instance metadata, with everything else."""
    groups[0]["to"][0]["ipBlock"].pop("except")
    return groups


RECIPE = (
    edit(
        "recipe-redis-open",
        "installed Redis with auth.enabled false",
        "redis-auth",
        REDIS,
        f"{C}.env",
        lambda variables: [each for each in variables if "PASSWORD" not in each["name"]],
    ),
    edit(
        "recipe-password-in-feature-store-yaml",
        "wrote the password into feature_store.yaml",
        "no-plain-secret",
        DEFINITIONS,
        FILE,
        replaced("${REGISTRY_PASSWORD}", "feast123"),
    ),
    edit(
        "recipe-password-on-a-command-line",
        "created the role by hand in the Job",
        "no-plain-secret",
        APPLY,
        f"{C}.args",
        ["psql", "postgresql://feast:feast123@feast-postgresql/feast"],
    ),
    edit(
        "recipe-password-in-the-environment",
        "gave the password as a value",
        "no-plain-secret",
        SERVER,
        f"{C}.env.name=REGISTRY_PASSWORD",
        {"name": "REGISTRY_PASSWORD", "value": "feast123"},
    ),
    edit(
        "recipe-wrong-registry-host",
        "named the host feast-postgres, which no chart makes",
        "feast-store-hosts-resolve",
        DEFINITIONS,
        FILE,
        replaced("${REGISTRY_HOST}", "feast-postgres"),
    ),
    edit(
        "recipe-wrong-redis-host",
        "named the host feast-redis-master, which Sentinel mode has not",
        "feast-store-hosts-resolve",
        DEFINITIONS,
        FILE,
        replaced("feast-redis-node-0.feast-redis-headless.feast.svc.cluster.local:26379", "feast-redis-master:6379"),
    ),
    edit(
        "recipe-serialization-version-2",
        "kept version 2",
        "feast-serialization-version",
        DEFINITIONS,
        FILE,
        replaced("version: 3", "version: 2"),
    ),
    edit(
        "recipe-no-serialization-version",
        "left the version out",
        "feast-serialization-version",
        DEFINITIONS,
        FILE,
        without_line("entity_key_serialization"),
    ),
    edit(
        "recipe-file-registry",
        "kept the registry in a file",
        "feast-registry-shared",
        DEFINITIONS,
        FILE,
        replaced("registry_type: sql", "registry_type: file"),
    ),
    edit(
        "recipe-sqlite-online-store",
        "kept the tutorial's online store",
        "feast-registry-shared",
        DEFINITIONS,
        FILE,
        replaced("type: feature_runtime.online_store.PipelinedRedisOnlineStore\n", "type: sqlite\n"),
    ),
    edit("recipe-overlapping-runs", "no concurrencyPolicy", "cronjob-safe", NIGHTLY, "spec.concurrencyPolicy"),
    edit("recipe-endless-run", "no deadline", "cronjob-safe", NIGHTLY, f"{RUN}.activeDeadlineSeconds"),
    edit("recipe-no-start-deadline", "no startingDeadlineSeconds", "cronjob-safe", NIGHTLY, "spec.startingDeadlineSeconds"),
    edit("recipe-local-time", "no time zone", "cronjob-safe", NIGHTLY, "spec.timeZone"),
    edit(
        "recipe-run-without-resources",
        "no resources for materialization",
        "resources-set",
        NIGHTLY,
        f"{RUN}.template.spec.containers.0.resources",
    ),
    edit(
        "recipe-nano-preset",
        "left the chart's default sizes",
        "resources-set",
        REGISTRY,
        f"{C}.resources",
        {"requests": {"cpu": "100m", "memory": "128Mi"}, "limits": {"memory": "192Mi"}},
    ),
    edit(
        "recipe-scheduled-is-not-done",
        "alerted on the last schedule",
        "alerts-can-fire",
        ALERTS,
        "spec.groups",
        expression("time() - kube_cronjob_status_last_schedule_time > 90000"),
    ),
    edit(
        "recipe-invented-latency",
        "alerted on the tutorial's metric",
        "alerts-can-fire",
        ALERTS,
        "spec.groups",
        expression("feast_feature_server_latency > 0.1"),
    ),
    edit(
        "recipe-invented-histogram",
        "alerted on the tutorial's histogram",
        "alerts-can-fire",
        ALERTS,
        "spec.groups",
        expression("histogram_quantile(0.99, feast_feature_server_request_duration_seconds_bucket)"),
    ),
    edit("recipe-latest-image", "deployed latest", "image-not-latest", SERVER, f"{C}.image", "docker.io/feastdev/feature-server:latest"),
    edit("recipe-untagged-image", "deployed without a tag", "image-not-latest", SERVER, f"{C}.image", "registry:5000/feature-server"),
    edit("recipe-ttl-of-a-second", "a ttl that no load is fast enough for", "ttl-vs-schedule", DEFINITIONS, LOCK, ttl(1)),
    edit(
        "recipe-every-server-applies",
        "the server runs feast apply as the owner",
        "feast-server-hardened",
        SERVER,
        f"{C}.env.name=REGISTRY_SCHEMA_MODE.value",
        "auto",
    ),
    edit(
        "recipe-one-credential-for-all",
        "one Secret for server and apply",
        "feast-server-hardened",
        SERVER,
        f"{C}.env.name=REGISTRY_PASSWORD.valueFrom.secretKeyRef.name",
        "apply-credentials",
    ),
    edit(
        "recipe-serving-stops",
        "left serve_features_while_materializing out",
        "feast-serves-while-materializing",
        DEFINITIONS,
        FILE,
        without_line("serve_features_while"),
    ),
    edit(
        "recipe-default-network",
        "left the chart's network policy open",
        "netpol-no-world",
        "feast-redis:NetworkPolicy/feast-redis",
        "spec.ingress.0.from",
    ),
    edit(
        "recipe-public-server",
        "published the server to try it",
        "service-not-public",
        "feature-server-service",
        "spec.type",
        "LoadBalancer",
    ),
)

PODS = (
    edit("root", "ran as root to write a file", "pod-nonroot", SERVER, f"{POD}.securityContext.runAsUser", 0),
    edit("perhaps-root", "dropped runAsNonRoot", "pod-nonroot", NIGHTLY, f"{RUN}.template.spec.securityContext.runAsNonRoot"),
    edit("privileged", "debugged with privileged", "pod-no-privesc", SERVER, f"{C}.securityContext.privileged", True),
    edit("escalation", "dropped allowPrivilegeEscalation", "pod-no-privesc", APPLY, f"{C}.securityContext.allowPrivilegeEscalation"),
    edit("ptrace", "added a capability to profile", "pod-drop-all", SERVER, f"{C}.securityContext.capabilities.add", ["SYS_PTRACE"]),
    edit("capabilities", "dropped the capabilities block", "pod-drop-all", REDIS, f"{C}.securityContext.capabilities"),
    edit("seccomp", "went unconfined", "pod-seccomp", SERVER, f"{POD}.securityContext.seccompProfile.type", "Unconfined"),
    edit(
        "writable-root",
        "made the root file system writable",
        "pod-readonly-rootfs",
        APPLY,
        f"{C}.securityContext.readOnlyRootFilesystem",
        False,
    ),
    edit("host-network", "took the host's network", "pod-host-isolation", SERVER, f"{POD}.hostNetwork", True),
    edit(
        "host-path",
        "mounted the host",
        "pod-host-isolation",
        NIGHTLY,
        f"{RUN}.template.spec.volumes",
        [{"name": "x", "hostPath": {"path": "/"}}],
    ),
    edit("host-port", "opened a host port", "pod-host-isolation", SERVER, f"{C}.ports.0.hostPort", 6566),
    edit("api-token", "mounted a token", "sa-token-off", SERVER, f"{POD}.automountServiceAccountToken", True),
    edit("shared-identity", "used the default account", "sa-token-off", NIGHTLY, f"{RUN}.template.spec.serviceAccountName", "default"),
    edit("account-token", "an account that mounts tokens", "sa-token-off", "apply-service-account", "automountServiceAccountToken", True),
    edit("no-readiness", "removed the readiness probe", "probes-set", SERVER, f"{C}.readinessProbe"),
    edit(
        "impatient-liveness",
        "made liveness stricter than readiness",
        "probes-set",
        SERVER,
        f"{C}.livenessProbe",
        {"httpGet": {"path": "/health", "port": "http"}, "periodSeconds": 2, "failureThreshold": 1},
    ),
    edit("no-memory-limit", "removed the memory limit", "resources-set", SERVER, f"{C}.resources.limits"),
    edit("one-zone", "removed the spread", "spread-zones", SERVER, f"{POD}.topologySpreadConstraints"),
    edit("sentinels-on-one-node", "removed the anti-affinity", "spread-zones", REDIS, f"{POD}.affinity"),
    edit(
        "seed-of-hashes",
        "went back to stock feast serve and dropped the hash seed",
        "feast-hash-seed-pinned",
        SERVER,
        f"{C}",
        lambda c: {**c, "args": ["feast", "serve"], "env": []},
    ),
)

TOGETHER = (
    edit("two-owners-of-replicas", "set replicas beside the autoscaler", "replicas-hpa-consistent", SERVER, "spec.replicas", 3),
    edit("renamed-deployment", "renamed the Deployment only", "replicas-hpa-consistent", SERVER, "metadata.name", "server"),
    edit(
        "autoscaler-of-redis",
        "let the autoscaler scale Redis",
        "replicas-hpa-consistent",
        "feature-server-autoscaler",
        "spec.scaleTargetRef",
        {"kind": "StatefulSet", "name": "feast-redis-node"},
    ),
    edit("one-replica", "lowered minReplicas", "replicas-hpa-consistent", "feature-server-autoscaler", "spec.minReplicas", 1),
    edit("no-budget", "removed the disruption budget", "pdb-present-and-drainable", "feature-server-disruption-budget"),
    edit("undrainable", "allowed no disruption", "pdb-present-and-drainable", "feature-server-disruption-budget", "spec.maxUnavailable", 0),
    edit(
        "budget-for-nobody",
        "mistyped the budget's label",
        "pdb-present-and-drainable",
        "feature-server-disruption-budget",
        "spec.selector.matchLabels",
        {"app": "server"},
    ),
    edit(
        "service-of-nobody",
        "mistyped the Service's label",
        "service-selects-pods",
        "feature-server-service",
        "spec.selector",
        {"app": "server"},
    ),
    edit("renamed-port", "renamed the port", "service-selects-pods", "feature-server-service", "spec.ports.0.targetPort", "web"),
    edit("no-default-deny", "removed the default", "netpol-default-deny", "default-deny"),
    edit("ingress-only-deny", "denied one direction only", "netpol-default-deny", "default-deny", "spec.policyTypes", ["Ingress"]),
    edit(
        "unlisted-workload",
        "relabelled the nightly run only",
        "netpol-per-workload",
        NIGHTLY,
        f"{RUN}.template.metadata.labels",
        {"app": "other"},
    ),
    edit(
        "everybody-may-ask",
        "let every pod of the cluster in",
        "netpol-no-world",
        "feature-server-from-clients",
        "spec.ingress.0.from",
        [{"namespaceSelector": {}}],
    ),
    edit(
        "the-world-may-ask",
        "let the world in",
        "netpol-no-world",
        "feature-server-from-clients",
        "spec.ingress.0.from",
        [{"ipBlock": {"cidr": "0.0.0.0/0"}}],
    ),
    edit(
        "credentials-of-the-node",
        "removed the exception",
        "netpol-no-world",
        "materialize-to-offline-store",
        "spec.egress",
        with_first_port,
    ),
    edit("store-may-call-out", "opened Redis' egress", "netpol-no-world", "feast-redis:NetworkPolicy/feast-redis", "spec.egress", [{}]),
    edit("node-port", "opened a node port", "service-not-public", "feature-server-service", "spec.type", "NodePort"),
    edit(
        "soft-namespace",
        "lowered Pod Security",
        "ns-pss-labels",
        "namespace-namespace",
        "metadata.labels.pod-security~kubernetes~io/enforce",
        "baseline",
    ),
    edit("no-namespace", "dropped the namespace of the definitions", "no-default-namespace", DEFINITIONS, "metadata.namespace"),
    replace(
        edit(
            "shared-connections",
            "took pool_recycle out",
            "feast-pool-recycle",
            DEFINITIONS,
            FILE,
            replaced("pool_recycle: 0", "pool_size: 5"),
        ),
        also=(edit("workers", "more workers", "", SERVER, f"{C}.args", ["feast", "serve", "--workers", "4"]),),
    ),
    replace(
        edit("no-gate", "took the gate out to get a change through", "feast-apply-gated", APPLY, "@dependencies", ()),
        also=(edit("first-steps", "those of the same pod", "", APPLY, f"{POD}.initContainers", []),),
    ),
    edit(
        "one-credential-for-gate-and-apply",
        "applied as the role of the gate",
        "feast-apply-gated",
        APPLY,
        f"{C}.env.name=REGISTRY_PASSWORD.valueFrom.secretKeyRef.name",
        "check-credentials",
    ),
    edit(
        "restarted-for-redis", "asked for readiness to decide about life", "probes-set", SERVER, f"{C}.livenessProbe.httpGet.path", "/ready"
    ),
    edit("vanishing-job", "let the apply Job vanish", "job-bounded", APPLY, "spec.ttlSecondsAfterFinished", 600),
    edit("endless-job", "a backfill without deadline", "job-bounded", "materialization-backfill", "spec.activeDeadlineSeconds"),
    edit("suspended", "paused the nightly run", "cronjob-safe", NIGHTLY, "spec.suspend", True),
    edit("weekly", "ran it on Sundays", "ttl-vs-schedule", NIGHTLY, "spec.schedule", "0 2 * * 0"),
    edit("no-nightly-run", "removed the nightly run", "ttl-vs-schedule", NIGHTLY),
    edit(
        "keys-vanish",
        "a shorter key ttl",
        "ttl-vs-schedule",
        DEFINITIONS,
        FILE,
        lambda text: re.sub(r"key_ttl_seconds: \d+", "key_ttl_seconds: 3600", text),
    ),
    edit(
        "server-as-administrator",
        "gave the server the admin's password",
        "feast-server-hardened",
        SERVER,
        f"{C}.env.name=REGISTRY_PASSWORD.valueFrom.secretKeyRef",
        {"name": "feast-postgresql-auth", "key": "postgres-password"},
    ),
    edit(
        "token-theatre",
        "switched on Feast's kubernetes auth",
        "feast-server-hardened",
        DEFINITIONS,
        FILE,
        lambda text: text + "auth: {type: kubernetes}\n",
    ),
)

STORES = (
    edit(
        "redis-forgets",
        "let a full store evict",
        "redis-noeviction",
        REDIS_CONF,
        "data.redis~conf",
        replaced("noeviction", "volatile-lru"),
    ),
    edit(
        "redis-master-forgets",
        "let a full master evict",
        "redis-noeviction",
        REDIS_CONF,
        "data.master~conf",
        lambda text: text + "maxmemory-policy allkeys-lru\n",
    ),
    edit("redis-unbounded", "no maxmemory", "redis-noeviction", REDIS_CONF, "data.redis~conf", without_line("maxmemory ")),
    edit(
        "redis-in-memory",
        "switched the append-only file off",
        "redis-aof",
        REDIS_CONF,
        "data.redis~conf",
        replaced("appendonly yes", "appendonly no"),
    ),
    edit("redis-in-memory-by-default", "left it out", "redis-aof", REDIS_CONF, "data.redis~conf", without_line("appendonly")),
    edit(
        "passwordless-user",
        "made a user without a password",
        "redis-auth",
        "feast-redis-acl",
        "stringData.users~acl",
        "user default on nopass ~* &* +@all\n",
    ),
    edit("empty-password-allowed", "allowed an empty password", "redis-auth", REDIS, f"{C}.env.name=ALLOW_EMPTY_PASSWORD.value", "yes"),
    edit(
        "no-sentinel",
        "switched Sentinel off",
        "redis-ha-prod",
        REDIS,
        f"{POD}.containers",
        lambda containers: [each for each in containers if each["name"] != "sentinel"],
    ),
    edit("quorum-of-one", "one Sentinel decides", "redis-ha-prod", REDIS_CONF, "data.sentinel~conf", replaced("6379 2", "6379 1")),
    edit("redis-without-a-volume", "switched persistence off", "store-has-volume", REDIS, "spec.volumeClaimTemplates"),
    edit("registry-without-a-volume", "dropped the claim", "store-has-volume", REGISTRY, "spec.volumeClaimTemplates"),
    edit(
        "volumes-go-along",
        "volumes are deleted with Redis",
        "volume-claims-retained",
        REDIS,
        "spec.persistentVolumeClaimRetentionPolicy",
        {"whenDeleted": "Delete"},
    ),
    replace(
        edit("registry-unprotected", "unprotected the registry's chart", "stateful-protected", REGISTRY, "@protect", False),
        also=(edit("chart", "what its objects take after", "", "feast-postgresql", "@protect", False),),
    ),
    edit("registry-alone", "went back to one PostgreSQL", "postgres-ha-prod", "feast-postgresql:StatefulSet/feast-postgresql-read"),
    edit(
        "store-image-by-tag",
        "an image of the chart by tag",
        "image-digest",
        REDIS,
        f"{C}.image",
        "123456789012.dkr.ecr.eu-west-1.amazonaws.com/redis:8.2.1",
    ),
    edit(
        "image-by-tag",
        "the runtime by tag",
        "image-digest",
        SERVER,
        f"{C}.image",
        "123456789012.dkr.ecr.eu-west-1.amazonaws.com/feature-runtime:1",
    ),
    edit(
        "image-from-the-hub",
        "the runtime from Docker Hub",
        "image-registry-allowed",
        NIGHTLY,
        f"{RUN}.template.spec.containers.0.image",
        f"feastdev/feature-server@sha256:{'a' * 64}",
    ),
)

CLOUD = (
    edit(
        "public-bucket",
        "opened the bucket for a test",
        "s3-public-access-blocked",
        "offline-store-public-access",
        "blockPublicPolicy",
        False,
    ),
    edit(
        "bucket-over-http",
        "limited TLS to the objects",
        "s3-tls-only",
        "offline-store-policy",
        f"{STATEMENT}.Resource",
        "arn:aws:s3:::offline-store-bucket-1234567/*",
    ),
    edit(
        "bucket-for-everybody",
        "shared the bucket",
        "s3-policy-no-foreign-principal",
        "offline-store-policy",
        f"{STATEMENT}.Effect",
        "Allow",
    ),
    edit(
        "overwritten-history",
        "suspended versioning",
        "s3-versioning",
        "offline-store-versioning",
        "versioningConfiguration.status",
        "Suspended",
    ),
    edit("access-lists", "brought access lists back", "s3-acl-disabled", "offline-store-ownership", "rule.objectOwnership", "ObjectWriter"),
    edit("no-lifecycle", "removed the lifecycle", "s3-lifecycle", "offline-store-lifecycle"),
    edit(
        "amazons-key",
        "encrypted with S3's own key",
        "s3-encryption-kms",
        "offline-store-encryption",
        "rules.0.applyServerSideEncryptionByDefault",
        {"sseAlgorithm": "AES256"},
    ),
    edit("no-access-log", "removed the access log", "s3-logging", "offline-store-logging"),
    edit("emptied-on-delete", "set forceDestroy to get rid of a stack", "s3-not-destroyable", "offline-store-bucket", "forceDestroy", True),
    edit("key-never-rotated", "switched rotation off", "kms-key-guarded", "offline-store-key", "enableKeyRotation", False),
    edit("everything-in-s3", "granted s3:*", "iam-no-wildcard", "apply-reads-sources", f"{STATEMENT}.Action", "s3:*"),
    edit(
        "server-writes-history",
        "let materialization write",
        "iam-s3-scoped",
        "materialize-reads-sources",
        f"{STATEMENT}.Action",
        ["s3:GetObject", "s3:PutObject"],
    ),
    edit("anybodys-role", "removed the trust's condition", "iam-trust-scoped", "apply-role", "assumeRolePolicy.Statement.0.Condition", {}),
    edit("unbounded-role", "removed the boundary of one role", "iam-permissions-boundary", "materialize-role", "permissionsBoundary"),
    edit("password-unprotected", "unprotected a password", "aws-data-protected", "registry-admin-password", "@protect", False),
    edit("any-account", "removed the account pin", "account-region-pinned", "aws-provider", "allowedAccountIds"),
    edit(
        "blind-eye", "ignored changes of the bucket's policy", "no-ignore-security", "offline-store-policy", "@ignore_changes", ("policy",)
    ),
    edit("secret-output", "exported the password", "no-secret-outputs", "feast-eks-prod", "redis_password", "feast123"),
)

EDITS = (*RECIPE, *PODS, *TOGETHER, *STORES, *CLOUD)
