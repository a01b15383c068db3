"""dev, staging and prod under the real engine, a real API server and their policies, at the sizes that stand in their stack files.

What stands in for what: three namespaces of one cluster for three EKS clusters, moto for AWS, the sandbox's charts for Bitnami's (they
make the same objects from the same values), and fake nodes for machines of that size. On them pods are ready and Jobs succeed because
kwok says so: these tests prove that an environment is previewed, policed, scheduled, awaited and changed as promised. That it serves is
proven on a real node, in e2e.
"""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import boto3
import pytest
import yaml

STACKS = ("dev", "staging", "prod")
FAKE_NAMESPACES = tuple(f"feast-{stack}" for stack in STACKS)
STORAGE_CLASSES = ("gp3",)
LOG_BUCKET = "feast-eks-access-logs"
UNKNOWN = "04da6b54-80e4-46f7-96ec-b56ff0331ba9"
CHARTS = {"registry": "../sandbox/charts/postgresql", "online_store": "../sandbox/charts/redis"}


@dataclass(frozen=True)
class Environment:
    """One environment of a project of its own, with a state of its own."""

    stack: str
    project: Path
    cloud: object
    variables: dict[str, str]

    def pulumi(self, *arguments, cwd=None):
        return self.cloud.run("pulumi", "--non-interactive", *arguments, cwd=cwd or self.project, **self.variables)

    def policed(self, command, *arguments):
        """A command under the environment's policies."""
        pack = ["--policy-pack", "policies", "--policy-pack-config", f"policies/config/{self.stack}.json"]
        return self.pulumi(command, "--stack", self.stack, *pack, *arguments)

    def preview(self, *arguments):
        """A preview as it is handed to programs; without policies, whose findings would stand between the JSON."""
        said = self.pulumi("preview", "--json", "--stack", self.stack, *arguments)
        digest = json.loads(said.stdout[said.stdout.index("{") :])
        assert said.returncode == 0, "\n".join(d["message"] for d in digest.get("diagnostics") or [] if d["severity"] == "error")
        return digest

    def state(self):
        export = self.cloud.output("pulumi", "stack", "export", "--stack", self.stack, cwd=self.project, **self.variables)
        return json.loads(export)["deployment"].get("resources") or []

    @property
    def stack_file(self):
        return self.project / "stacks" / f"Pulumi.{self.stack}.yaml"


@pytest.fixture(scope="module")
def log_bucket(cloud):
    s3 = boto3.client(
        "s3", endpoint_url=cloud.env["AWS_ENDPOINT_URL"], region_name="eu-west-1", aws_access_key_id="x", aws_secret_access_key="x"
    )
    s3.create_bucket(Bucket=LOG_BUCKET, CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
    allow = {
        "Effect": "Allow",
        "Principal": {"Service": "logging.s3.amazonaws.com"},
        "Action": ["s3:PutObject"],
        "Resource": f"arn:aws:s3:::{LOG_BUCKET}/*",
    }
    s3.put_bucket_policy(Bucket=LOG_BUCKET, Policy=json.dumps({"Version": "2012-10-17", "Statement": [allow]}))
    yield
    for listed in s3.list_objects_v2(Bucket=LOG_BUCKET).get("Contents", []):
        s3.delete_object(Bucket=LOG_BUCKET, Key=listed["Key"])
    s3.delete_bucket(Bucket=LOG_BUCKET)


@pytest.fixture(scope="module", params=STACKS)
def environment(request, cloud, clone, fake_nodes, monitoring_crds, aws_login, log_bucket, tmp_path_factory):
    """An environment before its first update; gone afterwards, protected or not."""
    stack = request.param
    project = tmp_path_factory.mktemp(stack) / "feast-eks"
    shutil.copytree(clone, project, symlinks=True)
    made = cloud.run("make", "sample-data", cwd=project)
    assert made.returncode == 0, made.stdout
    backend = tmp_path_factory.mktemp(f"{stack}-state")
    variables = {**aws_login, "PULUMI_BACKEND_URL": f"file://{backend}", "PULUMI_CONFIG_PASSPHRASE": "for these tests only"}
    found = Environment(stack=stack, project=project, cloud=cloud, variables=variables)
    document = yaml.safe_load(found.stack_file.read_text())
    document["config"]["feast-eks:namespace"] = f"feast-{stack}"
    for store, chart in CHARTS.items():
        document["config"][f"feast-eks:{store}"]["chart"] = {"location": chart}
    found.stack_file.write_text(yaml.safe_dump(document))
    selected = found.pulumi("stack", "select", "--create", stack)
    assert selected.returncode == 0, selected.stdout
    yield found
    found.pulumi("state", "unprotect", "--all", "--yes", "--stack", stack)
    destroyed = found.pulumi("destroy", "--yes", "--skip-preview", "--stack", stack)
    assert destroyed.returncode == 0, destroyed.stdout


@pytest.fixture(scope="module")
def first_preview(environment):
    return environment.preview()


@pytest.fixture(scope="module")
def deployed(environment, first_preview):
    """The environment after its first update under its policies; the preview was made before."""
    up = environment.policed("up", "--yes", "--skip-preview")
    assert up.returncode == 0, up.stdout
    return environment


@pytest.fixture
def stack_file(environment):
    """Changes keys of the stack file, section by section, and puts it back."""
    before = environment.stack_file.read_text()

    def change(**sections):
        document = yaml.safe_load(before)
        for name, values in sections.items():
            key = f"feast-eks:{name}"
            document["config"][key] = {**document["config"].get(key, {}), **values} if isinstance(values, dict) else values
        environment.stack_file.write_text(yaml.safe_dump(document))

    yield change
    environment.stack_file.write_text(before)


def name_of(step):
    return step["urn"].rpartition("::")[2]


def kind_of(step):
    return step["urn"].split("::")[2].rpartition("$")[2]


def changes(preview):
    """What a preview would do, by resource: `{(kind, name): {operations}}`, the summary's own line apart."""
    found = {}
    for step in preview["steps"]:
        if step["op"] not in ("same", "read") and kind_of(step) != "pulumi:pulumi:Stack":
            found.setdefault((kind_of(step), name_of(step)), set()).add(step["op"])
    return found


def test_the_first_preview_passes_the_policies(environment):
    preview = environment.policed("preview")
    assert preview.returncode == 0, preview.stdout
    assert "feast-eks@" in preview.stdout or "Policies:" in preview.stdout, "the pack did not run"
    assert "[mandatory]" not in preview.stdout


def test_the_first_preview_is_complete(environment, first_preview):
    assert "incomplete" not in json.dumps(first_preview.get("diagnostics") or [])
    created = {(kind_of(step), name_of(step)) for step in first_preview["steps"]}
    namespace = f"feast-{environment.stack}"
    sentinel, replicated = environment.stack != "dev", environment.stack != "dev"
    redis = "feast-redis-node" if sentinel else "feast-redis-master"
    postgresql = ["feast-postgresql-primary", "feast-postgresql-read"] if replicated else ["feast-postgresql"]
    for chart, sets in (("feast-redis", [redis]), ("feast-postgresql", postgresql)):
        for name in sets:
            assert ("kubernetes:apps/v1:StatefulSet", f"{chart}:{namespace}/{name}") in created, f"the preview does not show {name}"
    assert ("aws:s3/bucket:Bucket", "offline-store-bucket") in created
    assert "kubernetes:monitoring.coreos.com/v1:PrometheusRule" in {kind for kind, _ in created}


def test_a_reviewer_reads_plain_values_not_unknown_ones(first_preview):
    for step in first_preview["steps"]:
        inputs = (step.get("newState") or {}).get("inputs") or {}
        if kind_of(step).startswith("kubernetes:") and kind_of(step) != "kubernetes:core/v1:Secret":
            unknown = [line for line in json.dumps(inputs, indent=0).splitlines() if UNKNOWN in line]
            assert all("OFFLINE_STORE_BUCKET" in line or '"value"' in line or "role-arn" in line for line in unknown), (
                name_of(step),
                unknown,
            )


def test_it_comes_up_under_its_policies(deployed):
    assert [r for r in deployed.state() if r["type"] == "kubernetes:apps/v1:Deployment"]


def test_nothing_is_left_to_change_after_it_came_up(deployed):
    preview = deployed.policed("preview", "--expect-no-changes")
    assert preview.returncode == 0, preview.stdout
    refresh = deployed.pulumi("refresh", "--preview-only", "--expect-no-changes", "--run-program", "--stack", deployed.stack)
    assert refresh.returncode == 0, refresh.stdout


def test_what_was_made_passes_the_policies_too(deployed):
    """In a preview some values are unknown; in the state all of them are known."""
    pack = ["--policy-pack", "policies", "--policy-pack-config", f"policies/config/{deployed.stack}.json"]
    analyzed = deployed.pulumi("policy", "analyze", *pack, "--stack", deployed.stack)
    assert analyzed.returncode == 0, analyzed.stdout
    assert "mandatory" not in analyzed.stdout.lower()


def test_no_password_is_in_the_state_in_clear(deployed):
    state = json.dumps(deployed.state())
    passwords = deployed.cloud.output(
        "kubectl", "-n", f"feast-{deployed.stack}", "get", "secret", "feast-postgresql-auth", "-o", "jsonpath={.data}", **deployed.variables
    )
    assert "postgres-password" in passwords
    for encoded in json.loads(passwords).values():
        assert encoded not in state


def test_a_change_of_sizes_updates_in_place(deployed, stack_file):
    stack_file(
        online_store={"memory_mib": 2048, "cpu_millicores": 300},
        registry={"memory_mib": 2048},
        feature_server={"max_replicas": 12},
        materialization={"memory_mib": 3072},
    )
    changed = changes(deployed.preview())
    replaced = {resource for resource, operations in changed.items() if operations - {"update"}}
    assert {kind for kind, _ in replaced} <= {"kubernetes:batch/v1:Job"}, "only a run is made anew"
    updated = {kind for kind, _ in changed.keys() - replaced}
    assert "kubernetes:apps/v1:StatefulSet" in updated
    assert any("HorizontalPodAutoscaler" in kind for kind in updated)
    assert not [kind for kind, _ in changed if kind.startswith(("aws:", "random:"))], changed


def test_one_more_server_is_one_change(deployed, stack_file):
    stack_file(feature_server={"min_replicas": 2 if deployed.stack == "dev" else 3})
    changed = changes(deployed.preview())
    kinds = {kind.rpartition(":")[2] for kind, _ in changed}
    if deployed.stack == "dev":
        kinds.discard("PodDisruptionBudget")  # the first second server gets one
    assert kinds == {"HorizontalPodAutoscaler", "Job"}, changed
    assert {name for kind, name in changed if kind.endswith(":Job")} == {"smoke-test-job"}, "only the proof runs again"


def test_another_bucket_name_is_shown_as_a_replacement_and_refused_where_data_is_protected(deployed, stack_file):
    stack_file(offline_store={"bucket_name": f"another-{deployed.stack}"})
    preview = deployed.pulumi("preview", "--diff", "--stack", deployed.stack)
    if deployed.stack == "dev":
        assert "offline-store-bucket" in preview.stdout
        assert "replace" in preview.stdout
        return
    assert preview.returncode != 0, preview.stdout
    assert "offline-store-bucket" in preview.stdout
    assert "protect" in preview.stdout


def test_what_holds_data_cannot_be_destroyed_by_mistake(deployed):
    if deployed.stack == "dev":
        assert not [r["urn"] for r in deployed.state() if r.get("protect")], "dev is thrown away without regret"
        return
    destroy = deployed.pulumi("destroy", "--preview-only", "--stack", deployed.stack)
    assert destroy.returncode != 0, destroy.stdout
    assert "protect" in destroy.stdout


def test_a_weakened_environment_is_refused_by_name(deployed, stack_file):
    stack_file(aws={"account_id": None, "permissions_boundary_arn": None})
    preview = deployed.policed("preview")
    assert preview.returncode != 0, preview.stdout
    for rule in ("account-region-pinned", *(["iam-permissions-boundary"] if deployed.stack != "dev" else [])):
        assert rule in preview.stdout, preview.stdout


def test_a_cluster_that_does_not_exist_is_named(environment, stack_file):
    stack_file(cluster={"eks_name": "no-such-cluster"})
    preview = environment.pulumi("preview", "--stack", environment.stack)
    assert preview.returncode != 0
    assert "cluster.eks_name: 'no-such-cluster' was not found in eu-west-1" in preview.stdout
    assert "Traceback" not in preview.stdout, preview.stdout


def test_another_environments_policies_are_refused(deployed):
    other = "prod" if deployed.stack == "dev" else "dev"
    pack = ["--policy-pack", "policies", "--policy-pack-config", f"policies/config/{other}.json"]
    preview = deployed.pulumi("preview", "--stack", deployed.stack, *pack)
    assert preview.returncode != 0, preview.stdout
    assert "env-config-matches-stack" in preview.stdout


def test_an_application_reads_the_outputs_of_the_environment(deployed):
    outputs = json.loads(
        deployed.cloud.output("pulumi", "stack", "output", "--json", "--stack", deployed.stack, cwd=deployed.project, **deployed.variables)
    )
    assert outputs["namespace"] == f"feast-{deployed.stack}"
    assert outputs["offline_store_uri"].startswith("s3://")
    assert outputs["feature_services"]["attrition_model_v1"]["sha256"]


def delivery(environment, verb, *arguments):
    """What the workflows call."""
    python = str(environment.project / ".venv" / "bin" / "python")
    path = {"PYTHONPATH": ".:infra:runtime:policies"}
    return environment.cloud.run(python, "-m", f"delivery.{verb}", *arguments, cwd=environment.project, **path, **environment.variables)


@pytest.fixture
def feature_repo(environment):
    """Adds a feature to the view and to what the model receives, locks the contract, and puts all back."""
    repo = environment.project / "feature_repo"
    before = {path: path.read_text() for path in [*repo.glob("*.py"), repo / "contract.lock.json"]}

    def add(name):
        views, services = repo / "feature_views.py", repo / "feature_services.py"
        views.write_text(
            before[views].replace('Field(name="overall', f'Field(name="{name}", dtype=Float32),\n        Field(name="overall', 1)
        )
        services.write_text(before[services].replace('"overall_satisfaction"', f'"overall_satisfaction", "{name}"', 1))
        assert all(path.read_text() != before[path] for path in (views, services))
        locked = environment.cloud.run("make", "lock", cwd=environment.project)
        assert locked.returncode == 0, locked.stdout

    yield add
    for path, text in before.items():
        path.write_text(text)


def test_a_pull_requests_comment_tells_its_reviewer_what_matters(deployed, stack_file, feature_repo, tmp_path):
    if deployed.stack != "prod":
        pytest.skip("the comment is the same for every stack: prod stands for all")
    levels = deployed.project / "policies" / "config" / "prod.json"
    strict = levels.read_text()
    before = tmp_path / "before"
    for part in ("feature_repo", "policies", "stacks"):
        shutil.copytree(deployed.project / part, before / part)
    stack_file(feature_server={"min_replicas": 3})
    feature_repo("training_hours")
    levels.write_text(json.dumps(json.loads(strict) | {"s3-logging": "advisory"}))
    comment = tmp_path / "comment.md"
    run = ["--stack", "prod", "--run", str(tmp_path / "run"), "--before", str(before), "--output", str(comment)]
    try:
        previewed = delivery(deployed, "engine", "preview", "--stack", "prod", "--output", str(tmp_path / "run"))
        written = delivery(deployed, "comment", *run)
    finally:
        levels.write_text(strict)
    assert previewed.returncode == 0, previewed.stdout
    assert written.returncode == 0, written.stdout
    first_screen = comment.read_text()[:1200]
    assert "nothing that holds data is deleted or replaced" in first_screen
    assert "training_hours" in first_screen
    assert "s3-logging" in first_screen
    assert "minReplicas" in first_screen


def test_what_was_approved_is_deployed_and_nothing_else(deployed, stack_file, tmp_path):
    if deployed.stack != "dev":
        pytest.skip("the order of preview, comparison and update is the same for every stack: dev stands for all")
    stack_file(feature_server={"requests_per_second_per_replica": 150})
    previewed = delivery(deployed, "engine", "preview", "--stack", "dev", "--output", str(tmp_path / "approved"))
    assert previewed.returncode == 0, previewed.stdout
    approved = str(tmp_path / "approved" / "changes.json")
    stack_file(feature_server={"requests_per_second_per_replica": 100})
    refused = delivery(deployed, "engine", "deploy", "--stack", "dev", "--approved", approved, "--output", str(tmp_path / "other"))
    assert refused.returncode == 3, refused.stdout
    assert "otherwise than was approved; nothing was changed" in refused.stdout
    stack_file(feature_server={"requests_per_second_per_replica": 150})
    done = delivery(deployed, "engine", "deploy", "--stack", "dev", "--approved", approved, "--output", str(tmp_path / "deployed"))
    assert done.returncode == 0, done.stdout
    autoscaler = deployed.cloud.output("kubectl", "-n", "feast-dev", "get", "hpa", "feature-server", "-o", "json", **deployed.variables)
    assert json.loads(autoscaler)["spec"]["metrics"][0]["pods"]["target"]["averageValue"] == "150"
