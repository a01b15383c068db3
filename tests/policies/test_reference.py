"""docs/policies.md says what the pack does."""

from feast_eks_policies import RULES, reference
from feast_eks_policies.configuration import environments
from tests.infra.engine import PROJECT

PAGE = PROJECT / "docs" / "policies.md"


def test_the_committed_page_is_fresh(capsys):
    assert reference.main([str(PAGE), "--check"]) == 0, capsys.readouterr().err


def test_a_stale_page_is_refused_with_the_way_out(tmp_path, capsys):
    page = tmp_path / "policies.md"
    page.write_text("old")
    assert reference.main(["--check", str(page)]) == 1
    assert "make docs" in capsys.readouterr().err
    assert reference.main([str(page)]) == 0
    assert reference.main([str(page), "--check"]) == 0


def test_every_rule_has_a_row_a_heading_and_a_remedy():
    text = reference.reference()
    for rule in RULES:
        assert f"| [`{rule.name}`](#{rule.name}) | {rule.severity} |" in text
        assert f"\n### {rule.name}\n" in text, "a violation's address leads here"
        assert f"Remedy: {rule.remedy}." in text


def test_every_relaxation_is_on_the_page():
    text = reference.reference()
    for environment in environments():
        assert f" {environment} |" in text
    assert "mandatory, relaxed" in text
