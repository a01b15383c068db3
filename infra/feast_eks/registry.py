"""The registry: PostgreSQL, where Feast keeps entities, views and services."""

from dataclasses import dataclass

import pulumi
import pulumi_kubernetes as kubernetes

from feast_eks import charts
from feast_eks.addresses import REGISTRY_DATABASE, REGISTRY_NAME, REGISTRY_PORT
from feast_eks.identities import APPLY, REGISTRY_AUTH_SECRET, REGISTRY_CLIENT_LABEL, sha256_hex
from feast_eks.settings import RegistrySettings
from feast_eks.workload import Object

MOST_WAL_MB = 2048
"""How far a replica may fall behind and still catch up; of a small volume it is a tenth.

One that fell further stays behind until its claim and its pod are deleted (docs/operations.md), and is then cloned.
"""

READ_REPLICA_CONFIGURATION = "hot_standby_feedback = on"
"""A long read on a replica is not cancelled because the primary cleaned up."""


@dataclass(frozen=True, kw_only=True)
class RegistryArgs:
    """`secrets`: what must exist before PostgreSQL starts for the first time."""

    settings: RegistrySettings
    monitored: bool
    namespace: pulumi.Input[str]
    secrets: list[kubernetes.core.v1.Secret]
    protect: bool


class Registry(pulumi.ComponentResource):
    """The Bitnami PostgreSQL chart, standalone or with read replicas; nothing where the database exists already."""

    ready: list[pulumi.Resource]
    """Depend on these to start after PostgreSQL answers."""

    def __init__(self, name: str, args: RegistryArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("feast-eks:index:Registry", name, {}, opts)
        self.ready = []
        if args.settings.mode != "external":
            self.ready.append(
                kubernetes.helm.v4.Chart(
                    REGISTRY_NAME,
                    **charts.chart_source(args.settings.chart),
                    namespace=args.namespace,
                    values=registry_values(args.settings, monitored=args.monitored),
                    # The values name the Secrets, they do not carry them.
                    opts=pulumi.ResourceOptions(parent=self, protect=args.protect, depends_on=args.secrets),
                )
            )
        self.register_outputs({})


def registry_values(settings: RegistrySettings, *, monitored: bool = False) -> Object:
    """The values of the chart."""
    node = {**charts.node_values(settings), "networkPolicy": _network_policy()}
    values: Object = {
        "fullnameOverride": REGISTRY_NAME,
        "global": charts.global_values(),
        "commonAnnotations": charts.annotations(),
        "image": charts.image_values(settings.image),
        "architecture": settings.mode,
        "auth": {
            "enablePostgresUser": True,
            "username": APPLY.registry_role,
            "database": REGISTRY_DATABASE,
            "existingSecret": REGISTRY_AUTH_SECRET,
            "secretKeys": {
                "adminPasswordKey": "postgres-password",
                "userPasswordKey": "password",
                "replicationPasswordKey": "replication-password",
            },
        },
        # One primary: a disruption budget could only block drains, or do nothing.
        "primary": {**node, "pdb": {"create": False}},
        "metrics": charts.exporter_values(settings.exporter_image, monitored=monitored, service={"annotations": charts.NOT_BY_ANNOTATION}),
    }
    if settings.mode == "standalone":
        return values
    values["auth"]["replicationUsername"] = "feast_replication"
    values["primary"] |= {"affinity": _apart(settings), "extendedConfiguration": f"wal_keep_size = {wal_keep_mb(settings)}MB"}
    return values | {
        "readReplicas": {
            **node,
            "replicaCount": settings.read_replicas,
            "pdb": {"create": settings.read_replicas > 1},
            "affinity": _apart(settings),
            "extendedConfiguration": READ_REPLICA_CONFIGURATION,
            # The chart restarts the replicas when the primary's configuration changes, not when theirs does.
            "podAnnotations": {"checksum/read-replica-configuration": sha256_hex(READ_REPLICA_CONFIGURATION)},
        }
    }


def wal_keep_mb(settings: RegistrySettings) -> int:
    """How much of its log the primary keeps for replicas that were away, MB."""
    return min(MOST_WAL_MB, settings.storage_gib * 1024 // 10)


def _network_policy() -> Object:
    clients = {"ports": [{"port": REGISTRY_PORT}], "from": [{"podSelector": {"matchLabels": REGISTRY_CLIENT_LABEL}}]}
    # Where it may connect to stands in the namespace's own table: each other, and name resolution.
    return {"enabled": True, "allowExternal": False, "allowExternalEgress": False, "extraIngress": [clients]}


def _apart(settings: RegistrySettings) -> Object:
    """No two nodes on one machine. The chart's own preset separates pods of the same component, not primary and replica."""
    selector = {"matchLabels": {"app.kubernetes.io/name": "postgresql", "app.kubernetes.io/instance": REGISTRY_NAME}}
    term = {"topologyKey": "kubernetes.io/hostname", "labelSelector": selector}
    if settings.spread == "preferred":
        return {"podAntiAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 1, "podAffinityTerm": term}]}}
    return {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}
