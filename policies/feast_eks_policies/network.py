"""Connections that no table allows: namespaces without a default, workloads without a policy, Services that reach the wrong pods."""

from collections.abc import Iterator

from feast_eks_policies.objects import kind, name, namespace, of_kind, pod_labels, release_values, selects, together
from feast_eks_policies.rule import Context, Finding, Resource, Rule, StackRule
from feast_eks_policies.values import UNKNOWN, WORKLOADS, containers, get, items, mapping, pod_specs

SELECTING = ("Deployment", "StatefulSet", "DaemonSet", "ReplicaSet")
"""Kinds that find their own pods by labels."""

DIRECTIONS = {"Ingress": "ingress", "Egress": "egress"}


def workloads(resources: list[Resource]) -> list[Resource]:
    """Everything that makes pods, whatever is known of them."""
    return [resource for resource in resources if resource.is_a(*WORKLOADS)]


def _default_deny(resources: list[Resource], context: Context) -> Iterator[Finding]:
    del context
    policies = of_kind(resources, "NetworkPolicy")
    reported = set()
    for workload in workloads(resources):
        for direction, rules in DIRECTIONS.items():
            if any(_denies(policy, direction, rules) and together(policy, workload) for policy in policies):
                continue
            place = str(namespace(workload))
            if (place, direction) not in reported:
                reported.add((place, direction))
                yield workload, f"no network policy of namespace {place} denies all {direction} by default: pods without a policy are open"
    for resource in resources:
        yield from ((resource, fault) for fault in _open_release(resource))


def _denies(policy: Resource, direction: str, rules: str) -> bool:
    """Whether a policy selects every pod of its namespace and lets nothing through in one direction."""
    spec = get(policy.props, "spec")
    if spec is UNKNOWN:
        return True
    selector = get(spec, "podSelector", default={})
    everything = selector is UNKNOWN or not (get(selector, "matchLabels") or get(selector, "matchExpressions"))
    return everything and direction in directions(policy) and not get(spec, rules)


def directions(policy: Resource) -> list[str]:
    """The directions that a policy governs; without `policyTypes` Kubernetes derives them from the rules."""
    spec = mapping(policy.props.get("spec"))
    types = spec.get("policyTypes")
    if types is UNKNOWN or UNKNOWN in items(types):
        return list(DIRECTIONS)
    return items(types) or ["Ingress", *(["Egress"] if spec.get("egress") else [])]


def _open_release(resource: Resource) -> Iterator[str]:
    values = release_values(resource)
    for path in (("networkPolicy",), ("primary", "networkPolicy"), ("readReplicas", "networkPolicy")):
        policy = get(values, *path)
        if get(policy, "enabled") is False:
            yield f"values.{'.'.join(path)}.enabled is false"
        if get(policy, "allowExternal") is True:
            yield f"values.{'.'.join(path)}.allowExternal is true: every pod that reaches the namespace reaches the store"


def _own_policy(resources: list[Resource], context: Context) -> Iterator[Finding]:
    del context
    policies = [policy for policy in of_kind(resources, "NetworkPolicy") if _names_pods(policy)]
    for workload in workloads(resources):
        labels = pod_labels(workload)
        if not any(together(policy, workload) and selects(get(policy.props, "spec", "podSelector"), labels) for policy in policies):
            yield workload, "no network policy names these pods: they reach nothing, or everything, but not what they need"


def _names_pods(policy: Resource) -> bool:
    selector = get(policy.props, "spec", "podSelector", default={})
    return selector is UNKNOWN or bool(get(selector, "matchLabels") or get(selector, "matchExpressions"))


def _selectors(resources: list[Resource], context: Context) -> Iterator[Finding]:
    del context
    every = workloads(resources)
    for service in of_kind(resources, "Service"):
        selector = get(service.props, "spec", "selector")
        if not selector or selector is UNKNOWN or get(service.props, "spec", "type") == "ExternalName":
            continue
        chosen = [w for w in every if together(w, service) and selects({"matchLabels": selector}, pod_labels(w))]
        if not chosen:
            yield service, "spec.selector matches the pods of no workload: nobody will answer"
        for index, port in enumerate(items(get(service.props, "spec", "ports"))):
            target = get(port, "targetPort")
            if isinstance(target, str) and not target.isdigit() and chosen and not any(_has_port(w, target) for w in chosen):
                yield service, f"spec.ports[{index}].targetPort {target} is no port of the pods it selects"
    for workload in every:
        selector = get(workload.props, "spec", "selector")
        if kind(workload) in SELECTING and not selects(selector, pod_labels(workload)):
            yield workload, f"spec.selector of {name(workload)} does not match its own pods"


def _has_port(workload: Resource, wanted: str) -> bool:
    if pod_labels(workload) is UNKNOWN:
        return True
    for _, _, spec in pod_specs(workload):
        if any(spec.get(group) is UNKNOWN or UNKNOWN in items(spec.get(group)) for group in ("containers", "initContainers")):
            return True
        for _, container in containers(spec):
            ports = container.get("ports")
            if ports is UNKNOWN or any(get(port, "name") in (wanted, UNKNOWN) for port in items(ports)):
                return True
    return False


RULES: tuple[Rule, ...] = (
    StackRule(
        name="netpol-default-deny",
        description="In a namespace with pods, every connection is denied that no policy allows.",
        harm="exposure",
        severity="critical",
        controls=("CKV2_K8S_6",),
        remedy="add a NetworkPolicy with podSelector {} and policyTypes [Ingress, Egress] without rules; in a Release "
        "networkPolicy.enabled true, allowExternal false",
        check=_default_deny,
    ),
    StackRule(
        name="netpol-per-workload",
        description="Every workload has a network policy of its own.",
        harm="exposure",
        severity="medium",
        remedy="add the workload's connections to the table in infra/feast_eks/network.py",
        check=_own_policy,
    ),
    StackRule(
        name="service-selects-pods",
        description="Services and workloads select the pods they are meant for.",
        harm="workloads",
        severity="high",
        remedy="use one set of labels for the pod template, the workload's selector and the Service",
        check=_selectors,
    ),
)
