"""On-demand features: the values of Feast's SDK, the contract's types, and nobody else waits."""

import asyncio
import decimal
import math
import shutil
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from feast import FeatureStore, FeatureView, Field, FileSource, OnDemandFeatureView, RequestSource
from feast.on_demand_feature_view import on_demand_feature_view
from feast.protos.feast.types.Value_pb2 import Value
from feast.repo_operations import apply_total_with_repo_instance
from feast.transformation.pandas_transformation import PandasTransformation
from feast.transformation.python_transformation import PythonTransformation
from feast.types import Array, Bool, Bytes, Decimal, Float64, Int64, Map, String, UnixTimestamp, ZonedTimestamp

from feature_runtime.definitions.feature_repo import load_definitions
from feature_runtime.serving import function_check, on_demand
from feature_runtime.serving.functions import CannotCompute, OnDemandView
from feature_runtime.serving.message import Request
from feature_runtime.serving.metrics import Metrics
from feature_runtime.serving.on_demand import Transformer, problems
from feature_runtime.serving.refused import Busy
from feature_runtime.serving.server import FeatureServer
from tests.second_feature_repo import data

REPO = Path(data.__file__).parent / "feature_repo"
ASKED = [
    {"card_id": card, "merchant_id": merchant, "amount": amount, "country": country}
    for card, merchant, amount, country in (
        ("card-000", -3, 12.5, "CH"),
        ("kärtchen ☂", 7_000_000_000, 0.0, "FR"),
        ("0042", 7, 1e300, ""),
        ("nobody", 7, 3.0, "DE"),
        ("card-003", 999, 1.0, "IT"),
    )
]


@pytest.fixture(scope="module")
def stock(tmp_path_factory):
    """The second feature repo in local stores, applied and loaded by Feast's own code."""
    repo = tmp_path_factory.mktemp("stock") / "feature_repo"
    shutil.copytree(REPO, repo, ignore=shutil.ignore_patterns("__pycache__", "*.json"))
    data.write(repo / "data")
    store = FeatureStore(str(repo))
    apply_total_with_repo_instance(store, store.project, store.registry, load_definitions(repo).contents, skip_source_validation=True)
    now = datetime.now(UTC)
    store.materialize(now - timedelta(days=25), now)
    return store


def registered(stock, name):
    return OnDemandView(stock.get_on_demand_feature_view(name))


def inputs(stock, view, rows, full_names=False):
    """What the sources know of the rows, as the server would read it."""
    sources = [f"{source}:{name}" for source, name, _ in view.inputs]
    entities = [{key: value for key, value in row.items() if key in ("card_id", "merchant_id")} for row in rows]
    answer = stock.get_online_features(features=sources, entity_rows=entities, full_feature_names=True).to_dict()
    return answer | {name: [row[name] for row in rows] for name, _ in view.request}


@pytest.mark.parametrize("name", ["payment_features", "merchant_trust"])
def test_values_equal_those_of_feasts_sdk(stock, name):
    view = registered(stock, name)
    expected = stock.get_online_features(features=[f"{name}:{feature}" for feature, _ in view.outputs], entity_rows=ASKED).to_dict()
    computed = view.compute(inputs(stock, view, ASKED), len(ASKED))
    assert computed == {feature: expected[feature] for feature, _ in view.outputs}
    assert any(value is not None for value in computed[view.outputs[0][0]])


def test_stored_values_go_in_and_come_out_as_they_are_stored(stock):
    view = registered(stock, "merchant_trust")
    columns = {
        "merchant_features__category": [Value(string_val="food").SerializeToString(), None],
        "merchant_features__chargeback_rate": [Value(float_val=0.5).SerializeToString(), None],
        "merchant_features__complaints": [Value(int32_val=1).SerializeToString(), b""],
        "merchant_id": [7, 8],
    }
    computed = view.compute_stored(columns, {"merchant_id": "Int64"}, 2)["trust"]
    assert [Value.FromString(stored) for stored in computed] == [Value(double_val=0.25), Value()]
    assert computed[1] == b"", "null is nothing"


def test_a_view_is_described_as_plain_data(stock):
    described = on_demand.describe(stock.get_on_demand_feature_view("payment_features"))
    assert described["request"] == [["amount", "Float64"], ["country", "String"]]
    assert ["card_features", "recent_amounts", "Array(Float32)"] in described["inputs"]
    assert described["features"][0] == ["is_abroad", "Bool"]


def test_what_a_request_brings_is_what_training_has_in_its_data_frame():
    seen = {}

    def function(inputs):
        seen.update(inputs)
        return {"out": [1]}

    view = OnDemandView(view_of(function))
    brought = {"at": [86_400], "amount": [2], "rate": [0.1], "token": ["AQI="], "number": [2]}
    types = {"at": "UnixTimestamp", "amount": "Float64", "rate": "Float32", "token": "Bytes", "number": "Int64"}
    view.compute_stored(brought, types, 1)
    rate = pa.array([0.1], pa.float32()).to_pylist()
    assert seen == {"at": [datetime(1970, 1, 2, tzinfo=UTC)], "amount": [2.0], "rate": rate, "token": [b"\x01\x02"], "number": [2]}
    assert type(seen["amount"][0]) is float
    for name, value in (("at", 2**62), ("rate", 1e39)):
        with pytest.raises(CannotCompute, match=f"'{name}' is no {types[name]}") as refused:
            view.compute_stored(brought | {name: [value]}, types, 1)
        assert refused.value.clients_fault


def test_a_request_field_that_json_cannot_carry_is_found():
    def function(inputs):
        return {"out": [1]}

    source = RequestSource(name="brought", schema=[Field(name="embedding", dtype=Array(Float64))])
    (problem,) = problems(view_of(function, sources=[source]))
    assert "'embedding' is of type Array(Float64)" in problem


REQUEST = RequestSource(name="asked", schema=[Field(name="number", dtype=Int64)])
SOURCE = FeatureView(
    name="source",
    entities=[],
    ttl=timedelta(0),
    schema=[Field(name="known", dtype=Int64)],
    source=FileSource(name="file", path="nowhere.parquet", timestamp_field="event_timestamp"),
)


def view_of(function, dtype=Int64, sources=(REQUEST,), **options):
    return on_demand_feature_view(
        mode=options.pop("mode", "python"), sources=list(sources), schema=[Field(name="out", dtype=dtype)], **options
    )(function)


def computed(function, dtype=Int64, numbers=(1, 2), **options):
    return OnDemandView(view_of(function, dtype, **options)).compute({"number": list(numbers)}, len(numbers))["out"]


@pytest.mark.parametrize(
    ("dtype", "given", "said"),
    [
        (Int64, [1.5, 2], "a float for 'out', which is Int64"),
        (Int64, [True, 2], "a bool for 'out', which is Int64"),
        (Int64, ["1", 2], "a str for 'out', which is Int64"),
        (Float64, ["1.0", 2.0], "a str for 'out', which is Float64"),
        (Bool, [1, 0], "a int for 'out', which is Bool"),
        (String, [1, 2], "a int for 'out', which is String"),
        (Array(Int64), [[1, "2"], []], "a str for 'out', which is Int64"),
        (Array(Int64), [1, 2], "a int for 'out', which is Array(Int64)"),
        (Int64, [1], "gave 1 values of 'out' for 2 rows"),
        (Int64, [1, 2, 3], "gave 3 values of 'out' for 2 rows"),
        (Int64, 1, "gave a int of 'out' for 2 rows"),
    ],
)
def test_what_is_not_of_the_declared_type_or_number_is_refused(dtype, given, said):
    def function(inputs):
        return {"out": given}

    with pytest.raises(CannotCompute) as refused:
        computed(function, dtype)
    assert said in str(refused.value)
    assert not refused.value.clients_fault, "whoever asked cannot help it"


def test_a_feature_that_the_function_leaves_out_is_refused():
    def function(inputs):
        return {"other": inputs["number"]}

    with pytest.raises(CannotCompute, match="gave no 'out'"):
        computed(function)


def test_a_number_that_the_type_cannot_hold_is_refused():
    def function(inputs):
        return {"out": [2**70]}

    with pytest.raises(CannotCompute, match="gave 1180591620717411303424 for 'out', beyond what Int64 holds"):
        OnDemandView(view_of(function)).compute_stored({"number": [1]}, {}, 1)


@pytest.mark.parametrize("number", [2**62, math.inf, -(2**70)])
def test_a_number_beyond_its_type_is_the_requests_fault_when_the_request_brought_values(number):
    def asked(inputs):
        return {"out": [number * 10 for _ in inputs["number"]]}

    def stored(inputs):
        return {"out": [number * 10 for _ in inputs["known"]]}

    with pytest.raises(CannotCompute, match="beyond what Int64 holds") as refused:
        computed(asked)
    assert refused.value.clients_fault
    assert refused.value.field == "entities.number", "the only field that it brought"
    with pytest.raises(CannotCompute) as refused:
        OnDemandView(view_of(stored, sources=[SOURCE])).compute({"source__known": [1]}, 1)
    assert not refused.value.clients_fault, "nobody who asks can help what is stored"


def test_missing_numbers_are_null_and_pandas_whole_floats_are_integers():
    def function(inputs):
        return {"out": [math.nan, 2.0]}

    assert computed(function) == [None, 2]


def test_an_entity_has_the_same_value_alone_and_among_others():
    """Alone, the column of an unknown entity is empty, and Feast gives the function one of no type."""

    def function(inputs):
        return np.sqrt(inputs["known"]).to_frame("out")

    view = OnDemandView(view_of(function, Float64, sources=[SOURCE], mode="pandas"))
    assert view.compute({"source__known": [9, None]}, 2) == {"out": [3.0, None]}
    assert view.compute({"source__known": [None]}, 1) == {"out": [None]}


ROW_BY_ROW = {
    "a large number": (Int64, [2**53 + 1, None], lambda known: known % 1000),
    "a number as text": (Int64, [7, 3, None], lambda known: "n=" + known.astype(str)),
    "a flag as text": (Bool, [True, None, False], lambda known: known.astype(str)),
    "the length of a text": (String, ["abc", None, ""], lambda known: "l=" + known.str.len().astype(str)),
    "bytes": (Bytes, [b"a", None], lambda known: known.map(type).astype(str)),
    "the year of a moment": (UnixTimestamp, [datetime(2001, 2, 3, tzinfo=UTC), None], lambda known: known.dt.year.astype(str)),
    "a fraction that becomes whole": (
        Float64,
        [2.0, None],
        lambda known: known.map(lambda one: None if math.isnan(one) else int(one)).astype(str),
    ),
    "a list": (Array(Int64), [[1, 2], [3, None], None, []], lambda known: known.map(lambda one: str(None if one is None else one.dtype))),
    "lists within lists": (Array(Array(Int64)), [[[1], [2]], [[None]], [[]]], lambda known: known.map(str)),
    "a map": (Map, [{"a": 1}, {"b": 2}, None], lambda known: known.map(str)),
    "a decimal": (Decimal, [decimal.Decimal("1.5"), decimal.Decimal("2.25"), None], lambda known: known.map(str)),
    "moments in zones": (
        ZonedTimestamp,
        [datetime(2026, 1, 1, tzinfo=ZoneInfo("Europe/Berlin")), datetime(2026, 1, 1, tzinfo=ZoneInfo("Asia/Tokyo"))],
        lambda known: known.map(str),
    ),
}


@pytest.mark.parametrize("mode", ["pandas", "python"])
@pytest.mark.parametrize("what", ROW_BY_ROW)
def test_an_entity_has_the_same_value_alone_and_beside_any_nulls(what, mode):
    """pandas makes floats of whole numbers, and objects of everything, as soon as one is missing."""
    dtype, known, result = ROW_BY_ROW[what]
    source = FeatureView(
        name="source", entities=[], ttl=timedelta(0), schema=[Field(name="known", dtype=dtype)], source=SOURCE.batch_source
    )

    def in_pandas(inputs):
        return result(inputs["known"]).astype(str).to_frame("out")

    def in_python(inputs):
        return {"out": [str(np.array(inputs["known"], dtype=None if dtype in SCALARS else object).dtype.kind)] * len(inputs["known"])}

    view = OnDemandView(view_of(in_pandas if mode == "pandas" else in_python, String, sources=[source], mode=mode))

    def of(values):
        return view.compute({"source__known": values}, len(values))["out"]

    alone = [of([value])[0] for value in known]
    assert of(known) == alone
    assert of(known[::-1]) == alone[::-1]


SCALARS = (Int64, Bool, String, Bytes, Float64)


def test_rows_are_computed_together_where_their_nulls_are_the_same():
    calls = []

    def function(inputs):
        calls.append(list(inputs["known"]))
        return {"out": inputs["known"]}

    view = OnDemandView(view_of(function, sources=[SOURCE]))
    assert view.compute({"source__known": [None, 1, None, 2, 3]}, 5) == {"out": [None, 1, None, 2, 3]}
    assert calls == [[1, 2, 3], [None, None]], "one call for each pattern, those without nulls first"


def test_whole_numbers_beyond_what_floats_tell_apart_survive_a_function_that_leaves_some_out():
    def function(inputs):
        return inputs["known"].where(inputs["known"] > 9).to_frame("out")

    view = OnDemandView(view_of(function, sources=[SOURCE], mode="pandas"))
    assert view.compute({"source__known": [2**53 + 1, 3, 12]}, 3) == {"out": [2**53 + 1, None, 12]}


def test_a_function_of_one_row_is_asked_for_every_row():
    """Feast computes the first row of a request, and answers it for all."""

    def function(inputs):
        return {"out": inputs["number"] * 10}

    assert computed(function, numbers=(1, 2, 3), singleton=True) == [10, 20, 30]


def test_an_error_may_be_the_requests_when_it_brought_values():
    def function(inputs):
        raise ValueError("a payment is not negative")

    with pytest.raises(CannotCompute) as refused:
        computed(function)
    assert refused.value.clients_fault
    assert str(refused.value) == (
        "the on-demand feature view 'function' cannot be computed: its function raised ValueError: a payment is not negative"
    )


@pytest.mark.parametrize("raised", ["SystemExit(3)", "KeyboardInterrupt", "GeneratorExit", "__import__('asyncio').CancelledError"])
def test_a_function_that_would_end_the_server_has_failed_like_any_other(raised):
    text = f"def function(inputs):\n    raise {raised}\n"
    view = rebuilt(text, "python", Int64, sources=(REQUEST,))
    (problem,) = problems(view)
    assert "its function raised" in problem

    async def ask():
        await Transformer([view]).compute("function", {"number": [1]}, {"number": "Int64"}, 1)

    with pytest.raises(CannotCompute, match="its function raised"):
        asyncio.run(ask())


@pytest.mark.parametrize(
    ("dtype", "given"),
    [(Float64, "np.array(5)"), (Int64, "np.array(5)"), (Array(Int64), "[np.array(3)] * len(inputs['number'])")],
)
def test_what_cannot_even_be_read_is_the_functions_fault(dtype, given):
    view = rebuilt(f"def function(inputs):\n    return {{'out': {given}}}\n", "python", dtype, sources=(REQUEST,))
    (problem,) = problems(view)
    assert "what its function gave cannot be read" in problem
    with pytest.raises(CannotCompute, match="cannot be read") as refused:
        OnDemandView(view).compute({"number": [1, 2]}, 2)
    assert not refused.value.clients_fault


@pytest.mark.parametrize(("known", "broken", "clients"), [([1, 2], 1, False), ([1, None], None, True), ([None, 1], 1, False)])
def test_an_error_on_complete_values_of_the_stores_own_is_the_functions(known, broken, clients):
    def function(inputs):
        if broken in inputs["known"]:
            raise RuntimeError("broken")
        return {"out": [1] * len(inputs["known"])}

    view = OnDemandView(view_of(function, sources=[SOURCE]))
    with pytest.raises(CannotCompute) as refused:
        view.compute({"source__known": known}, 2)
    assert refused.value.clients_fault is clients


def test_a_function_that_the_registry_cannot_give_back_is_found():
    """Feast keeps a function's own text: the module around it is gone when a server gets it."""

    def function(inputs):
        return {"out": [math.floor(number) for number in inputs["number"]]}

    view = view_of(function)
    view.infer_features()  # as `feast apply` does
    (problem,) = problems(view)
    assert "name 'math' is not defined" in problem
    assert "import what it needs inside it" in problem


def test_a_function_that_imports_what_it_needs_has_no_problem():
    def function(inputs):
        import math  # noqa: PLC0415

        return {"out": [math.floor(number) for number in inputs["number"]]}

    assert problems(view_of(function)) == []


@pytest.mark.parametrize(
    ("options", "said"),
    [({"write_to_online_store": True}, "write_to_online_store"), ({"mode": "substrait"}, "mode 'substrait'")],
)
def test_what_the_server_does_not_compute_is_found(options, said):
    def function(inputs):
        return {"out": inputs["number"]}

    if options.get("mode") == "substrait":
        view = view_of(function)
        view.mode = "substrait"
    else:
        view = view_of(function, **options)
    assert any(said in problem for problem in problems(view))


def test_a_function_may_give_fewer_bits_than_its_view_declares():
    """`dt.year` is of 32 bits; every one of these is a whole number of 64."""

    def function(inputs):
        return pd.to_datetime(inputs["at"], utc=True).dt.year.to_frame("out")

    asked = RequestSource(name="asked", schema=[Field(name="at", dtype=UnixTimestamp)])
    view = view_of(function, sources=[asked], mode="pandas")
    assert problems(view) == []
    assert OnDemandView(view).compute({"at": [datetime(2001, 2, 3, tzinfo=UTC)]}, 1) == {"out": [2001]}


def over_the_rows(body):
    """An on-demand view in pandas with a function of this expression."""
    text = f"def function(inputs):\n    return pd.DataFrame({{'out': {body}}})\n"
    return rebuilt(text, "pandas", Float64)


def rebuilt(text, mode, dtype, sources=(SOURCE,)):
    namespace = {"pd": pd, "np": np}
    exec(text, namespace)
    kind = PandasTransformation if mode == "pandas" else PythonTransformation
    return OnDemandFeatureView(
        name="function",
        schema=[Field(name="out", dtype=dtype)],
        sources=list(sources),
        mode=mode,
        feature_transformation=kind(udf=namespace["function"], udf_string=text),
    )


@pytest.mark.parametrize(
    "body",
    [
        "inputs['known'] - inputs['known'].mean()",
        "inputs['known'] / inputs['known'].max()",
        "inputs['known'].cumsum().astype('float64')",
        "inputs['known'].rank()",
        "inputs.index.astype('float64')",
        "inputs['known'].shift(1, fill_value=0).astype('float64')",
        "inputs['known'].sort_values().to_numpy(dtype='float64')",
        "inputs['known'].drop_duplicates().astype('float64')",
        "inputs['known'].duplicated().astype('float64')",
        "[float(len(inputs))] * len(inputs)",
    ],
)
def test_a_function_whose_value_depends_on_who_else_is_asked_for_is_found(body):
    (problem,) = problems(over_the_rows(body))
    assert "'out'" in problem
    assert "one by one, but not together" in problem or ("alone and" in problem and "known=" in problem)


@pytest.mark.parametrize(
    "body",
    [
        "inputs['known'] * 1.5",
        "np.log1p(inputs['known'])",
        "inputs['known'].where(inputs['known'] > 5).astype('float64')",
        "inputs['known'].map({1: 0.5, 3: 0.25})",
        "(pd.Timestamp.now() - pd.to_datetime(inputs['known'], unit='D')).dt.total_seconds()",
        "np.random.default_rng().random(len(inputs))",
        "inputs[['known'] * 17].sum(axis=1) * 0.1",
        "[1.0 / one for one in inputs['known']]",
    ],
)
def test_a_function_of_its_row_alone_has_no_problem(body):
    assert problems(over_the_rows(body)) == []


def test_a_function_of_vectors_of_one_length_has_no_problem():
    text = """def function(inputs):
        return {"out": np.stack(inputs["embedding"]).mean(axis=1).tolist()}
    """
    source = RequestSource(name="asked", schema=[Field(name="number", dtype=Int64)])
    vectors = FeatureView(
        name="vectors", entities=[], ttl=timedelta(0), schema=[Field(name="embedding", dtype=Array(Float64))], source=SOURCE.batch_source
    )
    assert problems(rebuilt(text, "python", Float64, sources=(source, vectors))) == []


def test_a_function_is_tried_with_the_join_keys_that_a_server_gives_it():
    text = "def function(inputs):\n    return {'out': [key + known for key, known in zip(inputs['id'], inputs['known'], strict=True)]}\n"
    assert problems(rebuilt(text, "python", Int64), {"source": [["id", "Int64"]]}) == []


def test_a_type_that_the_view_does_not_declare_is_found_on_any_sample():
    def function(inputs):
        return {"out": [number / 2 if number > 3 else number for number in inputs["number"]]}

    (problem,) = problems(view_of(function))
    assert problem == "its function gave a float for 'out', which is Int64"


def test_a_check_ends_where_the_function_does_not(monkeypatch):
    monkeypatch.setattr(function_check, "SECONDS", 0.2)
    let_go = threading.Event()
    monkeypatch.setattr(function_check, "_problem", lambda *_: let_go.wait(20))

    def function(inputs):
        return {"out": inputs["number"]}

    try:
        (problem,) = problems(view_of(function, name="hangs"))
        assert "does not end within 0.2 s" in problem
        checks = [thread for thread in threading.enumerate() if thread.name == "on-demand-check"]
        assert checks
        assert all(thread.daemon for thread in checks), "the process must end without it"
    finally:
        let_go.set()


def test_a_function_is_checked_once_until_its_definition_changes(monkeypatch):
    checked = []
    monkeypatch.setattr(function_check, "_problem", lambda spec, _: checked.append(spec))
    text = "def function(inputs):\n    return {'out': inputs['known'], 'checked': 'once'}\n"
    for _ in range(3):
        assert problems(rebuilt(text, "python", Int64)) == []
    assert len(checked) == 1
    assert problems(rebuilt(text, "python", Float64)) == []
    assert len(checked) == 2


def test_who_finds_no_thread_in_time_is_told_to_ask_again(monkeypatch):
    monkeypatch.setattr(on_demand, "WAITING_SECONDS", 0.1)
    monkeypatch.setattr(on_demand, "MOST_WAITING", 3)
    go_on = threading.Event()

    def function(inputs):
        assert go_on.wait(20)
        return {"out": inputs["number"]}

    async def asked():
        transformer = Transformer([view_of(function)])
        calls = [asyncio.create_task(transformer.compute("function", {"number": [1]}, {}, 1)) for _ in range(on_demand.THREADS + 4)]
        busy = [await asyncio.gather(call, return_exceptions=True) for call in calls[on_demand.THREADS :]]
        go_on.set()
        done = await asyncio.gather(*calls[: on_demand.THREADS])
        again = await transformer.compute("function", {"number": [2]}, {}, 1)
        return [str(type(one).__name__) + ": " + str(one) for (one,) in busy], done, again

    busy, done, again = asyncio.run(asked())
    assert [one for one in busy if "within 0.1 s" in one] == busy[:3]
    assert "3 requests wait for on-demand functions already" in busy[3]
    assert len(done) == on_demand.THREADS
    assert Value.FromString(again["out"][0]).int64_val == 2, "the threads are free again"


def test_others_go_on_while_a_function_works():
    waiting, go_on = threading.Event(), threading.Event()

    def function(inputs):
        waiting.set()
        assert go_on.wait(10), "the event loop stood still"
        return {"out": inputs["number"]}

    async def both():
        transformer = Transformer([view_of(function)])
        work = asyncio.create_task(transformer.compute("function", {"number": [1]}, {}, 1))
        assert await asyncio.to_thread(waiting.wait, 10)
        go_on.set()
        return await work

    assert asyncio.run(both()) == {"out": [Value(int64_val=1).SerializeToString()]}


def test_a_function_that_hangs_fails_its_request_alone(monkeypatch):
    monkeypatch.setattr(on_demand, "SECONDS", 0.05)
    go_on = threading.Event()

    def function(inputs):
        if inputs["number"] == [0]:
            go_on.wait(10)
        return {"out": inputs["number"]}

    async def asked():
        transformer = Transformer([view_of(function)])
        with pytest.raises(CannotCompute, match="takes longer than"):
            await transformer.compute("function", {"number": [0]}, {}, 1)
        monkeypatch.setattr(on_demand, "SECONDS", 10)
        after = await transformer.compute("function", {"number": [5]}, {}, 1)
        go_on.set()
        return after

    assert Value.FromString(asyncio.run(asked())["out"][0]).int64_val == 5


def test_functions_that_never_end_give_way_to_others_until_only_a_restart_helps(monkeypatch):
    monkeypatch.setattr(on_demand, "SECONDS", 0.3)
    let_go = threading.Event()

    def function(inputs):
        if inputs["number"] == [0]:
            assert let_go.wait(20)
        return {"out": inputs["number"]}

    async def healths():
        transformer = Transformer([view_of(function)])
        server = FeatureServer(None, Metrics())
        server.transformer = transformer
        health = Request(0.0)
        health.method, health.path = b"GET", b"/health"
        found = []

        async def ask(number):
            return await transformer.compute("function", {"number": [number]}, {}, 1)

        async def hang():
            with pytest.raises(CannotCompute, match="its function takes longer than"):
                await ask(0)

        def look():
            server.handle(health, lambda status, body, *_: found.append((status, body)))

        try:
            for _ in range(on_demand.MOST_REPLACED):
                await asyncio.gather(*(hang() for _ in range(on_demand.THREADS)))
                look()
                monkeypatch.setattr(on_demand, "SECONDS", 10)
                assert Value.FromString((await ask(5))["out"][0]).int64_val == 5, "no thread is left for it"
                monkeypatch.setattr(on_demand, "SECONDS", 0.3)
            await asyncio.gather(*(hang() for _ in range(on_demand.THREADS)))
            look()
            monkeypatch.setattr(on_demand, "WAITING_SECONDS", 0.05)
            with pytest.raises(Busy, match="no thread was free for an on-demand function within"):
                await ask(5)
        finally:
            let_go.set()
        while transformer.stuck:  # noqa: ASYNC110  a thread ends, no task
            await asyncio.sleep(0.01)
        look()
        return found

    *alive, stuck, again = asyncio.run(healths())
    assert {status for status, _ in alive} == {200}
    assert stuck[0] == 503, "the kubelet must restart it"
    assert b"on-demand functions that do not end hold all threads" in stuck[1]
    assert again[0] == 200, "they did end"
