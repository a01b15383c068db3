"""The registry: PostgreSQL, where Feast keeps entities, views and services."""

from dataclasses import dataclass

import pulumi
import pulumi_kubernetes as kubernetes

from feast_eks import charts
from feast_eks.addresses import REGISTRY_DATABASE, REGISTRY_NAME, REGISTRY_PORT
from feast_eks.identities import APPLY, REGISTRY_AUTH_SECRET, REGISTRY_CLIENT_LABEL
from feast_eks.settings import RegistrySettings
from feast_eks.workload import Object, Resources


@dataclass(frozen=True, kw_only=True)
class RegistryArgs:
    """`secrets`: what must exist before PostgreSQL starts for the first time."""

    settings: RegistrySettings
    namespace: pulumi.Input[str]
    secrets: list[kubernetes.core.v1.Secret]
    protect: bool


class Registry(pulumi.ComponentResource):
    """The Bitnami PostgreSQL chart, standalone."""

    ready: pulumi.Resource
    """Depend on it to start after PostgreSQL answers."""

    def __init__(self, name: str, args: RegistryArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("feast-eks:index:Registry", name, {}, opts)
        self.ready = kubernetes.helm.v4.Chart(
            REGISTRY_NAME,
            **charts.chart_source(args.settings.chart),
            namespace=args.namespace,
            values=registry_values(args.settings),
            # The values name the Secrets, they do not carry them.
            opts=pulumi.ResourceOptions(parent=self, protect=args.protect, depends_on=args.secrets),
        )
        self.register_outputs({})


def registry_values(settings: RegistrySettings) -> Object:
    """The values of the chart."""
    resources = Resources(cpu_millicores=settings.cpu_millicores, memory_mib=settings.memory_mib)
    return {
        "fullnameOverride": REGISTRY_NAME,
        "global": charts.global_values(),
        "image": charts.image_values(settings.image),
        "architecture": "standalone",
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
        "primary": {
            **charts.node_values(resources=resources, storage_gib=settings.storage_gib, storage_class=settings.storage_class),
            # One primary: a disruption budget could only block drains, or do nothing.
            "pdb": {"create": False},
            "networkPolicy": {
                "enabled": True,
                "allowExternal": False,
                "extraIngress": [{"ports": [{"port": REGISTRY_PORT}], "from": [{"podSelector": {"matchLabels": REGISTRY_CLIENT_LABEL}}]}],
            },
        },
        "metrics": {"enabled": False},
    }
