"""Volumes for pods on fake nodes: of any size, made when the scheduler has chosen a node, as EBS volumes are."""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from sandbox.fake_nodes import objects
from sandbox.providers.api_server import ApiError, ApiServer, Object, Unreachable

STORAGE_CLASS = "fake"
_PROVISIONER = "fake-nodes.feast-eks.local"
_CLASSES = "/apis/storage.k8s.io/v1/storageclasses"
_VOLUMES = "/api/v1/persistentvolumes"
_CLAIMS = "/api/v1/persistentvolumeclaims"
_CHOSEN = "volume.kubernetes.io/selected-node"
_ZONE = "topology.kubernetes.io/zone"
_LOOK_SECONDS = 0.3


@contextmanager
def provided(api: ApiServer, storage_classes: Sequence[str]) -> Iterator[None]:
    """While this is entered, claims of our class and of `storage_classes` get volumes. A class that is there already stays as it is."""
    present = {str(item["metadata"]["name"]) for item in api.items(_CLASSES)}
    classes = [name for name in (STORAGE_CLASS, *storage_classes) if name not in present]
    for name in classes:
        objects.create(api, _CLASSES, _class(name))
    stop = threading.Event()
    thread = threading.Thread(target=_provide, args=(api, frozenset(classes), stop), name="fake-nodes-volumes", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(30)


def remove(api: ApiServer) -> None:
    """Takes our volumes and classes away."""
    for path in (_VOLUMES, _CLASSES):
        for name in objects.ours(api, path):
            objects.delete(api, f"{path}/{name}")


def _provide(api: ApiServer, classes: frozenset[str], stop: threading.Event) -> None:
    while not stop.wait(_LOOK_SECONDS):
        try:
            _look(api, classes)
        except (ApiError, Unreachable):
            continue  # the API server restarts, or somebody else was faster: the next look tells


def _look(api: ApiServer, classes: frozenset[str]) -> None:
    for claim in api.items(_CLAIMS):
        chosen = (claim["metadata"].get("annotations") or {}).get(_CHOSEN)
        if claim["spec"].get("storageClassName") in classes and chosen and not claim["spec"].get("volumeName"):
            path = f"{_VOLUMES}/{_name(claim)}"
            if api.get_path(path) is None:
                objects.create(api, _VOLUMES, _volume(claim, _zone(api, chosen)))
    for volume in api.items(_VOLUMES, labelSelector=objects.SELECTOR):
        if (volume.get("status") or {}).get("phase") == "Released":
            objects.delete(api, f"{_VOLUMES}/{volume['metadata']['name']}")


def _name(claim: Object) -> str:
    return f"fake-{claim['metadata']['uid']}"


def _zone(api: ApiServer, node: str) -> str:
    found = api.get_path(f"/api/v1/nodes/{node}") or {"metadata": {}}
    return str((found["metadata"].get("labels") or {}).get(_ZONE, ""))


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
