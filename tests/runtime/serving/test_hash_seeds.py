"""The order of an answer, and every byte of it, does not depend on the seed of Python's hashes: many processes, each with its own.

Each process makes the plan anew and answers the same questions from what a real Redis held. What it imports is what
the server answers with, without Feast, so that a process takes a tenth of a second.
"""

import concurrent.futures
import hashlib
import json
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest
import redis

from bench.stores import redis_server
from tests.runtime.environments import WITH_RUNTIME
from tests.runtime.serving.people import FEATURES, KEYS, OFFICES, SERVICES, answered, make_repo
from tests.soak import counts

SEEDS = counts(100, soak=1_000)
TYPES = {"tenure": "Float32", "remote": "Bool", "department": "String", "scores": "Array(Float32)", "since": "UnixTimestamp"}
TYPES |= {"floors": "Int32", "rent": "Float64", "desk": "String", "days": "Int64", "salary_band": "Int64"}
# Decoded by Feast's own classes, whose import would take most of the test's time.
LEFT_OUT = {"tags", "since"}

CHILD = """
import base64, hashlib, json, sys
from feature_runtime.serving.answer import Policy, judge, render
from feature_runtime.serving.plan import Plan
from feature_runtime.serving.body import parse
from feature_runtime.serving.requests import asked

recorded = json.load(open(sys.argv[1]))
store = {bytes.fromhex(key): {bytes.fromhex(f): bytes.fromhex(v) for f, v in fields.items()} for key, fields in recorded["redis"].items()}
plan = Plan(recorded["description"])
answers = [plan.contract]
for body in recorded["bodies"]:
    request = asked(plan, parse(body.encode()), max_entities=1000)
    replies = [
        [[store.get(key, {}).get(field) for field in read.fields] for key in keys]
        for read, keys in zip(request.question.reads, request.keys, strict=True)
    ]
    answers.append(render(judge(request, replies, recorded["now"], Policy())))
assert "feast" not in sys.modules, "this was to be light"
everything = b"\\n".join(answers)
order = " ".join({"tenure", "salary_band", "overtime", "remote", "department", "scores"})
print(json.dumps([hashlib.sha256(everything).hexdigest(), order, everything.decode() if len(sys.argv) > 2 else ""]))
"""


def feature_refs(view, service_view=None):
    return [[service_view or view, name, TYPES[name]] for name in FEATURES[view] if name not in LEFT_OUT]


def described():
    """Services over one, two and three views, one view twice under other names, in an order that is nobody's alphabet."""
    stored = {
        view: {
            "kind": "stored",
            "stored_as": view,
            "join_keys": [[key, "Int64" if key == "employee_id" else "String"] for key in KEYS[view]],
            "features": [[name, TYPES[name]] for name in names if name not in LEFT_OUT],
            "ttl_seconds": 0 if view == "offices" else 604_800,
            "version": 0,
        }
        for view, names in FEATURES.items()
    }
    plain = {view: {"view": view, "join_key_map": {}} for view in stored}
    person = [[*ref.split(":"), TYPES[ref.split(":")[1]]] for ref in SERVICES["person_v1"]]
    everything = [ref for view in ("seats", "people", "offices") for ref in feature_refs(view)][::-1]
    random.Random(5).shuffle(everything)
    aliased = {
        "offices__of_today": {"view": "offices", "join_key_map": {"office": "today"}},
        "offices__of_tomorrow": {"view": "offices", "join_key_map": {"office": "tomorrow"}},
        "people": plain["people"],
    }
    twice = [["offices__of_tomorrow", "rent", "Float64"], ["people", "remote", "Bool"], ["offices__of_today", "floors", "Int32"]]
    services = {
        "person_v1": (person, {"people": plain["people"]}),
        "everything_v1": (everything, plain),
        "moving_v1": (twice, aliased),
    }
    return {
        "project": "people",
        "definitions_sha256": "0" * 64,
        "entity_key_version": 3,
        "views": stored,
        "services": {
            name: {"features": features, "sha256": hashlib.sha256(json.dumps(features).encode()).hexdigest(), "projections": projections}
            for name, (features, projections) in services.items()
        },
        "unserved": {},
    }


def questions():
    employees, offices = [1, 2, 3, 7, 39, 4_000, -(2**63)], [*OFFICES[:6], "nowhere"]
    adhoc = ["offices:rent", "people:salary_band", "seats:desk", "people:tenure", "offices:floors", "people:department"]
    return [
        {"feature_service": "person_v1", "entities": {"employee_id": employees}},
        {"feature_service": "person_v1", "entities": {"employee_id": employees}, "full_feature_names": True},
        {"feature_service": "everything_v1", "entities": {"office": offices, "employee_id": employees}},
        {"feature_service": "everything_v1", "entities": {"employee_id": [7], "office": ["Bern"]}, "full_feature_names": True},
        {"feature_service": "moving_v1", "entities": {"tomorrow": offices, "employee_id": employees, "today": offices[::-1]}},
        {"features": adhoc, "entities": {"employee_id": employees, "office": offices}},
        {"features": adhoc[::-1], "entities": {"office": offices, "employee_id": employees}, "include_feature_view_version_metadata": True},
    ]


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    directory = tmp_path_factory.mktemp("seeds")
    with redis_server(directory) as port:
        make_repo(directory, port)
        held = redis.Redis(port=port)
        store = {key.hex(): {name.hex(): value.hex() for name, value in held.hgetall(key).items()} for key in held.scan_iter()}
    path = directory / "recorded.json"
    bodies = [json.dumps(question) for question in questions()]
    from tests.runtime.serving.people import NOW  # noqa: PLC0415

    path.write_text(json.dumps({"redis": store, "description": described(), "bodies": bodies, "now": NOW.timestamp()}))
    return path


def answer_with(seed: str, path: Path, *, whole: bool = False) -> tuple[str, str, str]:
    environment = {**WITH_RUNTIME, "PYTHONHASHSEED": seed}
    command = [sys.executable, "-c", CHILD, str(path), *(["whole"] if whole else [])]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, f"hash seed {seed}: {done.stderr}"
    return tuple(json.loads(done.stdout))


def test_the_recorded_answers_are_right(recorded):
    _, _, text = answer_with("0", recorded, whole=True)
    contract, *answers = [json.loads(line) for line in text.split("\n")]
    description = described()
    assert list(contract["services"]) == list(description["services"])
    for question, answer in zip(questions(), answers, strict=True):
        entities = question["entities"]
        service = description["services"].get(question.get("feature_service"))
        refs = [ref[:2] for ref in service["features"]] if service else [ref.split(":") for ref in question["features"]]
        named = [f"{view}__{name}" if question.get("full_feature_names") else name for view, name in refs]
        assert answer["metadata"]["feature_names"] == [*sorted(entities), *named]
        for (view, name), column in zip(refs, answer["results"][len(entities) :], strict=True):
            projection = service["projections"][view] if service else {"view": view, "join_key_map": {}}
            keys = [projection["join_key_map"].get(key, key) for key in KEYS[projection["view"]]]
            cells = [answered(projection["view"], name, row) for row in zip(*(entities[key] for key in keys), strict=True)]
            assert list(zip(column["values"], column["statuses"], strict=True)) == cells, (view, name)


def test_many_hash_seeds_give_the_same_bytes(recorded):
    seeds = [str(seed) for seed in range(SEEDS)]
    right = answer_with("random", recorded)[0]
    with concurrent.futures.ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        outcomes = list(pool.map(lambda seed: answer_with(seed, recorded), seeds))
    orders = {order for _, order, _ in outcomes}
    assert len(orders) > SEEDS // 2, f"the seeds took effect: a set of six names came in {len(orders)} orders"
    violations = [seed for seed, (digest, _, _) in zip(seeds, outcomes, strict=True) if digest != right]
    assert violations == [], f"{len(violations)} of {SEEDS} hash seeds give other bytes"
