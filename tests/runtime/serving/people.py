"""A feature store whose every value is known: people and offices, two kinds of keys, most types, nulls and gaps.

It is made through Feast's own SDK (apply, then writes into the online store), so what the server answers is judged by
what stock Feast stored, and by the tables below.
"""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from feast import FeatureStore
from feast.protos.feast.types.EntityKey_pb2 import EntityKey
from feast.protos.feast.types.Value_pb2 import FloatList, StringList, Value

from bench.ports import free_port
from feature_runtime.definitions.feature_repo import load_definitions
from tests.runtime.environments import WITH_RUNTIME
from tests.waiting import wait_until_ready

ROOT = Path(__file__).resolve().parents[3]
DEFINITIONS = """
from datetime import timedelta

from feast import Entity, FeatureService, FeatureView, Field, FileSource, ValueType
from feast.types import Array, Bool, Float32, Float64, Int32, Int64, String, UnixTimestamp

employee = Entity(name="employee", join_keys=["employee_id"], value_type=ValueType.INT64)
office = Entity(name="office", join_keys=["office"], value_type=ValueType.STRING)

people = FeatureView(
    name="people",
    entities=[employee],
    ttl=timedelta(days=7),
    source=FileSource(name="people", path="data/people.parquet", timestamp_field="event_timestamp"),
    schema=[
        Field(name="employee_id", dtype=Int64),
        Field(name="tenure", dtype=Float32),
        Field(name="salary_band", dtype=Int64),
        Field(name="remote", dtype=Bool),
        Field(name="department", dtype=String),
        Field(name="scores", dtype=Array(Float32)),
        Field(name="since", dtype=UnixTimestamp),
    ],
)
offices = FeatureView(
    name="offices",
    entities=[office],
    ttl=timedelta(0),
    source=FileSource(name="offices", path="data/offices.parquet", timestamp_field="event_timestamp"),
    schema=[
        Field(name="office", dtype=String),
        Field(name="floors", dtype=Int32),
        Field(name="rent", dtype=Float64),
        Field(name="tags", dtype=Array(String)),
        # The same name as in `people`.
        Field(name="since", dtype=UnixTimestamp),
    ],
)
seats = FeatureView(
    name="seats",
    entities=[employee, office],
    ttl=timedelta(days=7),
    source=FileSource(name="seats", path="data/seats.parquet", timestamp_field="event_timestamp"),
    schema=[
        Field(name="employee_id", dtype=Int64),
        Field(name="office", dtype=String),
        Field(name="days", dtype=Int64),
        Field(name="desk", dtype=String),
    ],
)

person_v1 = FeatureService(
    name="person_v1",
    features=[people[["tenure", "salary_band", "remote", "department", "scores"]]],
)
seating_v1 = FeatureService(
    name="seating_v1",
    features=[seats[["desk", "days"]], offices[["tags", "rent", "floors"]], people[["since", "tenure"]]],
)
"""

SERVICES = {
    "person_v1": ["people:tenure", "people:salary_band", "people:remote", "people:department", "people:scores"],
    "seating_v1": ["seats:desk", "seats:days", "offices:tags", "offices:rent", "offices:floors", "people:since", "people:tenure"],
}
FEATURES = {
    "people": ["tenure", "salary_band", "remote", "department", "scores", "since"],
    "offices": ["floors", "rent", "tags", "since"],
    "seats": ["days", "desk"],
}
KEYS = {"people": ["employee_id"], "offices": ["office"], "seats": ["employee_id", "office"]}
NOW = datetime.now(UTC).replace(microsecond=0)
FRESH = NOW - timedelta(hours=3)
OLD = NOW - timedelta(days=30)
OFFICES = ["Bern", "Zürich ☂", "", "0042", 'a b\tc"\\', "😀", "null", "\x00", "x" * 300]
BIG = (0, -1, 2**31, 2**53 + 1, 2**63 - 1, -(2**63))
EMPLOYEES = [*range(1, 41), *BIG]
OUTDATED = {7, 8, 9}
"""Employees whose row in `people` is older than its ttl."""


def person(employee: int) -> dict[str, Any]:
    seed = employee % 97
    return {
        "tenure": None if seed % 11 == 3 else seed / 8,
        "salary_band": None if seed % 13 == 4 else [seed % 5 + 1, -seed, 2**53 + seed, 2**63 - 1 - seed][seed % 4],
        "remote": None if seed % 17 == 5 else seed % 2 == 0,
        "department": None if seed % 19 == 6 else ["Sales", "Forschung ☂", "", 'a"b\\c\n'][seed % 4],
        "scores": None if seed % 7 == 2 else [seed / 4 + n for n in range(seed % 4)] or None,
        "since": FRESH.replace(minute=0, second=0) - timedelta(days=seed),
    }


def place(office: str) -> dict[str, Any]:
    seed = len(office) + OFFICES.index(office)
    return {
        "floors": seed % 9 - 2,
        "rent": None if seed % 5 == 1 else seed * 1e6 / 7,
        "tags": [office, "ä", ""][: seed % 3 + 1],
        "since": FRESH.replace(minute=0, second=0) - timedelta(days=400 + seed),
    }


def seat(employee: int, office: str) -> dict[str, Any]:
    return {"days": employee % 6, "desk": f"{office[:5]}/{employee}"}


SEATS = [(employee, office) for employee in EMPLOYEES for office in OFFICES if (employee + len(office)) % 3]
TABLES: dict[str, dict[tuple[Any, ...], dict[str, Any]]] = {
    "people": {(employee,): person(employee) for employee in EMPLOYEES},
    "offices": {(office,): place(office) for office in OFFICES},
    "seats": {pair: seat(*pair) for pair in SEATS},
}


def event_time(view: str, key: tuple[Any, ...]) -> datetime:
    return OLD if view == "people" and key[0] in OUTDATED else FRESH


def answered(view: str, feature: str, key: tuple[Any, ...]) -> tuple[Any, str]:
    """The value that JSON shows and its status."""
    row = TABLES[view].get(key)
    if row is None:
        return None, "NOT_FOUND"
    if event_time(view, key) == OLD:
        return None, "OUTSIDE_MAX_AGE"
    value = row[feature]
    if value is None:
        return None, "NULL_VALUE"
    return (int(value.timestamp()) if isinstance(value, datetime) else value), "PRESENT"


def make_repo(directory: Path, redis_port: int) -> Path:
    """The feature repo with its lock, applied to a file registry; its values written by Feast into that Redis."""
    repo = directory / "feature_repo"
    repo.joinpath("data").mkdir(parents=True)
    repo.joinpath("definitions.py").write_text(DEFINITIONS)
    repo.joinpath("feature_store.yaml").write_text(
        "project: people\nprovider: local\nregistry: data/registry.db\n"
        f"online_store: {{type: redis, connection_string: '127.0.0.1:{redis_port}'}}\n"
        "offline_store: {type: file}\nentity_key_serialization_version: 3\n"
    )
    definitions = load_definitions(repo)
    store = FeatureStore(repo_path=str(repo))
    store.apply([*definitions.contents.entities, *definitions.views, *definitions.services])
    for view, table in TABLES.items():
        rows = [
            (_entity_key(view, key), {name: _stored(view, name, value) for name, value in row.items()}, event_time(view, key), None)
            for key, row in table.items()
        ]
        store._get_provider().online_write_batch(store.config, store.get_feature_view(view), rows, None)
    return repo


def _entity_key(view: str, key: tuple[Any, ...]) -> EntityKey:
    values = [Value(string_val=part) if isinstance(part, str) else Value(int64_val=part) for part in key]
    return EntityKey(join_keys=KEYS[view], entity_values=values)


def _stored(view: str, name: str, value: Any) -> Value:
    """Feast's message; by hand, because Feast's own way from a table turns large numbers beside a null into floats."""
    if value is None:
        return Value()
    if isinstance(value, datetime):
        return Value(unix_timestamp_val=int(value.timestamp()))
    if name == "scores":
        return Value(float_list_val=FloatList(val=value))
    if name == "tags":
        return Value(string_list_val=StringList(val=value))
    kinds = {"tenure": "float_val", "remote": "bool_val", "department": "string_val", "floors": "int32_val", "rent": "double_val"}
    return Value(**{kinds.get(name, "string_val" if name == "desk" else "int64_val"): value})


@dataclass(frozen=True, kw_only=True)
class Served:
    """A server's process and where it listens."""

    port: int
    grpc_port: int
    pid: int
    log: Path

    def resident_kib(self) -> int:
        status = Path(f"/proc/{self.pid}/status").read_text()
        return int(status.split("VmRSS:")[1].split()[0])


@contextmanager
def serving(repo: Path, *arguments: str, drain: bool = True, **environment: str) -> Iterator[Served]:
    """A server on the repo, from `ready` until the block ends; it may end as it should, or (drain=False) at once."""
    port, grpc_port = free_port(), free_port()
    log = repo.parent / f"server-{port}.log"
    command = [sys.executable, "-m", "feature_runtime", "serve", "--port", str(port)]
    command += ["--grpc-port", str(grpc_port), "--metrics-port", str(free_port()), *arguments]
    variables = {**WITH_RUNTIME, "HOME": str(repo.parent), "FEATURE_REPO_DIR_ENV_VAR": str(repo), **environment}
    with log.open("wb") as output:
        process = subprocess.Popen(command, cwd=repo, env=variables, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
    try:
        wait_until_ready(port, process.pid, log)
        yield Served(port=port, grpc_port=grpc_port, pid=process.pid, log=log)
    finally:
        (process.terminate if drain else process.kill)()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def lock(repo: Path) -> None:
    """Write the repo's contract.lock.json."""
    variables = os.environ | {"FEATURE_REPO_DIR_ENV_VAR": str(repo), "PYTHONPATH": str(ROOT / "runtime")}
    subprocess.run([sys.executable, "-m", "feature_runtime", "lock"], env=variables, check=True, stdout=subprocess.DEVNULL)
