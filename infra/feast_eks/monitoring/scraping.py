"""What Prometheus reads: a ServiceMonitor for each part of the feature store that says how it is.

Pure. The name of a Service becomes the label `job` of its series, by which the alerts find them.
"""

from feast_eks.addresses import FEATURE_SERVER_NAME, ONLINE_STORE_NAME, REGISTRY_NAME, SENTINEL_PORT
from feast_eks.settings import Settings
from feast_eks.workload import Object, selector

INTERVAL = "30s"

FEATURE_SERVER_JOB = FEATURE_SERVER_NAME
ONLINE_STORE_JOB = f"{ONLINE_STORE_NAME}-metrics"
SENTINEL_JOB = f"{ONLINE_STORE_NAME}-sentinel"
REGISTRY_JOBS = {
    False: [f"{REGISTRY_NAME}-metrics"],
    True: [f"{REGISTRY_NAME}-primary-metrics", f"{REGISTRY_NAME}-read-metrics"],
}
"""The chart's Services with metrics, without and with read replicas."""
REGISTRY_PRIMARY_JOB = {replicated: jobs[0] for replicated, jobs in REGISTRY_JOBS.items()}


def service_monitors(settings: Settings) -> dict[str, Object]:
    """ServiceMonitor name to its spec, for what runs in this environment."""
    monitors: dict[str, Object] = {
        FEATURE_SERVER_NAME: {
            "selector": {"matchLabels": selector(FEATURE_SERVER_NAME)},
            # Its own labels win: `endpoint` is what was asked for there, and the port's name in what Prometheus adds.
            "endpoints": [{"port": "metrics", "path": "/metrics", "interval": INTERVAL, "honorLabels": True}],
        }
    }
    if settings.online_store.mode != "external":
        monitors[ONLINE_STORE_NAME] = {
            "selector": _chart_service(ONLINE_STORE_NAME, "redis"),
            "endpoints": [{"port": "http-metrics", "path": "/metrics", "interval": INTERVAL}],
        }
    if settings.online_store.mode == "sentinel":
        monitors[SENTINEL_JOB] = {
            "selector": _chart_service(ONLINE_STORE_NAME, "redis"),
            "endpoints": [_sentinel_endpoint()],
        }
    if settings.registry.mode != "external":
        monitors[REGISTRY_NAME] = {
            "selector": _chart_service(REGISTRY_NAME, "postgresql"),
            "endpoints": [{"port": "http-metrics", "path": "/metrics", "interval": INTERVAL}],
        }
    return monitors


def _chart_service(instance: str, name: str) -> Object:
    """The chart's Services with metrics: `metrics`, and for read replicas `metrics-read`."""
    return {
        "matchLabels": {"app.kubernetes.io/instance": instance, "app.kubernetes.io/name": name},
        "matchExpressions": [{"key": "app.kubernetes.io/component", "operator": "In", "values": ["metrics", "metrics-read"]}],
    }


def _sentinel_endpoint() -> Object:
    """The exporter of each Redis pod, asked about the Sentinel beside it."""
    return {
        "port": "http-metrics",
        "path": "/scrape",
        "params": {"target": [f"redis://localhost:{SENTINEL_PORT}"]},
        "interval": INTERVAL,
        # A job of its own, and nothing that the exporter says of every Redis: it would count twice.
        "relabelings": [{"targetLabel": "job", "replacement": SENTINEL_JOB}],
        "metricRelabelings": [{"sourceLabels": ["__name__"], "regex": "redis_up|redis_sentinel_.+", "action": "keep"}],
    }
