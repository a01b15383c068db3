"""The node's own network: a namespace tied to the machine by one veth pair.

Nothing of the machine's firewall, addresses or sysctls changes, and the routes to pods and Services die with the pair.
"""

import contextlib
import subprocess
from collections.abc import Sequence
from pathlib import Path

from sandbox import addresses as at
from sandbox.progress import SandboxError
from sandbox.state import STATE, mounts_below, write

NAMESPACE_FILE = Path("/run/netns") / at.NETWORK_NAMESPACE
# `ip netns add` mounts this directory where no namespace has been made before; whoever did that takes it away again.
DIRECTORY_IS_OURS = STATE / "netns-directory-is-ours"


def enter() -> list[str]:
    """Command prefix to run in the node's network. Not `ip netns exec`: that remounts /sys and hides the cgroups."""
    return ["nsenter", f"--net={NAMESPACE_FILE}", "--"]


def identity() -> str:
    """What tells this namespace from one that was made anew; empty when there is none."""
    return str(NAMESPACE_FILE.stat().st_ino) if exists() else ""


def exists() -> bool:
    """Whether the namespace is there. A plain file of that name is what a killed `ip netns add` leaves."""
    return NAMESPACE_FILE in mounts_below(NAMESPACE_FILE.parent)


def ensure() -> bool:
    """Make namespace, pair, bridge, addresses and routes as they should be. Returns whether the namespace had to be made."""
    created = not exists()
    if created:
        NAMESPACE_FILE.unlink(missing_ok=True)
        if not NAMESPACE_FILE.parent.is_mount():
            write(DIRECTORY_IS_OURS, "")
        _ip("netns", "add", at.NETWORK_NAMESPACE)
    if not (_has(at.HOST_INTERFACE) and _has(at.NODE_INTERFACE, inside=True)):
        if _has(at.HOST_INTERFACE):
            _ip("link", "delete", at.HOST_INTERFACE)
        _ip(
            *("link", "add", at.HOST_INTERFACE, "type", "veth"),
            *("peer", "name", at.NODE_INTERFACE, "netns", at.NETWORK_NAMESPACE),
        )
    _ip("address", "replace", f"{at.HOST_ADDRESS}/24", "dev", at.HOST_INTERFACE)
    _ip("link", "set", at.HOST_INTERFACE, "up")
    _ip("link", "set", "lo", "up", inside=True)
    _ip("address", "replace", f"{at.NODE_ADDRESS}/24", "dev", at.NODE_INTERFACE, inside=True)
    _ip("link", "set", at.NODE_INTERFACE, "up", inside=True)
    _ip("route", "replace", "default", "via", at.HOST_ADDRESS, inside=True)
    if not _has(at.POD_BRIDGE, inside=True):
        _ip("link", "add", at.POD_BRIDGE, "type", "bridge", inside=True)
    # Or it would take over the lowest address of its ports, and lose it with that pod: the others would know a gateway that is gone.
    _ip("link", "set", at.POD_BRIDGE, "address", at.POD_GATEWAY_HARDWARE, inside=True)
    _ip("address", "replace", f"{at.POD_GATEWAY}/24", "dev", at.POD_BRIDGE, inside=True)
    _ip("link", "set", at.POD_BRIDGE, "up", inside=True)
    # Forwarding is a setting of each namespace: the machine's own stays as it is.
    _run([*enter(), "sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward"])
    for destination in (at.SERVICE_RANGE, at.POD_RANGE):
        _ip("route", "replace", destination, "via", at.NODE_ADDRESS, "dev", at.HOST_INTERFACE)
    return created


def ensure_address_only() -> None:
    """Only the machine's side, for S3 when somebody else's cluster is used."""
    if not _has(at.HOST_INTERFACE):
        _ip("link", "add", at.HOST_INTERFACE, "type", "bridge")
    _ip("address", "replace", f"{at.HOST_ADDRESS}/32", "dev", at.HOST_INTERFACE)
    _ip("link", "set", at.HOST_INTERFACE, "up")


def remove() -> None:
    """Take namespace and pair away, whatever is left of them."""
    if _has(at.HOST_INTERFACE):
        _ip("link", "delete", at.HOST_INTERFACE)
    if exists():
        _ip("netns", "delete", at.NETWORK_NAMESPACE)
    NAMESPACE_FILE.unlink(missing_ok=True)
    directory = NAMESPACE_FILE.parent
    if DIRECTORY_IS_OURS.exists() and directory.exists() and not any(directory.iterdir()):
        subprocess.run(["umount", str(directory)], capture_output=True, check=False)
        with contextlib.suppress(OSError):
            directory.rmdir()


def taken_ranges() -> list[str]:
    """Routes of the machine that overlap ours and belong to somebody else."""
    routes = subprocess.run(["ip", "-4", "route"], capture_output=True, text=True, check=False).stdout.splitlines()
    prefixes = ("10.200.0.", "10.244.0.", "10.244.0.0/16", "10.96.0.0")
    return [route for route in routes if route.startswith(prefixes) and at.HOST_INTERFACE not in route]


def _has(interface: str, *, inside: bool = False) -> bool:
    if not inside:
        return Path("/sys/class/net", interface).exists()
    command = [*enter(), "ip", "link", "show", "dev", interface]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def _ip(*arguments: str, inside: bool = False) -> None:
    _run([*(enter() if inside else []), "ip", *arguments])


def _run(command: Sequence[str]) -> None:
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode != 0:
        raise SandboxError(f"`{' '.join(command)}` failed: {result.stderr.strip()}", remedy="`make down`, then `make up`")
