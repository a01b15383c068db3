"""etcd, API server, controller manager and scheduler, as processes on the machine's side of the network.

Pod Security admission is on, as it is by default. Only 10.200.0.1 and the loopback are listened on: nothing of it can be reached
from outside the machine.
"""

import json
import subprocess
from pathlib import Path

from sandbox import addresses as at
from sandbox.certificates import PKI
from sandbox.daemons import Daemon, answers, stop
from sandbox.state import KUBECONFIG, STATE, write

ETCD_URL = f"http://127.0.0.1:{at.ETCD_PORT}"
API_SERVER_STOP_SECONDS = 5  # it would wait for its last watch to end
PORTS = {
    f"127.0.0.1:{at.ETCD_PORT}": "etcd",
    f"127.0.0.1:{at.ETCD_PEER_PORT}": "etcd",
    f"{at.HOST_ADDRESS}:{at.API_PORT}": "kube-apiserver",
    f"127.0.0.1:{at.CONTROLLER_MANAGER_PORT}": "kube-controller-manager",
    f"127.0.0.1:{at.SCHEDULER_PORT}": "kube-scheduler",
}


def etcd(binary: Path) -> Daemon:
    """The API server's store. It does not wait for the disk: a power cut may lose it, and `down` makes it anew."""
    return Daemon(
        name="etcd",
        command=[
            str(binary),
            f"--data-dir={STATE / 'etcd'}",
            f"--listen-client-urls={ETCD_URL}",
            f"--advertise-client-urls={ETCD_URL}",
            f"--listen-peer-urls=http://127.0.0.1:{at.ETCD_PEER_PORT}",
            "--unsafe-no-fsync",
            "--log-level=warn",
        ],
        healthy=lambda: answers(f"{ETCD_URL}/health"),
    )


def api_server(binary: Path) -> Daemon:
    """The Kubernetes API, at `addresses.API_URL`."""
    return Daemon(
        name="kube-apiserver",
        command=[
            str(binary),
            f"--etcd-servers={ETCD_URL}",
            f"--bind-address={at.HOST_ADDRESS}",
            f"--advertise-address={at.HOST_ADDRESS}",
            f"--secure-port={at.API_PORT}",
            f"--tls-cert-file={PKI / 'apiserver.crt'}",
            f"--tls-private-key-file={PKI / 'apiserver.key'}",
            f"--client-ca-file={PKI / 'ca.crt'}",
            "--authorization-mode=Node,RBAC",
            "--enable-admission-plugins=NodeRestriction",
            "--allow-privileged=true",
            "--anonymous-auth=true",
            f"--service-cluster-ip-range={at.SERVICE_RANGE}",
            f"--service-account-issuer=https://kubernetes.default.svc.{at.CLUSTER_DOMAIN}",
            f"--service-account-key-file={PKI / 'service-accounts.pub'}",
            f"--service-account-signing-key-file={PKI / 'service-accounts.key'}",
            f"--kubelet-client-certificate={PKI / 'apiserver-kubelet.crt'}",
            f"--kubelet-client-key={PKI / 'apiserver-kubelet.key'}",
            "--kubelet-preferred-address-types=InternalIP",
            "--endpoint-reconciler-type=lease",
            "--enable-priority-and-fairness=false",
            "--profiling=false",
        ],
        files=[PKI / "apiserver.crt", PKI / "ca.crt"],
        healthy=lambda: answers(f"{at.API_URL}/readyz"),
        start_seconds=120,
        stop_seconds=API_SERVER_STOP_SECONDS,
    )


def controller_manager(binary: Path) -> Daemon:
    """The controllers, Job, Deployment, StatefulSet and volume binding among them."""
    return Daemon(
        name="kube-controller-manager",
        command=[
            str(binary),
            *_authenticated_as("controller-manager"),
            "--bind-address=127.0.0.1",
            f"--secure-port={at.CONTROLLER_MANAGER_PORT}",
            "--leader-elect=false",
            "--use-service-account-credentials=true",
            f"--root-ca-file={PKI / 'ca.crt'}",
            f"--service-account-private-key-file={PKI / 'service-accounts.key'}",
            f"--cluster-signing-cert-file={PKI / 'ca.crt'}",
            f"--cluster-signing-key-file={PKI / 'ca.key'}",
            "--allocate-node-cidrs=true",
            f"--cluster-cidr={at.CLUSTER_RANGE}",
            "--node-cidr-mask-size=24",
            f"--service-cluster-ip-range={at.SERVICE_RANGE}",
        ],
        files=[PKI / "controller-manager.crt"],
        healthy=lambda: answers(f"https://127.0.0.1:{at.CONTROLLER_MANAGER_PORT}/healthz"),
    )


def scheduler(binary: Path) -> Daemon:
    """Puts pods on the one node."""
    return Daemon(
        name="kube-scheduler",
        command=[
            str(binary),
            *_authenticated_as("scheduler"),
            "--bind-address=127.0.0.1",
            f"--secure-port={at.SCHEDULER_PORT}",
            "--leader-elect=false",
        ],
        files=[PKI / "scheduler.crt"],
        healthy=lambda: answers(f"https://127.0.0.1:{at.SCHEDULER_PORT}/healthz"),
    )


def stop_all() -> None:
    """Stop the control plane. etcd last: without it the API server hangs on its way out."""
    for name in ("kube-scheduler", "kube-controller-manager"):
        stop(name)
    stop("kube-apiserver", API_SERVER_STOP_SECONDS)
    stop("etcd")


def _authenticated_as(component: str) -> list[str]:
    kubeconfig = PKI / f"{component}.kubeconfig"
    flags = ("--kubeconfig", "--authentication-kubeconfig", "--authorization-kubeconfig")
    return [f"{flag}={kubeconfig}" for flag in flags]


def borrow(kubectl: Path, context: str) -> str | None:
    """Use somebody else's cluster: its context from the user's kubeconfig becomes ours, under our context's name.

    Returns what is wrong with it, or None. The user's kubeconfig is only read.
    """
    command = [str(kubectl), "config", "view", "--raw", "--flatten", "--minify", f"--context={context}", "-o", "json"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode != 0:
        return result.stderr.strip().splitlines()[-1] if result.stderr.strip() else "kubectl cannot read it"
    config = json.loads(result.stdout)
    config["contexts"][0]["name"] = config["current-context"] = at.CONTEXT
    write(KUBECONFIG, json.dumps(config, indent=2))
    probe = [str(kubectl), "--kubeconfig", str(KUBECONFIG), "--request-timeout=10s", "get", "--raw", "/readyz"]
    reached = subprocess.run(probe, capture_output=True, text=True, check=False)
    return None if reached.returncode == 0 else (reached.stderr.strip().splitlines() or ["no answer"])[-1]
