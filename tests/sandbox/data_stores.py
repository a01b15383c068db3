"""The data stores as the stand-in charts run them on the sandbox's cluster, in a namespace that enforces Pod Security `restricted`."""

import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import yaml

from tests.sandbox.charts import CHARTS, RELEASE
from tests.waiting import NotYet, wait_for

IMAGE = {"repository": "localhost/feast-eks/data-stores", "tag": "1"}


class Stores:
    """kubectl in a namespace of its own."""

    def __init__(self, cloud, namespace: str):
        self._cloud = cloud
        self.namespace = namespace

    def kubectl(self, *arguments: str, stdin: str = "", check: bool = True) -> str:
        done = subprocess.run(
            ["kubectl", "--namespace", self.namespace, *arguments],
            env=self._cloud.env, input=stdin, capture_output=True, text=True, timeout=360, check=False,
        )  # fmt: skip
        assert done.returncode == 0 or not check, f"kubectl {' '.join(arguments)}\n{done.stdout}{done.stderr}"
        return (done.stdout + done.stderr).strip()

    def start(self, *command: str) -> subprocess.Popen[str]:
        """A command in a pod that goes on while the test does something else."""
        return subprocess.Popen(
            ["kubectl", "--namespace", self.namespace, "exec", *command],
            env=self._cloud.env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip

    def apply(self, *objects: dict) -> None:
        self.kubectl("apply", "--filename", "-", stdin=yaml.safe_dump_all(objects))

    def install(self, chart: str, values: dict) -> None:
        rendered = subprocess.run(
            ["helm", "template", RELEASE[chart], CHARTS / chart, "--namespace", self.namespace, "--values", "-"],
            env=self._cloud.env, input=yaml.safe_dump(values), capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert rendered.returncode == 0, rendered.stderr
        self.kubectl("apply", "--filename", "-", stdin=rendered.stdout)

    def secret(self, name: str, data: dict[str, str]) -> dict:
        return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, "namespace": self.namespace}, "stringData": data}

    def wait(self, *workloads: str) -> None:
        for workload in workloads:
            try:
                self.kubectl("rollout", "status", workload, "--timeout=300s")
            except AssertionError as late:
                raise AssertionError(f"{late}\n{self.what_happened()}") from None

    def what_happened(self) -> str:
        """What explains that a pod is not ready: its state, its events, and the last lines of its containers."""
        pods = self.kubectl("get", "pods", "--output=jsonpath={.items[*].metadata.name}", check=False).split()
        asked = [
            ("get", "pods,persistentvolumeclaims", "--output=wide"),
            ("get", "events", "--sort-by=.lastTimestamp"),
            *(("logs", pod, "--all-containers", "--prefix", "--timestamps", "--tail=20") for pod in pods),
        ]
        return "\n".join(f"$ kubectl {' '.join(each)}\n{self.kubectl(*each, check=False)}" for each in asked)

    def uid(self, pod: str) -> str:
        return self.kubectl("get", "pod", pod, "--output=jsonpath={.metadata.uid}")

    def replace(self, pod: str, workload: str, *how: str) -> float:
        """Delete the pod and wait for its successor; returns the seconds that the old one took to stop."""
        before = self.uid(pod)
        began = time.monotonic()
        self.kubectl("delete", "pod", pod, *how)
        stopped = time.monotonic() - began
        self.wait(workload)
        assert self.uid(pod) != before
        return stopped

    def ask(self, pod: str, *client: str, container: str = "") -> str:
        """Run a client; a Service learns of a new pod a moment after the pod is ready."""

        def answer() -> str:
            said = self.kubectl("exec", pod, *([f"--container={container}"] if container else []), "--", *client, check=False)
            if "Connection refused" in said:
                raise NotYet(said)
            return said

        return wait_for(answer, NotYet)

    def inside(self, pod: str, script: str, *, check: bool = True) -> str:
        return self.kubectl("exec", pod, "--", "sh", "-c", script, check=check)


@contextmanager
def restricted_namespace(stores: Stores) -> Iterator[Stores]:
    """Make the namespace, anew if a killed run left it, and remove it in the end."""
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    stores.kubectl("delete", "namespace", stores.namespace, "--ignore-not-found")
    stores.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": stores.namespace, "labels": labels}})
    try:
        yield stores
    finally:
        stores.kubectl("delete", "namespace", stores.namespace, "--wait=false")


def redis_processes(pod_uid: str) -> list[int]:
    """The Redis servers of a pod, seen from the machine; its Sentinel is none of them."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            ours = pod_uid in (process / "cgroup").read_text()
            arguments = (process / "cmdline").read_bytes()
        except OSError:
            continue
        if ours and arguments.startswith(b"redis-server") and b"sentinel" not in arguments:
            found.append(int(process.name))
    return found
