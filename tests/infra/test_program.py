"""The whole program, run on every stack file against a recording engine."""

import json
import os
import subprocess
import sys

import pulumi
import pytest

from tests.infra.engine import KEY_ARN, PROJECT, STACKS, copy_of_project, run_program, stack_config
from tests.infra.modes import MODES, config_of


@pytest.fixture(scope="module", params=[*STACKS, *(f"mode {mode}" for mode in MODES)])
def deployed(request):
    """The program on every stack file, and in every mode that it has."""
    if mode := request.param.removeprefix("mode ") if request.param.startswith("mode ") else "":
        return run_program(config_of(mode), stack="dev")
    return run_program(stack_config(request.param), stack=request.param)


@pytest.fixture(scope="module")
def charts(deployed):
    return {name: chart.inputs["values"] for name, chart in deployed.store_charts.items()}


def environment(container):
    return {variable["name"]: variable for variable in container["env"]}


def test_every_part_of_the_feature_store_is_registered(deployed):
    for kind in (
        *("core/v1:Namespace", "bucket:Bucket", "HorizontalPodAutoscaler", "Deployment", "providers:aws"),
        *("providers:kubernetes", "FeatureStore", "BucketVersioning", "BucketPublicAccessBlock", "BucketServerSideEncryptionConfiguration"),
        *("BucketOwnershipControls", "BucketLifecycleConfiguration", "BucketPolicy"),
    ):
        deployed.one(kind if ":" in kind else f":{kind}")
    assert set(deployed.store_charts) <= {"feast-postgresql", "feast-redis"}
    assert set(deployed.of_type("batch/v1:Job")) == {
        *("image-check-job", "feature-definitions-roles", "feature-definitions-check", "feature-definitions-apply"),
        *("materialization-backfill", "smoke-test-job"),
    }
    assert set(deployed.of_type("batch/v1:CronJob")) == {"materialization-nightly", "skew-probe-nightly"}


def test_the_kinds_of_monitoring_are_asked_for_before_anything_is_made(deployed):
    """Pulumi passes over an unknown kind in a preview, and fails at it in the middle of an update."""
    wanted = {f"{r.inputs['apiVersion']}/{r.inputs['kind']}" for r in deployed.registrations if "monitoring.coreos.com" in r.type}
    asked = deployed.of_type("helm.sh/v4:Chart").get("required-kinds")
    assert set(asked.inputs["values"]["kinds"] if asked else ()) == wanted
    if asked:
        assert "required-kinds" in deployed.one(":FeatureStore").depends_on, "whatever is made has it for a parent, and waits for it"


def test_every_pod_is_restricted(deployed):
    for name, spec in deployed.pod_specs().items():
        assert spec["automountServiceAccountToken"] is False, f"{name} would carry a token for the Kubernetes API"
        assert spec["securityContext"]["runAsNonRoot"] is True, name
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}, name
        for container in spec["containers"]:
            security = container["securityContext"]
            assert security["allowPrivilegeEscalation"] is False, name
            assert security["readOnlyRootFilesystem"] is True, name
            assert security["capabilities"] == {"drop": ["ALL"]}, name


def test_every_container_reserves_its_memory(deployed):
    for name, spec in deployed.pod_specs().items():
        for container in spec["containers"]:
            resources = container["resources"]
            assert resources["requests"]["memory"] == resources["limits"]["memory"], name
            assert resources["requests"]["cpu"], name


def test_every_pod_names_an_identity_of_its_own_that_exists(deployed):
    accounts = {r.inputs["metadata"]["name"] for r in deployed.of_type(":ServiceAccount").values()}
    used = {name: spec["serviceAccountName"] for name, spec in deployed.pod_specs().items()}
    assert set(used.values()) <= accounts
    assert used["feature-server-deployment"] != used["materialization-nightly"]


def test_passwords_reach_pods_by_reference_only(deployed):
    secrets = set(deployed.of_type("core/v1:Secret"))
    for name, spec in deployed.pod_specs().items():
        for container in spec["containers"]:
            for variable, definition in environment(container).items():
                if "PASSWORD" in variable or "SECRET" in variable:
                    assert "value" not in definition, f"{name} carries {variable} in clear"
                    assert definition["valueFrom"]["secretKeyRef"]["name"] in secrets
    plain = json.dumps([r.inputs for r in deployed.registrations if not r.type.endswith((":Secret", ":RandomPassword"))])
    assert "generated-" not in plain, "a generated password left the Secrets"


def acl_of(engine):
    """The users of Redis, where the program runs it."""
    secret = engine.of_type("core/v1:Secret").get("feast-redis-acl")
    assert bool(secret) == ("feast-redis" in engine.store_charts)
    return secret.inputs["stringData"]["value"]["users.acl"] if secret else ""


def test_who_reads_the_bucket_knows_its_region_by_both_names(deployed):
    for name, spec in deployed.pod_specs().items():
        for container in spec["containers"]:
            variables = environment(container)
            if "OFFLINE_STORE_BUCKET" in variables and name != "feature-definitions-check":  # it knows the name, and may not read
                assert variables["AWS_REGION"]["value"] == variables["AWS_DEFAULT_REGION"]["value"], name


def test_the_feature_server_may_not_write_to_any_store(deployed):
    if acl := acl_of(deployed):
        rules = {line.split()[1]: line for line in acl.splitlines()}
        writing = {"+set", "+hset", "+del", "+hdel", "+@write", "+@all"}
        assert not writing & set(rules["feast-feature-server"].split())
        assert "+hset" in rules["feast-materialize"].split()
    server = environment(deployed.pod_specs()["feature-server-deployment"]["containers"][0])
    assert server["REGISTRY_PASSWORD"]["valueFrom"]["secretKeyRef"]["name"] == "feature-server-credentials"
    assert not {"OFFLINE_STORE_BUCKET", "AWS_ACCESS_KEY_ID"} & set(server), "the server has no business in the bucket"


def test_redis_passwords_are_only_hashes_in_the_acl(deployed):
    acl = acl_of(deployed)
    assert "generated-" not in acl
    assert acl.count(" #") == len(acl.splitlines()), "a user without a password hash could log in with none"


def test_generated_passwords_start_with_a_letter(deployed, charts):
    secrets = {name: secret.inputs["stringData"]["value"] for name, secret in deployed.of_type("core/v1:Secret").items()}
    if "feast-postgresql" in charts:
        wanted = {"postgres-password", "password", "replication-password"}
        assert set(secrets["feast-postgresql-auth"]) == wanted, "the chart refuses to render without all three"
    passwords = [text for data in secrets.values() for key, text in data.items() if key.endswith("password")]
    assert len(passwords) >= 7
    assert all(text[0].isalpha() for text in passwords), "Feast reads a Redis password as JSON"
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


def test_the_server_listens_where_its_services_and_probes_ask(deployed):
    spec = deployed.one(":Deployment").inputs["spec"]["template"]["spec"]
    (container,) = spec["containers"]
    ports = {port["name"]: int(port["containerPort"]) for port in container["ports"]}
    assert ports == {"http": 6566, "grpc": 6567, "metrics": 8000}
    options = dict(zip(container["args"][1::2], container["args"][2::2], strict=True))
    assert container["args"][0] == "serve"
    assert {options[f"--{name}"] for name in ("port", "grpc-port", "metrics-port")} == {str(port) for port in ports.values()}
    services = {s.inputs["metadata"]["name"]: s.inputs["spec"]["ports"] for s in deployed.of_type("core/v1:Service").values()}
    assert {p["name"] for p in services["feature-server"]} == {"http", "grpc", "metrics"}
    assert {p["name"] for p in services["feature-server-replicas"]} == {"http", "grpc"}
    assert all(p["port"] == ports[p["targetPort"]] for listed in services.values() for p in listed)
    paths = {name: container[f"{name}Probe"]["httpGet"]["path"] for name in ("startup", "readiness", "liveness")}
    assert paths == {"startup": "/ready", "readiness": "/ready", "liveness": "/health"}, "a restart brings no Redis back"
    readiness = container["readinessProbe"]
    assert readiness["periodSeconds"] * readiness["failureThreshold"] >= 30, "a failover would empty the Service"


def test_what_the_server_takes_and_refuses_is_what_the_stack_file_says():
    server = stack_config()["feast-eks:feature_server"] | {
        "max_body_kib": 64,
        "max_entities": 7,
        "on_not_found": "refuse",
        "on_outside_max_age": "refuse",
    }
    (container,) = run_program(stack_config(feature_server=server)).pod_specs()["feature-server-deployment"]["containers"]
    options = dict(zip(container["args"][1::2], container["args"][2::2], strict=True))
    assert [options[f"--{name}"] for name in ("max-body-kib", "max-entities", "on-not-found", "on-outside-max-age")] == [
        *("64", "7", "refuse", "refuse")
    ]


def test_services_and_budget_select_exactly_the_server_pods(deployed):
    deployment = deployed.one(":Deployment").inputs["spec"]
    selector = deployment["selector"]["matchLabels"]
    assert selector.items() <= deployment["template"]["metadata"]["labels"].items()
    budgets = [budget.inputs["spec"]["selector"]["matchLabels"] for budget in deployed.of_type(":PodDisruptionBudget").values()]
    fewest = deployed.one(":HorizontalPodAutoscaler").inputs["spec"]["minReplicas"]
    assert budgets == ([selector] if fewest > 1 else []), "a budget for one pod could only block drains, or do nothing"
    services = deployed.of_type("core/v1:Service")
    assert [s.inputs["spec"]["selector"] for s in services.values()] == [selector, selector]
    others = [s for n, s in deployed.pod_specs().items() if n != "feature-server-deployment"]
    assert others, "nothing to compare with"


def test_a_scheduled_run_is_bounded_and_alone(deployed):
    found = {name: job.inputs["spec"] for name, job in deployed.of_type(":CronJob").items()}
    assert {name: spec["schedule"] for name, spec in found.items()} == {
        "materialization-nightly": "0 2 * * *",
        "skew-probe-nightly": "0 4 * * *",
    }
    for name, spec in found.items():
        assert spec["suspend"] is False, f"{name}: what the program does not say, no refresh finds"
        assert spec["timeZone"] == "Etc/UTC", name
        assert spec["concurrencyPolicy"] == "Forbid", name
        assert spec["startingDeadlineSeconds"] >= 10, name
        assert spec["jobTemplate"]["spec"]["activeDeadlineSeconds"] > 0, name
        assert "ttlSecondsAfterFinished" in spec["jobTemplate"]["spec"], name


def test_the_skew_probe_compares_after_the_first_load_and_as_who_loads(deployed):
    probe = deployed.of_type(":CronJob")["skew-probe-nightly"]
    assert "materialization-backfill" in probe.depends_on, "before, it would compare with nothing"
    specs = deployed.pod_specs()
    assert specs["skew-probe-nightly"]["serviceAccountName"] == specs["materialization-nightly"]["serviceAccountName"]
    (container,) = specs["skew-probe-nightly"]["containers"]
    assert container["args"] == ["skew", "--sample", "1000", "--tolerated-ratio", "0.0"]
    assert environment(container)["FEATURE_SERVER_REPLICAS"]["value"] == "feature-server"
    assert probe.inputs["spec"]["jobTemplate"]["spec"]["backoffLimit"] == 0, "what differs now differs at the next try, too"


def test_a_probe_that_is_not_wanted_is_not_there():
    assert set(run_program(stack_config(skew_probe={"enabled": False})).of_type(":CronJob")) == {"materialization-nightly"}


def test_the_gate_reads_the_live_registry_before_anything_is_applied(deployed):
    jobs = {step: deployed.of_type("batch/v1:Job")[f"feature-definitions-{step}"] for step in ("roles", "check", "apply")}
    assert "feature-definitions-roles" in jobs["check"].depends_on, "the role exists first"
    assert "feature-definitions-check" in jobs["apply"].depends_on, "nothing but roles is changed before the gate"
    pods = {step: job.inputs["spec"]["template"]["spec"] for step, job in jobs.items()}
    containers = {step: pod["containers"][0] for step, pod in pods.items()}
    margin = next(a for a in containers["check"]["args"] if a.isdigit() and int(a) > 3600)
    assert int(margin) >= 2 * 24 * 3600, "two nights without a run, and a deadline"
    waits = ["--wait-seconds", "40"]
    assert {step: container["args"] for step, container in containers.items()} == {
        "roles": ["prepare-registry", *waits],
        "check": ["check", "--against", "registry", "--format", "text", *waits, "--margin-seconds", margin],
        "apply": ["apply", *waits, "--margin-seconds", margin],
    }
    gate = environment(containers["check"])
    assert gate["REGISTRY_USER"]["value"] == "feast_check"
    assert gate["REGISTRY_PASSWORD"]["valueFrom"]["secretKeyRef"] == {"name": "check-credentials", "key": "registry-password"}
    assert gate["REGISTRY_SCHEMA_MODE"]["value"] == "verify", "else opening the registry would make its tables"
    assert gate.get("REGISTRY_HOST") == environment(containers["apply"]).get("REGISTRY_HOST"), (
        "a replica may not have what was applied last"
    )
    assert not {"ONLINE_STORE_PASSWORD", "AWS_SECRET_ACCESS_KEY", "REGISTRY_ADMIN_PASSWORD"} & set(gate)
    holders = {step for step, container in containers.items() if "REGISTRY_ADMIN_PASSWORD" in environment(container)}
    assert holders == {"roles"}, "one step administers"
    assert len({pod["serviceAccountName"] for pod in pods.values()}) == 3, "each step is somebody else"


def test_what_an_update_waits_for_ends_by_itself_with_a_reason_that_the_provider_knows(deployed):
    for name, job in deployed.of_type("batch/v1:Job").items():
        spec = job.inputs["spec"]
        pod = spec["template"]["spec"]
        assert spec["backoffLimit"] == 0, f"{name}: the provider knows BackoffLimitExceeded and DeadlineExceeded only"
        actions = {rule["action"] for rule in spec["podFailurePolicy"]["rules"]}
        assert actions == {"Ignore"}, f"{name}: with FailJob the reason is PodFailurePolicy, and the update waits for ever"
        assert "initContainers" not in pod, f"{name}: the provider never shows what an init container says"
        assert len(pod["containers"]) == 1, name
        assert pod["restartPolicy"] == "Never", name
        assert 0 < spec["activeDeadlineSeconds"] < seconds(deployed.timeouts[name]), f"{name}: Pulumi would give up first, without a reason"


def seconds(duration):
    amount, unit = int(duration[:-1]), duration[-1]
    return amount * {"s": 1, "m": 60}[unit]


def test_an_image_that_a_node_cannot_have_ends_the_update_before_anything_waits_for_it(deployed):
    registered = {r.name: r for r in deployed.registrations}
    pod = registered["image-check-job"].inputs["spec"]["template"]["spec"]
    assert pod["activeDeadlineSeconds"] <= 120, "the pod's own deadline: a pod that cannot be pulled never fails"
    assert pod["containers"][0]["image"] == deployed.pod_specs()["feature-server-deployment"]["containers"][0]["image"]
    assert "env" not in pod or not [v for v in pod["containers"][0]["env"] if "valueFrom" in v], "it needs no password"
    assert "image-check-job" in registered["feature-definitions-roles"].depends_on


def test_a_refused_change_leaves_what_serves_as_it_is(deployed):
    """Whatever follows from the definitions waits for the Job that the gate can fail."""
    registered = {r.name: r for r in deployed.registrations}
    name = registered["feature-definitions-config-map"].inputs["metadata"]["name"]
    followers = {"feature-server-deployment", "materialization-nightly", "skew-probe-nightly", "materialization-backfill", "smoke-test-job"}
    mounting = {n for n, spec in deployed.pod_specs().items() if spec["volumes"][0].get("configMap", {}).get("name") == name}
    steps = {f"feature-definitions-{step}" for step in ("roles", "check", "apply")}
    assert mounting == followers | steps, "another kind of pods: does it wait for the gate?"
    followers |= {r.name for r in deployed.registrations if r.type.endswith(":PrometheusRule")}

    def comes_after_apply(name, seen=()):
        before = registered[name].depends_on
        return "feature-definitions-apply" in before or any(
            comes_after_apply(b, (*seen, name)) for b in before if b in registered and b not in seen
        )

    assert {name for name in followers if comes_after_apply(name)} == followers


def test_waivers_go_to_the_gate_where_somebody_wrote_some(tmp_path):
    project = copy_of_project(tmp_path)
    (project / "feature_repo" / "waivers.yaml").unlink(missing_ok=True)
    without = run_program(stack_config(), project=project)
    (project / "feature_repo" / "waivers.yaml").write_text("- {rule: F001, object: a, reason: b, expires: 2030-01-01}\n")
    with_one = run_program(stack_config(), project=project)
    maps = [e.of_type(":ConfigMap")["feature-definitions-config-map"].inputs for e in (without, with_one)]
    assert ["waivers.yaml" in m["data"] for m in maps] == [False, True]
    assert names_of_what_runs(without) != names_of_what_runs(with_one), "a waiver must let the Job run again"


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
    config_map = deployed.of_type(":ConfigMap")["feature-definitions-config-map"].inputs
    assert config_map["immutable"] is True
    assert {"feature_views.py", "contract.lock.json", "feature_store.yaml"} <= set(config_map["data"])
    assert "${REGISTRY_PASSWORD}" in config_map["data"]["feature_store.yaml"]
    mounted = {name: spec["volumes"][0].get("configMap", {}).get("name") for name, spec in deployed.pod_specs().items()}
    assert mounted.pop("image-check-job") is None
    assert set(mounted.values()) == {config_map["metadata"]["name"]}


def names_of_what_runs(engine):
    return {
        "config map": engine.of_type(":ConfigMap")["feature-definitions-config-map"].inputs["metadata"]["name"],
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
    assert set(changed) == set(after.of_type("batch/v1:Job"))


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


def test_an_entity_that_the_definitions_do_not_know_is_refused_before_anything_registers():
    with pytest.raises(pulumi.RunError, match=r"smoke_test\.entities\.employee: (.|\n)*which has employee_id") as refused:
        run_program(stack_config(smoke_test={"entities": {"employee": [101]}}))
    assert refused.value.engine.registrations == []


def test_a_file_of_one_machine_is_refused_with_all_else_before_anything_registers(tmp_path):
    project = copy_of_project(tmp_path)
    path = project / "feature_repo" / "contract.lock.json"
    lock = json.loads(path.read_text())
    del lock["sources"]["employee_attrition"]["file"]
    lock["sources"]["employee_attrition"]["location"] = "/home/ada/attrition.parquet"
    path.write_text(json.dumps(lock))
    with pytest.raises(pulumi.RunError, match=r"smoke_test\.entities\.employee: ") as refused:
        run_program(stack_config(smoke_test={"entities": {"employee": [101]}}), project=project)
    assert "source employee_attrition, path: '/home/ada/attrition.parquet'" in str(refused.value)
    assert refused.value.engine.registrations == []


def test_definitions_that_no_config_map_holds_go_over_several_which_every_pod_mounts_as_one_directory(tmp_path):
    project = copy_of_project(tmp_path)
    whole = {path.name: path.read_text() for path in (project / "feature_repo").iterdir() if path.suffix == ".py"}
    path = project / "feature_repo" / "contract.lock.json"
    lock = json.loads(path.read_text())
    view = lock["views"]["employee_features"]
    lock["views"] |= {f"view_{number:04}": view | {"description": "d" * 1000} for number in range(1500)}
    path.write_text(json.dumps(lock))
    deployed = run_program(stack_config(), project=project)
    maps = {m.inputs["metadata"]["name"]: m for m in deployed.of_type(":ConfigMap").values() if m.name.startswith("feature-definitions")}
    assert {m.name for m in maps.values()} == {f"feature-definitions-config-map{suffix}" for suffix in ("", "-2", "-3")}
    assert all(m.inputs["immutable"] for m in maps.values())
    for name, spec in deployed.pod_specs().items():
        (volume,) = [volume for volume in spec["volumes"] if volume["name"] == "feature-repo"]
        if "emptyDir" in volume:
            continue
        files = {
            item["path"]: maps[source["configMap"]["name"]].inputs["data"][item["key"]]
            for source in volume["projected"]["sources"]
            for item in source["configMap"]["items"]
        }
        assert whole.items() <= files.items(), name
        assert {"contract.lock.json", "contract.lock.2.json", "feature_store.yaml"} <= files.keys(), name
    check = deployed.of_type(":Job")["feature-definitions-roles"]
    assert {m.name for m in maps.values()} <= check.depends_on


def test_made_up_data_may_be_a_folder_of_files(tmp_path):
    project = copy_of_project(tmp_path)
    for key in ("visits.parquet", "merchants/old.parquet", "merchants/new.parquet", "README.md"):
        (project / "sample" / key).parent.mkdir(parents=True, exist_ok=True)
        (project / "sample" / key).touch()
    store = stack_config()["feast-eks:offline_store"] | {"sample_data": "sample"}
    uploaded = run_program(stack_config(offline_store=store), project=project).of_type(":BucketObjectv2").values()
    assert {o.inputs["key"]: o.inputs["source"] for o in uploaded} == {
        key: str(project / "sample" / key) for key in ("visits.parquet", "merchants/old.parquet", "merchants/new.parquet")
    }
    single = run_program(stack_config(), project=project).one(":BucketObjectv2")
    assert (single.name, single.inputs["key"]) == ("offline-store-sample-data", "employee_attrition.parquet")
    (project / "empty").mkdir()
    with pytest.raises(pulumi.RunError, match=r"offline_store\.sample_data: (.|\n)*a folder of Parquet files"):
        run_program(stack_config(offline_store=store | {"sample_data": "empty"}), project=project)


def in_order(engine):
    return sorted(engine.registrations, key=lambda r: (r.type, r.name))


@pytest.mark.parametrize("stack", STACKS)
def test_two_runs_register_the_same(stack):
    assert in_order(run_program(stack_config(stack), stack=stack)) == in_order(run_program(stack_config(stack), stack=stack))


def test_a_preview_shows_the_feature_services_before_anything_exists():
    exported = run_program(stack_config(), preview=True).outputs
    assert [name for name, _ in exported["feature_services"]["attrition_model_v1"]["features"]] == [
        *("tenure", "salary_band", "overtime", "promotion_stagnation", "career_velocity", "overall_satisfaction")
    ]


# --- Providers --------------------------------------------------------------------------------------------------------


def test_an_eks_cluster_is_asked_for_by_name_and_reached_with_a_fresh_token():
    engine = run_program(config_of(), stack="dev", preview=True)
    assert engine.calls == [("aws:eks/getCluster:getCluster", {"name": "somewhere"})]
    provider = engine.one("providers:kubernetes").inputs
    kubeconfig = json.loads(provider["kubeconfig"])
    assert kubeconfig["clusters"][0]["cluster"]["server"] == "https://cluster.example.com"
    assert kubeconfig["users"][0]["user"]["exec"]["command"] == "aws"
    assert "token" not in kubeconfig["users"][0]["user"], "a token would be in the state, and stale"
    assert provider["clusterIdentifier"] == "arn:aws:eks:eu-west-1:123456789012:cluster/somewhere", (
        "an unpinned identity makes a renewed kubeconfig look like another cluster"
    )


def test_a_kube_context_asks_no_cloud():
    engine = run_program(config_of("s3-compatible"), stack="dev")
    assert engine.calls == []
    provider = engine.one("providers:kubernetes").inputs
    assert (provider["context"], provider["clusterIdentifier"]) == ("somewhere", "somewhere")
    assert "kubeconfig" not in provider


def test_the_aws_provider_acts_on_one_account_and_tags_everything():
    tags = {"environment": "dev", "owner": "us"}
    provider = run_program(config_of(aws={"account_id": "123456789012", "region": "eu-west-1"}, tags=tags), stack="dev").one(
        "providers:aws"
    )
    assert json.loads(provider.inputs["allowedAccountIds"]) == ["123456789012"]
    assert json.loads(provider.inputs["defaultTags"]) == {"tags": tags}
    assert "endpoints" not in provider.inputs


def test_an_s3_compatible_store_is_the_endpoint_of_the_provider():
    provider = run_program(config_of("s3-compatible"), stack="dev").one("providers:aws").inputs
    assert json.loads(provider["endpoints"]) == [{"s3": "https://s3.example.com:9000"}]
    assert provider["s3UsePathStyle"] == "true"
    assert provider["accessKey"]["value"] == "AKEY", "a secret stays one in the state"


# --- Stores -----------------------------------------------------------------------------------------------------------


def encryption(engine):
    (rule,) = engine.one(":BucketServerSideEncryptionConfiguration").inputs["rules"]
    return rule["applyServerSideEncryptionByDefault"], rule["bucketKeyEnabled"]


def test_the_history_is_encrypted_with_a_key_of_its_own_that_is_rotated_and_protected():
    engine = run_program(config_of(), stack="dev")
    key = engine.one("kms/key:Key")
    assert key.inputs["enableKeyRotation"] is True
    assert key.inputs["deletionWindowInDays"] == 30
    assert encryption(engine) == ({"sseAlgorithm": "aws:kms", "kmsMasterKeyId": KEY_ARN}, True)
    assert engine.one("kms/alias:Alias").inputs["name"] == "alias/feast-eks/offline-store-bucket-1234567"


def test_a_given_key_is_used_and_none_is_made():
    given = KEY_ARN.replace("11111111", "99999999")
    engine = run_program(config_of(offline_store={"kms_key_arn": given}), stack="dev")
    assert not engine.of_type("kms/key:Key")
    assert encryption(engine)[0]["kmsMasterKeyId"] == given
    decrypts = json.loads(engine.of_type(":RolePolicy")["materialize-decrypts"].inputs["policy"])["Statement"][0]
    assert decrypts["Resource"] == given


def test_s3_s_own_encryption_needs_no_key_and_no_right_to_one():
    engine = run_program(config_of(offline_store={"encryption": "s3"}), stack="dev")
    assert encryption(engine)[0] == {"sseAlgorithm": "AES256"}
    assert not [name for name in engine.of_type(":RolePolicy") if name.endswith("-decrypts")]


def test_access_logs_go_to_the_named_bucket_under_the_name_of_this_one():
    engine = run_program(config_of(offline_store={"bucket_name": "history", "log_bucket": "logs"}), stack="dev")
    assert engine.one(":BucketLogging").inputs == {"bucket": "history", "targetBucket": "logs", "targetPrefix": "history/"}
    assert not run_program(config_of(), stack="dev").of_type(":BucketLogging")


def test_external_stores_have_no_chart_and_are_known_by_their_certificate():
    engine = run_program(config_of("external"), stack="dev")
    assert not engine.store_charts
    files = engine.of_type(":ConfigMap")["feature-definitions-config-map"].inputs["data"]
    assert files["registry-ca.pem"].startswith("-----BEGIN CERTIFICATE-----")
    assert files["online-store-ca.pem"] == files["registry-ca.pem"]
    mounted = {item["path"] for item in engine.pod_specs()["feature-server-deployment"]["volumes"][0]["configMap"]["items"]}
    assert {"registry-ca.pem", "online-store-ca.pem"} <= mounted
    prepare = environment(engine.pod_specs()["feature-definitions-roles"]["containers"][0])
    assert prepare["PGSSLMODE"]["value"] == "verify-full"
    assert prepare["PGSSLROOTCERT"]["value"] == "/etc/feast/repo/registry-ca.pem"
    assert prepare["REGISTRY_ADMIN_USER"]["valueFrom"]["secretKeyRef"] == {"name": "registry-administrator", "key": "username"}


def test_replicas_of_the_registry_are_waited_for_by_apply_only():
    engine = run_program(config_of("highly-available"), stack="dev")
    waits = {name for name, spec in engine.pod_specs().items() if "REGISTRY_REPLICAS" in environment(spec["containers"][0])}
    assert waits == {"feature-definitions-apply"}


def test_every_image_of_a_chart_is_named(charts):
    """What is not named falls back to an image that is published no more."""
    for name, values in charts.items():
        images = [values["image"], *(part["image"] for part in (values["metrics"], values.get("sentinel", {})) if part.get("enabled"))]
        assert all(image["registry"] and image["repository"] and (image["tag"] or image["digest"]) for image in images), name


def test_a_local_stack_that_names_no_chart_has_bitnamis():
    """As the README says for machines that reach the registry; everything else stays the sandbox's."""
    local = stack_config()
    stores = {key: {k: v for k, v in local[f"feast-eks:{key}"].items() if k != "chart"} for key in ("registry", "online_store")}
    ours, real = (run_program(config).store_charts for config in (local, stack_config(**stores)))
    for name, chart in real.items():
        assert chart.inputs["chart"] == f"oci://registry-1.docker.io/bitnamicharts/{name.removeprefix('feast-')}"
        assert chart.inputs["version"]
        assert chart.inputs["values"] == ours[name].inputs["values"]


def test_nodes_of_a_store_connect_to_what_the_table_lists_only(charts):
    for name, values in charts.items():
        policies = [
            node["networkPolicy"] for node in (values, values.get("primary", {}), values.get("readReplicas", {})) if "networkPolicy" in node
        ]
        assert policies, name
        assert all(policy["enabled"] and not policy["allowExternal"] and not policy["allowExternalEgress"] for policy in policies), name


def test_chart_values_are_known_in_a_preview():
    """An unknown value would hide every object of the chart from reviewers and policies."""
    for mode in MODES:
        for name, chart in run_program(config_of(mode), stack="dev", preview=True).store_charts.items():
            assert pulumi.runtime.rpc.UNKNOWN not in json.dumps(chart.inputs["values"]), f"{name} in {mode}"


def protected(engine):
    return {r.name for r in engine.registrations if r.protect}


@pytest.mark.parametrize("mode", ["standalone", "highly-available"])
def test_what_holds_data_is_protected_unless_the_stack_file_says_otherwise(mode):
    engine = run_program(config_of(mode), stack="dev")
    assert {"offline-store-bucket", "offline-store-key", "namespace-namespace", "feast-postgresql", "feast-redis"} <= protected(engine)
    assert set(engine.of_type(":RandomPassword")) <= protected(engine), "a database keeps the password that its volume was made with"
    assert protected(run_program(config_of(mode, protect_data=False), stack="dev")) == set()


def test_a_change_of_size_changes_values_and_no_names():
    """Without monitoring, whose alerts know how many replicas there should be."""
    small = run_program(config_of("highly-available", monitoring={"enabled": False}), stack="dev")
    change = {"registry": MODES["highly-available"]["registry"] | {"memory_mib": 4096, "read_replicas": 3}}
    large = run_program(config_of("highly-available", monitoring={"enabled": False}, **change), stack="dev")
    assert [(r.type, r.name) for r in in_order(small)] == [(r.type, r.name) for r in in_order(large)]
    different = [a.name for a, b in zip(in_order(small), in_order(large), strict=True) if a.inputs != b.inputs]
    assert different == ["feast-postgresql"], "nothing else rolls"


def test_what_starts_a_pod_with_access_waits_for_the_access(deployed):
    granted = {r.name for r in deployed.registrations if r.type.endswith((":PodIdentityAssociation", ":RolePolicy"))}
    first = deployed.of_type("batch/v1:Job")["feature-definitions-roles"]
    assert granted <= first.depends_on, "a pod that starts before its role is bound has no access, and does not get it later"


def test_what_stands_before_the_providers_imports_little_of_their_sdks():
    lines = (PROJECT / "infra" / "__main__.py").read_text().splitlines()
    imports = [line for line in lines if line.startswith(("import ", "from "))]
    asked = "sorted(name for name in sys.modules if name.startswith('pulumi_') and name.endswith(('._inputs', '.outputs')) and name.count('.') > 1)"
    script = "\n".join([*imports, f"import sys; print({asked})"])

    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, env={**os.environ, "PYTHONPATH": str(PROJECT / "infra")}
    )

    assert done.stdout.strip() == "[]", "the providers would start later by the time that these imports take"
