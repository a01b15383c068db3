"""Smoke and skew agree with what is rightly served, whatever can be stored: dates, infinities, ties, keys that overlap.

One feature repo with all of it is applied, loaded and served once; the rest asks the sources only.
"""

import base64
import json
import os
import shutil
import signal
from datetime import UTC, date, datetime, timedelta

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bench.ports import free_port
from feature_runtime.definitions.describing import contract_of_definitions
from feature_runtime.definitions.feature_repo import load_definitions
from feature_runtime.offline_store.vector import vector_of
from feature_runtime.proving.expectation import question as question_of
from feature_runtime.proving.request import request_body
from feature_runtime.refusal import Refusal
from tests.waiting import wait_until_ready

NOW = datetime.now(UTC)
YESTERDAY = NOW.replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(days=1)
INFINITY, NAN = float("inf"), float("nan")

DEFINITIONS = """
from datetime import timedelta
from feast import Entity, FeatureService, FeatureView, Field, FileSource, RequestSource, ValueType
from feast.on_demand_feature_view import on_demand_feature_view
from feast.types import Array, Bytes, Float32, Float64, Int64, UnixTimestamp

customer = Entity(name="customer", join_keys=["customer"], value_type=ValueType.INT64)
merchant = Entity(name="merchant", join_keys=["merchant"], value_type=ValueType.INT64)
badge = Entity(name="badge", join_keys=["badge"], value_type=ValueType.BYTES)
moment = Entity(name="moment", join_keys=["moment"], value_type=ValueType.UNIX_TIMESTAMP)
device = Entity(name="device", join_keys=["device"], value_type=ValueType.INT64)

bought_at = FeatureView(
    name="bought_at",
    entities=[customer, merchant],
    ttl=timedelta(days=3),
    source=FileSource(name="bought", path="DATA/bought.parquet", timestamp_field="event_timestamp"),
    schema=[
        Field(name="customer", dtype=Int64),
        Field(name="merchant", dtype=Int64),
        Field(name="first_day", dtype=UnixTimestamp),
        Field(name="days", dtype=Array(UnixTimestamp)),
        Field(name="most", dtype=Float64),
        Field(name="huge", dtype=Float32),
        Field(name="shares", dtype=Array(Float64)),
        Field(name="small_shares", dtype=Array(Float32)),
    ],
)
seen_with = FeatureView(
    name="seen_with",
    entities=[customer, device],
    ttl=timedelta(days=3),
    source=FileSource(name="seen", path="DATA/seen.parquet", timestamp_field="event_timestamp"),
    schema=[Field(name="customer", dtype=Int64), Field(name="device", dtype=Int64), Field(name="score", dtype=Int64)],
)
badged_at = FeatureView(
    name="badged_at",
    entities=[badge, moment],
    ttl=timedelta(days=3),
    source=FileSource(name="badges", path="DATA/badges.parquet", timestamp_field="event_timestamp"),
    schema=[Field(name="badge", dtype=Bytes), Field(name="moment", dtype=UnixTimestamp), Field(name="door", dtype=Int64)],
)
one_rate = FeatureView(
    name="one_rate",
    entities=[],
    ttl=timedelta(days=3),
    source=FileSource(name="rates", path="DATA/badges.parquet", timestamp_field="event_timestamp"),
    schema=[Field(name="door", dtype=Int64)],
)
request = RequestSource(name="request", schema=[Field(name="since", dtype=UnixTimestamp), Field(name="token", dtype=Bytes)])


@on_demand_feature_view(
    mode="python",
    sources=[request, seen_with],
    schema=[Field(name="since_year", dtype=Int64), Field(name="token_size", dtype=Int64), Field(name="reaches", dtype=Float64)],
)
def asked_for(inputs):
    return {
        "since_year": [moment.year for moment in inputs["since"]],
        "token_size": [len(token) for token in inputs["token"]],
        "reaches": [float("inf") if score else None for score in inputs["score"]],
    }


across = FeatureService(name="across", features=[bought_at, seen_with])
asking = FeatureService(name="asking", features=[asked_for])
badges = FeatureService(name="badges", features=[badged_at])
rate = FeatureService(name="rate", features=[one_rate])
"""

BOUGHT = {
    "customer": pa.int64(),
    "merchant": pa.int64(),
    "event_timestamp": pa.timestamp("us", tz="UTC"),
    "first_day": pa.date32(),
    "days": pa.list_(pa.timestamp("us")),
    "most": pa.float64(),
    "huge": pa.float64(),
    "shares": pa.list_(pa.float64()),
    "small_shares": pa.list_(pa.float32()),
}
BADGES = {"badge": pa.binary(), "moment": pa.timestamp("us", tz="UTC"), "event_timestamp": pa.timestamp("us", tz="UTC"), "door": pa.int64()}
SEEN = {"customer": pa.int64(), "device": pa.int64(), "event_timestamp": pa.timestamp("us", tz="UTC"), "score": pa.int64()}


def bought(customer, merchant, **changes):
    return {
        "customer": customer,
        "merchant": merchant,
        "event_timestamp": YESTERDAY,
        "first_day": date(1969, 7, customer),
        "days": [datetime(2024, 2, 29), datetime(1960, 1, 1)],  # noqa: DTZ001  a column without a zone is in UTC
        "most": -INFINITY if customer == 3 else INFINITY,
        "huge": 1e39,
        "shares": [1.0, NAN, INFINITY, -INFINITY],
        "small_shares": [0.1, NAN, INFINITY],
    } | changes


def seen(customer, device, score, **changes):
    return {"customer": customer, "device": device, "event_timestamp": YESTERDAY, "score": score} | changes


def write(directory, bought_rows, seen_rows):
    directory.mkdir(exist_ok=True)
    pq.write_table(pa.Table.from_pylist(bought_rows, schema=pa.schema(list(BOUGHT.items()))), directory / "bought.parquet")
    badges = [{"badge": bytes([door]), "moment": YESTERDAY, "event_timestamp": YESTERDAY, "door": door} for door in range(250, 256)]
    pq.write_table(pa.Table.from_pylist(badges, schema=pa.schema(list(BADGES.items()))), directory / "badges.parquet")
    pq.write_table(pa.Table.from_pylist(seen_rows, schema=pa.schema(list(SEEN.items()))), directory / "seen.parquet")


def write_repo(stores, definitions=DEFINITIONS):
    data = stores.directory / "data"
    shutil.rmtree(stores.repo)
    stores.repo.mkdir()
    (stores.repo / "definitions.py").write_text(definitions.replace("DATA", "data"))
    (stores.repo / "feature_store.yaml").write_text(stores.feature_store_yaml().replace("project: employee_attrition", "project: proving"))
    # Two rows of one time: of these the later one of the file is served.
    write(
        data,
        [bought(customer, customer % 3 + 10) for customer in range(1, 9)],
        [seen(customer, customer + 100, score) for score in (10, 20) for customer in range(2, 9)],
    )
    for file in data.iterdir():
        stores.upload(file, file.name)
    stores.lock()


@pytest.fixture
def repo(tmp_path):
    """The same feature repo without any store."""
    (tmp_path / "repo").mkdir()

    def make(definitions=DEFINITIONS):
        (tmp_path / "repo" / "definitions.py").write_text(definitions.replace("DATA", str(tmp_path / "data")))
        (tmp_path / "repo" / "feature_store.yaml").write_text("project: proving\nprovider: local\nregistry: registry.db\n")
        return tmp_path / "repo"

    write(tmp_path / "data", [bought(1, 11), bought(2, 12)], [seen(1, 101, 10), seen(1, 101, 20), seen(2, 102, 30)])
    make.data = tmp_path / "data"
    return make


def vector(repo, service):
    definitions = load_definitions(repo)
    return vector_of(service, contract_of_definitions(repo, definitions), definitions)


def question(repo, service, **named):
    ends = {view.name: NOW for view in load_definitions(repo).views}
    return question_of(vector(repo, service), ends, repo, named)


def found(asked, answer):
    """Everything that is wrong with an answer."""
    return asked.check(answer, NOW)[1]


def right(asked, **changes):
    """What a server answers to `asked` of the service `across`."""
    served = {
        "first_day": [int(datetime(1969, 7, entity["customer"], tzinfo=UTC).timestamp()) for entity in asked.entities],
        "days": [[1709164800, -315619200]] * len(asked.entities),
        "most": ["Infinity"] * len(asked.entities),
        "huge": ["Infinity"] * len(asked.entities),
        "shares": [[1.0, "NaN", "Infinity", "-Infinity"]] * len(asked.entities),
        "small_shares": [[0.10000000149011612, "NaN", "Infinity"]] * len(asked.entities),
        "score": [{1: 20, 2: 30}[entity["customer"]] for entity in asked.entities],
    } | changes
    keys = {name: [entity[name] for entity in asked.entities] for name in sorted(asked.vector.keys)}
    moment = YESTERDAY.strftime("%Y-%m-%dT%H:%M:%SZ")
    return {
        "metadata": {"feature_names": [*keys, *served]},
        "results": [
            {"values": values, "statuses": ["PRESENT"] * len(values), "event_timestamps": [moment] * len(values)}
            for values in (*keys.values(), *served.values())
        ],
    }


@pytest.fixture(scope="module")
def served(tmp_path_factory, new_stores):
    """Prepared, applied, loaded and served."""
    stores = new_stores(tmp_path_factory.mktemp("proving"))
    write_repo(stores)
    stores.prepare_registry().ok()
    stores.apply().ok()
    stores.materialize("--backfill").ok()
    port = free_port()
    ports = ["--port", str(port), "--grpc-port", "0", "--metrics-port", str(free_port())]
    running = stores.start(["serve", *ports], stores.environment("serve"))
    try:
        wait_until_ready(port, running.pid, running.err)
        stores.replica = {"FEATURE_SERVER_REPLICAS": "127.0.0.1", "FEATURE_SERVER_PORT": str(port), "EXPECTED_REPLICAS": "1"}
        yield stores
    finally:
        os.kill(running.pid, signal.SIGKILL)
        os.waitpid(running.pid, 0)


def test_what_is_rightly_served_passes_the_smoke_test(served):
    result = served.run(["smoke", "--wait-seconds", "5"], served.environment("serve") | served.replica).ok()
    across = result["services"]["across"]
    names = [name for name, _ in across["features"]]
    assert len(across["vectors"]) == 3
    for found in across["vectors"]:
        online, offline = (dict(zip(names, found[side], strict=True)) for side in ("online", "offline"))
        assert (online["score"], offline["score"]) == (20, 20)
        assert online["shares"] == offline["shares"] == [1.0, "NaN", "Infinity", "-Infinity"]
        assert online["huge"] == offline["huge"] == "Infinity"
        assert found["entity"]["device"] == found["entity"]["customer"] + 100
        assert found["entity"]["merchant"] == found["entity"]["customer"] % 3 + 10
    (asking, *_) = result["services"]["asking"]["vectors"]
    assert asking["online"] == [1970, 1, "Infinity"]
    moment = int(YESTERDAY.timestamp())
    (rate,) = result["services"]["rate"]["vectors"]
    assert rate["online"] == rate["offline"] == [255]
    badges = [(vector["entity"], vector["online"]) for vector in result["services"]["badges"]["vectors"]]
    assert len(badges) == 3
    assert all(entity["moment"] == moment and base64.b64decode(entity["badge"]) == bytes([door]) for entity, (door,) in badges)


def test_what_is_rightly_served_is_no_skew(served):
    services = served.run(["skew", "--wait-seconds", "5"], served.environment("materialize") | served.replica).ok()["services"]
    assert (services["across"]["entities"], services["across"]["differing"]) == (8, 0)
    assert services["across"]["compared"] == 8 * 7
    assert (services["asking"]["entities"], services["asking"]["differing"]) == (7, 0)
    assert (services["badges"]["entities"], services["badges"]["differing"]) == (6, 0)
    assert (services["rate"]["compared"], services["rate"]["differing"]) == (1, 0)


def test_a_right_answer_has_nothing_wrong(repo):
    asked = question(repo(), "across")
    assert found(asked, right(asked)) == []


@pytest.mark.parametrize(
    ("feature", "value", "says"),
    [
        ("first_day", 0, "first_day is 0, the source says"),
        ("days", [1709164800, 0], "days is [1709164800, 0], the source says"),
        ("most", "-Infinity", "most is -Infinity, the source says inf"),
        ("most", "NaN", "most is NaN, the source says inf"),
        ("most", "inf", "most is 'inf', not a Float64"),
        ("huge", 3.4e38, "huge is 3.4e+38, the source says inf"),
        ("shares", [1.0, 2.0, "Infinity", "-Infinity"], "shares is [1.0, 2.0"),
        ("shares", ["NaN", "NaN", "Infinity", "-Infinity"], "shares is ['NaN', 'NaN'"),
        ("small_shares", [0.2, "NaN", "Infinity"], "small_shares is [0.2"),
        ("small_shares", [1e39, "NaN", "Infinity"], "small_shares is [1e+39"),
        ("score", 10, "score is 10, the source says"),
        ("score", "Infinity", "score is 'Infinity', not a Int64"),
    ],
)
def test_a_wrong_value_is_found_all_the_same(repo, feature, value, says):
    asked = question(repo(), "across")
    wrong = found(asked, right(asked, **{feature: [value] * len(asked.entities)}))
    assert wrong
    assert says in wrong[0]


def test_of_rows_of_one_time_the_later_one_of_the_file_counts(repo):
    asked = question(repo(), "across", customer=[1], merchant=[11], device=[101])
    assert found(asked, right(asked, score=[20])) == []
    assert "score is 10, the source says 20" in found(asked, right(asked, score=[10]))[0]


def test_views_whose_keys_overlap_are_asked_for_keys_that_lie_in_one_row(repo):
    keys = sorted(question(repo(), "across").entities, key=lambda entity: entity["customer"])
    assert keys == [{"customer": 1, "merchant": 11, "device": 101}, {"customer": 2, "merchant": 12, "device": 102}]


def test_every_view_is_asked_for_an_entity_that_it_knows(repo):
    directory = repo()
    write(repo.data, [bought(1, 11)], [seen(3, 103, 1)])
    asked = question(directory, "across")
    assert {entity["customer"] for entity in asked.entities} == {1, 3}
    assert [view for known in asked.known.times(NOW) for view in known] == ["bought_at", "seen_with"]


def test_keys_that_nobody_named_are_those_of_the_named_ones_rows(repo):
    assert question(repo(), "across", customer=[2]).entities == [{"customer": 2, "merchant": 12, "device": 102}]


def test_a_view_without_an_entity_is_asked_for_once(repo):
    asked = question(repo(), "rate")
    assert json.loads(asked.body) == {"feature_service": "rate", "entities": {}}


@pytest.mark.parametrize("customers", [[7], [2, 7]])
def test_a_named_entity_without_any_row_is_refused(repo, customers):
    with pytest.raises(Refusal, match="'across': no source has a row of customer=7 "):
        question(repo(), "across", customer=customers)


def test_a_named_entity_that_one_of_the_views_does_not_know_is_asked_for(repo):
    directory = repo()
    write(repo.data, [bought(1, 11), bought(5, 12)], [seen(1, 101, 20)])
    assert [entity["customer"] for entity in question(directory, "across", customer=[5]).entities] == [5]


def test_a_named_value_of_another_type_is_refused(repo):
    with pytest.raises(Refusal, match="SMOKE_ENTITIES: customer is 'one', not a Int64"):
        question(repo(), "across", customer=["one"])


def test_named_bytes_and_moments_are_as_a_request_has_them(repo):
    asked = question(repo(), "badges", badge=[base64.b64encode(b"\xfb").decode()], moment=[int(YESTERDAY.timestamp())])
    assert asked.entities == [{"badge": b"\xfb", "moment": YESTERDAY}]


def test_without_any_row_there_is_nothing_to_ask_for(repo):
    directory = repo()
    write(repo.data, [], [seen(1, 101, 10)])
    with pytest.raises(Refusal, match=r"'across': the source of .*bought_at.* has no row up to the last load"):
        question(directory, "across")


def test_requests_carry_moments_in_seconds_and_bytes_in_base64(repo):
    asked = question(repo(), "asking", customer=[1], device=[101])
    assert json.loads(asked.body) == {
        "feature_service": "asking",
        "entities": {"customer": [1], "device": [101], "since": [1], "token": [base64.b64encode(b"a").decode()]},
    }
    assert asked.body == request_body(asked.vector, [{"customer": 1, "device": 101}])


def test_a_function_that_fails_is_refused_before_a_replica_is_asked(repo):
    definitions = DEFINITIONS.replace("len(token) for token", '{b"hello world": 1}[token] for token')
    with pytest.raises(Refusal) as refused:
        question(repo(definitions), "asking", customer=[1], device=[101])
    assert "the on-demand feature view 'asked_for' cannot be computed: its function raised" in str(refused.value)
    assert "correct the function" in str(refused.value)


def test_a_source_that_no_longer_fits_its_field_is_refused(repo):
    directory = repo()
    table = pq.read_table(repo.data / "seen.parquet")
    halves = pa.array([score + 0.5 for score in table["score"].to_pylist()])
    pq.write_table(table.set_column(3, "score", halves), repo.data / "seen.parquet")
    with pytest.raises(Refusal, match=r"the source 'seen' has a value that does not fit its field: .*'score'"):
        question(directory, "across")


PUSHED = DEFINITIONS.replace("Field, FileSource,", "Field, FileSource, PushSource,").replace(
    'source=FileSource(name="seen", path="DATA/seen.parquet", timestamp_field="event_timestamp")',
    'source=PushSource(name="push", batch_source=FileSource(name="seen", path="DATA/seen.parquet", timestamp_field="event_timestamp"))',
)


@pytest.mark.parametrize(("definitions", "wrong"), [(PUSHED, 0), (DEFINITIONS, 2)], ids=["pushed to", "loaded only"])
def test_a_newer_value_than_the_historys_is_right_where_values_are_pushed(repo, definitions, wrong):
    asked = question(repo(definitions), "across", customer=[1, 2])
    answer = right(asked, score=[99, 99])
    score = answer["results"][-1]
    score["event_timestamps"] = [(YESTERDAY + timedelta(hours=1)).isoformat()] * 2
    assert len(found(asked, answer)) == wrong
    # An older one was never replaced, and one of the same time is another.
    for hours in (0, -1):
        score["event_timestamps"] = [(YESTERDAY + timedelta(hours=hours)).isoformat()] * 2
        assert len(found(asked, answer)) == 2


@pytest.mark.parametrize("ends", [{}, {"seen_with": NOW}], ids=["never loaded", "loaded"])
def test_of_a_view_that_is_pushed_to_the_source_need_have_no_row_that_still_counts(repo, ends):
    definitions = PUSHED.replace(
        "entities=[customer, device],\n    ttl=timedelta(days=3)", "entities=[customer, device],\n    ttl=timedelta(minutes=10)"
    )
    made = repo(definitions + "only = FeatureService(name='only', features=[seen_with])\n")
    asked = question_of(vector(made, "only"), ends, made, {})
    assert {entity["device"] - entity["customer"] for entity in asked.entities} == {100}
    count = len(asked.entities)
    keys = {name: [entity[name] for entity in asked.entities] for name in sorted(asked.vector.keys)}

    def answer(value, status, moment):
        columns = [*({"values": values, "statuses": ["PRESENT"] * count} for values in keys.values())]
        columns.append({"values": [value] * count, "statuses": [status] * count, "event_timestamps": [moment] * count})
        return {"metadata": {"feature_names": [*keys, "score"]}, "results": columns}

    assert found(asked, answer(None, "NOT_FOUND", "1970-01-01T00:00:00Z")) == []
    assert found(asked, answer(7, "PRESENT", (NOW - timedelta(minutes=1)).isoformat())) == []


def test_a_named_entity_must_be_in_the_data_though_a_view_without_entities_answers_for_anybody(repo):
    made = repo(DEFINITIONS + "both = FeatureService(name='both', features=[seen_with, one_rate])\n")
    with pytest.raises(Refusal, match="no source has a row of customer=900"):
        question(made, "both", customer=[900], device=[900])
