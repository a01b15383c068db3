"""The stand-in charts render what the Bitnami charts render, as far as anything else relies on it, and refuse the rest.

The names, labels, ports, mounts and environment below were read off the real charts (redis 22.0.7, postgresql
16.7.27) rendered with the same values.
"""

import os
import tarfile

import pytest
import yaml

from tests.infra.engine import PROJECT, run_program, stack_config
from tests.sandbox.charts import CHARTS, RELEASE, Helm, changed, selector_of, values_of


@pytest.fixture(scope="module")
def helm(cloud):
    """Renders a chart; returns the process."""
    return Helm(cloud).template


@pytest.fixture(scope="module")
def render(cloud):
    """Renders a chart; returns its objects by kind and name."""
    return Helm(cloud).render


def pod_of(objects: dict) -> dict:
    (workload,) = [each for (kind, _), each in objects.items() if kind == "StatefulSet"]
    return workload["spec"]["template"]


OBJECTS = {
    "redis": {
        ("NetworkPolicy", "feast-redis"),
        ("ServiceAccount", "feast-redis-master"),
        ("ConfigMap", "feast-redis-configuration"),
        ("ConfigMap", "feast-redis-health"),
        ("ConfigMap", "feast-redis-scripts"),
        ("Service", "feast-redis-headless"),
        ("Service", "feast-redis-master"),
        ("StatefulSet", "feast-redis-master"),
    },
    "postgresql": {
        ("NetworkPolicy", "feast-postgresql"),
        ("ServiceAccount", "feast-postgresql"),
        ("Service", "feast-postgresql-hl"),
        ("Service", "feast-postgresql"),
        ("StatefulSet", "feast-postgresql"),
    },
}


@pytest.mark.parametrize("chart", ["redis", "postgresql"])
def test_a_chart_makes_the_objects_of_the_real_one_and_no_secret(render, chart):
    assert set(render(chart)) == OBJECTS[chart]


@pytest.mark.parametrize("chart", ["redis", "postgresql"])
def test_every_object_is_in_the_namespace_and_labelled_as_part_of_the_release(render, chart):
    for name, each in render(chart).items():
        assert each["metadata"]["namespace"] == "feast", name
        assert selector_of(chart).items() <= each["metadata"]["labels"].items(), name
        assert each["metadata"]["labels"]["app.kubernetes.io/managed-by"] == "Helm", name


@pytest.mark.parametrize(
    ("chart", "service", "cluster_ip", "component"),
    [
        ("redis", "feast-redis-master", None, "master"),
        ("redis", "feast-redis-headless", "None", None),
        ("postgresql", "feast-postgresql", None, "primary"),
        ("postgresql", "feast-postgresql-hl", "None", "primary"),
    ],
)
def test_the_services_have_the_ports_and_selectors_of_the_real_ones(render, chart, service, cluster_ip, component):
    objects = render(chart)
    spec = objects["Service", service]["spec"]
    ports = {"redis": ("tcp-redis", 6379, "redis"), "postgresql": ("tcp-postgresql", 5432, "tcp-postgresql")}
    assert spec.get("clusterIP") == cluster_ip
    assert [(port["name"], port["port"], port["targetPort"]) for port in spec["ports"]] == [ports[chart]]
    assert spec["selector"] == selector_of(chart, component)
    assert spec["selector"].items() <= pod_of(objects)["metadata"]["labels"].items(), "the service would select nothing"


def test_the_redis_pod_is_as_the_real_chart_has_it(render):
    objects = render("redis")
    workload = objects["StatefulSet", "feast-redis-master"]["spec"]
    assert workload["serviceName"] == "feast-redis-headless"
    assert workload["selector"]["matchLabels"] == selector_of("redis", "master")
    (claim,) = workload["volumeClaimTemplates"]
    assert claim["metadata"]["name"] == "redis-data"
    (container,) = pod_of(objects)["spec"]["containers"]
    assert (container["name"], container["image"]) == ("redis", "localhost/feast-eks/data-stores:1")
    assert container["ports"] == [{"name": "redis", "containerPort": 6379}]
    assert {each["name"]: each["value"] for each in container["env"]} == {
        "BITNAMI_DEBUG": "false",
        "REDIS_REPLICATION_MODE": "master",
        "ALLOW_EMPTY_PASSWORD": "no",
        "REDIS_PASSWORD_FILE": "/opt/bitnami/redis/secrets/redis-password",
        "REDIS_TLS_ENABLED": "no",
        "REDIS_PORT": "6379",
    }
    mounts = {each["mountPath"]: each["name"] for each in container["volumeMounts"]}
    assert mounts == {
        "/opt/bitnami/scripts/start-scripts": "start-scripts",
        "/health": "health",
        "/opt/bitnami/redis/secrets/": "redis-password",
        "/data": "redis-data",
        "/opt/bitnami/redis/mounted-etc": "config",
        "/opt/bitnami/redis/etc/": "empty-dir",
        "/tmp": "empty-dir",
        "/opt/feast/acl": "acl",
    }


def test_the_postgresql_pod_is_as_the_real_chart_has_it(render):
    objects = render("postgresql")
    workload = objects["StatefulSet", "feast-postgresql"]["spec"]
    assert workload["serviceName"] == "feast-postgresql-hl"
    assert workload["selector"]["matchLabels"] == selector_of("postgresql", "primary")
    (claim,) = workload["volumeClaimTemplates"]
    assert claim["metadata"]["name"] == "data"
    (container,) = pod_of(objects)["spec"]["containers"]
    assert (container["name"], container["image"]) == ("postgresql", "localhost/feast-eks/data-stores:1")
    assert "command" not in container, "the image's entrypoint is the contract"
    assert container["ports"] == [{"name": "tcp-postgresql", "containerPort": 5432}]
    assert {each["name"]: each["value"] for each in container["env"]} == {
        "BITNAMI_DEBUG": "false",
        "POSTGRESQL_PORT_NUMBER": "5432",
        "POSTGRESQL_VOLUME_DIR": "/bitnami/postgresql",
        "PGDATA": "/bitnami/postgresql/data",
        "POSTGRES_USER": "feast",
        "POSTGRES_PASSWORD_FILE": "/opt/bitnami/postgresql/secrets/password",
        "POSTGRES_POSTGRES_PASSWORD_FILE": "/opt/bitnami/postgresql/secrets/postgres-password",
        "POSTGRES_DATABASE": "feast",
    }


def numbers(initial: int, period: int, timeout: int, failures: int) -> dict:
    return {
        "initialDelaySeconds": initial,
        "periodSeconds": period,
        "timeoutSeconds": timeout,
        "failureThreshold": failures,
        "successThreshold": 1,
    }


REAL_PROBES = {
    ("redis", "master"): (None, numbers(20, 5, 5, 5), numbers(20, 5, 1, 5)),
    ("redis", "replica"): (numbers(10, 10, 5, 22), numbers(20, 5, 5, 5), numbers(20, 5, 1, 5)),
    ("redis", "sentinel"): (numbers(10, 10, 5, 22), numbers(20, 10, 5, 6), numbers(20, 5, 1, 6)),
    ("redis", "metrics"): (None, numbers(10, 10, 5, 5), numbers(5, 10, 1, 3)),
    ("postgresql", "primary"): (None, numbers(30, 10, 5, 6), numbers(5, 10, 5, 6)),
    ("postgresql", "readReplicas"): (None, numbers(30, 10, 5, 6), numbers(5, 10, 5, 6)),
    ("postgresql", "metrics"): (None, numbers(5, 10, 5, 6), numbers(5, 10, 5, 6)),
}
"""Start-up, liveness and readiness of the real charts by default; None where a probe is off."""


@pytest.mark.parametrize(("chart", "container"), REAL_PROBES)
def test_probes_are_as_patient_as_those_of_the_real_chart(chart, container):
    values = yaml.safe_load((CHARTS / chart / "values.yaml").read_text())[container]
    for probe, expected in zip(("startupProbe", "livenessProbe", "readinessProbe"), REAL_PROBES[chart, container], strict=True):
        enabled = values[probe].pop("enabled")
        assert (values[probe] if enabled else None) == expected, probe


def test_a_redis_is_ready_when_it_answers(render):
    """Also a replica that does not have its master's data yet: a rolling restart goes on while it copies."""
    objects = render("redis")
    probe = pod_of(objects)["spec"]["containers"][0]["readinessProbe"]
    assert probe == numbers(20, 5, 2, 5) | {"exec": {"command": ["/bin/bash", "-ec", "/health/ping_readiness_local.sh 1"]}}
    asked = objects["ConfigMap", "feast-redis-health"]["data"]["ping_readiness_local.sh"]
    assert "ping" in asked
    assert "role" not in asked


@pytest.mark.parametrize("chart", ["redis", "postgresql"])
def test_by_default_an_exporter_is_announced_to_a_prometheus_that_goes_by_annotations(render, chart):
    objects = render(chart, values_of(chart) | {"metrics": {"enabled": True}})
    if chart == "redis":
        announced = pod_of(objects)["metadata"]["annotations"]
    else:
        announced = objects["Service", "feast-postgresql-metrics"]["metadata"]["annotations"]
    port = "9121" if chart == "redis" else "9187"
    assert {"prometheus.io/scrape": "true", "prometheus.io/port": port}.items() <= announced.items()


@pytest.mark.parametrize("chart", ["redis", "postgresql"])
def test_a_chart_in_an_archive_is_the_same_chart(cloud, chart, tmp_path):
    """`chart.location` of a stack file may name a .tgz as well as a folder."""
    archive = tmp_path / f"{chart}.tgz"
    with tarfile.open(archive, "w:gz") as packed:
        packed.add(CHARTS / chart, chart)
    assert Helm(cloud, location=archive).render(chart) == Helm(cloud).render(chart)


@pytest.mark.parametrize("chart", ["redis", "postgresql"])
def test_every_pod_fits_a_restricted_namespace_and_gets_no_token(render, chart):
    objects = render(chart)
    pod = pod_of(objects)["spec"]
    assert pod["automountServiceAccountToken"] is False
    (account,) = [each for (kind, _), each in objects.items() if kind == "ServiceAccount"]
    assert account["automountServiceAccountToken"] is False
    assert pod["serviceAccountName"] == account["metadata"]["name"]
    assert not any(pod.get(name) for name in ("hostNetwork", "hostPID", "hostIPC"))
    for container in pod["containers"] + pod.get("initContainers", []):
        context = container["securityContext"]
        assert context["runAsNonRoot"] is True
        assert context["runAsUser"] == 1001
        assert context["readOnlyRootFilesystem"] is True
        assert context["allowPrivilegeEscalation"] is False
        assert context["capabilities"] == {"drop": ["ALL"]}
        assert context["seccompProfile"] == {"type": "RuntimeDefault"}


@pytest.mark.parametrize("chart", ["redis", "postgresql"])
def test_only_labelled_clients_and_the_release_itself_may_connect(render, chart):
    policy = render(chart)["NetworkPolicy", RELEASE[chart]]["spec"]
    peers = policy["ingress"][0]["from"]
    allowed = [peer["podSelector"]["matchLabels"] for peer in peers]
    assert {f"{RELEASE[chart]}-client": "true"} in allowed
    assert selector_of(chart) in allowed
    assert len(allowed) == 2
    assert policy["ingress"][0]["ports"] == [{"port": 6379 if chart == "redis" else 5432}]


def test_further_clients_of_the_registry_come_in_through_their_own_label(render):
    rules = render("postgresql")["NetworkPolicy", "feast-postgresql"]["spec"]["ingress"]
    assert rules[1:] == values_of("postgresql")["primary"]["networkPolicy"]["extraIngress"]


def test_the_policy_of_redis_is_open_only_when_asked(render):
    policy = render("redis", changed("redis", "networkPolicy.allowExternal", value=True))["NetworkPolicy", "feast-redis"]
    assert "from" not in policy["spec"]["ingress"][0]
    assert ("NetworkPolicy", "feast-redis") not in render("redis", changed("redis", "networkPolicy.enabled", value=False))


RENDERED = PROJECT / "tests" / "policies" / "rendered"
STACKS = {"standalone": "local", "sentinel": "prod", "replication": "prod"}


@pytest.mark.parametrize("path", sorted(RENDERED.glob("*.yaml")), ids=lambda path: path.stem)
def test_the_policies_are_tested_with_what_the_charts_render_for_the_stack_files(helm, path):
    """UPDATE_GOLDEN=1 writes the files anew; their diff is the review."""
    chart, _, mode = path.stem.partition("-")
    stack = STACKS[mode]
    values = run_program(stack_config(stack), stack=stack).of_type("helm.sh/v4:Chart")[RELEASE[chart]].inputs["values"]
    rendered = helm(chart, values)
    assert rendered.returncode == 0, rendered.stderr
    if os.environ.get("UPDATE_GOLDEN"):
        path.write_text(rendered.stdout)
    assert rendered.stdout == path.read_text()


@pytest.mark.parametrize("chart", ["redis", "postgresql"])
def test_two_renders_are_identical(helm, chart):
    assert helm(chart, values_of(chart)).stdout == helm(chart, values_of(chart)).stdout


def test_a_changed_configuration_restarts_redis(render):
    before = pod_of(render("redis"))["metadata"]["annotations"]
    after = pod_of(render("redis", changed("redis", "commonConfiguration", "maxmemory 1mb")))["metadata"]["annotations"]
    assert before["checksum/configmap"] != after["checksum/configmap"], "Redis reads its file only when it starts"


def test_disabled_commands_and_own_configuration_end_up_in_redis_configuration(render):
    values = changed("redis", "master.configuration", "tcp-keepalive 60")
    data = render("redis", values)["ConfigMap", "feast-redis-configuration"]["data"]
    assert 'rename-command FLUSHALL ""' in data["master.conf"]
    assert "tcp-keepalive 60" in data["master.conf"]
    assert data["redis.conf"].strip() == values["commonConfiguration"].strip()


@pytest.mark.parametrize(
    ("image", "reference"),
    [
        ({"registry": "r.example", "repository": "a/redis", "tag": "8"}, "r.example/a/redis:8"),
        (
            {"registry": "r.example", "repository": "a/redis", "tag": "8", "digest": f"sha256:{'a' * 64}"},
            f"r.example/a/redis@sha256:{'a' * 64}",
        ),
    ],
)
@pytest.mark.parametrize("chart", ["redis", "postgresql"])
def test_a_digest_wins_over_the_tag(render, chart, image, reference):
    assert pod_of(render(chart, values_of(chart) | {"image": image}))["spec"]["containers"][0]["image"] == reference


@pytest.mark.parametrize("chart", ["redis", "postgresql"])
def test_a_registry_for_all_images_replaces_the_registry(render, chart):
    values = changed(chart, "global.imageRegistry", "mirror.example/prefix")
    assert pod_of(render(chart, values))["spec"]["containers"][0]["image"] == "mirror.example/prefix/feast-eks/data-stores:1"


@pytest.mark.parametrize(("chart", "node"), [("redis", "master"), ("postgresql", "primary")])
def test_without_persistence_the_data_are_in_an_empty_directory(render, chart, node):
    objects = render(chart, changed(chart, f"{node}.persistence.enabled", value=False))
    (workload,) = [each for (kind, _), each in objects.items() if kind == "StatefulSet"]
    assert "volumeClaimTemplates" not in workload["spec"]
    assert {"name": "redis-data" if chart == "redis" else "data", "emptyDir": {}} in workload["spec"]["template"]["spec"]["volumes"]


@pytest.mark.parametrize(
    ("chart", "node", "name"), [("redis", "master", "feast-redis-master"), ("postgresql", "primary", "feast-postgresql")]
)
def test_the_disruption_budget_is_there_when_asked(render, chart, node, name):
    budget = render(chart, changed(chart, f"{node}.pdb.create", value=True))["PodDisruptionBudget", name]["spec"]
    assert budget["maxUnavailable"] == 1
    assert budget["selector"]["matchLabels"] == selector_of(chart, node)


@pytest.mark.parametrize(
    ("chart", "path", "value", "message"),
    [
        ("redis", "architecture", "replication", "does not implement architecture: replication without sentinel.enabled: true"),
        ("redis", "architecture", "cluster", "at '/architecture': value must be one of 'standalone', 'replication'"),
        ("redis", "sentinel.enabled", True, "does not implement sentinel.enabled: true without architecture: replication"),
        ("redis", "auth.sentinel", True, "does not implement auth.sentinel: true"),
        ("redis", "metrics.serviceMonitor.enabled", True, "does not implement metrics.serviceMonitor.enabled: true"),
        ("redis", "tls.enabled", True, "does not implement tls.enabled: true"),
        ("redis", "networkPolicy.metrics", {"allowExternal": False}, "makes the Bitnami chart admit everybody"),
        ("redis", "auth.enabled", False, "does not implement auth.enabled: false"),
        ("redis", "auth.existingSecret", "", "renders no Secret: set auth.existingSecret"),
        ("redis", "auth.acl", {"enabled": True}, "at '/auth': additional properties 'acl' not allowed"),
        ("redis", "master.affinty", {}, "at '/master': additional properties 'affinty' not allowed"),
        ("redis", "useHostnames", False, "does not implement useHostnames: false"),
        ("redis", "useHostname", True, "additional properties 'useHostname' not allowed"),
        ("redis", "master.persistence.size", 8, "at '/master/persistence/size': got number, want string"),
        ("redis", "image.digest", "latest", "at '/image/digest'"),
        ("postgresql", "architecture", "repmgr", "at '/architecture': value must be one of 'standalone', 'replication'"),
        ("postgresql", "metrics.prometheusRule.enabled", True, "does not implement metrics.prometheusRule.enabled: true"),
        ("postgresql", "tls.enabled", True, "does not implement tls.enabled: true"),
        ("postgresql", "backup.enabled", True, "does not implement backup.enabled: true"),
        ("postgresql", "readReplicas.repliCount", 2, "at '/readReplicas': additional properties 'repliCount' not allowed"),
        ("postgresql", "auth.existingSecret", "", "renders no Secret: set auth.existingSecret"),
        ("postgresql", "auth.password", "secret", "at '/auth': additional properties 'password' not allowed"),
        ("postgresql", "primary.initdb", {}, "at '/primary': additional properties 'initdb' not allowed"),
    ],
)
def test_what_a_chart_does_not_do_is_refused_with_the_value_named(helm, chart, path, value, message):
    refused = helm(chart, changed(chart, path, value))
    assert refused.returncode != 0, "a value that is taken and ignored is a lie about what runs"
    assert message in refused.stderr
