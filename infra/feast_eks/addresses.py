"""Where each part of the feature store answers: names, ports and hosts, given once."""

from feast_eks.settings import OnlineStoreSettings

REGISTRY_NAME = "feast-postgresql"
REGISTRY_PORT = 5432
REGISTRY_DATABASE = "feast"

ONLINE_STORE_NAME = "feast-redis"
ONLINE_STORE_PORT = 6379
SENTINEL_PORT = 26379
MASTER_SET = "feast"
"""What the Sentinels call their master."""

FEATURE_SERVER_NAME = "feature-server"
FEATURE_SERVER_REPLICAS = "feature-server-replicas"
"""The headless Service whose name resolves to every ready replica."""
HTTP_PORT = 6566
METRICS_PORT = 8000


def registry_host() -> str:
    """Where PostgreSQL answers, inside the namespace."""
    return REGISTRY_NAME


def online_store_hosts(settings: OnlineStoreSettings, namespace: str) -> list[str]:
    """`host:port` of what Feast connects to: the master, or every Sentinel."""
    if settings.mode == "standalone":
        return [f"{ONLINE_STORE_NAME}-master:{ONLINE_STORE_PORT}"]
    domain = f"{ONLINE_STORE_NAME}-headless.{namespace}.svc.cluster.local"
    return [f"{ONLINE_STORE_NAME}-node-{index}.{domain}:{SENTINEL_PORT}" for index in range(settings.replicas)]


def feature_server_url(namespace: str) -> str:
    """Where the feature server answers, from anywhere in the cluster."""
    return f"http://{FEATURE_SERVER_NAME}.{namespace}.svc.cluster.local:{HTTP_PORT}"
