"""A feature repo that leaves to Feast what it can, with names as data sets have them: loaded, served and trained on as it is."""

import json
import os
import signal
import urllib.request
from datetime import UTC, datetime, timedelta

import grpc
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from feast.protos.feast.serving.ServingService_pb2 import GetOnlineFeaturesRequest
from feast.protos.feast.serving.ServingService_pb2_grpc import ServingServiceStub
from feast.protos.feast.types.Value_pb2 import RepeatedValue, Value

from bench.ports import free_port
from tests.runtime.conftest import run_verb, start_verb
from tests.waiting import wait_until_ready

DEFINITIONS = """
from feast import Entity, FeatureService, FeatureView, Field, FileSource
from feast.types import Int64

shop = Entity(name="shop", join_keys=["shop_id"])
town = Entity(name="town")
whole = FeatureView(name="Shop-Sales 1", entities=[shop, town], ttl=None, source=FileSource(path="data/sales.parquet"))
part = FeatureView(name="part", entities=[town], ttl=None, source=FileSource(name="Sales 2", path="data/sales.parquet", timestamp_field="ts"),
    schema=[Field(name="Rides", dtype=Int64)])
model = FeatureService(name="My Model", features=[whole[["work-life_balance", "mean radius (cm)"]], part])
"""
VALUES = {"mean radius (cm)": 1.5, "work-life_balance": 3, "Rides": 20}


@pytest.fixture
def repo(tmp_path, redis_port, redis_admin, secrets):
    redis_admin.flushall()
    directory = tmp_path / "repo"
    (directory / "data").mkdir(parents=True)
    (directory / "definitions.py").write_text(DEFINITIONS)
    (directory / "feature_store.yaml").write_text(
        "project: shops\nprovider: local\nregistry: data/registry.db\noffline_store: {type: file}\nentity_key_serialization_version: 3\n"
        "online_store:\n  type: feature_runtime.online_store.PipelinedRedisOnlineStore\n"
        f"  connection_string: 127.0.0.1:{redis_port},password={secrets['REDIS_DEFAULT']}\n"
    )
    columns = {"shop_id": pa.array([1]), "town": pa.array(["Ulm"]), "ts": pa.array([datetime.now(UTC) - timedelta(days=9)])}
    pq.write_table(
        pa.table({**columns, **{name: pa.array([value]) for name, value in VALUES.items()}}), directory / "data" / "sales.parquet"
    )
    return directory


def test_it_is_loaded_served_and_trained_on_as_it_is(repo):
    environment = {"FEATURE_REPO_DIR_ENV_VAR": str(repo)}
    run_verb(["lock"], environment, repo).ok()
    assert run_verb(["apply"], environment, repo).ok()["gate"]["breaking"] == 0
    run_verb(["materialize", "--backfill"], environment, repo).ok()

    port, grpc_port = free_port(), free_port()
    ports = ["--port", str(port), "--grpc-port", str(grpc_port), "--metrics-port", str(free_port())]
    server = start_verb(["serve", *ports], environment, repo)
    try:
        wait_until_ready(port, server.pid, server.err)
        by_service = {"feature_service": "My Model"}
        by_name = {"features": ["Shop-Sales 1:mean radius (cm)", "Shop-Sales 1:work-life_balance", "part:Rides"]}
        for asked in (by_service, by_name):
            body = json.dumps({**asked, "entities": {"shop_id": [1], "town": ["Ulm"]}}).encode()
            request = urllib.request.Request(f"http://127.0.0.1:{port}/get-online-features", body, {"Content-Type": "application/json"})
            answer = json.load(urllib.request.urlopen(request, timeout=30))
            values = [result["values"][0] for result in answer["results"]]
            assert dict(zip(answer["metadata"]["feature_names"], values, strict=True)) == {"shop_id": 1, "town": "Ulm", **VALUES}
        keys = {"shop_id": Value(int64_val=1), "town": Value(string_val="Ulm")}
        entities = {name: RepeatedValue(val=[value]) for name, value in keys.items()}
        with grpc.insecure_channel(f"127.0.0.1:{grpc_port}") as channel:
            said = ServingServiceStub(channel).GetOnlineFeatures(GetOnlineFeaturesRequest(feature_service="My Model", entities=entities))
        assert list(said.metadata.feature_names.val)[2:] == list(VALUES)
        assert [result.values[0].double_val or result.values[0].int64_val for result in said.results][2:] == list(VALUES.values())
    finally:
        os.kill(server.pid, signal.SIGKILL)
        os.waitpid(server.pid, 0)

    labels, output = repo / "labels.parquet", repo / "set.parquet"
    pq.write_table(pa.table({"shop_id": [1], "town": ["Ulm"], "event_timestamp": [datetime.now(UTC)]}), labels)
    run_verb(["train-set", "--service", "My Model", "--labels", str(labels), "--output", str(output)], environment, repo).ok()
    (row,) = pq.read_table(output).to_pylist()
    assert {name: row[name] for name in VALUES} == VALUES
