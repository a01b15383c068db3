"""The environments' configurations: every word of them means something, and a laxer place is never stricter than a stricter one."""

import itertools
import json

import pytest

from feast_eks_policies import RULES, check_config
from feast_eks_policies.configuration import DIRECTORY, LEVELS, environments, level, options, problems
from feast_eks_policies.rule import Resource
from tests.infra.engine import STACKS

RULES_BY_NAME = {rule.name: rule for rule in RULES}
FROM_LAX_TO_STRICT = ("dev", "staging", "prod")
"""Where a change comes through; the sandbox, local, is a place of its own."""
CONFIG_RULE = RULES_BY_NAME["env-config-matches-stack"]


def stack_resource(stack):
    urn = f"urn:pulumi:{stack}::feast-eks::pulumi:pulumi:Stack::feast-eks-{stack}"
    return Resource(type="pulumi:pulumi:Stack", name=f"feast-eks-{stack}", urn=urn, props={})


def said(stack, config):
    resource = stack_resource(stack)
    settings = CONFIG_RULE.settings(options(CONFIG_RULE.name, config))
    return list(CONFIG_RULE.findings(Resource(**{**vars(resource), "settings": settings})))


def written(directory, name="dev", **changes):
    path = directory / f"{name}.json"
    path.write_text(json.dumps({"env-config-matches-stack": {"environment": name}} | changes))
    return path


def found(path):
    return list(problems(path, RULES_BY_NAME))


@pytest.mark.parametrize("path", sorted(DIRECTORY.glob("*.json")), ids=lambda path: path.stem)
def test_every_configuration_is_valid(path):
    assert found(path) == []


def test_every_stack_has_a_configuration():
    assert sorted(environments()) == sorted(STACKS) == sorted([*FROM_LAX_TO_STRICT, "local"])


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_a_stricter_environment_never_has_a_lower_level(rule):
    configs = environments()
    levels = [LEVELS.index(level(rule.name, configs[environment])) for environment in FROM_LAX_TO_STRICT]
    assert levels == sorted(levels), f"{rule.name}: {dict(zip(FROM_LAX_TO_STRICT, levels, strict=True))}"


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_an_option_that_relaxes_a_stricter_environment_relaxes_the_laxer_ones_too(rule):
    configs = environments()
    for laxer, stricter in itertools.pairwise(FROM_LAX_TO_STRICT):
        if rule is CONFIG_RULE or level(rule.name, configs[laxer]) == "disabled":
            continue
        relaxed = options(rule.name, configs[stricter])
        assert set(relaxed) <= set(options(rule.name, configs[laxer])), f"{rule.name} in {laxer} is stricter than in {stricter}"


def test_production_disables_nothing():
    assert [name for name in environments()["prod"] if level(name, environments()["prod"]) != "mandatory"] == []


def test_no_rule_is_disabled_everywhere():
    for rule in RULES:
        assert any(level(rule.name, config) == "mandatory" for config in environments().values()), f"{rule.name} binds nobody"


def test_a_rule_that_does_not_exist_is_named(tmp_path):
    assert found(written(tmp_path, **{"s3-versionning": "disabled"})) == [
        "dev.json: s3-versionning is no rule; the names are in docs/policies.md"
    ]


def test_an_option_that_does_not_exist_is_named_with_those_that_do(tmp_path):
    assert found(written(tmp_path, **{"s3-encryption-kms": {"algorithm": "AES256"}})) == [
        "dev.json: s3-encryption-kms has no option algorithm; it knows algorithms"
    ]
    assert found(written(tmp_path, **{"s3-versioning": {"x": 1}})) == ["dev.json: s3-versioning has no option x; it has none"]


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"s3-versioning": "off"}, "no level 'off'"),
        ({"s3-versioning": {"enforcementLevel": "warn"}}, "s3-versioning.enforcementLevel is 'warn'"),
        ({"s3-encryption-kms": {"algorithms": "AES256"}}, 's3-encryption-kms.algorithms is "AES256"'),
        ({"s3-encryption-kms": {"algorithms": [1]}}, "s3-encryption-kms.algorithms"),
        ({"kms-key-guarded": {"deletion_window_days": True}}, "deletion_window_days is true"),
        ({"all": "advisory"}, "all sets every rule at once"),
        ({"env-config-matches-stack": {"environment": "prod"}}, 'environment is "prod"; write "dev"'),
        ({"env-config-matches-stack": "disabled"}, "env-config-matches-stack is disabled"),
        ({"env-config-matches-stack": {"environment": "dev", "enforcementLevel": "advisory"}}, "is advisory"),
    ],
)
def test_what_means_nothing_is_refused(tmp_path, changes, named):
    assert any(named in problem for problem in found(written(tmp_path, **changes))), found(written(tmp_path, **changes))


@pytest.mark.parametrize("text", ["{", "[]", "", '"prod"'])
def test_what_is_no_object_is_refused(tmp_path, text):
    path = tmp_path / "dev.json"
    path.write_text(text)
    assert len(found(path)) == 1


def test_a_missing_file_is_said_to_be_unreadable(tmp_path):
    assert "cannot be read" in found(tmp_path / "dev.json")[0]


def test_the_command_says_where_and_what_and_fails(tmp_path, capsys):
    path = written(tmp_path, **{"no-such-rule": "disabled"})
    assert check_config.main([str(path)]) == 1
    assert "no-such-rule" in capsys.readouterr().err


def test_the_command_checks_the_packs_own_configurations_by_default(capsys):
    assert check_config.main([]) == 0
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("stack", STACKS)
def test_a_stack_under_its_own_configuration_is_fine(stack):
    assert said(stack, environments()[stack]) == []


def test_without_a_configuration_everything_is_strict_and_the_preview_says_what_was_forgotten():
    assert said("dev", {}) == ["no environment's configuration was given: pass --policy-pack-config policies/config/dev.json"]


def test_a_stack_under_another_environments_configuration_is_refused():
    (message,) = said("prod", environments()["dev"])
    assert "for dev" in message
    assert "policies/config/prod.json" in message


def test_an_organization_in_the_stacks_name_changes_nothing():
    assert said("acme/feast-eks/prod", environments()["prod"]) == []


def test_a_stack_that_only_ends_alike_is_another_stack():
    assert said("not-prod", environments()["prod"]) != []


def test_a_broken_configuration_is_refused_by_the_pack_itself(tmp_path, monkeypatch):
    monkeypatch.setattr("feast_eks_policies.configuration.DIRECTORY", tmp_path)
    written(tmp_path, **{"no-such-rule": "disabled"})
    (message,) = said("dev", {"env-config-matches-stack": {"environment": "dev"}})
    assert "no-such-rule" in message, "the engine takes an unknown name without a word"
