"""Every registration of every stack meets every rule, at the levels of its own environment."""

import pytest

from feast_eks_policies.configuration import environments
from tests.infra.engine import STACKS, run_program, stack_config
from tests.policies.recording import STRICT, record

RECORDINGS = {}


@pytest.fixture(params=STACKS)
def stack(request):
    return request.param


@pytest.fixture
def recording(stack):
    if stack not in RECORDINGS:
        RECORDINGS[stack] = record(lambda: run_program(stack_config(stack), stack=stack, preview=True), stack=stack)
    return RECORDINGS[stack]


def mandatory(violations):
    return [str(violation) for violation in violations if violation.level in ("mandatory", "remediate")]


def test_a_stack_breaks_no_rule_of_its_environment(stack, recording):
    assert len(recording.inputs) > 50, "a program that registers nothing breaks no rule either"
    (itself,) = (resource for resource in recording.outputs if resource.type == "pulumi:pulumi:Stack")
    assert itself.stack == stack
    assert itself.props["feature_server_url"], "rules about outputs need some"
    assert mandatory(recording.violations(environments()[stack])) == []


def test_a_first_preview_breaks_no_rule_of_its_environment(stack, recording):
    first_preview = recording.without_what_depends_on_others()
    assert mandatory(first_preview.violations(environments()[stack])) == [], "what is not known yet is no violation"


def test_the_only_thing_that_a_stack_lacks_is_what_its_environment_gave_up(stack, recording):
    relaxed = {name for name in environments()[stack] if name != "env-config-matches-stack"}
    assert {violation.rule for violation in recording.violations(STRICT)} <= relaxed | {"env-config-matches-stack"}


def test_no_environment_gives_up_what_its_stack_does_not_need(stack, recording):
    broken = {violation.rule for violation in recording.violations(STRICT)}
    given_up = {name for name in environments()[stack] if name != "env-config-matches-stack"}
    assert given_up <= broken, "a level that is relaxed for nothing hides the day when it matters"


def test_no_rule_fails_on_any_stack(stack, recording):
    assert [str(v) for v in recording.violations(STRICT) if "itself failed" in v.message] == []


def test_no_message_quotes_a_password(stack, recording):
    passwords = {r.props["result"] for r in recording.outputs if r.type.endswith(":RandomPassword")}
    assert passwords, "the program makes passwords"
    for violation in recording.violations(STRICT):
        assert not any(password in violation.message for password in passwords), f"{violation.rule} prints a password"
