"""The point-in-time join of a training set: stock Feast and `train-set` side by side, and what the second needs as history grows.

Each contestant is a process of its own in every round, so that its peak memory is its own; imports do not count. Stock
gives a data frame, `train-set` reads the labels from a file and writes one. Both are held against the values that follow
from employee and snapshot.
"""

import argparse
import json
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from bench.rounds import interleave
from bench.stores import FEATURES, PROJECT, SERVICE, SNAPSHOT_EVERY, expected, feast, feature_repo, history, newest_snapshot, run

LABELS = 100_000
EMPLOYEES = 10_000
SNAPSHOTS = 100
"""Weekly, of two years: a million rows."""
HISTORIES = (10, 100, 1_000)
"""Snapshots of histories of 0.1, 1 and 10 million rows."""
ROW_GROUP = 50
"""Snapshots in a row group of the source's file."""
CHECKED = 1_000
MEMORY_MIB = 256
STOCK, OURS = "stock Feast (dask)", "train-set"

Measured = dict[str, Any]


def main() -> int:
    """Print both tables; fails when an answer is wrong."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--contestant", choices=("stock", "ours"))
    parser.add_argument("--directory", type=Path)
    arguments = parser.parse_args()
    if arguments.contestant:
        measured = (_stock if arguments.contestant == "stock" else _ours)(arguments.directory)
        sys.stdout.write(f"{json.dumps(measured)}\n")
        return 0
    with tempfile.TemporaryDirectory(prefix="feast-eks-bench-") as directory:
        sys.stdout.write(f"{_side_by_side(Path(directory))}\n\n{_memory(Path(directory))}\n")
    return 0


def _side_by_side(directory: Path) -> str:
    place = _prepare(directory / "both", SNAPSHOTS)
    feast(place / "feature_repo", "apply", "--skip-source-validation")
    rounds = interleave({STOCK: _process("stock", place), OURS: _process("ours", place)})
    medians = {name: statistics.median(one["seconds"] for one in results) for name, results in rounds.items()}
    lines = [
        f"  {name:<18}  {medians[name]:6.2f} s  {medians[STOCK] / medians[name]:6.1f}x  "
        f"{statistics.median(one['peak_mib'] for one in results):5.0f} MiB  {results[0]['lost']:6,} labels lost"
        for name, results in rounds.items()
    ]
    what = f"{LABELS:,} labels, {EMPLOYEES * SNAPSHOTS:,} rows of history, {len(FEATURES)} features"
    return "\n".join([f"point-in-time join: {what}; medians of {len(rounds[OURS])} rounds", *lines])


def _memory(directory: Path) -> str:
    lines = []
    for snapshots in HISTORIES:
        measured = _process("ours", _prepare(directory / str(snapshots), snapshots))()
        lines.append(f"  {EMPLOYEES * snapshots:>10,} rows  {measured['peak_mib']:5.0f} MiB  {measured['seconds']:6.2f} s")
    return "\n".join([f"peak memory of train-set, {LABELS:,} labels, --memory-mib {MEMORY_MIB}", *lines])


def _process(contestant: str, place: Path) -> Callable[[], Measured]:
    command = [sys.executable, "-m", "bench.point_in_time", "--contestant", contestant, "--directory", str(place)]

    def measure() -> Measured:
        measured: Measured = json.loads(run(command, cwd=PROJECT).splitlines()[-1])
        if contestant == "ours" and measured["lost"]:
            raise RuntimeError(f"train-set lost {measured['lost']} labels")
        return measured

    return measure


def _prepare(directory: Path, snapshots: int) -> Path:
    """A feature repo with its history, and labels: at random times, one in a hundred before there is anything to know of
    the employee, and one in two hundred there twice.
    """  # noqa: D205
    directory.mkdir()
    repo = feature_repo(directory, redis_port=1, employees=1)
    times = [newest_snapshot() - age * SNAPSHOT_EVERY for age in range(snapshots - 1, -1, -1)]
    with pq.ParquetWriter(repo / "data" / "employee_attrition.parquet", history(1, times[0]).schema, compression="zstd") as writer:
        for start in range(0, snapshots, ROW_GROUP):
            writer.write_table(pa.concat_tables([history(EMPLOYEES, when) for when in times[start : start + ROW_GROUP]]))
    random = np.random.default_rng(1)
    seconds = random.integers(0, int((times[-1] - times[0] + SNAPSHOT_EVERY).total_seconds()), LABELS)
    seconds[::100] = -3_600
    employees = random.integers(1, EMPLOYEES + 1, LABELS)
    seconds[1::200], employees[1::200] = seconds[2::200], employees[2::200]
    moments = pa.array(int(times[0].timestamp()) * 10**6 + seconds * 10**6).cast(pa.timestamp("us", tz="UTC"))
    labels = pa.table({"employee_id": employees, "event_timestamp": moments, "label": np.arange(LABELS)})
    pq.write_table(labels, directory / "labels.parquet")
    return directory


def _stock(directory: Path) -> Measured:
    from feast import FeatureStore  # noqa: PLC0415  each contestant pays for its own imports only

    store = FeatureStore(str(directory / "feature_repo"))
    service = store.get_feature_service(SERVICE)
    labels = pq.read_table(directory / "labels.parquet").to_pandas()
    started = time.perf_counter()
    frame = store.get_historical_features(labels, service).to_df()
    seconds = time.perf_counter() - started
    return _judged(pa.Table.from_pandas(frame, preserve_index=False), directory, seconds)


def _ours(directory: Path) -> Measured:
    import os  # noqa: PLC0415

    from feature_runtime import train_set  # noqa: PLC0415

    os.environ["FEATURE_REPO_DIR_ENV_VAR"] = str(directory / "feature_repo")
    parser = argparse.ArgumentParser()
    train_set.add_arguments(parser)
    paths = ["--labels", str(directory / "labels.parquet"), "--output", str(directory / "out.parquet")]
    arguments = parser.parse_args(["--service", SERVICE, *paths, "--overwrite", "--memory-mib", str(MEMORY_MIB)])
    started = time.perf_counter()
    train_set.run(arguments)
    seconds = time.perf_counter() - started
    # The peak is read before the answer is looked at.
    peak = _peak_mib()
    return _judged(pq.read_table(directory / "out.parquet"), directory, seconds) | {"peak_mib": peak}


def _judged(table: pa.Table, directory: Path, seconds: float) -> Measured:
    """What was measured, once a sample of the rows has proven right."""
    peak = _peak_mib()
    first = newest_snapshot() - SNAPSHOT_EVERY * (_snapshots(directory) - 1)
    for row in table.slice(0, table.num_rows).take(list(range(0, table.num_rows, max(1, table.num_rows // CHECKED)))).to_pylist():
        right = _right(row["employee_id"], row["event_timestamp"], first)
        if any(row[name] != right[name] and not (right[name] is None and _nothing(row[name])) for name in FEATURES):
            raise RuntimeError(f"employee {row['employee_id']} at {row['event_timestamp']}: {row}, not {right}")
    return {"seconds": seconds, "peak_mib": peak, "lost": LABELS - table.num_rows}


def _right(employee: int, when: datetime, first: datetime) -> dict[str, Any]:
    age = when - first
    if age < timedelta(0):
        return dict.fromkeys(FEATURES)
    return expected(employee, first + age // SNAPSHOT_EVERY * SNAPSHOT_EVERY)


def _nothing(value: Any) -> bool:
    return value is None or value != value  # noqa: PLR0124  not a number


def _snapshots(directory: Path) -> int:
    rows: int = pq.read_metadata(directory / "feature_repo" / "data" / "employee_attrition.parquet").num_rows
    return rows // EMPLOYEES


def _peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    sys.exit(main())
