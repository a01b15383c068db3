"""Every mistake that we could think of, and who notices: a rule of the environment, or the settings before anything registers.

The tables say what somebody did; here it is done, and the one that must notice is asked.
"""

import collections
import copy
import functools
import re

import pulumi
import pytest

from feast_eks_policies import RULES, configuration
from tests.infra.engine import PROJECT, run_program, stack_config
from tests.policies.bypass import table
from tests.policies.recording import record, record_script
from tests.policies.resources_kubernetes import assert_no_secret
from tests.policies.seeded import Added, Chosen, edited
from tests.policies.seeded_edits import EDITS
from tests.policies.seeded_settings import SETTINGS

ADDED = tuple(
    Added(id=f"bypass-{resource}-{rule}", what=f"a plain resource, {resource}", caught_by=rule, program=program, resource=resource)
    for program, broken in (("aws", table.AWS), ("kubernetes", table.KUBERNETES))
    for rule, resource in broken.items()
    if rule != configuration.STACK_RULE
)
SEEDS = (*SETTINGS, *EDITS, *ADDED)
BY_NAME = {rule.name: rule for rule in RULES}
PRODUCTION = configuration.environments()["prod"]


@functools.cache
def production():
    return record(lambda: run_program(stack_config("prod"), stack="prod"), stack="prod")


@functools.cache
def bypass(program):
    return record_script(PROJECT / "tests" / "policies" / "bypass" / f"{program}.py", stack="dev")


def chosen(seed):
    """A stack file with the setting."""
    config = copy.deepcopy(stack_config(seed.stack))
    section, *keys = seed.key.split(".")
    place, key = config, f"feast-eks:{section}"
    for below in keys:
        place, key = place.setdefault(key, {}), below
    place[key] = seed.value
    if seed.value is None:
        del place[key]
    return config | seed.also


def findings(recording, rule, config):
    """What the rule says at the levels of an environment, where that stops a deployment."""
    return [v for v in recording.violations(config, (BY_NAME[rule],)) if v.level == "mandatory"]


def seeded(seed):
    """The recording with the mistake in it; a refused stack file raises."""
    if isinstance(seed, Chosen):
        return record(lambda: run_program(chosen(seed), stack=seed.stack), stack=seed.stack)
    return bypass(seed.program) if isinstance(seed, Added) else edited(production(), seed)


def test_there_are_a_hundred_and_more():
    assert len({seed.id for seed in SEEDS}) == len(SEEDS), "two rows of one name"
    assert len(EDITS) >= 100, "changes of the program itself"
    assert len(SEEDS) >= 200, "all in all"


def test_production_without_a_mistake_is_stopped_by_nothing():
    assert [str(v) for v in production().violations(PRODUCTION) if v.level == "mandatory"] == []


@pytest.mark.parametrize("seed", [s for s in SEEDS if s.caught_by in BY_NAME], ids=lambda seed: seed.id)
def test_a_mistake_is_found_by_the_rule_that_the_table_names(seed):
    recording = seeded(seed)
    found = findings(recording, seed.caught_by, PRODUCTION)
    assert found, f"{seed.what}: {seed.caught_by} says nothing"
    if isinstance(seed, Added):
        assert seed.resource in {v.resource for v in found}
    assert_no_secret(found, "feast123", "canary")
    off = {**PRODUCTION, seed.caught_by: "disabled"}
    assert not findings(recording, seed.caught_by, off), "switched off, the rule must be silent"


@pytest.mark.parametrize("seed", [s for s in SEEDS if s.caught_by not in BY_NAME], ids=lambda seed: seed.id)
def test_a_mistake_is_refused_before_anything_registers(seed):
    with pytest.raises(pulumi.RunError) as refused:
        run_program(chosen(seed), stack=seed.stack)
    assert refused.value.engine.registrations == [], "a refused file registered something"
    paths = re.findall(r"^  \d+\. (.+?): .*\n      rule:   .+\n      remedy: .+$", str(refused.value), re.MULTILINE)
    assert seed.caught_by in paths, f"{seed.what}: refused for {paths}"
    assert "feast123" not in str(refused.value), "the refusal repeats a password"


def test_every_rule_has_a_mistake_to_find():
    assert {rule.name for rule in RULES} - {seed.caught_by for seed in SEEDS} == {configuration.STACK_RULE}


def test_most_rules_are_tried_on_our_own_program():
    """A rule that only a foreign resource can break says nothing about how this program may be changed."""
    tried = collections.Counter(seed.caught_by for seed in (*SETTINGS, *EDITS))
    untried = set(BY_NAME) - set(tried)
    foreign = {"rbac-no-wildcard", "no-cluster-context-drift", "image-verification-not-bypassed"}
    assert untried <= foreign | {configuration.STACK_RULE}, "the program has none of what these are about"
