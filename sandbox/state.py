"""Where the sandbox keeps its things, and the promise that one command at a time works on them.

There is one sandbox per machine, whoever's clone started it. What may be lost lives in `STATE` and `RUNTIME` and goes with
`down`; what is expensive lives in `CACHE` and stays.
"""

import fcntl
import json
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sandbox.progress import SandboxError

CLONE = Path(__file__).resolve().parent.parent
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "feast-eks"
STATE = Path("/var/lib/feast-eks")
RUNTIME = Path("/run/feast-eks")
LOCK = Path("/run/feast-eks.lock")

LOGS = STATE / "log"
BIN = STATE / "bin"
KUBECONFIG = STATE / "kubeconfig"
PULUMI_HOME = STATE / "pulumi-home"
PULUMI_BACKEND = STATE / "pulumi-backend"

# Raise it when an older sandbox's state cannot be taken over as it is: `up` then takes the old one down first.
FORMAT = 2


@contextmanager
def locked(verb: str, *, path: Path = LOCK, remove: bool = False) -> Iterator[None]:
    """Hold the machine's sandbox for the command `verb`.

    Raises SandboxError naming the holder when another command has it. The kernel drops the lock with the process, however it
    ends, so nobody ever has to remove a stale one. `remove` also takes the file away at the end.
    """
    descriptor = _acquire(path)
    try:
        holder = {"pid": os.getpid(), "verb": verb, "clone": str(CLONE), "since": time.strftime("%H:%M:%S")}
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, json.dumps(holder).encode(), 0)
        yield
        if remove:
            path.unlink(missing_ok=True)
        else:
            os.ftruncate(descriptor, 0)
    finally:
        os.close(descriptor)


def _acquire(path: Path) -> int:
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if path.exists() and os.fstat(descriptor).st_ino == path.stat().st_ino:
                return descriptor
        except BlockingIOError:
            content = os.pread(descriptor, 4096, 0)
            os.close(descriptor)
            raise SandboxError(_held_by(content), remedy="wait until it is done, or stop that process") from None
        os.close(descriptor)  # a `down` removed the file between our open and our lock


def _held_by(content: bytes) -> str:
    try:
        holder = json.loads(content)
        return f"the sandbox is in use by `{holder['verb']}` (process {holder['pid']}) of {holder['clone']} since {holder['since']}"
    except (ValueError, KeyError, TypeError):
        return "the sandbox is in use by another command"


def boot_id() -> str:
    """Identity of this boot of the machine: processes, mounts and network namespaces of another boot are gone."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def write(path: Path, content: str | bytes, mode: int = 0o600) -> None:
    """Write a file whole or not at all: a killed run leaves the old content or the new, never half of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content.encode() if isinstance(content, str) else content)
    partial.replace(path)


def read_record(path: Path) -> dict[str, str]:
    """A small JSON record, or {} when there is none that can be read."""
    try:
        record = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return record if isinstance(record, dict) else {}


def owner() -> dict[str, str]:
    """Who brought the present sandbox up: clone, format, mode, boot. Empty when there is no sandbox."""
    return read_record(STATE / "owner.json")


def take_ownership(mode: str) -> None:
    """Record that this clone looks after the sandbox from now on. `mode` is `cloud.OWN` or the name of a kube context."""
    record = {"clone": str(CLONE), "format": str(FORMAT), "mode": mode, "boot": boot_id()}
    write(STATE / "owner.json", json.dumps(record), 0o644)


def make_directories() -> None:
    """Make the places that everybody relies on."""
    for directory in (STATE, LOGS, BIN, PULUMI_HOME, PULUMI_BACKEND, RUNTIME):
        directory.mkdir(parents=True, exist_ok=True)


def forget_last_boot() -> None:
    """Drop what described processes and sockets before a reboot, where /run is kept on disk."""
    if owner().get("boot") not in (None, boot_id()):
        shutil.rmtree(RUNTIME, ignore_errors=True)
        shutil.rmtree(STATE / "run", ignore_errors=True)


def remove_places() -> None:
    """Remove STATE and RUNTIME, each gone at once under its name: half a containerd or etcd directory would block the next run.

    What a killed removal left under another name is removed too.
    """
    for place in (RUNTIME, STATE):
        if place.exists():
            place.rename(place.with_name(f".{place.name}.removed-{time.time_ns()}"))
        for remains in removed_places(place):
            shutil.rmtree(remains, ignore_errors=True)


def removed_places(place: Path) -> list[Path]:
    """What is still on the disk of a place that was removed by a killed run."""
    return list(place.parent.glob(f".{place.name}.removed-*"))


def mounts_below(*roots: Path) -> list[Path]:
    """Mount points at or below the given directories, innermost first."""
    points = [
        Path(line.split()[4].encode("latin-1").decode("unicode_escape")) for line in Path("/proc/self/mountinfo").read_text().splitlines()
    ]
    ours = [point for point in points if any(point == root or root in point.parents for root in roots)]
    return list(reversed(ours))
