"""Other features in the same program: nothing of the example is in its code."""

import json
import shutil

import pytest

from tests.infra.engine import copy_of_project, run_program, stack_config
from tests.second_feature_repo import data

KEYS = {"cards/history.parquet", "merchants/old.parquet", "merchants/new.parquet", "visits.parquet"}


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    project = copy_of_project(tmp_path_factory.mktemp("second"))
    shutil.rmtree(project / "feature_repo")
    shutil.copytree(data.__file__.removesuffix("data.py") + "feature_repo", project / "feature_repo")
    data.write(project / "sample_data")
    return project


@pytest.fixture(scope="module")
def deployed(project):
    config = stack_config("local")
    config["feast-eks:offline_store"]["sample_data"] = "sample_data"
    config["feast-eks:smoke_test"] = {"entities": {"card_id": ["card-000"], "merchant_id": [-3]}}
    return run_program(config, project=project, preview=True)


def test_its_services_are_what_the_stack_promises(deployed, project):
    lock = json.loads((project / "feature_repo" / "contract.lock.json").read_text())
    promised = deployed.outputs["feature_services"]
    assert {name: service["sha256"] for name, service in promised.items()} == {
        name: service["sha256"] for name, service in lock["services"].items()
    }
    assert promised["checkout_model_v1"]["features"] == [["known_countries", "Int64"], ["route", "String"]]
    assert "card_payments" in deployed.outputs["client_feature_store_yaml"]


def test_its_data_goes_where_its_sources_look(deployed, project):
    uploaded = {one.inputs["key"]: one.inputs["source"] for one in deployed.of_type("BucketObjectv2").values()}
    assert set(uploaded) == KEYS
    assert uploaded["merchants/new.parquet"] == str(project / "sample_data" / "merchants" / "new.parquet")


def test_its_definitions_go_to_the_pods(deployed):
    files = next(m.inputs["data"] for m in deployed.of_type(":ConfigMap").values() if "contract.lock.json" in m.inputs["data"])
    assert "on_demand_feature_views.py" in files
    assert "project: card_payments" in files["feature_store.yaml"]


def test_a_view_that_ages_between_two_loads_is_deployed_with_a_warning(project, deployed):
    assert deployed.warnings == []
    config = stack_config("local") | {"feast-eks:materialization": {"schedule": "0 2 1 * *"}}
    config["feast-eks:offline_store"]["sample_data"] = "sample_data"
    config.pop("feast-eks:smoke_test")
    warned = run_program(config, project=project, preview=True).warnings
    assert [warning.partition(":")[0] for warning in warned] == ["feature view card_features"]


def test_nothing_of_the_example_is_left(deployed):
    everything = json.dumps([one.inputs for one in deployed.registrations if not one.type.endswith(":ConfigMap")], default=str)
    assert "employee" not in everything
    assert "attrition" not in everything
