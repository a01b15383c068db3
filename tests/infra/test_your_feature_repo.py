"""docs/your-feature-repo.md, followed: the directory that `feast init` makes, deployed by three lines of the stack file."""

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pulumi
import pytest
import yaml

from feast_eks.offline_store import sample_objects
from sandbox import rollout
from tests.infra.engine import PROJECT, copy_of_project, run_program, stack_config

PAGE = (PROJECT / "docs" / "your-feature-repo.md").read_text()
COMMANDS = [line for block in re.findall(r"^```sh\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL) for line in block.splitlines()]
(LINES,) = re.findall(r"^```yaml\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


def edited():
    """The local stack with the page's lines in it."""
    config = stack_config("local")
    for key, value in yaml.safe_load(LINES).items():
        config[key] = {**config.get(key, {}), **value} if isinstance(value, dict) and key != "feast-eks:smoke_test" else value
    return config


def environment(**more):
    return {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "PYTHONPATH": str(PROJECT / "runtime"), **more}


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A copy of the project in which the page's commands before `make up` have run."""
    project = copy_of_project(tmp_path_factory.mktemp("yours"))
    init, lock, up = COMMANDS
    assert up == "make up"
    tool, *arguments = shlex.split(init)
    assert tool == ".venv/bin/feast"
    subprocess.run(["feast", *arguments], cwd=project, env=environment(), check=True, capture_output=True)
    variable, make, verb = lock.split()
    assert (make, verb) == ("make", "lock")
    named = dict([variable.split("=")])
    done = subprocess.run(
        [sys.executable, "-m", "feature_runtime", "lock"],
        cwd=project,
        env=environment(**named),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return project


def test_three_lines_of_the_stack_file_deploy_it(project):
    assert len(LINES.splitlines()) == 3
    engine = run_program(edited(), project=project, preview=True)
    lock = json.loads((project / "driver_stats" / "feature_repo" / "contract.lock.json").read_text())
    assert set(engine.outputs["feature_services"]) == {"driver_activity_v1", "driver_activity_v2", "driver_activity_v3"}
    assert set(engine.outputs["feature_services"]) == set(lock["services"])
    definitions = next(m.inputs["data"] for m in engine.of_type(":ConfigMap").values() if "contract.lock.json" in m.inputs["data"])
    assert "feature_definitions.py" in definitions
    assert "project: driver_stats" in definitions["feature_store.yaml"]
    uploaded = {one.inputs["key"] for one in engine.of_type("BucketObjectv2").values()}
    assert uploaded >= {source["file"] for source in lock["sources"].values() if "file" in source}
    everything = json.dumps([one.inputs for one in engine.registrations], default=str)
    assert "employee" not in everything


def test_its_ttl_of_a_day_is_deployed_with_a_warning(project):
    warnings = run_program(edited(), project=project, preview=True).warnings
    assert any("driver_hourly_stats: its ttl is 24 hours" in warning for warning in warnings)


def test_a_directory_without_a_repo_is_refused_and_the_right_one_named(project):
    with pytest.raises(pulumi.RunError) as refused:
        run_program(edited() | {"feast-eks:feature_repo": "driver_stats"}, project=project)
    assert "feature_repo: 'driver_stats'" in str(refused.value)
    assert "write feature_repo: driver_stats/feature_repo" in str(refused.value)


def test_the_examples_data_is_written_only_where_the_example_is_deployed(project):
    example = stack_config("local")
    assert rollout.is_example(PROJECT / "feature_repo", example)
    assert not rollout.is_example(project / "driver_stats" / "feature_repo", edited())
    assert not rollout.is_example(project / "driver_stats" / "feature_repo", example), "another repo in the example's place"


def test_a_folder_is_uploaded_as_relative_paths_mean_it(tmp_path):
    for path in ("data/a.parquet", "data/b/part-0.parquet", "history/c.parquet"):
        (tmp_path / "repo" / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "repo" / path).touch()
    keys = [key for _, key, _ in sample_objects(tmp_path, "repo")]
    assert keys == ["a.parquet", "b/part-0.parquet", "history/c.parquet"]
