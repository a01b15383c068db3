"""The program under the real Pulumi engine and a real API server: what a preview shows and what is refused."""

import json
import shutil

import pytest
import yaml


@pytest.fixture(scope="module")
def fresh_stack(cloud, clone, tmp_path_factory):
    """The local stack in a backend of its own, before its first update."""
    backend = tmp_path_factory.mktemp("backend")
    environment = {"PULUMI_BACKEND_URL": f"file://{backend}"}
    made = cloud.run("make", "sample-data", "lock", cwd=clone)
    assert made.returncode == 0, made.stdout
    selected = cloud.run("pulumi", "stack", "select", "--create", "local", cwd=clone, **environment)
    assert selected.returncode == 0, selected.stdout
    return environment


@pytest.fixture
def stack_file(clone):
    """Writes changes into the stack file, and puts it back."""
    path = clone / "stacks" / "Pulumi.local.yaml"
    before = path.read_text()

    def change(**keys):
        document = yaml.safe_load(before)
        for key, value in keys.items():
            document["config"][f"feast-eks:{key}"] = value
        path.write_text(yaml.safe_dump(document))

    yield change
    path.write_text(before)


def resources(cloud, clone, environment):
    state = json.loads(cloud.output("pulumi", "stack", "export", cwd=clone, **environment))
    return [r for r in state["deployment"].get("resources") or [] if r["type"] != "pulumi:pulumi:Stack"]


def test_the_first_preview_is_complete(cloud, clone, fresh_stack):
    preview = json.loads(cloud.output("pulumi", "preview", "--json", cwd=clone, **fresh_stack))
    said = json.dumps(preview.get("diagnostics") or [])
    assert "incomplete" not in said, said
    created = [(step["urn"].split("::")[2].rpartition("$")[2], step["urn"].split("::")[3]) for step in preview["steps"]]
    for kind, name in (
        ("kubernetes:apps/v1:StatefulSet", "feast-redis:feast/feast-redis-master"),
        ("kubernetes:apps/v1:StatefulSet", "feast-postgresql:feast/feast-postgresql"),
        ("kubernetes:apps/v1:Deployment", "feature-server-deployment"),
        ("aws:s3/bucket:Bucket", "offline-store-bucket"),
    ):
        assert (kind, name) in created, f"the preview does not show {name}"
    deployment = next(s for s in preview["steps"] if s["urn"].endswith("::feature-server-deployment"))
    assert "04da6b54" not in json.dumps(deployment["newState"]["inputs"]), "an unknown value in what a reviewer reads"


def test_a_preview_changes_nothing(cloud, clone, fresh_stack):
    assert resources(cloud, clone, fresh_stack) == []


def test_a_wrong_stack_file_is_refused_with_nothing_registered(cloud, clone, fresh_stack, stack_file):
    stack_file(typo=1, feature_server={"min_replicas": 5, "max_replicas": 2}, materialization={"schedule": "at night"})
    up = cloud.run("pulumi", "up", "--yes", "--skip-preview", cwd=clone, **fresh_stack)
    assert up.returncode != 0
    assert "3 problems, nothing was changed" in up.stdout
    for rule in ("a known key", "min_replicas (5) is at most max_replicas (2)", "a cron expression of five fields"):
        assert rule in up.stdout
    assert "Traceback" not in up.stdout
    assert resources(cloud, clone, fresh_stack) == []


def test_changed_definitions_without_a_new_contract_are_refused(cloud, clone, fresh_stack):
    views = clone / "feature_repo" / "feature_views.py"
    before = views.read_text()
    views.write_text(before + "\n# a change\n")
    try:
        preview = cloud.run("pulumi", "preview", cwd=clone, **fresh_stack)
    finally:
        views.write_text(before)
    assert preview.returncode != 0
    assert "contract.lock.json: stale" in preview.stdout
    assert "make lock" in preview.stdout


def test_an_unreachable_cluster_is_named(cloud, clone, fresh_stack, tmp_path):
    kubeconfig = tmp_path / "kubeconfig"
    kubeconfig.write_text(cloud.kubeconfig.read_text().replace(":6443", ":6999"))
    preview = cloud.run("pulumi", "preview", cwd=clone, **fresh_stack, KUBECONFIG=str(kubeconfig))
    assert preview.returncode != 0
    assert ":6999" in preview.stdout
    assert "Traceback" not in preview.stdout


def test_an_unknown_kube_context_is_named(cloud, clone, fresh_stack, stack_file):
    stack_file(cluster={"kube_context": "no-such-context"})
    preview = cloud.run("pulumi", "preview", cwd=clone, **fresh_stack)
    assert preview.returncode != 0
    assert "no-such-context" in preview.stdout
    assert "Traceback" not in preview.stdout


def test_a_stack_file_without_its_stack_is_refused(cloud, clone, fresh_stack):
    shutil.copy(clone / "stacks" / "Pulumi.local.yaml", clone / "stacks" / "Pulumi.nowhere.yaml")
    try:
        preview = cloud.run("pulumi", "preview", "--stack", "nowhere", cwd=clone, **fresh_stack)
    finally:
        (clone / "stacks" / "Pulumi.nowhere.yaml").unlink()
    assert preview.returncode != 0
    assert "nowhere" in preview.stdout


def test_a_cluster_without_the_prometheus_operator_is_named_before_anything_is_made(cloud, clone, fresh_stack, stack_file):
    """The provider itself passes over unknown kinds in a preview, and fails at them in the middle of an update."""
    stack_file(monitoring={"enabled": True})
    for command in (["preview"], ["up", "--yes", "--skip-preview"]):
        refused = cloud.run("pulumi", *command, cwd=clone, **fresh_stack)
        assert refused.returncode != 0, refused.stdout
        for words in (
            "the cluster does not know monitoring.coreos.com/v1/ServiceMonitor, monitoring.coreos.com/v1/PrometheusRule",
            "set monitoring: { enabled: false }",
        ):
            assert words in refused.stdout, refused.stdout
    made = [r["type"] for r in resources(cloud, clone, fresh_stack) if r["custom"]]
    assert {kind.partition(":")[0] for kind in made} <= {"pulumi"}, "only providers, which make nothing"
