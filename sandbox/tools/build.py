"""Finding, downloading and building tools, in the background of whatever else is going on."""

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
from sandbox.tools.catalogue import TOOLS, Release, Tool
from sandbox.tools.download import Downloads, NotDownloaded
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

    `start` begins to find, download and build them on a thread; `path` waits for one of them and raises its SandboxError if it
    failed. Without `downloads` nothing that was downloaded is used.
    """

    def __init__(
        self,
        cache: Path,
        log: Path,
        tools: Sequence[Tool] = TOOLS,
        search_path: str | None = None,
        downloads: Downloads | None = None,
    ) -> None:
        self.cache = cache
        self.log = log
        self.tools = list(tools)
        self._search_path = search_path if search_path is not None else os.environ.get("PATH", os.defpath)
        self._downloads = downloads
        self._ready: dict[str, Built] = {}
        self._doing = "building tools"
        self._why_built: dict[str, str] = {}
        self._error: SandboxError | None = None
        self._changed = threading.Condition()
        self._process: subprocess.Popen[bytes] | None = None
        self._stopping = False
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin. What is already there is ready when this returns; the rest is downloaded, or else built, one after the other."""
        self.cache.mkdir(parents=True, exist_ok=True)
        self._sweep()
        go = choose(self.cache)
        missing = []
        for tool in self.tools:
            found = self._find(tool, go)
            if found is None:
                missing.append(tool)
            else:
                self._ready[tool.name] = found
        self._thread = threading.Thread(target=self._provide, args=(missing, go), name="tools", daemon=True)
        self._thread.start()

    def path(self, name: str, report: Report | None = None) -> Path:
        """The tool's executable, waiting for its download or build."""
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
        """Tools that are not there yet, in the order in which they come."""
        return [tool.name for tool in self.tools if tool.name not in self._ready]

    @property
    def state(self) -> str:
        """How far it is: `building kubelet, 4 of 11 tools there`."""
        return f"{self._doing}, {len(self._ready)} of {len(self.tools)} tools there"

    def summary(self) -> str:
        """Which way the tools came: `9 cached, 1 downloaded, 1 built (kubelet 31 s)`."""
        built = [f"{name} {duration(tool.seconds)}" for name, tool in self._ready.items() if tool.way == "built"]
        ways = {way: sum(tool.way == way for tool in self._ready.values()) for way in ("cached", "on PATH", "downloaded")}
        parts = [f"{count} {way}" for way, count in ways.items() if count]
        return ", ".join([*parts, *([f"{len(built)} built ({', '.join(built)})"] if built else [])])

    def stop(self) -> None:
        """Give up what is still being built, and wait until nothing of it runs. A download ends at its next byte, unwaited for."""
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
        places = [self._place(tool, self.digest(tool, go))]
        if self._downloads is not None and tool.official is not None:
            places.append(self._place(tool, _digest_of_download(tool.official)))
        for cached in places:
            if cached.exists():
                return Built(cached, "cached", time.monotonic() - began)
        on_path = shutil.which(tool.name, path=self._search_path) if tool.version_command else None
        if on_path is not None and self.cache not in Path(on_path).resolve().parents and runs_as_pinned(tool, Path(on_path)):
            return Built(Path(on_path).absolute(), "on PATH", time.monotonic() - began)
        return None

    def _place(self, tool: Tool, digest: str) -> Path:
        return self.cache / f"{tool.name}-{tool.version}-{digest}" / tool.name

    def _sweep(self) -> None:
        """Remove what killed runs left of these tools; others may be being made."""
        for tool in self.tools:
            for partial in self.cache.glob(f".{tool.name}-*.partial"):
                shutil.rmtree(partial, ignore_errors=True)

    def _provide(self, missing: Sequence[Tool], go: Go) -> None:
        try:
            to_build = self._download_all(missing)
            if to_build and not self._stopping:
                self._doing = f"building Go {go.version}"
                go.install(self.log, self._remember)
            for tool in to_build:
                if self._stopping:
                    return
                why = self._why_built.get(tool.name)
                self._doing = f"building {tool.name}" + (f" ({why})" if why else "")
                self._note(f"{tool.name}: {f'not downloaded ({why}), ' if why else ''}built")
                self._have(tool, self._build(tool, go))
        except SandboxError as error:
            self._fail(error)
        except Exception as error:  # noqa: BLE001 - a thread's exception would otherwise leave the others waiting for ever
            self._fail(SandboxError(f"{self._doing} failed: {error}", log=self.log))

    def _have(self, tool: Tool, built: Built) -> None:
        with self._changed:
            self._ready[tool.name] = built
            self._changed.notify_all()

    def _fail(self, error: SandboxError) -> None:
        with self._changed:
            self._error = error
            self._changed.notify_all()

    def _download_all(self, tools: Sequence[Tool]) -> list[Tool]:
        """Download what is published and can be had; gives what is to be built."""
        published = [(tool, release) for tool in tools if (release := tool.official) is not None]
        if self._downloads is None or not published:
            return list(tools)
        self._doing = "asking for official releases"
        self._downloads.ask(release for _, release in published)
        for tool, release in published:
            if self._stopping:
                break
            self._doing = f"downloading {tool.name}"
            try:
                built = self._download(tool, release, self._downloads)
            except Exception as error:  # noqa: BLE001 - whatever it is, the build may still go well
                self._why_built[tool.name] = str(error) or type(error).__name__
            else:
                self._note(f"{tool.name}: downloaded from {release.url}")
                self._have(tool, built)
        return [tool for tool in tools if tool.name not in self._ready]

    def _download(self, tool: Tool, release: Release, downloads: Downloads) -> Built:
        began = time.monotonic()
        place = self._place(tool, _digest_of_download(release))
        partial = self._empty_partial(place)
        try:
            downloads.fetch(release, partial / tool.name, lambda: self._stopping)
            if not runs_as_pinned(tool, partial / tool.name):
                raise NotDownloaded(f"{release.url} does not run as {tool.version}")
            self._keep(partial, place)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
        return Built(place, "downloaded", time.monotonic() - began)

    def _build(self, tool: Tool, go: Go) -> Built:
        began = time.monotonic()
        place = self._place(tool, self.digest(tool, go))
        partial = self._empty_partial(place)
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
        self._keep(partial, place)
        return Built(place, "built", time.monotonic() - began)

    def _empty_partial(self, place: Path) -> Path:
        partial = self.cache / f".{place.parent.name}.partial"
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        return partial

    def _keep(self, partial: Path, place: Path) -> None:
        shutil.rmtree(place.parent, ignore_errors=True)
        partial.rename(place.parent)

    def _note(self, line: str) -> None:
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("a") as file:
            file.write(f"{line}\n")

    def _remember(self, process: subprocess.Popen[bytes]) -> None:
        with self._changed:
            self._process = process
            if self._stopping:
                process.terminate()


def obtain(tool: Tool) -> Path:
    """A tool that is none of those on the way up, found, downloaded or built now; a build takes a minute or three."""
    state.LOGS.mkdir(parents=True, exist_ok=True)
    toolbox = Toolbox(state.CACHE / "tools", state.LOGS / f"{tool.name}-build.log", [tool], downloads=Downloads.chosen(os.environ))
    toolbox.start()
    try:
        return toolbox.path(tool.name)
    finally:
        toolbox.stop()


def _digest_of_download(release: Release) -> str:
    """Digest of all that decides what the download would be. It is none that a build has."""
    return hashlib.sha256(f"release\0{release.url}\0{release.member}\0".encode()).hexdigest()[:16]


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
