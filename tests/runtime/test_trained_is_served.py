"""The vector a model receives is the vector it was trained on: generated views, files and values, cell by cell.

Each cell is held against the logical value that the files were made from, as far as the type's normal form is plain, and
against each other: as `train-set` writes it, as the server answers by HTTP (in a batch, and alone) and by gRPC, and as stock
Feast reads what was loaded. A difference is made as small as it gets, and its files are kept.
"""

import json
import math
import shutil
from base64 import b64encode
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import redis
from feast import FeatureStore
from feast.feature_server_utils import convert_response_to_dict
from feast.protos.feast.serving.ServingService_pb2 import GetOnlineFeaturesRequest
from feast.protos.feast.serving.ServingService_pb2_grpc import ServingServiceStub
from feast.protos.feast.types.Value_pb2 import RepeatedValue, Value

from bench.stores import redis_server
from tests.runtime.any_history import KEY, SERVICE, VIEW, World, world
from tests.runtime.conftest import Outcome, run_verb
from tests.runtime.serving.generator import post
from tests.runtime.serving.people import serving
from tests.runtime.serving.wire import Wire
from tests.soak import counts

CELLS = counts(10_000, soak=1_000_000)
THINGS = 100
ALONE = 12
"""So many things of each world are also asked for one by one."""
UNKNOWN = {"Int64": 5_000_000, "Int32": 5_000_000, "String": "nobody"}
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
NOT_A_TIME = -(2**63)
"""How Feast stores a null among moments."""
NOT_FINITE = {math.inf: "Infinity", -math.inf: "-Infinity"}


@dataclass(frozen=True)
class Difference:
    """A cell (`field` of `key`) that is not the same everywhere, or a verb that failed (then without them)."""

    said: str
    field: str | None = None
    key: Any = None


@pytest.fixture(scope="module")
def port(tmp_path_factory):
    with redis_server(tmp_path_factory.mktemp("redis")) as number:
        yield number


def test_every_cell_is_trained_served_and_read_by_feast_as_the_same_value(port, tmp_path):
    cells, seed = 0, 0
    while cells < CELLS:
        one = world(seed, THINGS)
        found = differences(one, tmp_path / f"world-{seed}", port)
        assert not found, explained(one, found, tmp_path / "smallest", port)
        shutil.rmtree(tmp_path / f"world-{seed}")
        cells += len(one.fields) * len(one.keys)
        seed += 1


def explained(one: World, found: list[Difference], directory: Path, port: int) -> str:
    """The first difference in as few fields, things and files as still show it; its repo stays in `directory`."""
    first, tried = found[0], 0

    def still(smaller: World) -> bool:
        nonlocal tried
        tried += 1
        again = differences(smaller, directory / str(tried), port)
        return any(other.field == first.field for other in again)

    if first.field:
        for keys in ({first.key}, set(one.keys)):
            if still(smaller := one.only({first.field}, keys)):
                one = smaller
                break
    for number in range(len(one.files)):
        rest = set(range(len(one.files))) - {number}
        if rest and still(smaller := one.only(set(one.fields), set(one.keys), rest)):
            one = smaller
            break
    if one.fields:
        differences(one, directory / "repo", port)
    files = "\n".join(f"{file.table().schema}\n{file.table().to_pylist()[:3] if len(one.fields) == 1 else ''}" for file in one.files)
    others = "\n".join(sorted({f"  {other.field} {one.fields.get(other.field or '', '')}: {other.said}" for other in found[:40]}))
    return f"seed {one.seed}: {first.said}\nkept in {directory / 'repo'}\n{one.fields}\n{files}\nall differences:\n{others}"


def differences(one: World, directory: Path, port: int) -> list[Difference]:
    """Load, train, serve and compare."""
    redis.Redis(port=port).flushall()
    repo = one.write(directory, port)
    for verb in (["lock"], ["apply"], ["materialize", "--backfill"]):
        if (outcome := run(verb, repo)).code:
            return [Difference(f"{verb[0]}: {outcome.stdout} {outcome.stderr[-2000:]}")]
    asked = [*one.keys, UNKNOWN[one.key]]
    labels = pa.table({KEY: pa.array(asked, {"Int64": pa.int64(), "Int32": pa.int32(), "String": pa.string()}[one.key])})
    labels = labels.append_column("event_timestamp", pa.array([datetime.now(UTC)] * len(asked), pa.timestamp("us", "UTC")))
    pq.write_table(labels, directory / "labels.parquet")
    paths = ["--labels", str(directory / "labels.parquet"), "--output", str(directory / "trained.parquet")]
    if (outcome := run(["train-set", "--service", SERVICE, *paths], repo)).code:
        return [Difference(f"train-set: {outcome.stdout} {outcome.stderr[-2000:]}")]
    table = pq.read_table(directory / "trained.parquet")
    trained = {name: table[name].to_pylist(maps_as_pydicts="strict") for name in one.fields}
    found: list[Difference] = []
    with serving(repo) as server:
        wire = Wire(server.port)
        batch = ask(wire, asked)
        alone = {key: ask(wire, [key]) for key in asked[:: max(1, len(asked) // ALONE)]}
        by_grpc = ask_grpc(server.grpc_port, one.key, asked)
        wire.close()
    stock = FeatureStore(repo_path=str(repo)).get_online_features([f"{VIEW}:{name}" for name in one.fields], {KEY: asked}).to_dict()
    newest = one.newest()
    for name, kind in one.fields.items():
        for place, key in enumerate(asked):
            value, status = batch[name][place]
            row = newest.get(key)
            said = {
                "trained": printed(kind, trained[name][place]),
                "gRPC": printed(kind, by_grpc[name][place]) if "UnixTimestamp" in kind else by_grpc[name][place],
                "Feast": printed(kind, stock[name][place]),
            }
            if key in alone:
                said["alone"] = alone[key][name][0][0]
            if row is None or plain(kind, row.get(name)):
                said["the file"] = printed(kind, row and normal(kind, row.get(name)))
            wrong = {who: other for who, other in said.items() if not same(kind, value, other)}
            if wrong or (status == "NOT_FOUND") != (row is None):
                found.append(
                    Difference(f"{kind} of {key!r}: served {value!r} ({status}), {wrong}; in the file {row and row.get(name)!r}", name, key)
                )
    return found


def run(verb: list[str], repo: Path) -> Outcome:
    return run_verb(verb, {"FEATURE_REPO_DIR_ENV_VAR": str(repo), "PYTHONHASHSEED": "0"}, repo.parent)


def ask(wire: Wire, keys: list[Any]) -> dict[str, list[tuple[Any, str]]]:
    wire.send(post(json.dumps({"feature_service": SERVICE, "entities": {KEY: keys}}).encode()))
    answer = wire.answer()
    assert answer, "no answer"
    assert answer.status == 200, answer
    body = json.loads(answer.body)
    columns = zip(body["metadata"]["feature_names"], body["results"], strict=True)
    return {name: list(zip(column["values"], column["statuses"], strict=True)) for name, column in columns}


def ask_grpc(port: int, kind: str, keys: list[Any]) -> dict[str, list[Any]]:
    field = {"Int64": "int64_val", "Int32": "int32_val", "String": "string_val"}[kind]
    entities = {KEY: RepeatedValue(val=[Value(**{field: key}) for key in keys])}
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        response = ServingServiceStub(channel).GetOnlineFeatures(GetOnlineFeaturesRequest(feature_service=SERVICE, entities=entities))
    body = convert_response_to_dict(response)
    return {name: column["values"] for name, column in zip(body["metadata"]["feature_names"], body["results"], strict=True)}


def inner_of(kind: str) -> str:
    """The type of what an array or a set holds; empty for other types."""
    return kind[kind.index("(") + 1 : -1] if kind.startswith(("Array(", "Set(")) else ""


def plain(kind: str, value: Any) -> bool:
    """Whether it is beyond doubt what a value has to become: nothing within it is null."""
    if isinstance(value, list):
        return all(item is not None and plain(inner_of(kind), item) for item in value)
    return None not in value.values() if isinstance(value, dict) else True


def normal(kind: str, value: Any) -> Any:
    """A value as its type holds it: numbers rounded once, nothing twice in a set, and NaN for what some libraries write it: null."""
    if value is None or value != value:  # noqa: PLR0124  how a NaN is known
        return None
    if inner := inner_of(kind):
        items = [item if item != item else normal(inner, item) for item in value]  # noqa: PLR0124
        return items if kind.startswith("Array(") else list(dict.fromkeys(items))
    if kind.startswith("Float"):
        number = np.array([value], np.int64 if isinstance(value, int) else np.float64)
        return float(number.astype(np.float32 if kind == "Float32" else np.float64)[0])
    return value


def printed(kind: str, value: Any) -> Any:
    """A value of Python's as the server prints it."""
    if value is None:
        return None
    if inner := inner_of(kind):
        return [printed(inner, item) for item in value]
    if value == NOT_A_TIME and kind == "UnixTimestamp":
        return None
    if kind.startswith("Float"):
        return "NaN" if math.isnan(value) else NOT_FINITE.get(value, float(value))
    if kind == "Bytes":
        return b64encode(value).decode()
    if kind == "UnixTimestamp" and isinstance(value, date):
        moment = value if isinstance(value, datetime) else datetime(value.year, value.month, value.day, tzinfo=UTC)
        return ((moment if moment.tzinfo else moment.replace(tzinfo=UTC)) - EPOCH) // timedelta(seconds=1)
    if kind in ("Uuid", "Decimal"):
        return str(value)
    return value


def same(kind: str, one: Any, other: Any) -> bool:
    """Whether two printed values are one value of this type."""
    if kind == "Json":
        return bool(loaded(one) == loaded(other))
    if one is None or other is None:
        return one is other
    if inner := inner_of(kind):
        if kind.startswith("Set("):
            one, other = sorted(one, key=str), sorted(other, key=str)
        return len(one) == len(other) and all(same(inner, *pair) for pair in zip(one, other, strict=True))
    if kind == "Float32" and not isinstance(one, str) and not isinstance(other, str):
        return bool(np.float32(one) == np.float32(other))
    if kind == "Decimal":
        return Decimal(one) == Decimal(other)
    return type(one) is type(other) and bool(one == other)


def loaded(value: Any) -> Any:
    """What a text of JSON says; stock Feast has read it already."""
    try:
        return json.loads(value)
    except (TypeError, ValueError):
        return value
