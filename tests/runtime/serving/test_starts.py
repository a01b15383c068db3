"""The order of an answer survives restarts and roll-outs: whole servers, each a process with its own hash seed."""

import concurrent.futures
import json
import random
import shutil
import subprocess
import sys

import pytest

from bench.stores import redis_server
from tests.runtime.environments import BARE, WITH_RUNTIME
from tests.runtime.serving.generator import post
from tests.runtime.serving.people import SERVICES, lock, make_repo, serving
from tests.runtime.serving.wire import Wire
from tests.soak import counts

STARTS = counts(20, soak=100)
AT_ONCE = 3
SDK_SEEDS = 10

EMPLOYEES = [1, 2, 3, 7, 14, 40, 999_999]
OFFICES = ["Bern", "Zürich ☂", "", "0042", "nowhere", "😀", "Bern"]
QUESTIONS = [
    {"feature_service": "person_v1", "entities": {"employee_id": EMPLOYEES}},
    {"feature_service": "seating_v1", "entities": {"office": OFFICES, "employee_id": EMPLOYEES}},
    {"feature_service": "seating_v1", "entities": {"office": OFFICES, "employee_id": EMPLOYEES}, "full_feature_names": True},
    {
        "features": ["offices:rent", "people:scores", "seats:desk", "people:tenure"],
        "entities": {"employee_id": EMPLOYEES, "office": OFFICES},
    },
]
CANONICAL = [
    ["employee_id", "tenure", "salary_band", "remote", "department", "scores"],
    ["employee_id", "office", "desk", "days", "tags", "rent", "floors", "since", "tenure"],
    ["employee_id", "office", *(ref.replace(":", "__") for ref in SERVICES["seating_v1"])],
    ["employee_id", "office", "rent", "scores", "desk", "tenure"],
]

SDK = """
import json, sys
from feast import FeatureStore
store = FeatureStore(repo_path=sys.argv[1])
found = []
for question in json.loads(sys.argv[2]):
    features = store.get_feature_service(question["feature_service"]) if "feature_service" in question else question["features"]
    answer = store.get_online_features(features, question["entities"], full_feature_names=question.get("full_feature_names", False))
    names = list(answer.proto.metadata.feature_names.val)
    found.append([names, answer.to_dict()])
print(json.dumps(found, default=lambda moment: int(moment.timestamp())))
"""


@pytest.fixture(scope="module")
def repo(tmp_path_factory):
    directory = tmp_path_factory.mktemp("starts")
    with redis_server(directory) as port:
        made = make_repo(directory, port)
        lock(made)
        yield made


def answers(port, questions=QUESTIONS):
    """The bytes of every answer."""
    wire = Wire(port)
    found = []
    for question in questions:
        wire.send(post(json.dumps(question).encode()))
        answer = wire.answer()
        assert answer is not None
        assert answer.status == 200, answer
        found.append(answer.body)
    wire.close()
    return found


def start_and_ask(repo, seed):
    with serving(repo, drain=False, PYTHONHASHSEED=str(seed)) as server:
        return answers(server.port)


def test_many_starts_give_the_same_bytes_in_canonical_order(repo):
    seeds = random.Random(6566).sample(range(2**32), STARTS)
    with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool:
        outcomes = list(pool.map(lambda seed: start_and_ask(repo, seed), seeds))
    first = outcomes[0]
    assert [json.loads(body)["metadata"]["feature_names"] for body in first] == CANONICAL
    violations = [seed for seed, found in zip(seeds, outcomes, strict=True) if found != first]
    assert violations == [], f"{len(violations)} of {STARTS} starts answer other bytes"


def test_every_cell_is_what_the_sdk_reads_whatever_the_seed(repo):
    """Stock Feast's order differs from seed to seed; by name, its cells and ours are the same."""
    with serving(repo, PYTHONHASHSEED="1") as server:
        ours = [json.loads(body) for body in answers(server.port)]
    orders = set()
    for seed in range(SDK_SEEDS):
        environment = {**BARE, "PYTHONHASHSEED": str(seed), "HOME": str(repo.parent)}
        command = [sys.executable, "-c", SDK, str(repo), json.dumps(QUESTIONS)]
        done = subprocess.run(command, env=environment, cwd=repo, capture_output=True, text=True, check=False, timeout=120)
        assert done.returncode == 0, done.stderr
        for answer, (names, values) in zip(ours, json.loads(done.stdout), strict=True):
            orders.add(tuple(names))
            columns = dict(zip(answer["metadata"]["feature_names"], answer["results"], strict=True))
            assert columns.keys() == set(names)
            for name in names:
                for found, status, stock in zip(columns[name]["values"], columns[name]["statuses"], values[name], strict=True):
                    # Stock answers values that are older than their view's ttl.
                    if status != "OUTSIDE_MAX_AGE":
                        assert found == stock, (seed, name)
                        assert type(found) is type(stock), (seed, name)
    assert len(orders) > len(QUESTIONS), "stock Feast's order did not change: the comparison shows nothing"


def test_both_versions_answer_in_the_same_order_during_a_roll_out(repo, tmp_path):
    """The registry has the new definitions, `person_v2` and another order of the view; the old server was not replaced yet."""
    shared = tmp_path / "feature_repo"
    shutil.copytree(repo, shared)
    old = tmp_path / "old"
    with serving(shared, "--registry-seconds", "1", PYTHONHASHSEED="3") as before:
        first = answers(before.port)
        shutil.copytree(shared, old)
        definitions = shared / "definitions.py"
        text = definitions.read_text()
        tenure = '        Field(name="tenure", dtype=Float32),\n'
        assert tenure in text
        # The view's fields in another order, one more of them, and a service that has it; v1 is as it was.
        text = text.replace(tenure, "").replace(
            "    ],\n)\noffices", f'{tenure}        Field(name="age", dtype=Int64),\n    ],\n)\noffices'
        )
        definitions.write_text(text + 'person_v2 = FeatureService(name="person_v2", features=[people[["age", "scores", "tenure"]]])\n')
        apply(shared)
        lock(shared)
        with serving(shared, "--registry-seconds", "1", PYTHONHASHSEED="4") as after, serving(old, PYTHONHASHSEED="5") as restarted:
            newest = {"feature_service": "person_v2", "entities": {"employee_id": [1, 2]}}
            (said,) = answers(after.port, [newest])
            assert json.loads(said)["metadata"]["feature_names"] == ["employee_id", "age", "scores", "tenure"]
            assert json.loads(said)["results"][1]["statuses"] == ["NOT_FOUND", "NOT_FOUND"], "not loaded yet"
            for _ in range(3):
                assert answers(before.port) == first, "the old server"
                assert answers(after.port) == first, "the new server"
                assert answers(restarted.port) == first, "an old server that was started again on the new registry"


def apply(repo):
    """The definitions into the registry, in a process of its own: the file is imported afresh."""
    script = (
        "import sys; from pathlib import Path; from feast import FeatureStore; from feature_runtime.definitions.feature_repo import load_definitions\n"
        "repo = Path(sys.argv[1]); made = load_definitions(repo)\n"
        "FeatureStore(repo_path=str(repo)).apply([*made.contents.entities, *made.views, *made.services])"
    )
    environment = {**WITH_RUNTIME, "HOME": str(repo.parent)}
    subprocess.run([sys.executable, "-c", script, str(repo)], env=environment, cwd=repo, check=True, timeout=120)
