"""Another team's features through the same program, without a change of code: deployed, changed, refused and rolled."""

import hashlib
import io
import itertools
import json
import shutil
import signal
import subprocess
import time
import urllib.error
import urllib.request
from datetime import UTC, datetime, timedelta

import boto3
import grpc
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from feast.feature_server_utils import convert_response_to_dict
from feast.protos.feast.serving.ServingService_pb2 import GetOnlineFeaturesRequest
from feast.protos.feast.serving.ServingService_pb2_grpc import ServingServiceStub
from feast.protos.feast.types.Value_pb2 import RepeatedValue, Value

from tests.second_feature_repo import data

NAMESPACE = "feast-second"
SMALL = {"storage_gib": 1, "cpu_millicores": 50, "memory_mib": 128}
SERVICE = "fraud_model_v1"
ENTITIES = {"card_id": ["card-000", "0042"], "merchant_id": [-3, 103], "amount": [12.5, 1e6], "country": ["CH", "☂"]}
KINDS = {"card_id": "string_val", "merchant_id": "int64_val", "amount": "double_val", "country": "string_val"}


class Second:
    """A copy of the project with other features, deployed beside the first in a namespace and a state of its own."""

    def __init__(self, cloud, project, state):
        self.cloud = cloud
        self.project = project
        self.variables = {"PULUMI_BACKEND_URL": f"file://{state}"}

    def run(self, *command):
        return self.cloud.run(*command, cwd=self.project, **self.variables)

    def output(self, name):
        return json.loads(self.cloud.output("pulumi", "stack", "output", "--json", name, cwd=self.project, **self.variables))

    def kubectl(self, *arguments):
        return self.cloud.output("kubectl", "-n", NAMESPACE, *arguments)

    @property
    def lock(self):
        return json.loads((self.project / "feature_repo" / "contract.lock.json").read_text())

    @property
    def address(self):
        return self.kubectl("get", "service", "feature-server", "-o", "jsonpath={.spec.clusterIP}")

    def replicas(self, *, going=False):
        """The addresses of all pods; with `going` also of those that were told to end."""
        pods = json.loads(self.kubectl("get", "pods", "-l", "app.kubernetes.io/name=feature-server", "-o", "json"))["items"]
        return sorted(
            pod["status"]["podIP"] for pod in pods if pod["status"].get("podIP") and (going or "deletionTimestamp" not in pod["metadata"])
        )

    def edit(self, file, old, new):
        path = self.project / "feature_repo" / file
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new))
        locked = self.run("make", "lock")
        assert locked.returncode == 0, locked.stdout


@pytest.fixture(scope="module")
def second(cloud, clone, tmp_path_factory):
    project = tmp_path_factory.mktemp("second") / "feast-eks"
    shutil.copytree(clone, project, symlinks=True, ignore=shutil.ignore_patterns("feature_repo", "__pycache__"))
    shutil.copytree(clone / "tests" / "second_feature_repo" / "feature_repo", project / "feature_repo")
    data.write(project / "sample_data")
    path = project / "stacks" / "Pulumi.local.yaml"
    document = yaml.safe_load(path.read_text())
    config = document["config"]
    config["feast-eks:namespace"] = NAMESPACE
    config["feast-eks:offline_store"] |= {"bucket_name": NAMESPACE, "sample_data": "sample_data"}
    config["feast-eks:online_store"] |= SMALL
    config["feast-eks:registry"] |= SMALL | {"memory_mib": 256}
    config["feast-eks:smoke_test"] = {"entities": {name: ENTITIES[name] for name in ("card_id", "merchant_id")}}
    path.write_text(yaml.safe_dump(document))
    second = Second(cloud, project, tmp_path_factory.mktemp("second-state"))
    selected = second.run("pulumi", "stack", "select", "--create", "local")
    assert selected.returncode == 0, selected.stdout
    try:
        yield second
    finally:
        destroyed = second.run("pulumi", "destroy", "--yes", "--skip-preview")
        cloud.run("kubectl", "delete", "namespace", NAMESPACE, "--ignore-not-found", "--timeout=180s")
    assert destroyed.returncode == 0, destroyed.stdout


@pytest.fixture(scope="module")
def deployed(second):
    """The second feature store, as its first `pulumi up` left it."""
    up = second.run("pulumi", "up", "--yes", "--skip-preview")
    assert up.returncode == 0, up.stdout
    return second


def ask(address, service=SERVICE, entities=ENTITIES, **headers):
    """The names of an answer in their order, its columns, and the contract that it was made by."""
    request = urllib.request.Request(
        f"http://{address}:6566/get-online-features",
        data=json.dumps({"feature_service": service, "entities": entities}).encode(),
        headers={"Content-Type": "application/json", **headers},
    )
    with urllib.request.urlopen(request, timeout=10) as response:
        answer = json.load(response)
    return answer["metadata"]["feature_names"], [column["values"] for column in answer["results"]], response.headers["feast-contract"]


def names(lock, service=SERVICE):
    return ["card_id", "merchant_id", *(name for _, name, _ in lock["services"][service]["features"])]


def test_every_replica_serves_the_contract_in_its_order(deployed):
    contract = deployed.lock["services"][SERVICE]
    assert deployed.output("feature_services")[SERVICE]["sha256"] == contract["sha256"]
    replicas = deployed.replicas()
    assert len(replicas) == 2
    answers = [ask(replica) for replica in replicas]
    assert answers[0] == answers[1]
    found, values, sha256 = answers[0]
    assert found == names(deployed.lock)
    assert sha256 == contract["sha256"]
    by_name = dict(zip(found, values, strict=True))
    assert not [name for name, column in by_name.items() if None in column and name not in ("home_country", "is_abroad")]
    assert by_name["share_of_limit"][1] > by_name["share_of_limit"][0] > 0, "computed from the request and what is stored"


def test_no_replica_has_a_seed_that_orders_its_answers(deployed):
    deployment = json.loads(deployed.kubectl("get", "deployment", "feature-server", "-o", "json"))
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    assert "PYTHONHASHSEED" not in {variable["name"] for variable in container["env"]}


def test_the_contract_is_told_over_http(deployed):
    with urllib.request.urlopen(f"http://{deployed.address}:6566/contract", timeout=10) as response:
        told = json.load(response)
    # The server looks every 15 seconds; the backfill ended before the servers were rolled.
    assert told.pop("loaded_until").keys() == deployed.lock["views"].keys()
    assert told == {
        "project": "card_payments",
        "definitions_sha256": deployed.lock["definitions_sha256"],
        "services": {
            name: {"features": service["features"], "sha256": service["sha256"]} for name, service in deployed.lock["services"].items()
        },
    }


def test_grpc_answers_at_the_address_of_the_output(deployed):
    host, _, port = deployed.output("grpc_address").rpartition(":")
    assert host == f"feature-server.{NAMESPACE}.svc.cluster.local"
    request = GetOnlineFeaturesRequest(feature_service=SERVICE)
    for name, column in ENTITIES.items():
        request.entities[name].CopyFrom(RepeatedValue(val=[Value(**{KINDS[name]: value}) for value in column]))
    # From this machine, which does not know the cluster's names.
    with grpc.insecure_channel(f"{deployed.address}:{port}") as channel:
        answer = convert_response_to_dict(ServingServiceStub(channel).GetOnlineFeatures(request, timeout=10))
    found, values, _ = ask(deployed.address)
    assert answer["metadata"]["feature_names"] == found
    assert [column["values"] for column in answer["results"]] == values


def test_the_smoke_test_proved_every_service_on_every_replica(deployed):
    logs = deployed.kubectl("logs", "-l", "app.kubernetes.io/name=smoke-test", "--tail=-1").splitlines()
    result = json.loads(next(line for line in reversed(logs) if line.startswith('{"')))
    assert set(result["services"]) == set(deployed.lock["services"])
    assert sorted(result["replicas"]) == deployed.replicas()


def test_rows_that_came_late_are_loaded_by_the_nightly_job(deployed):
    """A second file in the folder, of times before the last load ended."""
    late = datetime.now(UTC).replace(microsecond=0) - timedelta(hours=6)
    row = {"merchant_id": 103, "event_timestamp": late, "category": "came late", "chargeback_rate": 0.5, "complaints": 1}
    file = io.BytesIO()
    pq.write_table(pa.Table.from_pylist([row], schema=data.MERCHANT_SCHEMA), file)
    environment = deployed.cloud.env
    s3 = boto3.client(
        "s3",
        endpoint_url=environment["AWS_ENDPOINT_URL"],
        region_name=environment["AWS_REGION"],
        aws_access_key_id=environment["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=environment["AWS_SECRET_ACCESS_KEY"],
    )
    s3.put_object(Bucket=NAMESPACE, Key="merchants/late.parquet", Body=file.getvalue())
    deployed.kubectl("create", "job", "--from=cronjob/materialize", "materialize-late")
    deployed.kubectl("wait", "--for=condition=complete", "job/materialize-late", "--timeout=180s")
    found, values, _ = ask(deployed.address)
    by_name = dict(zip(found, values, strict=True))
    assert (by_name["category"][1], by_name["chargeback_rate"][1], by_name["trust"][1]) == ("came late", 0.5, 0.25)


def registry(second):
    """A digest of all that the registry says about services, views and entities."""
    tables = ("feature_services", "feature_views", "on_demand_feature_views", "entities", "data_sources")
    query = " union all ".join(f"select '{table}' || md5(t::text) from {table} t" for table in tables)
    command = f'PGPASSWORD="$(cat "$POSTGRES_POSTGRES_PASSWORD_FILE")" psql -h 127.0.0.1 -U postgres -d feast -tAc "{query} order by 1"'
    said = second.kubectl("exec", "feast-postgresql-0", "-c", "postgresql", "--", "sh", "-c", command)
    assert said.count("\n") > 5
    return hashlib.sha256(said.encode()).hexdigest()


def test_a_breaking_change_is_refused_before_anything_changed(deployed):
    old = deployed.lock
    before = registry(deployed), ask(deployed.address), deployed.replicas()
    deployed.edit("feature_services.py", '[["spent", "visits"]]', '[["visits", "spent"]]')
    assert names(deployed.lock) != names(old)
    began = time.monotonic()
    up = deployed.run("pulumi", "up", "--yes", "--skip-preview")
    assert up.returncode != 0, up.stdout
    assert time.monotonic() - began < 300, "a refusal is a matter of seconds: the gate's Job has a deadline of 900"
    assert "F005" in up.stdout, up.stdout
    assert f"services.{SERVICE}" in up.stdout
    assert "Traceback" not in up.stdout
    assert (registry(deployed), ask(deployed.address), deployed.replicas()) == before
    assert ask(deployed.address)[0] == names(old)


def test_with_a_waiver_it_is_rolled_out_and_no_answer_mixes_two_contracts(deployed, tmp_path):
    """Every replica is asked all the time: each answer is wholly of the old contract or of the new one, and says of which."""
    new = deployed.lock
    old_names, _, old_sha256 = ask(deployed.address)
    orders = {old_sha256: old_names, new["services"][SERVICE]["sha256"]: names(new)}
    assert len(orders) == 2
    expires = (datetime.now(UTC) + timedelta(days=2)).date().isoformat()
    waiver = {"rule": "F005", "object": f"services.{SERVICE}", "reason": "no model uses it yet", "expires": expires}
    (deployed.project / "feature_repo" / "waivers.yaml").write_text(yaml.safe_dump([waiver]))
    log = tmp_path / "up.log"
    with log.open("w") as output:
        up = subprocess.Popen(
            ["pulumi", "up", "--yes", "--skip-preview", "--color", "never"],
            cwd=deployed.project,
            env=deployed.cloud.env | deployed.variables,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    service, seen, failed, asked = deployed.address, set(), [], 0
    replicas, looked = deployed.replicas(going=True), time.monotonic()
    try:
        for turn in itertools.count():
            if up.poll() is not None:
                break
            if time.monotonic() - looked > 2:
                replicas, looked = deployed.replicas(going=True), time.monotonic()
            address = [service, *replicas][turn % (1 + len(replicas))]
            try:
                found, _, sha256 = ask(address)
            except (urllib.error.URLError, TimeoutError, ConnectionError) as error:
                # A single pod comes and goes; who asks the Service must not notice.
                if address == service:
                    failed.append(str(error))
            else:
                assert found == orders[sha256], f"{address} answered {found} as {sha256}"
                seen.add(sha256)
                asked += 1
            time.sleep(0.02)
    finally:
        if up.poll() is None:
            up.send_signal(signal.SIGINT)  # it ends what it is doing, and keeps its state
        up.wait(120)
    assert up.returncode == 0, log.read_text()
    assert not failed, f"{len(failed)} of {asked + len(failed)} requests failed: {failed[:3]}"
    assert seen == set(orders), "both contracts were served while the servers were rolled"
    assert asked > 100
    assert {ask(replica)[2] for replica in deployed.replicas()} == {new["services"][SERVICE]["sha256"]}
    with pytest.raises(urllib.error.HTTPError) as refused:
        ask(deployed.address, **{"feast-contract": old_sha256})
    assert refused.value.code == 412, "a model of the old order is told"


def test_nothing_is_left_to_change(deployed):
    preview = deployed.run("pulumi", "preview", "--expect-no-changes")
    assert preview.returncode == 0, preview.stdout
