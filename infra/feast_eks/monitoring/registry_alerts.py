"""When to call somebody about the registry: PostgreSQL as the chart runs it.

Pure. A managed PostgreSQL outside the cluster has no exporter of ours; whoever runs it watches it.
"""

from feast_eks.monitoring.alert import Alert, series
from feast_eks.monitoring.scraping import REGISTRY_JOBS, REGISTRY_PRIMARY_JOB

LAG_BYTES = 64 * 1024 * 1024
LAG_SECONDS = 60


def registry_alerts(namespace: str, *, replicated: bool) -> list[Alert]:
    """Alerts of any PostgreSQL that the chart runs."""
    job = f"~{'|'.join(REGISTRY_JOBS[replicated])}"
    primary = REGISTRY_PRIMARY_JOB[replicated]

    def postgres(metric: str, **labels: str) -> str:
        return series(metric, namespace=namespace, **({"job": job} | labels))

    return [
        Alert(
            name="FeastRegistryDown",
            severity="critical",
            minutes=2,
            expr=f"{postgres('pg_up')} == 0",
            summary="PostgreSQL does not answer in pod {{ $labels.pod }}.",
            description=(
                "Running feature servers go on answering from memory. Without the primary, or the only one, materialization and "
                "`pulumi up` fail; new servers start only where a read replica answers."
            ),
        ),
        Alert(
            name="FeastRegistryUnseen",
            severity="critical",
            minutes=10,
            expr=f"absent({postgres('pg_up', job=primary)})",
            summary="Prometheus reads no metrics of PostgreSQL.",
            description="No other alert about the registry can fire while this holds.",
        ),
        Alert(
            name="FeastRegistryConnectionsHigh",
            severity="warning",
            minutes=5,
            expr=f"sum by (pod) ({postgres('pg_stat_activity_count')}) / on (pod) {postgres('pg_settings_max_connections')} > 0.8",
            summary="PostgreSQL in {{ $labels.pod }} has {{ $value | humanizePercentage }} of the connections it takes.",
            description="Beyond that new feature servers cannot start: a scale-out makes it worse.",
        ),
    ]


def replication_alerts(namespace: str, *, read_replicas: int) -> list[Alert]:
    """Alerts of PostgreSQL with read replicas."""

    def postgres(metric: str, **labels: str) -> str:
        return series(metric, namespace=namespace, job=f"~{'|'.join(REGISTRY_JOBS[True])}", **labels)

    def primary(metric: str, **labels: str) -> str:
        return series(metric, namespace=namespace, job=REGISTRY_PRIMARY_JOB[True], **labels)

    lag = primary("pg_stat_replication_pg_wal_lsn_diff")
    return [
        Alert(
            name="FeastRegistryReplicaMissing",
            severity="warning",
            minutes=5,
            expr=f"(count({primary('pg_stat_replication_pg_wal_lsn_diff', state='streaming')}) or vector(0)) < {read_replicas}",
            summary=f"{{{{ $value }}}} of {read_replicas} read replicas of PostgreSQL follow the primary.",
            description="Feature servers that read from a replica which does not follow serve old definitions.",
        ),
        Alert(
            name="FeastRegistryReplicationLag",
            severity="warning",
            minutes=5,
            expr=f"max by (application_name, client_addr) ({lag}) > {LAG_BYTES}",
            summary="The PostgreSQL replica {{ $labels.client_addr }} is {{ $value | humanize1024 }}B behind the primary.",
            description="A replica that falls behind by more than the primary keeps must be cloned again.",
        ),
        Alert(
            name="FeastRegistryReplicationDelay",
            severity="warning",
            minutes=5,
            # An idle primary lets the seconds grow, so they count only when there are bytes to catch up with.
            expr=(
                f"{postgres('pg_replication_lag_seconds')} > {LAG_SECONDS} "
                f"and on (namespace, pod) {postgres('pg_replication_is_replica')} == 1 "
                f"and on (namespace) max by (namespace) ({lag}) > 1e6"
            ),
            summary="The PostgreSQL replica in {{ $labels.pod }} is {{ $value | humanizeDuration }} behind the primary.",
            description="What `feast apply` wrote is seen that much later.",
        ),
        Alert(
            name="FeastRegistryTwoPrimaries",
            severity="critical",
            minutes=1,
            expr=f"count({postgres('pg_replication_is_replica')} == 0) > 1",
            summary="{{ $value }} PostgreSQL servers take writes.",
            description="A replica was promoted while the primary lives. What is written to one is unknown to the other.",
        ),
    ]
