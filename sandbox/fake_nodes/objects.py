"""What all objects of the fake nodes have in common."""

from http import HTTPStatus
from typing import Any

from sandbox.providers.api_server import ApiError, ApiServer, Object

FAKE = {"feast-eks/fake": "true"}
"""The label of everything that is here for the fake nodes' sake."""
SELECTOR = ",".join(f"{key}={value}" for key, value in FAKE.items())
ONLY_FAKE = {"key": "feast-eks/fake", "value": "true", "effect": "NoSchedule"}
"""Keeps every pod away that was not sent here."""


def create(api: ApiServer, path: str, item: Object) -> Object:
    """Makes an object below a path, marked as one of ours. Raises ApiError when it is there already."""
    labels = {**(item["metadata"].get("labels") or {}), **FAKE}
    return api.request("POST", path, body={**item, "metadata": {**item["metadata"], "labels": labels}})


def delete(api: ApiServer, path: str, **options: Any) -> None:
    """Asks for a deletion; what is gone already is fine."""
    try:
        api.request("DELETE", path, body=options)
    except ApiError as error:
        if error.status != HTTPStatus.NOT_FOUND:
            raise


def ours(api: ApiServer, path: str) -> list[str]:
    """The names of our objects at a path."""
    return [str(item["metadata"]["name"]) for item in api.items(path, labelSelector=SELECTOR)]
