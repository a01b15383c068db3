"""The whole program, run on every stack file against a recording engine."""

import json

import pulumi
import pytest

from tests.infra.engine import PROJECT, copy_of_project, run_program, stack_config

STACKS = sorted(path.name.removeprefix("Pulumi.").removesuffix(".yaml") for path in (PROJECT / "stacks").glob("Pulumi.*.yaml"))


@pytest.fixture(scope="module", params=STACKS)
def deployed(request):
    return run_program(stack_config(request.param), stack=request.param)


def environment(container):
    return {variable["name"]: variable for variable in container["env"]}


def test_every_part_of_the_feature_store_is_registered(deployed):
    for kind in (
        *("core/v1:Namespace", "bucket:Bucket", "HorizontalPodAutoscaler", "PodDisruptionBudget", "Deployment", "CronJob"),
        *("FeatureStore", "BucketVersioning", "BucketPublicAccessBlock", "BucketServerSideEncryptionConfiguration"),
        *("BucketOwnershipControls", "BucketLifecycleConfiguration", "BucketPolicy"),
    ):
        deployed.one(kind if ":" in kind else f":{kind}")
    assert set(deployed.of_type("helm.sh/v4:Chart")) == {"feast-postgresql", "feast-redis"}
    assert set(deployed.of_type("batch/v1:Job")) == {"feature-definitions-apply", "materialization-backfill", "smoke-test-job"}


def test_every_pod_is_restricted(deployed):
    for name, spec in deployed.pod_specs().items():
        assert spec["automountServiceAccountToken"] is False, f"{name} would carry a token for the Kubernetes API"
        assert spec["securityContext"]["runAsNonRoot"] is True, name
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}, name
        for container in [*spec["containers"], *spec.get("initContainers", [])]:
            security = container["securityContext"]
            assert security["allowPrivilegeEscalation"] is False, name
            assert security["readOnlyRootFilesystem"] is True, name
            assert security["capabilities"] == {"drop": ["ALL"]}, name


def test_every_container_reserves_its_memory(deployed):
    for name, spec in deployed.pod_specs().items():
        for container in [*spec["containers"], *spec.get("initContainers", [])]:
            resources = container["resources"]
            assert resources["requests"]["memory"] == resources["limits"]["memory"], name
            assert resources["requests"]["cpu"], name


def test_every_pod_names_an_identity_of_its_own_that_exists(deployed):
    accounts = {r.inputs["metadata"]["name"] for r in deployed.of_type(":ServiceAccount").values()}
    used = {name: spec["serviceAccountName"] for name, spec in deployed.pod_specs().items()}
    assert set(used.values()) <= accounts
    assert used["feature-server-deployment"] != used["materialization-nightly"]


def test_passwords_reach_pods_by_reference_only(deployed):
    secrets = {r.name for r in deployed.of_type("core/v1:Secret").values()}
    for name, spec in deployed.pod_specs().items():
        for container in [*spec["containers"], *spec.get("initContainers", [])]:
            for variable, definition in environment(container).items():
                if "PASSWORD" in variable or "SECRET" in variable:
                    assert "value" not in definition, f"{name} carries {variable} in clear"
                    assert definition["valueFrom"]["secretKeyRef"]["name"] in secrets
    plain = json.dumps([r.inputs for r in deployed.registrations if not r.type.endswith((":Secret", ":RandomPassword"))])
    assert "generated-" not in plain, "a generated password left the Secrets"


def test_the_feature_server_may_not_write_to_any_store(deployed):
    acl = deployed.of_type("core/v1:Secret")["feast-redis-acl"].inputs["stringData"]["value"]["users.acl"]
    rules = {line.split()[1]: line for line in acl.splitlines()}
    writing = {"+set", "+hset", "+del", "+hdel", "+@write", "+@all"}
    assert not writing & set(rules["feast-feature-server"].split())
    assert "+hset" in rules["feast-materialize"].split()
    server = environment(deployed.pod_specs()["feature-server-deployment"]["containers"][0])
    assert server["REGISTRY_PASSWORD"]["valueFrom"]["secretKeyRef"]["name"] == "feature-server-credentials"
    assert not {"OFFLINE_STORE_BUCKET", "AWS_ACCESS_KEY_ID"} & set(server), "the server has no business in the bucket"


def test_redis_passwords_are_only_hashes_in_the_acl(deployed):
    acl = deployed.of_type("core/v1:Secret")["feast-redis-acl"].inputs["stringData"]["value"]["users.acl"]
    assert "generated-" not in acl
    assert acl.count(" #") == len(acl.splitlines()), "a user without a password hash could log in with none"


def test_generated_passwords_start_with_a_letter(deployed):
    passwords = deployed.of_type("core/v1:Secret")["feast-postgresql-auth"].inputs["stringData"]["value"]
    assert set(passwords) == {"postgres-password", "password", "replication-password"}, "the chart refuses to render without all three"
    assert all(value[0].isalpha() for value in passwords.values())
    for generated in deployed.of_type(":RandomPassword").values():
        assert generated.inputs["special"] is False
        assert generated.inputs["length"] >= 24


def test_the_deployment_leaves_its_replicas_to_the_autoscaler(deployed):
    deployment = deployed.one(":Deployment").inputs
    autoscaler = deployed.one(":HorizontalPodAutoscaler").inputs["spec"]
    assert "replicas" not in deployment["spec"]
    assert autoscaler["scaleTargetRef"]["name"] == deployment["metadata"]["name"]
    assert autoscaler["metrics"][0]["type"] == "Pods"


def test_a_rollout_never_serves_with_fewer_pods(deployed):
    deployment = deployed.one(":Deployment").inputs["spec"]
    container = deployment["template"]["spec"]["containers"][0]
    assert deployment["strategy"]["rollingUpdate"]["maxUnavailable"] == 0
    assert {"startupProbe", "readinessProbe", "livenessProbe"} <= set(container)
    assert container["lifecycle"]["preStop"]["sleep"]["seconds"] < deployment["template"]["spec"]["terminationGracePeriodSeconds"]


def test_services_and_budget_select_exactly_the_server_pods(deployed):
    deployment = deployed.one(":Deployment").inputs["spec"]
    selector = deployment["selector"]["matchLabels"]
    assert selector.items() <= deployment["template"]["metadata"]["labels"].items()
    assert deployed.one(":PodDisruptionBudget").inputs["spec"]["selector"]["matchLabels"] == selector
    services = deployed.of_type("core/v1:Service")
    assert [s.inputs["spec"]["selector"] for s in services.values()] == [selector, selector]
    others = [s for n, s in deployed.pod_specs().items() if n != "feature-server-deployment"]
    assert others, "nothing to compare with"


def test_the_nightly_run_is_bounded_and_alone(deployed):
    spec = deployed.one(":CronJob").inputs["spec"]
    assert spec["schedule"] == "0 2 * * *"
    assert spec["timeZone"] == "Etc/UTC"
    assert spec["concurrencyPolicy"] == "Forbid"
    assert spec["startingDeadlineSeconds"] >= 10
    assert spec["jobTemplate"]["spec"]["activeDeadlineSeconds"] > 0
    assert "ttlSecondsAfterFinished" in spec["jobTemplate"]["spec"]


def test_one_off_jobs_run_again_after_a_failure_and_never_vanish(deployed):
    for name, job in deployed.of_type("batch/v1:Job").items():
        assert job.inputs["metadata"]["annotations"]["pulumi.com/replaceUnready"] == "true", name
        assert "ttlSecondsAfterFinished" not in job.inputs["spec"], f"{name} would be re-run by the refresh after it vanished"
        assert job.inputs["spec"]["activeDeadlineSeconds"] > 0


def test_the_namespace_enforces_restricted_pods(deployed):
    labels = deployed.one("core/v1:Namespace").inputs["metadata"]["labels"]
    assert labels["pod-security.kubernetes.io/enforce"] == "restricted"


def test_the_bucket_is_private_encrypted_and_versioned(deployed):
    block = deployed.one(":BucketPublicAccessBlock").inputs
    assert all(block[key] for key in ("blockPublicAcls", "blockPublicPolicy", "ignorePublicAcls", "restrictPublicBuckets"))
    assert deployed.one(":BucketVersioning").inputs["versioningConfiguration"]["status"] == "Enabled"
    statement = json.loads(deployed.one(":BucketPolicy").inputs["policy"])["Statement"][0]
    assert statement["Effect"] == "Deny"
    assert len(statement["Resource"]) == 2, "the bucket and its objects are two resources"


def test_the_definitions_go_to_the_cluster_immutable_and_without_secrets(deployed):
    config_map = deployed.one(":ConfigMap").inputs
    assert config_map["immutable"] is True
    assert {"feature_views.py", "contract.lock.json", "feature_store.yaml"} <= set(config_map["data"])
    assert "${REGISTRY_PASSWORD}" in config_map["data"]["feature_store.yaml"]
    for spec in deployed.pod_specs().values():
        assert spec["volumes"][0]["configMap"]["name"] == config_map["metadata"]["name"]


def names_of_what_runs(engine):
    return {
        "config map": engine.one(":ConfigMap").inputs["metadata"]["name"],
        **{name: job.inputs["metadata"]["name"] for name, job in engine.of_type("batch/v1:Job").items()},
    }


def test_a_change_of_the_runtime_is_a_new_image_and_runs_the_jobs_again(tmp_path):
    project = copy_of_project(tmp_path)
    before = run_program(stack_config(), project=project)
    module = next((project / "runtime" / "feature_runtime").glob("*.py"))
    module.write_text(module.read_text() + "\n# changed\n")
    after = run_program(stack_config(), project=project)
    images = [e.pod_specs()["feature-server-deployment"]["containers"][0]["image"] for e in (before, after)]
    assert images[0] != images[1]
    assert before.one(":ConfigMap").inputs == after.one(":ConfigMap").inputs, "the definitions did not change"
    changed = [n for n, job in names_of_what_runs(before).items() if job != names_of_what_runs(after)[n]]
    assert sorted(changed) == ["feature-definitions-apply", "materialization-backfill", "smoke-test-job"]


def test_a_change_of_server_size_tests_again_but_applies_nothing(tmp_path):
    before = run_program(stack_config())
    server = stack_config()["feast-eks:feature_server"] | {"cpu_millicores": 150}
    after = run_program(stack_config(feature_server=server))
    changed = [n for n, job in names_of_what_runs(before).items() if job != names_of_what_runs(after)[n]]
    assert changed == ["smoke-test-job"]


def test_definitions_without_a_fresh_contract_are_refused(tmp_path):
    project = copy_of_project(tmp_path)
    views = project / "feature_repo" / "feature_views.py"
    views.write_text(views.read_text() + "\n# changed\n")
    with pytest.raises(pulumi.RunError, match=r"contract\.lock\.json: stale(.|\n)*make lock") as refused:
        run_program(stack_config(), project=project)
    assert refused.value.engine.registrations == []


def test_two_runs_register_the_same(deployed):
    again = run_program(stack_config(), stack="local")
    by_name = sorted(again.registrations, key=lambda r: (r.type, r.name))
    assert by_name == sorted(run_program(stack_config()).registrations, key=lambda r: (r.type, r.name))


def test_a_preview_shows_the_feature_services_before_anything_exists():
    exported = run_program(stack_config(), preview=True).outputs
    assert [name for name, _ in exported["feature_services"]["attrition_model_v1"]["features"]] == [
        *("tenure", "salary_band", "overtime", "promotion_stagnation", "career_velocity", "overall_satisfaction")
    ]
