"""Feast set up so that models read something else than they were trained on, or another store than was filled."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from feast_eks_policies.feature_store_files import (
    LOCAL_STORES,
    connection_parts,
    feature_stores,
    hosts,
    may_mount,
    meant,
    registry_path,
    registry_type,
    store_type,
)
from feast_eks_policies.objects import CHARTS, RELEASE, environment, kind, name, namespace, of_kind, release_values, variable, words
from feast_eks_policies.rule import Context, Finding, Resource, ResourceRule, Rule, StackRule
from feast_eks_policies.values import UNKNOWN, WORKLOADS, containers, get, leaves, pod_specs

SERIALIZATION_VERSION = 3
IN_CLUSTER = (".svc", ".svc.cluster.local")
SCRAPE_ONLY = "kube_cronjob_status_last_schedule_time"
INVENTED_METRICS = re.compile(
    r"feast_feature_server_(latency|request_duration_seconds)\w*|feast_materialization_(last|timestamp)\w*|feast_online_store_\w+|redis_evictions\w*"
)
"""Names that tutorials use and nothing exports."""


def _shared_registry(resource: Resource) -> Iterator[str]:
    for key, document in feature_stores(resource):
        path = registry_path(document)
        if registry_type(document) == "file" or path.startswith("sqlite"):
            yield f"{key}: registry is {'a file' if registry_type(document) == 'file' else 'sqlite'}: every pod has one of its own"
        if store_type(document, "online_store") in LOCAL_STORES:
            yield f"{key}: online_store.type is {store_type(document, 'online_store')}: every pod has one of its own"


def _serialization(resource: Resource) -> Iterator[str]:
    for key, document in feature_stores(resource):
        version = document.get("entity_key_serialization_version")
        if version != SERIALIZATION_VERSION:
            yield f"{key}: entity_key_serialization_version is {version or 'missing'}: keys of one are not found under another"


def _while_materializing(resource: Resource) -> Iterator[str]:
    for key, document in feature_stores(resource):
        if registry_type(document) == "sql" and get(document, "registry", "serve_features_while_materializing") is not True:
            yield f"{key}: registry.serve_features_while_materializing is not true: serving stops for every materialization"


def _transport(resources: list[Resource], context: Context) -> Iterator[Finding]:
    del context
    for config_map in of_kind(resources, "ConfigMap", "Secret"):
        for key, document in feature_stores(config_map):
            encrypted = {
                "registry": bool(re.search(r"sslmode=(verify-full|verify-ca|require)\b", registry_path(document))),
                "online_store": "ssl=true" in [part.lower() for part in connection_parts(document)],
            }
            for place, named in hosts(document):
                for host in dict.fromkeys(meant(named, config_map, resources)):
                    if _is_external(host) and not encrypted[place.partition(".")[0]]:
                        yield config_map, f"{key}: {place} reaches {host} in the clear"


def _is_external(host: str) -> bool:
    """Whether a host is outside the cluster: a full name that is not a Service's. Services are names without dots, or end in .svc."""
    return "." in host and not host.endswith(IN_CLUSTER) and not host.startswith("$")


def stock_server(container: Mapping[str, Any]) -> bool:
    """Whether a container runs Feast's own feature server."""
    said = " ".join(words(container))
    return bool(re.search(r"\bfeast\b[^|;&]*\bserve\b", said)) or ("feast.ui" not in said and "feast.feature_server" in said)


def _hash_seed(resource: Resource) -> Iterator[str]:
    for path, _, spec in pod_specs(resource):
        for within, container in containers(spec):
            seed = variable(container, "PYTHONHASHSEED")
            if stock_server(container) and seed is not UNKNOWN and not str(seed).isdigit():
                yield f"{path}.{within}.env[PYTHONHASHSEED] is {seed or 'missing'}: Feast orders features by hash, each replica its own way"


def _pool(resources: list[Resource], context: Context) -> Iterator[Finding]:
    del context
    for workload in resources:
        for _, _, spec in pod_specs(workload):
            if max((_workers(container) for _, container in containers(spec)), default=1) < 2:  # noqa: PLR2004 - one never forks
                continue
            for config_map in (each for each in of_kind(resources, "ConfigMap") if may_mount(spec, each)):
                for key, document in feature_stores(config_map):
                    recycle = get(document, "registry", "sqlalchemy_config_kwargs", "pool_recycle")
                    if registry_type(document) == "sql" and recycle != 0:
                        yield (
                            config_map,
                            f"{key}: registry.sqlalchemy_config_kwargs.pool_recycle is not 0: forked workers share a connection",
                        )


def _workers(container: Mapping[str, Any]) -> int:
    found = re.search(r"(?:--workers|-w)[ =](\d+)", " ".join(words(container)))
    return int(found[1]) if found else 1


def _resolves(resources: list[Resource], context: Context) -> Iterator[Finding]:
    del context
    names = {name(service) for service in of_kind(resources, "Service")}
    for config_map in of_kind(resources, "ConfigMap"):
        for key, document in feature_stores(config_map):
            for place, host in hosts(document):
                if not _is_known(host, names, resources):
                    yield config_map, f"{key}: {place} names the host {host}, and no Service of this stack is called that"
    for workload in resources:
        for path, _, spec in pod_specs(workload):
            for within, container in containers(spec):
                for setting, definition in environment(container).items():
                    host = get(definition, "value")
                    if setting.endswith("_HOST") and isinstance(host, str) and host and not _is_known(host, names, resources):
                        yield workload, f"{path}.{within}.env[{setting}].value names the host {host}, and no Service is called that"


def _is_known(host: str, services: set[Any], resources: list[Resource]) -> bool:
    """Whether a host is a Service of the stack, one of a chart whose objects are not shown, or outside the cluster."""
    if _is_external(host) or host.startswith(("$", "127.", "[")) or host == "localhost" or UNKNOWN in services:
        return True
    labels = host.split(".svc", maxsplit=1)[0].split(".")
    if len(labels) > 1 and labels[-1] not in {namespace(each) for each in of_kind(resources, "Service", "ConfigMap")}:
        return True  # a Service of another namespace is another stack's
    # A pod's own name comes before its headless Service's: feast-redis-node-0.feast-redis-headless.feast.svc…
    if labels[0] in services or (len(labels) > 1 and labels[1] in services):
        return True
    for chart in resources:
        if chart.is_a(*CHARTS, RELEASE) and not any(kind(child) == "Service" and child.parent == chart.urn for child in resources):
            given = get(release_values(chart), "fullnameOverride", default=get(chart.props, "name", default=chart.name))
            if any(label == given or label.startswith(f"{given}-") for label in labels[:2]):
                return True
    return False


def _alerts(resource: Resource) -> Iterator[str]:
    for path, value in leaves(resource.props.get("spec"), "spec"):
        if path.endswith(".expr") and isinstance(value, str):
            if SCRAPE_ONLY in value:
                yield f"{path} asks when a run was last scheduled: a run that fails every night is scheduled every night"
            if invented := INVENTED_METRICS.search(value):
                yield f"{path} asks for {invented[0]}, which nothing exports: it will never fire"


RULES: tuple[Rule, ...] = (
    ResourceRule(
        name="feast-registry-shared",
        description="All pods read one registry and one online store.",
        harm="integrity",
        severity="critical",
        remedy="registry_type: sql with a PostgreSQL path; online_store.type: redis, or a class that is one",
        types=("kubernetes:*:ConfigMap", "kubernetes:*:Secret"),
        check=_shared_registry,
    ),
    ResourceRule(
        name="feast-serialization-version",
        description="Entity keys are written as they are looked up.",
        harm="integrity",
        severity="critical",
        remedy="entity_key_serialization_version: 3",
        types=("kubernetes:*:ConfigMap", "kubernetes:*:Secret"),
        check=_serialization,
    ),
    ResourceRule(
        name="feast-serves-while-materializing",
        description="Features are served while new ones are written.",
        harm="integrity",
        severity="medium",
        remedy="registry.serve_features_while_materializing: true",
        types=("kubernetes:*:ConfigMap", "kubernetes:*:Secret"),
        check=_while_materializing,
    ),
    StackRule(
        name="external-stores-tls",
        description="Connections to stores outside the cluster are encrypted.",
        harm="encryption",
        severity="high",
        remedy="sslmode=verify-full for PostgreSQL, ssl=true for Redis",
        check=_transport,
    ),
    ResourceRule(
        name="feast-hash-seed-pinned",
        description="All replicas of Feast's own server answer in one order.",
        harm="integrity",
        severity="high",
        remedy="set PYTHONHASHSEED to a number, the same for every pod",
        types=WORKLOADS,
        check=_hash_seed,
    ),
    StackRule(
        name="feast-pool-recycle",
        description="Workers of one server share no database connection.",
        harm="integrity",
        severity="high",
        remedy="registry.sqlalchemy_config_kwargs: {pool_recycle: 0}, or one worker",
        check=_pool,
    ),
    StackRule(
        name="feast-store-hosts-resolve",
        description="Feast's configuration names hosts that exist.",
        harm="integrity",
        severity="high",
        remedy="name the Service as the chart does: feast-postgresql, feast-redis-master (infra/feast_eks/addresses.py)",
        check=_resolves,
    ),
    ResourceRule(
        name="alerts-can-fire",
        description="Alerts ask for what is exported, and see failed runs.",
        harm="integrity",
        severity="high",
        remedy="ask kube_cronjob_status_last_successful_time, and feast_feature_server_request_latency_seconds_bucket",
        types=("kubernetes:monitoring.coreos.com/*:PrometheusRule",),
        check=_alerts,
    ),
)
