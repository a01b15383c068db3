"""What the benchmarks measure against: a private Redis, and the example's feature repo with generated employees.

The registry is a file, so nothing but Redis and the contestants themselves takes part. Every value follows from the
employee and the snapshot (`expected`), so whoever measures can also tell whether what came back is right.
"""

import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from bench.ports import free_port

PROJECT = Path(__file__).resolve().parent.parent
SERVICE = "attrition_model_v1"
VIEW = "employee_features"
FEATURES = ("tenure", "salary_band", "overtime", "promotion_stagnation", "career_velocity", "overall_satisfaction")
SNAPSHOT_EVERY = timedelta(days=7)
STARTS_WITHIN = 20.0


@contextmanager
def redis_server(directory: Path) -> Iterator[int]:
    """A Redis of its own on a free port of this machine, without password and without persistence; gives the port."""
    port = free_port()
    binary = shutil.which("redis-server")
    if not binary:
        raise RuntimeError("Redis is not installed: apt-get install redis-server")
    command = [binary, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", str(directory)]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL) as server:
        try:
            _wait_for_port(port, server)
            yield port
        finally:
            server.terminate()


def feature_repo(
    directory: Path,
    *,
    redis_port: int,
    online_store: str = "redis",
    employees: int = 1_470,
    snapshots: int = 1,
) -> Path:
    """A copy of `feature_repo/` with a file registry, that Redis and generated data; nothing is applied or loaded.

    Args:
        directory: where `feature_repo` is made.
        redis_port: of `redis_server`.
        online_store: Feast's name of the type, or the full name of a class.
        employees: numbered from 1.
        snapshots: weekly, the newest of yesterday 00:00 UTC; the file has a row per employee and snapshot.
    """
    repo = directory / "feature_repo"
    ignored = shutil.ignore_patterns("data", "__pycache__", "feature_store.yaml")
    shutil.copytree(PROJECT / "feature_repo", repo, ignore=ignored)
    repo.joinpath("feature_store.yaml").write_text(
        "project: employee_attrition\n"
        "provider: local\n"
        "registry: data/registry.db\n"
        f"online_store: {{type: {online_store}, connection_string: '127.0.0.1:{redis_port}'}}\n"
        "offline_store: {type: file}\n"
        "materialization: {online_write_batch_size: 10000}\n"
        "entity_key_serialization_version: 3\n"
    )
    repo.joinpath("data").mkdir()
    newest = newest_snapshot()
    with pq.ParquetWriter(repo / "data" / "employee_attrition.parquet", history(1, newest).schema, compression="zstd") as writer:
        for age in range(snapshots - 1, -1, -1):
            writer.write_table(history(employees, newest - age * SNAPSHOT_EVERY))
    return repo


def newest_snapshot() -> datetime:
    """When the newest generated values were true: yesterday, 00:00 UTC."""
    return datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(days=1)


def history(employees: int, when: datetime) -> pa.Table:
    """One snapshot: a row for each employee 1 … `employees`, sorted by number."""
    ids = np.arange(1, employees + 1, dtype=np.int64)
    utc = pa.timestamp("us", tz="UTC")
    columns = {
        "employee_id": pa.array(ids),
        "event_timestamp": pa.repeat(pa.scalar(when, utc), employees),
        "created": pa.repeat(pa.scalar(when + timedelta(hours=2), utc), employees),
    }
    return pa.table(columns | {name: pa.array(values) for name, values in _values(ids, when).items()})


def expected(employee: int, when: datetime | None = None) -> dict[str, Any]:
    """The employee's values in the newest snapshot, or in the one of `when`: feature to Python number, float32 exact."""
    values = _values(np.array([employee], dtype=np.int64), when or newest_snapshot())
    return {name: column[0].item() for name, column in values.items()}


def feast(repo: Path, *arguments: str) -> None:
    """Run Feast's own command line in the repo, with the Python of this process."""
    run([sys.executable, "-c", "from feast.cli.cli import cli; cli()", "-c", str(repo), *arguments], cwd=repo)


def run(command: list[str], **options: Any) -> str:
    """Run a command to its end; gives its stdout.

    Raises:
        RuntimeError: it failed; the message holds what it printed.
    """
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, **options)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)} ended with {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout


def apply_and_load(repo: Path) -> None:
    """What a stock deployment does: `feast apply`, then `feast materialize` of the newest snapshot."""
    feast(repo, "apply", "--skip-source-validation")
    newest = newest_snapshot()
    start, end = newest - timedelta(days=1), newest + timedelta(hours=3)
    feast(repo, "materialize", start.isoformat(), end.isoformat())


def _values(ids: np.ndarray, when: datetime) -> dict[str, np.ndarray]:
    # Primes make neighbours, features and weeks differ, so that a mix-up of any of them shows.
    week = int(when.timestamp() // SNAPSHOT_EVERY.total_seconds())
    mixed = ids * 7_919 + week * 104_729
    return {
        "tenure": (mixed % 4_001 / 100).astype(np.float32),
        "salary_band": mixed % 5 + 1,
        "overtime": mixed // 5 % 2,
        "promotion_stagnation": (mixed % 1_009 / 100).astype(np.float32),
        "career_velocity": (mixed % 307 / 100).astype(np.float32),
        "overall_satisfaction": (mixed % 211 / 70 + 1).astype(np.float32),
    }


def _wait_for_port(port: int, server: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + STARTS_WITHIN
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            if server.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"Redis does not listen on port {port}") from None
            time.sleep(0.02)
        else:
            return
