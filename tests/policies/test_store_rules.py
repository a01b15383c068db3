"""Stores that lose, forget or give away, and a Feast that reads another thing than was written: one thing is broken at a time."""

import dataclasses

import pytest

from feast_eks_policies import durability, integrity, online_store, serving
from feast_eks_policies.stores import database, stores
from feast_eks_policies.values import UNKNOWN
from tests.policies.charts import handle
from tests.policies.resources_aws import ABSENT, as_recording, changed, resource
from tests.policies.resources_kubernetes import (
    CANARY,
    KUBERNETES_RULES,
    NEVER,
    POSTGRESQL,
    REDIS,
    REDIS_CONFIGURATION,
    WEEK,
    assert_found,
    assert_not_hidden,
    chart,
    container,
    contract,
    damaged,
    feature_store,
    findings,
    from_secret,
    good,
    identifier,
    named,
    pod,
    registry_user,
    rules_of,
)

SPEC = "spec.template.spec"
C = f"{SPEC}.containers.0"
GATES = f"{SPEC}.initContainers"
FILE = ("data", "feature_store.yaml")
LOCK = ("data", "contract.lock.json")
CONF = ("data", "redis.conf")
PG_PATH = "postgresql+psycopg://${U}:${P}@%s:5432/feast%s"
CLAIMS = "spec.persistentVolumeClaimRetentionPolicy"
PRIMARY = "feast-postgresql:StatefulSet/feast-postgresql-primary"
MONITOR = "port 26379\nsentinel monitor feast feast-redis-node-0.feast-redis-headless 6379 %s\n"
GOOD_CONF = "appendonly yes\nmaxmemory 600mb\nmaxmemory-policy noeviction\n"


def store(path, value=None):
    return feature_store(path, value)


def redis_pod(*words, env=(), **more):
    return pod({"app": "cache"}, container("cache", list(words), list(env)), **more)


def deployment(name, template):
    return resource(
        "kubernetes:apps/v1:Deployment",
        name,
        {"metadata": named(name), "spec": {"replicas": 1, "selector": {"matchLabels": {"app": "cache"}}, "template": template}},
    )


STORES = [
    ("redis-auth", REDIS, f"{C}.env", [{"name": "ALLOW_EMPTY_PASSWORD", "value": "yes"}], "ALLOW_EMPTY_PASSWORD"),
    ("redis-auth", REDIS, f"{C}.env", [], "without password or users"),
    ("redis-auth", "old-redis", "values.auth.enabled", False, "values.auth.enabled is false"),
    ("redis-auth", REDIS_CONFIGURATION, CONF, f"{GOOD_CONF}protected-mode no\n", "protected-mode no"),
    ("redis-auth", "users", ("stringData", "users.acl"), "user default on nopass ~* &* +@all\n", "nopass"),
    ("redis-auth", REDIS_CONFIGURATION, ("data", "users.acl"), "user reader on nopass ~* +get\n", "nopass"),
    ("redis-noeviction", REDIS_CONFIGURATION, CONF, "appendonly yes\nmaxmemory 600mb\nmaxmemory-policy allkeys-lru", "allkeys-lru"),
    ("redis-noeviction", REDIS_CONFIGURATION, ("data", "master.conf"), "maxmemory-policy volatile-lru\n", "volatile-lru"),
    ("redis-noeviction", REDIS_CONFIGURATION, CONF, "appendonly yes\n", "no maxmemory"),
    ("redis-noeviction", "old-redis", "values.commonConfiguration", "appendonly yes\nmaxmemory 1gb\nmaxmemory-policy allkeys-lfu", "lfu"),
    ("redis-aof", REDIS_CONFIGURATION, CONF, "maxmemory 600mb\nappendonly no\n", "appendonly yes"),
    ("redis-aof", REDIS_CONFIGURATION, CONF, "maxmemory 600mb\n", "appendonly yes"),
    ("redis-aof", REDIS_CONFIGURATION, CONF, f"{GOOD_CONF}appendfsync no\n", "appendfsync no"),
    ("redis-aof", "old-redis", "values.commonConfiguration", "maxmemory 1gb\n", "values.commonConfiguration"),
    ("redis-ha-prod", "old-redis", "values.architecture", "standalone", "one node down"),
    ("redis-ha-prod", "old-redis", "values.sentinel.enabled", False, "sentinel.enabled"),
    ("redis-ha-prod", "old-redis", "values.replica.replicaCount", 2, "replicaCount is 2"),
    ("redis-ha-prod", "old-redis", "values.replica.replicaCount", 4, "replicaCount is 4"),
    ("redis-ha-prod", "old-redis", "values.sentinel.quorum", 1, "the majority of 3 is 2"),
    ("redis-ha-prod", REDIS_CONFIGURATION, ("data", "sentinel.conf"), MONITOR % 1, "the majority of 3 is 2"),
    ("redis-ha-prod", REDIS_CONFIGURATION, ("data", "sentinel.conf"), MONITOR % 3, "the majority of 3 is 2"),
    ("redis-ha-prod and service-selects-pods", REDIS, f"{SPEC}.containers.1", ABSENT, "no Sentinel beside it"),
    ("redis-ha-prod", REDIS, "spec.replicas", 2, "nobody to take over"),
    ("redis-ha-prod", REDIS, "spec.replicas", 4, "half of an even number"),
    ("store-has-volume and stateful-protected", REDIS, "spec.volumeClaimTemplates", ABSENT, "redis data in no persistent volume"),
    ("store-has-volume", POSTGRESQL, "spec.volumeClaimTemplates", [], "postgresql data in no persistent volume"),
    ("store-has-volume", "old-redis", "values.replica.persistence.enabled", False, "values.replica.persistence.enabled"),
    ("store-has-volume", "old-postgresql", "values.primary.persistence.enabled", False, "values.primary.persistence.enabled"),
    ("volume-claims-retained", REDIS, CLAIMS, {"whenDeleted": "Delete"}, "whenDeleted is Delete"),
    ("volume-claims-retained", POSTGRESQL, CLAIMS, {"whenDeleted": "Retain", "whenScaled": "Delete"}, "whenScaled is Delete"),
    ("volume-claims-retained", "gp3", "reclaimPolicy", ABSENT, "reclaimPolicy is Delete"),
    ("stateful-protected", REDIS, "@protect", False, "protect is off"),
    ("stateful-protected", "old-redis", "@protect", False, "protect is off"),
    ("postgres-ha-prod", "old-postgresql", "values.architecture", "standalone", "one node down is the registry down"),
    ("postgres-ha-prod", "old-postgresql", "values.architecture", ABSENT, "one node down is the registry down"),
    ("postgres-ha-prod", POSTGRESQL, "spec.replicas", 0, "without a replica"),
]

FEAST = [
    ("ttl-vs-schedule", "definitions", LOCK, contract(employee_features=1), "employee_features.ttl_seconds is 1, below 5"),
    ("ttl-vs-schedule", "definitions", LOCK, contract(employee_features=-3_600), "employee_features.ttl_seconds is -3600"),
    ("ttl-vs-schedule", "definitions", LOCK, contract(employee_features=0), "keeps for ever"),
    ("ttl-vs-schedule", "definitions", LOCK, contract(employee_features=30 * WEEK), "values vanish before they are old"),
    ("ttl-vs-schedule", "definitions", FILE, store("online_store.key_ttl_seconds", 86_400), "keys vanish between two runs"),
    ("ttl-vs-schedule", "nightly", "spec.schedule", "0 2 * * 0", "keys vanish between two runs"),
    ("ttl-vs-schedule", "nightly", None, ABSENT, "no CronJob materializes"),
    ("ttl-vs-schedule", "nightly", "spec.jobTemplate.spec.template.spec.containers.0.args", ["echo"], "no CronJob materializes"),
    (
        "feast-server-hardened",
        "server",
        f"{C}.env.1",
        from_secret("REGISTRY_PASSWORD", "apply-credentials", "registry-password"),
        "the credential of apply",
    ),
    (
        "feast-server-hardened",
        "server",
        f"{C}.env.1",
        from_secret("REGISTRY_PASSWORD", "feast-postgresql-auth", "postgres-password"),
        "administrator",
    ),
    ("feast-server-hardened", "server", f"{C}.env.2.value", "auto", "REGISTRY_SCHEMA_MODE] is auto"),
    ("feast-server-hardened", "server", f"{C}.env.2", {"name": "OTHER", "value": "x"}, "REGISTRY_SCHEMA_MODE] is missing"),
    ("feast-server-hardened", "definitions", FILE, store("registry.schema_mode", "auto"), "registry.schema_mode is auto"),
    ("feast-server-hardened", "definitions", FILE, store("registry.schema_mode"), "registry.schema_mode is auto"),
    ("feast-server-hardened", "definitions", FILE, store("auth", {"type": "kubernetes"}), "auth.type kubernetes"),
    ("feast-server-hardened and netpol-per-workload", "server-from-clients", None, ABSENT, "listens to the whole namespace"),
    ("feast-server-hardened", "server-from-clients", "spec.policyTypes", ["Egress"], "listens to the whole namespace"),
    ("feast-apply-gated", "apply", "@dependencies", (), "nothing before it compares"),
    ("feast-apply-gated", "check", None, ABSENT, "nothing before it compares"),
    ("feast-apply-gated", "check", f"{C}.args", ["lock"], "nothing before it compares"),
    ("feast-apply-gated", "check", f"{C}.args", ["check", "--against", "git:origin/main"], "nothing before it compares"),
    ("feast-apply-gated", "check", "metadata.annotations", {"pulumi.com/skipAwait": "true"}, "nothing before it compares"),
    ("feast-apply-gated", "check", f"{C}.env.1.valueFrom.secretKeyRef.name", "apply-credentials", "it could write"),
    ("feast-registry-shared", "definitions", FILE, store("registry", "data/registry.db"), "registry is a file"),
    (
        "feast-registry-shared and feast-serves-while-materializing and feast-pool-recycle and feast-server-hardened",
        "definitions",
        FILE,
        store("registry", {"registry_type": "sql", "path": "sqlite:///r.db"}),
        "registry is sqlite",
    ),
    ("feast-registry-shared", "definitions", FILE, store("online_store", {"type": "sqlite"}), "online_store.type is sqlite"),
    ("feast-registry-shared", "definitions", FILE, store("online_store"), "online_store.type is sqlite"),
    (
        "feast-registry-shared",
        "definitions",
        FILE,
        store("online_store", {"type": "feast.infra.online_stores.sqlite.SqliteOnlineStore"}),
        "online_store.type is sqlite",
    ),
    ("feast-serialization-version", "definitions", FILE, store("entity_key_serialization_version", 2), "version is 2"),
    ("feast-serialization-version", "definitions", FILE, store("entity_key_serialization_version"), "version is missing"),
    ("feast-serves-while-materializing", "definitions", FILE, store("registry.serve_features_while_materializing", False), "not true"),
    ("external-stores-tls", "definitions", FILE, store("registry.path", PG_PATH % ("db.example.org", "")), "db.example.org"),
    ("external-stores-tls", "definitions", FILE, store("registry.path", PG_PATH % ("db.example.org", "?sslmode=prefer")), "registry.path"),
    (
        "external-stores-tls",
        "definitions",
        FILE,
        store("online_store.connection_string", "cache.example.org:6379,ssl=false"),
        "in the clear",
    ),
    ("feast-hash-seed-pinned", "server", f"{C}.env.0.value", "random", "is random"),
    ("feast-hash-seed-pinned", "server", f"{C}.env.0.name", "SEED", "is missing"),
    ("feast-pool-recycle", "definitions", FILE, store("registry.sqlalchemy_config_kwargs"), "pool_recycle is not 0"),
    ("feast-pool-recycle", "definitions", FILE, store("registry.sqlalchemy_config_kwargs.pool_recycle", 3600), "pool_recycle is not 0"),
    ("feast-store-hosts-resolve", "definitions", FILE, store("registry.path", PG_PATH % ("feast-postgres", "")), "feast-postgres,"),
    ("feast-store-hosts-resolve", "definitions", FILE, store("online_store.connection_string", "feast-redis-master:6379"), "master"),
    ("feast-store-hosts-resolve", "apply", f"{C}.env.1", {"name": "REGISTRY_HOST", "value": "feast-postgres"}, "feast-postgres"),
    (
        "alerts-can-fire",
        "alerts",
        "spec.groups.0.rules.0.expr",
        "time() - kube_cronjob_status_last_schedule_time > 3600",
        "scheduled every night",
    ),
    (
        "alerts-can-fire",
        "alerts",
        "spec.groups.0.rules.0.expr",
        "histogram_quantile(0.99, rate(feast_feature_server_request_duration_seconds_bucket[5m])) > 0.1",
        "nothing exports",
    ),
    ("alerts-can-fire", "alerts", "spec.groups.0.rules.0.expr", "feast_feature_server_latency > 1", "nothing exports"),
]

DAMAGES = [*STORES, *FEAST]

HARMLESS = [
    ("definitions", FILE, store("online_store.type", "feature_runtime.online_store.PipelinedRedisOnlineStore")),
    ("apply", f"{C}.args", ["kubectl", "apply", "-f", "objects.yaml"]),
    (REDIS_CONFIGURATION, CONF, f"{GOOD_CONF}# maxmemory-policy allkeys-lru\n"),
    (REDIS_CONFIGURATION, CONF, f"{GOOD_CONF}protected-mode no\naclfile /x\n"),
    (REDIS, CLAIMS, {"whenDeleted": "Retain", "whenScaled": "Retain"}),
    ("gp3", "reclaimPolicy", "Retain"),
    ("definitions", LOCK, contract(employee_features=WEEK, short=180_000, endless=None)),
    ("definitions", FILE, store("online_store.key_ttl_seconds")),
    ("definitions", FILE, store("registry.path", PG_PATH % ("db.example.org", "?sslmode=verify-full&sslrootcert=/x"))),
    ("definitions", FILE, store("registry.path", PG_PATH % ("feast-postgresql-primary.feast.svc.cluster.local", ""))),
    ("definitions", FILE, store("online_store.connection_string", "cache.example.org:6379,password=${P},ssl=true")),
    ("definitions", FILE, "project: x\nprovider: local\nregistry: data/registry.db\nonline_store: {type: remote, path: 'http://a'}\n"),
    ("definitions", FILE, store("online_store.connection_string", "cache.other.svc.cluster.local:6379")),
    ("definitions", FILE, "- not: [a, feature store"),
    ("definitions", LOCK, "{not json"),
    ("definitions", ("data", "values.yaml"), "project: x\n"),
    ("server", f"{C}.args", ["feast", "serve", "--workers", "1"]),
    ("nightly", "spec.schedule", "0 */12 * * *"),
]


@pytest.mark.parametrize("case", DAMAGES, ids=identifier)
def test_one_damage_is_one_rules_finding(case):
    assert_found(case)


def test_every_rule_has_a_damage_that_it_finds():
    assert {case[0].split(" and ")[0] for case in DAMAGES} == rules_of(online_store, durability, serving, integrity)


@pytest.mark.parametrize("case", HARMLESS, ids=lambda case: f"{case[0]}-{case[1]}")
def test_what_harms_nobody_is_no_finding(case):
    assert [str(v) for v in findings(damaged(*case)) if v.rule != "ttl-vs-schedule" or case[1] != LOCK or "not json" not in case[2]] == []


@pytest.mark.parametrize("case", [case for case in DAMAGES if case[2] is not None and not str(case[2]).startswith("@")], ids=identifier)
def test_an_unknown_value_elsewhere_hides_no_finding(case):
    assert_not_hidden(case)


@pytest.mark.parametrize(
    ("image", "name", "words", "found"),
    [
        ("redis:7", "cache", [], "redis"),
        ("docker.io/valkey/valkey:8", "cache", [], "redis"),
        ("registry:5000/own/image", "cache", ["redis-server", "--port", "6379"], "redis"),
        ("own", "cache", ["sh", "-c", "exec /usr/bin/redis-server /etc/redis.conf"], "redis"),
        ("own", "redis", [], "redis"),
        ("docker.io/library/postgres:17", "db", [], "postgresql"),
        ("own", "postgresql", [], "postgresql"),
        ("own", "db", ["postgres", "-c", "wal_level=replica"], "postgresql"),
        ("oliver006/redis_exporter", "metrics", [], None),
        ("bitnami/redis-sentinel:8", "sentinel", [], None),
        ("own", "watch", ["redis-sentinel", "/etc/sentinel.conf"], None),
        ("own", "client", ["redis-cli", "ping"], None),
        ("own", "client", ["psql", "-d", "postgres"], None),
        ("own/feature-server", "server", ["feast", "serve"], None),
    ],
)
def test_a_store_is_known_by_what_it_runs(image, name, words, found):
    assert database({"name": name, "image": image, "args": words}) == found


def test_a_job_that_talks_to_a_store_is_none():
    job = pod({}, {"name": "dump", "image": "postgres:17", "args": ["pg_dump"]}, **NEVER)
    backup = resource("kubernetes:batch/v1:Job", "backup", {"spec": {"template": job}})
    assert list(stores(backup)) == []


def test_a_plain_deployment_of_redis_is_caught_by_every_rule_of_stores():
    rogue = deployment("rogue", redis_pod("redis-server", "--protected-mode", "no", "--maxmemory-policy", "allkeys-lru", "--save", ""))
    found = {v.rule for v in findings({"rogue": rogue})}
    assert {"redis-auth", "redis-noeviction", "redis-aof", "redis-ha-prod", "store-has-volume"} <= found


def test_a_plain_postgresql_without_a_volume_or_a_copy_is_caught():
    rogue = deployment("rogue", pod({"app": "cache"}, container("db", ["postgres"], [])))
    assert {"store-has-volume", "postgres-ha-prod"} <= {v.rule for v in findings({"rogue": rogue})}


def test_redis_with_a_password_on_its_command_line_is_no_open_redis_but_a_leaked_secret():
    rogue = deployment("rogue", redis_pod("redis-server", "--requirepass", CANARY))
    found = {v.rule for v in findings({"rogue": rogue})}
    assert "redis-auth" not in found
    assert "no-plain-secret" in found


@pytest.mark.parametrize(
    "given",
    [
        redis_pod("redis-server", "--aclfile", "/acl/users.acl"),
        redis_pod("redis-server", "/etc/redis/redis.conf"),
        redis_pod("redis-server", env=[from_secret("REDIS_PASSWORD", "auth", "redis-password")]),
    ],
)
def test_redis_with_users_or_a_file_of_its_own_is_not_called_open(given):
    assert findings({"cache": deployment("cache", given)}, "redis-auth") == []


def test_a_protected_chart_is_no_protection_of_an_object_that_does_not_take_after_it():
    assert {v.resource for v in findings(damaged(REDIS, "@protect", False), "stateful-protected")} == {"feast-redis:feast/feast-redis-node"}
    assert findings(damaged("feast-redis", "@protect", False), "stateful-protected") == [], "the chart itself holds nothing"


def test_a_claim_alone_is_protected_too():
    claim = resource("kubernetes:core/v1:PersistentVolumeClaim", "claim", {"metadata": named("claim")})
    assert {v.rule for v in findings({"claim": claim})} == {"stateful-protected"}


def test_hosts_of_a_chart_whose_objects_are_not_shown_are_believed():
    shown = good()
    hidden = {name: each for name, each in shown.items() if not name.startswith(("feast-redis:", "feast-postgresql:"))}
    assert [str(v) for v in findings(hidden, "feast-store-hosts-resolve")] == []
    wrong = changed(hidden, "definitions", FILE, store("registry.path", PG_PATH % ("feast-postgres", "")))
    assert [v.rule for v in findings(wrong, "feast-store-hosts-resolve")] == ["feast-store-hosts-resolve"]


def test_a_host_that_pods_are_given_is_looked_at_as_if_it_stood_in_the_file():
    file = changed(good(), "definitions", FILE, store("registry.path", PG_PATH % ("${DATABASE_HOST}", "")))
    for host, rules in (("db.example.org", {"external-stores-tls"}), ("feast-postgres", {"feast-store-hosts-resolve"})):
        given = changed(file, "apply", f"{C}.env.1", {"name": "DATABASE_HOST", "value": host})
        assert {v.rule for v in findings(given)} == rules
    encrypted = store("registry.path", PG_PATH % ("${DATABASE_HOST}", "?sslmode=verify-full"))
    given = changed(file, "apply", f"{C}.env.1", {"name": "DATABASE_HOST", "value": "db.example.org"})
    assert [str(v) for v in findings(changed(given, "definitions", FILE, encrypted))] == []


def test_a_run_that_may_materialize_is_believed_until_its_arguments_are_known():
    args = "spec.jobTemplate.spec.template.spec.containers.0.args"
    assert findings(damaged("nightly", args, UNKNOWN), "ttl-vs-schedule") == []


def loads(*arguments):
    return {"spec.jobTemplate.spec.template.spec.containers.0.args": ["materialize", "--overlap-hours", "24", *arguments]}


def with_runs(**runs):
    """Good resources, with these CronJobs in the nightly one's place, and two views of which one ages fast."""
    resources = changed(good(), "definitions", LOCK, contract(employee_features=WEEK, clicks=4 * 3600))
    nightly = resources.pop("nightly")
    for name, changes in runs.items():
        resources[name] = dataclasses.replace(nightly, name=name, urn=nightly.urn.replace("nightly", name))
        for path, value in changes.items():
            resources = changed(resources, name, path, value)
    return findings(resources, "ttl-vs-schedule")


HOURLY = {"spec.schedule": "0 * * * *", "spec.jobTemplate.spec.activeDeadlineSeconds": 3540}


def test_a_view_is_measured_by_the_run_that_loads_it():
    assert [str(v) for v in with_runs(nightly=loads("--without", "clicks"), apart=loads("--views", "clicks") | HOURLY)] == []
    assert [str(v) for v in with_runs(nightly=loads(), apart=loads("--views", "clicks", "--wait-seconds", "9") | HOURLY)] == []
    (vanishing,) = with_runs(nightly=loads() | {"spec.schedule": "0 2 * * 0"}, apart=loads("--views", "clicks") | HOURLY)
    assert "keys vanish between two runs" in vanishing.message


def test_a_ttl_that_ends_between_two_runs_is_its_authors_choice():
    assert with_runs(nightly=loads()) == []
    assert with_runs(nightly=loads("--without", "clicks"), apart=loads("--views", "clicks")) == []


def test_a_view_that_no_run_loads_is_named():
    (forgotten,) = with_runs(nightly=loads("--without", "clicks"))
    assert "no CronJob materializes views.clicks" in forgotten.message
    (forgotten,) = with_runs(apart=loads("--views", "clicks") | HOURLY)
    assert "no CronJob materializes views.employee_features" in forgotten.message


def test_a_run_of_other_definitions_says_nothing_about_these():
    volumes = "spec.jobTemplate.spec.template.spec.volumes.0.configMap.name"
    assert any("no CronJob" in v.message for v in findings(damaged("nightly", volumes, "elsewhere"), "ttl-vs-schedule"))


GATE = ["check", "--against", "registry"]


def test_a_gate_in_the_same_pod_is_one_too():
    alone = damaged("apply", "@dependencies", ())
    gated = changed(alone, "apply", GATES, [container("check", GATE, registry_user("check", "verify"))])
    assert [str(v) for v in findings(gated, "feast-apply-gated")] == []
    (owned,) = findings(changed(gated, "apply", f"{GATES}.0.env", registry_user("apply", "verify")), "feast-apply-gated")
    assert "initContainers[0].env[REGISTRY_PASSWORD] is the credential of what it guards" in owned.message


def test_a_gate_may_be_several_steps_back():
    between = changed(good(), "definitions", "@dependencies", (good()["check"].urn,))
    resources = changed(between, "apply", "@dependencies", (between["definitions"].urn,))
    assert [str(v) for v in findings(resources, "feast-apply-gated")] == []


def test_a_gate_that_is_not_known_yet_is_believed():
    for path in ("spec", "spec.template", SPEC, f"{SPEC}.containers", f"{C}.args", f"{C}.args.0"):
        assert findings(damaged("check", path, UNKNOWN), "feast-apply-gated") == [], path
    assert findings(changed(damaged("apply", "@dependencies", ()), "apply", GATES, UNKNOWN), "feast-apply-gated") == []


def test_a_job_is_no_gate_of_what_runs_again():
    again = changed(good(), "nightly", "spec.jobTemplate.spec.template.spec.containers.0.args", ["apply"])
    again = changed(again, "nightly", "@dependencies", (again["check"].urn,))
    assert {v.resource for v in findings(again, "feast-apply-gated")} == {"nightly"}


def test_a_server_of_ours_is_a_feature_server_as_well():
    own = changed(good(), "server", f"{C}.args", ["serve", "--port", "6566"])
    loose = changed(own, "server", f"{C}.env.2.value", "auto")
    assert {v.rule for v in findings(loose)} == {"feast-server-hardened"}


def test_a_server_that_takes_all_of_applys_secret_is_caught():
    everything = [{"secretRef": {"name": "apply-credentials"}}]
    both = changed(damaged("server", f"{C}.envFrom", everything), "apply", f"{C}.envFrom", everything)
    assert any("envFrom" in v.message for v in findings(both, "feast-server-hardened"))


@pytest.mark.parametrize("file", ["redis-standalone", "postgresql-standalone"])
def test_charts_of_one_node_break_only_the_rules_about_copies(file):
    objects = {handle(each): each for each in chart("chart", file)}
    lone = {"netpol-default-deny", "redis-ha-prod", "postgres-ha-prod", "image-registry-allowed", "image-digest"}
    found = as_recording(objects).violations({}, KUBERNETES_RULES)
    assert {v.rule for v in found} <= lone, [str(v) for v in found]
    assert {"redis-ha-prod", "postgres-ha-prod"} & {v.rule for v in found}, "a single node has no copy"


def test_a_contract_in_parts_over_several_config_maps_is_looked_at_whole():
    volumes = "spec.jobTemplate.spec.template.spec.volumes.0"
    maps = ("feature-definitions", "feature-definitions-2")
    both = {"name": "feature-repo", "projected": {"sources": [{"configMap": {"name": name}} for name in maps]}}

    def parted(second, file=None):
        given = changed(good(), "nightly", volumes, both)
        given = changed(given, "definitions", FILE, file) if file else given
        data = {"metadata": named(maps[1]), "data": {"contract.lock.2.json": second}}
        return given | {"more": resource("kubernetes:core/v1:ConfigMap", "more", data)}

    assert [str(v) for v in findings(parted(contract(other=WEEK)))] == []
    assert "views.other.ttl_seconds is 1" in str(findings(parted(contract(other=1)), "ttl-vs-schedule")[0])
    vanishing = findings(parted(contract(other=30 * WEEK)), "ttl-vs-schedule")
    assert "values vanish before they are old" in str(vanishing[0]), "feature_store.yaml is in the other ConfigMap"
