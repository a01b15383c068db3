"""How the engine is run: policies before every update, nothing else than what was approved, and every way of looking for drift."""

import json
import os
import stat

import pytest

from delivery import engine
from delivery.approval import differences, intent, read_intent
from delivery.preview import read_preview

PULUMI = """#!/usr/bin/env python3
import json, os, pathlib, sys
here = pathlib.Path(__file__).parent
with (here / "asked").open("a") as asked:
    asked.write(json.dumps(sys.argv[1:]) + chr(10))
told = json.loads((here / "told.json").read_text())
if "--event-log" in sys.argv and os.environ.get("PULUMI_DEBUG_COMMANDS") == "true" and told["events"] is not None:
    pathlib.Path(sys.argv[sys.argv.index("--event-log") + 1]).write_text(told["events"])
print(told["state"] if sys.argv[1:3] == ["stack", "export"] else "this is " + sys.argv[1])
sys.exit(told["status"].get(sys.argv[1], 0))
"""


def update(name, value, op="update"):
    urn = f"urn:pulumi:prod::feast-eks::kubernetes:apps/v1:Deployment::{name}"
    metadata = {
        "op": op,
        "urn": urn,
        "old": {"inputs": {"a": 1}},
        "new": {"inputs": {"a": value}},
        "detailedDiff": {"a": {"diffKind": "update"}},
    }
    return {"resourcePreEvent": {"metadata": metadata}}


SUMMARY = {"summaryEvent": {"resourceChanges": {"same": 3}}}


@pytest.fixture
def pulumi(tmp_path, monkeypatch, fixture):
    """A pulumi that notes what it is asked and answers what it is told to."""
    directory = tmp_path / "bin"
    directory.mkdir()
    command = directory / "pulumi"
    command.write_text(PULUMI)
    command.chmod(command.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{directory}{os.pathsep}{os.environ['PATH']}")

    class Pulumi:
        def tell(self, *events, status=None):
            text = "\n".join(json.dumps(event) for event in (*events, SUMMARY))
            self._write(events=text, status=status or {})

        def tell_nothing(self):
            self._write(events=None, status={})

        def _write(self, **told):
            (directory / "told.json").write_text(json.dumps({"state": fixture("by-hand.state.json"), **told}))

        @property
        def asked(self):
            file = directory / "asked"
            return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []

    told = Pulumi()
    told.tell()
    return told


@pytest.fixture
def approved(tmp_path):
    def write(*events):
        file = tmp_path / "approved.json"
        file.write_text(json.dumps(intent(read_preview("\n".join(json.dumps(event) for event in (*events, SUMMARY))))))
        return str(file)

    return write


def test_a_preview_has_the_policies_of_its_stack(pulumi, tmp_path):
    assert engine.main(["preview", "--stack", "staging", "--output", str(tmp_path / "out")]) == 0
    (asked,) = pulumi.asked
    assert asked[:3] == ["preview", "--stack", "staging"]
    assert asked[-4:] == ["--policy-pack", "policies", "--policy-pack-config", "policies/config/staging.json"]
    assert {"--suppress-outputs", "--non-interactive"} <= set(asked), "outputs stay out of logs that everybody can read"


def test_a_preview_leaves_what_the_comment_is_made_from(pulumi, tmp_path):
    pulumi.tell(update("web", 2), status={"preview": 255})
    out = tmp_path / "out"
    assert engine.main(["preview", "--stack", "prod", "--output", str(out)]) == 255
    assert (out / "status").read_text() == "255"
    assert "this is preview" in (out / "preview.txt").read_text()
    assert read_preview((out / "preview.json").read_text()).changes
    assert not (out / "changes.json").exists(), "a failed preview is nothing to approve"


def test_a_preview_that_tells_nothing_has_failed(pulumi, tmp_path):
    pulumi.tell_nothing()
    assert engine.main(["preview", "--stack", "prod", "--output", str(tmp_path / "out")]) == 1
    assert (tmp_path / "out" / "status").read_text() == "1"


def test_files_of_an_earlier_preview_are_not_taken_for_this_one(pulumi, tmp_path):
    out = tmp_path / "out"
    engine.main(["preview", "--stack", "prod", "--output", str(out)])
    pulumi.tell_nothing()
    engine.main(["preview", "--stack", "prod", "--output", str(out)])
    assert not (out / "preview.json").exists()
    assert not (out / "changes.json").exists()


def test_what_was_approved_is_deployed_after_another_preview(pulumi, approved, tmp_path):
    pulumi.tell(update("web", 2))
    assert engine.main(["deploy", "--stack", "prod", "--approved", approved(update("web", 2)), "--output", str(tmp_path / "out")]) == 0
    preview, up = pulumi.asked
    assert (preview[0], up[0]) == ("preview", "up")
    assert "--skip-preview" in up, "the preview has just been made, with the policies"
    assert "--policy-pack" in preview
    assert "--policy-pack" in up
    assert "--suppress-outputs" in up


@pytest.mark.parametrize(
    ("now", "said"),
    [
        ([update("web", 2), update("db", 2, "delete")], "db: delete, which nobody approved"),
        ([update("web", 2, "replace")], "web: update was approved, now it is replace"),
        ([update("web", 3)], "web: update with other values than were approved"),
        ([], "web: update was approved and is no longer needed"),
    ],
)
def test_anything_else_than_was_approved_changes_nothing(pulumi, approved, tmp_path, capsys, now, said):
    pulumi.tell(*now)
    file = approved(update("web", 2))
    assert engine.main(["deploy", "--stack", "prod", "--approved", file, "--output", str(tmp_path / "out")]) == engine.OTHERWISE
    assert [asked[0] for asked in pulumi.asked] == ["preview"], "nothing may be updated"
    assert said in capsys.readouterr().err


def test_a_policy_violation_after_the_approval_changes_nothing(pulumi, approved, tmp_path):
    pulumi.tell(update("web", 2), status={"preview": 255})
    assert engine.main(["deploy", "--stack", "prod", "--approved", approved(update("web", 2)), "--output", str(tmp_path / "out")]) == 255
    assert [asked[0] for asked in pulumi.asked] == ["preview"]


@pytest.mark.parametrize("content", ["", "[]", '{"a": 1}', None])
def test_nothing_is_approved_by_a_file_that_says_nothing(pulumi, tmp_path, content):
    file = tmp_path / "approved.json"
    if content is not None:
        file.write_text(content)
    assert engine.main(["deploy", "--stack", "prod", "--approved", str(file), "--output", str(tmp_path / "out")]) == engine.OTHERWISE
    assert pulumi.asked == []


def test_a_deployment_without_an_approval_is_refused(pulumi):
    with pytest.raises(SystemExit):
        engine.main(["deploy", "--stack", "prod"])
    assert pulumi.asked == []


def test_drift_is_looked_for_by_every_way_though_the_first_finds_some(pulumi, kubectl, tmp_path):
    pulumi.tell(status={"refresh": 1})
    assert engine.main(["drift", "--stack", "prod", "--output", str(tmp_path / "out")]) == 1
    assert [asked[0] for asked in pulumi.asked] == ["refresh", "stack", "preview", "policy"]
    refresh, export, preview, analyze = pulumi.asked
    assert export[:2] == ["stack", "export"], "what was added is looked for in the cluster, beside what the state says"
    assert {"--preview-only", "--expect-no-changes", "--run-program"} <= set(refresh), "looking must not change the state"
    assert "--expect-no-changes" in preview
    assert analyze[:2] == ["policy", "analyze"]
    issue = (tmp_path / "out" / "drift.md").read_text()
    assert issue.startswith("<!-- feast-eks drift: prod -->\n")
    assert "**does not hold**: what was deployed is there, with its values" in issue
    assert "- holds: nothing was added to it by hand" in issue
    assert "this is refresh" in issue


def test_no_drift_is_no_failure(pulumi, kubectl, tmp_path):
    assert engine.main(["drift", "--stack", "prod", "--output", str(tmp_path / "out")]) == 0
    assert "does not hold" not in (tmp_path / "out" / "drift.md").read_text()


def test_what_was_added_by_hand_is_in_the_issue_though_the_engine_sees_nothing(pulumi, kubectl, tmp_path):
    kubectl.tell(
        {
            "apiVersion": "networking.k8s.io/v1",
            "kind": "NetworkPolicy",
            "metadata": {"name": "allow-all", "namespace": "feast"},
            "spec": {"podSelector": {}, "ingress": [{}]},
        }
    )
    assert engine.main(["drift", "--stack", "prod", "--output", str(tmp_path / "out")]) == 1
    issue = (tmp_path / "out" / "drift.md").read_text()
    assert "**does not hold**: nothing was added to it by hand" in issue
    assert "NetworkPolicy feast/allow-all" in issue
    assert "`.venv/bin/python -m delivery.by_hand --stack prod`" in issue, "how to see it on another machine"


def test_what_could_not_be_looked_at_is_not_known_and_no_success(pulumi, kubectl, tmp_path):
    kubectl.tell(forbidden=["RoleBinding"])
    assert engine.main(["drift", "--stack", "prod", "--output", str(tmp_path / "out")]) == 1
    issue = (tmp_path / "out" / "drift.md").read_text()
    assert "**is not known**: nothing was added to it by hand" in issue
    assert "RoleBinding is forbidden" in issue


@pytest.mark.parametrize("stack", ["../x", "prod --yes", "", "Prod"])
def test_a_stack_that_is_no_name_is_refused(pulumi, stack):
    with pytest.raises(SystemExit):
        engine.main(["preview", "--stack", stack])
    assert pulumi.asked == []


def test_an_intent_holds_no_values(fixture):
    text = json.dumps(intent(read_preview(fixture("three-changes.events.jsonl"))))
    assert "feature-definitions-f81e9a2c" not in text, "the file is kept where everybody who reads the repository can read it"


def test_the_same_preview_is_the_same_intent(fixture, tmp_path):
    found = intent(read_preview(fixture("three-changes.events.jsonl")))
    (tmp_path / "changes.json").write_text(json.dumps(found))
    assert differences(read_intent(tmp_path / "changes.json"), found) == []
