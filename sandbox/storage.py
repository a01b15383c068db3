"""Persistent volumes: a default StorageClass and a stock of directories on this machine.

They are `local` volumes, so a pod's fsGroup owns them as it would own an EBS volume. A volume whose claim is gone is emptied and
offered again by the next `up`.
"""

import shutil
from pathlib import Path
from typing import Any

from sandbox import addresses as at
from sandbox.kubectl import Kubectl, Object
from sandbox.state import STATE

VOLUMES = STATE / "volumes"
STOCK = 32
CAPACITY = "100Gi"  # a promise only: nothing limits a directory


def ensure(kubectl: Kubectl) -> int:
    """Make the class and the stock, and renew what has been released. Returns how many volumes were renewed."""
    present = {volume["metadata"]["name"]: volume for volume in kubectl.get("persistentvolumes")["items"]}
    names = [f"sandbox-{number:02d}" for number in range(STOCK)]
    released = [name for name in names if _is_released(present.get(name))]
    if released:
        kubectl.run("delete", "persistentvolume", "--wait=true", *released)
    missing = [name for name in names if name not in present or name in released]
    for name in missing:
        directory = VOLUMES / name
        if directory.exists():
            shutil.rmtree(directory)
        directory.mkdir(parents=True, mode=0o755)
    if missing:
        kubectl.apply([_class(), *(_volume(name, VOLUMES / name) for name in missing)])
    return len(released)


def _is_released(volume: dict[str, Any] | None) -> bool:
    return volume is not None and volume["status"].get("phase") in ("Released", "Failed")


def _class() -> Object:
    return {
        "apiVersion": "storage.k8s.io/v1",
        "kind": "StorageClass",
        "metadata": {
            "name": at.STORAGE_CLASS,
            "annotations": {"storageclass.kubernetes.io/is-default-class": "true"},
        },
        "provisioner": "kubernetes.io/no-provisioner",
        "volumeBindingMode": "WaitForFirstConsumer",
    }


def _volume(name: str, directory: Path) -> Object:
    on_the_node = [{"key": "kubernetes.io/hostname", "operator": "In", "values": [at.NODE]}]
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": name},
        "spec": {
            "capacity": {"storage": CAPACITY},
            "accessModes": ["ReadWriteOnce"],
            "persistentVolumeReclaimPolicy": "Retain",
            "storageClassName": at.STORAGE_CLASS,
            "local": {"path": str(directory)},
            "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": on_the_node}]}},
        },
    }
