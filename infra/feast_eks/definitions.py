"""Feature definitions: the feature repo as an immutable ConfigMap, and the Jobs that apply it to the registry."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pulumi
import pulumi_kubernetes as kubernetes

from feast_eks.addresses import registry_address
from feast_eks.contract import LOCK_FILE
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
from feast_eks.settings import RegistrySettings
from feast_eks.workload import Container, Object, Resources, Workload, labels

NAME = "feast-apply"
CONFIG_MAP_LIMIT = 1_000_000
"""Bytes; Kubernetes refuses more than 1 MiB, names included."""

WAIVERS_FILE = "waivers.yaml"
"""Breaking changes that somebody answers for, each with a reason and an end."""

DEADLINE_SECONDS = 900
RESOURCES = Resources(cpu_millicores=250, memory_mib=1024)

PATH_SEPARATOR = "__"
"""Stands for "/" in ConfigMap keys, which cannot hold it."""


@dataclass(frozen=True, kw_only=True)
class Definitions:
    """The feature repo as it goes to the cluster: path to content, and a name that changes with it."""

    files: dict[str, str]

    @property
    def digest(self) -> str:
        """First 8 hex digits of the digest of all files."""
        return hashlib.sha256(json.dumps(self.files, sort_keys=True).encode()).hexdigest()[:8]

    @property
    def config_map_name(self) -> str:
        """The ConfigMap; a new content is a new ConfigMap, so that running pods keep what they started with."""
        return f"feature-definitions-{self.digest}"

    @property
    def data(self) -> dict[str, str]:
        """The ConfigMap's data."""
        return {path.replace("/", PATH_SEPARATOR): content for path, content in self.files.items()}

    @property
    def volume(self) -> Object:
        """The volume source that lays the files out again."""
        return {
            "name": self.config_map_name,
            "items": [{"key": path.replace("/", PATH_SEPARATOR), "path": path} for path in self.files],
        }


def read_definitions(feature_repo: Path, feature_store_yaml: str, certificates: Mapping[str, str]) -> Definitions:
    """The Python files, the contract and the waivers of the feature repo, with what the environment adds to them.

    That is its feature_store.yaml, and the certificates by which external stores are known.

    Raises:
        Refusal: more than a ConfigMap holds.
    """
    paths = [path for path in sorted(feature_repo.rglob("*.py")) if "__pycache__" not in path.parts]
    beside = [path for name in (LOCK_FILE, WAIVERS_FILE) if (path := feature_repo / name).is_file()]
    files = {path.relative_to(feature_repo).as_posix(): path.read_text() for path in [*paths, *beside]}
    files |= {"feature_store.yaml": feature_store_yaml, **certificates}
    if (size := sum(len(path) + len(content.encode()) for path, content in files.items())) > CONFIG_MAP_LIMIT:
        problem = Problem(
            path=f"{feature_repo.name}/",
            value=f"{size} bytes of definitions",
            rule=f"at most {CONFIG_MAP_LIMIT} bytes, the size of a ConfigMap",
            remedy="keep data and notebooks out of the feature repo's Python files",
        )
        raise Refusal("feature definitions", [problem])
    return Definitions(files=files)


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
    registry by a role that may only read. Everything that runs goes on with the ConfigMap that it started with.
    """

    # Quoted: evaluating them would import the larger part of the SDK, before the program knows whether it has to.
    config_map: "kubernetes.core.v1.ConfigMap"
    applied: "kubernetes.batch.v1.Job"

    def __init__(self, name: str, args: FeatureDefinitionsArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("feast-eks:index:FeatureDefinitions", name, {}, opts)
        self.config_map = kubernetes.core.v1.ConfigMap(
            f"{name}-config-map",
            metadata={"name": args.definitions.config_map_name, "namespace": args.namespace, "labels": labels(NAME)},
            data=args.definitions.data,
            immutable=True,
            opts=pulumi.ResourceOptions(parent=self),
        )

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

        # The pods name the ConfigMap and the stores' hosts; no value shows that they come first.
        patience = ["--wait-seconds", str(STORE_SECONDS)]
        roles = job("roles", REGISTRY_ROLES, ["prepare-registry", *patience], _administering(args.settings), [self.config_map, *args.after])
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
