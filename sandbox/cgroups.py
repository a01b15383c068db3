"""The one cgroup below which all pods run, so that ours are told from those of another kubelet on the machine."""

import contextlib
import os
import signal
import time
from pathlib import Path

ROOT = Path("/sys/fs/cgroup")
NAME = "feast-eks"


def ensure() -> None:
    """Make the cgroup in every hierarchy of version 1, or with every controller in version 2."""
    for hierarchy in _hierarchies():
        group = hierarchy / NAME
        if (hierarchy / "cgroup.subtree_control").exists():
            _hand_down_controllers(hierarchy)
            group.mkdir(exist_ok=True)
            _hand_down_controllers(group)
        else:
            group.mkdir(exist_ok=True)
            for setting in ("cpuset.cpus", "cpuset.mems"):  # empty in a new cpuset, and then no process may enter
                if (group / setting).exists() and not (group / setting).read_text().strip():
                    (group / setting).write_text((hierarchy / setting).read_text())


def processes() -> set[int]:
    """Every process in a pod of ours."""
    found: set[int] = set()
    for hierarchy in _hierarchies():
        for directory, _, _ in os.walk(hierarchy / NAME):  # unlike rglob it passes over what goes away meanwhile
            with contextlib.suppress(OSError):
                found.update(int(pid) for pid in Path(directory, "cgroup.procs").read_text().split())
    return found


def kill_all(seconds: float = 10) -> None:
    """Kill every process in our pods."""
    deadline = time.monotonic() + seconds
    while (left := processes()) and time.monotonic() < deadline:
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.05)


def remove() -> None:
    """Remove the empty cgroups, innermost first."""
    for hierarchy in _hierarchies():
        root = hierarchy / NAME
        if root.exists():
            for directory, _, _ in os.walk(root, topdown=False):
                with contextlib.suppress(OSError):
                    Path(directory).rmdir()


def exists() -> bool:
    """Whether any cgroup of ours is left."""
    return any((hierarchy / NAME).exists() for hierarchy in _hierarchies())


def _hierarchies() -> list[Path]:
    if (ROOT / "cgroup.controllers").exists():
        return [ROOT]
    return [entry for entry in sorted(ROOT.iterdir()) if entry.is_dir() and not entry.is_symlink()]


def _hand_down_controllers(group: Path) -> None:
    for controller in (group / "cgroup.controllers").read_text().split():
        with contextlib.suppress(OSError):
            (group / "cgroup.subtree_control").write_text(f"+{controller}")
