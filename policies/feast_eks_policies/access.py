"""Pods and people that could ask the Kubernetes API for more than their work needs."""

from collections.abc import Iterator, Mapping
from typing import Any

from feast_eks_policies.objects import kind, volumes
from feast_eks_policies.rule import Resource, ResourceRule, Rule
from feast_eks_policies.values import UNKNOWN, WORKLOADS, get, items, pod_specs

ESCALATING_VERBS = frozenset({"escalate", "bind", "impersonate"})
ESCALATING_RESOURCES = frozenset({"pods/exec", "pods/attach", "serviceaccounts/token", "nodes/proxy"})
"""Whoever may use one of these can become something else."""

BROAD_ROLES = frozenset({"cluster-admin", "admin", "edit"})
"""Built-in roles that read or mount every Secret of a namespace."""

EVERYBODY = frozenset(
    {"system:authenticated", "system:unauthenticated", "system:anonymous", "system:masters", "system:serviceaccounts", "default"}
)


def _token(resource: Resource) -> Iterator[str]:
    if kind(resource) == "ServiceAccount" and get(resource.props, "automountServiceAccountToken") not in (False, UNKNOWN):
        yield "automountServiceAccountToken is not false: every pod of this account gets a token unless it says otherwise"
    if kind(resource) == "Secret" and resource.props.get("type") == "kubernetes.io/service-account-token":
        yield "type is kubernetes.io/service-account-token: a token that never expires"
    for path, _, spec in pod_specs(resource):
        account = get(spec, "serviceAccountName", default=get(spec, "serviceAccount"))
        if account in (None, "", "default"):
            yield f"{path}.serviceAccountName is {account or 'missing'}: the pod shares its identity with every other that names none"
        if account not in resource.settings["may_call_kubernetes"]:
            yield from (f"{path}.{fault}" for fault in _mounted_tokens(spec))


def _mounted_tokens(spec: Mapping[str, Any]) -> Iterator[str]:
    if get(spec, "automountServiceAccountToken") not in (False, UNKNOWN):
        yield "automountServiceAccountToken is not false: the pod carries a token for the Kubernetes API"
    for within, volume in volumes(spec):
        for index, source in enumerate(items(get(volume, "projected", "sources"))):
            token = get(source, "serviceAccountToken")
            if token not in (None, UNKNOWN) and get(token, "audience") in (None, ""):
                yield f"{within}.projected.sources[{index}] mounts a token for the Kubernetes API"


def _rbac(resource: Resource) -> Iterator[str]:
    if (role := get(resource.props, "roleRef", "name")) in BROAD_ROLES:
        yield f"roleRef.name is {role}"
    for index, subject in enumerate(items(resource.props.get("subjects"))):
        if (name := get(subject, "name")) in EVERYBODY:
            yield f"subjects[{index}].name is {name}: whoever that will be gets the role too"
    for index, rule in enumerate(items(resource.props.get("rules"))):
        yield from (f"rules[{index}]{fault}" for fault in _permissions(rule))


def _permissions(rule: Any) -> Iterator[str]:
    verbs, resources = ({each for each in items(get(rule, field)) if isinstance(each, str)} for field in ("verbs", "resources"))
    for field in ("verbs", "resources", "apiGroups", "nonResourceURLs"):
        if "*" in items(get(rule, field)):
            yield f".{field} is *"
    if forbidden := ESCALATING_VERBS & verbs:
        yield f".verbs has {', '.join(sorted(forbidden))}"
    if escalating := ESCALATING_RESOURCES & resources:
        yield f".resources has {', '.join(sorted(escalating))}"
    if "secrets" in resources and {"list", "watch"} & verbs:
        yield " may list secrets, with their content"
    if "secrets" in resources and "get" in verbs and not get(rule, "resourceNames"):
        yield " may read every secret: resourceNames is missing"


RULES: tuple[Rule, ...] = (
    ResourceRule(
        name="sa-token-off",
        description="Every workload has an identity of its own, and carries no token for the Kubernetes API.",
        harm="identity",
        severity="high",
        controls=("CKV_K8S_38", "CKV_K8S_41"),
        remedy="name a service account of its own and set automountServiceAccountToken: false on it and on the pod",
        types=(*WORKLOADS, "kubernetes:*:ServiceAccount", "kubernetes:*:Secret"),
        check=_token,
        options={"may_call_kubernetes": ()},
    ),
    ResourceRule(
        name="rbac-no-wildcard",
        description="Kubernetes roles name what they permit, and permit no way to permit oneself more.",
        harm="identity",
        severity="high",
        controls=("CKV_K8S_49", "CKV_K8S_157", "CKV_K8S_158", "CKV2_K8S_3", "CKV2_K8S_5"),
        remedy="name verbs, resources and, for secrets, resourceNames; bind to one service account",
        types=tuple(f"kubernetes:*:{kind}" for kind in ("Role", "ClusterRole", "RoleBinding", "ClusterRoleBinding")),
        check=_rbac,
    ),
)
