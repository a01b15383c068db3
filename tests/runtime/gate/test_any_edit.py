"""Random edits of a contract: none that changes what a model receives passes for safe, and nothing else is called breaking.

What a model receives is computed here in its own way, from the two contracts alone.
"""

import itertools
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feature_runtime.gate.comparison import Comparison, Snapshot
from feature_runtime.gate.judgement import judge
from feature_runtime.gate.rule import BREAKING, WARNING

DTYPES = ["Int64", "Float32", "String", "Array(String)"]
STORES = {"entity_key_serialization_version": 3, "online_store": "redis", "redis_type": "redis", "key_ttl_seconds": 1_000_000}
EXAMPLES = 150


def view(features, entity="driver", **more):
    return {
        "kind": "batch",
        "entities": [entity],
        "entity_columns": [[f"{entity}_id", "Int64"]],
        "features": [[name, "Int64"] for name in features],
        "ttl_seconds": 604800,
        "online": True,
        "source": f"{entity}_file",
        **more,
    }


def service(contract, *references, **more):
    views = {**contract["views"], **contract["on_demand_views"]}
    return {"features": [[label, name, dict(views[label]["features"])[name]] for label, name in references], "sha256": "", **more}


def contract():
    made = {
        "format_version": 2,
        "project": "rides",
        "feast_version": "0.67",
        "definitions_sha256": "",
        "entities": {name: {"join_key": f"{name}_id", "value_type": "INT64"} for name in ("driver", "customer")},
        "sources": {
            f"{name}_file": {
                "type": "FileSource",
                "timestamp_field": "at",
                "created_timestamp_column": "created",
                "file": f"{name}.parquet",
            }
            for name in ("driver", "customer")
        },
        "views": {"stats": view("abcd"), "profile": view("efg", "customer"), "spare": view("hi")},
        "on_demand_views": {
            "priced": {
                "features": [["p", "Float32"]],
                "sources": {"stats": {"view": "stats", "features": [["d", "Int64"]]}, "asked": {"request": [["km", "Float32"]]}},
                "mode": "pandas",
                "transformation_sha256": "1",
            }
        },
    }
    made["services"] = {
        "fare_v1": service(made, ("stats", "a"), ("stats", "b"), ("profile", "e"), ("priced", "p")),
        "price_v1": service(made, ("priced", "p")),
        "whole_v1": service(made, *(("profile", name) for name in "efg"), whole_views=["profile"]),
    }
    return made


# Edits: each takes a contract and a random source, changes it in place.
def pick(draw, items):
    return draw(st.sampled_from(sorted(items)))


def follow(c):
    """What Feast makes of views that changed: services take types from them, and whole views as they are now."""
    views = {**c["views"], **c["on_demand_views"]}
    for said in c["services"].values():
        listed = []
        for label, name, _ in said["features"]:
            types = dict(views.get(label, {"features": []})["features"])
            if label not in said.get("whole_views", []) and name in types:
                listed.append([label, name, types[name]])
        whole = [
            [label, name, dtype] for label in said.get("whole_views", []) for name, dtype in views.get(label, {"features": []})["features"]
        ]
        said["features"] = listed + whole


def retype(c, draw):
    feature = draw(st.sampled_from(c["views"][pick(draw, c["views"])]["features"]))
    feature[1] = draw(st.sampled_from([dtype for dtype in DTYPES if dtype != feature[1]]))


def rename_feature(c, draw):
    draw(st.sampled_from(c["views"][pick(draw, c["views"])]["features"]))[0] += "_new"


def drop_feature(c, draw):
    features = c["views"][pick(draw, c["views"])]["features"]
    if len(features) > 1:
        features.pop(draw(st.integers(0, len(features) - 1)))


def add_feature(c, draw):
    features = c["views"][pick(draw, c["views"])]["features"]
    features.insert(draw(st.integers(0, len(features))), [f"new_{len(features)}_{features[0][0]}", draw(st.sampled_from(DTYPES))])


def shuffle_view(c, draw):
    name = pick(draw, c["views"])
    c["views"][name]["features"] = draw(st.permutations(c["views"][name]["features"]))


def shuffle_service(c, draw):
    name = pick(draw, c["services"])
    c["services"][name]["features"] = draw(st.permutations(c["services"][name]["features"]))


def drop_from_service(c, draw):
    features = c["services"]["fare_v1"]["features"]
    if len(features) > 1:
        features.pop(draw(st.integers(0, len(features) - 1)))


def add_to_service(c, draw):
    said = c["services"]["fare_v1"]
    taken = {name for _, name, _ in said["features"]}
    free = [
        [label, name, dtype]
        for label in ("stats", "spare")
        for name, dtype in c["views"].get(label, {"features": []})["features"]
        if name not in taken
    ]
    if free:
        said["features"].insert(draw(st.integers(0, len(said["features"]))), draw(st.sampled_from(free)))


def drop_service(c, draw):
    c["services"].pop(pick(draw, c["services"]))


def drop_view(c, draw):
    if len(c["views"]) > 1:
        c["views"].pop(pick(draw, c["views"]))


def rename_view(c, draw):
    name = pick(draw, c["views"])
    c["views"][name + "_new"] = c["views"].pop(name)


def alias(c, draw):
    said = c["services"]["fare_v1"]
    label = draw(st.sampled_from([label for label, _, _ in said["features"]]))
    said["features"] = [[f"{have}_as" if have == label else have, name, dtype] for have, name, dtype in said["features"]]
    said.setdefault("aliases", {})[f"{label}_as"] = label


def map_join_key(c, draw):
    c["services"]["fare_v1"]["join_key_maps"] = {"stats": {"driver_id": "chauffeur_id"}}


def change_join_key(c, draw):
    c["entities"][pick(draw, c["entities"])]["join_key"] += "_new"


def change_key_type(c, draw):
    c["entities"][pick(draw, c["entities"])]["value_type"] = "STRING"


def change_entities(c, draw):
    c["views"][pick(draw, c["views"])]["entities"] = draw(st.sampled_from([[], ["driver", "customer"]]))


def change_ttl(c, draw):
    c["views"][pick(draw, c["views"])]["ttl_seconds"] = draw(st.sampled_from([None, 0, 3600, 432_000, 1_000_000]))


def go_offline(c, draw):
    c["views"][pick(draw, c["views"])]["online"] = False


def change_source(c, draw):
    said = c["sources"][pick(draw, c["sources"])]
    key = draw(st.sampled_from(["type", "timestamp_field", "created_timestamp_column", "file", "field_mapping"]))
    said[key] = {"x": "a"} if key == "field_mapping" else "other"


def change_code(c, draw):
    key = draw(st.sampled_from(["transformation_sha256", "mode"]))
    c["on_demand_views"]["priced"][key] = "2"


def change_request(c, draw):
    c["on_demand_views"]["priced"]["sources"]["asked"]["request"] = [["km", "Int64"]]


def change_input(c, draw):
    c["on_demand_views"]["priced"]["sources"]["stats"]["features"] = [["c", "Int64"]]


def change_inputs_key(c, draw):
    """Another entity's view among the inputs of a computed one, or another name for the key of one."""
    sources = c["on_demand_views"]["priced"]["sources"]
    if draw(st.booleans()):
        sources["profile"] = {"view": "profile", "features": [["e", "Int64"]]}
    else:
        sources["stats"]["join_key_map"] = {"driver_id": "chauffeur_id"}


def rename_project(c, draw):
    c["project"] = "drives"


def describe(c, draw):
    kind = draw(st.sampled_from(["views", "services", "entities"]))
    if c[kind]:
        c[kind][pick(draw, c[kind])]["description"] = "new"


def add_view(c, draw):
    c["views"][f"view_{len(c['views'])}"] = view("xyz")


def add_service(c, draw):
    said = c["views"][pick(draw, c["views"])]
    label = next(name for name, each in c["views"].items() if each is said)
    c["services"][f"service_v{len(c['services']) + 5}"] = {"features": [[label, *feature] for feature in said["features"]], "sha256": ""}


ADDITIONS = [describe, add_view, add_service]
EDITS = [
    *ADDITIONS, retype, rename_feature, drop_feature, add_feature, shuffle_view, shuffle_service, drop_from_service, add_to_service,
    drop_service, drop_view, rename_view, alias, map_join_key, change_join_key, change_key_type, change_entities, change_ttl,
    go_offline, change_source, change_code, change_request, change_input, change_inputs_key, rename_project,
]  # fmt: skip


def asked_keys(c, source):
    """What a request calls the keys of an on-demand view's input."""
    called = source.get("join_key_map", {})
    return [called.get(column, column) for column, _ in c["views"][source["view"]]["entity_columns"]]


def received(c, name):
    """What a model gets by asking for a service: names and types in order, by which keys they are stored and asked for."""
    said = c["services"].get(name)
    if said is None:
        return None
    vector = []
    for label, feature, dtype in said["features"]:
        behind = said.get("aliases", {}).get(label, label)
        computed = c["on_demand_views"].get(behind)
        stored = c["views"].get(behind)
        if computed:
            requests = sorted(map(tuple, computed["sources"].get("asked", {}).get("request", [])))
            inputs = [source for source in computed["sources"].values() if source.get("view") in c["views"]]
            vector.append((label, feature, dtype, requests, sorted(key for source in inputs for key in asked_keys(c, source))))
        elif stored:
            entities = c["entities"]
            keys = sorted((entities[entity]["join_key"], entities[entity]["value_type"]) for entity in stored["entities"])
            vector.append((label, feature, dtype, behind, keys, stored["online"]))
        else:
            vector.append((label, feature, dtype, "gone"))
    return [c["project"], said.get("join_key_maps"), vector]


def meant(c, name):
    """What the numbers stand for: where they come from, when they were true, how they are computed, when they are too old."""
    meanings = []
    for label, feature, _ in c["services"].get(name, {"features": []})["features"]:
        behind = c["services"][name].get("aliases", {}).get(label, label)
        if computed := c["on_demand_views"].get(behind):
            inputs = [
                (source["view"], column, origin(c, source["view"]))
                for source in computed["sources"].values()
                if "view" in source
                for column, _ in source["features"]
            ]
            meanings.append((feature, inputs, [computed.get(key) for key in ("transformation_sha256", "mode")]))
        else:
            meanings.append((feature, origin(c, behind)))
    return meanings


def origin(c, name):
    stored = c["views"].get(name, {})
    # Without a ttl values never grow too old, just as with 0.
    return json.dumps([c["sources"].get(stored.get("source")), stored.get("ttl_seconds") or 0], sort_keys=True)


def edited(data, edits, most):
    new = contract()
    done = []
    for edit in data.draw(st.lists(st.sampled_from(edits), min_size=1, max_size=most)):
        if not new["services"] or "fare_v1" not in new["services"]:
            break
        edit(new, data.draw)
        done.append(edit.__name__)
        if edit not in {shuffle_service, alias}:
            follow(new)
    return new, done


def judged(old, new, **more):
    return judge(Comparison(old=Snapshot(contract=old, stores=STORES), new=Snapshot(contract=new, stores=STORES), **more))


@settings(max_examples=EXAMPLES * 4, deadline=None)
@given(data=st.data())
def test_no_edit_that_changes_what_a_model_receives_passes_for_safe(data):
    old = contract()
    new, done = edited(data, EDITS, 3)
    verdict = judged(old, new)
    changed = [name for name in old["services"] if received(old, name) != received(new, name)]
    if changed:
        assert verdict.standing(BREAKING), f"{done} changes {changed}: {verdict.summary}"
        assert verdict.exit_code() == 2
    other = [name for name in old["services"] if meant(old, name) != meant(new, name)]
    if other:
        assert verdict.standing(BREAKING) or verdict.standing(WARNING), f"{done} changes what {other} means: {verdict.summary}"
        assert verdict.exit_code(strict=True) != 0


@settings(max_examples=EXAMPLES, deadline=None)
@given(data=st.data())
def test_additions_break_nothing(data):
    new, done = edited(data, ADDITIONS, 6)
    assert judged(contract(), new).exit_code() == 0, done


@settings(max_examples=EXAMPLES, deadline=None)
@given(data=st.data())
def test_the_same_definitions_twice_are_no_finding_whatever_they_are(data):
    new, _ = edited(data, EDITS, 5)
    assert judged(new, json.loads(json.dumps(new, sort_keys=True))).findings == ()


@settings(max_examples=EXAMPLES, deadline=None)
@given(data=st.data())
def test_what_is_added_one_way_is_removed_the_other_way(data):
    new, _ = edited(data, ADDITIONS, 4)
    old = contract()
    added = {(section, name) for section in ("views", "services") for name in new[section].keys() - old[section].keys()}
    back = judged(new, old)
    gone = {tuple(finding.object.split(".")) for finding in back.findings if finding.rule in {"F001", "F034"}}
    assert gone == added


@settings(max_examples=EXAMPLES // 3, deadline=None)
@given(data=st.data())
def test_a_comparison_reads_and_changes_nothing(data):
    new, _ = edited(data, EDITS, 4)
    old, before = contract(), json.dumps([contract(), new])
    judged(old, new)
    assert json.dumps([old, new]) == before


def test_every_other_order_of_a_vector_is_found():
    old = contract()
    listed = service(old, ("stats", "a"), ("stats", "b"), ("profile", "e"), ("priced", "p"), ("profile", "f"))
    old["services"] = {"fare_v1": listed}
    for order in itertools.permutations(listed["features"]):
        new = old | {"services": {"fare_v1": listed | {"features": list(order)}}}
        found = {(finding.rule, finding.object) for finding in judged(old, new).findings}
        assert found == (set() if list(order) == listed["features"] else {("F005", "services.fare_v1")})


@pytest.mark.parametrize("side", ["old", "new"])
def test_what_is_only_known_on_one_side_is_not_compared(side):
    """A registry that stock Feast wrote tells nothing of the stores."""
    known, unknown = Snapshot(contract=contract(), stores=STORES), Snapshot(contract=contract(), complete=False)
    old, new = (unknown, known) if side == "old" else (known, unknown)
    rules = {finding.rule for finding in judge(Comparison(old=old, new=new)).standing(BREAKING)}
    assert rules == (set() if side == "old" else {"F030", "F032"}), "what disappears is a change, what was never known is none"
