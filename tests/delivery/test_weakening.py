"""Which changes of the policies let through more than before."""

import json

import pytest

from delivery.weakening import STRICTNESS, compare_configurations, compare_packs

from .conftest import PROJECT

RULE = 'ResourceRule(name="{}", description="It is so.", check=check)\n'


def changes(before, after):
    return compare_configurations(json.dumps(before), json.dumps(after))


@pytest.mark.parametrize(
    ("before", "after", "old", "new"),
    [
        ({}, {"s3-tls-only": "advisory"}, "mandatory", "advisory"),
        ({}, {"s3-tls-only": {"enforcementLevel": "disabled"}}, "mandatory", "disabled"),
        ({"s3-tls-only": "advisory"}, {"s3-tls-only": "disabled"}, "advisory", "disabled"),
        ({"s3-tls-only": "remediate"}, {"s3-tls-only": "advisory"}, "remediate", "advisory"),
        ({}, {"s3-tls-only": "off"}, "mandatory", "off"),
    ],
)
def test_a_lower_level_is_weaker_and_its_opposite_is_not(before, after, old, new):
    (change,) = changes(before, after)
    assert (change.name, change.old, change.new, change.weaker) == ("s3-tls-only", old, new, True)
    (back,) = changes(after, before)
    assert not back.weaker or new not in STRICTNESS


def test_one_level_for_all_is_weaker_for_all():
    (change,) = changes({}, {"all": "advisory"})
    assert change.name == "every rule without a level of its own"
    assert change.weaker


def test_a_rule_that_is_kept_strict_while_all_are_relaxed_is_not_weaker():
    assert [change.name for change in changes({"r": "mandatory"}, {"all": "advisory", "r": "mandatory"}) if change.weaker] == [
        "every rule without a level of its own"
    ]


def test_an_option_away_from_strict_is_weaker_though_the_level_stays():
    (change,) = changes({}, {"s3-encryption-kms": {"algorithms": ["AES256"]}})
    assert change.what == "option algorithms"
    assert (change.old, change.new, change.weaker) == ("the strict default", '["AES256"]', True)
    (back,) = changes({"s3-encryption-kms": {"algorithms": ["AES256"]}}, {})
    assert not back.weaker


def test_another_value_of_an_option_is_for_a_reviewer_to_judge():
    (change,) = changes({"r": {"most": 3}}, {"r": {"most": 5}})
    assert (change.old, change.new, change.weaker) == ("3", "5", True)


def test_the_same_configuration_in_other_words_changes_nothing():
    assert changes({"r": "advisory"}, {"r": {"enforcementLevel": "advisory"}}) == []
    assert changes({}, {"r": "mandatory"}) == []


@pytest.mark.parametrize("broken", ["{", "[]", '"advisory"'])
def test_a_configuration_that_cannot_be_read_is_no_silence(broken):
    (change,) = compare_configurations("{}", broken)
    assert change.weaker


def test_a_removed_configuration_is_stricter():
    assert not any(change.weaker for change in compare_configurations('{"r": "advisory"}', None))


def test_a_rule_that_is_gone_from_the_pack_is_weaker(tmp_path):
    for side, rules in (("before", ("keeps", "goes")), ("after", ("keeps", "comes"))):
        (tmp_path / side).mkdir()
        (tmp_path / side / "rules.py").write_text("".join(RULE.format(name) for name in rules))
    found = compare_packs(tmp_path / "before", tmp_path / "after")
    assert [(change.name, change.weaker) for change in found] == [("goes", True), ("comes", False), ("rules.py", False)]


def test_a_pack_of_a_pull_request_is_read_and_never_run(tmp_path):
    (tmp_path / "before").mkdir()
    (tmp_path / "after").mkdir()
    (tmp_path / "after" / "rules.py").write_text("raise SystemExit('run')\n" + RULE.format("x"))
    (tmp_path / "after" / "broken.py").write_text("def (:\n")
    assert [change.name for change in compare_packs(tmp_path / "before", tmp_path / "after")] == ["x"]


def test_the_rules_of_our_own_pack_are_found_in_its_source():
    pack = PROJECT / "policies"
    assert compare_packs(pack, pack) == []
    names = {change.name for change in compare_packs(pack, PROJECT / "docs") if change.what == "rule"}
    assert {"s3-tls-only", "image-digest", "env-config-matches-stack"} <= names
