"""What the program made, as the state of its stack says: Kubernetes objects with their inputs, and their provider.

Values that the engine marked as secret are dropped here and their shape is kept: which keys a Secret has must be known,
what they hold must not.
"""

import json
from dataclasses import dataclass, field
from typing import Any

from delivery.values import SECRET_SIGNATURE

Object = dict[str, Any]

PROVIDER = "pulumi:providers:kubernetes"
TYPES = "kubernetes:"
NO_OBJECTS = ("kubernetes:helm.sh/", "kubernetes:kustomize", "kubernetes:yaml")


class Hidden:
    """A value that the program sets and that nobody here may know."""

    def __repr__(self) -> str:
        return "HIDDEN"


HIDDEN = Hidden()


@dataclass(frozen=True, order=True)
class Kind:
    """A kind of the API: group ("" is core), version, kind."""

    group: str
    version: str
    name: str

    @classmethod
    def of(cls, thing: Object) -> "Kind":
        """The kind that an object says it has."""
        group, _, version = str(thing.get("apiVersion", "")).rpartition("/")
        return cls(group, version, str(thing.get("kind", "")))

    @property
    def argument(self) -> str:
        """How `kubectl get` is told it."""
        return f"{self.name}.{self.version}.{self.group}"


Key = tuple[str, str, str, str]
"""Group, kind, namespace ("" of what belongs to the cluster) and name. Not the version: the API server converts it."""


def key_of(thing: Object) -> Key:
    """Which object this is."""
    kind, metadata = Kind.of(thing), thing.get("metadata") or {}
    return kind.group, kind.name, str(metadata.get("namespace", "")), str(metadata.get("name", ""))


@dataclass(frozen=True, kw_only=True)
class Made:
    """One object that the program made. `modified` is when it last changed it, in the engine's words."""

    kind: Kind
    namespace: str
    name: str
    inputs: Object
    modified: str = ""

    @property
    def key(self) -> Key:
        """Which object this is."""
        return self.kind.group, self.kind.name, self.namespace, self.name


@dataclass(frozen=True, kw_only=True)
class Connection:
    """How a provider reaches its cluster. `kubeconfig` is the text of a file or its path; empty is kubectl's own."""

    kubeconfig: str = ""
    context: str = ""


@dataclass
class Cluster:
    """What the program made with one provider."""

    connection: Connection
    objects: list[Made] = field(default_factory=list)


def read_state(text: str) -> list[Cluster]:
    """The objects of `pulumi stack export --show-secrets`, by the cluster that they are in.

    Raises:
        ValueError: the text is no state, holds no object, or does not open its secrets: what was not looked at is not clean.
    """
    try:
        resources = json.loads(text)["deployment"]["resources"]
        found = [resource for resource in resources if not resource.get("delete")]
    except (ValueError, TypeError, KeyError, AttributeError):
        raise ValueError("what `pulumi stack export` printed is no state of a stack") from None
    clusters = {
        f"{resource['urn']}::{resource.get('id', '')}": Cluster(_connection(resource.get("inputs") or {}))
        for resource in found
        if resource.get("type") == PROVIDER
    }
    for resource in found:
        kind = str(resource.get("type", ""))
        if kind.startswith(TYPES) and not kind.startswith(NO_OBJECTS) and resource.get("custom") and not resource.get("external"):
            reference = str(resource.get("provider", ""))
            if reference not in clusters:
                raise ValueError(f"the state lacks the provider of {resource.get('urn')}")
            clusters[reference].objects.append(_made(resource))
    if not any(cluster.objects for cluster in clusters.values()):
        raise ValueError("the state holds no Kubernetes object")
    return [cluster for cluster in clusters.values() if cluster.objects]


def _made(resource: Object) -> Made:
    inputs = without_secrets(resource.get("inputs") or {})
    namespace, _, name = str(resource.get("id", "")).rpartition("/")
    return Made(kind=Kind.of(inputs), namespace=namespace, name=name, inputs=inputs, modified=str(resource.get("modified", "")))


def _connection(inputs: Object) -> Connection:
    opened = (_opened(value) if _is_secret(value) else value for value in (inputs.get("kubeconfig"), inputs.get("context")))
    kubeconfig, context = (value if isinstance(value, str) else "" for value in opened)
    return Connection(kubeconfig=kubeconfig, context=context)


def without_secrets(value: Any) -> Any:
    """The value with everything below a secret hidden but the keys and the number of items."""
    if _is_secret(value):
        return _shape(_opened(value))
    if isinstance(value, dict):
        return {key: without_secrets(item) for key, item in value.items()}
    return [without_secrets(item) for item in value] if isinstance(value, list) else value


def _shape(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _shape(item) for key, item in value.items()}
    return [_shape(item) for item in value] if isinstance(value, list) else HIDDEN


def _is_secret(value: Any) -> bool:
    return isinstance(value, dict) and SECRET_SIGNATURE in value


def _opened(secret: Any) -> Any:
    try:
        return json.loads(secret["plaintext"])
    except (KeyError, TypeError, ValueError):
        raise ValueError("the state's secrets are not opened: which keys a Secret has is not known") from None
