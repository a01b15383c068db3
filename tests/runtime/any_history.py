"""Generated feature views and their histories: every type, in the physical forms that files have it in, with nulls everywhere.

A `World` is one view with its files. It is drawn from a seed, and can be made smaller (`only`), so that what differs in a
thousand cells can be shown in one.
"""

import math
import random
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

PROJECT = "worlds"
VIEW, SERVICE, KEY = "things", "thing_v1", "thing_id"
NEWEST = datetime.now(UTC).replace(minute=0, second=0, microsecond=0) - timedelta(hours=3)
UNITS = ("s", "ms", "us", "ns")
NANOSECONDS = (datetime(1678, 1, 1, tzinfo=UTC), datetime(2262, 1, 1, tzinfo=UTC))
"""What a column of nanoseconds can hold."""
INTEGERS = {"Int32": 32, "Int64": 64}
PLAIN = ("Int32", "Int64", "Float32", "Float64", "Bool", "String", "Bytes", "UnixTimestamp")
TYPES = (
    *PLAIN,
    *(f"Array({kind})" for kind in PLAIN),
    *(f"Set({kind})" for kind in ("Int32", "Int64", "String", "UnixTimestamp")),
    "Array(Array(Int64))",
    "Array(Array(String))",
    'Struct({"a": Int64, "b": String})',
    "Map",
    "Json",
    "Uuid",
    "Decimal",
)
KEYS = ("Int64", "String", "Int32")
WORDS = ("", "a", "Zürich ☂", "0042", "null", "NaN", 'a"b\\c\n', "x" * 200, "\x00", "😀")


@dataclass(frozen=True)
class File:
    """One file of a history: its rows by name, and the Arrow type that each column has in it (None: it lacks the column)."""

    rows: list[dict[str, Any]]
    types: dict[str, pa.DataType | None]

    def table(self) -> pa.Table:
        columns = {name: pa.array([row[name] for row in self.rows], kind) for name, kind in self.types.items() if kind is not None}
        return pa.table(columns)


@dataclass(frozen=True)
class World:
    """A view: types by field, the key's type, and the files that are its history, in the order of their names."""

    seed: int
    key: str
    fields: dict[str, str]
    files: list[File]
    created: bool

    @property
    def keys(self) -> list[Any]:
        return sorted({row[KEY] for file in self.files for row in file.rows}, key=str)

    def newest(self) -> dict[Any, dict[str, Any]]:
        """The row of each thing that counts: by event time, then creation, then place; what its file lacks is null."""
        found: dict[Any, tuple[Any, dict[str, Any]]] = {}
        for number, file in enumerate(self.files):
            for row in file.rows:
                rank = (row["at"], row["created"] if self.created else None, number)[:: 1 if self.created else 2]
                if row[KEY] not in found or found[row[KEY]][0] <= rank:
                    found[row[KEY]] = rank, row
        return {key: row for key, (_, row) in found.items()}

    def only(self, fields: set[str], keys: set[Any], files: set[int] | None = None) -> "World":
        """The same with less."""
        kept = [file for number, file in enumerate(self.files) if files is None or number in files]
        return replace(
            self,
            fields={name: kind for name, kind in self.fields.items() if name in fields},
            files=[
                File(
                    [row for row in file.rows if row[KEY] in keys],
                    {name: kind for name, kind in file.types.items() if name not in self.fields or name in fields},
                )
                for file in kept
            ],
        )

    def write(self, directory: Path, port: int) -> Path:
        """The feature repo with its data; the registry is a file, the online store a Redis on this port."""
        repo = directory / "feature_repo"
        data = repo / "data"
        data.joinpath(VIEW).mkdir(parents=True)
        for number, file in enumerate(self.files):
            pq.write_table(file.table(), data / VIEW / f"{number:02}.parquet", row_group_size=17)
        repo.joinpath("feature_store.yaml").write_text(
            f"project: {PROJECT}\nprovider: local\nregistry: data/registry.db\n"
            "online_store:\n  type: feature_runtime.online_store.PipelinedRedisOnlineStore\n"
            f"  connection_string: 127.0.0.1:{port},socket_timeout=5,socket_connect_timeout=5,retry=null\n"
            "offline_store: {type: file}\nentity_key_serialization_version: 3\n"
        )
        repo.joinpath("definitions.py").write_text(self.definitions())
        return repo

    def definitions(self) -> str:
        value_type = {"Int64": "INT64", "Int32": "INT32", "String": "STRING"}[self.key]
        created = ', created_timestamp_column="created"' if self.created else ""
        fields = "\n".join(f'        Field(name="{name}", dtype={kind}),' for name, kind in self.fields.items())
        return f"""\
from datetime import timedelta

from feast import Entity, FeatureService, FeatureView, Field, FileSource, ValueType
from feast.types import *
from feast.types import Array, Decimal, Json, Map, Set, Struct, Uuid

thing = Entity(name="thing", join_keys=["{KEY}"], value_type=ValueType.{value_type})
{VIEW} = FeatureView(
    name="{VIEW}",
    entities=[thing],
    ttl=timedelta(days=4000),
    source=FileSource(name="{VIEW}", path="data/{VIEW}", timestamp_field="at"{created}),
    schema=[
        Field(name="{KEY}", dtype={self.key}),
{fields}
    ],
)
{SERVICE} = FeatureService(name="{SERVICE}", features=[{VIEW}])
"""


def world(seed: int, things: int) -> World:
    """A view of every type, and up to four files of rows of so many things."""
    chance = random.Random(seed)
    key = chance.choice(KEYS)
    fields = {f"f{number:02}": kind for number, kind in enumerate(chance.sample(TYPES, len(TYPES)))}
    created = chance.random() < 0.5
    ids = _ids(key, things, chance)
    files = [_file(key, ids, fields, chance, created=created) for _ in range(chance.choice((1, 2, 2, 3, 4)))]
    for name in fields:
        if not any(file.types[name] for file in files):
            files[-1].types[name] = pa.null()  # a column that no file has is refused, and rightly
    return World(seed, key, fields, files, created)


def _ids(key: str, things: int, chance: random.Random) -> list[Any]:
    if key == "String":
        return [*WORDS, *(f"thing-{number}" for number in range(things - len(WORDS)))]
    bits = INTEGERS[key]
    ends = [0, -1, 2 ** (bits - 1) - 1, -(2 ** (bits - 1))]
    return [*ends, *chance.sample(range(1, 10 * things), things - len(ends))]


def _file(key: str, ids: list[Any], fields: dict[str, str], chance: random.Random, *, created: bool) -> File:
    forms = {name: _form(kind, chance) for name, kind in fields.items()}
    moments = pa.timestamp(chance.choice(UNITS), chance.choice((None, "UTC", "Europe/Berlin")))
    types: dict[str, pa.DataType | None] = {KEY: _key_form(key, chance), "at": moments}
    if created:
        types["created"] = pa.timestamp(chance.choice(UNITS), "UTC")
    types |= {name: form for name, (form, _) in forms.items()}
    rows = []
    for thing in ids:
        if chance.random() < 0.2:
            continue
        # Many rows have one event time, in and among files: the order has to be one order.
        at = NEWEST - timedelta(hours=chance.randrange(5), days=chance.choice((0, 0, 1, 300)))
        row = {KEY: thing, "at": at, "created": at + timedelta(hours=chance.randrange(3))}
        row |= {name: _value(kind, form, limit, chance) for (name, kind), (form, limit) in zip(fields.items(), forms.values(), strict=True)}
        rows.append(row)
    return File(rows, types)


def _key_form(key: str, chance: random.Random) -> pa.DataType:
    return {
        "Int64": pa.int64(),
        "Int32": chance.choice((pa.int32(), pa.int32())),
        "String": chance.choice((pa.string(), pa.large_string(), pa.dictionary(pa.int32(), pa.string()))),
    }[key]


def _form(kind: str, chance: random.Random) -> tuple[pa.DataType | None, Any]:
    """How a file holds a type, and what limits its values there."""
    drawn = chance.random()
    if drawn < 0.05:
        return None, None
    if drawn < 0.1:
        return pa.null(), None
    inner = kind[kind.index("(") + 1 : -1] if kind.startswith(("Array(", "Set(")) else ""
    if inner:
        form, limit = _inner_form(inner, chance)
        many = chance.choice((pa.list_, pa.list_, pa.large_list, lambda item: pa.list_(item, 3)))
        return many(form), limit
    return _plain_form(kind, chance)


def _inner_form(kind: str, chance: random.Random) -> tuple[pa.DataType, Any]:
    if kind.startswith("Array("):
        form, limit = _inner_form(kind[6:-1], chance)
        return pa.list_(form), limit
    while True:
        form, limit = _plain_form(kind, chance)
        if not pa.types.is_dictionary(form):
            return form, limit


def _plain_form(kind: str, chance: random.Random) -> tuple[pa.DataType, Any]:  # noqa: C901  one per kind
    match kind:
        case "Int32":
            return chance.choice(((pa.int8(), 8), (pa.int16(), 16), (pa.int32(), 32)))
        case "Int64":
            return chance.choice(((pa.int32(), 32), (pa.int64(), 64), (pa.int64(), 64)))
        case "Float32" | "Float64":
            return chance.choice(((pa.float32(), "float32"), (pa.float64(), "float64"), (pa.int64(), 64), (pa.int16(), 16)))
        case "Bool":
            return pa.bool_(), None
        case "String":
            return chance.choice(((pa.string(), None), (pa.large_string(), None), (pa.dictionary(pa.int8(), pa.string()), None)))
        case "Bytes":
            return chance.choice(((pa.binary(), None), (pa.large_binary(), None), (pa.binary(3), 3)))
        case "UnixTimestamp":
            unit, zone = chance.choice(UNITS), chance.choice((None, "UTC", "America/New_York"))
            return chance.choice(((pa.timestamp(unit, zone), unit), (pa.timestamp(unit, zone), unit), (pa.date32(), "day")))
        case "Map":
            return pa.map_(pa.string(), pa.string()), None
        case "Json" | "Uuid":
            return pa.string(), None
        case "Decimal":
            return chance.choice(((pa.string(), "text"), (pa.decimal128(12, 2), "number")))
    return pa.struct([("a", pa.int64()), ("b", pa.string())]), None


def _value(kind: str, form: pa.DataType | None, limit: Any, chance: random.Random) -> Any:
    if form is None or pa.types.is_null(form) or chance.random() < 0.15:
        return None
    if kind.startswith(("Array(", "Set(")):
        inner = kind[kind.index("(") + 1 : -1]
        count = 3 if pa.types.is_fixed_size_list(form) else chance.choice((0, 1, 2, 3, 5))
        nulls = chance.random() < 0.2
        values = [None if nulls and chance.random() < 0.4 else _value_of(inner, limit, chance) for _ in range(count)]
        return values + values[:1] if kind.startswith("Set(") and not pa.types.is_fixed_size_list(form) else values
    return _value_of(kind, limit, chance)


def _value_of(kind: str, limit: Any, chance: random.Random) -> Any:  # noqa: C901  one per kind
    if kind.startswith("Array("):
        return [_value_of(kind[6:-1], limit, chance) for _ in range(chance.randrange(3))]
    match kind:
        case "Int32" | "Int64":
            return _whole(limit, chance)
        case "Float32" | "Float64":
            if isinstance(limit, int):
                return _whole(limit, chance)
            value = chance.choice((0.1, -0.0, 1e30, math.inf, -math.inf, math.nan, chance.gauss(0, 100)))
            return float(np.float32(value)) if limit == "float32" else value
        case "Bool":
            return chance.random() < 0.5
        case "String":
            return chance.choice(WORDS)
        case "Bytes":
            return bytes(chance.randrange(256) for _ in range(limit or chance.randrange(5)))
        case "UnixTimestamp":
            return _moment(limit, chance)
        case "Map":
            return {name: chance.choice((*WORDS, None)) for name in chance.sample(WORDS, chance.randrange(3))}
        case "Json":
            return chance.choice(('{"a": [1, null]}', "[]", "null", "9007199254740993", '"x"'))
        case "Uuid":
            return f"00000000-0000-4000-8000-{chance.randrange(16**12):012x}"
        case "Decimal":
            number = Decimal(chance.randrange(-(10**8), 10**8)) / 100
            return str(number) if limit == "text" else number
    return {"a": chance.choice((None, 2**53 + 1, -1)), "b": chance.choice((None, *WORDS))}


def _whole(bits: int, chance: random.Random) -> int:
    most = 2 ** (bits - 1)
    return chance.choice((0, -1, most - 1, -most, min(2**53 + 1, most - 1), chance.randrange(-100, 100)))


def _moment(limit: str, chance: random.Random) -> datetime | date:
    least, most = NANOSECONDS if limit == "ns" else (datetime(1, 1, 2, tzinfo=UTC), datetime(9999, 12, 30, tzinfo=UTC))
    far = least if chance.random() < 0.5 else most
    near = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=chance.randrange(-(10**9), 2 * 10**9), milliseconds=chance.choice((0, 999)))
    moment = far if chance.random() < 0.2 else near
    return moment.date() if limit == "day" else moment.replace(microsecond=0) if limit == "s" else moment
