"""The stand-in charts with the values of production: Redis with Sentinels, PostgreSQL with read replicas, both with exporters.

Names, labels, ports, mounts and environment are those of the real charts (redis 22.0.7, postgresql 16.7.27) with the same values.
"""

import pytest

from feast_eks import registry
from feast_eks.charts import STARTUP_SECONDS
from tests.sandbox.charts import RELEASE, Helm, changed, production_values_of, selector_of


@pytest.fixture(scope="module")
def helm(cloud):
    """Renders a chart; returns the process."""
    return Helm(cloud).template


@pytest.fixture(scope="module")
def render(cloud):
    """Renders a chart; returns its objects by kind and name."""
    return Helm(cloud).render


@pytest.mark.parametrize(
    ("chart", "path", "value", "message"),
    [
        ("redis", "replica.podManagementPolicy", "Parallel", "would let every node that starts first elect itself"),
        ("redis", "sentinel.quorum", 4, "sentinel.quorum: 4 of 3 Sentinels can never agree"),
        ("redis", "auth.sentinel", True, "does not implement auth.sentinel: true"),
        ("redis", "sentinel.masterService", {"enabled": True}, "at '/sentinel': additional properties 'masterService' not allowed"),
        (
            "redis",
            "replica.podAntiAffinityPreset",
            "strict",
            "at '/replica/podAntiAffinityPreset': value must be one of '', 'soft', 'hard'",
        ),
        ("postgresql", "replication.numSynchronousReplicas", 3, "3 of 2 replicas can never confirm a commit"),
        ("postgresql", "tls.enabled", True, "does not implement tls.enabled: true"),
    ],
)
def test_what_could_not_work_in_production_is_refused_with_the_value_named(helm, chart, path, value, message):
    refused = helm(chart, changed(chart, path, value, of=production_values_of))
    assert refused.returncode != 0
    assert message in refused.stderr


PRODUCTION_OBJECTS = {
    "redis": {
        ("NetworkPolicy", "feast-redis"),
        ("PodDisruptionBudget", "feast-redis-node"),
        ("ServiceAccount", "feast-redis"),
        ("ConfigMap", "feast-redis-configuration"),
        ("ConfigMap", "feast-redis-health"),
        ("ConfigMap", "feast-redis-scripts"),
        ("Service", "feast-redis"),
        ("Service", "feast-redis-headless"),
        ("Service", "feast-redis-metrics"),
        ("StatefulSet", "feast-redis-node"),
    },
    "postgresql": {
        ("NetworkPolicy", "feast-postgresql-primary"),
        ("NetworkPolicy", "feast-postgresql-read"),
        ("PodDisruptionBudget", "feast-postgresql-read"),
        ("ServiceAccount", "feast-postgresql"),
        ("ConfigMap", "feast-postgresql-primary-extended-configuration"),
        ("ConfigMap", "feast-postgresql-read-extended-configuration"),
        ("Service", "feast-postgresql-primary"),
        ("Service", "feast-postgresql-primary-hl"),
        ("Service", "feast-postgresql-primary-metrics"),
        ("Service", "feast-postgresql-read"),
        ("Service", "feast-postgresql-read-hl"),
        ("Service", "feast-postgresql-read-metrics"),
        ("StatefulSet", "feast-postgresql-primary"),
        ("StatefulSet", "feast-postgresql-read"),
    },
}
COMPONENTS = {"feast-redis-node": "node", "feast-postgresql-primary": "primary", "feast-postgresql-read": "read"}


@pytest.fixture(scope="module")
def production(render):
    """The objects of each chart with the values of production."""
    return {chart: render(chart, production_values_of(chart)) for chart in RELEASE}


def template_of(production: dict, workload: str) -> dict:
    chart = "redis" if "redis" in workload else "postgresql"
    return production[chart]["StatefulSet", workload]["spec"]["template"]


def container_of(production: dict, workload: str, name: str) -> dict:
    (container,) = [each for each in template_of(production, workload)["spec"]["containers"] if each["name"] == name]
    return container


def environment_of(container: dict) -> dict:
    return {each["name"]: each["value"] for each in container["env"]}


@pytest.mark.parametrize("chart", ["redis", "postgresql"])
def test_in_production_a_chart_makes_the_objects_of_the_real_one_and_no_secret(production, chart):
    assert set(production[chart]) == PRODUCTION_OBJECTS[chart]
    for name, each in production[chart].items():
        assert each["metadata"]["namespace"] == "feast", name
        assert selector_of(chart).items() <= each["metadata"]["labels"].items(), name


@pytest.mark.parametrize("chart", ["redis", "postgresql"])
def test_two_renders_for_production_are_identical(helm, chart):
    first = helm(chart, production_values_of(chart))
    assert first.returncode == 0, first.stderr
    assert first.stdout == helm(chart, production_values_of(chart)).stdout


@pytest.mark.parametrize(
    ("chart", "service", "ports", "component"),
    [
        ("redis", "feast-redis", [("tcp-redis", 6379, 6379), ("tcp-sentinel", 26379, 26379)], "node"),
        ("redis", "feast-redis-headless", [("tcp-redis", 6379, "redis"), ("tcp-sentinel", 26379, "redis-sentinel")], None),
        ("redis", "feast-redis-metrics", [("http-metrics", 9121, "metrics")], None),
        ("postgresql", "feast-postgresql-primary", [("tcp-postgresql", 5432, "tcp-postgresql")], "primary"),
        ("postgresql", "feast-postgresql-primary-hl", [("tcp-postgresql", 5432, "tcp-postgresql")], "primary"),
        ("postgresql", "feast-postgresql-primary-metrics", [("http-metrics", 9187, "http-metrics")], "primary"),
        ("postgresql", "feast-postgresql-read", [("tcp-postgresql", 5432, "tcp-postgresql")], "read"),
        ("postgresql", "feast-postgresql-read-hl", [("tcp-postgresql", 5432, "tcp-postgresql")], "read"),
        ("postgresql", "feast-postgresql-read-metrics", [("http-metrics", 9187, "http-metrics")], "read"),
    ],
)
def test_the_services_of_production_have_the_ports_and_selectors_of_the_real_ones(production, chart, service, ports, component):
    spec = production[chart]["Service", service]["spec"]
    assert [(port["name"], port["port"], port["targetPort"]) for port in spec["ports"]] == ports
    assert spec["selector"] == selector_of(chart, component)
    headless = service.endswith(("-hl", "-headless"))
    assert spec.get("clusterIP") == ("None" if headless else None)
    assert spec.get("publishNotReadyAddresses", False) == headless, "nodes must find each other before they can be ready"
    workload = next(name for name, its in COMPONENTS.items() if name.startswith(RELEASE[chart]) and component in (None, its))
    template = template_of(production, workload)
    assert spec["selector"].items() <= template["metadata"]["labels"].items(), "the service would select nothing"
    named = {port["name"] for container in template["spec"]["containers"] for port in container["ports"]}
    assert {target for _, _, target in ports if isinstance(target, str)} <= named, "the service would lead to no port"


@pytest.mark.parametrize(
    ("workload", "service", "replicas", "claims"),
    [
        ("feast-redis-node", "feast-redis-headless", 3, ["redis-data", "sentinel-data"]),
        ("feast-postgresql-primary", "feast-postgresql-primary-hl", 1, ["data"]),
        ("feast-postgresql-read", "feast-postgresql-read-hl", 2, ["data"]),
    ],
)
def test_the_pods_and_volumes_of_production_are_called_as_in_the_real_chart(production, workload, service, replicas, claims):
    chart = "redis" if "redis" in workload else "postgresql"
    spec = production[chart]["StatefulSet", workload]["spec"]
    assert spec["selector"]["matchLabels"] == selector_of(chart, COMPONENTS[workload])
    assert (spec["serviceName"], spec["replicas"]) == (service, replicas)
    assert [claim["metadata"]["name"] for claim in spec["volumeClaimTemplates"]] == claims
    assert spec.get("podManagementPolicy", "OrderedReady") == "OrderedReady", "nodes that start together would each elect themselves"


@pytest.mark.parametrize("workload", sorted(COMPONENTS))
def test_every_pod_of_production_fits_a_restricted_namespace_and_gets_no_token(production, workload):
    chart = "redis" if "redis" in workload else "postgresql"
    pod = template_of(production, workload)["spec"]
    assert pod["automountServiceAccountToken"] is False
    assert pod["serviceAccountName"] == RELEASE[chart]
    assert len(pod["containers"]) == (3 if chart == "redis" else 2)
    for container in pod["containers"]:
        context = container["securityContext"]
        assert context["runAsNonRoot"] is True, container["name"]
        assert context["runAsUser"] == 1001, container["name"]
        assert context["readOnlyRootFilesystem"] is True, container["name"]
        assert context["allowPrivilegeEscalation"] is False, container["name"]
        assert context["capabilities"] == {"drop": ["ALL"]}, container["name"]
        assert context["seccompProfile"] == {"type": "RuntimeDefault"}, container["name"]
        assert container["resources"]["limits"]["memory"], container["name"]
        assert container["readinessProbe"], container["name"]


def test_the_sentinel_pod_is_as_the_real_chart_has_it(production):
    redis = container_of(production, "feast-redis-node", "redis")
    assert environment_of(redis) == {
        "BITNAMI_DEBUG": "false",
        "REDIS_MASTER_PORT_NUMBER": "6379",
        "ALLOW_EMPTY_PASSWORD": "no",
        "REDIS_PASSWORD_FILE": "/opt/bitnami/redis/secrets/redis-password",
        "REDIS_MASTER_PASSWORD_FILE": "/opt/bitnami/redis/secrets/redis-password",
        "REDIS_TLS_ENABLED": "no",
        "REDIS_PORT": "6379",
        "REDIS_SENTINEL_TLS_ENABLED": "no",
        "REDIS_SENTINEL_PORT": "26379",
        "REDIS_DATA_DIR": "/data",
        "HEADLESS_SERVICE": "feast-redis-headless.feast.svc.cluster.local",
    }
    assert {each["mountPath"]: each["name"] for each in redis["volumeMounts"]} == {
        "/opt/bitnami/scripts/start-scripts": "start-scripts",
        "/health": "health",
        "/opt/bitnami/redis/secrets/": "redis-password",
        "/data": "redis-data",
        "/opt/bitnami/redis/mounted-etc": "config",
        "/opt/bitnami/redis/etc/": "empty-dir",
        "/tmp": "empty-dir",
        "/opt/feast/acl": "acl",
        "/opt/bitnami/redis-sentinel/etc": "sentinel-data",
    }
    sentinel = container_of(production, "feast-redis-node", "sentinel")
    assert {each["mountPath"]: each["name"] for each in sentinel["volumeMounts"]} == {
        "/opt/bitnami/scripts/start-scripts": "start-scripts",
        "/health": "health",
        "/opt/bitnami/redis/secrets/": "redis-password",
        "/data": "redis-data",
        "/opt/bitnami/redis-sentinel/etc": "sentinel-data",
        "/opt/bitnami/redis-sentinel/mounted-etc": "config",
        "/tmp": "empty-dir",
    }
    for container in (redis, sentinel):
        assert container["lifecycle"]["preStop"], f"{container['name']} must hand over before it stops"


def test_whichever_node_is_master_the_disabled_commands_are_gone(production):
    data = production["redis"]["ConfigMap", "feast-redis-configuration"]["data"]
    start = production["redis"]["ConfigMap", "feast-redis-scripts"]["data"]["start-node.sh"]
    assert "replica.conf redis.conf" in start, "in some versions of the real chart a node that starts as master reads master.conf"
    for role in ("master", "replica"):
        assert 'rename-command EVAL ""' in data[f"{role}.conf"], role


def test_the_sentinels_do_as_the_values_say(production):
    data = production["redis"]["ConfigMap", "feast-redis-configuration"]["data"]["sentinel.conf"].splitlines()
    values = production_values_of("redis")["sentinel"]
    assert f"sentinel down-after-milliseconds feast {values['downAfterMilliseconds']}" in data
    assert f"sentinel failover-timeout feast {values['failoverTimeout']}" in data
    names = production["redis"]["ConfigMap", "feast-redis-scripts"]["data"]["names.sh"].splitlines()
    assert {"master_set=feast", "quorum=2", "node_count=3"} <= set(names)


def test_the_replicas_of_postgresql_stream_from_the_primary(production):
    primary = environment_of(container_of(production, "feast-postgresql-primary", "postgresql"))
    read = environment_of(container_of(production, "feast-postgresql-read", "postgresql"))
    assert primary["POSTGRES_REPLICATION_MODE"] == "master"
    assert read["POSTGRES_REPLICATION_MODE"] == "slave"
    assert read["POSTGRES_MASTER_HOST"] == "feast-postgresql-primary"
    assert read["POSTGRES_MASTER_PORT_NUMBER"] == "5432"
    user = production_values_of("postgresql")["auth"]["replicationUsername"]
    for environment in (primary, read):
        assert environment["POSTGRES_REPLICATION_USER"] == user
        assert environment["POSTGRES_REPLICATION_PASSWORD_FILE"] == "/opt/bitnami/postgresql/secrets/replication-password"
        assert environment["POSTGRES_CLUSTER_APP_NAME"]
        assert "command" not in container_of(production, "feast-postgresql-read", "postgresql"), "the image's entrypoint is the contract"


def test_the_replicas_of_postgresql_find_their_own_configuration(production):
    mount = {"name": "postgresql-extended-config", "mountPath": "/bitnami/postgresql/conf/conf.d/"}
    assert mount in container_of(production, "feast-postgresql-read", "postgresql")["volumeMounts"]
    volumes = template_of(production, "feast-postgresql-read")["spec"]["volumes"]
    name = "feast-postgresql-read-extended-configuration"
    assert {"name": mount["name"], "configMap": {"name": name}} in volumes
    data = production["postgresql"]["ConfigMap", name]["data"]
    assert data == {"override.conf": production_values_of("postgresql")["readReplicas"]["extendedConfiguration"]}


POSTGRESQL_NODES = ("feast-postgresql-primary", "feast-postgresql-read")


def restarted(production: dict, objects: dict) -> list[str]:
    """The kinds of PostgreSQL whose pods are replaced when these objects take the place of production's."""
    after = {"postgresql": objects}
    return [name for name in POSTGRESQL_NODES if template_of(after, name) != template_of(production, name)]


@pytest.mark.parametrize(("node", "names"), [("primary", POSTGRESQL_NODES), ("readReplicas", ())])
def test_the_chart_restarts_every_postgresql_on_the_primarys_configuration_and_none_on_the_replicas(production, render, node, names):
    """As the real one does; which is why the program adds a digest of the replicas' configuration to their pods."""
    values = changed("postgresql", f"{node}.extendedConfiguration", "work_mem = 8MB", of=production_values_of)
    assert restarted(production, render("postgresql", values)) == list(names)


def test_another_configuration_of_the_read_replicas_by_the_program_restarts_them_alone(production, render, monkeypatch):
    monkeypatch.setattr(registry, "READ_REPLICA_CONFIGURATION", "work_mem = 8MB")
    assert restarted(production, render("postgresql", production_values_of("postgresql"))) == ["feast-postgresql-read"]


def test_each_commit_waits_for_as_many_replicas_as_the_values_say(render):
    values = changed("postgresql", "replication", {"synchronousCommit": "on", "numSynchronousReplicas": 1}, of=production_values_of)
    objects = {"postgresql": render("postgresql", values)}
    primary = environment_of(container_of(objects, "feast-postgresql-primary", "postgresql"))
    assert primary["POSTGRES_SYNCHRONOUS_COMMIT_MODE"] == "on"
    assert primary["POSTGRES_NUM_SYNCHRONOUS_REPLICAS"] == "1"


@pytest.mark.parametrize(("chart", "workload"), [("redis", "feast-redis-node"), ("postgresql", "feast-postgresql-read")])
@pytest.mark.parametrize("preset", ["hard", "soft"])
def test_the_preset_keeps_nodes_of_one_kind_apart_as_hard_as_it_says(render, chart, workload, preset):
    node = "replica" if chart == "redis" else "readReplicas"
    values = production_values_of(chart)
    values[node].pop("affinity", None)
    values[node]["podAntiAffinityPreset"] = preset
    affinity = template_of({chart: render(chart, values)}, workload)["spec"]["affinity"]["podAntiAffinity"]
    if preset == "hard":
        (term,) = affinity["requiredDuringSchedulingIgnoredDuringExecution"]
    else:
        ((weighted,),) = affinity.values()
        term = weighted["podAffinityTerm"]
    assert term["topologyKey"] == "kubernetes.io/hostname"
    assert term["labelSelector"]["matchLabels"] == selector_of(chart, COMPONENTS[workload])


@pytest.mark.parametrize(
    ("chart", "workload", "node"), [("redis", "feast-redis-node", "replica"), ("postgresql", "feast-postgresql-primary", "primary")]
)
def test_own_placement_rules_replace_the_preset(render, chart, workload, node):
    values = production_values_of(chart)
    spread = [{"maxSkew": 1, "topologyKey": "topology.kubernetes.io/zone", "whenUnsatisfiable": "DoNotSchedule"}]
    values[node] |= {"affinity": {"podAntiAffinity": {}}, "podAntiAffinityPreset": "hard", "topologySpreadConstraints": spread}
    pod = template_of({chart: render(chart, values)}, workload)["spec"]
    assert pod["affinity"] == {"podAntiAffinity": {}}
    assert pod["topologySpreadConstraints"] == spread


def test_only_clients_and_redis_itself_reach_redis_and_sentinels(production):
    policy = production["redis"]["NetworkPolicy", "feast-redis"]["spec"]
    rule, metrics = policy["ingress"]
    assert [port["port"] for port in rule["ports"]] == [6379, 26379]
    assert [peer["podSelector"]["matchLabels"] for peer in rule["from"]] == [{"feast-redis-client": "true"}, selector_of("redis")]
    assert metrics["ports"] == [{"port": 9121}]
    assert metrics["from"] == [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}]
    names, nodes = policy["egress"]
    assert names["ports"] == [{"port": 53, "protocol": "UDP"}]
    assert [port["port"] for port in nodes["ports"]] == [6379, 26379]
    assert [peer["podSelector"]["matchLabels"] for peer in nodes["to"]] == [selector_of("redis")]


@pytest.mark.parametrize("component", ["primary", "read"])
def test_each_kind_of_postgresql_admits_its_own_clients_and_the_release(production, component):
    policy = production["postgresql"]["NetworkPolicy", f"feast-postgresql-{component}"]["spec"]
    assert policy["podSelector"]["matchLabels"] == selector_of("postgresql", component)
    rule = policy["ingress"][0]
    assert [port["port"] for port in rule["ports"]] == [5432, 9187]
    allowed = [peer["podSelector"]["matchLabels"] for peer in rule["from"]]
    assert allowed == [selector_of("postgresql"), {f"feast-postgresql-{component}-client": "true"}]


@pytest.mark.parametrize(("workload", "budget"), [("feast-redis-node", 1), ("feast-postgresql-read", 1)])
def test_one_node_of_a_kind_may_be_away_at_a_time(production, workload, budget):
    chart = "redis" if "redis" in workload else "postgresql"
    spec = production[chart]["PodDisruptionBudget", workload]["spec"]
    assert spec["maxUnavailable"] == budget
    assert spec["selector"]["matchLabels"] == selector_of(chart, COMPONENTS[workload])


def test_the_exporters_read_the_password_from_the_secret(production):
    redis = container_of(production, "feast-redis-node", "metrics")
    assert {"name": "redis-password", "mountPath": "/secrets/"} in redis["volumeMounts"]
    assert not any("PASSWORD" in name for name in environment_of(redis))
    postgresql = environment_of(container_of(production, "feast-postgresql-read", "metrics"))
    assert postgresql == {
        "DATA_SOURCE_URI": "127.0.0.1:5432/postgres?sslmode=disable",
        "DATA_SOURCE_PASS_FILE": "/opt/bitnami/postgresql/secrets/password",
        "DATA_SOURCE_USER": "feast",
    }


def test_each_container_has_the_image_that_the_values_name_for_it(render):
    values = production_values_of("redis")
    values["sentinel"]["image"] = {"registry": "r.example", "repository": "a/sentinel", "tag": "8", "digest": ""}
    values["metrics"].pop("image")
    containers = template_of({"redis": render("redis", values)}, "feast-redis-node")["spec"]["containers"]
    ours = "localhost/feast-eks/data-stores:1"
    assert {each["name"]: each["image"] for each in containers} == {"redis": ours, "sentinel": "r.example/a/sentinel:8", "metrics": ours}


def test_a_node_without_persistence_keeps_its_data_and_its_view_in_empty_directories(render):
    values = production_values_of("redis")
    for node in ("replica", "sentinel"):
        values[node]["persistence"]["enabled"] = False
    workload = render("redis", values)["StatefulSet", "feast-redis-node"]["spec"]
    assert "volumeClaimTemplates" not in workload
    assert [each["name"] for each in workload["template"]["spec"]["volumes"] if each["name"].endswith("-data")] == [
        "redis-data",
        "sentinel-data",
    ]


NODES = [
    ("feast-redis-node", "redis", ["/health/ping_liveness_local.sh 5"]),
    ("feast-redis-node", "sentinel", ["/health/ping_sentinel.sh 5"]),
    ("feast-postgresql-primary", "postgresql", ['exec pg_isready -U "feast" -d "dbname=feast" -h 127.0.0.1 -p 5432']),
    ("feast-postgresql-read", "postgresql", ['exec pg_isready -U "feast" -d "dbname=feast" -h 127.0.0.1 -p 5432']),
]


@pytest.mark.parametrize(("workload", "container", "command"), NODES)
def test_no_node_is_restarted_for_being_slow_to_start(production, workload, container, command):
    probe = container_of(production, workload, container)["startupProbe"]
    assert probe["exec"]["command"][-1:] == command
    assert probe["periodSeconds"] * probe["failureThreshold"] == STARTUP_SECONDS


def test_only_our_monitors_read_the_exporters(production):
    """A Prometheus that goes by the charts' annotations would read them a second time."""
    pod = template_of(production, "feast-redis-node")["metadata"]["annotations"]
    services = [production["postgresql"]["Service", f"{name}-metrics"]["metadata"]["annotations"] for name in POSTGRESQL_NODES]
    assert [each["prometheus.io/scrape"] for each in (pod, *services)] == ["false"] * 3
    assert "prometheus.io/scrape" not in production["redis"]["Service", "feast-redis-metrics"]["metadata"]["annotations"]
