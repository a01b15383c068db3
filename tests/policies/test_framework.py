"""How rules reach the engine: plain values, unknowns, secrets, failures, metadata."""

import re

import pulumi
import pytest
from pulumi_policy import EnforcementLevel, ResourceValidationPolicy, StackValidationPolicy, proxy
from pulumi_policy.deserialize import deserialize_properties
from pulumi_policy.proxy import UNKNOWN_NUMBER_VALUE, UNKNOWN_OBJECT_VALUE, UNKNOWN_STRING_VALUE, unknown_checking_proxy

from feast_eks_policies import HARMS, POLICIES, RULES
from feast_eks_policies.rule import Context, Resource, ResourceRule, StackRule
from feast_eks_policies.values import UNKNOWN, UNKNOWN_SENTINELS, containers, get, leaves, parsed, plain, pod_specs

SECRET = {"4dabf18193072939515e22adb298388d": "1b47061264138c4ac30d75fd1eb44270", "value": {"password": "canary"}}


def proxied(properties):
    """Properties as a policy gets them from the SDK."""
    return unknown_checking_proxy(deserialize_properties(properties))


def resource(props, type_="kubernetes:apps/v1:Deployment", **more):
    return Resource(type=type_, name="it", urn=f"urn:pulumi:dev::feast-eks::{type_}::it", props=props, **more)


def test_every_leaf_is_converted_on_its_own():
    wire = {
        "replicas": 2.0,
        "ratio": 0.5,
        "unknown": UNKNOWN_STRING_VALUE,
        "list": [UNKNOWN_NUMBER_VALUE, {"known": "yes", "not": UNKNOWN_OBJECT_VALUE}],
        "secret": SECRET,
    }
    assert plain(proxied(wire)) == {
        "replicas": 2,
        "ratio": 0.5,
        "unknown": UNKNOWN,
        "list": [UNKNOWN, {"known": "yes", "not": UNKNOWN}],
        "secret": {"password": "canary"},
    }


def test_values_as_they_are_recorded_from_a_program_are_converted_alike():
    assert plain({"a": SECRET, "b": [UNKNOWN_STRING_VALUE], "c": None, "d": True}) == {
        "a": {"password": "canary"},
        "b": [UNKNOWN],
        "c": None,
        "d": True,
    }


def test_every_sentinel_of_the_sdk_is_known_here():
    theirs = {value for name, value in vars(proxy).items() if name.startswith("UNKNOWN_")}
    assert theirs == UNKNOWN_SENTINELS, "a sentinel that is not recognized would be taken for text"


def test_an_asset_stays_one():
    asset = pulumi.FileAsset("a.parquet")
    assert plain({"source": asset})["source"] is asset


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        (("a", "b", 0), 1),
        (("a", "b", 5), "nothing"),
        (("a", "x"), "nothing"),
        (("a", "b", "x"), "nothing"),
        (("u",), UNKNOWN),
        (("u", "below", 3), UNKNOWN),
        (("null",), "nothing"),
        (("false",), False),
    ],
)
def test_get_answers_for_what_is_absent_null_or_unknown(path, expected):
    assert get({"a": {"b": [1]}, "u": UNKNOWN, "null": None, "false": False}, *path, default="nothing") == expected


def test_leaves_name_their_places():
    assert dict(leaves({"spec": {"containers": [{"image": "x"}]}, "n": UNKNOWN})) == {"spec.containers[0].image": "x", "n": UNKNOWN}


def test_json_text_is_read_and_other_text_is_kept():
    assert parsed('{"a": [1]}') == {"a": [1]}
    assert parsed("not json") == "not json"
    assert parsed(UNKNOWN) is UNKNOWN


@pytest.mark.parametrize(
    ("type_", "props", "path"),
    [
        ("kubernetes:core/v1:Pod", {"spec": {"containers": []}}, "spec"),
        ("kubernetes:apps/v1:Deployment", {"spec": {"template": {"spec": {"containers": []}}}}, "spec.template.spec"),
        ("kubernetes:apps/v1beta1:StatefulSet", {"spec": {"template": {"spec": {"containers": []}}}}, "spec.template.spec"),
        (
            "kubernetes:batch/v1:CronJob",
            {"spec": {"jobTemplate": {"spec": {"template": {"spec": {"containers": []}}}}}},
            "spec.jobTemplate.spec.template.spec",
        ),
    ],
)
def test_the_pod_of_every_kind_of_workload_is_found(type_, props, path):
    assert [found for found, _, _ in pod_specs(resource(props, type_))] == [path]


@pytest.mark.parametrize("props", [{}, {"spec": UNKNOWN}, {"spec": {"template": UNKNOWN}}, {"spec": {"template": {"spec": UNKNOWN}}}])
def test_an_unknown_pod_is_no_pod_yet(props):
    assert list(pod_specs(resource(props))) == []


def test_containers_include_those_that_run_first_and_those_put_in_later():
    spec = {"containers": [{"name": "a"}, UNKNOWN], "initContainers": [{"name": "b"}], "ephemeralContainers": [{"name": "c"}]}
    assert [(path, c["name"]) for path, c in containers(spec)] == [
        ("containers[0]", "a"),
        ("initContainers[0]", "b"),
        ("ephemeralContainers[0]", "c"),
    ]


def rule(check, **more):
    fields = {"description": "d", "harm": "integrity", "severity": "low", "remedy": "r"} | more
    return ResourceRule(name="test-rule", types=("kubernetes:*:Deployment",), check=check, **fields)


def fails_with_a_secret(_resource):
    yield "a finding"
    raise ValueError("canary")


def test_a_rule_that_fails_is_a_violation_which_names_it_and_quotes_nothing():
    first, second = rule(fails_with_a_secret).findings(resource({}))
    assert first == "a finding", "what it found before stays"
    assert "test-rule" in second
    assert "ValueError" in second
    assert "test_framework.py" in second
    assert "canary" not in second, "an error's text may hold a value of the resource"


def test_a_stack_rule_that_fails_is_a_violation_too():
    def check(resources, context):
        yield resources[0], "about one"
        raise KeyError("canary")

    stack_rule = StackRule(name="test-rule", description="d", harm="integrity", severity="low", remedy="r", check=check)
    (about, first), (none, second) = stack_rule.findings([resource({})], Context())
    assert (about.name, first, none) == ("it", "about one", None)
    assert "KeyError" in second
    assert "canary" not in second


def test_a_rule_looks_at_its_own_types_only():
    looked_at = rule(lambda r: iter(["found"]))
    assert list(looked_at.findings(resource({}))) == ["found"]
    assert list(looked_at.findings(resource({}, "kubernetes:core/v1:Pod"))) == []


def test_options_are_what_the_configuration_says_and_else_the_strictest():
    strict = rule(lambda r: iter(()), options={"least": 3, "names": ("a",)})
    assert strict.settings(None) == {"least": 3, "names": ["a"]}
    assert strict.settings({"least": 1.0}) == {"least": 1, "names": ["a"]}, "numbers come as floats over the wire"


@pytest.mark.parametrize("policy", POLICIES, ids=lambda policy: policy.name)
def test_every_policy_is_strict_and_says_what_to_do(policy):
    assert isinstance(policy, ResourceValidationPolicy | StackValidationPolicy)
    assert policy.enforcement_level is EnforcementLevel.MANDATORY, "an environment's configuration relaxes, the pack never does"
    assert policy.severity is not None
    assert policy.remediation_steps
    assert policy.tags
    assert policy.url == f"docs/policies.md#{policy.name}"


@pytest.mark.parametrize("each", RULES, ids=lambda each: each.name)
def test_every_rule_is_described_in_one_style(each):
    assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)+", each.name), "names are given in configurations"
    assert each.harm in HARMS
    assert each.description.endswith("."), "a sentence that stands above the finding"
    assert "(?)" not in "".join(each.controls), "only controls that were looked up are cited"
    for control in each.controls:
        assert control == control.strip()
    for name, default in each.options.items():
        assert name != "enforcementLevel"
        assert isinstance(default, bool | int | float | str | tuple | list), f"{name}: the engine's schema has no such kind"


def test_names_are_unique():
    names = [each.name for each in RULES]
    assert sorted(set(names)) == sorted(names)
