"""Stack files: what is wrong is refused whole, with path, value, rule and remedy, before anything registers."""

import json
import re

import jsonschema
import pulumi
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from feast_eks.generated import FILES
from feast_eks.refusal import Refusal
from feast_eks.settings import Settings, parse_settings, shape_problems
from feast_eks.settings_reference import settings_reference
from feast_eks.settings_schema import settings_schema
from tests.infra.engine import AUTHORITY, PROJECT, STACKS, run_program, stack_config
from tests.infra.modes import GOOD, MODES, SECRETS, config_of, secrets_of, settings


def refused(values, secret_keys=frozenset()):
    with pytest.raises(Refusal) as caught:
        parse_settings(values, "dev", PROJECT, secret_keys=secret_keys)
    return {problem.path: problem for problem in caught.value.problems}


def test_the_smallest_stack_file_names_a_cluster_and_an_image():
    settings = parse_settings(GOOD, "dev", PROJECT)
    assert settings.protect_data is True, "data is protected unless a stack file says otherwise"
    assert settings.offline_store.encryption == "kms"
    assert settings.feature_server.min_replicas >= 2


@pytest.mark.parametrize("mode", MODES)
def test_every_mode_is_accepted(mode):
    assert settings(mode)


KEY = "arn:aws:kms:eu-west-1:123456789012:key/11111111-2222-3333-4444-555555555555"
BOUNDARY = "arn:aws:iam::123456789012:policy/boundary"
S3 = {"endpoint_url": "https://minio.example.com", "encryption": "s3"}
EXTERNAL_REGISTRY = {"mode": "external", "external": {"host": "db.example.com"}}
EXTERNAL_REDIS = {"mode": "external", "external": {"hosts": ["redis.example.com:6379"]}}


def external_registry(**changes):
    return {"registry": {"mode": "external", "external": {"host": "db.example.com"} | changes}}


def external_redis(**changes):
    return {"online_store": {"mode": "external", "external": {"hosts": ["redis.example.com:6379"]} | changes}}


WRONG = [
    # Keys and types.
    ({"replicas": 3}, "replicas", "a known key"),
    ({"registry": {"memory_mb": 512}}, "registry.memory_mb", "a known key"),
    ({"registry": {"chart": {"repo": "x"}}}, "registry.chart.repo", "a known key"),
    ({"feature_server": {"min_replicas": "two"}}, "feature_server.min_replicas", "valid integer"),
    ({"feature_server": {"min_replicas": "2"}}, "feature_server.min_replicas", "valid integer"),
    ({"feature_server": {"min_replicas": 0}}, "feature_server.min_replicas", "greater than or equal to 1"),
    ({"feature_server": []}, "feature_server", "valid dictionary"),
    ({"protect_data": "no"}, "protect_data", "valid boolean"),
    # The cluster.
    ({"cluster": {}}, "cluster.eks_name", "eks_name or kube_context"),
    ({"cluster": {"eks_name": "a", "kube_context": "b"}}, "cluster.kube_context", "not both"),
    ({"cluster": {"kube_context": ""}}, "cluster.kube_context", "a kubeconfig context"),
    ({"cluster": {"eks_name": "my cluster"}}, "cluster.eks_name", "an EKS cluster name"),
    # The account.
    ({"aws": {"region": "Ireland"}}, "aws.region", "an AWS region"),
    ({"aws": {"account_id": "1234"}}, "aws.account_id", "12 digits"),
    ({"aws": {"account_id": 123456789012}}, "aws.account_id", "12 digits, as text"),
    ({"aws": {"account_id": "١٢٣٤٥٦٧٨٩٠١٢"}}, "aws.account_id", "12 digits"),
    ({"aws": {"permissions_boundary_arn": "boundary"}}, "aws.permissions_boundary_arn", "the ARN of an IAM policy"),
    ({"aws": {"permissions_boundary_arn": KEY}}, "aws.permissions_boundary_arn", "the ARN of an IAM policy"),
    (
        {"aws": {"account_id": "210987654321", "permissions_boundary_arn": BOUNDARY}},
        "aws.permissions_boundary_arn",
        "a policy of the account 210987654321",
    ),
    ({"tags": {"aws:owner": "me"}}, "tags", "do not begin with aws:"),
    ({"tags": {"AWS:owner": "me"}}, "tags", "do not begin with aws:"),
    ({"tags": {"owner": "m&m"}}, "tags", "letters, digits"),
    ({"tags": {"owner": "x" * 257}}, "tags", "at most 256"),
    ({"tags": {"": "x"}}, "tags", "1 to 128"),
    ({"tags": {"owner": "x", "Owner": "y"}}, "tags", "differ by more than case"),
    ({"tags": {f"tag-{n}": "x" for n in range(51)}}, "tags", "at most 50 tags"),
    ({"tags": {"cost-center": 42}}, "tags.cost-center", "valid string"),
    # How pods reach the bucket.
    ({"cluster": {"kube_context": "c"}}, "workload_identity", "pod_identity works on EKS only"),
    ({"cluster": {"kube_context": "c"}, "workload_identity": "irsa"}, "workload_identity", "irsa works on EKS only"),
    ({"offline_store": S3}, "workload_identity", "knows no AWS roles"),
    ({"offline_store": S3, "workload_identity": "irsa"}, "workload_identity", "knows no AWS roles"),
    ({"workload_identity": "static"}, "workload_identity", "static is for S3-compatible stores"),
    ({"workload_identity": "keys"}, "workload_identity", "'pod_identity', 'irsa' or 'static'"),
    # Names.
    ({"namespace": "Feast_Prod"}, "namespace", "a DNS label"),
    ({"namespace": "kube-system"}, "namespace", "Kubernetes' own"),
    ({"namespace": "default"}, "namespace", "Kubernetes' own"),
    # Images and charts.
    ({"runtime_image": {"repository": "r.example.com/f:1"}}, "runtime_image.repository", "without tag or digest"),
    ({"runtime_image": {"repository": "feature-runtime"}}, "runtime_image.repository", "beginning with the registry's host"),
    ({"runtime_image": {"repository": "r.example.com/F"}}, "runtime_image.repository", "lower case"),
    ({"runtime_image": {"repository": "r.example.com:5000/f", "tag": "latest"}}, "runtime_image.tag", "an exact tag"),
    ({"runtime_image": {"repository": "r.example.com/f", "tag": "a b"}}, "runtime_image.tag", "match"),
    ({"runtime_image": {"repository": "r.example.com/f", "digest": "sha256:abc"}}, "runtime_image.digest", "match"),
    ({"registry": {"image": {"repository": "r.example.com/pg"}}}, "registry.image.tag", "an exact tag or a digest"),
    (
        {"registry": {"chart": {"location": "oci://r.example.com/postgresql"}}},
        "registry.chart.version",
        "an OCI chart has an exact version",
    ),
    ({"registry": {"chart": {"location": "oci://r/p", "version": "^16.0.0"}}}, "registry.chart.version", "exact version, not a range"),
    ({"registry": {"chart": {"location": "http://charts.example.com/p.tgz"}}}, "registry.chart.location", "oci://"),
    ({"registry": {"chart": {"location": "/srv/charts/p"}}}, "registry.chart.location", "a path relative to infra/"),
    ({"registry": {"chart": {"location": "../no/such/chart"}}}, "registry.chart.location", "a path relative to infra/"),
    # The offline store.
    ({"offline_store": {"bucket_name": "My_Bucket"}}, "offline_store.bucket_name", "an S3 bucket name"),
    ({"offline_store": {"bucket_name": "10.0.0.1"}}, "offline_store.bucket_name", "an S3 bucket name"),
    ({"offline_store": {"bucket_name": "a..b"}}, "offline_store.bucket_name", "an S3 bucket name"),
    ({"offline_store": {"bucket_name": "history-s3alias"}}, "offline_store.bucket_name", "an S3 bucket name"),
    ({"offline_store": {"endpoint_url": "10.0.0.1:9000"}}, "offline_store.endpoint_url", "http"),
    ({"offline_store": {"endpoint_url": "http://10.0.0.1:99999"}}, "offline_store.endpoint_url", "http"),
    ({"offline_store": {"endpoint_url": "https://minio.example.com/path"}}, "offline_store.endpoint_url", "without a path"),
    ({"offline_store": {"endpoint_url": "https://minio.example.com"}}, "offline_store.encryption", "no AWS KMS"),
    ({"offline_store": {"kms_key_arn": "alias/history"}}, "offline_store.kms_key_arn", "not of an alias"),
    ({"offline_store": {"kms_key_arn": KEY, "encryption": "s3"}}, "offline_store.kms_key_arn", "by encryption: kms only"),
    ({"offline_store": {"kms_key_arn": KEY}, "aws": {"region": "us-east-1"}}, "offline_store.kms_key_arn", "in the bucket's region"),
    ({"offline_store": {"bucket_name": "history", "log_bucket": "history"}}, "offline_store.log_bucket", "go to another bucket"),
    ({"offline_store": {"sample_data": "no/such.parquet"}, "protect_data": False}, "offline_store.sample_data", "a file"),
    ({"offline_store": {"sample_data": "/etc/passwd"}}, "offline_store.sample_data", "a path inside the project"),
    ({"offline_store": {"sample_data": "../other/data.parquet"}}, "offline_store.sample_data", "a path inside the project"),
    ({"offline_store": {"sample_data": "README.md"}}, "offline_store.sample_data", "never overwrites data that is protected"),
    (
        {"offline_store": {"sample_data": "README.md"}, "protect_data": False, "tags": {f"tag-{n}": "x" for n in range(11)}},
        "tags",
        "an S3 object carries no more",
    ),
    # The registry.
    ({"registry": {"mode": "external"}}, "registry.external", "needs the address of a PostgreSQL"),
    ({"registry": {"external": {"host": "db.example.com"}}}, "registry.external", "is for mode: external"),
    ({"registry": {"mode": "cluster"}}, "registry.mode", "'standalone', 'replication' or 'external'"),
    ({"registry": {"read_replicas": 3}}, "registry.read_replicas", "only mode: replication has read replicas"),
    ({"registry": {"mode": "replication", "read_replicas": 0}}, "registry.read_replicas", "greater than or equal to 1"),
    ({"registry": EXTERNAL_REGISTRY | {"storage_gib": 100}}, "registry.storage_gib", "runs no PostgreSQL"),
    ({"registry": EXTERNAL_REGISTRY | {"image": {"repository": "r.example.com/p", "tag": "1"}}}, "registry.image", "runs no PostgreSQL"),
    ({"registry": {"storage_class": "GP3"}}, "registry.storage_class", "the name of a Kubernetes object"),
    (external_registry(host="https://db.example.com"), "registry.external.host", "without scheme and port"),
    (external_registry(host="db.example.com:5432"), "registry.external.host", "without scheme and port"),
    (external_registry(host="169.254.169.254"), "registry.external.host", "a host name"),
    (external_registry(port=0), "registry.external.port", "greater than or equal to 1"),
    (external_registry(database="Feast-1"), "registry.external.database", "a PostgreSQL name"),
    (external_registry(read_host="DB.example.com"), "registry.external.read_host", "a read replica is another host"),
    (external_registry(tls=False, ca_certificate=AUTHORITY), "registry.external.ca_certificate", "asked with TLS only"),
    (external_registry(ca_certificate="no/such.pem"), "registry.external.ca_certificate", "a file, relative to the project"),
    (external_registry(ca_certificate="README.md"), "registry.external.ca_certificate", "a certificate in PEM"),
    # The online store.
    ({"online_store": {"mode": "sentinel"}}, "online_store.replicas", "odd number of at least 3"),
    ({"online_store": {"mode": "sentinel", "replicas": 4}}, "online_store.replicas", "odd number of at least 3"),
    ({"online_store": {"replicas": 3}}, "online_store.replicas", "standalone Redis is one replica"),
    ({"online_store": {"mode": "cluster"}}, "online_store.mode", "'standalone', 'sentinel' or 'external'"),
    ({"online_store": {"failover_after_milliseconds": 500}}, "online_store.failover_after_milliseconds", "only mode: sentinel"),
    ({"online_store": {"mode": "external"}}, "online_store.external", "needs the address of a Redis"),
    ({"online_store": {"external": {"hosts": ["r.example.com:6379"]}}}, "online_store.external", "is for mode: external"),
    ({"online_store": EXTERNAL_REDIS | {"replicas": 3}}, "online_store.replicas", "runs no Redis"),
    (external_redis(hosts=[]), "online_store.external.hosts", "at least 1 item"),
    (external_redis(hosts=["redis.example.com"]), "online_store.external.hosts.0", "host:port"),
    (external_redis(hosts=["a.example.com:1", "b.example.com:1"]), "online_store.external.hosts", "one address"),
    (external_redis(type="cluster", hosts=["a.example.com:1", "A.example.com:1"]), "online_store.external.hosts", "every address once"),
    (external_redis(tls=False, ca_certificate=AUTHORITY), "online_store.external.ca_certificate", "asked with TLS only"),
    # The jobs and the server.
    (
        {"feature_server": {"min_replicas": 4, "max_replicas": 2}},
        "feature_server.min_replicas",
        r"min_replicas \(4\) is at most max_replicas",
    ),
    ({"feature_server": {"workers": 2}}, "feature_server.workers", "a known key"),
    ({"feature_server": {"max_body_kib": 16384}}, "feature_server.memory_mib", "1000 entities and 16384 KiB need 969 MiB"),
    ({"feature_server": {"max_entities": 100_000}}, "feature_server.memory_mib", "100000 entities and 1024 KiB need 1336 MiB"),
    ({"feature_server": {"max_entities": 0}}, "feature_server.max_entities", "greater than or equal to 1"),
    ({"feature_server": {"on_not_found": "null"}}, "feature_server.on_not_found", "'answer' or 'refuse'"),
    ({"feature_server": {"on_outside_max_age": "serve"}}, "feature_server.on_outside_max_age", "'answer' or 'refuse'"),
    ({"skew_probe": {"schedule": "nightly"}}, "skew_probe.schedule", "cron expression of five fields"),
    ({"skew_probe": {"schedule": "0 * * * *"}}, "skew_probe.deadline_minutes", "before the next begins, 60 minutes later"),
    ({"skew_probe": {"sample": 0}}, "skew_probe.sample", "greater than or equal to 1"),
    ({"skew_probe": {"tolerated_ratio": 1.5}}, "skew_probe.tolerated_ratio", "less than or equal to 1"),
    ({"skew_probe": {"tolerated_ratio": "0.1"}}, "skew_probe.tolerated_ratio", "number"),
    ({"materialization": {"schedule": "nightly"}}, "materialization.schedule", "cron expression of five fields"),
    ({"materialization": {"schedule": "0 25 * * *"}}, "materialization.schedule", "the hour is 0 to 23"),
    ({"materialization": {"schedule": "@daily"}}, "materialization.schedule", "cron expression of five fields"),
    ({"materialization": {"schedule": "0 2 * * 7"}}, "materialization.schedule", "the weekday is 0 to 6"),
    ({"materialization": {"schedule": "0 2 L * *"}}, "materialization.schedule", "the day is 1 to 31"),
    ({"materialization": {"schedule": "0 2 30 2 *"}}, "materialization.schedule", "that comes round"),
    ({"materialization": {"deadline_minutes": 1440}}, "materialization.deadline_minutes", "before the next begins, 1440 minutes later"),
    ({"materialization": {"schedule": "0 2,3 * * *", "deadline_minutes": 60}}, "materialization.deadline_minutes", "60 minutes later"),
    ({"smoke_test": {"entities": {"employee_id": []}}}, "smoke_test.entities", "as many values"),
    ({"smoke_test": {"entities": {"a": [1, 2], "b": [1]}}}, "smoke_test.entities", "as many values"),
    # Monitoring.
    ({"monitoring": {"namespace": "feast"}}, "monitoring.namespace", "in another namespace"),
    ({"monitoring": {"labels": {"release": "not a label"}}}, "monitoring.labels", "Kubernetes labels"),
    ({"monitoring": {"runbook_url": "http://wiki"}}, "monitoring.runbook_url", "https"),
]


@pytest.mark.parametrize(("change", "path", "rule"), WRONG)
def test_one_wrong_value_is_refused_where_it_stands(change, path, rule):
    values = GOOD | change
    problem = refused(values, secrets_of(values).keys())[path]
    assert re.search(rule, problem.rule), problem
    assert problem.remedy


def test_a_certificate_with_its_private_key_is_refused(tmp_path):
    (tmp_path / "ca.pem").write_text((PROJECT / AUTHORITY).read_text() + "-----BEGIN PRIVATE KEY-----\n")
    with pytest.raises(Refusal, match="holds a private key"):
        parse_settings(GOOD | external_registry(ca_certificate="ca.pem"), "dev", tmp_path, secret_keys={"registry_admin"})


@pytest.mark.parametrize(
    "schedule", ["0 2 * * *", "*/15 * * * *", "0 2 * * 1-5", "0 2 * * mon,wed", "0 2 1 jan-jun/2 *", "0 2 29 2 *", "5/10 * * * *"]
)
def test_a_schedule_that_kubernetes_takes_is_accepted(schedule):
    assert parse_settings(GOOD | {"materialization": {"schedule": schedule, "deadline_minutes": 5}}, "dev", PROJECT)


@pytest.mark.parametrize("mode", MODES)
def test_a_secret_that_is_missing_or_useless_is_refused(mode):
    values = GOOD | MODES[mode]
    needed = secrets_of(values).keys()
    for key in SECRETS.keys() - needed:
        assert "a secret with a use" in refused(values, {*needed, key})[key].rule
    for key in needed:
        assert "--secret" in refused(values, needed - {key})[key].remedy


@pytest.mark.parametrize(
    ("key", "value", "path"),
    [
        ("registry_admin", {"username": "a"}, "registry_admin.password"),
        ("registry_admin", {"username": "a", "password": ""}, "registry_admin.password"),
        ("registry_admin", {"username": "a", "password": 5}, "registry_admin.password"),
        ("registry_admin", "canary", "registry_admin"),
        ("registry_admin", {"username": "a", "password": "canary", "host": "canary"}, "registry_admin.host"),
        ("online_store_users", SECRETS["online_store_users"] | {"serve": {}}, "online_store_users.serve"),
        (
            "online_store_users",
            SECRETS["online_store_users"] | {"feature-server": {"username": "u", "password": "canary,ssl=false"}},
            "online_store_users.feature-server.password",
        ),
        (
            "online_store_users",
            SECRETS["online_store_users"] | {"apply": {"username": "u", "password": "1e5"}},
            "online_store_users.apply.password",
        ),
    ],
)
def test_a_secret_of_the_wrong_shape_is_refused_and_never_shown(key, value, path):
    problems = {problem.path: problem for problem in shape_problems(key, value)}
    assert path in problems
    assert "pulumi config set --secret --path feast-eks:" in problems[path].remedy
    assert "canary" not in "".join(map(str, problems.values()))


def test_a_secret_of_the_wrong_shape_registers_nothing():
    config = config_of("external") | {"feast-eks:registry_admin": {"username": "canary"}}
    with pytest.raises(pulumi.RunError) as refusal:
        run_program(config, stack="dev")
    assert refusal.value.engine.registrations == []
    assert "registry_admin.password: missing" in str(refusal.value)
    assert "canary" not in str(refusal.value)


def test_all_errors_are_reported_at_once():
    problems = refused(
        {
            "typo": 1,
            "namespace": "X",
            "feature_server": {"min_replicas": 0},
            "registry": {"memory_mib": True},
            "cluster": {"kube_context": "c"},
            "offline_store": {"sample_data": "no/such.parquet"},
        },
        {"online_store_users"},
    )
    assert set(problems) == {
        *("runtime_image", "typo", "namespace", "feature_server.min_replicas", "registry.memory_mib"),
        # Between sections, in the file system and among the secrets, though other sections are refused.
        *("workload_identity", "offline_store.sample_data", "online_store_users"),
    }


def test_a_wrong_stack_file_registers_nothing_and_shows_no_traceback():
    with pytest.raises(pulumi.RunError) as refusal:
        run_program(stack_config(typo=1, feature_server={"min_replicas": 9, "max_replicas": 2}))
    assert refusal.value.engine.registrations == []
    message = str(refusal.value)
    assert "stacks/Pulumi.local.yaml: 2 problems, nothing was changed." in message
    assert "Traceback" not in message
    assert message.count("remedy:") == 2


def test_settings_cannot_be_changed_after_they_were_read():
    settings = parse_settings(GOOD, "dev", PROJECT)
    with pytest.raises(ValueError, match="frozen"):
        settings.namespace = "other"


scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8)
values = st.recursive(scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3))


@given(st.dictionaries(st.sampled_from(sorted(Settings.model_fields)) | st.text(max_size=8), values, max_size=6))
def test_any_stack_file_is_accepted_or_refused_with_reasons(stack_file):
    try:
        parse_settings(stack_file, "dev", PROJECT)
    except Refusal as refusal:
        assert refusal.problems
        assert all(p.path and p.rule and p.remedy for p in refusal.problems)


def test_every_setting_has_a_description_in_the_reference():
    rows = [line for line in settings_reference().splitlines() if line.startswith("| `")]
    assert len(rows) > 60
    assert not [row for row in rows if row.endswith("|  |")], "a key without a meaning"


@pytest.mark.parametrize("name", FILES)
def test_what_is_made_from_the_settings_is_fresh(name):
    assert (PROJECT / name).read_text() == FILES[name](), "stale: make docs"


def schema_errors(stack_file):
    schema = json.loads(settings_schema())
    jsonschema.Draft202012Validator.check_schema(schema)
    return [error.message for error in jsonschema.Draft202012Validator(schema).iter_errors(stack_file)]


@pytest.mark.parametrize("stack", STACKS)
def test_every_stack_file_fits_the_schema_and_names_it(stack):
    text = (PROJECT / "stacks" / f"Pulumi.{stack}.yaml").read_text()
    assert text.startswith("# yaml-language-server: $schema=schema.json\n"), "editors look for the schema in the first line"
    assert schema_errors(yaml.safe_load(text)) == []


@pytest.mark.parametrize("mode", MODES)
def test_every_mode_fits_the_schema(mode):
    assert schema_errors({"config": config_of(mode) | {"aws:region": "eu-west-1"}}) == []


def test_an_encrypted_secret_fits_the_schema_in_parts_and_as_a_whole():
    config = config_of("external")
    for secret in ({"secure": "v1:x"}, {"username": "dbadmin", "password": {"secure": "v1:x"}}):
        assert schema_errors({"config": config | {"feast-eks:registry_admin": secret}}) == []


@pytest.mark.parametrize(
    "change",
    [
        {"feast-eks:typo": 1},
        {"typo": 1},
        {"feast-eks:registry": {"memory_mb": 1}},
        {"feast-eks:registry": {"external": {"hots": "db.example.com"}}},
        {"feast-eks:namespace": "Feast"},
        {"feast-eks:aws": {"account_id": "12"}},
        {"feast-eks:feature_server": {"min_replicas": 0}},
        {"feast-eks:online_store": {"mode": "cluster"}},
    ],
)
def test_the_schema_marks_what_the_program_would_refuse(change):
    assert schema_errors({"config": config_of() | change})
