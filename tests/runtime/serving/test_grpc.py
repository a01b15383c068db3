"""gRPC answers what HTTP answers, cell by cell, and refuses what HTTP refuses, in the same words."""

import asyncio
import importlib
import json
import random
import shutil
import subprocess
import threading
import urllib.error
import urllib.request
from base64 import b64encode
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import grpc
import pytest
import uvloop
from feast import FeatureStore
from feast.feature_server_utils import convert_response_to_dict
from feast.infra.online_stores.redis import RedisOnlineStoreConfig
from feast.protos.feast.serving.ServingService_pb2 import (
    FieldStatus,
    GetFeastServingInfoRequest,
    GetOnlineFeaturesRequest,
    GetOnlineFeaturesResponse,
)
from feast.protos.feast.serving.ServingService_pb2_grpc import ServingServiceStub
from feast.protos.feast.types import Value_pb2 as values
from feast.protos.feast.types.EntityKey_pb2 import EntityKey
from feast.protos.feast.types.Value_pb2 import RepeatedValue, Value
from feast.repo_operations import apply_total_with_repo_instance
from google.protobuf import descriptor_pool, message_factory
from google.rpc import error_details_pb2

from bench.ports import free_port
from bench.stores import redis_server
from feature_runtime.definitions.describing import contract_of_definitions
from feature_runtime.definitions.feature_repo import load_definitions
from feature_runtime.online_store.addresses import Single
from feature_runtime.online_store.wire import Names
from feature_runtime.serving import grpc_service
from feature_runtime.serving.functions import CannotCompute
from feature_runtime.serving.http import Server
from feature_runtime.serving.metrics import Metrics
from feature_runtime.serving.on_demand import Transformer
from feature_runtime.serving.plan import Plan
from feature_runtime.serving.redis_reader import OnlineStore
from feature_runtime.serving.registry_snapshot import describe
from feature_runtime.serving.server import FeatureServer
from tests.second_feature_repo import data
from tests.waiting import NotYet, wait_for, wait_until

NOW = datetime.now(UTC).replace(microsecond=0)
MAX_ENTITIES = 50

# Values of every type: what is written is what must come back, bit for bit.
EVERYTHING = {
    "Int32": [Value(int32_val=0), Value(int32_val=-(2**31))],
    "Int64": [Value(int64_val=0), Value(int64_val=2**63 - 1)],
    "Float32": [Value(float_val=0.1), Value(float_val=float("nan"))],
    "Float64": [Value(double_val=0.1), Value(double_val=float("-inf"))],
    "Bool": [Value(bool_val=False), Value(bool_val=True)],
    "String": [Value(string_val=""), Value(string_val="Zürich ☂ \x00")],
    "Bytes": [Value(bytes_val=b""), Value(bytes_val=bytes(range(256)))],
    "UnixTimestamp": [Value(unix_timestamp_val=0), Value(unix_timestamp_val=-1)],
    "Array(Int32)": [Value(int32_list_val=values.Int32List()), Value(int32_list_val=values.Int32List(val=[1, -1]))],
    "Array(Int64)": [Value(int64_list_val=values.Int64List()), Value(int64_list_val=values.Int64List(val=[2**63 - 1]))],
    "Array(Float32)": [Value(float_list_val=values.FloatList()), Value(float_list_val=values.FloatList(val=[0.1, 2.5]))],
    "Array(Float64)": [Value(double_list_val=values.DoubleList()), Value(double_list_val=values.DoubleList(val=[0.1, 1e300]))],
    "Array(Bool)": [Value(bool_list_val=values.BoolList()), Value(bool_list_val=values.BoolList(val=[True, False]))],
    "Array(String)": [Value(string_list_val=values.StringList()), Value(string_list_val=values.StringList(val=["", "ü"]))],
    "Array(Bytes)": [Value(bytes_list_val=values.BytesList()), Value(bytes_list_val=values.BytesList(val=[b"", b"\xff"]))],
    "Array(UnixTimestamp)": [
        Value(unix_timestamp_list_val=values.Int64List()),
        Value(unix_timestamp_list_val=values.Int64List(val=[0, 10**9])),
    ],
    "Set(String)": [Value(string_set_val=values.StringSet()), Value(string_set_val=values.StringSet(val=["b", "a"]))],
    "Map": [Value(map_val=values.Map()), Value(map_val=values.Map(val={"a": Value(int64_val=1)}))],
    "Json": [Value(json_val="null"), Value(json_val='{"a": [1]}')],
}
NAMES = {dtype: dtype.lower().replace("(", "_of_").rstrip(")") for dtype in EVERYTHING}
FRESH, OLD, UNKNOWN = 1, 2, 3
"""Numbers of the view `everything`: two fresh rows (values and nulls mixed), one beyond its ttl, one that is not there."""
DEFINITIONS = f"""
from datetime import timedelta

from feast import Entity, FeatureService, FeatureView, Field, FileSource, ValueType
from feast.on_demand_feature_view import on_demand_feature_view
from feast.types import *

thing = Entity(name="thing", join_keys=["number"], value_type=ValueType.INT32)
everything = FeatureView(
    name="everything",
    entities=[thing],
    ttl=timedelta(days=1),
    source=FileSource(name="everything", path="data/everything.parquet", timestamp_field="event_timestamp"),
    schema=[Field(name="number", dtype=Int32), {", ".join(f'Field(name="{NAMES[dtype]}", dtype={dtype})' for dtype in EVERYTHING)}],
)
everything_v1 = FeatureService(name="everything_v1", features=[everything])

moment = Entity(name="moment", join_keys=["at"], value_type=ValueType.UNIX_TIMESTAMP)
badge = Entity(name="badge", join_keys=["token"], value_type=ValueType.BYTES)
entries = FeatureView(
    name="entries",
    entities=[moment, badge],
    ttl=timedelta(0),
    source=FileSource(name="entries", path="data/entries.parquet", timestamp_field="event_timestamp"),
    schema=[Field(name="at", dtype=UnixTimestamp), Field(name="token", dtype=Bytes), Field(name="floor", dtype=Int64)],
)


@on_demand_feature_view(mode="python", sources=[entries], schema=[Field(name="seen", dtype=String)])
def entry_shown(inputs):
    count = len(inputs["entries__floor"])
    nothing = [None] * count
    return {{"seen": [f"{{at!r}} {{token!r}}" for at, token in zip(inputs.get("at", nothing), inputs.get("token", nothing))]}}


entry_v1 = FeatureService(name="entry_v1", features=[entry_shown])
"""


@pytest.fixture(scope="module")
def redis_port(tmp_path_factory):
    with redis_server(tmp_path_factory.mktemp("redis")) as port:
        yield port


@pytest.fixture(scope="module")
def repo(tmp_path_factory, redis_port):
    """The second feature repo and a view of every type, applied and loaded by stock Feast."""
    repo = tmp_path_factory.mktemp("grpc") / "feature_repo"
    shutil.copytree(Path(data.__file__).parent / "feature_repo", repo, ignore=shutil.ignore_patterns("__pycache__", "*.json"))
    (repo / "everything.py").write_text(DEFINITIONS)
    config = repo / "feature_store.yaml"
    online = f"online_store: {{type: redis, connection_string: '127.0.0.1:{redis_port}'}}\n"
    config.write_text(config.read_text().replace("online_store:\n  type: sqlite\n  path: data/online_store.db\n", online))
    data.write(repo / "data")
    store = FeatureStore(str(repo))
    apply_total_with_repo_instance(store, store.project, store.registry, load_definitions(repo).contents, skip_source_validation=True)
    views = ["card_features", "merchant_features", "visit_features"]
    store.materialize(NOW - timedelta(days=25), NOW, feature_views=views)
    rows = []
    for number, position, at in ((0, 0, NOW), (FRESH, 1, NOW), (OLD, 1, NOW - timedelta(days=2))):
        row = {NAMES[dtype]: choices[position] for dtype, choices in EVERYTHING.items()}
        if number == 0:
            row[NAMES["String"]] = Value()
        key = EntityKey(join_keys=["number"], entity_values=[Value(int32_val=number)])
        rows.append((key, row, at, None))
    store._get_provider().online_write_batch(store.config, store.get_feature_view("everything"), rows, None)
    return repo


class Serving:
    """A feature server in a thread of its own, on real ports."""

    def __init__(self, repo, redis_port, **options):
        self.repo = repo
        self.redis_port = redis_port
        self.options = options
        started = Future()
        self.thread = threading.Thread(target=uvloop.run, args=(self.main(started),), daemon=True)
        self.thread.start()
        self.http_port, self.grpc_port = started.result(30)

    async def main(self, started):
        self.loop, self.stopping = asyncio.get_running_loop(), asyncio.Event()
        try:
            feast = FeatureStore(str(self.repo))
            description, views = describe(feast, contract_of_definitions(self.repo, load_definitions(self.repo)))
            config = RedisOnlineStoreConfig(connection_string=f"127.0.0.1:{self.redis_port}")
            store = OnlineStore(Single(config, Names()).connect)
            store.start()
            self.server = FeatureServer(store, Metrics(), max_entities=MAX_ENTITIES, max_body_bytes=64 * 1024)
            self.server.use(Plan(description), Transformer(views))
            http = Server(self.server)
            http_port = await http.start("127.0.0.1", 0)
            grpc_port = free_port()
            self.grpc = await grpc_service.start(self.server, grpc_port, max_body_kib=64)
        except BaseException as error:
            started.set_exception(error)
            raise
        started.set_result((http_port, grpc_port))
        await self.stopping.wait()
        await self.grpc.stop(5)
        await http.drain(listening_seconds=0, seconds=1)
        await store.stop()

    def stop(self):
        with suppress(RuntimeError):  # its loop is closed: it has ended already
            self.loop.call_soon_threadsafe(self.stopping.set)
        self.thread.join(20)
        assert not self.thread.is_alive()


@pytest.fixture(scope="module")
def serving(repo, redis_port):
    serving = Serving(repo, redis_port)
    asks(serving, {"feature_service": "limit_model_v1", "entities": {"card_id": ["0042"]}}, wait=True)
    yield serving
    serving.stop()


@pytest.fixture(scope="module")
def channel(serving):
    with grpc.insecure_channel(f"127.0.0.1:{serving.grpc_port}") as channel:
        yield channel


@pytest.fixture(scope="module")
def stub(channel):
    return ServingServiceStub(channel)


def asks(serving, body, wait=False, headers=()):
    """The answer over HTTP: status and JSON."""
    for _ in range(100):
        request = urllib.request.Request(
            f"http://127.0.0.1:{serving.http_port}/get-online-features",
            data=json.dumps(body).encode(),
            headers={"Content-Type": "application/json", **dict(headers)},
        )
        try:
            with urllib.request.urlopen(request, timeout=10) as response:
                return response.status, json.load(response)
        except urllib.error.HTTPError as error:
            if not (wait and error.code == 503):
                return error.code, json.load(error)
            threading.Event().wait(0.05)
    raise AssertionError("the server does not become ready")


KINDS = {int: "int64_val", float: "double_val", str: "string_val", bool: "bool_val", bytes: "bytes_val"}


def repeated(column):
    return RepeatedValue(val=[Value() if value is None else Value(**{KINDS[type(value)]: value}) for value in column])


def message(body):
    """The protobuf request that says the same as a JSON one."""
    request = GetOnlineFeaturesRequest(
        full_feature_names=body.get("full_feature_names", False),
        include_feature_view_version_metadata=body.get("include_feature_view_version_metadata", False),
    )
    if "feature_service" in body:
        request.feature_service = body["feature_service"]
    if "features" in body:
        request.features.val.extend(body["features"])
    for name, column in body.get("entities", {}).items():
        request.entities[name].CopyFrom(repeated(column))
    return request


FRAUD = {
    "card_id": ["card-000", "kärtchen ☂", "nobody", "0042"],
    "merchant_id": [-3, 7_000_000_000, 7, 999],
    "amount": [12.5, 0.0, 1e300, 3.25],
    "country": ["CH", "", "DE", "☂"],
}
NUMBERS = {"number": [0, FRESH, OLD, UNKNOWN]}
QUESTIONS = [
    {"feature_service": "fraud_model_v1", "entities": FRAUD},
    {"feature_service": "fraud_model_v1", "entities": FRAUD, "full_feature_names": True},
    {"feature_service": "fraud_model_v1", "entities": FRAUD, "include_feature_view_version_metadata": True},
    {"feature_service": "limit_model_v1", "entities": {"card_id": ["card-001"]}},
    {"feature_service": "checkout_model_v1", "entities": {name: FRAUD[name] for name in ("card_id", "amount", "country")}},
    {"feature_service": "everything_v1", "entities": NUMBERS},
    {"features": ["merchant_trust:trust", "merchant_features:complaints"], "entities": {"merchant_id": [100, -3]}},
    {"features": ["everything:string", "everything:bytes", "card_features:opened_at"], "entities": NUMBERS | {"card_id": FRAUD["card_id"]}},
]


@pytest.mark.parametrize("body", QUESTIONS, ids=lambda body: f"{body.get('feature_service', 'features')}-{len(body)}")
def test_it_answers_what_http_answers_cell_by_cell(serving, stub, body):
    status, said = asks(serving, body)
    assert status == 200, said
    response = stub.GetOnlineFeatures(message(body), timeout=10)
    answered = convert_response_to_dict(response)
    assert answered["metadata"] == said["metadata"]
    for name, found, expected in zip(said["metadata"]["feature_names"], answered["results"], said["results"], strict=True):
        assert found == expected, name
    assert response.status


def test_every_value_is_the_stored_one_bit_for_bit(stub):
    response = stub.GetOnlineFeatures(message({"feature_service": "everything_v1", "entities": NUMBERS}))
    names = list(response.metadata.feature_names.val)
    assert names == ["number", *NAMES.values()], "not in contract order"
    for dtype, column in zip(EVERYTHING, list(response.results)[1:], strict=True):
        first, second = EVERYTHING[dtype]
        expected = [Value() if dtype == "String" else first, second, Value(), Value()]
        assert [value.SerializeToString(deterministic=True) for value in column.values] == [
            value.SerializeToString(deterministic=True) for value in expected
        ], dtype
        first_status = FieldStatus.NULL_VALUE if dtype == "String" else FieldStatus.PRESENT
        assert list(column.statuses) == [first_status, FieldStatus.PRESENT, FieldStatus.OUTSIDE_MAX_AGE, FieldStatus.NOT_FOUND]
        assert column.event_timestamps[0].ToDatetime(UTC) == NOW
        assert column.event_timestamps[2].ToDatetime(UTC) == NOW - timedelta(days=2)


def test_functions_see_join_keys_as_training_has_them(serving, stub):
    body = {"feature_service": "entry_v1", "entities": {"at": [86_400], "token": [b64encode(b"\xff\x00").decode()]}}
    request = GetOnlineFeaturesRequest(feature_service="entry_v1")
    request.entities["at"].CopyFrom(RepeatedValue(val=[Value(unix_timestamp_val=86_400)]))
    request.entities["token"].CopyFrom(RepeatedValue(val=[Value(bytes_val=b"\xff\x00")]))
    status, said = asks(serving, body)
    assert status == 200, said
    seen = f"{datetime(1970, 1, 2, tzinfo=UTC)!r} {bytes([255, 0])!r}"
    assert said["results"][2]["values"] == [seen]
    assert stub.GetOnlineFeatures(request).results[2].values[0].string_val == seen


def test_request_context_carries_what_is_no_entity(stub):
    whole = stub.GetOnlineFeatures(message({"feature_service": "fraud_model_v1", "entities": FRAUD}))
    request = message({"feature_service": "fraud_model_v1", "entities": {name: FRAUD[name] for name in ("card_id", "merchant_id")}})
    for name in ("amount", "country"):
        request.request_context[name].CopyFrom(repeated(FRAUD[name]))
    assert stub.GetOnlineFeatures(request) == whole
    request.request_context["card_id"].CopyFrom(repeated(FRAUD["card_id"]))
    assert refusal(stub, request)[0] == grpc.StatusCode.INVALID_ARGUMENT


def rpc_status():
    """The message google.rpc.Status. The Pulumi SDK has a copy of it, and no process can load both."""
    try:
        descriptor = descriptor_pool.Default().FindMessageTypeByName("google.rpc.Status")
    except KeyError:
        descriptor = importlib.import_module("google.rpc.status_pb2").Status.DESCRIPTOR
    return message_factory.GetMessageClass(descriptor)


def refusal(stub, request, **options):
    """How a request is refused: code, message, and field to description of google.rpc.BadRequest."""
    with pytest.raises(grpc.RpcError) as refused:
        stub.GetOnlineFeatures(request, timeout=10, **options)
    error = refused.value
    details = {}
    for key, content in error.trailing_metadata() or ():
        if key == "grpc-status-details-bin":
            status = rpc_status().FromString(content)
            assert (status.code, status.message) == (error.code().value[0], error.details()[:200])
            bad = error_details_pb2.BadRequest()
            assert status.details[0].Unpack(bad)
            details = {violation.field: violation.description for violation in bad.field_violations}
    return error.code(), error.details(), details


LIMIT = {"feature_service": "limit_model_v1"}
BAD = [
    ({"feature_service": "nobody_v1", "entities": {"card_id": ["0042"]}}, grpc.StatusCode.NOT_FOUND),
    ({"features": ["nothing:at_all"], "entities": {"card_id": ["0042"]}}, grpc.StatusCode.NOT_FOUND),
    ({"features": ["card_features:nothing"], "entities": {"card_id": ["0042"]}}, grpc.StatusCode.NOT_FOUND),
    ({"features": ["no colon"], "entities": {"card_id": ["0042"]}}, grpc.StatusCode.INVALID_ARGUMENT),
    ({"entities": {"card_id": ["0042"]}}, grpc.StatusCode.INVALID_ARGUMENT),
    (LIMIT | {"entities": {}}, grpc.StatusCode.INVALID_ARGUMENT),
    (LIMIT | {"entities": {"card_id": []}}, grpc.StatusCode.INVALID_ARGUMENT),
    (LIMIT | {"entities": {"card_id": [42]}}, grpc.StatusCode.INVALID_ARGUMENT),
    (LIMIT | {"entities": {"card_id": ["a", None]}}, grpc.StatusCode.INVALID_ARGUMENT),
    (LIMIT | {"entities": {"card": ["0042"]}}, grpc.StatusCode.INVALID_ARGUMENT),
    (LIMIT | {"entities": {"card_id": ["0042"], "merchant_id": [1]}}, grpc.StatusCode.INVALID_ARGUMENT),
    (LIMIT | {"entities": {"card_id": ["a"] * (MAX_ENTITIES + 1)}}, grpc.StatusCode.INVALID_ARGUMENT),
    ({"feature_service": "everything_v1", "entities": {"number": [2**31]}}, grpc.StatusCode.INVALID_ARGUMENT),
    ({"feature_service": "everything_v1", "entities": {"number": [1.0]}}, grpc.StatusCode.INVALID_ARGUMENT),
    ({"feature_service": "everything_v1", "entities": {"number": [True]}}, grpc.StatusCode.INVALID_ARGUMENT),
    ({"feature_service": "fraud_model_v1", "entities": FRAUD | {"amount": ["12"] * 4}}, grpc.StatusCode.INVALID_ARGUMENT),
    ({"feature_service": "fraud_model_v1", "entities": FRAUD | {"country": ["CH"]}}, grpc.StatusCode.INVALID_ARGUMENT),
    ({"feature_service": "fraud_model_v1", "entities": FRAUD | {"amount": [-1.0] * 4}}, grpc.StatusCode.INVALID_ARGUMENT),
]


@pytest.mark.parametrize(("body", "code"), BAD, ids=[str(number) for number in range(len(BAD))])
def test_what_http_refuses_it_refuses_in_the_same_words(serving, stub, body, code):
    status, said = asks(serving, body)
    assert 400 <= status < 500
    assert refusal(stub, message(body)) == (
        code,
        said["detail"],
        {error["field"]: f"{error['rule']}; {error['remedy']}"[:200] for error in said["errors"]},
    )


NUMBERS_IN_JSON = [
    "0",
    "-0.0",
    "1e-400",
    "1e308",
    "9" * 400,
    "1e400",
    "18446744073709551615",
    "-1",
    "NaN",
    "true",
    "null",
    '"1"',
    "[1]",
    "{}",
]
TEXTS_IN_JSON = ['""', '"\\u0000"', '"\\ud83d\\ude00"', '"\\ud800"', '"' + "x" * 9_000 + '"', "1", "null", "false", "[]"]


@pytest.mark.parametrize("amount", NUMBERS_IN_JSON, ids=lambda text: text[:9])
def test_whatever_a_request_brings_to_a_function_is_computed_or_refused(serving, amount):
    for country in TEXTS_IN_JSON:
        entities = f'{{"card_id": ["0042"], "amount": [{amount}], "country": [{country}]}}'
        body = f'{{"feature_service": "checkout_model_v1", "entities": {entities}}}'.encode()
        url = f"http://127.0.0.1:{serving.http_port}/get-online-features"
        request = urllib.request.Request(url, data=body, headers={"Content-Type": "application/json"})
        try:
            with urllib.request.urlopen(request, timeout=10) as response:
                names = json.load(response)["metadata"]["feature_names"]
        except urllib.error.HTTPError as refused:
            assert refused.code in {400, 422}, (amount, country, refused.read())
        else:
            assert names == ["card_id", "known_countries", "route"]
            assert not amount.startswith(("N", "t", "n", '"', "[", "{", "-1")), "that is no payment"


def test_a_function_that_cannot_compute_what_was_asked_is_named(stub):
    code, said, _ = refusal(stub, message({"feature_service": "fraud_model_v1", "entities": FRAUD | {"amount": [-1.0] * 4}}))
    assert code == grpc.StatusCode.INVALID_ARGUMENT
    assert "'payment_features' cannot be computed: its function raised ValueError: a payment is not negative" in said


def test_a_refusal_fits_into_metadata_whatever_was_asked(stub):
    """Metadata of more than 8 KiB would reach the client as another error."""
    refs = [f"card_features:{number}{'☂' * 150}" for number in range(20)]
    code, _, details = refusal(stub, message({"features": refs, "entities": {"card_id": ["0042"]}}))
    assert code == grpc.StatusCode.NOT_FOUND
    assert list(details) == [f"features[{number}]" for number in range(len(details))]
    assert details, "the first of them"


def test_a_long_reason_is_cut(serving, stub, monkeypatch):
    class Loud:
        async def compute(self, view, *_):
            raise CannotCompute(view, "☂" * 5_000, clients_fault=True)

    monkeypatch.setattr(serving.server, "transformer", Loud())
    code, said, _ = refusal(stub, message({"features": ["merchant_trust:trust"], "entities": {"merchant_id": [7]}}))
    assert code == grpc.StatusCode.INVALID_ARGUMENT
    assert said.startswith("entities: the on-demand feature view 'merchant_trust' cannot be computed: ☂☂☂")
    assert said.endswith("☂…")


def test_the_contracts_hash_goes_both_ways(serving, stub):
    sha256 = serving.server.plan.services["limit_model_v1"]["sha256"]
    request = message(LIMIT | {"entities": {"card_id": ["0042"]}})
    _, call = stub.GetOnlineFeatures.with_call(request, metadata=(("feast-contract", sha256),))
    assert dict(call.initial_metadata())["feast-contract"] == sha256
    code, said, _ = refusal(stub, request, metadata=(("feast-contract", "0" * 64),))
    assert code == grpc.StatusCode.FAILED_PRECONDITION
    assert sha256 in said
    assert "0" * 64 in said


def test_a_message_over_the_limit_is_refused(stub):
    code, _, _ = refusal(stub, message(LIMIT | {"entities": {"card_id": ["x" * 70_000]}}))
    assert code == grpc.StatusCode.RESOURCE_EXHAUSTED


def test_whatever_is_sent_is_never_called_an_internal_error(channel):
    """Well-formed requests with bytes changed, cut out and doubled: most are no message any more, some are another one."""
    call = channel.unary_unary("/feast.serving.ServingService/GetOnlineFeatures")
    rng = random.Random(5)
    codes = set()
    for number in range(400):
        raw = bytearray(message(QUESTIONS[number % len(QUESTIONS)]).SerializeToString())
        for _ in range(rng.randint(1, 4)):
            at = rng.randrange(len(raw))
            raw[at : at + rng.randint(0, 3)] = rng.randbytes(rng.randint(0, 3))
        try:
            GetOnlineFeaturesResponse.FromString(call(bytes(raw), timeout=10))
            codes.add(grpc.StatusCode.OK)
        except grpc.RpcError as error:
            codes.add(error.code())
    assert codes == {grpc.StatusCode.OK, grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND}


def test_bytes_are_no_text(stub):
    """JSON has bytes in base64: a text key that happens to be base64 must not be taken for one."""
    request = message(LIMIT | {"entities": {"card_id": ["0042"]}})
    request.entities["card_id"].val[0].CopyFrom(Value(bytes_val=b"0042"))
    code, said, _ = refusal(stub, request)
    assert code == grpc.StatusCode.INVALID_ARGUMENT
    assert "a string" in said
    assert b64encode(b"0042").decode() not in said


def test_a_text_is_no_bytes(stub):
    """Nothing is converted: a text key for bytes is not taken for base64."""
    request = GetOnlineFeaturesRequest(feature_service="entry_v1")
    request.entities["at"].CopyFrom(RepeatedValue(val=[Value(unix_timestamp_val=86_400)]))
    request.entities["token"].CopyFrom(RepeatedValue(val=[Value(string_val="abcd")]))
    code, said, _ = refusal(stub, request)
    assert code == grpc.StatusCode.INVALID_ARGUMENT
    assert "entities.token[0]: it must be bytes in base64" in said


def test_it_says_whose_answers_these_are_like(stub, channel):
    assert stub.GetFeastServingInfo(GetFeastServingInfoRequest()).version == "0.67.0"
    with pytest.raises(grpc.RpcError) as refused:
        channel.unary_unary("/feast.serving.ServingService/GetFeastServingInfo")(b"\xff")
    assert refused.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    with pytest.raises(grpc.RpcError) as refused:
        channel.unary_unary("/feast.serving.ServingService/Push")(b"")
    assert refused.value.code() == grpc.StatusCode.UNIMPLEMENTED


def health_of(channel, name=""):
    """grpc.health.v1's Check as a stock client sends it: field 1 of the request is the name, field 1 of the answer the status."""
    request = b"\x0a" + bytes([len(name)]) + name.encode() if name else b""
    return channel.unary_unary("/grpc.health.v1.Health/Check")(request, timeout=10)


SERVING, NOT_SERVING, SERVICE_UNKNOWN = b"\x08\x01", b"\x08\x02", b"\x08\x03"


def test_it_tells_its_health_in_the_standard_way(serving, channel, monkeypatch):
    assert health_of(channel) == health_of(channel, "feast.serving.ServingService") == SERVING
    with pytest.raises(grpc.RpcError) as refused:
        health_of(channel, "nothing")
    assert refused.value.code() == grpc.StatusCode.NOT_FOUND
    with pytest.raises(grpc.RpcError) as refused:
        channel.unary_unary("/grpc.health.v1.Health/Check")(b"\xff\xff", timeout=10)
    assert refused.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    monkeypatch.setattr(serving.server, "plan", None)
    assert health_of(channel) == NOT_SERVING


def test_who_watches_its_health_hears_of_every_change_and_holds_up_no_end(serving, channel, monkeypatch):
    monkeypatch.setattr("feature_runtime.serving.grpc_health.WATCH_SECONDS", 0.05)
    watch = channel.unary_stream("/grpc.health.v1.Health/Watch")
    assert next(watch(b"\x0a\x01x", timeout=10)) == SERVICE_UNKNOWN
    heard = watch(b"", timeout=10)
    assert next(heard) == SERVING
    with monkeypatch.context() as without:
        without.setattr(serving.server, "plan", None)
        assert next(heard) == NOT_SERVING
    assert next(heard) == SERVING
    monkeypatch.setattr(serving.server, "draining", True)
    assert list(heard) == [NOT_SERVING]


def test_requests_are_counted_beside_those_of_http(serving, stub):
    def counts():
        (family,) = (family for family in serving.server.metrics.collect() if family.name == "feast_feature_server_request")
        return {
            s.labels["status"]: s.value for s in family.samples if s.labels["endpoint"] == "/feast.serving.ServingService/GetOnlineFeatures"
        }

    before = counts()
    stub.GetOnlineFeatures(message(LIMIT | {"entities": {"card_id": ["0042"]}}))
    refusal(stub, message(LIMIT | {"entities": {}}))
    assert counts() == before | {"success": before["success"] + 1, "refused": before["refused"] + 1}


def test_while_redis_is_away_it_is_unavailable_and_then_answers_again(repo, tmp_path):
    request = message(LIMIT | {"entities": {"card_id": ["0042"]}})
    port = free_port()
    serving = Serving(repo, port)
    try:
        with grpc.insecure_channel(f"127.0.0.1:{serving.grpc_port}") as channel:
            stub = ServingServiceStub(channel)
            with pytest.raises(grpc.RpcError) as away:
                stub.GetOnlineFeatures(request, timeout=10)
            assert away.value.code() == grpc.StatusCode.UNAVAILABLE
            assert dict(away.value.trailing_metadata())["retry-after"] == "1"
            with redis_on(port, tmp_path):
                response = until_answered(stub, request)
            assert response.results[1].statuses == [FieldStatus.NOT_FOUND]
    finally:
        serving.stop()


@contextmanager
def redis_on(port, directory):
    """A Redis on a port that was chosen before."""
    command = ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(directory)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as server:
        yield
        server.terminate()


def until_answered(stub, request):
    def ask():
        try:
            return stub.GetOnlineFeatures(request, timeout=10)
        except grpc.RpcError as error:
            assert error.code() == grpc.StatusCode.UNAVAILABLE
            raise NotYet(error.details()) from error

    return wait_for(ask, NotYet)


def test_a_request_under_way_is_answered_before_the_server_ends(repo, redis_port):
    serving = Serving(repo, redis_port)
    asked, go_on = threading.Event(), threading.Event()

    class Slow:
        async def compute(self, view, columns, types, count):
            asked.set()
            await asyncio.to_thread(go_on.wait, 10)
            return {"trust": [Value(double_val=0.5).SerializeToString()] * count}

    with grpc.insecure_channel(f"127.0.0.1:{serving.grpc_port}") as channel:
        stub = ServingServiceStub(channel)
        until_answered(stub, message(LIMIT | {"entities": {"card_id": ["0042"]}}))
        serving.server.transformer = Slow()
        call = stub.GetOnlineFeatures.future(message({"features": ["merchant_trust:trust"], "entities": {"merchant_id": [7]}}))
        assert asked.wait(10)
        serving.loop.call_soon_threadsafe(serving.stopping.set)
        go_on.set()
        assert call.result(10).results[1].values[0].double_val == 0.5
    serving.stop()


def test_clients_that_are_told_to_connect_again_lose_no_request(repo, redis_port, monkeypatch):
    monkeypatch.setattr(grpc_service, "CONNECTION_SECONDS", 0.1)
    answers, peers = grpc_service.ServingService.online_features, set()

    async def noting(self, body, context):
        peers.add(context.peer())
        return await answers(self, body, context)

    monkeypatch.setattr(grpc_service.ServingService, "online_features", noting)
    serving = Serving(repo, redis_port)
    request = message(LIMIT | {"entities": {"card_id": ["0042"]}})
    with grpc.insecure_channel(f"127.0.0.1:{serving.grpc_port}") as channel:
        stub = ServingServiceStub(channel)
        until_answered(stub, request)
        wait_until(lambda: stub.GetOnlineFeatures(request, timeout=10) and len(peers) >= 5, "the client made other connections")
    serving.stop()
