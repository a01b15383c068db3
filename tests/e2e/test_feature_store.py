"""What `make up` promises, on a real node: one feature store, used, changed, broken and mended as a user would."""

import base64
import contextlib
import json
import os
import random
import re
import signal
import subprocess
import time
import urllib.error
import urllib.request

import pytest

from delivery.engine import drift_commands
from tests.soak import SOAK

FEATURES = ["tenure", "salary_band", "overtime", "promotion_stagnation", "career_velocity", "overall_satisfaction"]
NAMESPACE = "feast"
MAKE_UP = ("make", "up")
PULUMI_UP = ("pulumi", "up", "--yes", "--skip-preview", "--color=never")
WITHOUT_A_TIMEOUT = 300
"""Seconds. A refusal takes one, the rest is a busy machine's; the Jobs' own deadlines are 600 and more."""


@pytest.fixture(autouse=True)
def _up(first_up):
    """Every test here works on what the first `make up` brought."""


@pytest.fixture
def ask(kubectl):
    """POST /get-online-features; the answer's first entity by feature name."""

    def post(**body):
        address = kubectl("get", "service", "feature-server", "-o", "jsonpath={.spec.clusterIP}")
        request = urllib.request.Request(
            f"http://{address}:6566/get-online-features",
            data=json.dumps(body).encode(),
            headers={"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=20) as response:
            answer = json.load(response)
        return dict(zip(answer["metadata"]["feature_names"], (r["values"][0] for r in answer["results"]), strict=True))

    return post


@pytest.fixture
def definitions(clone):
    """Edits feature_views.py, and puts the feature repo back."""
    views, lock = (clone / "feature_repo" / name for name in ("feature_views.py", "contract.lock.json"))
    before = views.read_text(), lock.read_text()

    def add_field(line):
        text = before[0].replace('Field(name="tenure"', f'{line}\n        Field(name="tenure"', 1)
        assert text != before[0]
        views.write_text(text)

    yield add_field
    views.write_text(before[0])
    lock.write_text(before[1])


def make_up(cloud, clone):
    return cloud.run("make", "up", cwd=clone, timeout=1200)


def refused_up(cloud, clone, *, looks_again=True):
    """What an update says that fails: by itself, without waiting for the deadline of a Job or for Pulumi's patience."""
    began = time.monotonic()
    up = cloud.run(*(MAKE_UP if looks_again else PULUMI_UP), cwd=clone, timeout=1200)
    assert up.returncode != 0, up.stdout
    assert time.monotonic() - began < WITHOUT_A_TIMEOUT, up.stdout
    assert "Traceback" not in up.stdout
    return up.stdout


def mend(cloud, clone):
    up = make_up(cloud, clone)
    assert up.returncode == 0, up.stdout
    return up.stdout


def test_it_ends_with_one_employee_as_served_and_as_stored(first_up):
    assert "Features are being served." in first_up
    assert "attrition_model_v1" in first_up
    table = re.findall(r"^  (\w+) +(\S+) +(\S+)$", first_up, re.MULTILINE)
    shown = [(name, served, stored) for name, served, stored in table if name in FEATURES]
    assert [name for name, _, _ in shown] == FEATURES, "not in contract order"
    assert all(served == stored for _, served, stored in shown)


def test_the_vectors_of_known_employees_come_back_complete(ask):
    for employee in (101, 202, 303):
        vector = ask(feature_service="attrition_model_v1", entities={"employee_id": [employee]})
        assert list(vector) == ["employee_id", *FEATURES], "not in contract order"
        assert vector["employee_id"] == employee
        assert None not in vector.values()


def test_the_second_time_nothing_changes(cloud, clone):
    assert re.search(r"Feature store: no changes, \d+ unchanged", mend(cloud, clone))
    policed = ("--policy-pack", "policies", "--policy-pack-config", "policies/config/local.json")
    preview = cloud.run("pulumi", "preview", "--expect-no-changes", *policed, cwd=clone)
    assert preview.returncode == 0, preview.stdout
    for command in (["refresh", "--preview-only"], ["preview", "--refresh"]):
        refresh = cloud.run("pulumi", *command, "--expect-no-changes", cwd=clone)
        assert refresh.returncode == 0, refresh.stdout
    added = cloud.run(*drift_commands("local")["nothing was added to it by hand"], cwd=clone)
    assert added.returncode == 0, added.stdout


def test_every_pod_runs_restricted(kubectl):
    labels = json.loads(kubectl("get", "namespace", NAMESPACE, "-o", "json"))["metadata"]["labels"]
    assert labels["pod-security.kubernetes.io/enforce"] == "restricted"
    pods = json.loads(kubectl("get", "pods", "-o", "json"))["items"]
    owners = {pod["metadata"]["labels"].get("app.kubernetes.io/name") for pod in pods}
    assert {"redis", "postgresql", "feature-server", "materialize", "smoke-test"} <= owners
    assert {"image-check", "registry-roles", "feast-check", "feast-apply"} <= owners
    for pod in pods:
        name, spec = pod["metadata"]["name"], pod["spec"]
        assert not [v for v in spec.get("volumes", []) if "projected" in v], f"{name} carries a service account token"
        for container in [*spec["containers"], *spec.get("initContainers", [])]:  # the charts have some
            security = spec.get("securityContext", {}) | container["securityContext"]
            assert security["runAsNonRoot"] is True, name
            assert security["readOnlyRootFilesystem"] is True, name
            assert security["allowPrivilegeEscalation"] is False, name
            assert security["capabilities"]["drop"] == ["ALL"], name
            assert security["seccompProfile"]["type"] == "RuntimeDefault", name


def test_no_password_is_in_the_state_or_in_what_the_cluster_shows(cloud, clone, kubectl):
    secrets = json.loads(kubectl("get", "secrets", "-o", "json"))["items"]
    passwords = {
        base64.b64decode(value).decode() for secret in secrets for key, value in secret["data"].items() if key.endswith("password")
    }
    assert len(passwords) >= 8
    shown = cloud.output("pulumi", "stack", "export", cwd=clone) + cloud.output("pulumi", "stack", "output", "--json", cwd=clone)
    shown += kubectl("get", "pods,configmaps,jobs,statefulsets,deployments", "-o", "json")
    for selector in ("app.kubernetes.io/name=redis", "app.kubernetes.io/name=postgresql", "app.kubernetes.io/part-of=feast-eks"):
        shown += kubectl("logs", "-l", selector, "--all-containers", "--tail=-1", "--prefix")
    processes = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    for password in passwords:
        assert password not in shown
        assert password not in processes, "a password on a command line"


def drift(cloud, clone):
    """What `preview --refresh` finds: it compares the program with what is there. Nothing is changed, in the state neither."""
    return cloud.run("pulumi", "preview", "--refresh", "--expect-no-changes", "--diff", cwd=clone)


def a_config_map(kubectl):
    names = json.loads(kubectl("get", "configmaps", "-o", "json"))["items"]
    return next(c["metadata"]["name"] for c in names if c["metadata"]["name"].startswith("feast-redis") and not c.get("immutable"))


@pytest.mark.parametrize("manager", ["kubectl-patch", "k9s"])
def test_values_that_the_program_sets_are_found_when_changed_by_hand_and_mended(cloud, clone, kubectl, manager):
    by = f"--field-manager={manager}"
    config_map = a_config_map(kubectl)
    key = next(iter(json.loads(kubectl("get", "configmap", config_map, "-o", "json"))["data"]))
    before = kubectl("get", "configmap", config_map, "-o", "json")
    kubectl("patch", "configmap", config_map, by, "--type=merge", "-p", json.dumps({"data": {key: "changed"}}))
    kubectl("patch", "cronjob", "materialize", by, "-p", '{"spec": {"suspend": true}}')
    kubectl("patch", "networkpolicy", "default-deny", by, "--type=merge", "-p", '{"spec": {"policyTypes": ["Ingress"]}}')
    kubectl("patch", "statefulset", "feast-redis-master", by, "-p", '{"spec": {"replicas": 2}}')
    found = drift(cloud, clone)
    assert found.returncode != 0, found.stdout
    for changed in (config_map, "materialization-nightly", "default-deny", "feast-redis-master"):
        assert re.search(rf"\(update\)\n.*\n.*{changed}\]", found.stdout), f"{changed} was not found:\n{found.stdout}"
    mend(cloud, clone)
    assert kubectl("get", "cronjob", "materialize", "-o", "jsonpath={.spec.suspend}") == "false", "the load stays suspended"
    assert json.loads(kubectl("get", "networkpolicy", "default-deny", "-o", "json"))["spec"]["policyTypes"] == ["Ingress", "Egress"]
    assert json.loads(kubectl("get", "configmap", config_map, "-o", "json"))["data"] == json.loads(before)["data"]
    assert kubectl("get", "statefulset", "feast-redis-master", "-o", "jsonpath={.spec.replicas}") == "1"
    assert drift(cloud, clone).returncode == 0


def test_an_object_that_is_gone_is_found_and_made_again(cloud, clone, kubectl):
    kubectl("delete", "networkpolicy", "default-deny")
    found = drift(cloud, clone)
    assert found.returncode != 0, found.stdout
    assert "default-deny" in found.stdout
    mend(cloud, clone)
    kubectl("get", "networkpolicy", "default-deny")


def test_what_is_added_by_hand_no_refresh_sees(cloud, clone, kubectl):
    """The provider looks at what the program sets only. `delivery.engine drift` looks for the rest."""
    config_map = a_config_map(kubectl)
    kubectl("patch", "configmap", config_map, "--type=merge", "-p", '{"data": {"by-hand": "yes"}}')
    kubectl("label", "deployment", "feature-server", "by-hand=yes")
    kubectl("scale", "deployment/feature-server", "--replicas=3")
    kubectl("rollout", "status", "deployment/feature-server", "--timeout=180s")  # one that is not ready is something to mend
    try:
        blind = drift(cloud, clone)
        assert blind.returncode == 0, f"the provider sees more than it did: correct docs/operations.md#drift\n{blind.stdout}"
        added = cloud.run(*drift_commands("local")["nothing was added to it by hand"], cwd=clone)
        assert added.returncode == 1, added.stdout
        assert f"{config_map} - data.by-hand" in added.stdout, added.stdout
    finally:
        kubectl("patch", "configmap", config_map, "--type=json", "-p", '[{"op": "remove", "path": "/data/by-hand"}]')
        kubectl("label", "deployment", "feature-server", "by-hand-")
        kubectl("scale", "deployment/feature-server", "--replicas=2")


def servers(kubectl):
    """The feature server's pods but those that are going: a replaced one drains its last requests after the update."""
    pods = json.loads(kubectl("get", "pods", "-l", "app.kubernetes.io/name=feature-server", "-o", "json"))["items"]
    return {pod["metadata"]["name"] for pod in pods if "deletionTimestamp" not in pod["metadata"]}


def test_a_new_field_is_previewed_applied_loaded_and_served(cloud, clone, ask, definitions, kubectl):
    before = servers(kubectl)
    definitions('Field(name="age", dtype=Int64),')
    locked = cloud.run("make", "lock", cwd=clone)
    assert locked.returncode == 0, locked.stdout
    preview = cloud.run("pulumi", "preview", "--diff", cwd=clone)
    assert preview.returncode == 0, preview.stdout
    assert '"age"' in preview.stdout or "age" in preview.stdout, "the preview does not show the new field"
    mend(cloud, clone)
    for employee in (101, 202, 303):
        value = ask(features=["employee_features:age"], entities={"employee_id": [employee]})["age"]
        assert value is not None, "the new field was not loaded"
        assert 18 <= value <= 100
    assert not before & servers(kubectl), "the servers were not rolled"


def test_a_field_that_the_data_lacks_fails_with_the_reason_and_the_old_version_serves(cloud, clone, ask, definitions):
    mend(cloud, clone)
    definitions('Field(name="no_such_column", dtype=Int64),')
    assert "no_such_column" in refused_up(cloud, clone)
    vector = ask(feature_service="attrition_model_v1", entities={"employee_id": [101]})
    assert None not in vector.values(), "the old version does not serve any more"


def test_after_the_mistake_is_corrected_the_next_up_finishes(cloud, clone):
    assert "Features are being served." in mend(cloud, clone)


@pytest.mark.parametrize(
    ("mistake", "said"),
    [
        ("Field(name=", "feature_views.py"),
        ('Field(name="tenure", dtype=Int64),', "tenure"),
    ],
)
def test_a_feature_repo_that_cannot_be_read_is_refused_in_a_sentence(cloud, clone, definitions, mistake, said):
    definitions(mistake)
    up = make_up(cloud, clone)
    assert up.returncode != 0
    assert said in up.stdout
    assert "Traceback" not in up.stdout
    assert "Feature store" not in up.stdout, "the rollout began"


def test_an_image_that_does_not_exist_is_named_and_the_old_version_serves(cloud, clone, ask):
    stack_file = clone / "stacks" / "Pulumi.local.yaml"
    before = stack_file.read_text()
    stack_file.write_text(before.replace("localhost/feast-eks/feature-runtime", "localhost/feast-eks/no-such-image"))
    try:
        said = refused_up(cloud, clone)
    finally:
        stack_file.write_text(before)
    assert "no-such-image" in said
    assert re.search("ErrImagePull|ImagePullBackOff", said), said
    assert ask(feature_service="attrition_model_v1", entities={"employee_id": [101]})["tenure"] is not None
    mend(cloud, clone)


@pytest.mark.parametrize(
    ("store", "job", "said"),
    [
        ("feast-postgresql", "feature-definitions-roles", "connecting to feast-postgresql"),
        pytest.param("feast-redis-master", "materialization-backfill", "connecting to feast-redis-master", marks=pytest.mark.soak),
    ],
)
def test_a_store_that_is_away_is_named_by_what_needs_it(cloud, clone, definitions, kubectl, store, job, said):
    mend(cloud, clone)
    definitions(f"# while {store} is away")
    assert cloud.run("make", "lock", cwd=clone).returncode == 0
    kubectl("scale", f"statefulset/{store}", "--replicas=0")
    kubectl("wait", f"pod/{store}-0", "--for=delete", "--timeout=120s")
    shown = refused_up(cloud, clone, looks_again=False)
    assert job in shown, shown
    assert said in shown, shown
    assert "Features are being served." in mend(cloud, clone), "the next update finds it missing, and brings it back"


def make_up_in_background(cloud, clone, output=subprocess.DEVNULL):
    return in_background(cloud, clone, MAKE_UP, output)


def in_background(cloud, clone, command, output=subprocess.DEVNULL):
    return subprocess.Popen(
        command,
        cwd=clone,
        env=cloud.env,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )


def test_an_interrupted_update_is_finished_by_the_next(cloud, clone, definitions):
    definitions("# interrupted\n")
    for seconds in (4, 15, 30) if SOAK else (15,):
        process = make_up_in_background(cloud, clone, subprocess.PIPE)
        time.sleep(seconds)
        os.killpg(process.pid, signal.SIGINT)
        said, _ = process.communicate(timeout=180)
        assert b"Traceback" not in said, said.decode()
    assert "Features are being served." in mend(cloud, clone)


def kills():
    """By which signal, and after how many seconds, an update of some forty is killed."""
    chance = random.Random()
    yield MAKE_UP, signal.SIGKILL, 12
    for number in range(10):
        command = PULUMI_UP if number % 3 else MAKE_UP
        by = signal.SIGTERM if number % 2 else signal.SIGKILL
        yield pytest.param(command, by, round(chance.uniform(2, 40), 1), marks=pytest.mark.soak)


@pytest.mark.parametrize(("command", "by", "after"), kills())
def test_a_killed_update_is_finished_by_the_next(cloud, clone, definitions, command, by, after):
    definitions(f"# killed by {by} after {after}\n")
    assert cloud.run("make", "lock", cwd=clone).returncode == 0
    process = in_background(cloud, clone, command)
    time.sleep(after)
    os.killpg(process.pid, by)
    process.wait()
    assert "Features are being served." in mend(cloud, clone)


@pytest.mark.soak
def test_a_registry_that_is_killed_during_apply_does_not_block_the_next_up(cloud, clone, definitions, kubectl):
    definitions("# the registry goes away\n")
    process = make_up_in_background(cloud, clone)
    known = set(kubectl("get", "jobs", "-o", "name").split())
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline and process.poll() is None:
        new = set(kubectl("get", "jobs", "-o", "name").split()) - known
        if any("feast-apply" in job for job in new):
            break
        time.sleep(0.3)
    kubectl("delete", "pod", "feast-postgresql-0", "--grace-period=0", "--force")
    process.wait(timeout=900)
    assert "Features are being served." in mend(cloud, clone)


def test_the_servers_answer_through_a_rollout(cloud, clone, ask, definitions):
    definitions("# a rollout under load\n")
    process = make_up_in_background(cloud, clone)
    answered, failed = 0, []
    while process.poll() is None:
        try:
            vector = ask(feature_service="attrition_model_v1", entities={"employee_id": [101]})
            assert list(vector) == ["employee_id", *FEATURES], "not in contract order"
            answered += 1
        except (urllib.error.URLError, TimeoutError, ConnectionError) as error:
            failed.append(str(error))
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=0.3)
    assert process.returncode == 0
    assert answered > 20
    assert not failed, f"{len(failed)} of {answered + len(failed)} requests failed: {failed[:3]}"
