"""The plan: plain data in, what to read and in which order to answer out; what cannot be served is refused by name."""

import copy
import json
import subprocess
import sys
import time
import tracemalloc

import pytest
from feast.infra.online_stores.helpers import _mmh3

from feature_runtime.serving.decoding import WrongType, event_time
from feature_runtime.serving.plan import Plan
from feature_runtime.serving.question import PlanRefused
from feature_runtime.serving.refused import MOST_ERRORS, Refused

DESCRIPTION = {
    "project": "shop",
    "definitions_sha256": "0" * 64,
    "entity_key_version": 3,
    "views": {
        "customers": {
            "kind": "stored",
            "stored_as": "customers",
            "join_keys": [["customer_id", "Int64"]],
            "features": [["age", "Int64"], ["score", "Float32"]],
            "ttl_seconds": 60,
            "version": 0,
        },
        "world": {
            "kind": "stored",
            "stored_as": "world_v2",
            "join_keys": [],
            "features": [["rate", "Float32"]],
            "ttl_seconds": 0,
            "version": 2,
        },
        "risk": {
            "kind": "on_demand",
            "features": [["low", "Float64"], ["high", "Float64"]],
            "inputs": [["customers", "score", "Float32"], ["world", "rate", "Float32"]],
            "request": [["amount", "Float64"]],
            "version": 0,
        },
    },
    "services": {
        "v1": {
            "features": [["world", "rate", "Float32"], ["me", "score", "Float32"], ["me", "age", "Int64"]],
            "sha256": "1" * 64,
            "projections": {
                "world": {"view": "world", "join_key_map": {}},
                "me": {"view": "customers", "join_key_map": {"customer_id": "my_id"}},
            },
        },
        "v2": {
            "features": [["risk", "high", "Float64"], ["customers", "age", "Int64"]],
            "sha256": "2" * 64,
            "projections": {"risk": {"view": "risk", "join_key_map": {}}, "customers": {"view": "customers", "join_key_map": {}}},
        },
    },
    "unserved": {"old": "it is disabled in the registry"},
}


@pytest.fixture
def description():
    return copy.deepcopy(DESCRIPTION)


@pytest.fixture
def plan(description):
    return Plan(json.loads(json.dumps(description)))


def names(question):
    return [column.name for column in (*question.entities, *question.columns)]


def test_a_service_reads_each_view_once_and_answers_in_the_contracts_order(plan):
    question = plan.of_service("v1")
    assert names(question) == ["my_id", "rate", "score", "age"]
    assert [(read.view, read.columns, read.ttl_seconds) for read in question.reads] == [("world", (), 0), ("customers", ("my_id",), 60)]
    assert [(column.rows, column.position) for column in question.columns] == [(0, 1), (1, 1), (1, 2)]
    assert question.reads[1].fields == (b"_ts:customers", _mmh3("customers:score"), _mmh3("customers:age"))
    assert question.reads[0].fields == (b"_ts:world_v2", _mmh3("world_v2:rate")), "where Feast stores a version of a view"
    assert names(plan.of_service("v1", full_names=True)) == ["my_id", "world__rate", "me__score", "me__age"]


def test_the_command_is_redis_own(plan):
    read = plan.of_service("v1").reads[0]
    (key,) = read.keys.of([[""]])
    command = read.head + b"%d\r\n" % len(key) + key + read.tail
    words = [b"HMGET", key, *read.fields]
    assert command == b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%b\r\n" % (len(word), word) for word in words)


def test_inputs_of_an_on_demand_view_are_read_and_not_answered(plan):
    question = plan.of_service("v2")
    assert names(question) == ["customer_id", "high", "age"]
    (risk,) = question.on_demand
    assert risk.inputs == (("customers__score", 0, 1, "Float32"), ("world__rate", 1, 1, "Float32"))
    assert [column.name for column in question.request_data] == ["amount"]
    assert question.names == {"customer_id", "amount"}
    assert (question.columns[0].rows, question.columns[0].position) == (2, 1), "after the rows of both reads"
    assert question.reads[0].fields[1:] == (_mmh3("customers:score"), _mmh3("customers:age")), "one read for inputs and answers"


def test_features_come_in_the_order_of_the_request(plan):
    assert names(plan.of_features(["customers:score", "world:rate", "customers:age"])) == ["customer_id", "score", "rate", "age"]


def test_a_question_is_worked_out_once_and_not_for_ever(plan):
    refs = ["customers:score"]
    assert plan.of_features(refs) is plan.of_features(list(refs))
    assert plan.of_features(refs) is not plan.of_features(refs, full_names=True)
    known = len(plan._of_features)
    with pytest.raises(Refused):
        plan.of_features(["customers:1"])
    assert len(plan._of_features) == known, "a list that is refused is not kept"


def wide(description, count):
    """The plan of one view with so many features, and its list of them."""
    features = [[f"feature_{number:04}", "Float64"] for number in range(count)]
    description["views"]["wide"] = description["views"]["customers"] | {"features": features}
    return Plan(description), [f"wide:{name}" for name, _ in features]


def test_lists_of_features_never_hold_more_than_they_may(description, monkeypatch):
    most = 1 << 20
    monkeypatch.setattr("feature_runtime.serving.plan.MEMORIZED_BYTES", most)
    plan, refs = wide(description, 200)
    tracemalloc.start()
    try:
        for number in range(30):
            last = plan.of_features([*refs[number:], *refs[:number]])
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert 0.5 * most < held < 1.5 * most
    assert plan.of_features([*refs[29:], *refs[:29]]) is last, "the newest are kept"


def test_a_list_costs_as_much_as_its_features_not_as_their_square(description):
    def seconds(count):
        plan, refs = wide(copy.deepcopy(description), count)
        tries = []
        for _ in range(5):
            refs = refs[1:] + refs[:1]
            started = time.process_time()
            plan.of_features(refs)
            tries.append(time.process_time() - started)
        return min(tries)

    assert seconds(4_000) < 25 * seconds(500), "eight times as many; with every pair of them it would be 64 times as long"


def test_what_is_not_there_is_told_with_what_is(plan):
    with pytest.raises(Refused) as unknown:
        plan.of_service("v3")
    assert (unknown.value.status, unknown.value.errors[0]["remedy"]) == (404, "There is v1, v2.")
    with pytest.raises(Refused, match="'old' is not served: it is disabled"):
        plan.of_features(["old:x"])
    with pytest.raises(Refused) as unknown:
        plan.of_features(["customers:age", "customers", "x:y"])
    assert (unknown.value.status, [error["field"] for error in unknown.value.errors]) == (422, ["features[1]", "features[2]"])


def test_many_mistakes_in_wide_views_are_told_by_the_first(description):
    features = [f"feature_{number}" for number in range(2_000)]
    description["views"] |= {
        f"wide_{number}": description["views"]["world"] | {"features": [[name, "Int64"] for name in features]} for number in range(30)
    }
    plan = Plan(description)
    with pytest.raises(Refused) as refused:
        plan.of_features([f"wide_0:{number}" for number in range(50_000)])
    assert [error["field"] for error in refused.value.errors] == [f"features[{number}]" for number in range(MOST_ERRORS)]
    assert refused.value.errors[0]["remedy"] == f"It has {', '.join(features[:20])} and 1980 more."
    assert len(json.dumps(refused.value.errors)) < 20_000
    with pytest.raises(Refused, match="wide_24 and 13 more") as refused:
        plan.of_features([f"{number}:x" for number in range(50_000)])
    assert len(refused.value.errors) == MOST_ERRORS
    with pytest.raises(Refused, match="would be called 'feature_0'") as refused:
        plan.of_features(["wide_0:feature_0"] * 50_000)
    assert len(refused.value.errors) == MOST_ERRORS


def test_more_features_than_there_are_is_one_mistake(plan):
    with pytest.raises(Refused, match="170000 features are named, and there are 5") as refused:
        plan.of_features(["w:x"] * 170_000)
    assert (refused.value.status, len(refused.value.errors)) == (422, 1)


def test_what_is_repeated_to_the_client_is_cut(plan):
    for ask in (lambda: plan.of_service("x" * 100_000), lambda: plan.of_features([f"customers:{'x' * 100_000}"])):
        with pytest.raises(Refused) as refused:
            ask()
        assert len(str(refused.value)) < 300
        assert len(json.dumps(refused.value.errors)) < 600


def change(description, path, value):
    *way, last = path
    for step in way:
        description = description[step]
    description[last] = value


REFUSED = {
    "a key that Feast cannot make": (
        ["views", "customers", "join_keys"],
        [["customer_id", "Float64"]],
        "'my_id' of 'customers' is a Float64, which Feast cannot make keys of",
    ),
    "a type that nobody knows": (["views", "customers", "features", 0, 1], "Complex", "me:age: 'Complex' is no type"),
    "a feature that the view lost": (["views", "customers", "features"], [["score", "Float32"]], "'customers' has no feature 'age'"),
    "a view that is gone": (["views", "world", "kind"], "stored", None),
    "keys of an old form": (["entity_key_version"], 2, "must be 3"),
    "two columns of one name": (["views", "world", "features"], [["age", "Float32"]], "has no feature 'rate'"),
    "a key called like a full name": (
        ["services", "v1", "projections", "me", "join_key_map"],
        {"customer_id": "me__age"},
        "two columns would be called me__age",
    ),
    "a request value called like a full name": (
        ["views", "risk", "request"],
        [["risk__high", "Float64"]],
        "two columns would be called risk__high",
    ),
    "a request value without a form in JSON": (["views", "risk", "request"], [["amount", "Map"]], "'amount', a Map"),
}


def test_a_key_called_like_a_feature_can_be_asked_with_full_names_only(description):
    description["services"]["v1"]["projections"]["me"]["join_key_map"] = {"customer_id": "age"}
    plan = Plan(description)
    assert names(plan.of_service("v1", full_names=True)) == ["age", "world__rate", "me__score", "me__age"]
    with pytest.raises(Refused, match="two columns of the answer would be called age") as refused:
        plan.of_service("v1")
    assert refused.value.status == 422
    said = {name: service.get("full_feature_names") for name, service in json.loads(plan.contract)["services"].items()}
    assert said == {"v1": True, "v2": None}


def test_one_name_for_two_rows_is_refused(description):
    description["views"]["risk"]["sources"] = {"customers": {"view": "customers", "join_key_map": {"customer_id": "payer_id"}}}
    with pytest.raises(PlanRefused, match="'v2': 'customers' is read by payer_id and by customer_id under one name; give one use another"):
        Plan(description)


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_served_is_refused_by_name(description, name):
    path, value, message = REFUSED[name]
    change(description, path, value)
    if message is None:
        del description["views"]["world"]
        message = "feature service 'v1': the view 'world' cannot be served: the registry does not have it"
    with pytest.raises(PlanRefused, match=message):
        Plan(description)


def test_a_time_of_more_nanoseconds_than_a_second_has_is_no_time():
    assert event_time(b"\x08\x01\x10\x01") == (1, 1, "1970-01-01T00:00:01.000000001Z")
    for nanos in (b"\xff" * 9 + b"\x01", b"\x80\x94\xeb\xdc\x03"):  # -1, and 10**9
        with pytest.raises(WrongType):
            event_time(b"\x08\x01\x10" + nanos)


def test_planning_and_answering_do_not_need_feast():
    code = "import sys; from feature_runtime.serving import answer, http, plan, requests; sys.exit('feast' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], env={"PYTHONPATH": "runtime"}, check=False).returncode == 0
