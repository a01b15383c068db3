"""Which changes of a Kubernetes object need a new object: the rules of the official provider."""

from collections.abc import Callable, Mapping
from typing import Any

from sandbox.providers import diff

AUTONAMED = "pulumi.com/autonamed"

_IDENTITY = ("metadata.name", "metadata.namespace", "kind")
_POD_IN_PLACE = ("spec.activeDeadlineSeconds", "spec.tolerations")
_VOLUME_SOURCES = [
    "awsElasticBlockStore",
    "azureDisk",
    "cephfs",
    "csi",
    "fc",
    "flexVolume",
    "gcePersistentDisk",
    "hostPath",
    "iscsi",
    "local",
    "nfs",
]

_RULES: dict[tuple[str, str], tuple[str, ...]] = {
    ("", "ConfigMap"): ("data", "binaryData"),
    ("", "Secret"): ("data", "stringData", "type"),
    ("", "PersistentVolume"): tuple(f"spec.{source}" for source in _VOLUME_SOURCES),
    ("", "PersistentVolumeClaim"): (
        "spec.accessModes",
        "spec.selector",
        "spec.storageClassName",
        "spec.volumeName",
        "spec.volumeMode",
        "spec.dataSource",
    ),
    ("", "Pod"): ("spec",),
    ("", "ResourceQuota"): ("spec.scopes",),
    ("", "Service"): ("spec.clusterIP",),
    ("apps", "DaemonSet"): ("spec.selector",),
    ("apps", "Deployment"): ("spec.selector",),
    ("apps", "StatefulSet"): (
        "spec.podManagementPolicy",
        "spec.revisionHistoryLimit",
        "spec.selector",
        "spec.serviceName",
        "spec.volumeClaimTemplates",
    ),
    ("batch", "Job"): ("spec.completions", "spec.parallelism", "spec.selector", "spec.template"),
    ("rbac.authorization.k8s.io", "ClusterRoleBinding"): ("roleRef",),
    ("rbac.authorization.k8s.io", "RoleBinding"): ("roleRef",),
    ("storage.k8s.io", "StorageClass"): ("parameters", "provisioner"),
}


def replaces(item: Mapping[str, Any], *, mutable: frozenset[str] = frozenset()) -> Callable[[diff.Path], bool]:
    """For one object: does changing this path replace it? `mutable` kinds keep their name when their data changes."""
    kind = str(item.get("kind"))
    group = str(item.get("apiVersion", "")).rpartition("/")[0]
    rules = () if kind in mutable else _RULES.get((group, kind), ())

    def decide(path: diff.Path) -> bool:
        if any(diff.under(path, rule) for rule in _IDENTITY):
            return True
        if kind == "Pod" and any(diff.under(path, rule) for rule in _POD_IN_PLACE):
            return False
        return any(diff.under(path, rule) or _above(path, rule) for rule in rules)

    return decide


def delete_first(old: Mapping[str, Any], new: Mapping[str, Any]) -> bool:
    """An object cannot exist twice under one name: its replacement has to wait for its deletion."""
    old_metadata, new_metadata = old.get("metadata") or {}, new.get("metadata") or {}
    if (new_metadata.get("annotations") or {}).get(AUTONAMED) == "true":
        return False
    return all(old_metadata.get(field) == new_metadata.get(field) for field in ("name", "namespace"))


def _above(path: diff.Path, rule: str) -> bool:
    """A whole `spec` that comes or goes takes the fields of the rule with it."""
    names = [part for part in path if isinstance(part, str)]
    return bool(names) and rule.startswith(".".join(names) + ".")
