"""Whatever happens to it, the next `cloud` brings the sandbox back and `down` leaves nothing."""

import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from sandbox import addresses as at
from sandbox import cgroups, daemons, network, node, state
from sandbox import cloud as the_cloud
from sandbox.kubectl import Kubectl
from tests.waiting import wait_until

CLOUD = [sys.executable, "-m", "sandbox", "cloud"]


def bring_up(directory=state.CLONE):
    return subprocess.run(CLOUD, cwd=directory, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)


def works():
    return node.is_ready(Kubectl(state.BIN / "kubectl"))


@pytest.fixture
def pod(cloud):
    """A pod that answers on a port; calling it tells its present address."""
    kubectl = Kubectl(state.BIN / "kubectl")
    wait_until(lambda: kubectl.get("serviceaccounts")["items"], "the namespace has its service account")
    container = {"name": "main", "image": "localhost/feast-eks/data-stores:1", "command": ["redis-server", "--protected-mode", "no"]}
    spec = {"containers": [container | {"workingDir": "/tmp"}], "automountServiceAccountToken": False, "terminationGracePeriodSeconds": 0}
    kubectl.apply([{"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "lasting", "namespace": "default"}, "spec": spec}])
    kubectl.run("wait", "--for=condition=Ready", "pod/lasting", "--timeout=120s", "--request-timeout=150s")
    yield lambda: kubectl.get("pod", "lasting")["status"].get("podIP", "")
    kubectl.run("delete", "pod", "lasting", "--ignore-not-found", "--wait=true")


def reached(address):
    try:
        with socket.create_connection((address, 6379), timeout=1) as connection:
            connection.sendall(b"PING\r\n")
            return connection.recv(7) == b"+PONG\r\n"
    except OSError:
        return False


def test_with_nothing_to_do_it_starts_nothing(cloud):
    before = {name: daemons.running(name) for name in the_cloud.DAEMONS}
    assert bring_up().returncode == 0
    assert {name: daemons.running(name) for name in the_cloud.DAEMONS} == before


@pytest.mark.parametrize("name", ["etcd", "kube-controller-manager", "containerd", "kubelet", "coredns", "s3"])
def test_a_daemon_that_died_is_running_again_after_the_next_run(cloud, name):
    died = daemons.running(name)
    died.end(0)
    assert daemons.running(name) is None
    assert bring_up().returncode == 0
    assert daemons.running(name) not in (None, died)
    assert works()


def test_a_lost_network_is_made_again_and_pods_are_reached_over_it(cloud, pod):
    assert reached(pod())
    before = node.shims()
    assert before
    daemons.running("containerd").end(0)  # nobody is left who would end them
    network.remove()
    assert bring_up().returncode == 0
    assert network.exists()
    wait_until(lambda: reached(pod()), "the pod is reached")
    assert not {shim.pid for shim in before} & {shim.pid for shim in node.shims()}, "its helpers hold on to the lost network"


def test_another_clone_takes_the_sandbox_over(cloud, clone):
    before = daemons.running("kube-apiserver")
    taken = bring_up(clone)
    assert taken.returncode == 0, taken.stderr
    assert f"Taking over the sandbox of {state.CLONE}" in taken.stdout
    assert state.owner()["clone"] == str(clone)
    assert daemons.running("kube-apiserver") == before, "what runs as it should is not disturbed"
    assert bring_up().returncode == 0
    assert state.owner()["clone"] == str(state.CLONE)


def test_a_sandbox_of_an_unknown_format_is_taken_down_and_made_anew(cloud):
    before = daemons.running("kube-apiserver")
    owner = (state.STATE / "owner.json").read_text()
    (state.STATE / "owner.json").write_text(owner.replace(f'"format": "{state.FORMAT}"', '"format": "0"'))
    assert bring_up().returncode == 0
    assert daemons.running("kube-apiserver") not in (None, before)
    assert works()


def test_a_pipe_at_its_output_does_not_hang_it(cloud):
    daemons.stop("coredns")
    shell = f"{' '.join(CLOUD)} | cat"
    assert subprocess.run(shell, shell=True, cwd=state.CLONE, check=False, capture_output=True, timeout=60).returncode == 0


def test_down_leaves_nothing_and_a_killed_run_is_finished_by_the_next(cloud, pod):
    """One long story, because each way down needs a way up again."""
    machine_before = traces()
    assert {f"interface {at.HOST_INTERFACE}", "cgroups"} <= set(the_cloud.leftovers())

    down()
    assert the_cloud.leftovers() == []
    clean = traces()
    assert not clean & OURS, "down must leave nothing"
    assert machine_before & OURS, "the traces looked for are those that a running sandbox makes"

    for seconds, number in ((1.5, signal.SIGKILL), (4, signal.SIGKILL), (9, signal.SIGINT)):
        process = subprocess.Popen(CLOUD, cwd=state.CLONE, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        time.sleep(seconds)
        process.send_signal(number)
        said = process.communicate(timeout=60)[1]
        assert "Traceback" not in said
    assert bring_up().returncode == 0
    assert works()

    assert not node.shims(), "a sandbox made anew has no pods"

    # Half made: containerd is gone, its helpers and pods are not; and then a sandbox nobody has a record of.
    daemons.running("containerd").end(0)
    for record in daemons.RECORDS.glob("*.json"):
        record.unlink()
    (state.STATE / "owner.json").unlink()
    down()
    assert traces() == clean
    assert bring_up().returncode == 0
    assert works()


OURS = frozenset(
    {
        "/run/feast-eks",
        "/var/lib/feast-eks",
        "/run/feast-eks.lock",
        "/var/lib/kubelet",
        "/var/lib/cni",
        "/var/log/containers",
        f"/sys/class/net/{at.HOST_INTERFACE}",
        f"/run/netns/{at.NETWORK_NAMESPACE}",
        *(f"/sys/fs/cgroup/{hierarchy}{cgroups.NAME}" for hierarchy in ("", "cpu/", "memory/", "pids/", "systemd/")),
    }
)


def traces():
    """Places where a sandbox shows, mounts, and the rules of the machine's own firewall."""
    places = {place for place in OURS if Path(place).exists()}
    mounts = {line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()}
    rules = subprocess.run(["iptables-save"], capture_output=True, text=True, check=False).stdout.splitlines()
    return frozenset(places | mounts | {rule for rule in rules if rule.startswith("-A")})


def down():
    result = subprocess.run([sys.executable, "-m", "sandbox", "down"], cwd=state.CLONE, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
