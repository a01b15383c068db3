"""What both Bitnami charts have in common: how to name an image, a chart and a volume.

Pure. Values carry names of Secrets, never secrets, so that previews show every object of a chart.
"""

from typing import Any

from feast_eks.settings import ChartSettings, ImageSettings, OnlineStoreSettings, RegistrySettings
from feast_eks.workload import USER_ID, Object, Resources

READY_SECONDS = 1200
"""Nodes start one after the other, each with new volumes and perhaps a new machine; Pulumi's own ten minutes can be too few."""

EXPORTER_RESOURCES = Resources(cpu_millicores=20, memory_mib=64)


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
    """What a stateful node asks for: resources and a volume."""
    resources = Resources(cpu_millicores=settings.cpu_millicores, memory_mib=settings.memory_mib)
    return {
        "resources": resources.to_kubernetes(),
        "podSecurityContext": {"enabled": True, "fsGroup": USER_ID, "fsGroupChangePolicy": "OnRootMismatch"},
        "persistence": {"enabled": True, "size": f"{settings.storage_gib}Gi", "storageClass": settings.storage_class or ""},
    }


def exporter_values(image: ImageSettings, *, monitored: bool) -> Object:
    """The `metrics` value of a chart: an exporter beside every node. What asks it is ours, so that both charts are asked alike."""
    if not monitored:
        return {"enabled": False}
    return {"enabled": True, "image": image_values(image), "resources": EXPORTER_RESOURCES.to_kubernetes()}
