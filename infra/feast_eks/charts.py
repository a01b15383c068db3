"""What both Bitnami charts have in common: how to name an image, a chart and a volume.

Pure. Values carry names of Secrets, never secrets, so that previews show every object of a chart.
"""

from typing import Any

from feast_eks.settings import ChartSettings, ImageSettings, OnlineStoreSettings, RegistrySettings
from feast_eks.workload import USER_ID, Object, Resources

READY_SECONDS = 1200
"""Nodes start one after the other, each with new volumes and perhaps a new machine; Pulumi's own ten minutes can be too few."""

STARTUP_SECONDS = 900
"""How long a node may take until it answers for the first time.

Without a startup probe the charts' liveness probes end one after 45 (Redis) or 90 seconds. A read replica that is cloned waits longer
for a checkpoint of the primary: PostgreSQL spreads one over up to four and a half minutes (measured: 3 min 39 s after 200,000 rows), and
another may be running. Ended while it copies, it leaves a directory that the image takes for a database.
"""
STARTUP_PERIOD_SECONDS = 5

EXPORTER_RESOURCES = Resources(cpu_millicores=20, memory_mib=64)
NOT_BY_ANNOTATION = {"prometheus.io/scrape": "false"}
"""The charts announce their exporters to a Prometheus that goes by annotations. ServiceMonitors name them: they would be read twice."""


def chart_source(settings: ChartSettings) -> dict[str, Any]:
    """Arguments of a `helm.v4.Chart`: where it comes from."""
    return {"chart": settings.location} | ({"version": settings.version} if settings.version else {})


def image_values(settings: ImageSettings) -> Object:
    """The `image` value of a chart."""
    registry, _, repository = settings.repository.partition("/")
    return {"registry": registry, "repository": repository, "tag": settings.tag or "", "digest": settings.digest or ""}


def global_values() -> Object:
    """The `global` value of a chart."""
    # The charts refuse to render with any image but their own, which are no longer published under versions.
    return {"security": {"allowInsecureImages": True}}


def annotations() -> Object:
    """The `commonAnnotations` value of a chart: how long Pulumi waits for what the chart makes."""
    return {"pulumi.com/timeoutSeconds": str(READY_SECONDS)}


def node_values(settings: RegistrySettings | OnlineStoreSettings) -> Object:
    """What a stateful node asks for: resources, a volume, and time to start."""
    resources = Resources(cpu_millicores=settings.cpu_millicores, memory_mib=settings.memory_mib)
    return {
        "resources": resources.to_kubernetes(),
        "podSecurityContext": {"enabled": True, "fsGroup": USER_ID, "fsGroupChangePolicy": "OnRootMismatch"},
        "persistence": {"enabled": True, "size": f"{settings.storage_gib}Gi", "storageClass": settings.storage_class or ""},
        "startupProbe": startup_probe(),
    }


def startup_probe() -> Object:
    """The `startupProbe` value of a container: until it succeeds once, nothing restarts the container for being slow."""
    return {
        "enabled": True,
        "initialDelaySeconds": STARTUP_PERIOD_SECONDS,
        "periodSeconds": STARTUP_PERIOD_SECONDS,
        "timeoutSeconds": 5,
        "failureThreshold": STARTUP_SECONDS // STARTUP_PERIOD_SECONDS,
    }


def exporter_values(image: ImageSettings, *, monitored: bool, **more: Object) -> Object:
    """The `metrics` value of a chart: an exporter beside every node. What asks it is ours, so that both charts are asked alike."""
    if not monitored:
        return {"enabled": False}
    return {"enabled": True, "image": image_values(image), "resources": EXPORTER_RESOURCES.to_kubernetes(), **more}
