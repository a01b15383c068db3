"""What the feature server answers per second and how long it takes, side by side with Feast's own server.

Contestants, each as a process of its own on the same Redis and the same file registry: `feast serve` as it comes, the
best that `feast serve` can be tuned to, and ours. All run all the time; the load goes to one after the other, round
by round. Every body is compared with the known values; a wrong one ends the benchmark.
"""

import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.load import Load, Measured, load
from bench.ports import free_port
from bench.rounds import ROUNDS, interleave
from bench.stores import FEATURES, PROJECT, SERVICE, apply_and_load, expected, feature_repo, redis_server

TIMES = {"p50": "p50 ms", "p99": "p99 ms", "p99_seen": "p99 seen ms", "slowest": "slowest ms"}
EMPLOYEES = 5_000
ASKED_FOR = 1_470
STARTS_WITHIN = 120.0
FEAST = (sys.executable, "-c", "from feast.cli.cli import cli; cli()")
DEFAULT = "feast serve"
TUNED = "feast serve, tuned"
OURS = "feature-runtime serve"
COMMANDS: dict[str, Callable[[Path, int], list[str]]] = {
    # One worker that is replaced after 1,000 requests or so, and an access log.
    DEFAULT: lambda repo, port: [*FEAST, "-c", str(repo), "serve", "-h", "127.0.0.1", "-p", str(port)],
    # A process per core, never replaced, no access log. The file registry spares it the trouble of pools and forks.
    TUNED: lambda repo, port: [
        *(*FEAST, "-c", str(repo), "serve", "-h", "127.0.0.1", "-p", str(port)),
        *("-w", "2", "--max-requests", "0", "--max-requests-jitter", "0", "--no-access-log"),
    ],
    OURS: lambda _, port: [
        *(sys.executable, "-m", "feature_runtime", "serve", "--port", str(port)),
        *("--grpc-port", str(free_port()), "--metrics-port", str(free_port())),
    ],
}


@dataclass(frozen=True, kw_only=True)
class Scene:
    """One kind of load: connections at once, entities per request, seconds per round."""

    title: str
    connections: int
    entities: int
    seconds: float
    at_least: int = 0
    """Answers that a round waits for, up to four times as long."""


SCENES = (
    # So many that the default server replaces its worker in every round.
    Scene(title="10 connections, 1 entity", connections=10, entities=1, seconds=6, at_least=2_000),
    Scene(title="10 connections, 100 entities", connections=10, entities=100, seconds=3),
    Scene(title="1 connection, 1 entity", connections=1, entities=1, seconds=2),
)


@dataclass(frozen=True, kw_only=True)
class Server:
    """A contestant that answers."""

    name: str
    port: int
    pid: int

    def memory_mib(self) -> float:
        """What its processes hold, pages that they share counted once."""
        kib = 0
        for process in Path("/proc").glob("[0-9]*"):
            try:
                if int(process.joinpath("stat").read_text().rsplit(")", 1)[1].split()[3]) == self.pid:
                    rollup = process.joinpath("smaps_rollup").read_text()
                    kib += int(rollup.split("\nPss:", 1)[1].split()[0])
            except (OSError, IndexError):
                continue
        return kib / 1024


def main() -> int:
    """Print one table per load, and what each contestant holds."""
    # Who is told to end takes the servers along.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with tempfile.TemporaryDirectory(prefix="feast-eks-bench-") as name, ExitStack() as stack:
        directory = Path(name)
        redis_port = stack.enter_context(redis_server(directory))
        repo = feature_repo(directory, redis_port=redis_port, employees=EMPLOYEES)
        apply_and_load(repo)
        servers = [stack.enter_context(serving(contestant, repo)) for contestant in COMMANDS]
        truth = {str(employee): list(expected(employee).values()) for employee in range(1, ASKED_FOR + 1)}
        for scene in SCENES:
            rounds = interleave({server.name: _window(server, scene, truth) for server in servers})
            sys.stdout.write(f"{scene.title}, medians of {ROUNDS} rounds of {scene.seconds:g} s\n{_table(rounds)}\n\n")
            sys.stdout.flush()
        for server in servers:
            sys.stdout.write(f"  {server.name:<22} holds {server.memory_mib():4.0f} MiB\n")
        sys.stdout.write(f"  load of the machine at the end: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores\n")
    return 0


@contextmanager
def serving(contestant: str, repo: Path) -> Iterator[Server]:
    """The contestant's processes, from its first answer until the block ends; what they print stays in a file."""
    port = free_port()
    log = repo.parent / f"{contestant.replace(' ', '-')}.log"
    environment = {**os.environ, "FEATURE_REPO_DIR_ENV_VAR": str(repo), "PYTHONPATH": str(PROJECT / "runtime"), "HOME": str(repo.parent)}
    command = COMMANDS[contestant](repo, port)
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, cwd=repo, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
        )
    try:
        _wait(port, process, log)
        yield Server(name=contestant, port=port, pid=process.pid)
    finally:
        process.terminate()
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, 9)
            process.wait()


def _window(server: Server, scene: Scene, truth: dict[str, list[object]]) -> Callable[[], Measured]:
    seeds = iter(range(1_000_000))

    def run() -> Measured:
        measured = load(
            Load(
                port=server.port,
                connections=scene.connections,
                entities=scene.entities,
                seconds=scene.seconds,
                at_least=scene.at_least,
                service=SERVICE,
                features=list(FEATURES),
                truth=truth,
                seed=next(seeds),
            )
        )
        if measured.wrong:
            raise RuntimeError(f"{server.name} gave {measured.wrong} wrong answers, such as {measured.complaint}")
        sys.stderr.write(f"  {measured}\n")
        return measured

    return run


def _table(rounds: dict[str, list[Measured]]) -> str:
    medians = {
        name: {field: statistics.median(getattr(one, field) for one in measured) for field in ("rps", *TIMES)}
        for name, measured in rounds.items()
    }
    ours = medians[OURS]
    lines = [f"  {'':<22} {'answers/s':>10} {''.join(f'{title:>12}' for title in TIMES.values())} {'errors':>7}   ours: answers/s, p99"]
    for name, median in medians.items():
        errors = sum(one.errors for one in rounds[name])
        times = "".join(f"{median[field] * 1e3:12.2f}" for field in TIMES)
        ratios = f"{ours['rps'] / median['rps']:6.1f}x  1/{median['p99'] / ours['p99']:.1f}" if name != OURS else ""
        lines.append(f"  {name:<22} {median['rps']:10,.0f} {times} {errors:7d}   {ratios}".rstrip())
    return "\n".join(lines)


def _wait(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + STARTS_WITHIN
    while True:
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=2).close()
        except OSError:
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{' '.join(process.args)} does not answer\n{log.read_text()}") from None  # type: ignore[arg-type]
            time.sleep(0.05)
        else:
            return


if __name__ == "__main__":
    sys.exit(main())
