"""The feature_store.yaml files and contracts that ConfigMaps carry to the pods."""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

import yaml

from feast_eks_policies.objects import name, texts, variable
from feast_eks_policies.rule import Resource
from feast_eks_policies.values import UNKNOWN, containers, get, items, mapping, pod_specs

LOCAL_STORES = ("sqlite", "duckdb", "faiss")
SHARED_STORES = ("redis", "remote")


def feature_stores(resource: Resource) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """(key, document) of every feature_store.yaml; one without password and of no server, as applications have it, is left out."""
    for key, text in texts(resource):
        if not key.rstrip("]").endswith((".yaml", ".yml")) or "project" not in text:
            continue
        try:
            document = yaml.safe_load(text)
        except yaml.YAMLError:
            continue
        if isinstance(document, dict) and {"project", "registry"} <= set(document) and store_type(document, "online_store") != "remote":
            yield key, document


def contracts(resource: Resource) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """(key, document) of every contract.lock.json, or of the parts of one that is large."""
    for key, text in texts(resource):
        if re.search(r"contract\.lock(\.\d+)?\.json", key):
            try:
                yield key, mapping(json.loads(text))
            except ValueError:
                continue


def store_type(document: Mapping[str, Any], store: str) -> str:
    """The type of a store, Feast's default if none is given.

    A class (`package.module.ClassName`) is taken for what its name says it is: a kind of Redis, or of SQLite.
    """
    section = document.get(store)
    given = section if isinstance(section, str) else str(get(section, "type", default="sqlite"))
    package, _, name = given.rpartition(".")
    if not package:
        return given
    return next((known for known in (*LOCAL_STORES, *SHARED_STORES) if known in name.lower()), given)


def registry_path(document: Mapping[str, Any]) -> str:
    """Where the registry is: a file, or the URL of a database."""
    registry = document.get("registry")
    return registry if isinstance(registry, str) else str(get(registry, "path", default=""))


def registry_type(document: Mapping[str, Any]) -> str:
    """The type of the registry, Feast's default if none is given."""
    return str(get(document.get("registry"), "registry_type", default="file"))


def hosts(document: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """(place, host) of every store that is reached over the network."""
    address = re.search(r"://(?:[^/]*@)?([^/:?]+|\[[^]]*\])", registry_path(document))
    if registry_type(document) == "sql" and address:
        yield "registry.path", address[1]
    for part in connection_parts(document):
        if "=" not in part and part:
            yield "online_store.connection_string", part.rpartition(":")[0] or part
    if isinstance(host := get(document, "online_store", "host"), str):
        yield "online_store.host", host


def meant(host: str, config_map: Resource, resources: list[Resource]) -> Iterator[str]:
    """What a host stands for: itself, or for `${VARIABLE}` what the pods that mount the file are given."""
    placeholder = re.fullmatch(r"\$\{(\w+)\}", host)
    if not placeholder:
        yield host
        return
    for workload in resources:
        for _, _, spec in pod_specs(workload):
            for _, container in containers(spec) if may_mount(spec, config_map) else ():
                if isinstance(value := variable(container, placeholder[1]), str):
                    yield value


def connection_parts(document: Mapping[str, Any]) -> list[str]:
    """The hosts and options of a Redis connection string."""
    text = get(document, "online_store", "connection_string")
    return [part.strip() for part in text.split(",")] if isinstance(text, str) else []


def may_mount(spec: Mapping[str, Any], config_map: Resource) -> bool:
    """Whether a pod mounts a ConfigMap, or could turn out to."""
    mounted, own = _mounted(spec), name(config_map)
    return own in mounted or UNKNOWN in (own, *mounted)


def _mounted(spec: Mapping[str, Any]) -> set[Any]:
    if spec.get("volumes") is UNKNOWN:
        return {UNKNOWN}
    names = {get(volume, "configMap", "name") for volume in items(spec.get("volumes"))}
    for volume in items(spec.get("volumes")):
        names |= {get(source, "configMap", "name") for source in items(get(volume, "projected", "sources"))}
    return names - {None}
