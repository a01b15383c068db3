"""Loading the online store: stock `feast materialize` beside ours, and what ours needs of memory as the source grows.

    python -m bench.materialization [--rounds N] [--rows …]

Both get the same parquet file, registry of their own, and the same Redis, emptied before each run; what lies in Redis
after a run is read back and compared with what was generated. Stock is tuned as well as it can be: batches of 10,000
rows, no reading before writing. "In process" leaves out what a command needs to start.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import redis

from bench import stores
from bench.rounds import ROUNDS, measure

EMPLOYEES = 100_000
STOCK, OURS = "redis", "feature_runtime.online_store.PipelinedRedisOnlineStore"
GROWTH = (100_000, 1_000_000, 10_000_000)
ROWS_PER_EMPLOYEE = 5
ROW_GROUP = 1_000_000
CHECKED = 1_000

# Runs a verb or Feast's command line in a process of its own; the last line of stderr says seconds and peak memory.
TIMED = """
import pathlib, re, sys, time
{imports}
started = time.perf_counter()
{run}
seconds = time.perf_counter() - started
# Not getrusage: that is never less than what the process that started this one took.
peak = re.search(r"VmHWM:\\s+(\\d+) kB", pathlib.Path("/proc/self/status").read_text())[1]
print("measured", seconds, peak, file=sys.stderr)
"""
STOCK_IMPORTS = "from datetime import datetime; from feast import FeatureStore; store = FeatureStore(repo_path={repo!r})"
STOCK_RUN = "store.materialize(datetime.fromisoformat({start!r}), datetime.fromisoformat({end!r}))"
OUR_IMPORTS = """
import argparse
from pathlib import Path
from feature_runtime.feast_import import without_type_checks
# As the command does.
without_type_checks()
from feature_runtime import materialize
from feature_runtime.registry.access import open_store
# What Feast imports when a store is opened counts for neither.
open_store(Path({repo!r}))
parser = argparse.ArgumentParser()
materialize.add_arguments(parser)
"""
OUR_RUN = "materialize.run(parser.parse_args(['--backfill']))"


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--rows", type=int, nargs="*", default=list(GROWTH))
    arguments = parser.parse_args()
    # For Feast's own commands too: the store's class lies there.
    os.environ["PYTHONPATH"] = str(stores.PROJECT / "runtime")
    with tempfile.TemporaryDirectory(prefix="feast-eks-bench-") as directory, ExitStack() as ending:
        port = ending.enter_context(stores.redis_server(Path(directory)))
        sys.stdout.write(_speed(Path(directory), port, arguments.rounds) + "\n\n")
        sys.stdout.write(_memory(Path(directory), port, arguments.rows) + "\n")


def _speed(directory: Path, port: int, rounds: int) -> str:
    client = redis.Redis(port=port)
    inside: dict[str, list[float]] = {"stock": [], "ours": []}

    def contestant(name: str, online_store: str) -> Callable[[], None]:
        repo = _repo(directory / name, port, online_store)
        stores.feast(repo, "apply", "--skip-source-validation")

        def run() -> None:
            client.flushall()
            seconds, _ = _timed(repo, ours=name == "ours")
            inside[name].append(seconds)
            _check(client)

        return run

    whole = measure({"stock": contestant("stock", STOCK), "ours": contestant("ours", OURS)}, rounds)
    # The first round does not count, here as in `measure`.
    alone = {name: float(np.median(seconds[1:])) for name, seconds in inside.items()}
    lines = [f"Materialization of {EMPLOYEES:,} employees x {len(stores.FEATURES)} features, medians of {rounds} interleaved rounds:"]
    lines += [f"  {'':<22}{'stock':>12}{'ours':>12}{'ratio':>9}"]
    for what, medians in (("rows/s in process", alone), ("rows/s, whole command", whole)):
        stock, ours = (EMPLOYEES / medians[name] for name in ("stock", "ours"))
        lines.append(f"  {what:<22}{stock:>12,.0f}{ours:>12,.0f}{ours / stock:>8.1f}x")
    return "\n".join(lines)


def _memory(directory: Path, port: int, rows: list[int]) -> str:
    client = redis.Redis(port=port)
    lines = [f"Peak memory of the whole process, {ROWS_PER_EMPLOYEE} rows per employee, {ROW_GROUP:,} rows per row group:"]
    lines.append(f"  {'rows':>12}{'employees':>12}{'seconds':>10}{'peak':>10}{'ratio':>9}")
    least = 0
    for count in rows:
        repo = _repo(directory / str(count), port, OURS, employees=1)
        _grow(repo / "data" / "employee_attrition.parquet", count)
        stores.feast(repo, "apply", "--skip-source-validation")
        client.flushall()
        sys.stderr.write(f"memory: {count:,} rows\n")
        seconds, peak = _timed(repo, ours=True)
        employees = client.dbsize() - 1
        least = least or peak
        lines.append(f"  {count:>12,}{employees:>12,}{seconds:>10.1f}{peak / 1024:>6.0f} MiB{peak / least:>8.2f}x")
        if employees != count // ROWS_PER_EMPLOYEE:
            raise RuntimeError(f"of {count // ROWS_PER_EMPLOYEE:,} employees {employees:,} were loaded")
        shutil.rmtree(repo)
    client.flushall()
    return "\n".join(lines)


def _repo(directory: Path, port: int, online_store: str, employees: int = EMPLOYEES) -> Path:
    directory.mkdir()
    repo = stores.feature_repo(directory, redis_port=port, online_store=online_store, employees=employees)
    if online_store == STOCK:
        config = repo / "feature_store.yaml"
        config.write_text(config.read_text().replace("{type: redis,", "{type: redis, skip_dedup: true,"))
    return repo


def _timed(repo: Path, *, ours: bool) -> tuple[float, int]:
    """Seconds in process and peak KiB of one load."""
    newest = stores.newest_snapshot()
    start, end = ((newest + offset).isoformat() for offset in (timedelta(days=-1), timedelta(hours=3)))
    imports = (OUR_IMPORTS if ours else STOCK_IMPORTS).format(repo=str(repo))
    program = TIMED.format(imports=imports, run=OUR_RUN if ours else STOCK_RUN.format(start=start, end=end))
    environment = os.environ | {"FEATURE_REPO_DIR_ENV_VAR": str(repo)}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program], cwd=repo, env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise RuntimeError(done.stdout + done.stderr)
    _, seconds, peak = done.stderr.strip().splitlines()[-1].split()
    return float(seconds), int(peak)


def _check(client: redis.Redis) -> None:
    """Every employee is there, and a sample of them has the values that were generated."""
    keys = [key for key in client.scan_iter(count=10_000) if b"employee_id" in key]
    if len(keys) != EMPLOYEES:
        raise RuntimeError(f"{len(keys)} of {EMPLOYEES} employees were loaded")
    for employee in np.linspace(1, EMPLOYEES, CHECKED, dtype=int).tolist():
        stored = _stored(client, employee)
        if stored != stores.expected(employee):
            raise RuntimeError(f"employee {employee}: {json.dumps(stored)} instead of {json.dumps(stores.expected(employee))}")


def _stored(client: redis.Redis, employee: int) -> dict[str, float]:
    # Here and not above: what is measured starts in processes of its own, and this one should start at once.
    from feast.infra.online_stores.helpers import _mmh3, _redis_key  # noqa: PLC0415
    from feast.protos.feast.types.EntityKey_pb2 import EntityKey  # noqa: PLC0415
    from feast.protos.feast.types.Value_pb2 import Value  # noqa: PLC0415

    key = EntityKey(join_keys=["employee_id"], entity_values=[Value(int64_val=employee)])
    fields = [_mmh3(f"{stores.VIEW}:{feature}") for feature in stores.FEATURES]
    values = [Value.FromString(value) for value in client.hmget(_redis_key("employee_attrition", key), fields)]
    return {feature: getattr(value, value.WhichOneof("val")) for feature, value in zip(stores.FEATURES, values, strict=True)}


def _grow(path: Path, rows: int) -> None:
    """A file of so many rows, every employee several times within the last day, in row groups as large as they come."""
    random = np.random.default_rng(1)
    newest = int(stores.newest_snapshot().timestamp()) * 1_000_000
    day = 86_400_000_000
    utc = pa.timestamp("us", "UTC")
    employees = rows // ROWS_PER_EMPLOYEE
    writer = None
    for start in range(0, rows, ROW_GROUP):
        count = min(ROW_GROUP, rows - start)
        table = pa.table(
            {
                "employee_id": pa.array((np.arange(start, start + count) * 7) % employees),
                "event_timestamp": pa.array(newest - random.integers(0, day, count), utc),
                "created": pa.array(np.full(count, newest), utc),
                **{
                    name: pa.array(random.random(count, dtype=np.float32))
                    for name in stores.FEATURES
                    if name not in {"salary_band", "overtime"}
                },
                "salary_band": pa.array(random.integers(1, 6, count)),
                "overtime": pa.array(random.integers(0, 2, count)),
            }
        )
        writer = writer or pq.ParquetWriter(path, table.schema)
        writer.write_table(table, row_group_size=ROW_GROUP)
    if writer:
        writer.close()


if __name__ == "__main__":
    main()
