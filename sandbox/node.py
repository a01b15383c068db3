"""The cluster's one node: containerd, kubelet and kube-proxy in a network namespace of their own.

Each unusual line of the configurations is needed where root lacks CAP_SYS_RESOURCE or cgroups are version 1; the comments say which.
"""

import contextlib
import hashlib
import json
import shutil
import subprocess
import time
from pathlib import Path

from sandbox import addresses as at
from sandbox import cgroups
from sandbox.certificates import PKI
from sandbox.daemons import Daemon, Process, answers, command_path, running, shares_our_files, stop
from sandbox.kubectl import Kubectl
from sandbox.progress import SandboxError, bound_to_us
from sandbox.state import LOGS, RUNTIME, STATE, mounts_below, read_record, write

CONTAINERD_SOCKET = RUNTIME / "containerd.sock"
CONTAINERD_STATE = RUNTIME / "containerd"
CONFIGURATION = STATE / "node"
POD_NETWORK = "feast-eks-pods"
ARCHIVE_LABEL = "feast-eks/archive"
IMPORT_SECONDS = 600

# The kubelet sets these for the whole machine when it starts; they are put back as soon as it runs.
KERNEL_SETTINGS = (
    "vm/overcommit_memory",
    "vm/panic_on_oom",
    "kernel/panic",
    "kernel/panic_on_oops",
    "kernel/keys/root_maxkeys",
    "kernel/keys/root_maxbytes",
)
KERNEL_RECORD = STATE / "kernel-settings.json"


def containerd() -> Daemon:
    """The container runtime, with its own socket and directories beside any other containerd of the machine."""
    write(CONFIGURATION / "cni" / "10-pods.conflist", json.dumps(_pod_network(), indent=1), 0o644)
    configuration = CONFIGURATION / "containerd.toml"
    write(configuration, _containerd_configuration(), 0o644)
    return Daemon(
        name="containerd",
        command=[command_path("containerd"), "--config", str(configuration)],
        files=[configuration],
        on_node=True,
        healthy=lambda: _ctr("version", seconds=5).returncode == 0,
    )


def kubelet(binary: Path) -> Daemon:
    """Runs the pods."""
    configuration = CONFIGURATION / "kubelet.json"
    write(configuration, json.dumps(_kubelet_configuration(), indent=1), 0o644)
    write(CONFIGURATION / "resolv.conf", "", 0o644)  # pods that do not want cluster DNS get none, not the machine's
    return Daemon(
        name="kubelet",
        command=[
            str(binary),
            f"--config={configuration}",
            f"--kubeconfig={PKI / 'node.kubeconfig'}",
            f"--hostname-override={at.NODE}",
            f"--node-ip={at.NODE_ADDRESS}",
            "--node-labels=topology.kubernetes.io/region=sandbox,topology.kubernetes.io/zone=sandbox-a",
            f"--root-dir={STATE / 'kubelet'}",
            f"--cert-dir={STATE / 'kubelet' / 'pki'}",
        ],
        files=[configuration, PKI / "node.crt"],
        on_node=True,
        healthy=lambda: answers(f"http://{at.NODE_ADDRESS}:{at.KUBELET_HEALTH_PORT}/healthz"),
    )


def proxy(binary: Path) -> Daemon:
    """Makes Services reachable, by rules inside the node's network namespace only."""
    configuration = CONFIGURATION / "proxy.json"
    write(configuration, json.dumps(_proxy_configuration(), indent=1), 0o644)
    return Daemon(
        name="kube-proxy",
        command=[str(binary), f"--config={configuration}"],
        files=[configuration, PKI / "proxy.crt"],
        on_node=True,
        healthy=lambda: answers(f"http://{at.NODE_ADDRESS}:{at.PROXY_HEALTH_PORT}/healthz"),
    )


def start_kubelet(binary: Path) -> bool:
    """Start the kubelet without leaving the machine's kernel settings changed. Returns whether it had to be started."""
    cgroups.ensure()
    restore_kernel_settings()
    settings = {name: _kernel_setting(name).read_text().strip() for name in KERNEL_SETTINGS if _kernel_setting(name).exists()}
    write(KERNEL_RECORD, json.dumps(settings), 0o644)
    try:
        return kubelet(binary).ensure()
    finally:
        restore_kernel_settings()


def restore_kernel_settings() -> None:
    """Put the machine's kernel settings back to what they were before the kubelet started."""
    for name, value in read_record(KERNEL_RECORD).items():
        path = _kernel_setting(name)
        if path.read_text().strip() != value:
            with contextlib.suppress(OSError):
                path.write_text(value)
    KERNEL_RECORD.unlink(missing_ok=True)


def is_ready(kubectl: Kubectl) -> bool:
    """Whether the node says that it takes pods."""
    try:
        conditions = kubectl.get("node", at.NODE)["status"]["conditions"]
    except (SandboxError, KeyError):
        return False
    return any(condition["type"] == "Ready" and condition["status"] == "True" for condition in conditions)


def load_image(archive: Path, reference: str) -> bool:
    """Import a docker-archive as `reference`, unless the node has exactly this archive. Returns whether it was imported.

    The archive's digest is written on the image once the import is complete, so that a cut import is done again.
    """
    digest = _archive_digest(archive)
    if _image_label(reference) == digest:
        return False
    imported = _ctr("images", "import", str(archive), seconds=IMPORT_SECONDS)
    if imported.returncode != 0:
        raise SandboxError(
            f"the image {reference} cannot be imported from {archive}",
            lines=imported.stderr.strip().splitlines()[-5:],
            remedy="check the free space of /var/lib and run it again; if that does not help, `make down` first",
        )
    labelled = _ctr("images", "label", reference, f"{ARCHIVE_LABEL}={digest}")
    if labelled.returncode != 0:
        raise SandboxError(f"the archive {archive} does not hold the image {reference}")
    return True


def images() -> list[str]:
    """References of the images on the node."""
    return _ctr("images", "list", "--quiet").stdout.split()


def stop_daemons() -> None:
    """Stop kube-proxy and kubelet; pods go on running."""
    stop("kube-proxy")
    stop("kubelet")


def remove_pods() -> None:
    """End every pod, the runtime, and all that they mounted or left in the machine's directories."""
    cgroups.kill_all()
    for shim in shims():
        shim.end(0.2)
    stop("containerd")
    cgroups.kill_all()
    unmount_everything()
    _remove_shim_sockets()
    for directory in (CONTAINERD_STATE, RUNTIME / "cni", RUNTIME / "runc"):
        if not mounts_below(directory):
            shutil.rmtree(directory, ignore_errors=True)
    _remove_traces_elsewhere()


def unmount_everything() -> None:
    """Unmount whatever is mounted below our directories, innermost first."""
    for lazily in ([], [], [], ["--lazy"]):
        points = mounts_below(STATE, RUNTIME)
        if not points:
            return
        for point in points:
            subprocess.run(["umount", *lazily, str(point)], capture_output=True, check=False)
        time.sleep(0.1)


def shims() -> list[Process]:
    """The helpers of containerd, one per pod, which outlive it; ours are those that were told our socket."""
    ours = str(CONTAINERD_SOCKET).encode()
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and shares_our_files(entry):
            with contextlib.suppress(OSError):
                arguments = (entry / "cmdline").read_bytes().split(b"\0")
                if b"containerd-shim" in arguments[0] and ours in arguments:
                    found.append(Process.of(int(entry.name)))
    return [process for process in found if process is not None]


def _remove_shim_sockets() -> None:
    for address in CONTAINERD_STATE.glob("io.containerd.runtime.v2.task/*/*/address"):
        with contextlib.suppress(OSError):
            Path(address.read_text().strip().removeprefix("unix://")).unlink(missing_ok=True)
    _remove_if_empty(Path("/run/containerd/s"), Path("/run/containerd"))


def _remove_traces_elsewhere() -> None:
    """Directories that containerd, its network plugins and the kubelet use no matter what they are told."""
    results = Path("/var/lib/cni/results")
    for cached in [*results.glob(f"{POD_NETWORK}-*"), *results.glob("cni-loopback-*")]:
        if str(RUNTIME) in cached.read_text(errors="replace"):
            cached.unlink(missing_ok=True)
    _remove_if_empty(results, results.parent)
    links = Path("/var/log/containers")
    if links.is_dir():
        for link in links.iterdir():
            if link.is_symlink() and str(STATE) in str(link.readlink()):
                link.unlink()
    _remove_if_empty(links)
    socket = Path("/var/lib/kubelet/device-plugins/kubelet.sock")
    if running("kubelet") is None:
        socket.unlink(missing_ok=True)
        _remove_if_empty(socket.parent, socket.parent.parent)


def _remove_if_empty(*directories: Path) -> None:
    for directory in directories:
        with contextlib.suppress(OSError):
            directory.rmdir()


def _ctr(*arguments: str, seconds: float = 60) -> subprocess.CompletedProcess[str]:
    command = ["ctr", "--address", str(CONTAINERD_SOCKET), "--namespace", "k8s.io", *arguments]
    try:
        return subprocess.run(bound_to_us(command), capture_output=True, text=True, check=False, timeout=seconds)
    except (OSError, subprocess.TimeoutExpired) as error:
        return subprocess.CompletedProcess(command, 1, "", str(error))


def _image_label(reference: str) -> str:
    listing = _ctr("images", "list", f"name=={reference}").stdout
    for word in listing.replace(",", " ").split():
        if word.startswith(f"{ARCHIVE_LABEL}="):
            return word.partition("=")[2]
    return ""


def _archive_digest(archive: Path) -> str:
    """sha256 of the archive, remembered by size and time so that a gigabyte is not read on every run."""
    if not archive.exists():
        raise SandboxError(f"the image archive {archive} is missing", remedy="run it again to build it")
    status = archive.stat()
    seen = f"{status.st_size}:{status.st_mtime_ns}:{status.st_ino}"
    memory = STATE / "run" / "archives.json"
    record = read_record(memory)
    known = record.get(str(archive), "")
    if known.startswith(f"{seen}:"):
        return known.rpartition(":")[2]
    with archive.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    write(memory, json.dumps({**record, str(archive): f"{seen}:{digest}"}), 0o644)
    return digest


def _kernel_setting(name: str) -> Path:
    return Path("/proc/sys") / name


def network_plugins() -> Path:
    """Where the machine has its CNI plugins; Debian's place first."""
    places = [Path("/usr/lib/cni"), Path("/opt/cni/bin")]
    return next((place for place in places if (place / "bridge").exists()), places[0])


def _pod_network() -> dict[str, object]:
    return {
        "cniVersion": "0.4.0",
        "name": POD_NETWORK,
        "plugins": [
            {
                "type": "bridge",
                "bridge": at.POD_BRIDGE,
                "isGateway": True,
                "ipMasq": True,
                "hairpinMode": True,
                "ipam": {
                    "type": "host-local",
                    "ranges": [[{"subnet": at.POD_RANGE}]],
                    "routes": [{"dst": "0.0.0.0/0"}],
                    "dataDir": str(RUNTIME / "cni"),
                },
            },
            {"type": "portmap", "capabilities": {"portMappings": True}, "snat": True},
        ],
    }


def _containerd_configuration() -> str:
    return f"""\
version = 2
root = "{STATE / "containerd"}"
state = "{CONTAINERD_STATE}"
disabled_plugins = [
  "io.containerd.snapshotter.v1.aufs",
  "io.containerd.snapshotter.v1.btrfs",
  "io.containerd.snapshotter.v1.devmapper",
  "io.containerd.snapshotter.v1.zfs",
]

[grpc]
  address = "{CONTAINERD_SOCKET}"

[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{at.PAUSE_IMAGE}"
  # Without CAP_SYS_RESOURCE no container may be given a smaller score, and runc ends with "can't get final child's PID".
  restrict_oom_score_adj = true
  # Not in /run/netns, where they could not be told from those of another runtime.
  netns_mounts_under_state_dir = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{network_plugins()}"
    conf_dir = "{CONFIGURATION / "cni"}"
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "overlayfs"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
        SystemdCgroup = false
        Root = "{RUNTIME / "runc"}"
"""


def _kubelet_configuration() -> dict[str, object]:
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "address": at.NODE_ADDRESS,
        "authentication": {
            "x509": {"clientCAFile": str(PKI / "ca.crt")},
            "webhook": {"enabled": True},
            "anonymous": {"enabled": False},
        },
        "authorization": {"mode": "Webhook"},
        "tlsCertFile": str(PKI / "kubelet-server.crt"),
        "tlsPrivateKeyFile": str(PKI / "kubelet-server.key"),
        "healthzBindAddress": at.NODE_ADDRESS,
        "healthzPort": at.KUBELET_HEALTH_PORT,
        "containerRuntimeEndpoint": f"unix://{CONTAINERD_SOCKET}",
        # Debian's containerd 1.6 cannot be asked which driver it uses.
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": f"/{cgroups.NAME}",
        "cgroupsPerQOS": True,
        "enforceNodeAllocatable": ["pods"],
        # True by default from 1.35 on, and then no kubelet starts on a machine with cgroups of version 1.
        "failCgroupV1": False,
        "failSwapOn": False,
        # The default of -999 needs CAP_SYS_RESOURCE.
        "oomScoreAdj": 0,
        # Go on where kernel settings and limits cannot be written, as in a user namespace.
        "featureGates": {"KubeletInUserNamespace": True},
        "clusterDomain": at.CLUSTER_DOMAIN,
        "clusterDNS": [at.DNS_SERVICE_ADDRESS],
        "podCIDR": at.POD_RANGE,
        "resolvConf": str(CONFIGURATION / "resolv.conf"),
        "podLogsDir": str(LOGS / "pods"),
        "volumePluginDir": str(STATE / "kubelet" / "volume-plugins"),
        # The machine's disk is its owner's affair: no pod is evicted and no image deleted because it is full of other things.
        "evictionHard": {
            "memory.available": "200Mi",
            "nodefs.available": "0%",
            "imagefs.available": "0%",
            "nodefs.inodesFree": "0%",
        },
        "imageGCHighThresholdPercent": 100,
    }


def _proxy_configuration() -> dict[str, object]:
    return {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "mode": "iptables",
        "clientConnection": {"kubeconfig": str(PKI / "proxy.kubeconfig")},
        "hostnameOverride": at.NODE,
        "clusterCIDR": at.CLUSTER_RANGE,
        "healthzBindAddress": f"{at.NODE_ADDRESS}:{at.PROXY_HEALTH_PORT}",
        "metricsBindAddress": f"{at.NODE_ADDRESS}:10249",
        # Zero leaves the connection tracking table of the kernel as it is.
        "conntrack": {"maxPerCore": 0, "min": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s"},
        "oomScoreAdj": 0,
    }
