"""Which pods keep data: Redis and PostgreSQL, known by image, name or command, whoever installed them."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from feast_eks_policies.images import Image
from feast_eks_policies.objects import RELEASE, environment, kind, texts, words
from feast_eks_policies.rule import Resource
from feast_eks_policies.values import UNKNOWN, items, pod_specs

Database = Literal["redis", "postgresql"]

_NAMES: dict[str, Database] = {
    **dict.fromkeys(("redis", "redis-stack", "redis-stack-server", "valkey", "keydb", "dragonfly"), "redis"),
    **dict.fromkeys(("postgres", "postgresql", "timescaledb", "pgvector", "postgis"), "postgresql"),
}
_PROGRAMS: dict[str, Database] = {
    **dict.fromkeys(("redis-server", "valkey-server", "keydb-server", "dragonfly"), "redis"),
    **dict.fromkeys(("postgres", "postgresql"), "postgresql"),
}
STAYING = ("Pod", "Deployment", "StatefulSet", "DaemonSet", "ReplicaSet")
"""Kinds whose pods are there to stay; a Job that runs psql is no store."""

_REDIS_FILES = re.compile(r"(redis|master|replica|valkey|keydb)[\w.-]*\.conf")
_DIRECTIVE = re.compile(r"^\s*([a-z][a-z-]+)\s+(.*?)\s*$", re.MULTILINE)


@dataclass(frozen=True, kw_only=True)
class Store:
    """A container that keeps data: which database, where it stands in the resource, and its pod."""

    database: Database
    path: str
    container: Mapping[str, Any]
    spec: Mapping[str, Any]


def stores(resource: Resource) -> Iterator[Store]:
    """The containers of a workload that are a database."""
    if kind(resource) not in STAYING:
        return
    for path, _, spec in pod_specs(resource):
        for index, container in enumerate(items(spec.get("containers"))):
            if isinstance(container, Mapping) and (found := database(container)):
                yield Store(database=found, path=f"{path}.containers[{index}]", container=container, spec=spec)


def database(container: Mapping[str, Any]) -> Database | None:
    """What database a container is, if any; exporters and sentinels watch one, and are none."""
    name, image = container.get("name"), container.get("image")
    repository = Image.parse(image).repository.rpartition("/")[2] if isinstance(image, str) else ""
    spoken = " ".join(words(container))
    if any(word in f"{name} {repository}" for word in ("exporter", "sentinel", "metrics")) or "redis-sentinel" in spoken:
        return None
    programs = [word.rpartition("/")[2] for word in spoken.split()]
    started = next((_PROGRAMS[p] for p in programs if p in _PROGRAMS and (p.endswith("-server") or p == programs[0])), None)
    return _NAMES.get(repository) or _NAMES.get(str(name)) or started


def options(container: Mapping[str, Any]) -> dict[str, str]:
    """Redis options on the command line: `--maxmemory 1gb` or `--maxmemory=1gb`, also inside a shell's one long argument."""
    spoken = " ".join(words(container))
    found = re.findall(r"--([a-z][a-z-]+)(?:[ =]+(?!--)(\"[^\"]*\"|'[^']*'|\S+))?", spoken)
    return {option: value.strip("\"'") for option, value in found}


def configuration(resource: Resource) -> Iterator[tuple[str, dict[str, str]]]:
    """(key, directives) of every Redis configuration file in a ConfigMap or Secret; of a repeated directive the last one."""
    for key, text in texts(resource):
        if _REDIS_FILES.search(key) and "sentinel" not in key:
            yield key, directives_in(text)


def directives_in(text: str) -> dict[str, str]:
    """The directives of a Redis configuration."""
    return dict(_DIRECTIVE.findall(text))


def has_password(container: Mapping[str, Any]) -> bool:
    """Whether a Redis container is given a password or a list of users, or a file that may hold them."""
    given = options(container)
    if any(given.get(option) for option in ("requirepass", "aclfile")):
        return True
    variables = environment(container)
    if any(re.search(r"PASSWORD|REDISCLI_AUTH|ACL", name) and name != "ALLOW_EMPTY_PASSWORD" for name in variables):
        return True
    return bool(container.get("envFrom")) or any(word.endswith(".conf") for word in " ".join(words(container)).split())


def is_release(resource: Resource, name: str) -> bool:
    """Whether a resource is a Release of the chart of this name, from wherever; where that is not known yet, its own name tells."""
    location = resource.props.get("chart")
    return resource.is_a(RELEASE) and name in (resource.name if location is UNKNOWN else str(location).rpartition("/")[2])
