"""Which changes replace a Kubernetes object, and whether the old one has to go first."""

import pytest

from sandbox.providers import replacement


def item(kind, api_version="v1", **metadata):
    return {"apiVersion": api_version, "kind": kind, "metadata": metadata}


@pytest.mark.parametrize(
    ("api_version", "kind", "path", "expected"),
    [
        ("v1", "ConfigMap", ("data", "a"), True),
        ("v1", "ConfigMap", ("metadata", "labels", "a"), False),
        ("v1", "Secret", ("stringData", "a"), True),
        ("v1", "Service", ("spec", "ports", 0, "port"), False),
        ("v1", "Service", ("spec", "clusterIP"), True),
        ("v1", "PersistentVolumeClaim", ("spec", "storageClassName"), True),
        ("v1", "PersistentVolumeClaim", ("spec", "resources", "requests", "storage"), False),
        ("apps/v1", "Deployment", ("spec", "replicas"), False),
        ("apps/v1", "Deployment", ("spec", "template", "spec", "containers", 0, "image"), False),
        ("apps/v1", "Deployment", ("spec", "selector", "matchLabels", "app"), True),
        ("apps/v1", "Deployment", ("metadata", "name"), True),
        ("apps/v1", "Deployment", ("metadata", "namespace"), True),
        ("apps/v1", "StatefulSet", ("spec", "volumeClaimTemplates", 0, "spec", "resources"), True),
        ("apps/v1", "StatefulSet", ("spec", "serviceName"), True),
        ("apps/v1", "StatefulSet", ("spec", "replicas"), False),
        ("batch/v1", "Job", ("spec", "template", "spec", "containers", 0, "image"), True),
        ("batch/v1", "Job", ("spec", "backoffLimit"), False),
        ("batch/v1", "Job", ("spec",), True),
        ("batch/v1", "CronJob", ("spec", "jobTemplate", "spec", "template"), False),
        ("rbac.authorization.k8s.io/v1", "RoleBinding", ("roleRef", "name"), True),
    ],
)
def test_a_change_replaces_where_the_api_server_would_refuse_it_or_pods_would_not_see_it(api_version, kind, path, expected):
    assert replacement.replaces(item(kind, api_version))(path) is expected


def test_data_changes_in_place_where_the_provider_is_told_so():
    decide = replacement.replaces(item("ConfigMap"), mutable=frozenset({"ConfigMap"}))

    assert decide(("data", "a")) is False


def test_a_fixed_name_is_freed_first():
    assert replacement.delete_first(item("Job", name="a", namespace="n"), item("Job", name="a", namespace="n"))


def test_a_generated_name_lets_the_new_one_come_first():
    named = item("ConfigMap", name="a-1", annotations={replacement.AUTONAMED: "true"})

    assert not replacement.delete_first(named, named), "the name is the old one until the engine asks for another"


def test_another_name_or_namespace_lets_the_new_one_come_first():
    old = item("ConfigMap", name="a", namespace="n")

    assert not replacement.delete_first(old, item("ConfigMap", name="b", namespace="n"))
    assert not replacement.delete_first(old, item("ConfigMap", name="a", namespace="m"))
