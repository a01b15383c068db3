"""Volumes for pods on fake nodes: of any size, made when the scheduler has chosen a node, as EBS volumes are."""

import contextlib
import threading
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager

from sandbox.fake_nodes import objects
from sandbox.kubectl import Kubectl, Object
from sandbox.progress import SandboxError

STORAGE_CLASS = "fake"
_PROVISIONER = "fake-nodes.feast-eks.local"
_CHOSEN = "volume.kubernetes.io/selected-node"
_ZONE = "topology.kubernetes.io/zone"
_LOOK_SECONDS = 2.0  # a kubectl takes a tenth of a second of a processor, and pods wait for minutes


@contextmanager
def provided(kubectl: Kubectl, storage_classes: Sequence[str]) -> Iterator[None]:
    """While this is entered, claims of our class and of `storage_classes` get volumes. A class that is there already stays as it is."""
    present = {str(item["metadata"]["name"]) for item in kubectl.get("storageclasses")["items"]}
    classes = [name for name in (STORAGE_CLASS, *storage_classes) if name not in present]
    objects.create(kubectl, *map(_class, classes))
    stop = threading.Event()
    thread = threading.Thread(target=_provide, args=(kubectl, frozenset(classes), stop), name="fake-nodes-volumes", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(30)


def remove(kubectl: Kubectl) -> None:
    """Takes our volumes and classes away."""
    objects.remove(kubectl, "persistentvolumes", "storageclasses")


def missing(found: Sequence[Object], classes: Collection[str]) -> list[Object]:
    """The volumes to make: one for every claim of these classes whose pod has a node, in the zone of that node."""
    zones = {node["metadata"]["name"]: (node["metadata"].get("labels") or {}).get(_ZONE, "") for node in _of_kind(found, "Node")}
    there = {volume["metadata"]["name"] for volume in _of_kind(found, "PersistentVolume")}
    wanted = []
    for claim in _of_kind(found, "PersistentVolumeClaim"):
        spec, chosen = claim["spec"], (claim["metadata"].get("annotations") or {}).get(_CHOSEN)
        is_ours = spec.get("storageClassName") in classes
        if is_ours and chosen and not spec.get("volumeName") and _name(claim) not in there:
            wanted.append(_volume(claim, zones.get(chosen, "")))
    return wanted


def released(found: Sequence[Object]) -> list[str]:
    """The names of our volumes whose claim is gone."""
    ours = [volume for volume in _of_kind(found, "PersistentVolume") if objects.is_ours(volume)]
    return [str(volume["metadata"]["name"]) for volume in ours if (volume.get("status") or {}).get("phase") == "Released"]


def _provide(kubectl: Kubectl, classes: frozenset[str], stop: threading.Event) -> None:
    stopped = False
    while not stopped:
        stopped = stop.wait(_LOOK_SECONDS)  # then a last look: volumes of claims that went at the end take a moment to go
        with contextlib.suppress(SandboxError):  # the API server restarts, or somebody else was faster: the next look tells
            _look(kubectl, classes)


def _look(kubectl: Kubectl, classes: frozenset[str]) -> None:
    found = kubectl.get("persistentvolumeclaims,persistentvolumes,nodes", "--all-namespaces")["items"]
    objects.create(kubectl, *missing(found, classes))
    if names := released(found):
        kubectl.delete("persistentvolumes", *names)


def _of_kind(found: Sequence[Object], kind: str) -> list[Object]:
    return [item for item in found if item["kind"] == kind]


def _name(claim: Object) -> str:
    return f"fake-{claim['metadata']['uid']}"


def _class(name: str) -> Object:
    return {
        "apiVersion": "storage.k8s.io/v1",
        "kind": "StorageClass",
        "metadata": {"name": name},
        "provisioner": _PROVISIONER,
        "volumeBindingMode": "WaitForFirstConsumer",
        "reclaimPolicy": "Delete",
        "allowVolumeExpansion": True,
    }


def _volume(claim: Object, zone: str) -> Object:
    metadata, spec = claim["metadata"], claim["spec"]
    in_zone = {"matchExpressions": [{"key": _ZONE, "operator": "In", "values": [zone]}]}
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": _name(claim), "annotations": {"pv.kubernetes.io/provisioned-by": _PROVISIONER}},
        "spec": {
            "capacity": {"storage": spec["resources"]["requests"]["storage"]},
            "accessModes": spec["accessModes"],
            "persistentVolumeReclaimPolicy": "Delete",
            "storageClassName": spec["storageClassName"],
            "claimRef": {
                "apiVersion": "v1",
                "kind": "PersistentVolumeClaim",
                "namespace": metadata["namespace"],
                "name": metadata["name"],
                "uid": metadata["uid"],
            },
            "hostPath": {"path": "/nonexistent"},  # nobody will ever mount it
            "nodeAffinity": {"required": {"nodeSelectorTerms": [in_zone]}},
        },
    }
