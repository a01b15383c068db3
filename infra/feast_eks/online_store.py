"""The online store: Redis, the newest value of every feature."""

from dataclasses import dataclass

import pulumi
import pulumi_kubernetes as kubernetes

from feast_eks import charts
from feast_eks.addresses import MASTER_SET, ONLINE_STORE_NAME, online_store_domain
from feast_eks.identities import ONLINE_STORE_ACL_SECRET, ONLINE_STORE_AUTH_SECRET
from feast_eks.settings import OnlineStoreSettings
from feast_eks.workload import Object, Resources

ACL_DIRECTORY = "/opt/feast/acl"
SENTINEL_MEMORY_MIB = 128
FAILOVER_TIMEOUT_MILLISECONDS = 60_000
"""How long one attempt to make a new master may take before the next; the chart's three minutes are an outage."""

UNUSED_COMMANDS = [
    *("FLUSHDB", "FLUSHALL"),
    *("EVAL", "EVALSHA", "EVAL_RO", "EVALSHA_RO", "SCRIPT", "FUNCTION", "FCALL", "FCALL_RO"),
]
"""Feast needs none of them; scripting is where Redis' worst vulnerabilities were."""


@dataclass(frozen=True, kw_only=True)
class OnlineStoreArgs:
    """`secrets`: what must exist before Redis starts; `domain` is that of its nodes.

    `monitored_from` is the namespace that reads its metrics.
    """

    settings: OnlineStoreSettings
    monitored_from: str | None
    namespace: pulumi.Input[str]
    domain: str
    secrets: list[kubernetes.core.v1.Secret]
    protect: bool


class OnlineStore(pulumi.ComponentResource):
    """The Bitnami Redis chart, standalone or with Sentinel, with one user per identity; nothing where Redis exists already."""

    ready: list[pulumi.Resource]
    """Depend on these to start after Redis answers."""

    def __init__(self, name: str, args: OnlineStoreArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("feast-eks:index:OnlineStore", name, {}, opts)
        self.ready = []
        if args.settings.mode != "external":
            self.ready.append(
                kubernetes.helm.v4.Chart(
                    ONLINE_STORE_NAME,
                    **charts.chart_source(args.settings.chart),
                    namespace=args.namespace,
                    values=online_store_values(args.settings, domain=args.domain, monitored_from=args.monitored_from),
                    # The values name the Secrets, they do not carry them.
                    opts=pulumi.ResourceOptions(parent=self, protect=args.protect, depends_on=args.secrets),
                )
            )
        self.register_outputs({})


def online_store_values(
    settings: OnlineStoreSettings, *, domain: str = online_store_domain("feast"), monitored_from: str | None = None
) -> Object:
    """The values of the chart; `domain` is that of its nodes."""
    node = {
        **charts.node_values(settings),
        "disableCommands": UNUSED_COMMANDS,
        "extraVolumes": [{"name": "acl", "secret": {"secretName": ONLINE_STORE_ACL_SECRET}}],
        "extraVolumeMounts": [{"name": "acl", "mountPath": ACL_DIRECTORY, "readOnly": True}],
        "pdb": {"create": settings.mode == "sentinel"},
    }
    values: Object = {
        "fullnameOverride": ONLINE_STORE_NAME,
        "global": charts.global_values(),
        "commonAnnotations": charts.annotations(),
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
        # Where it may connect to stands in the namespace's own table: each other, and name resolution.
        "networkPolicy": {"enabled": True, "allowExternal": False, "allowExternalEgress": False, **_who_reads_metrics(monitored_from)},
        "metrics": charts.exporter_values(
            settings.exporter_image, monitored=monitored_from is not None, podAnnotations=charts.NOT_BY_ANNOTATION
        ),
    }
    if settings.mode == "standalone":
        return values | {"master": node}
    # The chart's stop hook needs it to hand over before a node goes, and some versions leave it empty.
    environment = {"extraEnvVars": [{"name": "HEADLESS_SERVICE", "value": domain}]}
    return values | {
        # The chart has such a list for each role, and its versions differ in which of them a node reads.
        "master": {"disableCommands": UNUSED_COMMANDS},
        "replica": node
        | environment
        | {"replicaCount": settings.replicas, "podAntiAffinityPreset": "hard" if settings.spread == "required" else "soft"},
        "sentinel": {
            "enabled": True,
            "image": charts.image_values(settings.sentinel_image),
            "masterSet": MASTER_SET,
            "quorum": settings.replicas // 2 + 1,
            "downAfterMilliseconds": settings.failover_after_milliseconds,
            "failoverTimeout": FAILOVER_TIMEOUT_MILLISECONDS,
            # Its view of who is master outlives a restart of all; without it the first node would be, however stale.
            "persistence": {"enabled": True, "size": "1Gi", "storageClass": settings.storage_class or ""},
            "resources": Resources(cpu_millicores=50, memory_mib=SENTINEL_MEMORY_MIB).to_kubernetes(),
            "startupProbe": charts.startup_probe(),
            **environment,
        },
    }


def _who_reads_metrics(namespace: str | None) -> Object:
    if namespace is None:
        return {}
    # Without both, the chart lets everybody in.
    return {"metrics": {"allowExternal": False, "ingressNSMatchLabels": {"kubernetes.io/metadata.name": namespace}}}


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
        # A restarted master takes no write until a replica has its data: five seconds later by default, for other replicas to join in.
        lines += ["min-replicas-to-write 1", "min-replicas-max-lag 10", "repl-diskless-sync-delay 0"]
    return "\n".join(lines)
