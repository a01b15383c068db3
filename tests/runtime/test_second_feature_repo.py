"""A second feature repo through every verb, each with its own rights, without a change of code.

Two entities, one known by a text; a view of both; a file, a folder and a renamed column as sources; arrays and moments;
features computed on demand, in Python and in pandas; a service across all of it.
"""

import json
import math
import os
import shutil
import signal
import urllib.request
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import boto3
import grpc
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from feast import FeatureStore
from feast.feature_server_utils import convert_response_to_dict
from feast.protos.feast.serving.ServingService_pb2 import GetOnlineFeaturesRequest
from feast.protos.feast.serving.ServingService_pb2_grpc import ServingServiceStub
from feast.protos.feast.types.Value_pb2 import RepeatedValue, Value
from feast.repo_config import load_repo_config

from bench.ports import free_port
from tests.second_feature_repo import data
from tests.waiting import wait_until_ready

REPO = Path(data.__file__).parent / "feature_repo"
BUCKET, FOLDER = "features", "second"
ROWS = {
    "card_id": ["card-000", "kärtchen ☂", "0042", "card-017"],
    "merchant_id": [-3, 7_000_000_000, 7, 110],
    "amount": [12.5, 0.0, 1e6, 3.25],
    "country": ["CH", "", "DE", "FR"],
}
ASKED = {
    "fraud_model_v1": ROWS,
    "limit_model_v1": {"card_id": ROWS["card_id"]},
    "checkout_model_v1": {name: ROWS[name] for name in ("card_id", "amount", "country")},
    "transfer_model_v1": {"card_id": ROWS["card_id"], "payee_id": ["0042", "card-001", "card-002", "card-003"]},
}


@dataclass
class Deployed:
    stores: Any
    port: int
    grpc_port: int
    results: dict[str, dict[str, Any]]

    @property
    def lock(self) -> dict[str, Any]:
        return json.loads((self.stores.repo / "contract.lock.json").read_text())

    @property
    def replica(self) -> dict[str, str]:
        return {"FEATURE_SERVER_REPLICAS": "127.0.0.1", "FEATURE_SERVER_PORT": str(self.port), "EXPECTED_REPLICAS": "1"}

    def ask(self, **body: Any) -> dict[str, Any]:
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}/get-online-features",
            data=json.dumps(body).encode(),
            headers={"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=10) as response:
            return json.load(response)


@pytest.fixture(scope="module")
def deployed(tmp_path_factory, new_stores):
    """Prepared, checked, applied, loaded and served, in the order of a roll-out."""
    directory = tmp_path_factory.mktemp("second")
    stores = new_stores(directory)
    shutil.rmtree(stores.repo)
    shutil.copytree(REPO, stores.repo, ignore=shutil.ignore_patterns("__pycache__", "data"))
    stores.bucket = f"{BUCKET}/{FOLDER}"
    yaml = stores.feature_store_yaml().replace("project: employee_attrition", "project: card_payments")
    assert "card_payments" in yaml
    (stores.repo / "feature_store.yaml").write_text(yaml)
    upload(directory / "data", stores.offline_environment())

    results = {
        "prepare-registry": stores.prepare_registry().ok(),
        "lock": stores.run(["lock", "--check"], stores.environment("apply")).ok(),
    }
    results["check"] = stores.check("--against", "registry", "--sources", **stores.offline_environment()).ok()
    results["apply"] = stores.apply().ok()
    results["materialize"] = stores.materialize("--backfill").ok()
    results["again"] = stores.check("--against", "registry").ok()
    port, grpc_port = free_port(), free_port()
    ports = ("--port", port, "--grpc-port", grpc_port, "--metrics-port", free_port())
    running = stores.start_afresh(["serve", *map(str, ports)], stores.environment("serve"))
    try:
        wait_until_ready(port, running.pid, running.err)
        yield Deployed(stores, port, grpc_port, results)
    finally:
        os.killpg(running.pid, signal.SIGKILL)
        os.waitpid(running.pid, 0)


def upload(directory: Path, environment: dict[str, str]) -> None:
    data.write(directory)
    s3 = boto3.client(
        "s3",
        endpoint_url=environment["AWS_ENDPOINT_URL"],
        region_name="us-east-1",
        aws_access_key_id="sandbox",
        aws_secret_access_key="sandbox",
    )
    for path in directory.rglob("*.parquet"):
        s3.upload_file(str(path), BUCKET, f"{FOLDER}/{path.relative_to(directory)}")


def columns(answer: dict[str, Any]) -> dict[str, list[Any]]:
    return dict(zip(answer["metadata"]["feature_names"], (result["values"] for result in answer["results"]), strict=True))


def plain(value: Any) -> Any:
    """A Python value of Feast's SDK as JSON has it."""
    return int(value.timestamp()) if isinstance(value, datetime) else value


def test_its_contract_is_up_to_date(deployed):
    assert deployed.results["lock"]["changed"] is False


def test_a_first_deployment_is_all_additions_and_a_second_none(deployed):
    assert deployed.results["apply"]["views"] == ["card_features", "merchant_features", "visit_features"]
    services = {name: service["sha256"] for name, service in deployed.lock["services"].items()}
    assert deployed.results["apply"]["services"] == services


def test_every_source_is_loaded(deployed):
    loaded = {name: view["rows_written"] for name, view in deployed.results["materialize"]["views"].items()}
    cards, merchants = len(data.CARDS), len(data.MERCHANTS)
    assert loaded == {"card_features": cards, "merchant_features": merchants, "visit_features": cards}


@pytest.mark.parametrize("service", ASKED)
def test_it_is_served_in_the_contracts_order_with_the_values_of_feasts_sdk(deployed, sdk, service):
    entities = ASKED[service]
    answer = deployed.ask(feature_service=service, entities=entities)
    keys = [name for name in ("card_id", "merchant_id", "payee_id") if name in entities]
    features = [name for _, name, _ in deployed.lock["services"][service]["features"]]
    assert answer["metadata"]["feature_names"] == [*keys, *features]
    rows = [dict(zip(entities, row, strict=True)) for row in zip(*entities.values(), strict=True)]
    expected = sdk.get_online_features(features=sdk.get_feature_service(service), entity_rows=rows).to_dict()
    assert columns(answer) == {name: [plain(value) for value in expected[name]] for name in [*keys, *features]}
    assert all(any(value is not None for value in column) for column in columns(answer).values())


@pytest.fixture(scope="module")
def sdk(deployed):
    """Stock Feast on the same registry and online store, with the feature server's rights."""
    before = dict(os.environ)
    os.environ.update(deployed.stores.environment("serve"))
    try:
        config = load_repo_config(deployed.stores.repo, deployed.stores.repo / "feature_store.yaml")
    finally:
        os.environ.clear()
        os.environ.update(before)
    return FeatureStore(config=config)


def test_grpc_answers_the_same(deployed):
    kinds = {"card_id": "string_val", "merchant_id": "int64_val", "amount": "double_val", "country": "string_val"}
    request = GetOnlineFeaturesRequest(feature_service="fraud_model_v1")
    for name, column in ROWS.items():
        request.entities[name].CopyFrom(RepeatedValue(val=[Value(**{kinds[name]: value}) for value in column]))
    with grpc.insecure_channel(f"127.0.0.1:{deployed.grpc_port}") as channel:
        answered = ServingServiceStub(channel).GetOnlineFeatures(request, timeout=10)
    found = convert_response_to_dict(answered)
    assert {"metadata": found["metadata"], "results": found["results"]} == deployed.ask(feature_service="fraud_model_v1", entities=ROWS)


def test_the_smoke_test_proves_every_service_on_demand_features_included(deployed):
    stores = deployed.stores
    named = {"SMOKE_ENTITIES": json.dumps({"card_id": ["card-000", "0042"], "merchant_id": [-3, 103]})}
    environment = stores.offline_environment() | {"FEATURE_REPO_DIR_ENV_VAR": str(stores.repo)} | deployed.replica
    for more in ({}, named):
        result = stores.run(["smoke", "--wait-seconds", "10"], environment | more).ok()
        assert set(result["services"]) == set(ASKED)
        vector = result["services"]["fraud_model_v1"]["vectors"][0]
        assert len(vector["online"]) == len(deployed.lock["services"]["fraud_model_v1"]["features"])


def test_a_model_is_trained_on_the_vectors_that_it_will_receive(deployed):
    """With labels of this moment a training row is what the server answers now, in the same order."""
    stores = deployed.stores
    now = datetime.now(UTC)
    labels = pa.table({**ROWS, "event_timestamp": pa.array([now] * 4, pa.timestamp("us", "UTC")), "is_fraud": [0, 1, 0, 1]})
    pq.write_table(labels, stores.directory / "labels.parquet")
    environment = stores.offline_environment() | {"FEATURE_REPO_DIR_ENV_VAR": str(stores.repo)}
    paths = ("--labels", str(stores.directory / "labels.parquet"), "--output", str(stores.directory / "train.parquet"))
    stores.run(["train-set", "--service", "fraud_model_v1", *paths], environment).ok()
    table = pq.read_table(stores.directory / "train.parquet")
    features = [name for _, name, _ in deployed.lock["services"]["fraud_model_v1"]["features"]]
    assert table.column_names == [*labels.column_names, *features]
    made_by = json.loads(table.schema.metadata[b"feature_contract"])
    assert made_by["sha256"] == deployed.lock["services"]["fraud_model_v1"]["sha256"]
    served = columns(deployed.ask(feature_service="fraud_model_v1", entities=ROWS))
    trained = {name: [plain(value) for value in table[name].to_pylist()] for name in features}
    assert trained == {name: served[name] for name in features}
    assert not any(isinstance(value, float) and math.isnan(value) for value in trained["trust"])


def test_the_skew_probe_finds_no_difference(deployed):
    stores = deployed.stores
    result = stores.run(["skew", "--sample", "30"], stores.environment("materialize") | deployed.replica).ok()
    assert {name: service["ratio"] for name, service in result["services"].items()} == dict.fromkeys(ASKED, 0.0)
    assert all(service["compared"] for service in result["services"].values())
