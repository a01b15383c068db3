"""The comment on a pull request: what a reviewer learns from it, and in which order."""

import json
import re

import pytest

from delivery.comment import main, render
from delivery.features import compare_contracts
from delivery.preview import read_preview
from delivery.weakening import PolicyChange

from .conftest import HERE

GOLDEN = HERE / "golden" / "three-changes.md"


@pytest.fixture
def write(tmp_path, fixture):
    """Runs the command on files and returns the comment."""

    def run(preview, *arguments, **files):
        options = []
        for name, content in {"preview": preview, **files}.items():
            (tmp_path / name).write_text(content)
            options += [f"--{name.replace('_', '-')}", str(tmp_path / name)]
        assert main(["--stack", "prod", *options, *arguments, "--output", str(tmp_path / "comment.md")]) == 0
        return (tmp_path / "comment.md").read_text()

    return run


@pytest.fixture
def three_changes(write, fixture):
    """A pull request that changes a replica count, adds a feature and weakens a policy, as the real engine saw it."""

    def comment(preview=None):
        return write(
            preview or fixture("three-changes.events.jsonl"),
            *("--exit-status", "0"),
            contract_base=fixture("contract.before.json"),
            contract=fixture("contract.after.json"),
            policy_config_base='{ "env-config-matches-stack": { "environment": "prod" } }',
            policy_config='{ "env-config-matches-stack": { "environment": "prod" }, "image-digest": "advisory" }',
        )

    return comment


def test_three_changes_read_as_the_golden_file(three_changes):
    comment = three_changes()
    assert comment == GOLDEN.read_text(), f"read the difference; if it is meant, write what the comment is now into {GOLDEN}"


def test_the_first_screen_tells_all_three_changes(three_changes):
    screen = "\n".join(three_changes().splitlines()[:10])
    assert "`minReplicas` `2` → `3`" in screen, "the replica count"
    assert "training_hours Float32 added" in screen, "the feature"
    assert "`image-digest` `mandatory` → `advisory`" in screen, "the policy"
    assert "attrition_model_v1" in screen, "whose models receive another vector"


def test_both_forms_of_a_preview_make_the_same_comment(three_changes, fixture):
    without_policies = "\n".join(line for line in fixture("three-changes.events.jsonl").splitlines() if "policyEvent" not in line)
    assert three_changes(fixture("three-changes.digest.json")) == three_changes(without_policies), "the digest leaves out the policies only"


def test_a_refused_configuration_is_explained_by_the_errors_and_not_by_a_stack_trace(write, fixture):
    comment = write(fixture("refused.events.jsonl"), "--exit-status", "1", log=fixture("refused.txt"))
    assert "### `prod`: the preview failed" in comment
    assert "min_replicas (9) is at most max_replicas (4)" in comment
    assert "a known key" in comment, "all errors, not the first one"
    assert "nothing that holds data" not in comment, "a failed preview promises nothing"


def test_a_preview_without_events_is_explained_by_its_log(write):
    comment = write("", "--exit-status", "255", log="Previewing update (prod):\nerror: getting stack: no stack named 'prod' found\n")
    assert "the preview failed" in comment
    assert "no stack named 'prod' found" in comment


def test_a_preview_that_never_ran_is_told(write):
    comment = write("", "--exit-status", "")
    assert "the preview did not run" in comment
    assert "[!CAUTION]" in comment


def test_events_that_cannot_be_read_are_no_empty_preview(write):
    comment = write("not JSON", "--exit-status", "0")
    assert "could not be read" in comment
    assert "no resource changes" not in comment, "a reviewer would take it for harmless"


def test_what_holds_data_comes_first_and_names_what_is_lost(report, step):
    comment = render(
        report(
            step("update", name="web", old={"a": 1}, new={"a": 2}, diff={"a": "update"}),
            step("delete", "random:index/randomPassword:RandomPassword", "registry-admin-password"),
            step(
                "replace",
                "aws:s3/bucket:Bucket",
                "offline-store-bucket",
                old={"bucket": "old"},
                new={"bucket": "new"},
                diff={"bucket": "update-replace"},
            ),
        )
    )
    assert "[!CAUTION]" in comment
    assert "**Data is deleted or replaced**: `RandomPassword` `registry-admin-password`, `Bucket` `offline-store-bucket`" in comment
    assert "`Bucket` `offline-store-bucket` is **replaced**, forced by `bucket`: the bucket and every object in it." in comment
    assert comment.index("#### Data") < comment.index("#### Changed")


@pytest.mark.parametrize(
    "kind",
    [
        "aws:s3/bucket:Bucket",
        "aws:s3/bucketV2:BucketV2",
        "aws:kms/key:Key",
        "aws:rds/instance:Instance",
        "kubernetes:apps/v1:StatefulSet",
        "kubernetes:core/v1:PersistentVolumeClaim",
        "kubernetes:core/v1:Namespace",
        "kubernetes:helm.sh/v4:Chart",
        "kubernetes:helm.sh/v3:Release",
        "random:index/randomPassword:RandomPassword",
    ],
)
@pytest.mark.parametrize("op", ["delete", "replace", "delete-replaced", "create-replacement"])
def test_every_kind_that_holds_data_is_named_when_it_goes(report, step, kind, op):
    assert "**Data is deleted or replaced**" in render(report(step(op, kind, "it")))


def test_a_resource_that_loses_its_protection_is_named_though_nothing_else_changes(report, step):
    comment = render(report(step("same", "aws:s3/bucket:Bucket", "history", protect=True)))
    assert "**Data loses its protection**: `Bucket` `history`." in comment
    assert "is **no longer protected** from deletion" in comment


def test_a_changed_value_is_shown_with_both_sides_and_lists_by_name(report, step):
    container = {"name": "server", "env": [{"name": "MODE", "value": "a"}]}
    other = {"name": "server", "env": [{"name": "MODE", "value": "b"}]}
    path = "spec.containers[0].env[0].value"
    comment = render(report(step(old={"spec": {"containers": [container]}}, new={"spec": {"containers": [other]}}, diff={path: "update"})))
    assert "`spec.containers[server].env[MODE].value`: `a` → `b`" in comment


def test_json_within_a_value_is_opened(report, step):
    old, new = (
        json.dumps({"Statement": [{"Action": actions, "Effect": "Allow"}]}) for actions in (["s3:GetObject"], ["s3:GetObject", "s3:*"])
    )
    comment = render(
        report(step(kind="aws:iam/rolePolicy:RolePolicy", old={"policy": old}, new={"policy": new}, diff={"policy": "update"}))
    )
    assert "`policy.Statement[0].Action[1]`: `none` → `s3:*`" in comment, "a widened policy must not hide in a long line"


def test_created_resources_take_one_line_for_each_kind(report, step):
    comment = render(report(*(step("create", "kubernetes:networking.k8s.io/v1:NetworkPolicy", f"allow-{n}") for n in range(3))))
    assert "- 3 of `NetworkPolicy` `allow-0`, `allow-1`, `allow-2`" in comment


def test_components_are_no_resources_to_a_reviewer(report, step):
    comment = render(report(step("create", "feast-eks:index:Registry", "registry") | {"newState": {"custom": False}}))
    assert "Created" not in comment


def test_mandatory_findings_come_before_advisory_ones(report):
    urn = "urn:pulumi:prod::feast-eks::kubernetes:apps/v1:Deployment::web"
    findings = [
        {"policyName": name, "enforcementLevel": level, "message": f"What it is for.\n{name} is wrong\nset it right", "resourceUrn": urn}
        for name, level in (("a-hint", "advisory"), ("a-rule", "mandatory"))
    ]
    comment = render(report(findings=findings, exit_status=1, errors=["preview failed"]))
    assert comment.index("**mandatory** `a-rule`: `set it right`\n  - `web`: `a-rule is wrong`") < comment.index("**advisory** `a-hint`")
    assert "**Policy violated**: `a-rule`" in comment
    assert "`preview failed`" not in comment, "that explains nothing"


def test_a_weakened_policy_alone_is_a_warning(report):
    weaker = PolicyChange(name="s3-tls-only", what="level", old="mandatory", new="disabled", weaker=True)
    comment = render(report(policies=[weaker]))
    assert "[!WARNING]" in comment
    assert "**Policy weakened**: `s3-tls-only` `mandatory` → `disabled`." in comment


def test_what_the_program_warns_of_is_in_the_comment_and_what_a_provider_says_is_not(report):
    stack = "urn:pulumi:prod::feast-eks::pulumi:pulumi:Stack::feast-eks-prod"
    chart = "urn:pulumi:prod::feast-eks::kubernetes:helm.sh/v4:Chart::feast-redis"
    comment = render(
        report(
            warnings=[
                {"message": "warning: <{%fg 3%}>feature view clicks: its ttl is 1 hour<{%reset%}>\n", "urn": stack},
                {"message": "feature view visits: its ttl is 2 hours"},
                {"message": "this chart is old", "urn": chart},
            ]
        )
    )
    assert "[!WARNING]" in comment
    assert "**Warning**: `feature view clicks: its ttl is 1 hour` and 1 more, below." in comment
    assert "- `feature view visits: its ttl is 2 hours`" in comment
    assert "this chart is old" not in comment


def test_nothing_to_do_is_said_in_a_line(report):
    comment = render(report())
    assert "### `prod`: no resource changes; 3 unchanged" in comment
    assert "[!NOTE]" in comment


def test_a_reordered_vector_is_named_though_no_feature_was_added(report):
    before, after = (
        json.dumps({"services": {"m": {"features": [["v", name, "Int64"] for name in names]}}}) for names in (("a", "b"), ("b", "a"))
    )
    comment = render(report(features=compare_contracts(before, after)))
    assert "[!WARNING]" in comment
    assert "the order changes" in comment
    assert "no model would notice" in comment


def test_a_comment_that_is_too_long_keeps_what_matters_and_says_what_it_cut(report, step):
    steps = [
        step("update", name=f"web-{n}", old={"image": "a" * 90}, new={"image": "b" * 90}, diff={"image": "update"}) for n in range(2000)
    ]
    steps.append(step("delete", "kubernetes:core/v1:Namespace", "feast"))
    comment = render(report(*steps))
    assert len(comment) <= 60_000
    assert "**Data is deleted or replaced**: `Namespace` `feast`" in comment
    assert re.search(r"… and \d+ more, cut to fit a comment", comment)
    assert "The same on your machine" in comment


def test_the_marker_is_the_first_line(report):
    assert render(report()).startswith("<!-- feast-eks preview: prod -->\n")


def test_a_stack_that_is_no_name_is_refused(tmp_path):
    with pytest.raises(SystemExit):
        main(["--stack", "x --> <script>", "--preview", str(tmp_path), "--output", str(tmp_path / "c")])


def test_the_engine_masks_of_both_forms_are_shown_as_secret(report, step):
    mark = {"4dabf18193072939515e22adb298388d": "1b47061264138c4ac30d75fd1eb44270", "ciphertext": "[secret]"}
    comment = render(report(step(old={"a": mark, "b": "[secret]"}, new={"a": "x", "b": "[secret]"}, diff={"a": "update"})))
    assert "`a`: `[secret]` → `x`" in comment


def test_real_previews_are_read_whole(fixture):
    preview = read_preview(fixture("three-changes.events.jsonl"))
    assert preview.readable
    assert sorted({change.operation for change in preview.changes}) == ["replace", "update"]
    assert len(preview.of("replace")) == 4, "a replacement is told in several steps and is one change"
    assert preview.unchanged == 83
