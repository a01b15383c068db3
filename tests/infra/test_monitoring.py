"""Alerts that can fire, a dashboard that shows something, and a runbook for each alert."""

import ast
import dataclasses
import json
import os
import re

import pulumi
import pytest
import yaml

from feast_eks.monitoring import Monitoring, MonitoringArgs
from feast_eks.monitoring.alerts import alerts, renewed_within_seconds, rule_groups
from feast_eks.monitoring.dashboard import dashboard, dashboard_files
from feast_eks.monitoring.feature_alerts import SKEW_PROBE_NAME
from feast_eks.monitoring.scraping import service_monitors
from feast_eks.monitoring.value_alerts import value_alerts
from feast_eks.scheduled_loads import NAME
from feast_eks.settings import MaterializationSettings, MonitoringSettings, parse_settings
from feast_eks.workload import labels
from feature_runtime.serving.metrics import Metrics, ServingState
from tests.infra.engine import PROJECT, Engine, run_program, stack_config
from tests.infra.modes import CONTRACT

DAY = 24 * 3600
GOLDEN = PROJECT / "tests" / "infra" / "golden"
RUNBOOK = PROJECT / "docs" / "operations.md"

STANDALONE = {}
HIGHLY_AVAILABLE = {"online_store": {"mode": "sentinel", "replicas": 3}, "registry": {"mode": "replication"}}
EXTERNAL = {
    "online_store": {"mode": "external", "external": {"hosts": ["redis.example.com:6379"]}},
    "registry": {"mode": "external", "external": {"host": "postgres.example.com"}},
}
MODES = {"standalone": STANDALONE, "highly available": HIGHLY_AVAILABLE, "external": EXTERNAL}

SCRAPED = {"namespace", "job", "service", "pod", "instance", "endpoint", "container"}
"""What Prometheus adds to every series of a ServiceMonitor."""

KNOWN = {
    "up": set(),
    # redis_exporter
    "redis_up": set(),
    "redis_memory_used_bytes": set(),
    "redis_memory_max_bytes": set(),
    "redis_evicted_keys_total": set(),
    "redis_expired_keys_total": set(),
    "redis_errors_total": {"err"},
    "redis_instance_info": {"role"},
    "redis_db_keys": {"db"},
    "redis_db_keys_expiring": {"db"},
    "redis_db_avg_ttl_seconds": {"db"},
    "redis_keyspace_hits_total": set(),
    "redis_keyspace_misses_total": set(),
    "redis_rejected_connections_total": set(),
    "redis_connected_clients": set(),
    "redis_config_maxclients": set(),
    "redis_aof_last_write_status": set(),
    "redis_connected_slaves": set(),
    "redis_connected_slave_lag_seconds": {"slave_ip", "slave_state"},
    "redis_master_link_up": set(),
    "redis_sentinel_master_ckquorum_status": {"master_name"},
    "redis_sentinel_master_status": {"master_name", "master_address", "master_status"},
    "redis_sentinel_master_ok_sentinels": {"master_name", "master_address"},
    # postgres_exporter
    "pg_up": set(),
    "pg_stat_activity_count": {"datname", "state"},
    "pg_settings_max_connections": {"server"},
    "pg_database_size_bytes": {"datname"},
    "pg_replication_lag_seconds": set(),
    "pg_replication_is_replica": set(),
    "pg_stat_replication_pg_wal_lsn_diff": {"application_name", "client_addr", "state"},
    # the feature server (feature_runtime.serving)
    "feast_feature_server_request_total": {"status"},
    "feast_feature_server_request_latency_seconds_bucket": {"le"},
    "feast_online_features_status_total": {"feature_view", "status"},
    "feast_feature_freshness_seconds": {"feature_view", "project"},
    "feast_feature_data_age_seconds": {"feature_view", "project"},
    "feast_feature_skew_ratio": {"feature_service", "project"},
    "feast_feature_contract_info": {"feature_service", "sha256"},
    "feast_feature_server_registry_reload_total": {"result"},
    "feast_feature_server_online_store_up": set(),
    # kube-state-metrics
    "kube_cronjob_info": {"cronjob"},
    "kube_cronjob_created": {"cronjob"},
    "kube_cronjob_spec_suspend": {"cronjob"},
    "kube_cronjob_status_last_successful_time": {"cronjob"},
    "kube_job_failed": {"job_name", "condition"},
    "kube_job_owner": {"job_name", "owner_kind", "owner_name"},
    "kube_job_status_start_time": {"job_name"},
    "kube_deployment_spec_replicas": {"deployment"},
    "kube_deployment_status_replicas_available": {"deployment"},
    "kube_deployment_status_replicas_unavailable": {"deployment"},
    "kube_horizontalpodautoscaler_status_condition": {"horizontalpodautoscaler", "condition", "status"},
    "kube_horizontalpodautoscaler_status_current_replicas": {"horizontalpodautoscaler"},
    "kube_horizontalpodautoscaler_spec_max_replicas": {"horizontalpodautoscaler"},
    "kube_pod_container_status_waiting_reason": {"reason"},
    "kube_pod_container_status_last_terminated_reason": {"reason"},
    "kube_pod_container_status_restarts_total": set(),
    "kube_statefulset_replicas": {"statefulset"},
    "kube_statefulset_status_replicas_ready": {"statefulset"},
    # kubelet
    "kubelet_volume_stats_available_bytes": {"persistentvolumeclaim"},
    "kubelet_volume_stats_capacity_bytes": {"persistentvolumeclaim"},
}
"""Metrics that were seen at their exporters, or stand in their documentation, with their labels."""

FUNCTIONS = {
    *("absent", "count", "count_over_time", "histogram_quantile", "increase", "max", "max_over_time", "min", "predict_linear"),
    *("rate", "scalar", "sum", "time", "vector"),
}
OPERATORS = {"and", "or", "unless", "offset"}
SELECTOR = re.compile(r'([a-zA-Z_]\w*)\{((?:[^}"]|"[^"]*")*)\}')


def settings(**changes):
    base = {
        "cluster": {"eks_name": "shared"},
        "runtime_image": {"repository": "registry.example.com/feature-runtime", "tag": "1"},
    }
    secrets = {"registry_admin", "online_store_users"} if changes.get("registry", {}).get("mode") == "external" else set()
    return parse_settings(base | changes, "test", PROJECT, secret_keys=secrets)


def by_name(chosen):
    return {alert.name: alert for members in alerts(chosen, CONTRACT).values() for alert in members}


def expressions(chosen):
    found = {name: alert.expr for name, alert in by_name(chosen).items()}
    for panel in dashboard(chosen)["panels"]:
        for target in panel.get("targets", []):
            found[f"{panel['title']}: {target['legendFormat']}"] = target["expr"]
    return found


ALL_ALERTS = {name: alert for mode in MODES.values() for name, alert in by_name(settings(**mode)).items()}


@pytest.fixture(params=MODES, name="chosen")
def every_mode(request):
    return settings(**MODES[request.param])


@pytest.mark.parametrize("name", ["alerts.yaml", "dashboard.json"])
def test_rendered_text_is_what_was_reviewed(name):
    """UPDATE_GOLDEN=1 writes the files anew; `promtool check rules` accepts alerts.yaml."""
    chosen = settings(**HIGHLY_AVAILABLE)
    rendered = {
        "alerts.yaml": yaml.safe_dump({"groups": rule_groups(chosen, CONTRACT)}, sort_keys=False, width=10_000),
        "dashboard.json": next(iter(dashboard_files(chosen).values())) + "\n",
    }[name]
    path = GOLDEN / name
    if os.environ.get("UPDATE_GOLDEN"):
        path.write_text(rendered)
    assert rendered == path.read_text()


def test_every_expression_asks_for_series_that_exist_with_labels_that_they_have(chosen):
    for name, expr in expressions(chosen).items():
        for metric, matchers in SELECTOR.findall(expr):
            assert metric in KNOWN, f"{name}: nobody is known to export {metric}"
            used = {matcher.partition("=")[0] for matcher in re.findall(r'\w+=~?"[^"]*"', matchers)}
            assert used <= KNOWN[metric] | SCRAPED, f"{name}: {metric} has no label {used - KNOWN[metric] - SCRAPED}"
            assert f'namespace="{chosen.namespace}"' in matchers, f"{name}: {metric} of every namespace, another team's too"


def test_what_is_known_of_the_servers_metrics_is_what_it_exports():
    metrics = Metrics()
    metrics.observe("/get-online-features", "success", 0.001)
    metrics.statuses({"view": [1, 0, 0, 0, 0]})
    metrics.state = ServingState(
        project="p", contracts={"service": "0"}, loaded_until={"view": 0.0}, newest_event={"view": 0.0}, skew={"service": 0.0}
    )
    exported = {sample.name: set(sample.labels) - {"endpoint"} for family in metrics.collect() for sample in family.samples}
    assert {name: found for name, found in KNOWN.items() if name.startswith("feast_")}.items() <= exported.items()
    results = {s.labels["result"] for family in metrics.collect() for s in family.samples if "result" in s.labels}
    assert set(re.search(r'result=~"([^"]*)"', ALL_ALERTS["FeastServerKeepsOldDefinitions"].expr)[1].split("|")) <= results
    outcomes = {s.labels["status"] for family in metrics.collect() for s in family.samples if "request_total" in s.name}
    assert outcomes >= {"error", "refused"}


def test_no_expression_holds_a_word_that_prometheus_does_not_know(chosen):
    for name, expr in expressions(chosen).items():
        rest = SELECTOR.sub(" ", expr)
        rest = re.sub(r"\[[0-9a-z:]+\]|\boffset [0-9]+[smhd]", " ", rest)
        rest = re.sub(r"\b(by|on|group_left) \([a-z0-9_, ]*\)", " ", rest)
        words = set(re.findall(r"[A-Za-z_]\w*", re.sub(r"\b[0-9.]+(e[0-9]+)?\b", " ", rest)))
        assert words <= FUNCTIONS | OPERATORS, f"{name}: {words - FUNCTIONS - OPERATORS} in {expr}"
        assert rest.count("(") == rest.count(")"), f"{name}: {expr}"


def test_a_grouping_names_labels_that_the_grouped_series_have(chosen):
    for name, expr in expressions(chosen).items():
        known = SCRAPED.union(*(KNOWN[metric] for metric, _ in SELECTOR.findall(expr)))
        for group in re.findall(r"\b(?:by|on|group_left) \(([a-z0-9_, ]*)\)", expr):
            assert set(filter(None, re.split(r",\s*", group))) <= known, f"{name}: ({group})"


def test_a_label_in_a_sentence_is_one_that_the_alert_keeps():
    for name, alert in ALL_ALERTS.items():
        mentioned = set(re.findall(r"\$labels\.(\w+)", alert.summary + alert.description))
        aggregated = re.match(r"\(?(?:sum|max|min|count)(?: by \(([a-z0-9_, ]*)\))? \(", alert.expr)
        if aggregated and aggregated[1] is None:
            assert not mentioned, f"{name} sums its labels away"
        elif aggregated:
            assert mentioned <= set(re.split(r",\s*", aggregated[1])), name
        else:
            kept = SCRAPED | KNOWN[SELECTOR.search(alert.expr)[1]]
            assert mentioned <= kept, f"{name}: {mentioned - kept}"


def test_only_parts_that_run_here_are_watched():
    names = {mode: set(by_name(settings(**changes))) for mode, changes in MODES.items()}
    sentinel_only = {"FeastSentinelQuorumLost", "FeastOnlineStoreMasterNotOne", "FeastOnlineStoreReplicasMissing"}
    replication_only = {"FeastRegistryReplicaMissing", "FeastRegistryTwoPrimaries"}
    of_any = {"FeastServerErrors", "FeastServerSlow", "FeastMaterializationStale", "FeastFeaturesStale", "FeastPodDoesNotStart"}
    assert sentinel_only | replication_only <= names["highly available"]
    assert not (sentinel_only | replication_only) & names["standalone"], "they would fire for ever"
    assert {"FeastOnlineStoreDown", "FeastRegistryDown", "FeastVolumeFilling"} <= names["standalone"]
    assert not [name for name in names["external"] if "OnlineStore" in name or "Registry" in name or "Volume" in name], (
        "nothing here exports metrics of a store outside the cluster"
    )
    assert all(of_any <= found for found in names.values())


def test_an_alert_asks_only_jobs_that_are_scraped(chosen):
    scraped = {"feature-server"}
    if chosen.online_store.mode != "external":
        scraped.add("feast-redis-metrics")
    if chosen.online_store.mode == "sentinel":
        scraped.add("feast-redis-sentinel")
    if chosen.registry.mode == "standalone":
        scraped.add("feast-postgresql-metrics")
    if chosen.registry.mode == "replication":
        scraped |= {"feast-postgresql-primary-metrics", "feast-postgresql-read-metrics"}
    for name, expr in expressions(chosen).items():
        jobs = {job for found in re.findall(r'[{,]job=~?"([^"]*)"', expr) for job in found.split("|")}
        assert jobs <= scraped, f"{name} asks {jobs - scraped}"


def test_whatever_goes_silent_is_noticed(chosen):
    """A condition on series that vanished is never true: each source of series needs an alert on their absence."""
    absent = " ".join(alert.expr for alert in by_name(chosen).values() if "absent(" in alert.expr)
    sources = {
        re.match(r"[a-z]+_", metric)[0] for alert in by_name(chosen).values() for metric, _ in SELECTOR.findall(alert.expr) if "_" in metric
    }
    for source in sources - {"kubelet_"}:
        assert source in absent, f"nobody would notice that the {source} series are gone"


@pytest.mark.parametrize(
    ("schedule", "deadline", "seconds"),
    [("0 2 * * *", 120, 26 * 3600), ("0 * * * *", 30, 5400), ("0 2 * * 1-5", 60, 73 * 3600)],
)
def test_what_counts_as_stale_follows_the_schedule(schedule, deadline, seconds):
    materialization = {"schedule": schedule, "deadline_minutes": deadline}
    assert renewed_within_seconds(MaterializationSettings(**materialization)) == seconds
    found = by_name(settings(materialization=materialization))
    for name in (
        "FeastMaterializationStale",
        "FeastMaterializationNeverSucceeded",
        "FeastFeaturesNotRenewed",
        "FeastOnlineStoreKeysExpireSoon",
    ):
        assert str(seconds) in found[name].expr, name


def test_a_view_with_a_schedule_is_watched_by_it():
    contract = dataclasses.replace(CONTRACT, online=frozenset({"employee_features", "clicks"}), schedules={"clicks": "0 * * * *"})
    found = [alert for members in alerts(settings(), contract).values() for alert in members]
    (renewed,) = (alert.expr for alert in found if alert.name == "FeastFeaturesNotRenewed")
    others, clicks = renewed.split(" or ")
    assert 'unless feast_feature_freshness_seconds{namespace="feast",job="feature-server",feature_view=~"clicks"}' in others
    assert others.endswith(f"> {26 * 3600}")
    assert clicks.endswith(f'feature_view="clicks"}}) > {3600 + 59 * 60}')
    stale = {re.search(r'cronjob="([^"]+)"', a.expr)[1]: a.expr for a in found if a.name == "FeastMaterializationStale"}
    assert stale.keys() == {"materialize", "materialize-clicks"}
    assert stale["materialize-clicks"].endswith(f"> {3600 + 59 * 60}")


def test_a_view_is_stale_when_its_newest_value_is_older_than_its_own_bound():
    contract = dataclasses.replace(CONTRACT, freshness_seconds={"weekly": 7 * DAY, "hourly": 3600})
    (stale,) = (a for members in alerts(settings(), contract).values() for a in members if a.name == "FeastFeaturesStale")
    found = re.findall(r'feature_view="(\w+)"\}\) > (\d+)', stale.expr)
    assert dict(found) == {"weekly": str(7 * DAY), "hourly": "3600"}
    assert "freshness_seconds" not in stale.expr, "a run that found nothing new would count as fresh"


def test_where_views_may_be_of_any_age_no_alert_says_otherwise():
    contract = dataclasses.replace(CONTRACT, freshness_seconds={})
    names = {alert.name for members in alerts(settings(), contract).values() for alert in members}
    assert "FeastFeaturesStale" not in names
    assert "FeastFeaturesNotRenewed" in names


def test_skew_is_judged_by_what_the_stack_file_tolerates():
    found = by_name(settings(skew_probe={"tolerated_ratio": 0.02, "schedule": "0 5 * * 1", "deadline_minutes": 30}))
    assert found["FeastFeaturesSkewed"].expr.endswith("> 0.02")
    assert str(7 * DAY + 1800) in found["FeastSkewUnknown"].expr, "a probe that stopped must be noticed after its longest gap"
    assert by_name(settings())["FeastFeaturesSkewed"].expr.endswith("> 0")
    assert f"unless on () ({found['FeastFeaturesSkewed'].expr})" in found["FeastSkewUnknown"].expr, "a probe that found much has compared"


def test_without_a_probe_nothing_asks_for_its_results():
    chosen = settings(skew_probe={"enabled": False})
    assert not [name for name, expr in expressions(chosen).items() if "skew" in name.lower() or "skew" in expr]


def test_what_callers_do_wrong_is_no_error_of_the_server():
    errors, refusals = ALL_ALERTS["FeastServerErrors"].expr, ALL_ALERTS["FeastServerRefusals"].expr
    assert 'status="error"' in errors
    assert "refused" not in errors
    assert 'status="refused"' in refusals


def test_what_a_metric_says_of_itself_wins_over_what_prometheus_adds():
    (endpoint,) = service_monitors(settings())["feature-server"]["endpoints"]
    assert endpoint["honorLabels"] is True, "`endpoint` would be the port's name, and no alert about requests could fire"
    assert 'endpoint=~"/get-online-features|' in ALL_ALERTS["FeastServerErrors"].expr


def test_staleness_counts_from_the_last_success_not_from_the_last_start():
    assert "last_successful_time" in ALL_ALERTS["FeastMaterializationStale"].expr
    assert not [name for name, alert in ALL_ALERTS.items() if "last_schedule_time" in alert.expr], "a run that fails was scheduled too"


def test_an_error_that_redis_reports_for_the_first_time_is_seen():
    expr = ALL_ALERTS["FeastOnlineStoreWritesRefused"].expr
    assert "unless" in expr, "increase() ignores the first sample of a series, which begins with the first error"
    assert "offset 15m" in expr


def test_counts_in_expressions_are_those_of_the_settings():
    found = by_name(settings(online_store={"mode": "sentinel", "replicas": 5}, registry={"mode": "replication", "read_replicas": 3}))
    assert found["FeastSentinelsMissing"].expr.endswith("< 5")
    assert found["FeastOnlineStoreReplicasMissing"].expr.endswith("< 4")
    assert found["FeastRegistryReplicaMissing"].expr.endswith("< 3")


def test_every_alert_says_what_is_wrong_and_what_it_means():
    for name, alert in ALL_ALERTS.items():
        for sentence in (alert.summary, alert.description):
            assert sentence.endswith("."), name
            assert sentence.count("{{") == sentence.count("}}"), name
        assert alert.summary != alert.description, name


def test_alert_names_are_unique(chosen):
    names = [alert.name for members in alerts(chosen, CONTRACT).values() for alert in members]
    assert len(names) == len(set(names))


def headings(page):
    return re.findall(r"^#+ (.+)$", page, re.MULTILINE)


@pytest.mark.parametrize("name", sorted(ALL_ALERTS))
def test_the_runbook_has_a_heading_for_the_alert(name):
    rule = ALL_ALERTS[name].to_rule("https://example.com/operations.md")
    anchors = {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings(RUNBOOK.read_text())}
    url, _, anchor = rule["annotations"]["runbook_url"].partition("#")
    assert url == "https://example.com/operations.md"
    assert anchor in anchors, f"docs/operations.md lacks the heading {name}"


def test_an_alert_names_its_heading_where_the_runbook_is_not_published():
    annotations = next(iter(ALL_ALERTS.values())).to_rule(None)["annotations"]
    assert "runbook_url" not in annotations
    assert annotations["runbook"].startswith("docs/operations.md#")


def test_the_runbook_explains_no_alert_that_does_not_exist():
    explained = {heading for heading in headings(RUNBOOK.read_text()) if heading.startswith("Feast") and " " not in heading}
    assert explained == set(ALL_ALERTS)


def test_the_runbook_says_of_every_alert_what_it_means_where_to_look_and_what_to_do():
    sections = re.split(r"^#+ ", RUNBOOK.read_text(), flags=re.MULTILINE)
    for section in sections:
        title = section.partition("\n")[0]
        if title in ALL_ALERTS:
            for part in ("Meaning:", "First look:", "Remedy:"):
                assert part in section, f"{title} lacks {part}"


def test_dashboard_panels_have_places_of_their_own(chosen):
    panels = dashboard(chosen)["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    cells = [
        (x, y)
        for place in (panel["gridPos"] for panel in panels)
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]
    assert len(cells) == len(set(cells)), "two panels overlap"
    assert max(x for x, _ in cells) < 24, "Grafana has 24 columns"


def test_the_dashboard_is_the_same_bytes_every_time(chosen):
    assert dashboard_files(chosen) == dashboard_files(settings(**chosen.model_dump(exclude_unset=True)))


def test_dashboards_of_two_namespaces_do_not_overwrite_each_other():
    one, two = (settings(namespace=name) for name in ("feast", "feast-" + "x" * 57))
    assert dashboard(one)["uid"] != dashboard(two)["uid"]
    assert len(dashboard(two)["uid"]) <= 40, "Grafana refuses longer ones"
    assert dashboard_files(one).keys() != dashboard_files(two).keys()


def test_the_dashboard_shows_only_stores_that_run_here():
    titles = {panel["title"] for panel in dashboard(settings(**EXTERNAL))["panels"]}
    assert "Requests" in titles
    assert "Memory filled" not in titles
    assert "Sentinels that are well" not in {panel["title"] for panel in dashboard(settings())["panels"]}


def test_a_service_monitor_finds_the_servers_service():
    spec = service_monitors(settings())["feature-server"]
    assert spec["selector"]["matchLabels"].items() <= labels("feature-server").items()


def test_sentinels_are_scraped_apart_from_the_redis_beside_them():
    monitors = service_monitors(settings(**HIGHLY_AVAILABLE))
    (endpoint,) = monitors["feast-redis-sentinel"]["endpoints"]
    assert endpoint["params"] == {"target": ["redis://localhost:26379"]}
    assert endpoint["relabelings"] == [{"targetLabel": "job", "replacement": "feast-redis-sentinel"}]
    kept = endpoint["metricRelabelings"][0]["regex"]
    assert re.fullmatch(kept, "redis_sentinel_master_status")
    assert not re.fullmatch(kept, "redis_instance_info"), "a Sentinel would count as a Redis"


@pytest.fixture(scope="module")
def registered():
    engine = Engine()
    pulumi.runtime.set_mocks(engine, project="feast-eks", stack="test")

    @pulumi.runtime.test
    def program():
        chosen = settings(**HIGHLY_AVAILABLE, monitoring={"labels": {"release": "kube-prometheus-stack"}})
        Monitoring("monitoring", MonitoringArgs(settings=chosen, contract=CONTRACT, namespace="feast", applied=[]))

    program()
    return engine


def test_everything_for_the_operator_carries_the_labels_that_it_selects_by(registered):
    objects = [r for r in registered.registrations if "monitoring.coreos.com/v1" in r.type]
    assert sorted(r.type.rpartition(":")[2] for r in objects) == ["PrometheusRule", *["ServiceMonitor"] * 4]
    for r in objects:
        assert r.inputs["metadata"]["labels"]["release"] == "kube-prometheus-stack", r.name
        assert r.inputs["metadata"]["namespace"] == "feast", "a ServiceMonitor finds the Services of its own namespace"


def test_grafana_finds_the_dashboard(registered):
    config_map = registered.one("core/v1:ConfigMap").inputs
    assert config_map["metadata"]["labels"]["grafana_dashboard"] == "1"
    assert json.loads(config_map["data"]["feast-feast.json"])["panels"]


def test_monitoring_that_is_off_registers_nothing():
    engine = run_program(stack_config(monitoring={"enabled": False}))
    assert engine.of_type("core/v1:Namespace"), "the program ran"
    assert not [r.name for r in engine.registrations if "monitoring" in r.type.lower()]
    assert not engine.of_type(":ServiceMonitor")


def test_monitoring_that_is_on_watches_what_the_program_registers():
    engine = run_program(stack_config(monitoring=MonitoringSettings().model_dump()))
    assert {r.inputs["metadata"]["name"] for r in engine.of_type(":CronJob").values()} == {NAME, SKEW_PROBE_NAME}
    spec = engine.of_type(":ServiceMonitor")["monitoring-feature-server"].inputs["spec"]
    wanted = spec["selector"]["matchLabels"].items()
    ports = {
        port["name"]
        for service in engine.of_type("core/v1:Service").values()
        if wanted <= service.inputs["metadata"]["labels"].items()
        for port in service.inputs["spec"]["ports"]
    }
    assert spec["endpoints"][0]["port"] in ports, "Prometheus would find no target"


def test_what_decides_imports_nothing_of_pulumi():
    for path in (PROJECT / "infra" / "feast_eks" / "monitoring").glob("*.py"):
        if path.name in {"__init__.py", "component.py"}:
            continue
        imported = [node.module for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.ImportFrom)]
        assert not [module for module in imported if module.startswith("pulumi")], path.name


def test_names_of_views_are_texts_in_expressions_whatever_they_hold():
    apart = {'a (b) "c"': 3600, "plain": 60}
    found = value_alerts("feast", renewed_within_seconds=60, apart=apart, data_age_bounds={'a (b) "c"': 5})
    said = " ".join(alert.expr for alert in found)
    assert r'feature_view=~"a\\ \\(b\\)\\ \"c\"|plain"' in said
    assert r'feature_view="a (b) \"c\""' in said
