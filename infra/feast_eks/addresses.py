"""Where each part of the feature store answers: names, ports and hosts, given once."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from feast_eks.settings import OnlineStoreSettings, RegistrySettings
from feast_eks.workload import FEATURE_REPO_PATH

REGISTRY_NAME = "feast-postgresql"
REGISTRY_PORT = 5432
REGISTRY_DATABASE = "feast"
REGISTRY_CA_FILE = "registry-ca.pem"
REGISTRY_EXPORTER_PORT = 9187

ONLINE_STORE_NAME = "feast-redis"
ONLINE_STORE_PORT = 6379
ONLINE_STORE_CA_FILE = "online-store-ca.pem"
ONLINE_STORE_EXPORTER_PORT = 9121
SENTINEL_PORT = 26379
MASTER_SET = "feast"
"""What the Sentinels call their master."""

FEATURE_SERVER_NAME = "feature-server"
FEATURE_SERVER_REPLICAS = "feature-server-replicas"
"""The headless Service whose name resolves to every ready replica."""
HTTP_PORT = 6566
GRPC_PORT = 6567
METRICS_PORT = 8000

SYSTEM_CA_FILE = "/etc/ssl/certs/ca-certificates.crt"
"""What the runtime image trusts by itself."""


@dataclass(frozen=True, kw_only=True)
class RegistryAddress:
    """Where PostgreSQL answers.

    `host` takes writes, `read_host` (where there are replicas) answers for any of them, and `replicas` resolves to all
    of them. `parameters` are those of the connection: how far the server is trusted.
    """

    host: str
    port: int = REGISTRY_PORT
    database: str = REGISTRY_DATABASE
    read_host: str | None = None
    replicas: str | None = None
    parameters: Mapping[str, str] = field(default_factory=dict)


def registry_address(settings: RegistrySettings) -> RegistryAddress:
    """Where PostgreSQL answers, from inside the namespace."""
    if settings.external:
        external = settings.external
        trusted = f"{FEATURE_REPO_PATH}/{REGISTRY_CA_FILE}" if external.ca_certificate else SYSTEM_CA_FILE
        return RegistryAddress(
            host=external.host,
            port=external.port,
            database=external.database,
            read_host=external.read_host,
            replicas=external.read_host,
            parameters={"sslmode": "verify-full", "sslrootcert": trusted} if external.tls else {},
        )
    if settings.mode == "replication":
        return RegistryAddress(host=f"{REGISTRY_NAME}-primary", read_host=f"{REGISTRY_NAME}-read", replicas=f"{REGISTRY_NAME}-read-hl")
    return RegistryAddress(host=REGISTRY_NAME)


def online_store_hosts(settings: OnlineStoreSettings, namespace: str) -> list[str]:
    """`host:port` of what Feast connects to: the master, every Sentinel, or what exists already."""
    if settings.external:
        return settings.external.hosts
    if settings.mode == "standalone":
        return [f"{ONLINE_STORE_NAME}-master:{ONLINE_STORE_PORT}"]
    domain = online_store_domain(namespace)
    return [f"{ONLINE_STORE_NAME}-node-{index}.{domain}:{SENTINEL_PORT}" for index in range(settings.replicas)]


def online_store_domain(namespace: str) -> str:
    """The domain of the Redis nodes, one name each."""
    return f"{ONLINE_STORE_NAME}-headless.{namespace}.svc.cluster.local"


def feature_server_url(namespace: str) -> str:
    """Where the feature server answers, from anywhere in the cluster."""
    return f"http://{FEATURE_SERVER_NAME}.{namespace}.svc.cluster.local:{HTTP_PORT}"


def grpc_address(namespace: str) -> str:
    """`host:port` where the feature server answers gRPC, from anywhere in the cluster."""
    return f"{FEATURE_SERVER_NAME}.{namespace}.svc.cluster.local:{GRPC_PORT}"
