"""Programs that use none of our components: each rule finds the one resource that breaks it, and nothing else about it is wrong."""

import re

import pytest

from feast_eks_policies import RULES
from feast_eks_policies.configuration import STACK_RULE
from tests.infra.engine import PROJECT
from tests.policies.bypass import table
from tests.policies.recording import STRICT, record_script

PROGRAMS = {"aws": table.AWS, "kubernetes": table.KUBERNETES}
DIRECTORY = PROJECT / "tests" / "policies" / "bypass"
CASES = [(program, rule, resource) for program, broken in PROGRAMS.items() for rule, resource in broken.items()]
VIOLATIONS = {}


def violations(program):
    if program not in VIOLATIONS:
        VIOLATIONS[program] = record_script(DIRECTORY / f"{program}.py", stack="dev").violations(STRICT)
    return VIOLATIONS[program]


def test_the_programs_break_every_rule():
    assert {rule for _, rule, _ in CASES} == {rule.name for rule in RULES}


def test_every_rule_speaks_when_its_resource_is_registered_as_providers_do():
    """A rule that waits for what no provider shows is silent for ever; see `test_charts.py` for what is shown of a chart."""
    assert {rule.name for rule in RULES} - {violation.rule for program in PROGRAMS for violation in violations(program)} == set()


@pytest.mark.parametrize("program", PROGRAMS)
def test_the_programs_use_none_of_our_components(program):
    assert not re.search(r"^\s*(from|import) feast_eks", (DIRECTORY / f"{program}.py").read_text(), re.MULTILINE)


@pytest.mark.parametrize(("program", "rule", "resource"), CASES, ids=[rule for _, rule, _ in CASES])
def test_a_rule_finds_the_resource_that_breaks_it(program, rule, resource):
    found = violations(program)
    about_it = {v.rule for v in found if v.resource == resource} - ({STACK_RULE} - {rule})
    broken = {name for name, broken in PROGRAMS[program].items() if broken == resource} - ({STACK_RULE} - {rule})
    assert about_it == broken, [str(v) for v in found if v.resource == resource]


@pytest.mark.parametrize("program", PROGRAMS)
def test_nothing_else_is_found(program):
    expected = {(rule, resource) for rule, resource in PROGRAMS[program].items()} | {(STACK_RULE, "bypass-dev")}
    assert {(v.rule, v.resource) for v in violations(program)} == expected


@pytest.mark.parametrize("program", PROGRAMS)
def test_no_message_quotes_a_secret(program):
    assert [v.rule for v in violations(program) if "canary" in v.message] == []
