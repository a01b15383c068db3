"""The workflows keep the rules that make a delivery safe, whoever edits them."""

import re

import pytest
import yaml

from delivery import engine, image, lint
from sandbox.tools import TOOLS

from .conftest import PROJECT

GITHUB = PROJECT / ".github"
FILES = sorted((GITHUB / "workflows").glob("*.yml"))
ACTIONS = sorted(GITHUB.glob("actions/*/action.yml"))
PINNED = re.compile(r"[\w.-]+/[\w./-]+@[0-9a-f]{40}")
SCRIPT_LINES = 5


def load(path):
    # YAML 1.1 reads the key `on` as true.
    document = yaml.safe_load(path.read_text())
    return {("on" if key is True else key): value for key, value in document.items()}


WORKFLOWS = {path.stem: load(path) for path in FILES}


def jobs():
    return [(f"{name}/{job}", definition) for name, workflow in WORKFLOWS.items() for job, definition in workflow["jobs"].items()]


def steps():
    found = [(f"{where}/{number}", step) for where, job in jobs() for number, step in enumerate(job.get("steps", []))]
    return found + [(f"{path.parent.name}/{number}", step) for path in ACTIONS for number, step in enumerate(load(path)["runs"]["steps"])]


def ids(pairs):
    return {"argnames": ("where", "what"), "argvalues": pairs, "ids": [where for where, _ in pairs]}


def test_the_workflows_are_there():
    assert set(WORKFLOWS) == {"preview", "deploy", "_deploy", "drift"}


@pytest.mark.parametrize(**ids(list(WORKFLOWS.items())))
def test_a_workflow_has_no_permissions_of_its_own(where, what):
    assert what["permissions"] == {}, "each job names what it needs"


@pytest.mark.parametrize(**ids(list(WORKFLOWS.items())))
def test_code_of_a_pull_request_never_runs_with_the_secrets_of_the_repository(where, what):
    assert not {"pull_request_target", "workflow_run", "issue_comment"} & set(what["on"]), "they run with write access on others' code"


@pytest.mark.parametrize(**ids(jobs()))
def test_a_job_names_its_permissions_and_its_end(where, what):
    assert set(what["permissions"]) <= {"contents", "id-token", "pull-requests", "issues"}
    assert what["permissions"]["contents"] == "read", "nothing here writes to the repository"
    assert "uses" in what or what["timeout-minutes"] <= 120


@pytest.mark.parametrize(**ids(steps()))
def test_an_action_is_pinned_by_its_commit_with_the_version_beside_it(where, what):
    used = what.get("uses")
    if used and not used.startswith("./"):
        assert PINNED.fullmatch(used), "a tag can be moved by whoever owns it"


@pytest.mark.parametrize("path", [*FILES, *ACTIONS], ids=lambda path: path.parent.name + "/" + path.name)
def test_a_pin_tells_its_version_and_an_action_has_one_version(path):
    for line in path.read_text().splitlines():
        if re.search(r"uses: [^.]", line):
            assert re.search(r"@[0-9a-f]{40} # v\d+\.\d+\.\d+$", line), line


def test_each_action_has_one_version_everywhere():
    used = {}
    for path in [*FILES, *ACTIONS]:
        for action, commit in re.findall(r"uses: ([\w./-]+)@([0-9a-f]{40})", path.read_text()):
            used.setdefault(action, set()).add(commit)
    assert all(len(commits) == 1 for commits in used.values()), used


@pytest.mark.parametrize(**ids(steps()))
def test_a_checkout_leaves_no_token_behind(where, what):
    if what.get("uses", "").startswith("actions/checkout@"):
        assert what["with"]["persist-credentials"] is False


@pytest.mark.parametrize(**ids(steps()))
def test_a_script_is_short_and_takes_values_through_the_environment(where, what):
    script = what.get("run", "")
    assert "${{" not in script, "a branch's name would be run as a command"
    assert len(script.strip().splitlines()) <= SCRIPT_LINES, "longer ones belong into delivery/, where they are tested"


@pytest.mark.parametrize(**ids(steps()))
def test_nothing_is_updated_but_through_the_preview_and_its_policies(where, what):
    script = what.get("run", "")
    assert not re.search(r"pulumi\s+(up|update|destroy|refresh|import|cancel|state)\b", script)
    if "pulumi" in script:
        assert re.fullmatch(r"pulumi config set --stack \S+ --path feast-eks:runtime_image\.digest \S+\n?", script)


def test_every_update_is_preceded_by_a_preview_with_the_policies():
    up, preview = engine.up_command("prod"), engine.preview_command("prod", PROJECT / "x")
    for command in (up, preview):
        assert command[command.index("--policy-pack") + 1] == "policies"
        assert command[command.index("--policy-pack-config") + 1] == "policies/config/prod.json"
    deployments = [step["run"] for _, step in steps() if "delivery.engine deploy" in step.get("run", "")]
    assert len(deployments) == 1
    assert "--approved" in deployments[0]


def test_every_stack_that_is_deployed_is_previewed_deployed_and_watched():
    stacks = [path.name.split(".")[1] for path in (PROJECT / "stacks").glob("Pulumi.*.yaml")]
    assert sorted(set(stacks) - {"local"}) == sorted(image.STACKS), "local is the sandbox's"
    for workflow, job in (("preview", "preview"), ("drift", "drift")):
        assert [row["stack"] for row in WORKFLOWS[workflow]["jobs"][job]["strategy"]["matrix"]["include"]] == list(image.STACKS)
    deployed = {name: job["with"]["stack"] for name, job in WORKFLOWS["deploy"]["jobs"].items() if "with" in job}
    assert deployed == {stack: stack for stack in image.STACKS}


@pytest.mark.parametrize("stack", image.STACKS)
def test_a_stack_gets_its_own_role_and_its_own_state(stack):
    rows = [
        row
        for name in ("preview", "drift")
        for row in WORKFLOWS[name]["jobs"][name]["strategy"]["matrix"]["include"]
        if row["stack"] == stack
    ]
    for row in rows:
        assert row["role"].endswith(f"_ROLE_{stack.upper()} }}}}")
        assert row["backend"] == f"${{{{ vars.PULUMI_BACKEND_URL_{stack.upper()} }}}}"
    called = WORKFLOWS["deploy"]["jobs"][stack]["with"]
    assert called["preview_role"] == f"${{{{ vars.AWS_PREVIEW_ROLE_{stack.upper()} }}}}"
    assert called["backend"] == f"${{{{ vars.PULUMI_BACKEND_URL_{stack.upper()} }}}}"


def test_prod_comes_after_staging_and_staging_after_dev():
    deploy = WORKFLOWS["deploy"]["jobs"]
    assert deploy["dev"]["needs"] == "image"
    assert "dev" in deploy["staging"]["needs"]
    assert "staging" in deploy["prod"]["needs"]


def test_an_update_is_never_cut_off_and_waits_for_its_approval():
    job = WORKFLOWS["_deploy"]["jobs"]["deploy"]
    assert job["concurrency"] == {"group": "deploy-${{ inputs.stack }}", "cancel-in-progress": False}
    assert job["environment"] == "${{ inputs.stack }}", "whose reviewers approve"
    assert job["needs"] == "plan"


def test_looking_for_drift_waits_for_a_running_update():
    job = WORKFLOWS["drift"]["jobs"]["drift"]
    assert job["concurrency"] == {"group": "deploy-${{ matrix.stack }}", "cancel-in-progress": False}


def test_a_fork_gets_checks_and_no_role():
    preview, offline = (WORKFLOWS["preview"]["jobs"][name] for name in ("preview", "offline"))
    assert "github.event.pull_request.head.repo.full_name == github.repository" in preview["if"]
    assert "dependabot[bot]" in preview["if"]
    assert offline["permissions"] == {"contents": "read"}
    assert "if" not in offline
    assert "secrets" not in str(offline) + str(preview)


def test_the_role_of_a_pull_request_is_no_role_that_deploys():
    text = (GITHUB / "workflows" / "preview.yml").read_text()
    assert "AWS_DEPLOY_ROLE" not in text
    assert "AWS_IMAGE_ROLE" not in text
    assert "AWS_DRIFT_ROLE" not in text


def test_a_failed_preview_is_told_too():
    job = WORKFLOWS["preview"]["jobs"]["preview"]
    preview, comment = job["steps"][-2:]
    assert "delivery.engine preview" in preview["run"]
    assert comment["if"] == "always() && !cancelled()"
    assert "GITHUB_TOKEN" in comment["env"]
    assert "GITHUB_TOKEN" not in str([*job["steps"][:-1], job["env"]]), "the program of a pull request runs without it"


def test_all_checks_run_for_everybody():
    script = "\n".join(step.get("run", "") for step in WORKFLOWS["preview"]["jobs"]["offline"]["steps"])
    for needed in ("make check", "make lock-requirements", "tests/infra", "tests/policies", "tests/delivery", "tests/feature_repo"):
        assert needed in script


def test_features_in_use_are_compared_with_what_a_pull_request_is_merged_into():
    steps = WORKFLOWS["preview"]["jobs"]["offline"]["steps"]
    (gate,) = [step for step in steps if "feature_runtime check" in step.get("run", "")]
    assert "--against git:HEAD^1 --format github" in gate["run"]
    assert "continue-on-error" not in gate
    assert steps[0]["with"]["fetch-depth"] == 2, "the first parent of the merge must be there"


def test_the_engine_is_not_older_than_its_sdk_and_the_one_that_the_sandbox_builds():
    engine = (PROJECT / ".pulumi.version").read_text().strip()
    (sdk,) = re.findall(r"^pulumi==(\S+)$", (PROJECT / "requirements.in").read_text(), re.MULTILINE)
    assert [int(part) for part in engine.split(".")] >= [int(part) for part in sdk.split(".")]
    assert next(tool.version for tool in TOOLS if tool.name == "pulumi") == f"v{engine}"


def test_whoever_changes_what_may_be_deployed_needs_the_agreement_of_its_owners():
    owned = dict(line.split(None, 1) for line in (GITHUB / "CODEOWNERS").read_text().splitlines() if line and not line.startswith("#"))
    for path in ("/policies/", "/.github/", "/delivery/", "/feature_repo/", "/stacks/Pulumi.prod.yaml"):
        assert owned[path].startswith("@")
    for path in owned:
        assert path == "*" or list(PROJECT.glob(path.strip("/"))), f"{path} owns nothing"


def test_the_linters_are_strict_and_offline():
    assert {"--offline", "--persona=auditor"} <= set(lint.zizmor_command())
    waived = yaml.safe_load((GITHUB / "zizmor.yml").read_text())["rules"]
    assert set(waived) == {"self-repository"}, "a further waiver needs its reason, in that file and here"
    assert "zizmor: ignore" not in "".join(path.read_text() for path in [*FILES, *ACTIONS])
