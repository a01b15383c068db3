"""What a changed contract means for the vector that a model receives."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from delivery.features import compare_contracts

NAMES = st.lists(st.sampled_from("abcdefgh"), unique=True, max_size=6)
TYPES = st.sampled_from(["Int64", "Float32"])
FEATURES = st.builds(lambda names, types: list(zip(names, types, strict=False)), NAMES, st.lists(TYPES, min_size=6, max_size=6))


def contract(*features, view=None, **more):
    document = {"services": {"model_v1": {"features": [["people", *feature] for feature in features]}}} | more
    return json.dumps(document | ({"views": {"people": view}} if view else {}))


A, B, C = ("a", "Int64"), ("b", "Float32"), ("c", "Int64")


@pytest.mark.parametrize(
    ("before", "after", "effect"),
    [
        ((A, B), (A, B, C), "c Int64 added at position 3, the end"),
        ((A, B), (A, C, B), "c Int64 added at position 2"),
        ((A, B), (A,), "b Float32 removed"),
        ((A, B), (A, ("b", "Int64")), "b was Float32, is Int64"),
        ((A, B, C), (A, C, B), "the order changes: c where b was, b where c was"),
    ],
)
def test_each_change_of_a_vector_is_named(before, after, effect):
    (service,) = compare_contracts(contract(*before), contract(*after)).services
    assert effect in service.effects
    assert service.breaks, "a model that was trained on the old vector receives another"


def test_the_same_contract_changes_nothing():
    assert not compare_contracts(contract(A, B), contract(A, B))


@given(FEATURES, FEATURES)
def test_every_other_vector_breaks_and_is_told_and_the_same_one_is_not(before, after):
    services = compare_contracts(contract(*before), contract(*after)).services
    if before == after:
        assert services == ()
        return
    (service,) = services
    assert service.breaks
    assert service.effects, f"{before} became {after} without a word"
    shown = [tuple(line.split()[-2:]) for line in service.lines if not line.startswith("-")]
    assert shown == after, "the lines are the vector that a model receives, in its order"
    assert {line[0] for line in service.lines} & {"+", "-"}, "something of it is marked"


def test_a_view_that_is_computed_is_told_like_any_other():
    (view,) = compare_contracts(
        contract(A, on_demand_views={"sum": {"features": [["s", "Int64"]], "transformation_sha256": "1"}}),
        contract(A, on_demand_views={"sum": {"features": [["s", "Float32"]], "transformation_sha256": "2"}}),
    ).views
    assert (view.name, view.effects) == ("sum", ("s was Int64, is Float32",))
    assert view.notes == ('transformation_sha256: "1" is now "2"',)


def test_a_new_service_breaks_nothing_and_a_removed_one_does():
    none = json.dumps({"services": {}})
    assert not compare_contracts(none, contract(A)).breaking
    assert compare_contracts(contract(A), none).breaking


def test_features_from_another_view_are_told_though_the_vector_is_the_same():
    other = json.dumps({"services": {"model_v1": {"features": [["others", "a", "Int64"]]}}})
    (service,) = compare_contracts(contract(A), other).services
    assert service.notes == ("the features come from another view",)
    assert not service.breaks


def test_a_view_tells_its_features_and_its_lifetime():
    before, after = ({"features": [list(A)], "ttl_seconds": 604800}, {"features": [list(A), list(B)], "ttl_seconds": 86400})
    (view,) = compare_contracts(contract(A, view=before), contract(A, view=after)).views
    assert view.effects == ("b Float32 added at position 2, the end",)
    assert view.notes == ("ttl_seconds: 604800 is now 86400",)


def test_entities_sources_and_the_project_are_told():
    changes = compare_contracts(
        contract(A, project="x", entities={"e": {"join_key": "id"}}), contract(A, project="y", entities={"e": {"join_key": "no"}})
    )
    assert changes.others == (("entities.e", '{"join_key": "id"}', '{"join_key": "no"}'), ("project", '"x"', '"y"'))


def test_a_changed_text_of_the_definitions_alone_is_no_change():
    assert not compare_contracts(contract(A, definitions_sha256="1"), contract(A, definitions_sha256="2"))


@pytest.mark.parametrize("broken", ["{", "[]", "3"])
def test_a_contract_that_cannot_be_read_is_a_problem_and_not_no_change(broken):
    assert compare_contracts(contract(A), broken).problem


def test_the_first_contract_is_all_new():
    changes = compare_contracts(None, contract(A, project="x"))
    assert [service.before for service in changes.services] == [None]
    assert changes.others == (), "that a contract has a project is no news"
