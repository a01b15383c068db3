"""Nodes that only pretend, so that production's sizes come up on a small machine.

Everything but the nodes is real: scheduler, controllers, quotas, admission. kwok plays the kubelet: a pod on a fake node runs and is ready
at once, a Job's pod has succeeded. Nothing is executed, so this shows that an environment is scheduled and rolled out, not that it works.

Only pods of the namespaces asked for get there, and they get nowhere else (`admission`); their volumes, of any size, are empty promises
(`volumes`). Test equipment: nothing of it is there unless `fake_nodes` is entered, and all of it is gone afterwards.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from sandbox import addresses as at
from sandbox import state
from sandbox.daemons import Daemon, answers
from sandbox.fake_nodes import admission, objects, volumes
from sandbox.fake_nodes.objects import ONLY_FAKE
from sandbox.kubectl import Kubectl, Object
from sandbox.progress import wait_until
from sandbox.tools import KWOK, obtain

ZONES = ("a", "b", "c")
CAPACITY = {"cpu": "64", "memory": "512Gi", "ephemeral-storage": "1Ti", "pods": "250"}
_MANAGED = "kwok.x-k8s.io/node"
_STAGES = Path(__file__).with_name("stages.yaml")
_PORT = 10247
_GONE_SECONDS = 60


@dataclass(frozen=True)
class FakeNodes:
    """The nodes that pods of these namespaces are on."""

    nodes: tuple[str, ...]
    namespaces: tuple[str, ...]


@contextmanager
def fake_nodes(
    *namespaces: str,
    per_zone: int = 1,
    storage_classes: Sequence[str] = (),
    kubeconfig: Path = state.KUBECONFIG,
    kwok: Path | None = None,
) -> Iterator[FakeNodes]:
    """Fake nodes in three zones for all pods made in `namespaces` (which need not exist yet) while this is entered.

    Claims without a class, and those of `storage_classes`, are given volumes there. Those of the namespaces that are made while this
    is entered are deleted at its end. Raises SandboxError when another process has fake nodes, or kwok does not start; `kwok` is
    built when no path to one is given.
    """
    kubectl = Kubectl(state.BIN / "kubectl", kubeconfig)
    with state.locked("fake nodes", path=state.RUNTIME / "fake-nodes.lock", remove=True):
        daemon = _kwok(kwok or build(), kubeconfig)
        _remove_all(kubectl)  # of a run that was killed
        before = _namespaces(kubectl)
        try:
            daemon.ensure()
            names = _make_nodes(kubectl, per_zone)
            with volumes.provided(kubectl, storage_classes), admission.sent_to_fake_nodes(kubectl, namespaces):
                try:
                    yield FakeNodes(names, namespaces)
                finally:
                    _remove_namespaces(kubectl, sorted((_namespaces(kubectl) - before).intersection(namespaces)))
        finally:
            _remove_all(kubectl)
            daemon.stop()


def build() -> Path:
    """The kwok executable."""
    return obtain(KWOK)


def _kwok(executable: Path, kubeconfig: Path) -> Daemon:
    address = f"127.0.0.1:{_PORT}"
    return Daemon(
        name="kwok",
        command=[
            str(executable),
            f"--kubeconfig={kubeconfig}",
            f"--config={_STAGES}",
            "--manage-all-nodes=false",
            f"--manage-nodes-with-annotation-selector={_MANAGED}=fake",
            "--node-lease-duration-seconds=40",
            "--node-ip=127.0.0.1",
            f"--node-port={_PORT}",
            f"--server-address={address}",
            "--v=WARN",
        ],
        files=[_STAGES],
        healthy=lambda: answers(f"http://{address}/healthz"),
    )


def _make_nodes(kubectl: Kubectl, per_zone: int) -> tuple[str, ...]:
    made = [_node(zone, number) for zone in ZONES for number in range(per_zone)]
    objects.create(kubectl, *made)
    names = tuple(str(node["metadata"]["name"]) for node in made)
    wait_until(lambda: set(names) <= _ready(kubectl), what="the fake nodes are ready", seconds=60, pause=1)
    return names


def _node(zone: str, number: int) -> Object:
    name = f"fake-{zone}-{number}"
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": name,
            "annotations": {_MANAGED: "fake"},
            "labels": {
                "kubernetes.io/hostname": name,
                "kubernetes.io/os": "linux",
                "kubernetes.io/arch": "amd64",
                "node.kubernetes.io/instance-type": "m7i.16xlarge",
                "topology.kubernetes.io/region": at.REGION,
                "topology.kubernetes.io/zone": f"{at.REGION}{zone}",
            },
        },
        "spec": {"taints": [ONLY_FAKE]},
        "status": {
            "capacity": CAPACITY,
            "allocatable": CAPACITY,
            "addresses": [{"type": "InternalIP", "address": "127.0.0.1"}, {"type": "Hostname", "address": name}],
            "daemonEndpoints": {"kubeletEndpoint": {"Port": _PORT}},
        },
    }


def _ready(kubectl: Kubectl) -> set[str]:
    return {str(node["metadata"]["name"]) for node in kubectl.get("nodes", f"--selector={objects.SELECTOR}")["items"] if _is_ready(node)}


def _is_ready(node: Object) -> bool:
    tainted = {taint["key"] for taint in (node.get("spec") or {}).get("taints") or []} - {ONLY_FAKE["key"]}
    conditions = {entry["type"]: entry["status"] for entry in (node.get("status") or {}).get("conditions") or []}
    return conditions.get("Ready") == "True" and not tainted  # the controllers take a new node's own taints away


def _remove_all(kubectl: Kubectl) -> None:
    """The order matters: nothing new may come, then the pods go while somebody answers for them, then what they were on."""
    admission.remove(kubectl)
    nodes = objects.names(kubectl, "nodes")
    for name in nodes:
        kubectl.delete("pods", "--all-namespaces", f"--field-selector=spec.nodeName={name}", "--force", "--grace-period=0")
    if nodes:
        kubectl.delete("nodes", *nodes)
        kubectl.delete("leases", "--namespace=kube-node-lease", *nodes)
    volumes.remove(kubectl)


def _namespaces(kubectl: Kubectl) -> set[str]:
    return {str(item["metadata"]["name"]) for item in kubectl.get("namespaces")["items"]}


def _remove_namespaces(kubectl: Kubectl, names: Sequence[str]) -> None:
    """What is left in them would be made again on the real node."""
    if names:
        kubectl.run("delete", "namespaces", "--ignore-not-found", f"--timeout={_GONE_SECONDS}s", *names)
