"""What all objects of the fake nodes have in common."""

from sandbox.kubectl import Kubectl, Object

FAKE = {"feast-eks/fake": "true"}
"""The label of everything that is here for the fake nodes' sake."""
SELECTOR = ",".join(f"{key}={value}" for key, value in FAKE.items())
ONLY_FAKE = {"key": "feast-eks/fake", "value": "true", "effect": "NoSchedule"}
"""Keeps every pod away that was not sent here."""


def create(kubectl: Kubectl, *items: Object) -> None:
    """Makes objects, marked as ours. Raises SandboxError when one of them is there already."""
    if items:  # kubectl calls an empty list an error
        kubectl.create([{**item, "metadata": _marked(item["metadata"])} for item in items])


def names(kubectl: Kubectl, kind: str) -> list[str]:
    """The names of our objects of a kind."""
    return [str(item["metadata"]["name"]) for item in kubectl.get(kind, f"--selector={SELECTOR}")["items"]]


def is_ours(item: Object) -> bool:
    """Whether an object has our label."""
    return FAKE.items() <= (item["metadata"].get("labels") or {}).items()


def remove(kubectl: Kubectl, *kinds: str) -> None:
    """Asks for the deletion of all of ours of these kinds."""
    kubectl.delete(",".join(kinds), f"--selector={SELECTOR}")


def _marked(metadata: Object) -> Object:
    return {**metadata, "labels": {**(metadata.get("labels") or {}), **FAKE}}
