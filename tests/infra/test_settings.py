"""Stack files: what is wrong is refused whole, with path, value, rule and remedy, before anything registers."""

import re

import pulumi
import pytest
from hypothesis import given
from hypothesis import strategies as st

from feast_eks.refusal import Refusal
from feast_eks.settings import Settings, parse_settings
from feast_eks.settings_reference import settings_reference
from tests.infra.engine import PROJECT, run_program, stack_config

GOOD = {
    "cluster": {"kube_context": "somewhere"},
    "runtime_image": {"repository": "registry.example.com/feature-runtime"},
}


def refused(values, secret_keys=frozenset()):
    with pytest.raises(Refusal) as caught:
        parse_settings(values, "dev", PROJECT, secret_keys=secret_keys)
    return {problem.path: problem for problem in caught.value.problems}


def test_the_smallest_stack_file_names_a_cluster_and_an_image():
    settings = parse_settings(GOOD, "dev", PROJECT)
    assert settings.protect_data is True, "data is protected unless a stack file says otherwise"
    assert settings.feature_server.min_replicas >= 2


@pytest.mark.parametrize(
    ("change", "path", "rule"),
    [
        ({"replicas": 3}, "replicas", "a known key"),
        ({"registry": {"memory_mb": 512}}, "registry.memory_mb", "a known key"),
        ({"feature_server": {"min_replicas": "two"}}, "feature_server.min_replicas", "valid integer"),
        ({"feature_server": {"min_replicas": "2"}}, "feature_server.min_replicas", "valid integer"),
        ({"feature_server": {"min_replicas": 0}}, "feature_server.min_replicas", "greater than or equal to 1"),
        ({"feature_server": {"min_replicas": 4, "max_replicas": 2}}, "feature_server", r"min_replicas \(4\) is at most max_replicas"),
        ({"feature_server": {"workers": 8, "memory_mib": 512}}, "feature_server", "8 workers need 1730 MiB"),
        ({"online_store": {"mode": "sentinel"}}, "online_store", "odd number of at least 3"),
        ({"online_store": {"mode": "sentinel", "replicas": 4}}, "online_store", "odd number of at least 3"),
        ({"online_store": {"replicas": 3}}, "online_store", "standalone Redis is one replica"),
        ({"online_store": {"mode": "cluster"}}, "online_store.mode", "'standalone' or 'sentinel'"),
        ({"materialization": {"schedule": "nightly"}}, "materialization.schedule", "cron expression of five fields"),
        ({"materialization": {"schedule": "0 25 * * *"}}, "materialization.schedule", "cron expression of five fields"),
        ({"materialization": {"schedule": "@daily"}}, "materialization.schedule", "cron expression of five fields"),
        ({"namespace": "Feast_Prod"}, "namespace", "a DNS label"),
        ({"offline_store": {"bucket_name": "My_Bucket"}}, "offline_store.bucket_name", "an S3 bucket name"),
        ({"offline_store": {"endpoint_url": "10.0.0.1:9000"}}, "offline_store.endpoint_url", "http"),
        ({"offline_store": {"sample_data": "no/such.parquet"}}, "offline_store.sample_data", "a file"),
        ({"runtime_image": {"repository": "r.example.com/f:1"}}, "runtime_image", "without tag or digest"),
        ({"runtime_image": {"repository": "r.example.com:5000/f", "tag": "latest"}}, "runtime_image", "an exact tag"),
        ({"runtime_image": {"repository": "r/f", "digest": "sha256:abc"}}, "runtime_image.digest", "match"),
        ({"registry": {"chart": {"location": "oci://r.example.com/postgresql"}}}, "registry.chart", "an OCI chart has an exact version"),
        ({"registry": {"chart": {"location": "oci://r/p", "version": "^16.0.0"}}}, "registry.chart", "exact version, not a range"),
        ({"cluster": {}}, "cluster.kube_context", "no default"),
        ({"cluster": {"kube_context": ""}}, "cluster.kube_context", "at least 1 character"),
    ],
)
def test_one_wrong_value_is_refused_where_it_stands(change, path, rule):
    problem = refused(GOOD | change)[path]
    assert re.search(rule, problem.rule), problem
    assert problem.remedy


def test_all_errors_are_reported_at_once():
    problems = refused({"typo": 1, "namespace": "X", "feature_server": {"min_replicas": 0}, "registry": {"memory_mib": True}})
    assert set(problems) == {
        *("cluster", "runtime_image", "typo", "namespace"),
        *("feature_server.min_replicas", "registry.memory_mib"),
    }


def test_an_endpoint_without_an_access_key_is_refused():
    values = GOOD | {"offline_store": {"endpoint_url": "https://minio.example.com"}}
    assert "secret" in refused(values)["offline_store_credentials"].remedy
    parse_settings(values, "dev", PROJECT, secret_keys={"offline_store_credentials"})


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
    page = settings_reference()
    rows = [line for line in page.splitlines() if line.startswith("| `")]
    assert len(rows) > 30
    assert not [row for row in rows if row.endswith("|  |")], "a key without a meaning"
    assert (PROJECT / "docs" / "settings.md").read_text() == page, "stale: make docs"
