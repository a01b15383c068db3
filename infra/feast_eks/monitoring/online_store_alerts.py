"""When to call somebody about the online store: Redis as the chart runs it.

Pure. A managed Redis outside the cluster has no exporter of ours; whoever runs it watches it.
"""

from feast_eks.addresses import FEATURE_SERVER_NAME, MASTER_SET
from feast_eks.monitoring.alert import Alert, newly_counted, series
from feast_eks.monitoring.scraping import ONLINE_STORE_JOB, SENTINEL_JOB

MEMORY_WARNING = 0.80
MEMORY_CRITICAL = 0.92
REPLICATION_LAG_SECONDS = 10


def online_store_alerts(namespace: str, *, renewed_within_seconds: int) -> list[Alert]:
    """Alerts of any Redis that the chart runs.

    `renewed_within_seconds` is the longest time between two ends of materialization: whatever expires earlier is lost.
    """

    def redis(metric: str, **labels: str) -> str:
        return series(metric, namespace=namespace, job=ONLINE_STORE_JOB, **labels)

    on_master = f"and on (pod) {redis('redis_instance_info', role='master')}"
    used = f"{redis('redis_memory_used_bytes')} / ({redis('redis_memory_max_bytes')} > 0)"
    keys = f"sum({redis('redis_db_keys', db='db0')} {on_master})"
    serving = f"sum({series('kube_deployment_status_replicas_available', namespace=namespace, deployment=FEATURE_SERVER_NAME)}) > 0"
    return [
        Alert(
            name="FeastOnlineStoreDown",
            severity="critical",
            minutes=2,
            expr=f"{redis('redis_up')} == 0",
            summary="Redis does not answer in pod {{ $labels.pod }}.",
            description="Where this is the only Redis, or the master, every request for features fails.",
        ),
        Alert(
            name="FeastOnlineStoreUnseen",
            severity="critical",
            minutes=10,
            expr=f"absent({redis('redis_up')})",
            summary="Prometheus reads no metrics of Redis.",
            description="No other alert about the online store can fire while this holds.",
        ),
        Alert(
            name="FeastOnlineStoreMemoryHigh",
            severity="warning",
            minutes=10,
            expr=f"{used} > {MEMORY_WARNING:.2f}",
            summary="Redis in {{ $labels.pod }} has filled {{ $value | humanizePercentage }} of its memory.",
            description="When it is full, Redis refuses writes: materialization fails, and values stay as they are.",
        ),
        Alert(
            name="FeastOnlineStoreMemoryFull",
            severity="critical",
            minutes=2,
            expr=f"{used} > {MEMORY_CRITICAL:.2f}",
            summary="Redis in {{ $labels.pod }} has filled {{ $value | humanizePercentage }} of its memory.",
            description="The next materialization will probably be refused.",
        ),
        Alert(
            name="FeastOnlineStoreMemoryForecast",
            severity="warning",
            minutes=60,
            expr=f"predict_linear({redis('redis_memory_used_bytes')}[6h], 86400) > ({redis('redis_memory_max_bytes')} > 0)",
            summary="Redis in {{ $labels.pod }} will be full within a day if it goes on filling as it does.",
            description="More entities or views were added than the online store was sized for.",
        ),
        Alert(
            name="FeastOnlineStoreKeysEvicted",
            severity="critical",
            minutes=0,
            expr=f"increase({redis('redis_evicted_keys_total')}[10m]) > 0",
            summary="Redis in {{ $labels.pod }} evicts keys.",
            description="Models receive nulls for the evicted entities. It is configured never to evict: somebody changed that.",
        ),
        Alert(
            name="FeastOnlineStoreWritesRefused",
            severity="critical",
            minutes=0,
            expr=newly_counted(redis("redis_errors_total", err="~OOM|NOREPLICAS"), "15m"),
            summary="Redis in {{ $labels.pod }} refuses writes ({{ $labels.err }}).",
            description="OOM: its memory is full. NOREPLICAS: the master has no replica in step. Values stay as they are.",
        ),
        Alert(
            name="FeastOnlineStoreEmpty",
            severity="critical",
            minutes=10,
            expr=f"{keys} == 0 and on () {serving}",
            summary="Redis holds no key, while features are being served.",
            description="Every answer is null.",
        ),
        Alert(
            name="FeastOnlineStoreKeysVanished",
            severity="critical",
            minutes=15,
            expr=f"{keys} < 0.8 * max_over_time({keys}[24h:10m])",
            summary="Redis holds {{ $value }} keys, a fifth less than within the last day.",
            description="Models receive nulls for entities that had values: they expired, were deleted, or Redis lost its data.",
        ),
        Alert(
            name="FeastOnlineStoreKeysExpireSoon",
            severity="critical",
            minutes=30,
            expr=f"(({redis('redis_db_avg_ttl_seconds', db='db0')} {on_master}) > 0) < {renewed_within_seconds}",
            summary="Keys in Redis expire in {{ $value | humanizeDuration }} on average, before another materialization can renew them.",
            description="Materialization has not renewed them for days. When they are gone, models receive nulls.",
        ),
        Alert(
            name="FeastOnlineStoreConnectionsRefused",
            severity="critical",
            minutes=0,
            expr=f"increase({redis('redis_rejected_connections_total')}[5m]) > 0",
            summary="Redis in {{ $labels.pod }} refuses connections: it has as many as it takes.",
            description="Some requests for features fail.",
        ),
        Alert(
            name="FeastOnlineStoreConnectionsHigh",
            severity="warning",
            minutes=5,
            expr=f"{redis('redis_connected_clients')} / {redis('redis_config_maxclients')} > 0.8",
            summary="Redis in {{ $labels.pod }} has {{ $value | humanizePercentage }} of the connections it takes.",
            description="Beyond that it refuses connections, and requests for features fail.",
        ),
        Alert(
            name="FeastOnlineStoreNotDurable",
            severity="critical",
            minutes=5,
            expr=f"{redis('redis_aof_last_write_status')} == 0",
            summary="Redis in {{ $labels.pod }} could not write its append-only file.",
            description="What it holds would not survive a restart, and it refuses writes. Its volume may be full.",
        ),
    ]


def sentinel_alerts(namespace: str, *, replicas: int) -> list[Alert]:
    """Alerts of Redis with Sentinel: one master, replicas in step, Sentinels that agree. `replicas` counts the nodes."""

    def redis(metric: str, **labels: str) -> str:
        return series(metric, namespace=namespace, job=ONLINE_STORE_JOB, **labels)

    def sentinel(metric: str) -> str:
        return series(metric, namespace=namespace, job=SENTINEL_JOB, master_name=MASTER_SET)

    master = redis("redis_instance_info", role="master")
    followers = replicas - 1
    return [
        Alert(
            name="FeastOnlineStoreMasterNotOne",
            severity="critical",
            minutes=2,
            expr=f"(count({master}) or vector(0)) != 1",
            summary="Redis has {{ $value }} masters.",
            description="With none, nothing can be read or written. With two, writes to one of them will be lost.",
        ),
        Alert(
            name="FeastOnlineStoreReplicasMissing",
            severity="warning",
            minutes=5,
            expr=f"max({redis('redis_connected_slaves')} and on (pod) {master}) < {followers}",
            summary=f"The master of Redis has {{{{ $value }}}} of {followers} replicas.",
            description="A failover has fewer nodes to choose from; without any replica in step, the master refuses writes.",
        ),
        Alert(
            name="FeastOnlineStoreReplicaLinkDown",
            severity="warning",
            minutes=2,
            expr=f"{redis('redis_master_link_up')} == 0",
            summary="The Redis replica in {{ $labels.pod }} does not reach its master.",
            description="It falls behind, and must not become master.",
        ),
        Alert(
            name="FeastOnlineStoreReplicationLag",
            severity="warning",
            minutes=2,
            expr=f"max by (slave_ip) ({redis('redis_connected_slave_lag_seconds')}) > {REPLICATION_LAG_SECONDS}",
            summary="The Redis replica {{ $labels.slave_ip }} is {{ $value | humanizeDuration }} behind its master.",
            description="A failover to it would lose that much. A master whose replicas are all this late refuses writes.",
        ),
        Alert(
            name="FeastSentinelQuorumLost",
            severity="critical",
            minutes=1,
            expr=f"min({sentinel('redis_sentinel_master_ckquorum_status')}) == 0",
            summary="The Sentinels of Redis have no majority.",
            description="If the master dies now, nobody takes over.",
        ),
        Alert(
            name="FeastSentinelsDisagree",
            severity="critical",
            minutes=2,
            expr=f"count(count by (master_address) ({sentinel('redis_sentinel_master_status')})) > 1",
            summary="The Sentinels of Redis name {{ $value }} different masters.",
            description="Feature servers and materialization may use different masters: written values are not served, and may be lost.",
        ),
        Alert(
            name="FeastSentinelsMissing",
            severity="warning",
            minutes=5,
            expr=f"max({sentinel('redis_sentinel_master_ok_sentinels')}) < {replicas}",
            summary=f"{{{{ $value }}}} of {replicas} Sentinels of Redis are well.",
            description="With half of them gone, a dead master is not replaced.",
        ),
        Alert(
            name="FeastSentinelsUnseen",
            severity="warning",
            minutes=10,
            expr=f"absent({sentinel('redis_sentinel_master_status')})",
            summary="Prometheus reads no metrics of the Sentinels.",
            description="No other alert about them can fire while this holds.",
        ),
        Alert(
            name="FeastOnlineStoreFailedOver",
            severity="info",
            minutes=0,
            expr=(
                f"count by (master_name) (count by (master_name, master_address) "
                f"(count_over_time({sentinel('redis_sentinel_master_status')}[10m]))) > 1"
            ),
            summary="Redis changed its master within ten minutes.",
            description="Requests failed for some seconds; writes of the last second before may be lost, and come with the next run.",
        ),
    ]
