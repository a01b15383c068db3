"""Who may talk to whom: the one table of allowed connections, as network policies.

Pure. Everything that is not an edge here is denied, in both directions, by the namespace's default. Who may connect to a
store follows from what `identities` lets it do there.
"""

from dataclasses import dataclass
from urllib.parse import urlsplit

from feast_eks.addresses import (
    FEATURE_SERVER_NAME,
    GRPC_PORT,
    HTTP_PORT,
    METRICS_PORT,
    ONLINE_STORE_EXPORTER_PORT,
    ONLINE_STORE_NAME,
    ONLINE_STORE_PORT,
    REGISTRY_EXPORTER_PORT,
    REGISTRY_NAME,
    REGISTRY_PORT,
    SENTINEL_PORT,
)
from feast_eks.identities import IDENTITIES
from feast_eks.settings import Settings
from feast_eks.workload import Object, labels, selector

INSTANCE_METADATA = {"0.0.0.0/0": "169.254.169.254/32", "::/0": "fd00:ec2::254/128"}
"""Where a node hands out its own credentials, in each family of addresses: no pod may ask."""

POD_IDENTITY_AGENT = ("169.254.170.23/32", "fd00:ec2::23/128")
"""Where EKS Pod Identity hands a pod the credentials of its role, on every node; the second in clusters of IPv6."""

HTTPS_PORT = 443
REGISTRY_PODS = {"app.kubernetes.io/instance": REGISTRY_NAME, "app.kubernetes.io/name": "postgresql"}
ONLINE_STORE_PODS = {"app.kubernetes.io/instance": ONLINE_STORE_NAME, "app.kubernetes.io/name": "redis"}
CLIENT_NAMESPACE_LABEL = {"feast.dev/feature-client": "true"}
"""Put it on the namespaces whose pods may read features."""


@dataclass(frozen=True, kw_only=True)
class Peer:
    """One end of a connection: pods of this namespace, a namespace, or address ranges of both families."""

    name: str
    kubernetes: list[Object]

    @classmethod
    def pods(cls, name: str, match_labels: dict[str, str]) -> "Peer":
        """Pods of this namespace that carry these labels."""
        return cls(name=name, kubernetes=[{"podSelector": {"matchLabels": match_labels}}])

    @classmethod
    def outside(cls, name: str) -> "Peer":
        """What has no fixed addresses: any address but that of the instance metadata."""
        return cls(name=name, kubernetes=[{"ipBlock": {"cidr": every, "except": [but]}} for every, but in INSTANCE_METADATA.items()])

    @property
    def selected(self) -> Object | None:
        """The selector of pods of this namespace, which a policy of their own can name; None of anything else."""
        (first, *_) = self.kubernetes
        return first if "podSelector" in first else None


Edge = tuple[Peer, Peer, list[int]]


def edges(settings: Settings) -> list[Edge]:
    """The allowed connections: (from, to, TCP ports)."""
    server = Peer.pods(FEATURE_SERVER_NAME, selector(FEATURE_SERVER_NAME))
    smoke_test, skew_probe = (Peer.pods(name, selector(name)) for name in ("smoke-test", "skew-probe"))
    clients = Peer(name="clients", kubernetes=[{"namespaceSelector": {"matchLabels": CLIENT_NAMESPACE_LABEL}}])
    return [
        *_to_the_stores(settings),
        *_among_the_stores(settings),
        (smoke_test, server, [HTTP_PORT]),
        (skew_probe, server, [HTTP_PORT]),
        (clients, server, [HTTP_PORT, GRPC_PORT]),
        *_monitoring(settings, server),
    ]


def network_policies(settings: Settings) -> dict[str, Object]:
    """Policy name to the spec of its NetworkPolicy: deny everything, allow name resolution, allow each edge at both ends.

    Pods without an edge have a policy that says so.
    """
    policies: dict[str, Object] = {
        "default-deny": {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]},
        "allow-dns": {
            "podSelector": {},
            "policyTypes": ["Egress"],
            "egress": [{"ports": [{"protocol": "UDP", "port": 53}, {"protocol": "TCP", "port": 53}]}],
        },
    }
    for source, target, ports in edges(settings):
        rule_ports = [{"protocol": "TCP", "port": port} for port in ports]
        if source.selected:
            policies[f"{source.name}-to-{target.name}"] = {
                **source.selected,
                "policyTypes": ["Egress"],
                "egress": [{"to": target.kubernetes, "ports": rule_ports}],
            }
        if target.selected:
            policies[f"{target.name}-from-{source.name}"] = {
                **target.selected,
                "policyTypes": ["Ingress"],
                "ingress": [{"from": source.kubernetes, "ports": rule_ports}],
            }
    connected = {end.name for source, target, _ in edges(settings) for end in (source, target)}
    for name in (name for identity in IDENTITIES for name in identity.pods if name not in connected):
        policies[f"{name}-to-nobody"] = {"podSelector": {"matchLabels": selector(name)}, "policyTypes": ["Ingress", "Egress"]}
    return policies


def metadata(name: str, namespace: str) -> Object:
    """The metadata of one network policy."""
    return {"name": name, "namespace": namespace, "labels": labels("network")}


def _to_the_stores(settings: Settings) -> list[Edge]:
    """Every identity's pods, to the stores that it has a right in."""
    registry, online_store, offline_store = _registry(settings), _online_store(settings), _offline_store(settings)
    agent = Peer(name="pod-identity-agent", kubernetes=[{"ipBlock": {"cidr": address}} for address in POD_IDENTITY_AGENT])
    found: list[Edge] = []
    for identity in IDENTITIES:
        for name in identity.pods:
            pods = Peer.pods(name, selector(name))
            found += [(pods, *registry)] if identity.registry else []
            found += [(pods, *online_store)] if identity.online_store else []
            found += [(pods, *offline_store)] if identity.offline_store else []
            if identity.offline_store and settings.workload_identity == "pod_identity":
                found.append((pods, agent, [80]))
    return found


def _registry(settings: Settings) -> tuple[Peer, list[int]]:
    if settings.registry.external:
        return Peer.outside("registry"), [settings.registry.external.port]
    return Peer.pods("registry", REGISTRY_PODS), [REGISTRY_PORT]


def _online_store(settings: Settings) -> tuple[Peer, list[int]]:
    if external := settings.online_store.external:
        return Peer.outside("online-store"), sorted({int(host.rpartition(":")[2]) for host in external.hosts})
    sentinels = [SENTINEL_PORT] if settings.online_store.mode == "sentinel" else []
    return Peer.pods("online-store", ONLINE_STORE_PODS), [ONLINE_STORE_PORT, *sentinels]


def _offline_store(settings: Settings) -> tuple[Peer, list[int]]:
    """S3 has no fixed addresses, nor has STS, where roles are taken up: both answer HTTPS."""
    if settings.offline_store.endpoint_url is None:
        return Peer.outside("offline-store"), [HTTPS_PORT]
    url = urlsplit(settings.offline_store.endpoint_url)
    return Peer.outside("offline-store"), [url.port or (HTTPS_PORT if url.scheme == "https" else 80)]


def _among_the_stores(settings: Settings) -> list[Edge]:
    """Replication, and Sentinels that watch the nodes and each other."""
    found: list[Edge] = []
    if settings.registry.mode == "replication":
        nodes, ports = _registry(settings)
        found.append((nodes, nodes, ports))
    if settings.online_store.mode == "sentinel":
        nodes, ports = _online_store(settings)
        found.append((nodes, nodes, ports))
    return found


def _monitoring(settings: Settings, server: Peer) -> list[Edge]:
    """Prometheus, to whatever has metrics."""
    if not settings.monitoring.enabled:
        return []
    namespace = {"kubernetes.io/metadata.name": settings.monitoring.namespace}
    prometheus = Peer(name="monitoring", kubernetes=[{"namespaceSelector": {"matchLabels": namespace}}])
    found: list[Edge] = [(prometheus, server, [METRICS_PORT])]
    if not settings.registry.external:
        found.append((prometheus, _registry(settings)[0], [REGISTRY_EXPORTER_PORT]))
    if not settings.online_store.external:
        found.append((prometheus, _online_store(settings)[0], [ONLINE_STORE_EXPORTER_PORT]))
    return found
