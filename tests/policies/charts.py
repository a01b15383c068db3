"""The two stores' charts as the official provider registers them: a component without inputs, and the chart's objects as its children.

`rendered/*.yaml` is what `helm template` made of the charts with production's values. What a program chose otherwise, as far as
rules look at it, is put in here.
"""

import copy
import functools
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from feast_eks_policies.objects import CHARTS
from feast_eks_policies.rule import Resource
from feast_eks_policies.values import UNKNOWN, leaves

CHART = CHARTS[0]
RENDERED = Path(__file__).parent / "rendered"
FILES = {
    ("feast-redis", "standalone"): "redis-standalone",
    ("feast-redis", "replication"): "redis-sentinel",
    ("feast-postgresql", "standalone"): "postgresql-standalone",
    ("feast-postgresql", "replication"): "postgresql-replication",
}
SECTIONS = {
    "feast-redis-master": "master",
    "feast-redis-node": "replica",
    "feast-postgresql": "primary",
    "feast-postgresql-primary": "primary",
    "feast-postgresql-read": "readReplicas",
}
"""Where in the values a StatefulSet and its disruption budget are described."""

Object = dict[str, Any]


def kubernetes_type(document: Mapping[str, Any]) -> str:
    """The type token of an object: `apps/v1` and `Deployment` are kubernetes:apps/v1:Deployment."""
    group, _, version = document["apiVersion"].rpartition("/")
    return f"kubernetes:{group or 'core'}/{version}:{document['kind']}"


def handle(resource: Resource) -> str:
    """What tests call a resource: its logical name, for a chart's object with its kind, as in `feast-redis:StatefulSet/feast-redis-node`."""
    if f"{CHART}::" not in (resource.parent or ""):
        return resource.name
    return f"{resource.name.partition(':')[0]}:{resource.type.rpartition(':')[2]}/{resource.name.rpartition('/')[2]}"


def rendered(file: str) -> list[Object]:
    """The objects of a rendered chart; a copy, to be changed."""
    return copy.deepcopy(_rendered(file))


@functools.cache
def _rendered(file: str) -> list[Object]:
    return [document for document in yaml.safe_load_all((RENDERED / f"{file}.yaml").read_text()) if document]


def objects(chart: str, namespace: str, values: Mapping[str, Any]) -> list[Object]:
    """The objects of a chart with a program's values; none of a chart that was never rendered."""
    file = FILES.get((chart, values.get("architecture", "")))
    found = [document for document in rendered(file) if _is_wanted(document, values)] if file else []
    for document in found:
        document["metadata"]["namespace"] = namespace
        if document["kind"] == "StatefulSet":
            _fill_in(document["spec"], document["metadata"]["name"], values)
        if document["metadata"]["name"] == "feast-redis-configuration":
            data = document["data"]
            data["redis.conf"] = values["commonConfiguration"]
            if "sentinel.conf" in data:
                data["sentinel.conf"] = re.sub(r"(sentinel monitor .*) \d+", rf"\1 {values['sentinel']['quorum']}", data["sentinel.conf"])
    return found


def _is_wanted(document: Object, values: Mapping[str, Any]) -> bool:
    name = document["metadata"]["name"]
    if document["kind"] == "PodDisruptionBudget":
        return bool(values[SECTIONS[name]]["pdb"]["create"])
    return values["metrics"]["enabled"] or not name.endswith("-metrics")


def _fill_in(spec: Object, name: str, values: Mapping[str, Any]) -> None:
    node = values[SECTIONS[name]]
    spec["replicas"] = node.get("replicaCount", 1)
    beside = {part: values[part] for part in ("sentinel", "metrics") if values.get(part, {}).get("enabled")}
    pod = spec["template"]["spec"]
    pod["containers"] = [each for each in pod["containers"] if each["name"] in ("redis", "postgresql", *beside)]
    for container in pod["containers"]:
        of = beside.get(container["name"], {"image": values["image"], **node})
        container |= {"image": _image(of["image"]), "resources": of["resources"]}


def _image(image: Mapping[str, str]) -> str:
    return f"{image['registry']}/{image['repository']}" + (f"@{image['digest']}" if image["digest"] else f":{image['tag']}")


def registered(chart: Resource) -> list[Resource]:
    """What the provider registers for a Chart that is given these inputs: nothing below it while one of them is not known."""
    given = chart.props
    unknown = UNKNOWN in [value for _, value in leaves(given)]
    documents = [] if unknown else objects(chart.name, given.get("namespace", "default"), given.get("values", {}))
    return [replace(chart, props={}, property_dependencies={}, provider=None), *children(chart, documents)]


def children(chart: Resource, documents: list[Object]) -> list[Resource]:
    """Objects as children of their chart, protected as it is."""
    return [_child(chart, kubernetes_type(document), document) for document in documents]


def _child(chart: Resource, type_: str, document: Object) -> Resource:
    # Objects of several kinds share a logical name.
    name = f"{chart.name}:{document['metadata']['namespace']}/{document['metadata']['name']}"
    urn = f"{chart.urn.rpartition('::')[0]}${type_}::{name}"
    return Resource(type=type_, name=name, urn=urn, props=document, protect=chart.protect, parent=chart.urn, provider=chart.provider)
