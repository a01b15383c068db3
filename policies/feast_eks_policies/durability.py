"""Stores that lose what they hold: without a volume, without protection, without a copy."""

from collections.abc import Iterator
from typing import Any

from feast_eks_policies.objects import RELEASE, REPLICATED, kind, may_equal, pod_labels, release_values, together
from feast_eks_policies.rule import Context, Finding, Resource, ResourceRule, Rule, StackRule
from feast_eks_policies.stores import is_release, stores
from feast_eks_policies.values import UNKNOWN, WORKLOADS, get, items, pod_specs


def _volumes(resource: Resource) -> Iterator[str]:
    claims = get(resource.props, "spec", "volumeClaimTemplates")
    for store in stores(resource):
        volumes = store.spec.get("volumes")
        if claims or volumes is UNKNOWN or UNKNOWN in items(volumes):
            continue
        if not any(get(volume, key) for volume in items(volumes) for key in ("persistentVolumeClaim", "ephemeral")):
            yield f"{store.path} keeps {store.database} data in no persistent volume: a restart empties it"
    if is_release(resource, "redis") or is_release(resource, "postgresql"):
        for part in ("master", "replica", "primary", "readReplicas"):
            if get(release_values(resource), part, "persistence", "enabled") is False:
                yield f"values.{part}.persistence.enabled is false: a restart empties it"


def _claims(resource: Resource) -> Iterator[str]:
    if kind(resource) == "StorageClass":
        if get(resource.props, "reclaimPolicy", default="Delete") not in ("Retain", UNKNOWN):
            yield "reclaimPolicy is Delete: the disk goes with its claim"
        return
    policy = get(resource.props, "spec", "persistentVolumeClaimRetentionPolicy")
    for event in ("whenDeleted", "whenScaled"):
        if get(policy, event) == "Delete":
            yield f"spec.persistentVolumeClaimRetentionPolicy.{event} is Delete"


def _protected(resources: list[Resource], context: Context) -> Iterator[Finding]:
    del context
    for resource in resources:
        holds = kind(resource) == "StatefulSet" and get(resource.props, "spec", "volumeClaimTemplates")
        release = is_release(resource, "redis") or is_release(resource, "postgresql")
        if (holds or release or kind(resource) == "PersistentVolumeClaim") and not resource.protect:
            yield resource, "protect is off: deleting or replacing it takes no second thought"


def _registry_copies(resources: list[Resource], context: Context) -> Iterator[Finding]:
    del context
    nodes = [resource for resource in resources if any(store.database == "postgresql" for store in stores(resource))]
    for resource in resources:
        if is_release(resource, "postgresql") and get(resource.props, "values", "architecture", default="standalone") == "standalone":
            yield resource, "values.architecture is standalone: one node down is the registry down"
    unknown = [resource for resource in resources if resource.is_a(*REPLICATED) and not _containers_known(resource)]
    for node in nodes:
        if any(together(node, other) for other in unknown):
            continue
        members = [other for other in nodes if together(node, other) and may_equal(_instance(node), _instance(other))]
        counts = [get(member.props, "spec", "replicas", default=1) for member in members]
        if all(isinstance(count, int) for count in counts) and sum(counts) < 2:  # noqa: PLR2004 - an original and a copy
            yield node, "a PostgreSQL without a replica: with its volume goes the registry"


def _containers_known(resource: Resource) -> bool:
    found = [spec.get("containers") for _, _, spec in pod_specs(resource)]
    return bool(found) and UNKNOWN not in found and not any(UNKNOWN in items(each) for each in found)


def _instance(resource: Resource) -> Any:
    """What all nodes of one database have in common."""
    labels = pod_labels(resource)
    return labels if labels is UNKNOWN else labels.get("app.kubernetes.io/instance") or labels.get("app") or resource.name


RULES: tuple[Rule, ...] = (
    ResourceRule(
        name="store-has-volume",
        description="Redis and PostgreSQL keep their data in a volume that outlives the pod.",
        harm="durability",
        severity="critical",
        remedy="run it as a StatefulSet with volumeClaimTemplates; in a Release persistence.enabled true",
        types=(*WORKLOADS, RELEASE),
        check=_volumes,
    ),
    ResourceRule(
        name="volume-claims-retained",
        description="Volumes outlive the workload that filled them.",
        harm="durability",
        severity="high",
        remedy="set whenDeleted and whenScaled to Retain, and a StorageClass's reclaimPolicy to Retain",
        types=("kubernetes:*:StatefulSet", "kubernetes:*:StorageClass"),
        check=_claims,
    ),
    StackRule(
        name="stateful-protected",
        description="What holds data is not deleted or replaced by an update that nobody read.",
        harm="durability",
        severity="high",
        remedy="protect=True on the resource, or on the Chart that passes it on (stack file: protect_data: true)",
        check=_protected,
    ),
    StackRule(
        name="postgres-ha-prod",
        description="The registry has a copy on another node, or stands outside the cluster.",
        harm="durability",
        severity="high",
        remedy="registry.mode: replication, or external with a database that has a standby",
        check=_registry_copies,
    ),
)
