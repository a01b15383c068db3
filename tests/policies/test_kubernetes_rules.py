"""What a pod, a Service or a role must not be: from a stack that breaks no rule, one thing is broken, and that rule must say so."""

import pytest

from feast_eks_policies import access, exposure, images, network, pods, secrets
from feast_eks_policies.images import Image
from feast_eks_policies.rule import Provider, StackRule
from feast_eks_policies.secrets import is_secret_name
from feast_eks_policies.values import UNKNOWN, containers, get
from tests.policies.resources_aws import ABSENT, as_recording, changed, paths_of, resource
from tests.policies.resources_kubernetes import (
    CANARY,
    DIGEST,
    KUBERNETES_RULES,
    POSTGRESQL,
    REDIS,
    REGISTRY,
    SERVER,
    assert_found,
    assert_not_hidden,
    damaged,
    findings,
    good,
    identifier,
    named,
    pod,
    rules_of,
)

SPEC = "spec.template.spec"
C = f"{SPEC}.containers.0"
NIGHTLY = "spec.jobTemplate.spec.template.spec"
LABELS = ("metadata", "labels")
ENFORCE = (*LABELS, "pod-security.kubernetes.io/enforce")
SCHEME = ("metadata", "annotations", "alb.ingress.kubernetes.io/scheme")
PEER = "spec.ingress.0.from.0"
BLOCK = "spec.egress.0.to.0.ipBlock"


def env(value, name="REGISTRY_DSN"):
    return {"name": name, "value": value}


def data(file):
    return ("data", file)


EXPOSURE = [
    ("ns-pss-labels", "namespace", ENFORCE, ABSENT, "enforce] is missing"),
    ("ns-pss-labels", "namespace", ENFORCE, "baseline", "baseline"),
    ("ns-pss-labels", "namespace", (*LABELS, "pod-security.kubernetes.io/warn"), "privileged", "warn"),
    ("ns-pss-labels", "namespace", (*LABELS, "pod-security.kubernetes.io/enforce-version"), ABSENT, "enforce-version"),
    ("ns-pss-labels", "namespace", "metadata", {"name": "feast"}, "audit"),
    ("no-default-namespace", "users", "metadata.namespace", ABSENT, "metadata.namespace is missing"),
    ("no-default-namespace", "role", "metadata.namespace", "default", "default"),
    ("no-default-namespace", "feast-redis:ServiceAccount/feast-redis", "metadata.namespace", ABSENT, "metadata.namespace is missing"),
    ("no-default-namespace", "old-redis", "namespace", ABSENT, "namespace is missing"),
    ("no-default-namespace", "old-redis", "namespace", "default", "namespace is default"),
    ("service-not-public", "service", "spec.type", "LoadBalancer", "LoadBalancer"),
    ("service-not-public", "service", "spec.type", "NodePort", "NodePort"),
    ("service-not-public", "service", "spec.externalIPs", ["203.0.113.7"], "externalIPs"),
    ("service-not-public", "ingress", SCHEME, "internet-facing", "internet-facing"),
    ("service-not-public", "ingress", "spec.tls", ABSENT, "spec.tls"),
    ("service-not-public", "feast-redis:Service/feast-redis", "spec.type", "NodePort", "spec.type is NodePort"),
    ("service-not-public", "old-redis", "values.sentinel.service.type", "NodePort", "values.sentinel.service.type"),
    (
        "service-not-public",
        "gateway",
        "+",
        resource("kubernetes:gateway.networking.k8s.io/v1:Gateway", "gateway", {"spec": {"listeners": [{"protocol": "HTTP", "port": 80}]}}),
        "listeners[0].protocol is HTTP",
    ),
    ("netpol-no-world", "server-from-clients", "spec.ingress.0.from", ABSENT, "from is missing"),
    ("netpol-no-world", "server-from-clients", "spec.ingress.0.from", [], "from is missing"),
    ("netpol-no-world and netpol-default-deny", "default-deny", "spec.ingress", [{}], "from is missing"),
    ("netpol-no-world", "server-from-clients", PEER, {"namespaceSelector": {}}, "every pod of every namespace"),
    ("netpol-no-world", "server-from-clients", PEER, {"ipBlock": {"cidr": "0.0.0.0/0"}}, "lets in 0.0.0.0/0"),
    ("netpol-no-world", "server-from-clients", PEER, {"ipBlock": {"cidr": "128.0.0.0/1"}}, "lets in"),
    ("netpol-no-world", "server-from-clients", PEER, {"ipBlock": {"cidr": "::/0"}}, "lets in"),
    ("netpol-no-world", "jobs-to-bucket", f"{BLOCK}.except", ABSENT, "credentials"),
    ("netpol-no-world", "jobs-to-bucket", f"{BLOCK}.except", ["10.0.0.0/8"], "169.254.169.254"),
    ("netpol-no-world", "jobs-to-bucket", BLOCK, {"cidr": "169.254.0.0/16"}, "169.254.169.254"),
    ("netpol-no-world", "jobs-to-bucket", f"{BLOCK}.cidr", "everything", "no address range"),
    ("netpol-no-world", "jobs-to-bucket", "spec.egress.0.ports", ABSENT, "every port"),
    ("netpol-no-world", "jobs-to-bucket", "spec.egress.0.to", ABSENT, "to is missing"),
    ("netpol-no-world", "dns", "spec.egress.0.ports.0.port", 443, "to is missing"),
    ("netpol-no-world", "dns", "spec.egress.0.ports.0.endPort", 60000, "to is missing"),
    ("netpol-no-world", "feast-redis:NetworkPolicy/feast-redis", "spec.egress", [{}], "to is missing"),
    ("netpol-no-world", "feast-redis:NetworkPolicy/feast-redis", "spec.ingress.0.from", ABSENT, "from is missing"),
    ("netpol-default-deny", "default-deny", None, ABSENT, "denies all Ingress by default"),
    ("netpol-default-deny", "default-deny", "spec.policyTypes", ["Ingress"], "denies all Egress by default"),
    ("netpol-default-deny", "default-deny", "spec.policyTypes", ABSENT, "Egress"),
    ("netpol-default-deny", "default-deny", "spec.podSelector", {"matchLabels": SERVER}, "Ingress"),
    ("netpol-default-deny", "default-deny", "metadata.namespace", "elsewhere", "Ingress"),
    ("netpol-default-deny", "old-redis", "values.networkPolicy.enabled", False, "values.networkPolicy.enabled"),
    ("netpol-default-deny", "old-postgresql", "values.primary.networkPolicy.allowExternal", True, "allowExternal"),
    ("netpol-per-workload", "feast-redis:NetworkPolicy/feast-redis", None, ABSENT, "no network policy names these pods"),
    ("netpol-per-workload", "jobs-to-bucket", None, ABSENT, "no network policy names these pods"),
    ("netpol-per-workload and feast-server-hardened", "server-from-clients", "spec.podSelector.matchLabels", {"app": "other"}, "names"),
    ("service-selects-pods", "service", "spec.selector", {"app": "feast"}, "no workload"),
    ("service-selects-pods", "service", "spec.ports.0.targetPort", "grpc", "targetPort grpc"),
    ("service-selects-pods", "service", "metadata.namespace", "other", "no workload"),
    ("service-selects-pods", "server", "spec.selector.matchLabels", {"app": "other"}, "its own pods"),
]

PODS = [
    ("pod-nonroot", "server", f"{SPEC}.securityContext.runAsNonRoot", ABSENT, "runAsNonRoot"),
    ("pod-nonroot", "server", f"{SPEC}.securityContext.runAsNonRoot", False, "runAsNonRoot"),
    ("pod-nonroot", "apply", f"{C}.securityContext.runAsNonRoot", False, "containers[0].securityContext.runAsNonRoot"),
    ("pod-nonroot", "nightly", f"{NIGHTLY}.securityContext.runAsUser", 0, "runAsUser is 0"),
    ("pod-nonroot", REDIS, f"{C}.securityContext.runAsUser", 0, "runAsUser is 0"),
    ("pod-no-privesc", "server", f"{C}.securityContext.allowPrivilegeEscalation", ABSENT, "allowPrivilegeEscalation"),
    ("pod-no-privesc", POSTGRESQL, f"{C}.securityContext.allowPrivilegeEscalation", True, "allowPrivilegeEscalation"),
    ("pod-no-privesc", "nightly", f"{NIGHTLY}.containers.0.securityContext.privileged", True, "privileged"),
    ("pod-no-privesc", "server", f"{C}.securityContext.procMount", "Unmasked", "procMount"),
    ("pod-drop-all", "server", f"{C}.securityContext.capabilities", ABSENT, "lacks ALL"),
    ("pod-drop-all", "server", f"{C}.securityContext.capabilities.drop", ["NET_RAW"], "lacks ALL"),
    ("pod-drop-all", "apply", f"{C}.securityContext.capabilities.add", ["SYS_ADMIN"], "SYS_ADMIN"),
    ("pod-seccomp", "server", f"{SPEC}.securityContext.seccompProfile", ABSENT, "seccompProfile"),
    ("pod-seccomp", "server", f"{C}.securityContext.seccompProfile", {"type": "Unconfined"}, "Unconfined"),
    ("pod-seccomp", REDIS, f"{C}.securityContext.seccompProfile", ABSENT, "seccompProfile"),
    ("pod-readonly-rootfs", "server", f"{C}.securityContext.readOnlyRootFilesystem", False, "readOnlyRootFilesystem"),
    ("pod-readonly-rootfs", REDIS, "spec.template.spec.containers.1.securityContext.readOnlyRootFilesystem", ABSENT, "containers[1]"),
    ("pod-host-isolation", "server", f"{SPEC}.hostNetwork", True, "hostNetwork"),
    ("pod-host-isolation", "apply", f"{SPEC}.hostPID", True, "hostPID"),
    ("pod-host-isolation", "apply", f"{SPEC}.hostIPC", True, "hostIPC"),
    ("pod-host-isolation", "nightly", f"{NIGHTLY}.volumes.1", {"name": "host", "hostPath": {"path": "/"}}, "hostPath"),
    ("pod-host-isolation", "server", f"{SPEC}.volumes.1", {"name": "share", "nfs": {"server": "a", "path": "/"}}, "nfs"),
    ("pod-host-isolation", "server", f"{C}.ports.0.hostPort", 6566, "hostPort"),
    ("pod-host-isolation", "server", f"{SPEC}.securityContext.sysctls", [{"name": "kernel.msgmax", "value": "1"}], "kernel.msgmax"),
    ("sa-token-off", "account", "automountServiceAccountToken", ABSENT, "automountServiceAccountToken"),
    ("sa-token-off", "server", f"{SPEC}.automountServiceAccountToken", ABSENT, "automountServiceAccountToken"),
    ("sa-token-off", "apply", f"{SPEC}.automountServiceAccountToken", True, "automountServiceAccountToken"),
    ("sa-token-off", "server", f"{SPEC}.serviceAccountName", ABSENT, "serviceAccountName is missing"),
    ("sa-token-off", "nightly", f"{NIGHTLY}.serviceAccountName", "default", "serviceAccountName is default"),
    ("sa-token-off", "users", "type", "kubernetes.io/service-account-token", "never expires"),
    (
        "sa-token-off",
        "server",
        f"{SPEC}.volumes.1",
        {"name": "token", "projected": {"sources": [{"serviceAccountToken": {"path": "token"}}]}},
        "projected.sources[0]",
    ),
    ("rbac-no-wildcard", "role", "rules.0.verbs", ["*"], "verbs is *"),
    ("rbac-no-wildcard", "role", "rules.0.resources", ["*"], "resources is *"),
    ("rbac-no-wildcard", "role", "rules.0.apiGroups", ["*"], "apiGroups is *"),
    ("rbac-no-wildcard", "role", "rules.0.verbs", ["get", "impersonate"], "impersonate"),
    ("rbac-no-wildcard", "role", "rules.0.resources", ["pods/exec"], "pods/exec"),
    ("rbac-no-wildcard", "role", "rules.1.verbs", ["list"], "list secrets"),
    ("rbac-no-wildcard", "role", "rules.1.resourceNames", ABSENT, "every secret"),
    ("rbac-no-wildcard", "binding", "roleRef.name", "cluster-admin", "cluster-admin"),
    ("rbac-no-wildcard", "binding", "subjects.0.name", "system:authenticated", "system:authenticated"),
    ("rbac-no-wildcard", "binding", "subjects.0.name", "default", "default"),
]

IMAGES = [
    ("image-not-latest and image-digest", "server", f"{C}.image", f"{REGISTRY}/x:latest", "tag latest"),
    ("image-not-latest and image-digest", "apply", f"{C}.image", f"{REGISTRY}/x", "neither tag nor digest"),
    ("image-not-latest and image-digest and image-registry-allowed", "apply", f"{C}.image", "registry:5000/x", "neither tag nor digest"),
    ("image-not-latest and image-digest", POSTGRESQL, f"{C}.image", f"{REGISTRY}/postgresql", "neither tag nor digest"),
    ("image-not-latest", "old-postgresql", "values.image.tag", "latest", "values.image"),
    ("image-digest", "server", f"{C}.image", f"{REGISTRY}/x:1.2", "not by digest"),
    ("image-digest", "server", f"{C}.image", f"{REGISTRY}/x:1.2@sha256:abc", "not by digest"),
    ("image-digest", REDIS, f"{SPEC}.containers.1.image", f"{REGISTRY}/redis-sentinel:8.2.1", "not by digest"),
    ("image-digest", "old-postgresql", "values.image.digest", "", "values.image"),
    ("image-registry-allowed", "server", f"{C}.image", f"docker.io/library/busybox@{DIGEST}", "docker.io/library/busybox"),
    ("image-registry-allowed", "server", f"{C}.image", f"busybox@{DIGEST}", "docker.io/library/busybox"),
    (
        "image-registry-allowed",
        "nightly",
        f"{NIGHTLY}.containers.0.image",
        f"1.dkr.ecr.eu-west-1.amazonaws.com.attacker.io/x@{DIGEST}",
        "attacker.io",
    ),
    ("image-registry-allowed", "apply", f"{C}.image", f"evil.io/1.dkr.ecr.eu-west-1.amazonaws.com/x@{DIGEST}", "evil.io"),
    ("image-registry-allowed", REDIS, f"{C}.image", f"docker.io/bitnamilegacy/redis@{DIGEST}", "denied"),
    ("image-registry-allowed", "old-postgresql", "values.image.registry", "docker.io", "values.image"),
    (
        "image-registry-allowed",
        "old-postgresql",
        "values.image",
        {"registry": "docker.io", "repository": "bitnamilegacy/postgresql", "digest": DIGEST},
        "denied",
    ),
    ("image-registry-allowed", "old-postgresql", "values.global", {"imageRegistry": "quay.io"}, "quay.io"),
    (
        "image-registry-allowed",
        "server",
        f"{SPEC}.volumes.1",
        {"name": "model", "image": {"reference": f"ghcr.io/x/y@{DIGEST}"}},
        "ghcr.io",
    ),
    ("image-verification-not-bypassed and image-digest", "old-redis", "values.image.digest", "", "allowInsecureImages"),
    (
        "image-verification-not-bypassed and image-registry-allowed",
        "old-redis",
        "values.image.registry",
        "docker.io",
        "allowInsecureImages",
    ),
    ("image-verification-not-bypassed", "old-redis", "values.image", ABSENT, "no image is named"),
]

SECRETS = [
    ("no-plain-secret", "server", f"{C}.env.1", env(CANARY, "REGISTRY_PASSWORD"), "env[REGISTRY_PASSWORD].value"),
    ("no-plain-secret", "server", f"{C}.env.1", env(CANARY, "AWS_SECRET_ACCESS_KEY"), "AWS_SECRET_ACCESS_KEY"),
    ("no-plain-secret", "server", f"{C}.env.1", env(CANARY, "REDISCLI_AUTH"), "REDISCLI_AUTH"),
    ("no-plain-secret", "server", f"{C}.env.1", env(f"postgresql://feast:{CANARY}@db:5432/feast", "REGISTRY"), "URL with a password"),
    ("no-plain-secret", "server", f"{C}.env.1", env("AKIAIOSFODNN7EXAMPLE", "WHO"), "AWS access key"),
    ("no-plain-secret", "server", f"{C}.env.1", env(f"redis:6379,password={CANARY},ssl=true", "ONLINE_STORE"), "connection string"),
    ("no-plain-secret", "apply", f"{C}.args", ["feast", "apply", f"--password={CANARY}"], "password"),
    ("no-plain-secret", "apply", f"{C}.args", ["psql", "--password", CANARY, "apply"], "after --password"),
    ("no-plain-secret", "apply", f"{C}.command", ["sh", "-c", f"PGPASSWORD={CANARY} psql -h db"], "PGPASSWORD"),
    ("no-plain-secret", "apply", f"{C}.command", ["sh", "-c", f"redis-cli -h r -a {CANARY} ping"], "client program"),
    ("no-plain-secret", "apply", f"{C}.command", ["psql", f"postgresql://feast:{CANARY}@db/feast"], "URL with a password"),
    ("no-plain-secret", "apply", f"{C}.command", ["psql", "-c", f"ALTER ROLE feast PASSWORD '{CANARY}'"], "SQL"),
    ("no-plain-secret", "server", "spec.template.metadata.annotations.note", f"redis://u:{CANARY}@r", "annotations[note]"),
    ("no-plain-secret", "service", "metadata.annotations.note", f"redis://u:{CANARY}@r", "annotations[note]"),
    ("no-plain-secret", "definitions", data("settings.yaml"), f"online_store:\n  password: {CANARY}\n", "a value for password"),
    ("no-plain-secret", "definitions", data("settings.ini"), f"db_password = '{CANARY}'\n", "a value for db_password"),
    ("no-plain-secret", "definitions", data("REDIS_PASSWORD"), CANARY, "data[REDIS_PASSWORD]"),
    ("no-plain-secret", "definitions", data("key.pem"), "-----BEGIN RSA PRIVATE KEY-----\nabc\n", "a private key"),
    ("no-plain-secret", "definitions", data("views.py"), f'password = "{CANARY}"\n', "a value for password"),
    ("no-plain-secret", "definitions", data("feature_store.yaml"), f"registry: postgresql://feast:{CANARY}@db/feast\n", "URL"),
    ("no-plain-secret and redis-noeviction and redis-aof", "definitions", data("redis.conf"), f"requirepass {CANARY}\n", "Redis password"),
    ("no-plain-secret", "definitions", data("users.acl"), f"user default on >{CANARY} ~* +@all\n", "Redis password"),
    ("no-plain-secret", REDIS, f"{C}.env.0", env(CANARY, "REDIS_PASSWORD"), "env[REDIS_PASSWORD].value"),
    ("no-plain-secret", "old-redis", "values.auth.password", CANARY, "values.auth.password"),
    ("no-plain-secret", "old-postgresql", "values.auth.postgresPassword", CANARY, "values.auth.postgresPassword"),
    ("no-plain-secret", "old-redis", "values.replica.extraEnvVars", [env(CANARY, "REDIS_PASSWORD")], "REDIS_PASSWORD in clear"),
    ("no-plain-secret", "old-redis", "values.extraFlags", f"redis://u:{CANARY}@r", "values.extraFlags"),
]

DAMAGES = [*EXPOSURE, *PODS, *IMAGES, *SECRETS]

HARMLESS = [
    ("service", "spec.type", "ExternalName"),
    ("ingress", "spec.tls", [{"secretName": "other"}]),
    ("server-from-clients", PEER, {"ipBlock": {"cidr": "10.0.0.0/8"}}),
    ("server-from-clients", PEER, {"namespaceSelector": {}, "podSelector": {"matchLabels": {"app": "model"}}}),
    ("jobs-to-bucket", BLOCK, {"cidr": "169.254.170.23/32"}),
    ("jobs-to-bucket", "spec.podSelector", {"matchExpressions": [{"key": "app", "operator": "In", "values": ["feature-jobs"]}]}),
    ("server", f"{SPEC}.securityContext.runAsUser", ABSENT),
    ("server", f"{C}.securityContext.capabilities.add", ["NET_BIND_SERVICE"]),
    ("server", f"{C}.securityContext.seccompProfile", {"type": "Localhost"}),
    ("server", f"{SPEC}.hostNetwork", False),
    ("server", f"{SPEC}.volumes.1", {"name": "c", "persistentVolumeClaim": {"claimName": "c"}}),
    (
        "server",
        f"{SPEC}.volumes.1",
        {"name": "aws", "projected": {"sources": [{"serviceAccountToken": {"audience": "sts.amazonaws.com", "path": "t"}}]}},
    ),
    ("role", "rules.0.verbs", ["get", "list", "watch"]),
    ("server", f"{C}.image", f"{REGISTRY}/deep/path/x:1.2@{DIGEST}"),
    ("server", f"{C}.env.1", env("/run/secrets/password", "REGISTRY_PASSWORD_FILE")),
    ("server", f"{C}.env.1", env("feature-server-credentials", "REGISTRY_SECRET_NAME")),
    ("server", f"{C}.env.1", env("no", "ALLOW_EMPTY_PASSWORD")),
    ("server", f"{C}.env.1", env("$(REDIS_PASSWORD)", "ONLINE_STORE_PASSWORD")),
    ("server", f"{C}.env.1", env("http://feature-server:6566/x?y=z", "SERVER_URL")),
    ("server", f"{C}.env.1", env("postgresql://${USER}:${PASSWORD}@feast-postgresql-primary/feast", "REGISTRY_URL")),
    ("apply", f"{C}.args", ["feast", "apply", "--password-file", "/run/secrets/x"]),
    ("apply", f"{C}.command", ["sh", "-c", 'PGPASSWORD="$(cat /run/secrets/x)" psql']),
    ("definitions", data("settings.yaml"), "password: ${PASSWORD}\nprimary_key: employee_id\ntoken:\n"),
    ("definitions", data("start.sh"), '#!/bin/bash\npassword=$(< "$FILE")\nexport REDISCLI_AUTH="$(cat x)"\n'),
    ("old-redis", "values.auth.usePasswordFiles", True),
]


def data_of_kind(kind):
    return [name for name, each in good().items() if each.type.endswith(f":{kind}")]


def test_the_stack_that_the_tests_damage_breaks_no_rule():
    assert [str(v) for v in findings(good())] == []


@pytest.mark.parametrize("case", DAMAGES, ids=identifier)
def test_one_damage_is_one_rules_finding(case):
    assert_found(case)


def test_every_rule_has_a_damage_that_it_finds():
    assert {case[0].split(" and ")[0] for case in DAMAGES} == rules_of(exposure, network, pods, access, images, secrets)


@pytest.mark.parametrize("case", HARMLESS, ids=lambda case: f"{case[0]}-{case[1]}")
def test_what_harms_nobody_is_no_finding(case):
    assert [str(v) for v in findings(damaged(*case))] == []


@pytest.mark.parametrize("name", good())
def test_an_unknown_value_is_neither_a_crash_nor_a_finding(name):
    resources = good()
    stack_rules = [rule.name for rule in KUBERNETES_RULES if isinstance(rule, StackRule)]
    for path in paths_of(resources[name].props):
        unknown = changed(resources, name, path, UNKNOWN)
        found = [*findings({name: unknown[name]}, *(r.name for r in KUBERNETES_RULES if not isinstance(r, StackRule)))]
        found += findings(unknown, *stack_rules)
        assert [str(v) for v in found] == [], f"with {'.'.join(map(str, path))} unknown"


@pytest.mark.parametrize("case", [case for case in DAMAGES if case[2] not in (None, "+")], ids=identifier)
def test_an_unknown_value_elsewhere_hides_no_finding(case):
    assert_not_hidden(case)


HARDENING = ("pod-nonroot", "pod-no-privesc", "pod-drop-all", "pod-seccomp", "pod-readonly-rootfs")


@pytest.mark.parametrize(
    ("rule", "group"),
    # Kubernetes takes no resources for ephemeral containers.
    [("resources-set", "initContainers"), *((rule, group) for rule in HARDENING for group in ("initContainers", "ephemeralContainers"))],
)
def test_containers_that_start_first_or_late_are_looked_at_too(rule, group):
    bare = [
        {
            "name": "helper",
            "image": f"{REGISTRY}/x@{DIGEST}",
            "securityContext": {"seccompProfile": {"type": "Unconfined"}, "runAsNonRoot": False},
        }
    ]
    found = findings(damaged("server", f"{SPEC}.{group}", bare), rule)
    assert any(f"{group}[0]" in v.message for v in found)


@pytest.mark.parametrize("kind", ["Pod", "ReplicaSet", "DaemonSet", "ReplicationController", "PodTemplate"])
def test_pods_of_every_kind_are_looked_at(kind):
    template = pod(SERVER, {"name": "x", "image": "x"})
    props = {"Pod": template, "PodTemplate": {"template": template}}.get(kind, {"spec": {"template": template}})
    version = "apps/v1" if kind in ("ReplicaSet", "DaemonSet") else "core/v1"
    rogue = resource(f"kubernetes:{version}:{kind}", "rogue", {"metadata": named("rogue"), **props})
    found = {v.rule for v in findings({"rogue": rogue})}
    assert {"pod-no-privesc", "pod-drop-all", "image-not-latest", "resources-set"} <= found


def test_pods_of_an_old_api_version_are_looked_at():
    old = resource("kubernetes:extensions/v1beta1:Deployment", "old", good()["server"].props)
    assert {v.rule for v in findings(changed({"old": old}, "old", f"{SPEC}.hostPID", True), "pod-host-isolation")} == {"pod-host-isolation"}


def test_the_providers_namespace_stands_for_a_missing_one():
    without = damaged("users", "metadata.namespace", ABSENT)["users"]
    for namespace, rules in (("feast", set()), ("default", {"no-default-namespace"})):
        provider = Provider(type="pulumi:providers:kubernetes", name="cluster", props={"namespace": namespace})
        found = findings(changed({"users": without}, "users", "@provider", provider), "no-default-namespace")
        assert {v.rule for v in found} == rules


def test_options_relax_a_rule_by_name():
    def rules(resources, **config):
        return {v.rule for v in findings(resources, config=config)}

    internal = ("metadata", "annotations")
    scheme = {"service.beta.kubernetes.io/aws-load-balancer-scheme": "internal"}
    balanced = changed(damaged("service", "spec.type", "LoadBalancer"), "service", internal, scheme)
    assert rules(balanced) == {"service-not-public"}
    assert rules(balanced, **{"service-not-public": {"internal_load_balancers": True}}) == set()
    assert rules(damaged("service", "spec.type", "LoadBalancer"), **{"service-not-public": {"internal_load_balancers": True}})
    asking = damaged("server", f"{SPEC}.automountServiceAccountToken", True)
    assert rules(asking, **{"sa-token-off": {"may_call_kubernetes": ["feature-store"]}}) == set()
    own = {"image-registry-allowed": {"allowed": ["999999999999.dkr.ecr.eu-west-1.amazonaws.com"]}}
    assert rules(good(), **own) == {"image-registry-allowed"}, "a registry of another account is not ours"


@pytest.mark.parametrize(
    ("reference", "repository", "tag"),
    [
        ("redis", "docker.io/library/redis", ""),
        ("bitnami/redis:8", "docker.io/bitnami/redis", "8"),
        ("localhost/x:1", "localhost/x", "1"),
        ("registry:5000/x", "registry:5000/x", ""),
        ("registry:5000/a/b:1.2@sha256:0", "registry:5000/a/b", "1.2"),
    ],
)
def test_an_image_reference_is_taken_apart(reference, repository, tag):
    image = Image.parse(reference)
    assert (image.repository, image.tag) == (repository, tag)


@pytest.mark.parametrize(
    ("prefix", "inside"),
    [
        ("quay.io/feast", True),
        ("quay.io/feast/", True),
        ("quay.io", True),
        ("quay.io/fe", False),
        ("*.io", True),
        ("*", False),
        ("quay.io/feast/server/x", False),
    ],
)
def test_a_registry_prefix_ends_at_a_boundary(prefix, inside):
    assert Image.parse("quay.io/feast/server:1").within(prefix) is inside


@pytest.mark.parametrize(
    "name", ["DB_PASSWORD", "password", "redisPassword", "API_KEY", "secretAccessKey", "PGPASSWORD", "authToken", "DSN"]
)
def test_names_of_secrets(name):
    assert is_secret_name(name)


@pytest.mark.parametrize(
    "name", ["PASSWORD_FILE", "existingSecret", "existingSecretPasswordKey", "secretName", "PRIMARY_KEY", "TOKENIZER", "compass", "KEY"]
)
def test_names_of_what_is_no_secret(name):
    assert not is_secret_name(name)


def test_every_rule_of_ours_says_what_to_do():
    for rule in KUBERNETES_RULES:
        assert rule.remedy, rule.name
        assert not rule.remedy.endswith("."), f"{rule.name}: remedies end without a stop, like all others"


def test_rules_know_the_containers_of_rendered_charts():
    spec = get(good()[REDIS].props, "spec", "template", "spec")
    assert [container["name"] for _, container in containers(spec)] == ["redis", "sentinel", "metrics"]
    assert as_recording({REDIS: good()[REDIS]}).inputs[0].parent, "children know their chart"
