"""The Grafana dashboard of one feature store: requests, freshness, and the stores that run in the cluster.

Pure: the same settings give the same bytes.
"""

import hashlib
import json
from dataclasses import dataclass

from feast_eks.addresses import FEATURE_SERVER_NAME
from feast_eks.monitoring.alert import series
from feast_eks.monitoring.alerts import renewed_within_seconds
from feast_eks.monitoring.feature_alerts import LATENCY_SECONDS, REQUEST
from feast_eks.monitoring.scraping import FEATURE_SERVER_JOB, ONLINE_STORE_JOB, REGISTRY_JOBS, SENTINEL_JOB
from feast_eks.scheduled_loads import NAME
from feast_eks.settings import Settings
from feast_eks.workload import Object

DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}
COLUMNS, WIDTH, HEIGHT = 24, 8, 8
SCHEMA_VERSION = 39
"""Grafana 10 and later; later versions migrate it."""


@dataclass(frozen=True, kw_only=True)
class Panel:
    """A graph: what it shows, in which unit (of Grafana), from which expressions, each with the legend of its lines."""

    title: str
    unit: str
    expressions: dict[str, str]
    description: str = ""
    threshold: float | None = None
    """Drawn as a line: where an alert begins."""

    def to_grafana(self, number: int, top: int, left: int) -> Object:
        """The panel at its place."""
        steps: list[Object] = [{"color": "green", "value": None}]
        if self.threshold is not None:
            steps.append({"color": "red", "value": self.threshold})
        style = "off" if self.threshold is None else "line"
        return {
            "id": number,
            "type": "timeseries",
            "title": self.title,
            "description": self.description,
            "datasource": DATASOURCE,
            "gridPos": {"x": left, "y": top, "w": WIDTH, "h": HEIGHT},
            "fieldConfig": {
                "defaults": {
                    "unit": self.unit,
                    "min": 0,
                    "thresholds": {"mode": "absolute", "steps": steps},
                    "custom": {"fillOpacity": 10, "thresholdsStyle": {"mode": style}},
                },
                "overrides": [],
            },
            "options": {"legend": {"displayMode": "list", "placement": "bottom"}, "tooltip": {"mode": "multi"}},
            "targets": [
                {"refId": chr(ord("A") + index), "datasource": DATASOURCE, "expr": expression, "legendFormat": legend}
                for index, (legend, expression) in enumerate(self.expressions.items())
            ],
        }


def dashboard(settings: Settings) -> Object:
    """The dashboard, as Grafana's JSON model."""
    rows = {"Feature server": _server(settings), "Freshness and skew": _freshness(settings)}
    if settings.online_store.mode != "external":
        rows["Online store (Redis)"] = _online_store(settings)
    if settings.registry.mode != "external":
        rows["Registry (PostgreSQL)"] = _registry(settings)
    return {
        # Grafana allows 40 characters; a namespace has up to 63.
        "uid": "feast-" + hashlib.sha256(settings.namespace.encode()).hexdigest()[:12],
        "title": f"Feature store {settings.namespace}",
        "tags": ["feast"],
        "schemaVersion": SCHEMA_VERSION,
        "version": 1,
        "editable": False,
        "refresh": "1m",
        "time": {"from": "now-24h", "to": "now"},
        "timezone": "utc",
        "templating": {"list": [{"name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus"}]},
        "panels": _laid_out(rows),
    }


def dashboard_files(settings: Settings) -> dict[str, str]:
    """The data of the ConfigMap; Grafana's side container lays the files of all namespaces into one directory."""
    return {f"feast-{settings.namespace}.json": json.dumps(dashboard(settings), indent=1, sort_keys=True)}


def _laid_out(rows: dict[str, list[Panel]]) -> list[Object]:
    panels: list[Object] = []
    top = 0
    for title, members in rows.items():
        place = {"x": 0, "y": top, "w": COLUMNS, "h": 1}
        panels.append({"id": len(panels) + 1, "type": "row", "title": title, "collapsed": False, "gridPos": place, "panels": []})
        per_row = COLUMNS // WIDTH
        for index, panel in enumerate(members):
            line, column = divmod(index, per_row)
            panels.append(panel.to_grafana(len(panels) + 1, top + 1 + line * HEIGHT, column * WIDTH))
        top += 1 + HEIGHT * -(-len(members) // per_row)
    return panels


def _server(settings: Settings) -> list[Panel]:
    def server(metric: str, **labels: str) -> str:
        return series(metric, namespace=settings.namespace, job=FEATURE_SERVER_JOB, **labels)

    requests = server("feast_feature_server_request_total", **REQUEST)
    buckets = server("feast_feature_server_request_latency_seconds_bucket", **REQUEST)
    replicas = {"namespace": settings.namespace, "deployment": FEATURE_SERVER_NAME}
    return [
        Panel(
            title="Requests",
            unit="reqps",
            expressions={"{{status}}": f"sum by (status) (rate({requests}[5m]))"},
            description="error: the server's or the online store's fault. refused: the caller's.",
        ),
        Panel(
            title="Latency",
            unit="s",
            expressions={
                f"p{percent}": f"histogram_quantile({percent / 100}, sum by (le) (rate({buckets}[5m])))" for percent in (50, 95, 99)
            },
            description="The fastest bucket ends at a quarter of a millisecond: below that, the line shows no difference.",
            threshold=LATENCY_SECONDS,
        ),
        Panel(
            title="Replicas",
            unit="short",
            expressions={
                "available": series("kube_deployment_status_replicas_available", **replicas),
                "wanted": series("kube_deployment_spec_replicas", **replicas),
            },
            threshold=settings.feature_server.max_replicas,
        ),
        Panel(
            title="Values by status",
            unit="cps",
            expressions={
                "{{feature_view}} {{status}}": f"sum by (feature_view, status) (rate({server('feast_online_features_status_total')}[5m]))"
            },
            description="not_found: the entity is unknown. outside_max_age: older than the view's ttl. Models receive nulls for both.",
        ),
        Panel(
            title="Replicas that reach the online store",
            unit="short",
            expressions={"reach it": f"sum({server('feast_feature_server_online_store_up')})"},
        ),
        Panel(
            title="Contracts served",
            unit="short",
            expressions={"{{feature_service}} {{sha256}}": f"count by (feature_service, sha256) ({server('feast_feature_contract_info')})"},
            description="Replicas by what they serve; two digests of one service only during a roll-out.",
        ),
    ]


def _freshness(settings: Settings) -> list[Panel]:
    threshold = renewed_within_seconds(settings.materialization)

    def server(metric: str) -> str:
        return series(metric, namespace=settings.namespace, job=FEATURE_SERVER_JOB)

    last = series("kube_cronjob_status_last_successful_time", namespace=settings.namespace, cronjob=NAME)
    failed = series("kube_job_failed", namespace=settings.namespace, condition="true")
    owned = series("kube_job_owner", namespace=settings.namespace, owner_kind="CronJob", owner_name=NAME)
    panels = [
        Panel(
            title="Age of the newest value of each view",
            unit="s",
            expressions={"{{feature_view}}": f"max by (feature_view) ({server('feast_feature_data_age_seconds')})"},
            description="Grows while a source does not produce, however often materialization runs.",
        ),
        Panel(
            title="Since the last materialization of each view",
            unit="s",
            expressions={"{{feature_view}}": f"max by (feature_view) ({server('feast_feature_freshness_seconds')})"},
            description="Measures the run, not the data: a run that found no new rows counts.",
            threshold=threshold,
        ),
        Panel(
            title="Since the last successful nightly run", unit="s", expressions={"materialize": f"time() - {last}"}, threshold=threshold
        ),
        Panel(
            title="Failed runs that are still there",
            unit="short",
            expressions={"failed": f"sum(({failed} == 1) and on (namespace, job_name) {owned}) or vector(0)"},
            threshold=1,
        ),
    ]
    if settings.skew_probe.enabled:
        panels.append(
            Panel(
                title="Served values that are not the history's",
                unit="percentunit",
                expressions={"{{feature_service}}": f"max by (feature_service) ({server('feast_feature_skew_ratio')})"},
                description="Of those that the last skew probe compared.",
                threshold=settings.skew_probe.tolerated_ratio,
            )
        )
    return panels


def _online_store(settings: Settings) -> list[Panel]:
    def redis(metric: str, **labels: str) -> str:
        return series(metric, namespace=settings.namespace, job=ONLINE_STORE_JOB, **labels)

    by_pod = "{{pod}}"
    on_master = f"and on (pod) {redis('redis_instance_info', role='master')}"
    panels = [
        Panel(
            title="Memory filled",
            unit="percentunit",
            expressions={by_pod: f"{redis('redis_memory_used_bytes')} / ({redis('redis_memory_max_bytes')} > 0)"},
            threshold=0.8,
        ),
        Panel(
            title="Keys",
            unit="short",
            expressions={
                "all": f"sum({redis('redis_db_keys', db='db0')} {on_master})",
                "expiring one day": f"sum({redis('redis_db_keys_expiring', db='db0')} {on_master})",
            },
            description="One key per entity; every view of the entity lies in it.",
        ),
        Panel(
            title="Keys expired and evicted",
            unit="cps",
            expressions={
                "expired": f"sum(rate({redis('redis_expired_keys_total')}[5m]))",
                "evicted": f"sum(rate({redis('redis_evicted_keys_total')}[5m]))",
            },
            description="Expired: entities that left. Evicted: must be none.",
        ),
        Panel(
            title="Average time until a key expires",
            unit="s",
            expressions={"average": f"{redis('redis_db_avg_ttl_seconds', db='db0')} {on_master}"},
            threshold=renewed_within_seconds(settings.materialization),
        ),
        Panel(
            title="Reads that found a key",
            unit="percentunit",
            expressions={
                "found": f"sum(rate({redis('redis_keyspace_hits_total')}[5m])) / "
                f"(sum(rate({redis('redis_keyspace_hits_total')}[5m])) + sum(rate({redis('redis_keyspace_misses_total')}[5m])))"
            },
        ),
        Panel(title="Connections", unit="short", expressions={by_pod: redis("redis_connected_clients")}),
    ]
    if settings.online_store.mode == "sentinel":
        sentinel = {"namespace": settings.namespace, "job": SENTINEL_JOB}
        panels += [
            Panel(title="Replicas in step", unit="short", expressions={by_pod: redis("redis_connected_slaves")}),
            Panel(
                title="Replication lag",
                unit="s",
                expressions={"{{slave_ip}}": f"max by (slave_ip) ({redis('redis_connected_slave_lag_seconds')})"},
            ),
            Panel(
                title="Sentinels that are well",
                unit="short",
                expressions={by_pod: series("redis_sentinel_master_ok_sentinels", **sentinel)},
            ),
        ]
    return panels


def _registry(settings: Settings) -> list[Panel]:
    replicated = settings.registry.mode == "replication"

    def postgres(metric: str, **labels: str) -> str:
        return series(metric, namespace=settings.namespace, job=f"~{'|'.join(REGISTRY_JOBS[replicated])}", **labels)

    panels = [
        Panel(title="Answers", unit="short", expressions={"{{pod}}": postgres("pg_up")}),
        Panel(title="Connections", unit="short", expressions={"{{pod}}": f"sum by (pod) ({postgres('pg_stat_activity_count')})"}),
        Panel(title="Size", unit="bytes", expressions={"{{datname}}": f"max by (datname) ({postgres('pg_database_size_bytes')})"}),
    ]
    if replicated:
        lag = postgres("pg_stat_replication_pg_wal_lsn_diff")
        panels.append(Panel(title="Replicas behind", unit="bytes", expressions={"{{client_addr}}": f"max by (client_addr) ({lag})"}))
    return panels
