"""What could be reached from where nobody meant it: namespaces without walls, public Services, holes in the network policies."""

import ipaddress
from collections.abc import Iterator, Mapping
from typing import Any

from feast_eks_policies.objects import RELEASE, kind, release_values
from feast_eks_policies.rule import Resource, ResourceRule, Rule
from feast_eks_policies.values import UNKNOWN, WORKLOADS, get, items, leaves, mapping

INSTANCE_METADATA = tuple(map(ipaddress.ip_network, ("169.254.169.254/32", "fd00:ec2::254/128")))
"""Where a node hands out its own credentials."""

WIDEST_PREFIX = 7
"""A range with a shorter prefix is the world, cut in halves or not."""

NAMESPACED = (
    *WORKLOADS,
    *(
        f"kubernetes:*:{kind}"
        for kind in (
            *("ConfigMap", "Secret", "Service", "ServiceAccount", "PersistentVolumeClaim", "ResourceQuota", "LimitRange"),
            *("Role", "RoleBinding", "NetworkPolicy", "PodDisruptionBudget", "HorizontalPodAutoscaler", "Ingress", "Endpoints"),
            *("ServiceMonitor", "PodMonitor", "PrometheusRule"),
        )
    ),
)
_LOAD_BALANCER_SCHEME = "service.beta.kubernetes.io/aws-load-balancer-scheme"
_INGRESS_SCHEME = "alb.ingress.kubernetes.io/scheme"
_CERTIFICATE = "alb.ingress.kubernetes.io/certificate-arn"


def _pod_security(resource: Resource) -> Iterator[str]:
    labels = get(resource.props, "metadata", "labels", default={})
    for mode in ("enforce", "warn", "audit"):
        level = get(labels, f"pod-security.kubernetes.io/{mode}")
        if level not in ("restricted", UNKNOWN):
            yield f"metadata.labels[pod-security.kubernetes.io/{mode}] is {level or 'missing'}, not restricted"
    if not get(labels, "pod-security.kubernetes.io/enforce-version"):
        yield "metadata.labels[pod-security.kubernetes.io/enforce-version] is missing: what restricted means is left to the cluster"


def _namespace(resource: Resource) -> Iterator[str]:
    path = ("namespace",) if resource.is_a(RELEASE) else ("metadata", "namespace")
    given = get(resource.props, *path)
    if given in (None, "") and resource.provider:
        given = get(resource.provider.props, "namespace")
    if given in (None, "", "default"):
        yield f"{'.'.join(path)} is {given or 'missing'}: without walls, next to whatever else named no namespace"


def _public(resource: Resource) -> Iterator[str]:
    spec, annotations = mapping(resource.props.get("spec")), get(resource.props, "metadata", "annotations", default={})
    if kind(resource) == "Service":
        yield from _service(spec, annotations, internal_load_balancers=resource.settings["internal_load_balancers"])
    elif kind(resource) == "Ingress":
        if get(annotations, _INGRESS_SCHEME) == "internet-facing":
            yield f"metadata.annotations[{_INGRESS_SCHEME}] is internet-facing"
        if spec and not spec.get("tls") and not get(annotations, _CERTIFICATE):
            yield "spec.tls is missing: features and tokens cross the network in the clear"
    elif kind(resource) == "Gateway":
        for index, listener in enumerate(items(spec.get("listeners"))):
            if get(listener, "protocol") not in ("HTTPS", "TLS", UNKNOWN):
                yield f"spec.listeners[{index}].protocol is {get(listener, 'protocol')}: features and tokens cross the network in the clear"
    for path, value in leaves(release_values(resource)):
        if path.endswith("service.type") and value in ("LoadBalancer", "NodePort"):
            yield f"values.{path} is {value}"


def _service(spec: Mapping[str, Any], annotations: Any, *, internal_load_balancers: bool) -> Iterator[str]:
    if spec.get("type") == "NodePort":
        yield "spec.type is NodePort: every node answers on that port"
    if spec.get("type") == "LoadBalancer":
        scheme = get(annotations, _LOAD_BALANCER_SCHEME)
        if not internal_load_balancers or scheme not in ("internal", UNKNOWN):
            yield f"spec.type is LoadBalancer, and metadata.annotations[{_LOAD_BALANCER_SCHEME}] is {scheme or 'missing'}"
    if spec.get("externalIPs"):
        yield "spec.externalIPs answers on addresses that the cluster does not own"


def _network_policy(resource: Resource) -> Iterator[str]:
    spec = mapping(resource.props.get("spec"))
    for direction, peers, word in (("ingress", "from", "from"), ("egress", "to", "to")):
        for index, rule in enumerate(items(spec.get(direction))):
            if rule is UNKNOWN:
                continue
            path, ports = f"spec.{direction}[{index}]", get(rule, "ports", default=[])
            # Names are resolved everywhere, and the resolver is not ours to name.
            if not get(rule, peers) and (direction == "ingress" or not _only_name_resolution(ports)):
                yield f"{path}.{peers} is missing: connections {word} anywhere"
            for number, peer in enumerate(items(get(rule, peers))):
                for fault in _peer(peer, ports, direction):
                    yield f"{path}.{peers}[{number}] {fault}"


def _peer(peer: Any, ports: Any, direction: str) -> Iterator[str]:
    selector = get(peer, "namespaceSelector")
    if selector == {} and not get(peer, "podSelector"):
        yield "is every pod of every namespace"
    cidr = get(peer, "ipBlock", "cidr")
    if not isinstance(cidr, str):
        return
    try:
        block = ipaddress.ip_network(cidr, strict=False)
        exceptions = [ipaddress.ip_network(e, strict=False) for e in items(get(peer, "ipBlock", "except")) if isinstance(e, str)]
    except ValueError:
        yield f"has an ipBlock that is no address range: {cidr}"
        return
    if direction == "ingress" and block.prefixlen <= WIDEST_PREFIX:
        yield f"lets in {cidr}"
    if direction == "egress":
        if block.prefixlen <= WIDEST_PREFIX and not ports:
            yield f"reaches {cidr} on every port"
        if get(peer, "ipBlock", "except") is UNKNOWN or UNKNOWN in items(get(peer, "ipBlock", "except")):
            return
        for metadata in INSTANCE_METADATA:
            if _covers(block, metadata) and not any(_covers(exception, metadata) for exception in exceptions):
                yield f"reaches {metadata} through {cidr}, where a node hands out its own credentials"


def _covers(outer: Any, inner: Any) -> bool:
    return bool(outer.version == inner.version and inner.subnet_of(outer))


def _only_name_resolution(ports: Any) -> bool:
    if ports is UNKNOWN:
        return True
    return bool(ports) and all(get(port, "port") in (53, UNKNOWN) and get(port, "endPort") in (None, 53, UNKNOWN) for port in items(ports))


RULES: tuple[Rule, ...] = (
    ResourceRule(
        name="ns-pss-labels",
        description="Namespaces refuse pods that ask for too much.",
        harm="exposure",
        severity="high",
        controls=("PSS restricted",),
        remedy="label the namespace pod-security.kubernetes.io/{enforce,warn,audit}: restricted, with an enforce-version",
        types=("kubernetes:*:Namespace",),
        check=_pod_security,
    ),
    ResourceRule(
        name="no-default-namespace",
        description="Everything lives in a namespace that somebody chose.",
        harm="exposure",
        severity="medium",
        controls=("CKV_K8S_21",),
        remedy="set metadata.namespace, or the namespace of the Chart or Release",
        types=(*NAMESPACED, RELEASE),
        check=_namespace,
    ),
    ResourceRule(
        name="service-not-public",
        description="Nothing of the feature store answers outside the cluster unasked, or without TLS.",
        harm="exposure",
        severity="critical",
        remedy="use ClusterIP, and let clients in by namespace label; publish through an internal Ingress with TLS",
        types=("kubernetes:*:Service", "kubernetes:*:Ingress", "kubernetes:gateway.networking.k8s.io/*:Gateway", RELEASE),
        check=_public,
        options={"internal_load_balancers": False},
    ),
    ResourceRule(
        name="netpol-no-world",
        description="Network policies name who may connect, and never the world or a node's credentials.",
        harm="exposure",
        severity="high",
        remedy="name pods, namespaces or a range; except 169.254.169.254/32 from any range that has it, and give ports",
        types=("kubernetes:*:NetworkPolicy",),
        check=_network_policy,
    ),
)
