"""Cluster DNS: CoreDNS as a process on the node, published as the Service `kube-dns`. It knows cluster names only."""

from pathlib import Path

from sandbox import addresses as at
from sandbox.certificates import PKI
from sandbox.daemons import Daemon, answers, stop
from sandbox.kubectl import Kubectl, Object
from sandbox.state import STATE, write

CONFIGURATION = STATE / "node" / "Corefile"
PORTS = [{"name": "dns", "port": 53, "protocol": "UDP"}, {"name": "dns-tcp", "port": 53, "protocol": "TCP"}]


def server(binary: Path) -> Daemon:
    """CoreDNS, answering on the node's address."""
    write(CONFIGURATION, _corefile(), 0o644)
    return Daemon(
        name="coredns",
        command=[str(binary), "-conf", str(CONFIGURATION)],
        files=[CONFIGURATION, PKI / "dns.crt"],
        on_node=True,
        healthy=lambda: answers(f"http://{at.NODE_ADDRESS}:{at.DNS_READY_PORT}/ready"),
    )


def publish(kubectl: Kubectl) -> None:
    """Let the server read what it answers from, and make it the cluster's DNS Service."""
    kubectl.apply(_objects())


def stop_server() -> None:
    """Stop answering."""
    stop("coredns")


def _corefile() -> str:
    return f"""\
.:53 {{
    bind {at.NODE_ADDRESS}
    ready {at.NODE_ADDRESS}:{at.DNS_READY_PORT}
    errors
    cache 5
    kubernetes {at.CLUSTER_DOMAIN} in-addr.arpa {{
        kubeconfig {PKI / "dns.kubeconfig"}
    }}
}}
"""


def _objects() -> list[Object]:
    role = {"name": "system:coredns"}
    rules = [
        {"apiGroups": [""], "resources": ["endpoints", "services", "pods", "namespaces"], "verbs": ["list", "watch"]},
        {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": ["list", "watch"]},
    ]
    api = "rbac.authorization.k8s.io"
    return [
        {"apiVersion": f"{api}/v1", "kind": "ClusterRole", "metadata": role, "rules": rules},
        {
            "apiVersion": f"{api}/v1",
            "kind": "ClusterRoleBinding",
            "metadata": role,
            "roleRef": {"apiGroup": api, "kind": "ClusterRole", **role},
            "subjects": [{"apiGroup": api, "kind": "User", **role}],
        },
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "kube-dns", "namespace": "kube-system", "labels": {"k8s-app": "kube-dns"}},
            "spec": {"clusterIP": at.DNS_SERVICE_ADDRESS, "ports": PORTS},
        },
        {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {
                "name": "kube-dns-node",
                "namespace": "kube-system",
                "labels": {"kubernetes.io/service-name": "kube-dns"},
            },
            "addressType": "IPv4",
            "ports": PORTS,
            "endpoints": [{"addresses": [at.NODE_ADDRESS], "conditions": {"ready": True}}],
        },
    ]
