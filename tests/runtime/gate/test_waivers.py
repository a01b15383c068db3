"""Waivers let one finding pass, for a reason, for a time; and say so when they are wrong."""

from datetime import date, timedelta

import pytest

from feature_runtime.gate.comparison import Comparison, Snapshot
from feature_runtime.gate.judgement import judge
from feature_runtime.gate.report import as_annotations, as_text
from feature_runtime.gate.waivers import read_waivers
from feature_runtime.refusal import Refusal

TODAY = date(2026, 11, 21)
GOOD = "{rule: F001, object: services.whole_v1, reason: nobody asks for it, expires: 2026-12-01}"


@pytest.fixture
def verdict(base, tmp_path):
    """The verdict on a removed service, with these lines in waivers.yaml."""
    removed = base.contract | {"services": {"fare_v1": base.contract["services"]["fare_v1"]}}

    def judged(*lines, today=TODAY):
        (tmp_path / "waivers.yaml").write_text("".join(f"- {line}\n" for line in lines))
        return judge(Comparison(old=base, new=Snapshot(contract=removed, stores=base.stores), today=today), read_waivers(tmp_path))

    return judged


def rules(verdict):
    return {finding.rule: (str(finding.severity), finding.waived) for finding in verdict.findings}


def test_without_a_waiver_it_breaks(verdict):
    assert verdict().exit_code() == 2


def test_a_waived_finding_is_shown_as_waived_and_does_not_fail(verdict):
    judged = verdict(GOOD)
    assert rules(judged) == {"F001": ("breaking", "nobody asks for it")}
    assert judged.exit_code(strict=True) == 0
    assert judged.summary["waived"] == 1
    assert "waived (nobody asks for it)" in as_text(judged)


@pytest.mark.parametrize("day", [date(2026, 12, 1), date(2026, 12, 2)])
def test_a_waiver_counts_to_the_end_of_its_last_day(verdict, day):
    judged = verdict(GOOD, today=day)
    expired = day > date(2026, 12, 1)
    assert judged.exit_code() == (2 if expired else 0)
    assert ("W001" in rules(judged)) == expired


@pytest.mark.parametrize(
    ("line", "problem", "severity"),
    [
        (GOOD.replace("F001", "F999"), "W002", "breaking"),
        (GOOD.replace("nobody asks for it", "''"), "W003", "breaking"),
        (GOOD.replace("whole_v1", "other_v1"), "W004", "warning"),
    ],
)
def test_a_waiver_that_is_wrong_is_a_finding_and_lets_nothing_pass(verdict, line, problem, severity):
    judged = verdict(line)
    assert rules(judged)[problem] == (severity, "")
    assert judged.exit_code() == 2


def test_an_unused_waiver_alone_is_a_warning(base, tmp_path):
    (tmp_path / "waivers.yaml").write_text(f"- {GOOD}\n")
    judged = judge(Comparison(old=base, new=base, today=TODAY), read_waivers(tmp_path))
    assert rules(judged) == {"W004": ("warning", "")}
    assert (judged.exit_code(), judged.exit_code(strict=True)) == (0, 1)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("- [", "no YAML"),
        ("rule: F001", "no list"),
        ("- F001", "entry 1 is no map"),
        ("- {rule: F001}", "entry 1 has no expires, object"),
        (f"- {GOOD}\n- {GOOD.replace('2026-12-01', 'soon')}", "entry 2: expires is 'soon'"),
        (f"- {GOOD.replace('2026-12-01', '2026-12-01T00:00:00Z')}", "entry 1: expires is"),
        (f"- {GOOD.replace('rule', 'rules')}", "unknown keys rules"),
    ],
)
def test_a_file_that_is_no_list_of_waivers_is_refused_with_its_shape(tmp_path, text, says):
    (tmp_path / "waivers.yaml").write_text(text)
    with pytest.raises(Refusal, match="expires: YYYY-MM-DD") as refusal:
        read_waivers(tmp_path)
    assert says in str(refusal.value)
    assert refusal.value.exit_code == 1


def test_no_file_and_an_empty_one_are_no_waivers(tmp_path):
    assert read_waivers(tmp_path) == []
    (tmp_path / "waivers.yaml").write_text("# none\n")
    assert read_waivers(tmp_path) == []


def test_a_service_that_keeps_its_name_through_a_waived_break_is_warned_about(base, copied, tmp_path):
    copied["services"]["fare_v1"]["features"].reverse()
    tomorrow = TODAY + timedelta(days=1)
    (tmp_path / "waivers.yaml").write_text(f"- {{rule: F005, object: services.fare_v1, reason: x, expires: {tomorrow}}}\n")
    judged = judge(Comparison(old=base, new=Snapshot(contract=copied, stores=base.stores), today=TODAY), read_waivers(tmp_path))
    assert rules(judged)["F065"] == ("warning", "")


def test_an_annotation_stands_at_the_definition_and_cannot_be_broken_out_of(base, copied):
    copied["services"]["fare_v1"]["features"].reverse()
    copied["views"]["spare"]["description"] = "100 %\n::error::mine"
    copied["services"].pop("whole_v1")
    judged = judge(Comparison(old=base, new=Snapshot(contract=copied, stores=base.stores)))
    lines = as_annotations(judged, {"services.fare_v1": "definitions.py:7"}, "feature_repo").splitlines()
    assert lines[0].startswith("::error file=feature_repo/contract.lock.json,line=1,title=F001 services.whole_v1::")
    assert lines[1].startswith("::error file=feature_repo/definitions.py,line=7,title=F005 services.fare_v1::")
    assert [line.split(" ")[0] for line in lines] == ["::error", "::error", "::notice"]
