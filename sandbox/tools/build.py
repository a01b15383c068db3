"""Finding and building tools, in the background of whatever else is going on."""

import hashlib
import os
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from sandbox import state
from sandbox.progress import SandboxError, duration, run
from sandbox.tools.catalogue import TOOLS, Tool
from sandbox.tools.go import Go, choose

Report = Callable[[str], None]


@dataclass(frozen=True)
class Built:
    """Where a tool is, which way it came, and how long that took."""

    path: Path
    way: str
    seconds: float


class Toolbox:
    """The tools, each ready at its own time.

    `start` begins to find and build them on a thread; `path` waits for one of them and raises its SandboxError if it failed.
    """

    def __init__(self, cache: Path, log: Path, tools: Sequence[Tool] = TOOLS, search_path: str | None = None) -> None:
        self.cache = cache
        self.log = log
        self.tools = list(tools)
        self._search_path = search_path if search_path is not None else os.environ.get("PATH", os.defpath)
        self._ready: dict[str, Built] = {}
        self._building = ""
        self._error: SandboxError | None = None
        self._changed = threading.Condition()
        self._process: subprocess.Popen[bytes] | None = None
        self._stopping = False
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin. What is already there is ready when this returns; the rest is built one after the other."""
        self.cache.mkdir(parents=True, exist_ok=True)
        self._sweep()
        go = choose(self.cache)
        to_build = []
        for tool in self.tools:
            found = self._find(tool, go)
            if found is None:
                to_build.append(tool)
            else:
                self._ready[tool.name] = found
        self._thread = threading.Thread(target=self._build_all, args=(to_build, go), name="tools", daemon=True)
        self._thread.start()

    def path(self, name: str, report: Report | None = None) -> Path:
        """The tool's executable, waiting for its build."""
        with self._changed:
            while name not in self._ready:
                if self._error is not None:
                    raise self._error
                if report is not None:
                    report(f"waiting for {name}: {self.state}")
                self._changed.wait(0.5)
            return self._ready[name].path

    @property
    def missing(self) -> list[str]:
        """Tools that are not there yet, in building order."""
        return [tool.name for tool in self.tools if tool.name not in self._ready]

    @property
    def state(self) -> str:
        """How far it is: `building kubelet, 4 of 11 tools there`."""
        return f"building {self._building or 'tools'}, {len(self._ready)} of {len(self.tools)} tools there"

    def summary(self) -> str:
        """Which way the tools came: `9 from the cache, 2 built (kubelet 31 s, …)`."""
        built = [f"{name} {duration(tool.seconds)}" for name, tool in self._ready.items() if tool.way == "built"]
        ways = {way: sum(tool.way == way for tool in self._ready.values()) for way in ("cached", "on PATH")}
        parts = [f"{count} {way}" for way, count in ways.items() if count]
        return ", ".join([*parts, *([f"{len(built)} built ({', '.join(built)})"] if built else [])])

    def stop(self) -> None:
        """Give up what is still being built, and wait until nothing of it runs."""
        with self._changed:
            self._stopping = True
            if self._process is not None and self._process.poll() is None:
                self._process.terminate()
        if self._thread is not None:
            self._thread.join(10)

    def digest(self, tool: Tool, go: Go) -> str:
        """Digest of all that decides what the build of `tool` would be."""
        digest = hashlib.sha256()
        for part in (go.version, tool.package, *tool.flags):
            digest.update(f"{part}\0".encode())
        for path in sorted(tool.directory.iterdir()):
            if path.suffix in (".go", ".mod", ".sum"):
                digest.update(f"{path.name}\0".encode())
                digest.update(path.read_bytes())
        return digest.hexdigest()[:16]

    def _find(self, tool: Tool, go: Go) -> Built | None:
        began = time.monotonic()
        cached = self._place(tool, go)
        if cached.exists():
            return Built(cached, "cached", time.monotonic() - began)
        on_path = shutil.which(tool.name, path=self._search_path) if tool.version_command else None
        if on_path is not None and self.cache not in Path(on_path).resolve().parents and runs_as_pinned(tool, Path(on_path)):
            return Built(Path(on_path).absolute(), "on PATH", time.monotonic() - began)
        return None

    def _place(self, tool: Tool, go: Go) -> Path:
        return self.cache / f"{tool.name}-{tool.version}-{self.digest(tool, go)}" / tool.name

    def _sweep(self) -> None:
        """Remove what killed builds of these tools left; others may be being built."""
        for tool in self.tools:
            for partial in self.cache.glob(f".{tool.name}-*.partial"):
                shutil.rmtree(partial, ignore_errors=True)

    def _build_all(self, tools: Sequence[Tool], go: Go) -> None:
        try:
            if tools and not self._stopping:
                self._building = f"Go {go.version}"
                go.install(self.log, self._remember)
            for tool in tools:
                if self._stopping:
                    return
                self._building = tool.name
                built = self._build(tool, go)
                with self._changed:
                    self._ready[tool.name] = built
                    self._changed.notify_all()
        except SandboxError as error:
            self._fail(error)
        except Exception as error:  # noqa: BLE001 - a thread's exception would otherwise leave the others waiting for ever
            self._fail(SandboxError(f"building {self._building} failed: {error}", log=self.log))

    def _fail(self, error: SandboxError) -> None:
        with self._changed:
            self._error = error
            self._changed.notify_all()

    def _build(self, tool: Tool, go: Go) -> Built:
        began = time.monotonic()
        place = self._place(tool, go)
        partial = self.cache / f".{place.parent.name}.partial"
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        run(
            [str(go.executable), "build", "-trimpath", *tool.flags, "-o", str(partial / tool.name), tool.package],
            log=self.log,
            what=f"building {tool.name} {tool.version} from its Go module",
            remedy="check that the Go module proxy can be reached (`go env GOPROXY`) and that the disk is not full; then run it again",
            directory=tool.directory,
            environment=build_environment(),
            started=self._remember,
        )
        if tool.version_command and not runs_as_pinned(tool, partial / tool.name):
            raise SandboxError(f"the {tool.name} just built does not run as {tool.version}", log=self.log)
        shutil.rmtree(place.parent, ignore_errors=True)
        partial.rename(place.parent)
        return Built(place, "built", time.monotonic() - began)

    def _remember(self, process: subprocess.Popen[bytes]) -> None:
        with self._changed:
            self._process = process
            if self._stopping:
                process.terminate()


def obtain(tool: Tool) -> Path:
    """A tool that is none of those on the way up, found or built now; the first time it takes a minute or three."""
    state.LOGS.mkdir(parents=True, exist_ok=True)
    toolbox = Toolbox(state.CACHE / "tools", state.LOGS / f"{tool.name}-build.log", [tool])
    toolbox.start()
    try:
        return toolbox.path(tool.name)
    finally:
        toolbox.stop()


def build_environment() -> dict[str, str]:
    """What every build has in its environment: static, reproducible, and with the pinned modules as they are."""
    return {
        "CGO_ENABLED": "0",
        "GOFLAGS": "-trimpath -buildvcs=false -mod=readonly",
        "GOTOOLCHAIN": "local",
        "GOWORK": "off",
    }


def runs_as_pinned(tool: Tool, executable: Path) -> bool:
    """Whether the executable runs and says that it is the pinned version."""
    try:
        answer = subprocess.run(
            [str(executable), *tool.version_command],
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
            stdin=subprocess.DEVNULL,
            env={**os.environ, "PULUMI_SKIP_UPDATE_CHECK": "true"},
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return answer.returncode == 0 and tool.prints_its_version(answer.stdout + answer.stderr)
