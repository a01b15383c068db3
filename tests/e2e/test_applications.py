"""Applications that read features are configured by the stack's outputs: the examples of the documentation, really used."""

import json
import shutil

import pytest

EMPLOYEES = (101, 202, 303)
SERVICE = "attrition_model_v1"
NAMESPACE = "attrition"


@pytest.fixture(scope="module")
def outputs(cloud, clone, first_up):
    return json.loads(cloud.output("pulumi", "stack", "output", "--json", cwd=clone))


@pytest.fixture(scope="module")
def served(cloud, clone, outputs):
    """The vectors as the server answers them: in the order of the contract."""
    address = cloud.output("kubectl", "-n", outputs["namespace"], "get", "service", "feature-server", "-o", "jsonpath={.spec.clusterIP}")
    body = json.dumps({"feature_service": SERVICE, "entities": {"employee_id": EMPLOYEES}})
    said = cloud.output(
        "curl", "-sS", "--fail-with-body", f"http://{address}:6566/get-online-features", "-H", "Content-Type: application/json", "-d", body
    )
    answer = json.loads(said)
    names = [name for name, _ in outputs["feature_services"][SERVICE]["features"]]
    assert answer["metadata"]["feature_names"] == ["employee_id", *names]
    return address, [[column["values"][row] for column in answer["results"][1:]] for row in range(len(EMPLOYEES))]


def test_plain_feast_reads_vectors_with_two_outputs_and_no_password(cloud, clone, outputs, served, tmp_path):
    address, vectors = served
    # From this machine, which does not know the cluster's names.
    client = outputs["client_feature_store_yaml"].replace("feature-server.feast.svc.cluster.local", address)
    assert address in client
    shutil.copy(clone / "examples" / "client.py", tmp_path)
    (tmp_path / "feature_store.yaml").write_text(client)
    (tmp_path / "feature_services.json").write_text(json.dumps(outputs["feature_services"]))
    said = cloud.output(str(clone / ".venv" / "bin" / "python"), "client.py", SERVICE, "employee_id", *map(str, EMPLOYEES), cwd=tmp_path)
    assert [json.loads(line) for line in said.splitlines()] == vectors


def test_a_consuming_program_is_configured_by_the_stacks_outputs(cloud, clone, outputs, served):
    program = clone / "examples" / "consumer"
    configured = (
        "--config",
        "feature-consumer:feature_store=organization/feast-eks/local",
        "--config",
        "kubernetes:context=feast-eks-sandbox",
    )
    selected = cloud.run("pulumi", "stack", "select", "--create", "local", cwd=program)
    assert selected.returncode == 0, selected.stdout
    up = cloud.run("pulumi", "up", "--yes", "--skip-preview", *configured, cwd=program)
    try:
        assert up.returncode == 0, up.stdout
        logs = cloud.output("kubectl", "-n", NAMESPACE, "logs", "job/predict").splitlines()
        assert [json.loads(line) for line in logs if line.startswith("[")] == served[1]
        contract = cloud.output("pulumi", "stack", "output", "contract", cwd=program)
        assert contract == outputs["feature_services"][SERVICE]["sha256"]
    finally:
        destroyed = cloud.run("pulumi", "destroy", "--yes", "--skip-preview", "--remove", *configured, cwd=program)
        (program / "Pulumi.local.yaml").unlink(missing_ok=True)
    assert destroyed.returncode == 0, destroyed.stdout
