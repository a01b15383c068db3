"""Which alerts an environment has: those whose series exist in its modes, with thresholds from its schedules and its contract.

Pure. An alert on series that nobody exports would never fire, or always.
"""

from feast_eks.addresses import ONLINE_STORE_NAME, REGISTRY_NAME
from feast_eks.contract import Contract
from feast_eks.monitoring.alert import Alert, group
from feast_eks.monitoring.feature_alerts import materialization_alerts, pod_alerts, server_alerts, skew_probe_alerts
from feast_eks.monitoring.online_store_alerts import online_store_alerts, sentinel_alerts
from feast_eks.monitoring.registry_alerts import registry_alerts, replication_alerts
from feast_eks.monitoring.value_alerts import skew_alerts, skewed, value_alerts
from feast_eks.scheduled_loads import scheduled_loads
from feast_eks.settings import MaterializationSettings, Settings, SkewProbeSettings, longest_gap
from feast_eks.workload import Object


def alerts(settings: Settings, contract: Contract) -> dict[str, list[Alert]]:
    """Group name to its alerts."""
    namespace = settings.namespace
    online_store, registry = settings.online_store, settings.registry
    renewed = renewed_within_seconds(settings.materialization)
    loads = scheduled_loads(settings.materialization, contract)
    apart = {view: renewed_within_seconds(settings.materialization.apart(schedule)) for view, schedule in contract.schedules.items()}
    groups = {
        "feast-server": server_alerts(namespace),
        "feast-values": value_alerts(namespace, renewed_within_seconds=renewed, apart=apart, data_age_bounds=contract.freshness_seconds),
        "feast-materialization": [
            alert
            for load in loads
            for alert in materialization_alerts(namespace, cron_job=load.name, renewed_within_seconds=renewed_within_seconds(load.settings))
        ],
    }
    if settings.skew_probe.enabled:
        tolerated, probed = settings.skew_probe.tolerated_ratio, renewed_within_seconds(settings.skew_probe)
        found = skewed(namespace, tolerated_ratio=tolerated)
        groups["feast-skew"] = [
            *skew_alerts(namespace, tolerated_ratio=tolerated),
            *skew_probe_alerts(namespace, probed_within_seconds=probed, skewed=found),
        ]
    if online_store.mode != "external":
        groups["feast-online-store"] = online_store_alerts(
            namespace, renewed_within_seconds=max(renewed_within_seconds(load.settings) for load in loads)
        )
    if online_store.mode == "sentinel":
        groups["feast-sentinel"] = sentinel_alerts(namespace, replicas=online_store.replicas)
    if registry.mode != "external":
        groups["feast-registry"] = registry_alerts(namespace, replicated=registry.mode == "replication")
    if registry.mode == "replication":
        groups["feast-registry-replication"] = replication_alerts(namespace, read_replicas=registry.read_replicas)
    stores = {
        f"{ONLINE_STORE_NAME}-master": ("redis-data", online_store.mode == "standalone"),
        f"{ONLINE_STORE_NAME}-node": ("redis-data", online_store.mode == "sentinel"),
        REGISTRY_NAME: ("data", registry.mode == "standalone"),
        f"{REGISTRY_NAME}-primary": ("data", registry.mode == "replication"),
        f"{REGISTRY_NAME}-read": ("data", registry.mode == "replication"),
    }
    running = {name: volume for name, (volume, exists) in stores.items() if exists}
    groups["feast-pods"] = pod_alerts(
        namespace, volumes=[f"{volume}-{name}" for name, volume in running.items()], stateful_sets=list(running)
    )
    return groups


def renewed_within_seconds(settings: MaterializationSettings | SkewProbeSettings) -> int:
    """The longest time between the ends of two runs that both went well: the schedule's longest gap, and one deadline."""
    return int(longest_gap(settings.schedule).total_seconds()) + settings.deadline_minutes * 60


def rule_groups(settings: Settings, contract: Contract) -> list[Object]:
    """The groups of the PrometheusRule."""
    return [group(name, members, settings.monitoring.runbook_url) for name, members in alerts(settings, contract).items()]
