"""What Kubernetes objects are called, where they live, and which of them select which."""

import math
import re
from collections.abc import Iterator, Mapping
from typing import Any

from feast_eks_policies.rule import Resource
from feast_eks_policies.values import UNKNOWN, get, items, mapping, pod_specs

CHARTS = ("kubernetes:helm.sh/v4:Chart", "kubernetes:helm.sh/v3:Chart")
"""Components that install a whole chart: they have no inputs, and the chart's objects are their children."""

RELEASE = "kubernetes:helm.sh/v3:Release"
"""Installs a whole chart as one resource: its `values` are shown, the chart's objects are not."""

REPLICATED = ("kubernetes:*:Deployment", "kubernetes:*:StatefulSet")
"""Types whose pods are there to stay, in a number somebody chose."""

_QUANTITY = re.compile(r"(\d+(?:\.\d*)?|\.\d+)([eE][+-]?\d+|[numkMGTPE]|[KMGTPE]i)?")
_SUFFIXES = {"n": 1e-9, "u": 1e-6, "m": 1e-3, "k": 1e3}
_SUFFIXES |= {letter: 1000.0**power for power, letter in enumerate("MGTPE", 2)}
_SUFFIXES |= {f"{letter}i": 1024.0**power for power, letter in enumerate("KMGTPE", 1)}


def kind(resource: Resource) -> str:
    """The kind, as in `Deployment`; empty for what is no Kubernetes object."""
    return resource.type.rpartition(":")[2] if resource.type.startswith("kubernetes:") else ""


def of_kind(resources: list[Resource], *kinds: str) -> list[Resource]:
    """The resources of these kinds, in any API version."""
    return [resource for resource in resources if kind(resource) in kinds]


def name(resource: Resource) -> Any:
    """`metadata.name`; `UNKNOWN` where the cluster or the engine will choose one."""
    return get(resource.props, "metadata", "name", default=UNKNOWN)


def namespace(resource: Resource) -> Any:
    """`metadata.namespace`, `default` where none is given."""
    return get(resource.props, "metadata", "namespace", default="default")


def may_equal(left: Any, right: Any) -> bool:
    """Whether two values are equal, or could turn out to be."""
    return left is UNKNOWN or right is UNKNOWN or left == right


def together(left: Resource, right: Resource) -> bool:
    """Whether two objects are, or could turn out to be, in one namespace."""
    return may_equal(namespace(left), namespace(right))


def pod_labels(resource: Resource) -> Any:
    """The labels of the pods that a workload makes; `UNKNOWN` if they are."""
    for path, _, _ in pod_specs(resource):
        return get(resource.props, *path.split(".")[:-1], "metadata", "labels", default={})
    return UNKNOWN


def selects(selector: Any, labels: Any) -> bool:
    """Whether a label selector matches, or could turn out to. An empty selector matches everything."""
    return _matches(selector, labels, if_unknown=True)


def surely_selects(selector: Any, labels: Any) -> bool:
    """Whether a label selector matches whatever is not known yet."""
    return _matches(selector, labels, if_unknown=False)


def _matches(selector: Any, labels: Any, *, if_unknown: bool) -> bool:
    wanted, expressions = get(selector, "matchLabels", default={}), get(selector, "matchExpressions", default=[])
    if UNKNOWN in (selector, labels, wanted, expressions):
        return if_unknown
    labels = mapping(labels)
    for label, value in mapping(wanted).items():
        known = UNKNOWN not in (value, labels.get(label))
        if not (labels.get(label) == value if known else if_unknown):
            return False
    return all(_meets(mapping(each), labels, if_unknown=if_unknown) for each in items(expressions))


def _meets(expression: Mapping[str, Any], labels: Mapping[str, Any], *, if_unknown: bool) -> bool:
    label, values = expression.get("key"), items(expression.get("values"))
    operator = expression.get("operator")
    if UNKNOWN in (label, operator) or UNKNOWN in values or labels.get(str(label)) is UNKNOWN:
        return if_unknown
    present = label in labels
    return {
        "In": present and labels.get(str(label)) in values,
        "NotIn": labels.get(str(label)) not in values,
        "Exists": present,
        "DoesNotExist": not present,
    }.get(str(operator), False)


def quantity(value: Any) -> float | None:
    """A Kubernetes quantity such as `1.5Gi` or `250m` as a number; None if it is none, or not known."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return float(value)
    match = _QUANTITY.fullmatch(value.strip()) if isinstance(value, str) else None
    if not match:
        return None
    number, suffix = float(match[1]), match[2] or ""
    if suffix in _SUFFIXES:
        return number * _SUFFIXES[suffix]
    return float(match[0]) if suffix else number


def share(value: Any, of: int) -> int | None:
    """A number of pods given as such or in percent, rounded up as the disruption controller does; None if it is neither."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, str) and (match := re.fullmatch(r"(\d+)(%?)", value)):
        return math.ceil(int(match[1]) * of / 100) if match[2] else int(match[1])
    return None


def words(container: Mapping[str, Any]) -> list[str]:
    """Command and arguments of a container, the known ones."""
    return [word for key in ("command", "args") for word in items(container.get(key)) if isinstance(word, str)]


def environment(container: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """Environment variable to its definition."""
    return {v["name"]: v for v in items(container.get("env")) if isinstance(v, Mapping) and isinstance(v.get("name"), str)}


def variable(container: Mapping[str, Any], name: str) -> Any:
    """The plain value of an environment variable: None if it has none, `UNKNOWN` if it could turn out to have one."""
    definition = environment(container).get(name)
    if definition is None:
        names = [get(each, "name") for each in items(container.get("env"))]
        return UNKNOWN if container.get("env") is UNKNOWN or UNKNOWN in names or container.get("envFrom") else None
    return definition.get("value")


def release_values(resource: Resource) -> Mapping[str, Any]:
    """The values that a Release installs its chart with; none of any other resource."""
    return mapping(resource.props.get("values")) if resource.is_a(RELEASE) else {}


def volumes(spec: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """(path within the pod spec, volume) of every known volume."""
    for index, volume in enumerate(items(spec.get("volumes"))):
        if isinstance(volume, Mapping):
            yield f"volumes[{index}]", volume


def texts(resource: Resource) -> Iterator[tuple[str, str]]:
    """(key, content) of every known text in a ConfigMap or Secret; a Secret's `data` is base64 and left out."""
    for field in ("data", "stringData"):
        if kind(resource) == "Secret" and field == "data":
            continue
        for key, content in mapping(resource.props.get(field)).items():
            if isinstance(content, str):
                yield f"{field}[{key}]", content
