"""Production's shape on a real node at small sizes: Redis with Sentinel, PostgreSQL with a read replica, features served through both."""

import json
import os
import shutil
import signal
import time
import urllib.error
import urllib.request

import pytest
import yaml

from tests.sandbox.data_stores import redis_processes

NAMESPACE = "feast-ha"
IMAGE = {"repository": "localhost/feast-eks/data-stores", "tag": "1"}
SMALL = {"storage_gib": 1, "cpu_millicores": 50, "memory_mib": 128, "spread": "preferred"}  # one node has no second one to spread to
FAILOVER_SECONDS = 60
"""Bounds a busy machine's worst case: 2 seconds of silence, an election, and a client that notices."""


@pytest.fixture(scope="module")
def deployed(cloud, clone, tmp_path_factory):
    """The local stack in production's shape, in a namespace and a state of its own; gone afterwards."""
    project = tmp_path_factory.mktemp("ha") / "feast-eks"
    shutil.copytree(clone, project, symlinks=True)
    made = cloud.run("make", "sample-data", "lock", cwd=project)
    assert made.returncode == 0, made.stdout
    path = project / "stacks" / "Pulumi.local.yaml"
    document = yaml.safe_load(path.read_text())
    config = document["config"]
    config["feast-eks:namespace"] = NAMESPACE
    config["feast-eks:offline_store"]["bucket_name"] = NAMESPACE
    config["feast-eks:online_store"] |= SMALL | {"mode": "sentinel", "replicas": 3, "sentinel_image": IMAGE}
    config["feast-eks:registry"] |= SMALL | {"mode": "replication", "read_replicas": 1, "memory_mib": 256}
    path.write_text(yaml.safe_dump(document))
    variables = {"PULUMI_BACKEND_URL": f"file://{tmp_path_factory.mktemp('ha-state')}"}
    selected = cloud.run("pulumi", "stack", "select", "--create", "local", cwd=project, **variables)
    assert selected.returncode == 0, selected.stdout
    up = cloud.run("pulumi", "up", "--yes", "--skip-preview", cwd=project, **variables)
    try:
        assert up.returncode == 0, up.stdout
        yield lambda *command: cloud.output("pulumi", *command, cwd=project, **variables)
    finally:
        destroyed = cloud.run("pulumi", "destroy", "--yes", "--skip-preview", cwd=project, **variables)
        cloud.run("kubectl", "delete", "namespace", NAMESPACE, "--ignore-not-found", "--timeout=180s")
    assert destroyed.returncode == 0, destroyed.stdout


@pytest.fixture
def kubectl(cloud):
    return lambda *arguments: cloud.output("kubectl", "-n", NAMESPACE, *arguments)


@pytest.fixture
def ask(kubectl):
    address = kubectl("get", "service", "feature-server", "-o", "jsonpath={.spec.clusterIP}")

    def post(employee):
        body = json.dumps({"feature_service": "attrition_model_v1", "entities": {"employee_id": [employee]}}).encode()
        request = urllib.request.Request(
            f"http://{address}:6566/get-online-features", data=body, headers={"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=20) as response:
            answer = json.load(response)
        return dict(zip(answer["metadata"]["feature_names"], (r["values"][0] for r in answer["results"]), strict=True))

    return post


def master(kubectl):
    """The pod that the Sentinels call the master."""
    said = kubectl(
        "exec", "feast-redis-node-0", "-c", "sentinel", "--", "redis-cli", "-p", "26379", "sentinel", "get-master-addr-by-name", "feast"
    )
    return said.split()[0].partition(".")[0]


def test_features_are_served_through_sentinel_and_a_read_replica(deployed, ask, kubectl):
    assert deployed("stack", "output", "namespace") == NAMESPACE
    for employee in (101, 202, 303):
        assert None not in ask(employee).values()
    sets = json.loads(kubectl("get", "statefulsets", "-o", "json"))["items"]
    ready = {item["metadata"]["name"]: item["status"].get("readyReplicas") for item in sets}
    assert ready == {"feast-redis-node": 3, "feast-postgresql-primary": 1, "feast-postgresql-read": 1}


def test_the_servers_read_the_registry_from_the_replica(deployed, kubectl):
    """So that they start and refresh while the primary is away."""
    query = "select count(*) from pg_stat_activity where usename = 'feast_serve'"
    counts = {
        pod: int(
            kubectl(
                "exec",
                pod,
                "-c",
                "postgresql",
                "--",
                "sh",
                "-c",
                f'PGPASSWORD="$(cat "$POSTGRES_POSTGRES_PASSWORD_FILE")" psql -h 127.0.0.1 -U postgres -tAc "{query}"',
            )
        )
        for pod in ("feast-postgresql-primary-0", "feast-postgresql-read-0")
    }
    assert counts["feast-postgresql-read-0"] > 0, counts
    assert counts["feast-postgresql-primary-0"] == 0, counts


def test_nothing_is_left_to_change(deployed):
    deployed("preview", "--expect-no-changes")


def test_a_dead_master_is_replaced_and_features_are_served_again(deployed, ask, kubectl):
    before, vector = master(kubectl), ask(101)
    pod = kubectl("get", "pod", before, "-o", "jsonpath={.metadata.uid}")
    deadline = time.monotonic() + FAILOVER_SECONDS
    killed = 0
    while master(kubectl) == before:
        assert time.monotonic() < deadline, "no other master was elected"
        for process in redis_processes(pod):  # once more where the kubelet was faster than the Sentinels, as a dead machine stays dead
            os.kill(process, signal.SIGKILL)
            killed += 1
    assert killed, "no process was found to kill"
    while True:
        try:
            assert ask(101) == vector, "the new master knows other values"
            break
        except (urllib.error.URLError, TimeoutError):
            assert time.monotonic() < deadline, "features are not served again"
            time.sleep(0.2)
    kubectl("rollout", "status", "statefulset/feast-redis-node", "--timeout=300s")
