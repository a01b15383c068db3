"""Whatever stands at whatever place of a resource, a rule judges it or passes over it; it never fails."""

from collections.abc import Mapping
from dataclasses import replace

import pytest

from feast_eks_policies import RULES, durability_aws, encryption, exposure_aws
from feast_eks_policies.rule import Context, ResourceRule, StackRule
from feast_eks_policies.values import UNKNOWN
from tests.infra.engine import run_program, stack_config
from tests.policies.recording import record
from tests.policies.resources_aws import good, paths_of

ODD = (None, "", "odd", 0, True, [], {}, [None], ["odd"], {"odd": None}, UNKNOWN)
FAILED = "itself failed"


@pytest.fixture(scope="module")
def recording():
    return record(lambda: run_program(stack_config("prod"), stack="prod", preview=True), stack="prod")


@pytest.fixture(scope="module")
def damaged_resources(recording):
    """One resource of every type, of production and of the tests' own, with each odd value at each of its places."""
    found = {resource.type: resource for resource in [*recording.inputs, *good().values()]}
    return {type_: list(damaged(resource)) for type_, resource in found.items()}


def damaged(resource):
    yield "no properties", replace(resource, props={})
    for path in paths_of(resource.props):
        for odd in ODD:
            yield f"{'.'.join(map(str, path))} = {odd!r}", replace(resource, props=with_value(resource.props, path, odd))


def with_value(value, path, new):
    """A copy of what is on the path; the rest is shared, since rules change nothing."""
    if not path:
        return new
    copy = dict(value) if isinstance(value, Mapping) else list(value)
    copy[path[0]] = with_value(value[path[0]], path[1:], new)
    return copy


def failures(rule, resource, stack=()):
    """What a rule says of its own failure when it meets the resource among the others of its stack."""
    settings = rule.settings({})
    if isinstance(rule, ResourceRule):
        found = rule.findings(replace(resource, settings=settings))
    else:
        others = [other for other in stack if other.urn != resource.urn]
        found = [message for _, message in rule.findings([*others, resource], Context(settings=settings, stack="prod"))]
    return [message for message in found if FAILED in message]


@pytest.mark.parametrize("rule", [rule for rule in RULES if isinstance(rule, ResourceRule)], ids=lambda rule: rule.name)
def test_a_resource_rule_survives_odd_values(rule, damaged_resources):
    for type_, cases in damaged_resources.items():
        if cases[0][1].is_a(*rule.types):
            for what, bad in cases:
                assert failures(rule, bad) == [], f"{type_}: {what}"


@pytest.mark.parametrize(
    "rule", [rule for rule in exposure_aws.RULES + encryption.RULES + durability_aws.RULES if isinstance(rule, StackRule)]
)
def test_a_stack_rule_of_buckets_survives_odd_values(rule):
    stack = list(good().values())
    for resource in stack:
        for what, bad in damaged(resource):
            assert failures(rule, bad, stack) == [], f"{resource.type}: {what}"


@pytest.mark.parametrize("rule", [rule for rule in RULES if isinstance(rule, StackRule)], ids=lambda rule: rule.name)
def test_a_stack_rule_survives_odd_values_in_production(rule, recording):
    for resource in {resource.type: resource for resource in recording.outputs}.values():
        for key in resource.props:
            for odd in (None, [], "odd", [None], {"odd": None}, UNKNOWN):
                bad = replace(resource, props={**resource.props, key: odd})
                assert failures(rule, bad, recording.outputs) == [], f"{resource.name}: {key} = {odd!r}"
