"""Write the example's history: weekly snapshots of 1,470 employees as one parquet file.

The same day of writing gives the same bytes, on every machine. The newest snapshot is of the day before, 00:00 UTC;
some employees have left in the course of the half year and have no newer rows. The file has more columns than the
example's view uses, so that a field can be added.
"""

import argparse
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

EMPLOYEES = 1_470
SNAPSHOTS = 26
WEEK = timedelta(days=7)
# Every ninth employee leaves; 101, 202 and 303 are the ones that examples and smoke tests ask for, and they stay.
LEAVER_EVERY = 9
STAY = (101, 202, 303)
SEED = 1470
OVERTIME_SHARE = 0.28
PROMOTED_PER_WEEK = 0.004


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The file to write, and the day from which it is written."""
    parser.add_argument("path", type=Path, help="the parquet file to write")
    parser.add_argument("--as-of", type=_day, default=None, metavar="YYYY-MM-DD", help="the day of writing (today)")
    parser.add_argument(
        "--keep-days",
        type=int,
        default=0,
        metavar="N",
        help="leave a file alone whose newest snapshot is at most N days old (0: always write)",
    )


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """Write the file; the result says how much is in it."""
    path: Path = arguments.path
    today = arguments.as_of or datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    if (kept := _newest_snapshot(path)) and kept <= today and today - kept <= timedelta(days=arguments.keep_days):
        return {"path": str(path), "written": False, "newest_event_time": kept.isoformat()}
    table = history(today)
    path.parent.mkdir(parents=True, exist_ok=True)
    # A reader never sees half a file.
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    pq.write_table(table, unfinished, compression="zstd")
    unfinished.replace(path)
    return {
        "path": str(path),
        "written": True,
        "rows": table.num_rows,
        "employees": EMPLOYEES,
        "newest_event_time": (today - timedelta(days=1)).isoformat(),
    }


def history(today: datetime) -> pa.Table:
    """The snapshots as they are on the day `today` (00:00 UTC), ordered by time and employee."""
    random = np.random.default_rng(SEED)
    ids = np.arange(1, EMPLOYEES + 1)
    leaver = (ids % LEAVER_EVERY == 0) & ~np.isin(ids, STAY)
    # A leaver's last snapshot is between 2 and 20 weeks before the newest.
    last_snapshot = np.where(leaver, SNAPSHOTS - 1 - random.integers(2, 21, EMPLOYEES), SNAPSHOTS - 1)

    start_tenure = random.gamma(2.0, 3.0, EMPLOYEES)
    start_stagnation = np.minimum(random.gamma(1.5, 1.5, EMPLOYEES), start_tenure)
    promotions = random.poisson(start_tenure / 3.5)
    band = random.integers(1, 6, EMPLOYEES)
    satisfaction = random.uniform(1.0, 4.0, EMPLOYEES)
    age = np.clip(22 + start_tenure + random.gamma(3.0, 3.0, EMPLOYEES), 18, 65)
    distance = random.integers(1, 30, EMPLOYEES)
    income = band * 2_400 + random.integers(0, 2_400, EMPLOYEES)
    department = random.choice(["Engineering", "Finance", "Operations", "Sales"], EMPLOYEES)

    snapshots = []
    for number in range(SNAPSHOTS):
        years = number * 7 / 365.25
        overtime = random.random(EMPLOYEES) < OVERTIME_SHARE
        promoted = random.random(EMPLOYEES) < PROMOTED_PER_WEEK
        promotions = promotions + promoted
        start_stagnation = np.where(promoted, -years, start_stagnation)
        satisfaction = np.clip(satisfaction + random.normal(0, 0.08, EMPLOYEES), 1.0, 4.0)
        tenure = start_tenure + years
        when = today - timedelta(days=1) - WEEK * (SNAPSHOTS - 1 - number)
        columns = {
            "employee_id": ids.astype(np.int64),
            "event_timestamp": np.full(EMPLOYEES, np.datetime64(when.replace(tzinfo=None), "us")),
            "created": np.full(EMPLOYEES, np.datetime64((when + timedelta(hours=2)).replace(tzinfo=None), "us")),
            "tenure": tenure.astype(np.float32),
            "salary_band": band.astype(np.int64),
            "overtime": overtime.astype(np.int64),
            "promotion_stagnation": (start_stagnation + years).astype(np.float32),
            "career_velocity": (promotions / np.maximum(tenure, 0.5)).astype(np.float32),
            "overall_satisfaction": satisfaction.round(2).astype(np.float32),
            "age": (age + years).astype(np.int64),
            "monthly_income": income.astype(np.int64),
            "distance_from_home": distance.astype(np.int64),
            "num_surveys": np.full(EMPLOYEES, number + 1, dtype=np.int64),
            "department": department,
        }
        present = number <= last_snapshot
        snapshots.append({name: values[present] for name, values in columns.items()})

    utc = pa.timestamp("us", tz="UTC")
    types = {"event_timestamp": utc, "created": utc}
    return pa.table(
        {
            name: pa.array(np.concatenate([snapshot[name] for snapshot in snapshots])).cast(types[name])
            if name in types
            else pa.array(np.concatenate([snapshot[name] for snapshot in snapshots]))
            for name in snapshots[0]
        }
    )


def _newest_snapshot(path: Path) -> datetime | None:
    try:
        times = pq.read_table(path, columns=["event_timestamp"])["event_timestamp"]
    except (OSError, pa.ArrowInvalid):
        return None
    newest: datetime | None = pc.max(times).as_py()
    return newest


def _day(text: str) -> datetime:
    return datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC)
