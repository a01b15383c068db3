"""Processes that outlive the command that started them.

A daemon is known by its pid together with the time that process started, so a pid that the kernel has given to somebody else is
never signalled. Every daemon also carries `MARKER` in its environment: what a killed run started without having written down is
found by it. A daemon whose command, files or network have changed is restarted by the next `ensure`.
"""

import contextlib
import hashlib
import json
import os
import shutil
import signal
import ssl
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path

from sandbox import network
from sandbox.progress import SandboxError, explaining_lines, wait_until
from sandbox.state import LOGS, STATE, boot_id, read_record, write

MARKER = "FEAST_EKS_DAEMON"
HEALTH_SECONDS = 5.0  # one that runs and does not answer for so long is started again
LARGEST_LOG = 32 * 1024 * 1024
RECORDS = STATE / "run"


@dataclass(frozen=True)
class Process:
    """One process of this boot: its pid and the clock tick at which it started."""

    pid: int
    started: int

    @classmethod
    def of(cls, pid: int) -> "Process | None":
        """The process that has this pid now; None when there is none, or only its zombie."""
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            return None
        return None if fields[0] in "ZX" else cls(pid, int(fields[19]))

    @property
    def alive(self) -> bool:
        """Whether this very process, and not another with its pid, still runs."""
        with contextlib.suppress(ChildProcessError):
            os.waitpid(self.pid, os.WNOHANG)
        return Process.of(self.pid) == self

    def send(self, number: signal.Signals) -> None:
        """Signal it, through a pid file descriptor so that nobody else can be hit in between."""
        try:
            descriptor = os.pidfd_open(self.pid)
        except OSError:
            return
        try:
            if self.alive:
                with contextlib.suppress(ProcessLookupError):
                    signal.pidfd_send_signal(descriptor, number)
        finally:
            os.close(descriptor)

    def end(self, seconds: float) -> None:
        """Ask it to end, and kill it when it has not within `seconds`."""
        self.send(signal.SIGTERM)
        self.send(signal.SIGCONT)  # a stopped process would never see the request
        if not _ended(self, seconds):
            self.send(signal.SIGKILL)
            _ended(self, 5)


def _ended(process: Process, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while process.alive:
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


@dataclass(frozen=True, kw_only=True)
class Daemon:
    """What to run and how to tell that it is well."""

    name: str
    command: Sequence[str]
    healthy: Callable[[], bool]
    files: Sequence[Path] = ()
    """Configuration whose change needs a restart."""
    on_node: bool = False
    """Runs in the node's network namespace."""
    environment: Mapping[str, str] = field(default_factory=dict)
    start_seconds: float = 60
    stop_seconds: float = 10
    records: Path = RECORDS
    logs: Path = LOGS

    @property
    def log(self) -> Path:
        """Where its output goes."""
        return self.logs / f"{self.name}.log"

    @property
    def fingerprint(self) -> str:
        """Digest of all that decides what the process does."""
        digest = hashlib.sha256("\0".join(self.command).encode())
        for path in self.files:
            digest.update(path.read_bytes())
        if self.on_node:
            digest.update(network.identity().encode())
        return digest.hexdigest()[:16]

    def process(self) -> Process | None:
        """The running process, as recorded, or as found by its marker when a killed run did not get to record it."""
        return running(self.name, self.records)

    def ensure(self) -> bool:
        """Make it run, be well and be up to date. Returns whether it had to be started.

        Raises SandboxError with the end of its log when it dies or does not get well in time.
        """
        process = self.process()
        if process is not None and _record(self.name, self.records).get("fingerprint") == self.fingerprint:
            with contextlib.suppress(SandboxError):
                wait_until(self.healthy, what=self.name, seconds=HEALTH_SECONDS)
                if process.alive:
                    return False
        self.stop()
        self._start()
        return True

    def _start(self) -> None:
        self.logs.mkdir(parents=True, exist_ok=True)
        if self.log.exists() and self.log.stat().st_size > LARGEST_LOG:
            self.log.replace(self.log.with_suffix(".log.old"))
        with self.log.open("ab") as output:
            offset = output.tell()
            try:
                process = subprocess.Popen(
                    [*(network.enter() if self.on_node else ()), *self.command],
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                    cwd="/",
                    env={**_plain_environment(), **self.environment, MARKER: self.name},
                )
            except OSError as error:
                raise SandboxError(f"{self.name} cannot be started: {error}") from None
        started = Process.of(process.pid)
        if started is not None:
            _write_record(self.name, started, self.fingerprint, self.records)
        process.returncode = 0  # it is meant to outlive us: keep Popen from warning about a child left running
        wait_until(
            self.healthy,
            what=f"{self.name} did not get ready:",
            seconds=self.start_seconds,
            still_possible=lambda: self._require_alive(started, offset),
            log=self.log,
        )

    def _require_alive(self, process: Process | None, offset: int) -> None:
        if process is None or not process.alive:
            raise SandboxError(f"{self.name} ended right after it was started", lines=explaining_lines(self.log, offset), log=self.log)

    def stop(self) -> None:
        """End it; returns when it is gone."""
        stop(self.name, self.stop_seconds, self.records)


def running(name: str, records: Path = RECORDS) -> Process | None:
    """The process of the daemon `name`, if it runs."""
    record = _record(name, records)
    if record.get("boot") == boot_id():
        process = Process(int(record["pid"]), int(record["started"]))
        if process.alive:
            return process
    return next((process for marked, process in marked_processes() if marked == name), None)


def stop(name: str, seconds: float = 10, records: Path = RECORDS) -> None:
    """End the daemon `name` and forget it; does nothing when it does not run."""
    recorded = running(name, records)
    strays = [process for marked, process in marked_processes() if marked == name]
    for process in {*strays, *([recorded] if recorded else [])}:
        process.end(seconds)
    (records / f"{name}.json").unlink(missing_ok=True)


def marked_processes() -> Iterator[tuple[str, Process]]:
    """Session leaders that carry our marker, whoever started them. Children of daemons inherit the marker but do not lead."""
    for process, name in _processes_with_marker():
        with contextlib.suppress(OSError):
            if os.getsid(process.pid) == process.pid:
                yield name, process


def kill_everything_marked() -> None:
    """Kill daemons and all their children that still carry our marker."""
    for process, _ in _processes_with_marker():
        process.send(signal.SIGKILL)
        _ended(process, 5)


def _processes_with_marker() -> Iterator[tuple[Process, str]]:
    needle = f"{MARKER}=".encode()
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        process = Process.of(int(entry.name))
        if not shares_our_files(entry):
            continue
        try:
            variables = (entry / "environ").read_bytes().split(b"\0")
        except OSError:
            continue
        value = next((v.removeprefix(needle) for v in variables if v.startswith(needle)), None)
        if process is not None and value is not None:
            yield process, value.decode()


def shares_our_files(entry: Path) -> bool:
    """Whether the process of a /proc entry sees the machine as we do: one in a container may belong to a sandbox of its own."""
    try:
        return (entry / "ns" / "mnt").readlink() == Path("/proc/self/ns/mnt").readlink()
    except OSError:
        return False


def _record(name: str, records: Path) -> dict[str, str]:
    return read_record(records / f"{name}.json")


def _write_record(name: str, process: Process, fingerprint: str, records: Path) -> None:
    record = {
        "pid": str(process.pid),
        "started": str(process.started),
        "boot": boot_id(),
        "fingerprint": fingerprint,
    }
    write(records / f"{name}.json", json.dumps(record), 0o644)


def _plain_environment() -> dict[str, str]:
    path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    return {"PATH": path, "HOME": str(Path.home()), "LANG": "C.UTF-8"}


def command_path(name: str) -> str:
    """Absolute path of a command of the machine."""
    found = shutil.which(name) or shutil.which(name, path="/usr/sbin:/sbin:/usr/local/sbin")
    if found is None:
        raise SandboxError(f"the command {name} is missing")
    return found


def answers(url: str, *, seconds: float = 2) -> bool:
    """Whether an HTTP(S) health address answers 200. The certificate is not checked: only our own processes are asked."""
    context = ssl._create_unverified_context() if url.startswith("https") else None  # noqa: S323, SLF001
    opener = urllib.request.build_opener(
        urllib.request.ProxyHandler({}), *([urllib.request.HTTPSHandler(context=context)] if context else [])
    )
    try:
        with opener.open(url, timeout=seconds) as response:
            return bool(response.status == HTTPStatus.OK)
    except (OSError, urllib.error.URLError):
        return False
