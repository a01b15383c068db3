"""What `train-set` joins on and computes with: names and types as the definitions have them, whatever the labels file's are."""

import textwrap
from datetime import UTC, date, datetime, timedelta

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from feast.protos.feast.types.Value_pb2 import Value
from feast.types import UnixTimestamp

from feature_runtime.online_store.encoding import serialized
from feature_runtime.value_types.columns import as_column as as_served

NOON = datetime(2026, 3, 4, 12, tzinfo=UTC)
UTC_TIME = pa.timestamp("us", tz="UTC")
STORE = """\
project: named
provider: local
registry: data/registry.db
online_store: {type: sqlite, path: data/online_store.db}
offline_store: {type: file}
entity_key_serialization_version: 3
"""
KEYS = ["id", "ID", "t", "T", "n"]


@pytest.fixture
def repo(stores, tmp_path):
    """Make a feature repo of local files out of its definitions, and its lock."""

    def make(definitions):
        stores.repo = tmp_path / "own"
        (stores.repo / "data").mkdir(parents=True)
        (stores.repo / "feature_store.yaml").write_text(STORE)
        (stores.repo / "definitions.py").write_text(textwrap.dedent(definitions))
        stores.lock()
        return stores.repo / "data"

    return make


@pytest.fixture
def train(stores, repo, tmp_path):
    """Run `train-set` on a table of labels."""

    def run(labels, schema=None):
        table = pa.Table.from_pylist(labels, schema=schema) if isinstance(labels, list) else labels
        pq.write_table(table, tmp_path / "labels.parquet")
        paths = ["--labels", str(tmp_path / "labels.parquet"), "--output", str(tmp_path / "out.parquet")]
        environment = {"FEATURE_REPO_DIR_ENV_VAR": str(stores.repo)}
        return stores.run(["train-set", "--service", "model_v1", *paths, "--overwrite"], environment)

    run.output = tmp_path / "out.parquet"
    return run


def test_keys_and_features_may_be_called_as_anything_and_differ_by_case_alone(repo, train):
    data = repo("""\
        from datetime import timedelta
        from feast import Entity, FeatureService, FeatureView, Field, FileSource, ValueType
        from feast.types import Int64

        keys = ["id", "ID", "t", "T", "n"]
        entities = {key: Entity(name=f"entity_{number}", join_keys=[key], value_type=ValueType.INT64) for number, key in enumerate(keys)}
        entity_0, entity_1, entity_2, entity_3, entity_4 = entities.values()
        every = FeatureView(
            name="every", entities=list(entities.values()), ttl=timedelta(0),
            source=FileSource(name="every", path="data/every.parquet", timestamp_field="c", created_timestamp_column="C"),
            schema=[Field(name=name, dtype=Int64) for name in [*keys, "x", "X", "k0", "best"]],
        )
        one = FeatureView(
            name="one", entities=[entity_1], ttl=timedelta(0),
            source=FileSource(name="one", path="data/one.parquet", timestamp_field="c"),
            schema=[Field(name=name, dtype=Int64) for name in ["ID", "f0", "F0"]],
        )
        model_v1 = FeatureService(name="model_v1", features=[every[["x", "X", "k0", "best"]], one[["F0", "f0"]]])
    """)
    # Any two rows have most keys in common, so that to leave one out, or to take one for another, shows.
    keys = [{key: 2 if key == other else 1 for key in KEYS} for other in KEYS] + [dict.fromkeys(KEYS, 1)]
    history = [
        row | {"c": NOON + timedelta(hours=hour), "C": NOON, "x": seed, "X": -seed, "k0": seed + 1_000, "best": seed + 2_000}
        for hour in (0, 2)
        for number, row in enumerate(keys)
        for seed in [100 * hour + number]
    ]
    pq.write_table(pa.Table.from_pylist(history), data / "every.parquet")
    pq.write_table(pa.Table.from_pylist([{"ID": key, "c": NOON, "f0": 10 * key, "F0": -10 * key} for key in (1, 2)]), data / "one.parquet")
    labels = [row | {"event_timestamp": NOON + timedelta(hours=hour)} for hour in (3, 1, -1) for row in reversed(keys)]
    train(labels).ok()
    found = pq.read_table(train.output).to_pylist()
    assert [{name: row[name] for name in labels[0]} for row in found] == labels
    for row in found:
        known = [past for past in history if past["c"] <= row["event_timestamp"] and all(past[key] == row[key] for key in KEYS)]
        newest = max(known, key=lambda past: past["c"], default=dict.fromkeys(history[0]))
        assert [row[name] for name in ("x", "X", "k0", "best")] == [newest[name] for name in ("x", "X", "k0", "best")]
        assert (row["f0"], row["F0"]) == ((10 * row["ID"], -10 * row["ID"]) if known else (None, None))


COMPUTED = """\
    from datetime import timedelta
    from feast import Entity, FeatureService, FeatureView, Field, FileSource, RequestSource, ValueType
    from feast.on_demand_feature_view import on_demand_feature_view
    from feast.types import Bytes, Float32, Float64, Int64, String, UnixTimestamp

    person = Entity(name="person", join_keys=["born"], value_type=ValueType.UNIX_TIMESTAMP)
    known = FeatureView(
        name="known", entities=[person], ttl=timedelta(0),
        source=FileSource(name="known", path="data/known.parquet", timestamp_field="at"),
        schema=[Field(name="born", dtype=UnixTimestamp), Field(name="number", dtype=Int64)],
    )
    asked = RequestSource(name="asked", schema=[
        Field(name="amount", dtype=Float64), Field(name="share", dtype=Float32), Field(name="since", dtype=UnixTimestamp),
        Field(name="word", dtype=String),
    ])

    @on_demand_feature_view(mode="python", sources=[asked, known], schema=[Field(name="seen", dtype=String)])
    def computed(inputs):
        columns = [inputs[name] for name in ("born", "amount", "share", "since", "word", "number")]
        return {"seen": ["; ".join(map(str, row)) for row in zip(*columns, strict=True)]}

    model_v1 = FeatureService(name="model_v1", features=[known, computed])
"""
ASKED = {"amount": 3.0, "share": 0.1, "since": datetime(2024, 5, 6, tzinfo=UTC), "word": "a", "born": datetime(1990, 1, 2, tzinfo=UTC)}


@pytest.mark.parametrize(
    "written",
    [
        {},
        {"amount": 3},
        {"since": date(2024, 5, 6), "born": date(1990, 1, 2)},
        {"since": datetime(2024, 5, 6), "born": datetime(1990, 1, 2)},  # noqa: DTZ001  as labels often have it
        # The online store knows whole seconds, and so do requests.
        {"since": datetime(2024, 5, 6, 0, 0, 0, 600_000), "born": datetime(1990, 1, 2, 0, 0, 0, 600_000, UTC)},  # noqa: DTZ001
    ],
)
def test_functions_see_the_declared_types_however_the_labels_are_written(repo, train, written):
    data = repo(COMPUTED)
    pq.write_table(pa.Table.from_pylist([{"born": ASKED["born"], "at": NOON, "number": 7}]), data / "known.parquet")
    labels = [ASKED | written | {"event_timestamp": NOON}]
    train(labels).ok()
    (found,) = pq.read_table(train.output).to_pylist()
    # As a server gives them: a float32 as the float that it is, times in UTC.
    assert found["seen"] == "1990-01-02 00:00:00+00:00; 3.0; 0.10000000149011612; 2024-05-06 00:00:00+00:00; a; 7"
    assert {name: found[name] for name in labels[0]} == labels[0]


@pytest.mark.parametrize("kind", [pa.timestamp("ns"), pa.timestamp("us", tz="Europe/Zurich"), pa.timestamp("ms", tz="UTC"), pa.date32()])
def test_moments_lose_their_fractions_of_a_second_as_when_they_are_loaded(kind):
    milliseconds = pa.array([-86_400_000, -1_500, -1, 0, 1_500], pa.timestamp("ms"))
    column = (pc.floor_temporal(milliseconds, unit="day") if pa.types.is_date(kind) else milliseconds).cast(kind)
    loaded = [Value.FromString(stored).unix_timestamp_val for stored in serialized(column, UnixTimestamp).to_pylist()]
    assert [moment.timestamp() for moment in as_served(column, UnixTimestamp).to_pylist()] == loaded


ONE = """\
    from datetime import timedelta
    from feast import Entity, FeatureService, FeatureView, Field, FileSource, ValueType
    from feast.types import Int64

    person = Entity(name="person", join_keys=["a"], value_type=ValueType.INT64)
    known = FeatureView(
        name="known", entities=[person], ttl=timedelta(days=365_000),
        source=FileSource(name="known", path="data/known.parquet", timestamp_field="at", created_timestamp_column="written"),
        schema=[Field(name="a", dtype=Int64), Field(name="number", dtype=Int64)],
    )
    model_v1 = FeatureService(name="model_v1", features=[known])
"""


def test_labels_with_columns_that_are_never_empty_are_taken(repo, train):
    data = repo(ONE)
    pq.write_table(pa.Table.from_pylist([{"a": 1, "at": NOON, "written": NOON, "number": 7}]), data / "known.parquet")
    required = pa.schema([pa.field("a", pa.int64(), nullable=False), pa.field("event_timestamp", UTC_TIME, nullable=False)])
    train([{"a": 1, "event_timestamp": NOON}], required).ok()
    assert pq.read_table(train.output).to_pylist() == [{"a": 1, "event_timestamp": NOON, "number": 7}]


def test_a_time_that_nanoseconds_cannot_hold_is_no_error_where_it_does_not_count(repo, train):
    data = repo(ONE)
    far = datetime(9999, 12, 31, tzinfo=UTC)
    history = [
        {"a": 1, "at": at, "written": NOON, "number": number} for number, at in enumerate([far, NOON, datetime(1, 1, 1, tzinfo=UTC)])
    ]
    pq.write_table(pa.Table.from_pylist(history), data / "known.parquet")
    labels = pa.table({"a": [1, 1], "event_timestamp": pa.array([NOON, NOON - timedelta(1)], pa.timestamp("ns", tz="UTC"))})
    train(labels).ok()
    assert pq.read_table(train.output)["number"].to_pylist() == [1, None]


def test_a_time_of_a_label_that_cannot_be_compared_exactly_is_named_as_what_it_is(repo, train):
    data = repo(ONE)
    history = pa.table({"a": [1], "at": pa.array([NOON], pa.timestamp("ns", tz="UTC")), "written": [NOON], "number": [7]})
    pq.write_table(history, data / "known.parquet")
    error = train([{"a": 1, "event_timestamp": datetime(9999, 12, 31, tzinfo=UTC)}]).error
    assert "the labels have a value that cannot be asked with" in error
    assert "out of bounds" in error
    assert not train.output.exists()
