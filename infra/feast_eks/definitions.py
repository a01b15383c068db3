"""Feature definitions: the feature repo as immutable ConfigMaps, and the Jobs that apply it to the registry."""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pulumi
import pulumi_kubernetes as kubernetes

from feast_eks.addresses import registry_address
from feast_eks.identities import (
    APPLY,
    CHECK,
    MATERIALIZE,
    REGISTRY_ADMINISTRATOR_SECRET,
    REGISTRY_AUTH_SECRET,
    REGISTRY_ROLES,
    SERVE,
    Identity,
    from_secret,
)
from feast_eks.jobs import STORE_SECONDS, one_off_job
from feast_eks.refusal import Problem, Refusal
from feast_eks.repo_files import FEASTIGNORE, LOCK_FILE, cut, definition_files
from feast_eks.settings import RegistrySettings
from feast_eks.workload import Container, Object, Resources, Workload, labels

NAME = "feast-apply"
CONFIG_MAP_LIMIT = 1_000_000
"""Bytes; Kubernetes refuses more than 1 MiB, names included."""
MARGIN = 1_000
"""Bytes that are left free beside a part of the contract."""
CONFIG_MAPS = 10
"""As many as the definitions may take: a thousand views of a hundred features."""

WAIVERS_FILE = "waivers.yaml"
"""Breaking changes that somebody answers for, each with a reason and an end."""

DEADLINE_SECONDS = 900
RESOURCES = Resources(cpu_millicores=250, memory_mib=1024)

PATH_SEPARATOR = "__"
"""Stands for "/" in ConfigMap keys, which cannot hold it."""
KEY = re.compile(r"[-._a-zA-Z0-9]{1,253}")


@dataclass(frozen=True, kw_only=True)
class Definitions:
    """The feature repo as it goes to the cluster: path to content, and a name that changes with it."""

    files: dict[str, str]

    @property
    def digest(self) -> str:
        """First 8 hex digits of the digest of all files."""
        return hashlib.sha256(json.dumps(self.files, sort_keys=True).encode()).hexdigest()[:8]

    @property
    def config_maps(self) -> dict[str, dict[str, str]]:
        """The data of each ConfigMap by its name: one, unless that would hold too much.

        A new content is new ConfigMaps, so that running pods keep what they started with.
        """
        keys = self._keys
        return {name: {keys[path]: self.files[path] for path in paths} for name, paths in self._shared_out.items()}

    @property
    def volume(self) -> Object:
        """The volume that lays the files out again."""
        keys = self._keys
        sources = [
            {"configMap": {"name": name, "items": [{"key": keys[path], "path": path} for path in paths]}}
            for name, paths in self._shared_out.items()
        ]
        return sources[0] if len(sources) == 1 else {"projected": {"sources": sources}}

    @property
    def _shared_out(self) -> dict[str, list[str]]:
        """The paths in each ConfigMap, each in the first one that has room for it."""
        paths: list[list[str]] = [[]]
        sizes = [0]
        for path, content in self.files.items():
            size = _size(path, content)
            place = next((number for number, used in enumerate(sizes) if used + size <= CONFIG_MAP_LIMIT), len(sizes))
            if place == len(sizes):
                paths.append([])
                sizes.append(0)
            paths[place].append(path)
            sizes[place] += size
        first = f"feature-definitions-{self.digest}"
        return {first if number == 1 else f"{first}-{number}": some for number, some in enumerate(paths, 1)}

    @property
    def _keys(self) -> dict[str, str]:
        """The key of each path: the path as far as a key can say it, and never that of another one."""
        keys: dict[str, str] = {}
        for path in self.files:
            key = path.replace("/", PATH_SEPARATOR)
            if not KEY.fullmatch(key) or key in keys.values():
                key = f"{re.sub(r'[^-._a-zA-Z0-9]', '_', key)[:200]}-{hashlib.sha256(path.encode()).hexdigest()[:8]}"
            keys[path] = key
        return keys


def read_definitions(feature_repo: Path, feature_store_yaml: str, certificates: Mapping[str, str]) -> Definitions:
    """The Python files, the contract and the waivers of the feature repo, with what the environment adds to them.

    That is its feature_store.yaml, and the certificates by which external stores are known. A contract that is too large for one
    ConfigMap is carried in parts.

    Raises:
        Refusal: a file is no text, or more than ConfigMaps hold; names all.
    """
    beside = [path for name in (LOCK_FILE, WAIVERS_FILE) if (path := feature_repo / name).is_file()]
    files: dict[str, str] = {}
    problems = []
    for path in [*definition_files(feature_repo), *beside]:
        name = path.relative_to(feature_repo).as_posix()
        try:
            # Not as text: the contract holds the digest of the bytes, ends of lines included.
            content = path.read_bytes().decode()
        except UnicodeDecodeError as error:
            problems.append(Problem(path=f"{feature_repo.name}/{name}", value=str(error), rule="text in UTF-8", remedy="save it as UTF-8"))
            continue
        files |= dict(cut(content, CONFIG_MAP_LIMIT - MARGIN)) if name == LOCK_FILE else {name: content}
    files |= {"feature_store.yaml": feature_store_yaml, **certificates}
    problems += [
        Problem(
            path=f"{feature_repo.name}/{name}",
            value=f"{size} bytes",
            rule=f"at most {CONFIG_MAP_LIMIT} bytes in one file, the size of a ConfigMap",
            remedy="give a view fewer features" if name.startswith("contract.lock.") else "divide it into several files",
        )
        for name, content in files.items()
        if (size := _size(name, content)) > CONFIG_MAP_LIMIT
    ]
    definitions = Definitions(files=files)
    if not problems and (count := len(definitions.config_maps)) > CONFIG_MAPS:
        problems.append(
            Problem(
                path=f"{feature_repo.name}/",
                value=f"{sum(_size(name, content) for name, content in files.items())} bytes of definitions, in {count} ConfigMaps",
                rule=f"at most {CONFIG_MAPS} ConfigMaps of {CONFIG_MAP_LIMIT} bytes",
                remedy=f"name in {FEASTIGNORE} what is no definition; else divide the repo into two projects",
            )
        )
    if problems:
        raise Refusal("feature definitions", problems)
    return definitions


def _size(path: str, content: str) -> int:
    return len(path) + len(content.encode())


@dataclass(frozen=True, kw_only=True)
class FeatureDefinitionsArgs:
    """`image` is the runtime's; `after` must be up, and granted, before.

    `environment` is how the Job that applies reaches the stores, `reading_environment` how the gate does, which may only read.
    `margin_seconds` is how long a served value must last: what a shorter ttl is measured by.
    """

    settings: RegistrySettings
    namespace: pulumi.Input[str]
    definitions: Definitions
    image: str
    environment: list[Object]
    reading_environment: list[Object]
    margin_seconds: int
    after: list[pulumi.Resource]


class FeatureDefinitions(pulumi.ComponentResource):
    """The feature repo in the cluster, applied: when this is done, the registry equals the contract.

    Three Jobs, each with one container and with no more rights than its step takes: the registry's roles, the gate, apply. A change
    that would break a model is refused by the gate, before anything but roles is changed: it compares the definitions with the live
    registry by a role that may only read. Everything that runs goes on with the ConfigMaps that it started with.
    """

    # Quoted: evaluating them would import the larger part of the SDK, before the program knows whether it has to.
    config_maps: "list[kubernetes.core.v1.ConfigMap]"
    applied: "kubernetes.batch.v1.Job"

    def __init__(self, name: str, args: FeatureDefinitionsArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("feast-eks:index:FeatureDefinitions", name, {}, opts)
        self.config_maps = [
            kubernetes.core.v1.ConfigMap(
                f"{name}-config-map" if number == 1 else f"{name}-config-map-{number}",
                metadata={"name": config_map_name, "namespace": args.namespace, "labels": labels(NAME)},
                data=data,
                immutable=True,
                opts=pulumi.ResourceOptions(parent=self),
            )
            for number, (config_map_name, data) in enumerate(args.definitions.config_maps.items(), 1)
        ]

        def job(
            step: str, identity: Identity, arguments: list[str], environment: list[Object], after: list[pulumi.Resource]
        ) -> "kubernetes.batch.v1.Job":
            (pods,) = identity.pods
            return one_off_job(
                f"{name}-{step}",
                Workload(
                    name=pods,
                    service_account=identity.name,
                    definitions=args.definitions.volume,
                    client_labels=identity.client_labels,
                    containers=[
                        Container(name=step, image=args.image, args=arguments, environment=environment, resources=RESOURCES).to_kubernetes()
                    ],
                ),
                name=pods,
                namespace=args.namespace,
                deadline_seconds=DEADLINE_SECONDS,
                opts=pulumi.ResourceOptions(parent=self, depends_on=after),
            )

        # The pods name the ConfigMaps and the stores' hosts; no value shows that they come first.
        patience = ["--wait-seconds", str(STORE_SECONDS)]
        roles = job(
            "roles", REGISTRY_ROLES, ["prepare-registry", *patience], _administering(args.settings), [*self.config_maps, *args.after]
        )
        common = [*patience, "--margin-seconds", str(args.margin_seconds)]
        # As text: its last lines are what Pulumi shows.
        compare = ["check", "--against", "registry", "--format", "text", *common]
        checked = job("check", CHECK, compare, args.reading_environment, [roles])
        self.applied = job("apply", APPLY, ["apply", *common], [*args.environment, *_replicas(args.settings)], [checked])
        self.register_outputs({})


def run_digest(definitions: Definitions, image: str) -> str:
    """What was deployed, in eight digits: definitions and image."""
    return hashlib.sha256(f"{definitions.digest} {image}".encode()).hexdigest()[:8]


def _administering(settings: RegistrySettings) -> list[Object]:
    """How the registry's roles are made: where it is, who may make them, and which there shall be."""
    address = registry_address(settings)
    return [
        {"name": "REGISTRY_HOST", "value": address.host},
        {"name": "REGISTRY_PORT", "value": str(address.port)},
        {"name": "REGISTRY_DATABASE", "value": address.database},
        # The names that PostgreSQL's own client library reads.
        *({"name": f"PG{name.upper()}", "value": value} for name, value in address.parameters.items()),
        *_administrator(settings),
        *_role("REGISTRY", APPLY),
        *_role("MATERIALIZE", MATERIALIZE),
        *_role("SERVE", SERVE),
        *_role("CHECK", CHECK),
    ]


def _administrator(settings: RegistrySettings) -> list[Object]:
    if settings.external:
        return [
            from_secret("REGISTRY_ADMIN_USER", REGISTRY_ADMINISTRATOR_SECRET, "username"),
            from_secret("REGISTRY_ADMIN_PASSWORD", REGISTRY_ADMINISTRATOR_SECRET, "password"),
        ]
    return [
        {"name": "REGISTRY_ADMIN_USER", "value": "postgres"},
        from_secret("REGISTRY_ADMIN_PASSWORD", REGISTRY_AUTH_SECRET, "postgres-password"),
    ]


def _replicas(settings: RegistrySettings) -> list[Object]:
    """What must have caught up before anybody reads the new definitions there."""
    replicas = registry_address(settings).replicas
    return [{"name": "REGISTRY_REPLICAS", "value": replicas}] if replicas else []


def _role(prefix: str, identity: Identity) -> list[Object]:
    return [
        {"name": f"{prefix}_USER", "value": identity.registry_role},
        from_secret(f"{prefix}_PASSWORD", identity.secret_name, "registry-password"),
    ]
