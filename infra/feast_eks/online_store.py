"""The online store: Redis, the newest value of every feature."""

from dataclasses import dataclass

import pulumi
import pulumi_kubernetes as kubernetes

from feast_eks import charts
from feast_eks.addresses import MASTER_SET, ONLINE_STORE_NAME
from feast_eks.identities import ONLINE_STORE_ACL_SECRET, ONLINE_STORE_AUTH_SECRET
from feast_eks.settings import OnlineStoreSettings
from feast_eks.workload import Object, Resources

ACL_DIRECTORY = "/opt/feast/acl"
SENTINEL_MEMORY_MIB = 128
FAILOVER_AFTER_MILLISECONDS = 2000
"""How long a silent master is waited for. The chart's 60,000 would be an outage of a minute."""

UNUSED_COMMANDS = [
    *("FLUSHDB", "FLUSHALL"),
    *("EVAL", "EVALSHA", "EVAL_RO", "EVALSHA_RO", "SCRIPT", "FUNCTION", "FCALL", "FCALL_RO"),
]
"""Feast needs none of them; scripting is where Redis' worst vulnerabilities were."""


@dataclass(frozen=True, kw_only=True)
class OnlineStoreArgs:
    """`secrets`: what must exist before Redis starts."""

    settings: OnlineStoreSettings
    namespace: pulumi.Input[str]
    secrets: list[kubernetes.core.v1.Secret]
    protect: bool


class OnlineStore(pulumi.ComponentResource):
    """The Bitnami Redis chart, standalone or with Sentinel, with one user per identity."""

    ready: pulumi.Resource
    """Depend on it to start after Redis answers."""

    def __init__(self, name: str, args: OnlineStoreArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("feast-eks:index:OnlineStore", name, {}, opts)
        self.ready = kubernetes.helm.v4.Chart(
            ONLINE_STORE_NAME,
            **charts.chart_source(args.settings.chart),
            namespace=args.namespace,
            values=online_store_values(args.settings),
            # The values name the Secrets, they do not carry them.
            opts=pulumi.ResourceOptions(parent=self, protect=args.protect, depends_on=args.secrets),
        )
        self.register_outputs({})


def online_store_values(settings: OnlineStoreSettings) -> Object:
    """The values of the chart."""
    resources = Resources(cpu_millicores=settings.cpu_millicores, memory_mib=settings.memory_mib)
    node = {
        **charts.node_values(resources=resources, storage_gib=settings.storage_gib, storage_class=settings.storage_class),
        "disableCommands": UNUSED_COMMANDS,
        "extraVolumes": [{"name": "acl", "secret": {"secretName": ONLINE_STORE_ACL_SECRET}}],
        "extraVolumeMounts": [{"name": "acl", "mountPath": ACL_DIRECTORY, "readOnly": True}],
        "pdb": {"create": settings.mode == "sentinel"},
    }
    values: Object = {
        "fullnameOverride": ONLINE_STORE_NAME,
        "global": charts.global_values(),
        "image": charts.image_values(settings.image),
        "architecture": "standalone" if settings.mode == "standalone" else "replication",
        # Sentinels ask no password: Feast's connection string has room for one option of theirs only. Only our pods reach them.
        "auth": {
            "enabled": True,
            "sentinel": False,
            "existingSecret": ONLINE_STORE_AUTH_SECRET,
            "existingSecretPasswordKey": "redis-password",
        },
        "commonConfiguration": redis_configuration(settings),
        "networkPolicy": {"enabled": True, "allowExternal": False, "allowExternalEgress": True},
        "metrics": {"enabled": False},
    }
    if settings.mode == "standalone":
        return values | {"master": node}
    return values | {
        "replica": node | {"replicaCount": settings.replicas, "podAntiAffinityPreset": "hard"},
        "sentinel": {
            "enabled": True,
            "masterSet": MASTER_SET,
            "quorum": settings.replicas // 2 + 1,
            "downAfterMilliseconds": FAILOVER_AFTER_MILLISECONDS,
            "persistence": {"enabled": True, "size": "1Gi", "storageClass": settings.storage_class or ""},
            "resources": Resources(cpu_millicores=50, memory_mib=SENTINEL_MEMORY_MIB).to_kubernetes(),
        },
    }


def redis_configuration(settings: OnlineStoreSettings) -> str:
    """redis.conf; it replaces the chart's own, so that what matters of it is repeated."""
    # 60 %: rewriting the append-only file copies pages, and replicas have buffers.
    maxmemory = settings.memory_mib * 6 // 10
    lines = [
        "appendonly yes",
        "appendfsync everysec",
        'save ""',
        f"maxmemory {maxmemory}mb",
        # Keys have no usable order of importance: a full store must fail its writer loudly, not forget entities.
        "maxmemory-policy noeviction",
        f"aclfile {ACL_DIRECTORY}/users.acl",
    ]
    if settings.mode == "sentinel":
        lines += ["min-replicas-to-write 1", "min-replicas-max-lag 10"]
    return "\n".join(lines)
