"""A feature repo to be edited, applied by stock Feast; and snapshots of it."""

import json
import os
import shutil
import sys
import traceback
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from feast import FeatureStore
from feast.repo_config import load_repo_config
from feast.repo_operations import apply_total

from feature_runtime.check import new_snapshot, source_problems
from feature_runtime.definitions.feature_repo import load_definitions
from feature_runtime.gate.comparison import Comparison, Snapshot
from feature_runtime.gate.judgement import judge
from feature_runtime.gate.recorded import registered_snapshot

HERE = Path(__file__).parent
COLUMNS = {
    "trips": {"driver_id": pa.int64(), "rating": pa.float32(), "trips": pa.int64(), "unused": pa.float64(), "idle": pa.int64()},
    "customers": {"customer_id": pa.string(), "city": pa.string(), "age": pa.int64(), "tags": pa.list_(pa.string())},
}


@dataclass
class Edited:
    """A copy of the repo, with edits in its text."""

    directory: Path

    def edit(self, *edits):
        for file, old, new in edits:
            path = self.directory / file
            text = path.read_text()
            assert text.count(old) == 1, f"{old!r} is {text.count(old)} times in {file}"
            path.write_text(text.replace(old, new))
        return self

    def snapshot(self) -> Snapshot:
        return new_snapshot(self.directory, load_definitions(self.directory))

    def source_problems(self):
        return source_problems(load_definitions(self.directory), self.directory)

    def feast_apply(self):
        """Stock Feast's `feast apply`, in a process of its own: its exit code, and what it raised."""
        reader, writer = os.pipe()
        pid = os.fork()
        if pid:
            os.close(writer)
            with os.fdopen(reader) as said:
                raised = said.read()
            return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), raised
        code = 1
        try:
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, 1)
            os.dup2(null, 2)
            os.chdir(self.directory)
            sys.path.insert(0, str(self.directory))
            sys.modules.pop("definitions", None)
            apply_total(
                load_repo_config(self.directory, self.directory / "feature_store.yaml"), self.directory, skip_source_validation=True
            )
            code = 0
        except BaseException:  # noqa: BLE001  whatever it is, the child must not go on as a test run
            os.write(writer, traceback.format_exc().encode())
        finally:
            os._exit(code)

    def registered(self) -> Snapshot:
        config = load_repo_config(self.directory, self.directory / "feature_store.yaml")
        before = Path.cwd()
        os.chdir(self.directory)
        try:
            return registered_snapshot(FeatureStore(config=config))
        finally:
            os.chdir(before)


@pytest.fixture(scope="session")
def base_directory(tmp_path_factory, redis_port, secrets) -> Path:
    directory = tmp_path_factory.mktemp("base") / "repo"
    shutil.copytree(HERE / "repo", directory, ignore=shutil.ignore_patterns("__pycache__"))
    (directory / "data").mkdir()
    times = {"event_timestamp": pa.timestamp("us", tz="UTC"), "created": pa.timestamp("us", tz="UTC")}
    for name, columns in COLUMNS.items():
        more = {"embedding": pa.list_(pa.float32())} if name == "trips" else {}
        schema = pa.schema(list({**columns, **more, **times}.items()))
        pq.write_table(pa.Table.from_pylist([], schema=schema), directory / "data" / f"{name}.parquet")
    (directory / "feature_store.yaml").write_text(
        "project: rides\nprovider: local\nregistry: data/registry.db\n"
        "online_store:\n  type: redis\n"
        f"  connection_string: 127.0.0.1:{redis_port},password={secrets['REDIS_DEFAULT']}\n"
        "  key_ttl_seconds: 1000000\n"
        "offline_store:\n  type: file\nentity_key_serialization_version: 3\n"
    )
    code, raised = Edited(directory).feast_apply()
    assert code == 0, raised
    return directory


@pytest.fixture
def edited(base_directory, tmp_path) -> Edited:
    """The repo in its base state, applied, to be edited."""
    shutil.copytree(base_directory, tmp_path / "repo")
    return Edited(tmp_path / "repo")


@pytest.fixture(scope="session")
def base(base_directory) -> Snapshot:
    """The definitions before any edit."""
    return Edited(base_directory).snapshot()


@pytest.fixture(scope="session")
def registered(base_directory) -> Snapshot:
    """The registry that stock Feast wrote from them: without what our apply remembers."""
    return Edited(base_directory).registered()


@pytest.fixture(scope="session")
def findings():
    """{(rule, object): severity} of a comparison."""

    def compare(old, new, waivers=(), **more):
        verdict = judge(Comparison(old=old, new=new, **more), waivers)
        return {(finding.rule, finding.object): str(finding.severity) for finding in verdict.findings if finding.stands}

    return compare


@pytest.fixture
def copied(base):
    """The base contract as data of its own."""
    return json.loads(json.dumps(base.contract))
