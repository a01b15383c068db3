"""One name for several features: two roles of one view, two views, outputs called like inputs; served and trained as stock Feast does."""

import json
import math
import textwrap
import urllib.error
import urllib.request
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import redis
from feast import FeatureStore
from feast.protos.feast.serving.ServingService_pb2 import GetOnlineFeaturesRequest
from feast.protos.feast.serving.ServingService_pb2_grpc import ServingServiceStub
from feast.protos.feast.types.Value_pb2 import RepeatedValue, Value

from bench.stores import redis_server
from feature_runtime import contract
from feature_runtime.definitions.describing import contract_of_definitions
from feature_runtime.definitions.feature_repo import load_definitions
from feature_runtime.refusal import Refusal
from tests.runtime.conftest import run_verb
from tests.runtime.serving.people import Served, serving

NOW = datetime.now(UTC).replace(microsecond=0)
HEAD = """
from datetime import timedelta

import pandas as pd
from feast import Entity, FeatureService, FeatureView, Field, FileSource, RequestSource, ValueType
from feast.on_demand_feature_view import on_demand_feature_view
from feast.types import Float64, Int64, String

user = Entity(name="user", join_keys=["user_id"], value_type=ValueType.INT64)
profiles = FileSource(name="profiles", path="data/profiles.parquet", timestamp_field="at")
visits = FileSource(name="visits", path="data/visits.parquet", timestamp_field="at")
profile = FeatureView(name="profile", entities=[user], ttl=timedelta(days=30), source=profiles,
    schema=[Field(name="user_id", dtype=Int64), Field(name="age", dtype=Int64), Field(name="rating", dtype=Float64)])
visit = FeatureView(name="visit", entities=[user], ttl=timedelta(days=30), source=visits,
    schema=[Field(name="user_id", dtype=Int64), Field(name="rating", dtype=Float64), Field(name="pages", dtype=Int64)])
again = FeatureView(name="again", entities=[user], ttl=timedelta(days=30), source=profiles,
    schema=[Field(name="user_id", dtype=Int64), Field(name="rating", dtype=Float64)])
asked = RequestSource(name="asked", schema=[Field(name="amount", dtype=Float64)])
"""
DEFINITIONS = f"""{HEAD}
@on_demand_feature_view(sources=[profile, asked], schema=[Field(name="age", dtype=Int64), Field(name="amount", dtype=Float64)])
def older(inputs: pd.DataFrame) -> pd.DataFrame:
    out = pd.DataFrame()
    out["age"] = inputs["age"].fillna(0).astype("int64") + 1000
    out["amount"] = inputs["amount"] * 2
    return out


@on_demand_feature_view(sources=[profile, asked], schema=[Field(name="age", dtype=Int64), Field(name="amount", dtype=Float64)],
    mode="python")
def older_too(inputs):
    return {{"age": [None if age is None else age + 1000 for age in inputs["age"]], "amount": [amount * 2 for amount in inputs["amount"]]}}


@on_demand_feature_view(sources=[profile, asked], schema=[Field(name="age", dtype=Int64), Field(name="amount", dtype=Float64)],
    mode="python", singleton=True)
def older_one(inputs):
    return {{"age": None if inputs["age"] is None else inputs["age"] + 1000, "amount": inputs["amount"] * 2}}


@on_demand_feature_view(sources=[profile], schema=[Field(name="age", dtype=Int64), Field(name="next_age", dtype=Int64)], mode="python")
def passed_on(inputs):
    return {{"next_age": [None if age is None else age + 1 for age in inputs["age"]]}}


@on_demand_feature_view(sources=[profile], schema=[Field(name="born", dtype=Int64, description="in which year", tags={{"of": "people"}})])
def described(inputs: pd.DataFrame) -> pd.DataFrame:
    return pd.DataFrame({{"born": 2026 - inputs["age"]}})


@on_demand_feature_view(sources=[profile.with_name("seller").with_join_key_map({{"user_id": "seller_id"}})],
    schema=[Field(name="sellers_age", dtype=Int64)], mode="python")
def sellers(inputs):
    return {{"sellers_age": [None if age is None else age + 1 for age in inputs["age"]]}}


@on_demand_feature_view(sources=[profile, visit], schema=[Field(name="ratio", dtype=Float64)])
def by_full_names(inputs: pd.DataFrame) -> pd.DataFrame:
    return pd.DataFrame({{"ratio": inputs["profile__rating"] / inputs["visit__rating"]}})


@on_demand_feature_view(sources=[profile, again], schema=[Field(name="double", dtype=Float64)])
def of_one_column(inputs: pd.DataFrame) -> pd.DataFrame:
    return pd.DataFrame({{"double": inputs["rating"] * 2}})


roles_v1 = FeatureService(name="roles_v1", features=[
    profile[["age", "rating"]].with_name("buyer").with_join_key_map({{"user_id": "buyer_id"}}),
    profile[["age", "rating"]].with_name("seller").with_join_key_map({{"user_id": "seller_id"}})])
views_v1 = FeatureService(name="views_v1", features=[profile, visit])
computed_v1 = FeatureService(name="computed_v1", features=[profile[["age"]], older, older_too.with_name("other")])
pandas_v1 = FeatureService(name="pandas_v1", features=[older])
python_v1 = FeatureService(name="python_v1", features=[older_too])
one_v1 = FeatureService(name="one_v1", features=[older_one])
passed_v1 = FeatureService(name="passed_v1", features=[passed_on])
described_v1 = FeatureService(name="described_v1", features=[described])
sellers_v1 = FeatureService(name="sellers_v1", features=[profile[["rating"]], sellers])
full_v1 = FeatureService(name="full_v1", features=[by_full_names])
column_v1 = FeatureService(name="column_v1", features=[of_one_column])
"""
ROLES = {"buyer_id": [1, 2], "seller_id": [2, 9]}
USERS = {"user_id": [1, 2, 9]}
PAID = USERS | {"amount": [1.5, 2.5, 3.5]}
COLLIDING = {"roles_v1": ROLES, "views_v1": USERS, "computed_v1": PAID}
PLAIN = {
    "pandas_v1": PAID,
    "python_v1": PAID,
    "one_v1": PAID,
    "passed_v1": USERS,
    "full_v1": USERS,
    "column_v1": USERS,
    "described_v1": USERS,
    "sellers_v1": {"user_id": [1, 2], "seller_id": [2, 9]},
}
VECTORS = {
    "roles_v1": {"buyer__age": [31, 42], "buyer__rating": [0.5, 0.25], "seller__age": [42, None], "seller__rating": [0.25, None]},
    "views_v1": {
        "profile__age": [31, 42, None],
        "profile__rating": [0.5, 0.25, None],
        "visit__rating": [5.0, 10.0, None],
        "visit__pages": [7, 8, None],
    },
    "computed_v1": {
        "profile__age": [31, 42, None],
        "older__age": [1031, 1042, 1000],
        "older__amount": [3.0, 5.0, 7.0],
        "other__age": [1031, 1042, None],
        "other__amount": [3.0, 5.0, 7.0],
    },
    "pandas_v1": {"age": [1031, 1042, 1000], "amount": [3.0, 5.0, 7.0]},
    "python_v1": {"age": [1031, 1042, None], "amount": [3.0, 5.0, 7.0]},
    "one_v1": {"age": [1031, 1042, None], "amount": [3.0, 5.0, 7.0]},
    "passed_v1": {"age": [31, 42, None], "next_age": [32, 43, None]},
    "described_v1": {"born": [1995, 1984, None]},
    "sellers_v1": {"rating": [0.5, 0.25], "sellers_age": [43, None]},
    "full_v1": {"ratio": [0.1, 0.025, None]},
    "column_v1": {"double": [1.0, 0.5, None]},
}


def write_repo(directory: Path, definitions: str, port: int = 6379) -> Path:
    repo = directory / "feature_repo"
    (repo / "data").mkdir(parents=True)
    (repo / "definitions.py").write_text(definitions)
    (repo / "feature_store.yaml").write_text(
        textwrap.dedent(f"""\
        project: names
        provider: local
        registry: {repo}/data/registry.db
        online_store: {{type: feature_runtime.online_store.PipelinedRedisOnlineStore, connection_string: "127.0.0.1:{port}"}}
        offline_store: {{type: file}}
        entity_key_serialization_version: 3
        """)
    )
    known = {"user_id": pa.array([1, 2], pa.int64()), "at": pa.array([NOW - timedelta(hours=1)] * 2, pa.timestamp("us", "UTC"))}
    pq.write_table(pa.table({**known, "age": [31, 42], "rating": [0.5, 0.25]}), repo / "data" / "profiles.parquet")
    pq.write_table(pa.table({**known, "pages": [7, 8], "rating": [5.0, 10.0]}), repo / "data" / "visits.parquet")
    return repo


@dataclass
class Deployed:
    repo: Path
    server: Served

    def verb(self, *arguments: str) -> dict[str, Any]:
        replica = {"FEATURE_SERVER_REPLICAS": "127.0.0.1", "FEATURE_SERVER_PORT": str(self.server.port)}
        return run_verb(list(arguments), {"FEATURE_REPO_DIR_ENV_VAR": str(self.repo), **replica}, self.repo).ok()

    def ask(self, service: str, entities: dict[str, list[Any]], **more: Any) -> tuple[int, dict[str, Any]]:
        body = json.dumps({"feature_service": service, "entities": entities, **more}).encode()
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.server.port}/get-online-features", body, {"Content-Type": "application/json"}
        )
        try:
            with urllib.request.urlopen(request, timeout=20) as response:
                return 200, json.load(response)
        except urllib.error.HTTPError as error:
            return error.code, json.load(error)

    def trained(self, service: str, entities: dict[str, list[Any]]) -> pa.Table:
        labels, output = self.repo.parent / f"{service}-labels.parquet", self.repo.parent / f"{service}.parquet"
        count = len(next(iter(entities.values())))
        pq.write_table(pa.table({**entities, "event_timestamp": pa.array([NOW] * count, pa.timestamp("us", "UTC"))}), labels)
        self.verb("train-set", "--service", service, "--labels", str(labels), "--output", str(output), "--overwrite")
        return pq.read_table(output)


@pytest.fixture(scope="module")
def deployed(tmp_path_factory):
    with redis_server(tmp_path_factory.mktemp("redis")) as port:
        redis.Redis(port=port).flushall()
        repo = write_repo(tmp_path_factory.mktemp("names"), DEFINITIONS, port)
        for verb in (["lock"], ["apply"], ["materialize", "--backfill"]):
            run_verb(verb, {"FEATURE_REPO_DIR_ENV_VAR": str(repo)}, repo).ok()
        with serving(repo, drain=False) as server:
            yield Deployed(repo, server)


def vectors(answer: dict[str, Any], keys: dict[str, list[Any]]) -> dict[str, list[Any]]:
    columns = zip(answer["metadata"]["feature_names"], answer["results"], strict=True)
    return {name: column["values"] for name, column in columns if name not in keys or name == "amount"}


@pytest.mark.parametrize("service", COLLIDING)
def test_a_service_whose_names_collide_is_served_with_full_names_only(deployed, service):
    status, refused = deployed.ask(service, COLLIDING[service])
    assert (status, refused["errors"][0]["field"]) == (422, "full_feature_names")
    assert refused["errors"][0]["remedy"] == "Send `full_feature_names: true`."
    status, answer = deployed.ask(service, COLLIDING[service], full_feature_names=True)
    assert (status, vectors(answer, COLLIDING[service])) == (200, VECTORS[service])


def test_grpc_says_the_same(deployed):
    entities = {name: RepeatedValue(val=[Value(int64_val=key) for key in keys]) for name, keys in ROLES.items()}
    with grpc.insecure_channel(f"127.0.0.1:{deployed.server.grpc_port}") as channel:
        ask = ServingServiceStub(channel).GetOnlineFeatures
        with pytest.raises(grpc.RpcError, match="full_feature_names: true") as refused:
            ask(GetOnlineFeaturesRequest(feature_service="roles_v1", entities=entities))
        assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        answer = ask(GetOnlineFeaturesRequest(feature_service="roles_v1", entities=entities, full_feature_names=True))
    assert list(answer.metadata.feature_names.val) == ["buyer_id", "seller_id", *VECTORS["roles_v1"]]
    assert [value.int64_val for value in answer.results[2].values] == [31, 42]


def test_the_contract_and_the_lock_say_which_services_need_full_names(deployed):
    with urllib.request.urlopen(f"http://127.0.0.1:{deployed.server.port}/contract", timeout=20) as response:
        served = json.load(response)["services"]
    locked = contract.read(deployed.repo)["services"]
    for services in (served, locked):
        assert {name for name, service in services.items() if service.get("full_feature_names")} == set(COLLIDING)
    assert {name: contract.vector_names(service) for name, service in locked.items()} == {
        name: list(columns) for name, columns in VECTORS.items()
    }


@pytest.mark.parametrize("service", PLAIN)
def test_what_a_function_gives_takes_the_place_of_an_input_of_its_name(deployed, service):
    status, answer = deployed.ask(service, PLAIN[service])
    assert (status, vectors(answer, PLAIN[service])) == (200, VECTORS[service])


# Stock Feast does not apply, and does not read, described fields of an on-demand view, and reads its sources by their own keys only.
@pytest.mark.parametrize("service", [*sorted(PLAIN.keys() - {"described_v1", "sellers_v1"}), "roles_v1", "views_v1"])
def test_stock_feast_answers_the_same(deployed, service):
    store = FeatureStore(str(deployed.repo))
    entities, full_names = (PLAIN | COLLIDING)[service], service in COLLIDING
    known = {name: values[:1] for name, values in entities.items()}
    # Stock has each input of one name under its full name only when it is asked for those; then it drops what it should not.
    full_names = full_names or service == "full_v1"
    answer = store.get_online_features(store.get_feature_service(service), known, full_feature_names=full_names).to_dict()
    found = {name.removeprefix("by_full_names__"): values for name, values in answer.items() if name not in ("user_id", *ROLES)}
    assert found == {name: values[:1] for name, values in VECTORS[service].items()}


@pytest.mark.parametrize("service", VECTORS)
def test_what_is_trained_on_has_the_names_and_the_values_that_are_served(deployed, service):
    entities = (COLLIDING | PLAIN)[service]
    table = deployed.trained(service, entities)
    assert {name: table[name].to_pylist() for name in VECTORS[service]} == VECTORS[service]
    assert table.column_names[-len(VECTORS[service]) :] == list(VECTORS[service])
    assert len(set(table.column_names)) == len(table.column_names), "a request's value of the same name has gone"
    said = json.loads(table.schema.metadata[b"feature_contract"])
    assert said.get("full_feature_names", False) is (service in COLLIDING)


def test_smoke_and_skew_ask_as_models_must(deployed):
    smoke = deployed.verb("smoke", "--wait-seconds", "60")["services"]
    assert {name: [feature for feature, _ in service["features"]] for name, service in smoke.items()} == {
        name: list(columns) for name, columns in VECTORS.items()
    }
    skew = deployed.verb("skew")["services"]
    assert all(service["compared"] and not service["differing"] for service in skew.values()), skew


def test_fields_of_on_demand_views_may_have_a_description_and_tags(deployed):
    locked = contract.read(deployed.repo)["on_demand_views"]["described"]
    assert locked["settings"] == {"born": {"tags": {"of": "people"}}}
    assert deployed.verb("apply")["changes"] == []
    assert not [
        finding
        for finding in deployed.verb("check", "--against", "registry")["findings"]
        if finding["object"].startswith("views.described.")
    ]


def refusal(tmp_path, definitions):
    with pytest.raises(Refusal) as refused:
        load_definitions(write_repo(tmp_path, HEAD + definitions))
    return str(refused.value)


@pytest.mark.parametrize(
    ("decorator", "body", "said"),
    [
        (
            'sources=[profile, visit], mode="python"',
            '{"out": inputs["rating"]}',
            "which is profile__rating and visit__rating: Feast gives it one when it serves and another when it trains. Read 'profile__rating' or",
        ),
        (
            "sources=[profile, visit]",
            'pd.DataFrame({"out": inputs["rating"] * 2})',
            "its function reads 'rating', which is profile__rating and visit__rating",
        ),
        (
            'sources=[profile, RequestSource(name="own", schema=[Field(name="rating", dtype=Float64)])]',
            'pd.DataFrame({"out": inputs["rating"] * 2})',
            "its function reads 'rating', which is rating and profile__rating: Feast",
        ),
        (
            "sources=[profile, profile.with_name('other')]",
            'pd.DataFrame({"out": inputs["rating"] * 2})',
            "it has two sources named 'profile', of which Feast keeps the last",
        ),
        (
            "sources=[profile]",
            'pd.DataFrame({"out": inputs["rating"] * inputs["score"]})',
            """'score', at `return pd.DataFrame({"out": inputs["rating"] * inputs["score"]})`). It was given one row: user_id=1, prof""",
        ),
        ("sources=[profile]", "inputs['rating'].tolist()", "its function gave a list, not a DataFrame"),
        ('sources=[profile], mode="python"', "inputs['rating']", "its function gave a list, not a dict"),
    ],
    ids=["in python", "in pandas", "a request's field", "two roles", "no such input", "no frame", "no dict"],
)
def test_a_function_that_cannot_be_given_what_it_reads_is_refused_in_its_own_words(tmp_path, decorator, body, said):
    view = f'@on_demand_feature_view({decorator}, schema=[Field(name="out", dtype=Float64)])\ndef computed(inputs):\n    return {body}\n'
    text = refusal(tmp_path, view)
    assert "the on-demand feature view 'computed'" in text
    assert said in text


@pytest.mark.parametrize(
    ("features", "said"),
    [
        ("profile, profile", "two columns would be called profile__age, profile__rating"),
        (
            'profile.with_name("a"), visit.with_join_key_map({"user_id": "a__rating"})',
            "two columns would be called a__rating",
        ),
    ],
)
def test_columns_that_collide_even_under_full_names_are_refused(tmp_path, features, said):
    assert said in refusal(tmp_path, f'service = FeatureService(name="s_v1", features=[{features}])\n')


def test_one_name_for_two_keys_is_refused(tmp_path):
    roles = ", ".join(f'profile[["{name}"]].with_join_key_map({{"user_id": "{name}_id"}})' for name in ("age", "rating"))
    text = refusal(tmp_path, f'service = FeatureService(name="s_v1", features=[{roles}])\n')
    assert "'s_v1' reads profile by several keys under one name" in text


def test_a_feature_called_like_another_views_key_needs_full_names(tmp_path):
    more = """
rated = Entity(name="rated", join_keys=["rating"], value_type=ValueType.INT64)
ratings = FeatureView(name="ratings", entities=[rated], source=visits,
    schema=[Field(name="rating", dtype=Int64), Field(name="pages", dtype=Int64)])
service = FeatureService(name="s_v1", features=[profile[["rating"]], ratings])
"""
    repo = write_repo(tmp_path, HEAD + more)
    service = contract_of_definitions(repo, load_definitions(repo))["services"]["s_v1"]
    assert service["full_feature_names"]
    assert contract.vector_names(service) == ["profile__rating", "ratings__pages"]


def test_nothing_is_said_of_names_where_none_collide(deployed):
    locked = contract.read(deployed.repo)["services"]
    assert not any("full_feature_names" in locked[name] for name in PLAIN)
    assert math.isclose(VECTORS["full_v1"]["ratio"][0], 0.5 / 5.0)
