"""The cluster as pods see it: they run, are restricted, find each other, keep their data, and are reached from the machine."""

import json
import socket
import subprocess

import pytest

from sandbox import addresses as at
from sandbox import control_plane, network, node, s3, state, storage
from sandbox.daemons import answers
from sandbox.kubectl import Kubectl
from sandbox.progress import SandboxError
from tests.waiting import wait_until

NAMESPACE = "sandbox-test"
IMAGE = "localhost/feast-eks/data-stores:1"
RESTRICTED = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}, "readOnlyRootFilesystem": True}


@pytest.fixture(scope="module")
def kubectl(cloud):
    return Kubectl(state.BIN / "kubectl", cloud.kubeconfig)


@pytest.fixture(scope="module")
def namespace(kubectl):
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    kubectl.apply([{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE, "labels": labels}}])
    wait_until(lambda: kubectl.get("-n", NAMESPACE, "serviceaccounts")["items"], "the namespace has its service account")
    yield NAMESPACE
    kubectl.run("delete", "namespace", NAMESPACE, "--wait=false")


@pytest.fixture(scope="module")
def redis(kubectl, namespace):
    """A restricted pod with a claimed volume, behind a Service."""
    claim = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
    volume = {"name": "data", "persistentVolumeClaim": {"claimName": "data"}}
    command = ["bash", "-c", "touch /data/written && exec redis-server --protected-mode no --dir /data"]
    pod_template = pod(command, volumes=[volume], mounts=[{"name": "data", "mountPath": "/data"}])
    kubectl.apply(
        [
            {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": named("data"), "spec": claim},
            {
                "apiVersion": "v1",
                "kind": "Service",
                "metadata": named("redis"),
                "spec": {"selector": {"app": "redis"}, "ports": [{"port": 6379}]},
            },
            {"apiVersion": "v1", "kind": "Pod", "metadata": named("redis") | {"labels": {"app": "redis"}}, "spec": pod_template},
        ]
    )
    kubectl.run("-n", namespace, "wait", "--for=condition=Ready", "pod/redis", "--timeout=120s", "--request-timeout=150s")
    return "redis"


def named(name):
    return {"name": name, "namespace": NAMESPACE}


def pod(command, *, volumes=(), mounts=(), **security):
    return {
        "automountServiceAccountToken": False,
        "terminationGracePeriodSeconds": 1,
        "securityContext": {"runAsNonRoot": True, "runAsUser": 1001, "fsGroup": 1001, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [
            {"name": "main", "image": IMAGE, "command": command, "securityContext": RESTRICTED | security, "volumeMounts": list(mounts)}
        ],
        "volumes": list(volumes),
    }


def inside(kubectl, *command):
    return kubectl.run("-n", NAMESPACE, "exec", "redis", "--", *command).strip()


def redis_answers(host):
    try:
        with socket.create_connection((host, 6379), timeout=5) as connection:
            connection.sendall(b"PING\r\n")
            return connection.recv(7) == b"+PONG\r\n"
    except OSError:
        return False


def test_the_node_is_ready_and_knows_its_zone(kubectl, cloud):
    labels = kubectl.get("node", at.NODE)["metadata"]["labels"]
    assert node.is_ready(kubectl)
    assert labels["topology.kubernetes.io/zone"] == "sandbox-a", "pods that spread over zones could not be placed"


def test_a_pod_resolves_services_by_every_name(kubectl, redis):
    service = kubectl.get("-n", NAMESPACE, "service", "redis")["spec"]["clusterIP"]
    for name in (f"redis.{NAMESPACE}", f"redis.{NAMESPACE}.svc.cluster.local"):
        assert inside(kubectl, "getent", "hosts", name).split()[0] == service
    assert inside(kubectl, "getent", "hosts", "kubernetes.default").split()[0] == at.API_SERVICE_ADDRESS


def test_a_pod_reaches_a_service(kubectl, redis):
    # A pod is ready a moment before kube-proxy has written the rules of its Service.
    wait_until(lambda: inside(kubectl, "bash", "-c", f"redis-cli -h redis.{NAMESPACE} ping 2>&1 || true") == "PONG", "Redis answers")


def test_the_gateway_of_the_pods_keeps_its_hardware_address(cloud):
    def ip(*arguments):
        return subprocess.run([*network.enter(), "ip", *arguments], capture_output=True, text=True, check=True).stdout

    assert f"link/ether {at.POD_GATEWAY_HARDWARE}" in ip("link", "show", "dev", at.POD_BRIDGE)
    ip("link", "add", "lowest", "address", "02:00:00:00:00:01", "type", "veth", "peer", "name", "lowest-peer")
    try:
        ip("link", "set", "lowest", "master", at.POD_BRIDGE)
        assert f"link/ether {at.POD_GATEWAY_HARDWARE}" in ip("link", "show", "dev", at.POD_BRIDGE)
    finally:
        ip("link", "delete", "lowest")


def test_a_pod_reaches_s3_on_the_machine(kubectl, redis):
    assert inside(kubectl, "bash", "-c", f"exec 3<>/dev/tcp/{at.HOST_ADDRESS}/{at.S3_PORT} && echo open") == "open"


def test_the_machine_reaches_services_and_pods(kubectl, redis):
    service = kubectl.get("-n", NAMESPACE, "service", "redis")["spec"]["clusterIP"]
    address = kubectl.get("-n", NAMESPACE, "pod", "redis")["status"]["podIP"]
    wait_until(lambda: all(redis_answers(host) for host in (service, address)), "Redis answers")


def test_a_restricted_namespace_refuses_a_privileged_pod(kubectl, namespace):
    refused = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": named("privileged"),
        "spec": pod(["true"], privileged=True, allowPrivilegeEscalation=True),
    }
    with pytest.raises(SandboxError) as error:
        kubectl.apply([refused])
    assert 'violates PodSecurity "restricted' in str(error.value)


def test_a_claim_is_bound_and_its_volume_belongs_to_the_pods_group(kubectl, redis):
    claim = kubectl.get("-n", NAMESPACE, "persistentvolumeclaim", "data")
    assert claim["status"]["phase"] == "Bound"
    assert claim["spec"]["storageClassName"] == at.STORAGE_CLASS, "without a class of its own a claim gets the default one"
    assert (storage.VOLUMES / claim["spec"]["volumeName"] / "written").exists()
    assert (storage.VOLUMES / claim["spec"]["volumeName"]).stat().st_gid == 1001


def test_a_released_volume_comes_back_empty(kubectl, namespace):
    claim = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
    volume = {"name": "data", "persistentVolumeClaim": {"claimName": "short"}}
    spec = pod(["touch", "/data/left"], volumes=[volume], mounts=[{"name": "data", "mountPath": "/data"}]) | {"restartPolicy": "Never"}
    kubectl.apply(
        [
            {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": named("short"), "spec": claim},
            {"apiVersion": "v1", "kind": "Pod", "metadata": named("short"), "spec": spec},
        ]
    )
    kubectl.run(
        "-n", NAMESPACE, "wait", "--for=jsonpath={.status.phase}=Succeeded", "pod/short", "--timeout=120s", "--request-timeout=150s"
    )
    name = kubectl.get("-n", NAMESPACE, "persistentvolumeclaim", "short")["spec"]["volumeName"]
    assert (storage.VOLUMES / name / "left").exists()
    kubectl.run("-n", NAMESPACE, "delete", "pod/short", "persistentvolumeclaim/short", "--wait=true")
    wait_until(lambda: kubectl.get("persistentvolume", name)["status"]["phase"] == "Released", "the volume is Released")

    assert storage.ensure(kubectl) == 1
    assert not (storage.VOLUMES / name / "left").exists()
    wait_until(lambda: kubectl.get("persistentvolume", name)["status"]["phase"] == "Available", "the volume is Available")


def test_an_image_is_imported_only_when_its_archive_is_another(cloud, tmp_path):
    record = json.loads((state.STATE / "run" / "archives.json").read_text())
    archive = next(state.Path(path) for path in record if "data-stores" in path and state.Path(path).exists())
    assert node.load_image(archive, IMAGE) is False
    with pytest.raises(SandboxError, match="is missing"):
        node.load_image(tmp_path / "none.tar", IMAGE)


def test_nothing_of_the_control_plane_can_be_reached_from_outside(cloud):
    """Listening addresses of our daemons are the loopback and our own interface."""
    own = (at.HOST_ADDRESS, at.NODE_ADDRESS)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(("192.0.2.254", 9))  # sends nothing: it only asks which address leads outside
        outside = probe.getsockname()[0]
    if outside in own:
        pytest.fail("the sandbox's interface became the machine's way out")
    for port in (at.API_PORT, at.ETCD_PORT, at.S3_PORT, at.CONTROLLER_MANAGER_PORT, at.SCHEDULER_PORT):
        with socket.socket() as client:
            client.settimeout(2)
            assert client.connect_ex((outside, port)) != 0, f"port {port} answers on {outside}"


def test_the_machines_kernel_settings_are_as_before_the_kubelet(cloud):
    # The kubelet sets kernel.panic_on_oops to 1 for the whole machine; node.start_kubelet puts back what it found.
    assert not node.KERNEL_RECORD.exists()
    before = {name: (node.Path("/proc/sys") / name).read_text().strip() for name in node.KERNEL_SETTINGS}
    state.write(node.KERNEL_RECORD, json.dumps(before | {"kernel/panic_on_oops": before["kernel/panic_on_oops"]}))
    (node.Path("/proc/sys") / "kernel/panic_on_oops").write_text("1" if before["kernel/panic_on_oops"] == "0" else "0")
    node.restore_kernel_settings()
    assert (node.Path("/proc/sys") / "kernel/panic_on_oops").read_text().strip() == before["kernel/panic_on_oops"]


def test_a_fresh_s3_is_noticed_until_the_program_has_been_rolled_out_onto_it(cloud):
    s3.mark_rolled_out()
    assert not s3.is_empty_for_the_program()
    s3.stop("s3")
    assert s3.ensure() is True
    assert s3.is_empty_for_the_program()
    assert s3.is_empty_for_the_program(), "an interrupted rollout must not lose it"
    assert answers(f"{at.S3_URL}/moto-api/")


def test_the_daemons_of_the_control_plane_listen_where_the_ports_are_checked(cloud):
    for address in control_plane.PORTS:
        host, _, port = address.rpartition(":")
        with socket.create_connection((host, int(port)), timeout=5):
            pass
    assert network.exists()
