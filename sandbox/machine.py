"""Can the sandbox run on this machine? What is missing is installed where that can be done, else said in one line each."""

import contextlib
import errno
import os
import platform
import shutil
import socket
import subprocess
from collections.abc import Iterable
from pathlib import Path

from sandbox import control_plane, network
from sandbox.daemons import running, shares_our_files
from sandbox.progress import SandboxError, run
from sandbox.state import CACHE, STATE

GIB = 1 << 30
NEEDED_FREE = 6 * GIB
NEEDED_FREE_TO_BUILD = 16 * GIB  # compiled Go packages, module sources and the image's root file system
NEEDED_MEMORY = 3 * GIB

PACKAGES = {
    "containerd": "containerd",
    "ctr": "containerd",
    "runc": "runc",
    "iptables": "iptables",
    "nft": "nftables",
    "ip": "iproute2",
    "nsenter": "util-linux",
    "mount": "mount",
}
"""Debian package of each command that the sandbox runs on the machine."""

TEST_PACKAGES = {"pg_ctlcluster": "postgresql", "redis-server": "redis-server"}
"""The same for the stores that the runtime's tests start for themselves."""

ADMIN_PATH = "/usr/local/sbin:/usr/sbin:/sbin"


def require_possible(system: str | None = None, user: int | None = None) -> None:
    """Refuse in one line where the sandbox cannot run at all."""
    system = system or platform.system()
    if system != "Linux":
        raise SandboxError(
            f"the sandbox runs a Kubernetes node and needs Linux, this is {system}",
            remedy="use a Linux machine or virtual machine, or deploy to a cluster that you have: KUBECONTEXT=<context> make up",
        )
    if (os.geteuid() if user is None else user) != 0:
        raise SandboxError(
            "the sandbox makes network namespaces and containers and needs root",
            remedy="run it as root, for example: sudo --preserve-env=HOME make up",
        )


def require_space(building: bool, cache: Path = CACHE, state: Path = STATE) -> None:
    """Refuse when the disk would fill up on the way."""
    for place, needed in ((cache, NEEDED_FREE_TO_BUILD if building else 0), (state, NEEDED_FREE)):
        existing = next(parent for parent in (place, *place.parents) if parent.exists())
        free = shutil.disk_usage(existing).free
        if free < needed:
            raise SandboxError(
                f"{place} needs {needed // GIB} GiB of free disk and has {free / GIB:.1f}",
                remedy=f"free some space on the disk of {existing}"
                + ("" if place == state else ", or set XDG_CACHE_HOME to a directory on a larger one"),
            )


def require_memory() -> None:
    """Refuse on machines where a build or the cluster would be killed for memory."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if total < NEEDED_MEMORY:
        raise SandboxError(
            f"the sandbox needs {NEEDED_MEMORY // GIB} GiB of memory, this machine has {total / GIB:.1f}",
            remedy="use a larger machine",
        )


def require_free_ports(listeners: dict[str, str] | None = None) -> None:
    """Refuse when somebody else listens where one of our daemons must."""
    for address, daemon in (listeners or control_plane.PORTS).items():
        if running(daemon) is not None:
            continue
        host, _, port = address.rpartition(":")
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, int(port)))
            except OSError as error:
                if error.errno == errno.EADDRINUSE:  # the address itself need not exist yet
                    raise SandboxError(
                        f"port {port} on {host} is in use{_listener(int(port))}, and {daemon} needs it",
                        remedy=f"stop that process (`ss -ltnp 'sport = :{port}'` shows it)",
                    ) from None


def require_free_network() -> None:
    """Refuse when the machine already routes our addresses elsewhere."""
    taken = network.taken_ranges()
    if taken:
        raise SandboxError(
            f"the machine already uses addresses of the sandbox: {taken[0]}",
            remedy="the sandbox needs 10.200.0.0/24, 10.244.0.0/16 and 10.96.0.0/16; stop what uses them",
        )


def require_no_other_kubelet() -> None:
    """Refuse beside another kubelet: every kubelet uses one directory of the machine, no matter what it is told."""
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if shares_our_files(entry) and (entry / "comm").read_text().strip() in ("kubelet", "k3s-server"):
                ours = running("kubelet")
                if ours is None or ours.pid != int(entry.name):
                    raise SandboxError(
                        f"another Kubernetes node runs on this machine (process {entry.name})",
                        remedy="stop it, or deploy to its cluster: KUBECONTEXT=<context> make up",
                    )


def missing_packages(packages: dict[str, str] | None = None) -> list[str]:
    """Debian packages whose command is not on this machine."""
    wanted = PACKAGES if packages is None else packages
    missing = {package for command, package in wanted.items() if not _has(command)}
    if packages is None and not any((Path(place) / "bridge").exists() for place in ("/usr/lib/cni", "/opt/cni/bin")):
        missing.add("containernetworking-plugins")
    return sorted(missing)


def install(packages: Iterable[str], log: Path) -> None:
    """Install Debian packages, or say in one line what is missing and how to get it."""
    wanted = list(packages)
    by_hand = f"install these packages, then run it again: {' '.join(wanted)}"
    if shutil.which("apt-get") is None:
        raise SandboxError(f"missing on this machine: {', '.join(wanted)}, and there is no apt-get", remedy=by_hand)
    environment = {"DEBIAN_FRONTEND": "noninteractive"}
    # A killed run may have left dpkg in the middle, or an apt-get of its own at work: wait for that one, then finish.
    waiting = ["-o", "DPkg::Lock::Timeout=300"]
    steps = (
        ["dpkg", "--configure", "-a"],
        ["apt-get", *waiting, "update"],
        ["apt-get", *waiting, "install", "--yes", "--no-install-recommends", *wanted],
    )
    for command in steps:
        what = f"installing {', '.join(wanted)}"
        run(command, log=log, what=what, remedy=by_hand, environment=environment, outlives_us=True)


def _has(command: str) -> bool:
    return shutil.which(command) is not None or shutil.which(command, path=ADMIN_PATH) is not None


def _listener(port: int) -> str:
    with contextlib.suppress(OSError):
        command = ["ss", "-Hltnp", f"sport = :{port}"]
        answer = subprocess.run(command, capture_output=True, text=True, check=False).stdout
        if "users:((" in answer:
            name, pid = answer.split('users:(("')[1].split('"')[0], answer.split("pid=")[1].split(",")[0]
            return f" by {name} (process {pid})"
    return ""
