"""Fake nodes: what production asks for comes up on them, through the real scheduler and controllers, and nothing stays."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from sandbox import daemons
from sandbox import fake_nodes as fakes
from sandbox.fake_nodes import admission, objects, volumes
from sandbox.progress import SandboxError

PROJECT = Path(__file__).resolve().parents[2]
NAMESPACE = "fake-nodes-test"
FAKE_NAMESPACES = (NAMESPACE,)
STORAGE_CLASSES = ("gp3",)
RESTRICTED = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}


def pod(name, **spec):
    container = {
        "name": "main",
        "image": "registry.example/of/nobody:1",
        "securityContext": RESTRICTED,
        "resources": {"requests": {"cpu": "4", "memory": "5Gi"}, "limits": {"memory": "5Gi"}},
    }
    security = {"runAsNonRoot": True, "runAsUser": 1001, "seccompProfile": {"type": "RuntimeDefault"}}
    return {"metadata": {"labels": {"app": name}}, "spec": {"securityContext": security, "containers": [container], **spec}}


def claim(size, **spec):
    return {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": size}}, **spec}


def spread(name):
    selected = {"matchLabels": {"app": name}}
    zone = {"topologyKey": "topology.kubernetes.io/zone", "maxSkew": 1, "whenUnsatisfiable": "DoNotSchedule", "labelSelector": selected}
    return {"topologySpreadConstraints": [zone]}


def workload(kind, name, **spec):
    version = "batch/v1" if kind == "Job" else "apps/v1"
    return {"apiVersion": version, "kind": kind, "metadata": {"name": name, "namespace": NAMESPACE}, "spec": spec}


OBJECTS = [
    {
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {"name": NAMESPACE, "labels": {"pod-security.kubernetes.io/enforce": "restricted"}},
    },
    workload(
        "StatefulSet",
        "store",
        replicas=3,
        serviceName="store",
        selector={"matchLabels": {"app": "store"}},
        template=pod("store", **spread("store")),
        volumeClaimTemplates=[{"metadata": {"name": "data"}, "spec": claim("500Gi")}],
    ),
    workload(
        "Deployment",
        "server",
        replicas=6,
        selector={"matchLabels": {"app": "server"}},
        template=pod("server", **spread("server")),
    ),
    workload("Job", "apply", template=pod("apply", restartPolicy="Never", initContainers=[{"name": "first", "image": "none", "securityContext": RESTRICTED}])),
    {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "server", "namespace": NAMESPACE}, "spec": {"selector": {"app": "server"}, "ports": [{"port": 80}]}},
    {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "backup", "namespace": NAMESPACE}, "spec": claim("2Ti", storageClassName="gp3")},
]  # fmt: skip


def kubectl(cloud, *arguments):
    return cloud.output("kubectl", "-n", NAMESPACE, *arguments)


def listed(cloud, kind, *arguments):
    return json.loads(kubectl(cloud, "get", kind, "--output=json", *arguments))["items"]


@pytest.fixture(scope="module")
def manifest(tmp_path_factory):
    path = tmp_path_factory.mktemp("manifest") / "all.yaml"
    path.write_text(yaml.safe_dump_all(OBJECTS))
    return path


def test_nothing_is_left_behind_even_by_who_does_not_clean_up(cloud, kwok, manifest):
    """Comes before the module's fake nodes, as there can be none beside them."""
    with fakes.fake_nodes(NAMESPACE, storage_classes=STORAGE_CLASSES, kubeconfig=cloud.kubeconfig, kwok=kwok):
        kubectl(cloud, "apply", "--server-side", f"--filename={manifest}")
        kubectl(cloud, "rollout", "status", "statefulset/store", "--timeout=180s")

    kinds = "nodes,persistentvolumes,storageclasses,mutatingwebhookconfigurations"
    assert cloud.output("kubectl", "get", kinds, "--selector=feast-eks/fake=true", "--output=name") == ""
    assert f"namespace/{NAMESPACE}" not in cloud.output("kubectl", "get", "namespaces", "--output=name").split()
    leases = cloud.output("kubectl", "-n", "kube-node-lease", "get", "leases", "--output=name")
    assert "fake-" not in leases
    assert "kwok" not in [name for name, _ in daemons.marked_processes()]


KILLED = """
import sys, time
from pathlib import Path
from sandbox.fake_nodes import fake_nodes
with fake_nodes("fake-nodes-killed", kubeconfig=Path(sys.argv[1]), kwok=Path(sys.argv[2])):
    print("entered", flush=True)
    time.sleep(600)
"""


def test_what_a_killed_run_left_is_cleared_away_by_the_next(cloud, kwok):
    command = [sys.executable, "-c", KILLED, str(cloud.kubeconfig), str(kwok)]
    process = subprocess.Popen(command, cwd=PROJECT, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "entered\n"
    process.kill()
    process.communicate()

    with fakes.fake_nodes(NAMESPACE, kubeconfig=cloud.kubeconfig, kwok=kwok):
        hooks = cloud.output("kubectl", "get", "mutatingwebhookconfigurations", "--selector=feast-eks/fake=true", "--output=json")

    [hook] = json.loads(hooks)["items"]
    [where] = hook["webhooks"][0]["namespaceSelector"]["matchExpressions"]
    assert where["values"] == [NAMESPACE], "the killed one's server is gone: its namespace would get no pods"


@pytest.fixture(scope="module")
def environment(cloud, fake_nodes, manifest):
    kubectl(cloud, "apply", "--server-side", f"--filename={manifest}")
    kubectl(cloud, "rollout", "status", "statefulset/store", "--timeout=180s")
    kubectl(cloud, "rollout", "status", "deployment/server", "--timeout=180s")
    return fake_nodes


def test_what_is_too_big_for_this_machine_becomes_ready(cloud, environment):
    assert [item["status"]["readyReplicas"] for item in listed(cloud, "statefulsets,deployments")] == [3, 6]


def test_a_job_is_done(cloud, environment):
    kubectl(cloud, "wait", "job/apply", "--for=condition=Complete", "--timeout=180s")


def test_pods_are_on_fake_nodes_only_and_in_every_zone(cloud, environment):
    pods = listed(cloud, "pods")
    assert {pod["spec"]["nodeName"] for pod in pods} <= set(environment.nodes)
    for app in ("store", "server"):
        nodes = {pod["spec"]["nodeName"] for pod in pods if pod["metadata"]["labels"]["app"] == app}
        assert len(nodes) == 3, f"{app} is spread over the three zones"


def test_volumes_of_any_size_are_bound_in_the_zone_of_their_pod(cloud, environment):
    claims = {item["metadata"]["name"]: item for item in listed(cloud, "persistentvolumeclaims")}

    assert [claims[f"data-store-{number}"]["status"]["phase"] for number in range(3)] == ["Bound"] * 3
    assert claims["data-store-0"]["status"]["capacity"] == {"storage": "500Gi"}
    assert claims["backup"]["status"]["phase"] == "Pending", "bound when a pod uses it, as a volume of EBS is"


def test_a_service_has_the_addresses_of_its_pods(cloud, environment):
    slices = listed(cloud, "endpointslices", "--selector=kubernetes.io/service-name=server")

    addresses = [address for slice_ in slices for endpoint in slice_["endpoints"] for address in endpoint["addresses"]]
    assert len(set(addresses)) == 6


def test_workloads_stay_as_they_were_written(cloud, environment):
    template = json.loads(kubectl(cloud, "get", "deployment/server", "--output=json"))["spec"]["template"]["spec"]

    assert not {"nodeSelector", "tolerations"} & template.keys(), "else a program that is compared with them would find drift"


def test_other_namespaces_have_nothing_to_do_with_fake_nodes(cloud, environment):
    metadata = {"name": "elsewhere", "namespace": "default"}
    item = {"apiVersion": "v1", "kind": "Pod", **pod("elsewhere"), "metadata": metadata}
    made = cloud.run("bash", "-c", 'printf %s "$POD" | kubectl create --dry-run=server --output=json --filename=-', POD=json.dumps(item))

    assert made.returncode == 0, made.stdout
    assert "nodeSelector" not in json.loads(made.stdout)["spec"]


def test_only_one_has_fake_nodes_at_a_time(cloud, environment, kwok):
    with pytest.raises(SandboxError, match="`fake nodes`"), fakes.fake_nodes("other", kubeconfig=cloud.kubeconfig, kwok=kwok):
        pass


@pytest.mark.parametrize(
    ("spec", "goes"),
    [
        ({}, True),
        ({"storageClassName": "default"}, True),
        ({"storageClassName": "gp3"}, False),
        ({"storageClassName": ""}, False),
        ({"storageClassName": "default", "volumeName": "chosen"}, False),
    ],
)
def test_only_claims_without_a_wish_are_given_the_fake_class(spec, goes):
    assert bool(admission.changes("PersistentVolumeClaim", {"spec": spec}, "default")) is goes


NODE = {"kind": "Node", "metadata": {"name": "fake-b-0", "labels": {"topology.kubernetes.io/zone": "eu-west-1b"}}}


def scheduled(**spec):
    """A claim whose pod the scheduler has given a node."""
    metadata = {"name": "data", "namespace": "n", "uid": "u", "annotations": {"volume.kubernetes.io/selected-node": "fake-b-0"}}
    return {"kind": "PersistentVolumeClaim", "metadata": metadata, "spec": claim("1Gi", storageClassName="fake", **spec)}


def test_a_claim_is_given_one_volume_where_its_pod_is():
    [made] = volumes.missing([NODE, scheduled()], {"fake"})

    assert made["spec"]["claimRef"]["uid"] == "u"
    assert "eu-west-1b" in json.dumps(made["spec"]["nodeAffinity"])
    assert volumes.missing([NODE, scheduled(), {**made, "kind": "PersistentVolume"}], {"fake"}) == [], "it is bound a moment later"


def test_other_claims_are_given_none():
    waiting = scheduled()
    waiting["metadata"]["annotations"] = {}

    assert volumes.missing([NODE, waiting], {"fake"}) == [], "no pod uses it"
    assert volumes.missing([NODE, scheduled(volumeName="chosen")], {"fake"}) == []
    assert volumes.missing([NODE, scheduled()], {"gp3"}) == [], "a class of somebody else's"


@pytest.mark.parametrize(
    ("labels", "phase", "goes"), [(objects.FAKE, "Released", True), (objects.FAKE, "Bound", False), ({}, "Released", False)]
)
def test_only_our_volumes_without_a_claim_are_deleted(labels, phase, goes):
    volume = {"kind": "PersistentVolume", "metadata": {"name": "v", "labels": labels}, "status": {"phase": phase}}

    assert bool(volumes.released([volume])) is goes
