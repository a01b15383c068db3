"""Who may talk to whom: the one table of allowed connections, as network policies.

Pure. Everything that is not an edge here is denied, in both directions, by the namespace's default.
"""

from dataclasses import dataclass
from urllib.parse import urlsplit

from feast_eks.addresses import (
    FEATURE_SERVER_NAME,
    HTTP_PORT,
    METRICS_PORT,
    ONLINE_STORE_NAME,
    ONLINE_STORE_PORT,
    REGISTRY_NAME,
    REGISTRY_PORT,
)
from feast_eks.settings import Settings
from feast_eks.workload import Object, labels, selector

INSTANCE_METADATA = "169.254.169.254/32"
"""Where a node hands out its own credentials: no pod may ask."""

REGISTRY_PODS = {"app.kubernetes.io/instance": REGISTRY_NAME, "app.kubernetes.io/name": "postgresql"}
ONLINE_STORE_PODS = {"app.kubernetes.io/instance": ONLINE_STORE_NAME, "app.kubernetes.io/name": "redis"}
CLIENT_NAMESPACE_LABEL = {"feast.dev/feature-client": "true"}
"""Put it on the namespaces whose pods may read features."""


@dataclass(frozen=True, kw_only=True)
class Peer:
    """One end of a connection: pods of this namespace, a namespace, or an address range."""

    name: str
    kubernetes: Object

    @classmethod
    def pods(cls, name: str, match_labels: dict[str, str]) -> "Peer":
        """Pods of this namespace that carry these labels."""
        return cls(name=name, kubernetes={"podSelector": {"matchLabels": match_labels}})


def edges(settings: Settings) -> list[tuple[Peer, Peer, list[int]]]:
    """The allowed connections: (from, to, TCP ports)."""
    apply, materialize, server, smoke = (
        Peer.pods(name, selector(name)) for name in ("feast-apply", "materialize", FEATURE_SERVER_NAME, "smoke-test")
    )
    registry = Peer.pods("registry", REGISTRY_PODS)
    online_store = Peer.pods("online-store", ONLINE_STORE_PODS)
    clients = Peer(name="clients", kubernetes={"namespaceSelector": {"matchLabels": CLIENT_NAMESPACE_LABEL}})
    monitoring = Peer(name="monitoring", kubernetes={"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}})
    offline_store, offline_store_ports = _offline_store(settings.offline_store.endpoint_url)
    return [
        (apply, registry, [REGISTRY_PORT]),
        (apply, online_store, [ONLINE_STORE_PORT]),
        (apply, offline_store, offline_store_ports),
        (materialize, registry, [REGISTRY_PORT]),
        (materialize, online_store, [ONLINE_STORE_PORT]),
        (materialize, offline_store, offline_store_ports),
        (server, registry, [REGISTRY_PORT]),
        (server, online_store, [ONLINE_STORE_PORT]),
        (smoke, server, [HTTP_PORT]),
        (smoke, offline_store, offline_store_ports),
        (clients, server, [HTTP_PORT]),
        (monitoring, server, [METRICS_PORT]),
    ]


def network_policies(settings: Settings) -> dict[str, Object]:
    """Policy name to the spec of its NetworkPolicy: deny everything, allow name resolution, allow each edge at both ends."""
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
        if "podSelector" in source.kubernetes:
            policies[f"{source.name}-to-{target.name}"] = {
                **source.kubernetes,
                "policyTypes": ["Egress"],
                "egress": [{"to": [target.kubernetes], "ports": rule_ports}],
            }
        if "podSelector" in target.kubernetes:
            policies[f"{target.name}-from-{source.name}"] = {
                **target.kubernetes,
                "policyTypes": ["Ingress"],
                "ingress": [{"from": [source.kubernetes], "ports": rule_ports}],
            }
    return policies


def metadata(name: str, namespace: str) -> Object:
    """The metadata of one network policy."""
    return {"name": name, "namespace": namespace, "labels": labels("network")}


def _offline_store(endpoint_url: str | None) -> tuple[Peer, list[int]]:
    """S3 has no fixed addresses: any address but the instance metadata, on its port."""
    anywhere = Peer(name="offline-store", kubernetes={"ipBlock": {"cidr": "0.0.0.0/0", "except": [INSTANCE_METADATA]}})
    if endpoint_url is None:
        return anywhere, [443]
    url = urlsplit(endpoint_url)
    return anywhere, [url.port or (443 if url.scheme == "https" else 80)]
