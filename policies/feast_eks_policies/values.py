"""Plain values out of what the engine hands over: proxies, floats, and values that a preview cannot know.

The engine's proxies raise on the first access to an unknown value, which would end the rule that asked and hide what else it
had to say. Here every leaf is converted once and on its own; an unknown one becomes `UNKNOWN`, which rules pass over.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pulumi_policy.proxy import UnknownValueError

if TYPE_CHECKING:
    from feast_eks_policies.rule import Resource

SECRET_SIGNATURE = "1b47061264138c4ac30d75fd1eb44270"
SIGNATURE_KEY = "4dabf18193072939515e22adb298388d"
UNKNOWN_SENTINELS = frozenset(
    {
        "1c4a061d-8072-4f0a-a4cb-0ff528b18fe7",
        "3eeb2bf0-c639-47a8-9e75-3b44932eb421",
        "04da6b54-80e4-46f7-96ec-b56ff0331ba9",
        "6a19a0b0-7e62-4c92-b797-7f8e31da9cc2",
        "030794c1-ac77-496b-92df-f27374a8bd58",
        "e48ece36-62e2-4504-bad9-02848725956a",
        "dd056dcd-154b-4c76-9bd3-c8f88648b5ff",
    }
)
"""What stands for a boolean, number, string, list, asset, archive or object that is not known yet."""


class _Unknown:
    """The type of `UNKNOWN`. Truthy, so that a rule asking "is it set?" takes it for set."""

    def __repr__(self) -> str:
        return "UNKNOWN"


UNKNOWN = _Unknown()
"""Stands for a value that only the deployment itself will know."""


def plain(value: Any) -> Any:
    """The value as dict, list, str, int, float, bool, None, or an asset; `UNKNOWN` for each leaf that is not known.

    Takes the policy SDK's proxies as well as wire-shaped values; secrets are unwrapped, so what comes back must never be printed.
    """
    if isinstance(value, str):
        return UNKNOWN if value in UNKNOWN_SENTINELS else value
    if isinstance(value, float):
        return int(value) if value.is_integer() else value
    if isinstance(value, Mapping):
        converted = {key: _leaf(value, key) for key in value}
        if converted.get(SIGNATURE_KEY) == SECRET_SIGNATURE:
            return converted.get("value")
        return converted
    if isinstance(value, Sequence) and not isinstance(value, bytes):
        return [_leaf(value, index) for index in range(len(value))]
    return value


def _leaf(container: Any, key: Any) -> Any:
    try:
        return plain(container[key])
    except UnknownValueError:
        return UNKNOWN


def get(value: Any, *path: str | int, default: Any = None) -> Any:
    """What lies at `path`; `UNKNOWN` if that or anything above it is; `default` if it is absent or null."""
    for key in path:
        if value is UNKNOWN:
            return UNKNOWN
        if isinstance(value, Mapping) and isinstance(key, str):
            value = value.get(key)
        elif isinstance(value, list) and isinstance(key, int) and -len(value) <= key < len(value):
            value = value[key]
        else:
            return default
    return default if value is None else value


def mapping(value: Any) -> Mapping[str, Any]:
    """The value if it is a mapping, else an empty one: nothing of an unknown object can be said."""
    return value if isinstance(value, Mapping) else {}


def items(value: Any) -> list[Any]:
    """The value if it is a list, else an empty one."""
    return value if isinstance(value, list) else []


def as_list(value: Any) -> list[Any]:
    """The value if it is a list, nothing for None, else a list of the one: IAM documents allow both."""
    if value is None:
        return []
    return value if isinstance(value, list) else [value]


def parsed(value: Any) -> Any:
    """JSON text as the value it stands for; anything else as it is. Providers take their structured inputs as JSON text."""
    if isinstance(value, str):
        try:
            return json.loads(value)
        except ValueError:
            return value
    return value


def leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Every leaf with its path, as in `spec.containers[0].image`."""
    if isinstance(value, Mapping):
        for key, below in value.items():
            yield from leaves(below, f"{path}.{key}" if path else str(key))
    elif isinstance(value, list):
        for index, below in enumerate(value):
            yield from leaves(below, f"{path}[{index}]")
    else:
        yield path, value


_POD_TEMPLATES = {
    "Pod": "",
    "PodTemplate": "template",
    "Deployment": "spec.template",
    "StatefulSet": "spec.template",
    "DaemonSet": "spec.template",
    "ReplicaSet": "spec.template",
    "ReplicationController": "spec.template",
    "Job": "spec.template",
    "CronJob": "spec.jobTemplate.spec.template",
}
"""Where each kind of workload keeps the pod it makes."""

WORKLOADS = tuple(f"kubernetes:*:{kind}" for kind in _POD_TEMPLATES)
"""Type patterns of everything that makes pods."""


def pod_specs(resource: "Resource") -> Iterator[tuple[str, Mapping[str, Any], Mapping[str, Any]]]:
    """(path of the pod spec, pod metadata, pod spec) of a workload; nothing for other types or where the spec is unknown."""
    kind = resource.type.rpartition(":")[2]
    if not resource.type.startswith("kubernetes:") or kind not in _POD_TEMPLATES:
        return
    steps = [step for step in _POD_TEMPLATES[kind].split(".") if step]
    template = get(resource.props, *steps)
    spec = get(template, "spec")
    if isinstance(spec, Mapping):
        yield ".".join([*steps, "spec"]), mapping(get(template, "metadata")), spec


def containers(spec: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """(path within the pod spec, container) of every container whose definition is known, init and ephemeral ones included."""
    for group in ("containers", "initContainers", "ephemeralContainers"):
        for index, container in enumerate(items(spec.get(group))):
            if isinstance(container, Mapping):
                yield f"{group}[{index}]", container
