"""The stand-ins under the real engine, against a real API server and node, S3 and IAM."""

import re
import signal
import time

import boto3
import pytest
import yaml

from tests.sandbox.programs import PROJECT
from tests.waiting import wait_until

PREAMBLE = """
import os
import pulumi
import pulumi_kubernetes as k8s

namespace = k8s.core.v1.Namespace("namespace", metadata={"name": os.environ["NAMESPACE"]})
here = {"namespace": namespace.metadata.name}
"""

FEATURES = (
    PREAMBLE
    + """
import pulumi_random as random
from pulumi_kubernetes.helm.v4 import Chart

password = random.RandomPassword("password", length=20, special=False)
settings = k8s.core.v1.ConfigMap("settings", metadata=here, data={"mode": "first"})
auth = k8s.core.v1.Secret(
    "auth", metadata={"name": "auth", **here}, string_data={"password": password.result, "plain": "given-in-the-clear"}
)
server = k8s.apps.v1.Deployment(
    "server",
    metadata={"name": "server", **here},
    spec={
        "replicas": 1,
        "selector": {"match_labels": {"app": "server"}},
        "template": {
            "metadata": {"labels": {"app": "server"}},
            "spec": {
                "termination_grace_period_seconds": 0,
                "containers": [
                    {
                        "name": "server",
                        "image": os.environ["IMAGE"],
                        "command": ["sleep", "infinity"],
                        "env": [{"name": "EMPTY", "value": ""}, {"name": "SETTINGS", "value": settings.metadata.name}],
                        "resources": {"requests": {"cpu": "0.001", "memory": "0.5Mi"}, "limits": {"cpu": "1000m"}},
                        "ports": [{"container_port": 80}],
                    }
                ],
            },
        },
    },
)
k8s.core.v1.Service("server", metadata={"name": "server", **here}, spec={"selector": {"app": "server"}, "ports": [{"port": 80}]})


def label(args):
    if args.type_ == "kubernetes:core/v1:ConfigMap":
        args.props["metadata"]["labels"] = {"seen-by": "transform"}
        return pulumi.ResourceTransformResult(args.props, args.opts)
    return None


Chart(
    "tiny",
    chart="./tiny",
    namespace=os.environ["NAMESPACE"],
    values={"greeting": "good morning"},
    opts=pulumi.ResourceOptions(depends_on=[namespace], transforms=[label]),
)
pulumi.export("settings", settings.metadata.name)
"""
)


@pytest.fixture(scope="module")
def deployed(make_program):
    program = make_program(FEATURES)
    previewed = program.preview()
    for child in ("ConfigMap tiny:", "Secret tiny:"):
        assert child in previewed, "the objects of a chart have to be seen in a preview"
    program.up()
    return program


@pytest.fixture
def untouched(deployed):
    """The deployed program, put back afterwards."""
    yield deployed
    deployed.write(FEATURES)
    deployed.pulumi("up", "--refresh", "--yes", "--skip-preview", "--non-interactive")


def test_a_second_preview_finds_nothing_to_do(deployed):
    deployed.preview("--expect-no-changes")


def test_what_nobody_touched_has_not_drifted(deployed):
    assert deployed.drift() == ""


def test_the_state_holds_no_secret_in_the_clear(deployed):
    live = deployed.live("secret", "auth")
    state = deployed.pulumi("stack", "export")

    for secret in ("given-in-the-clear", "the-charts-own-password", *live["data"].values()):
        assert secret not in state, "a Secret's content is secret whether the program says so or not"


def test_charts_see_the_real_cluster_and_transforms_see_the_charts_objects(deployed):
    live = deployed.live("configmap", "tiny-config")

    assert live["data"]["has-jobs"] == "true"
    assert live["data"]["greeting"] == "good morning"
    assert live["metadata"]["labels"] == {"seen-by": "transform"}


def test_scaling_by_hand_is_drift_and_the_next_update_undoes_it(untouched):
    untouched.kubectl("scale", "deployment/server", "--replicas=2")

    assert "replicas: 1 => 2" in untouched.drift()

    untouched.pulumi("up", "--refresh", "--yes", "--skip-preview", "--non-interactive")
    assert untouched.live("deployment", "server")["spec"]["replicas"] == 1


def test_a_hand_edited_object_of_a_chart_is_drift(untouched):
    untouched.kubectl("patch", "configmap", "tiny-config", "-p", '{"data": {"greeting": "edited"}}')

    assert '"good morning" => "edited"' in untouched.drift()


def test_a_label_added_by_hand_is_drift_and_the_next_update_removes_it(untouched):
    untouched.kubectl("label", "secret/auth", "by=hand")

    assert '+ by: "hand"' in untouched.drift()

    untouched.pulumi("up", "--refresh", "--yes", "--skip-preview", "--non-interactive")
    assert "labels" not in untouched.live("secret", "auth")["metadata"]
    assert untouched.drift() == ""


def test_a_hand_edited_secret_is_drift_that_is_not_shown(untouched):
    untouched.kubectl("patch", "secret", "auth", "-p", '{"stringData": {"plain": "edited-by-hand"}}')

    drift = untouched.drift()

    assert "~ plain: [secret] => [secret]" in drift
    assert "edited-by-hand" not in drift


def test_a_deleted_object_is_drift(untouched):
    untouched.kubectl("delete", "service", "server")

    assert re.search(r"- kubernetes:core/v1:Service: \(delete\)", untouched.drift())


def test_changed_data_gets_a_new_name_before_the_old_one_goes(untouched):
    before = untouched.pulumi("stack", "output", "settings").strip()
    untouched.write(FEATURES.replace('"mode": "first"', '"mode": "second"'))

    said = untouched.up()

    after = untouched.pulumi("stack", "output", "settings").strip()
    assert before != after
    assert said.index("created replacement") < said.index("deleted original"), "pods of the old version still read it"
    environment = untouched.live("deployment", "server")["spec"]["template"]["spec"]["containers"][0]["env"]
    assert {"name": "SETTINGS", "value": after} in environment


def test_a_label_of_an_object_without_a_specification_changes_in_place(untouched):
    labelled = FEATURES.replace('metadata={"name": "auth", **here}', 'metadata={"name": "auth", "labels": {"a": "b"}, **here}')
    untouched.write(labelled)

    assert "1 updated" in untouched.up()
    assert untouched.live("secret", "auth")["metadata"]["labels"] == {"a": "b"}


def test_a_field_that_does_not_exist_is_refused_in_the_preview(untouched):
    untouched.write(FEATURES.replace('"replicas": 1,', '"replicas": 1, "replikas": 2,'))

    assert "spec.replikas: field not declared in schema" in untouched.preview(ok=False)


# --- What does not become ready ---------------------------------------------------------------------------------------

JOB = (
    PREAMBLE
    + """
auth = k8s.core.v1.Secret("auth", metadata={"name": "auth", **here}, string_data={"password": "never-in-a-message"})
k8s.batch.v1.Job(
    "job",
    metadata={"name": "job", "annotations": {"pulumi.com/replaceUnready": "true"}, **here},
    spec={
        "backoff_limit": 0,
        "template": {
            "spec": {
                "restart_policy": "Never",
                "init_containers": [{"name": "first", "image": os.environ["IMAGE"], "command": ["bash", "-c", "FIRST"]}],
                "containers": [
                    {
                        "name": "main",
                        "image": os.environ["IMAGE"],
                        "command": ["bash", "-c", "MAIN"],
                        "env": [{"name": "PASSWORD", "value_from": {"secret_key_ref": {"name": "auth", "key": "password"}}}],
                    }
                ],
            }
        },
    },
    opts=pulumi.ResourceOptions(depends_on=[auth]),
)
"""
)


def job(first="true", main="true"):
    return JOB.replace("FIRST", first).replace("MAIN", main)


@pytest.fixture(scope="module")
def job_program(make_program):
    return make_program(job())


def test_a_failed_job_says_what_it_said_last_but_no_secret(job_program):
    job_program.write(job(main="seq 30; echo password $PASSWORD; exit 3"))

    said = job_program.up(ok=False)

    assert "failed: BackoffLimitExceeded" in said
    assert "container main ended with exit status 3" in said
    assert re.search(r"\n\s+30\n\s+password \[secret\]", said), "the last lines of its output explain a failure"
    assert not re.search(r"\n\s+5\n", said), "only the last ones"
    assert "never-in-a-message" not in said
    assert "Traceback" not in said


def test_the_next_update_replaces_a_failed_job(job_program):
    test_a_failed_job_says_what_it_said_last_but_no_secret(job_program)
    failed = job_program.live("job", "job")["metadata"]["uid"]

    said = job_program.up(ok=False)  # the same program again

    assert "deleted original" in said
    assert job_program.live("job", "job")["metadata"]["uid"] != failed, "an unchanged failed Job has to run again"

    job_program.write(job())
    job_program.up()
    job_program.preview("--expect-no-changes")


def test_a_failed_init_container_says_what_it_said_last(job_program):
    job_program.write(job(first="echo no database here; exit 9"))

    said = job_program.up(ok=False)

    assert "container first ended with exit status 9" in said
    assert "no database here" in said


SERVER = (
    PREAMBLE
    + """
def server(image, command, seconds):
    selected = {"app": "server"}
    pod = {"termination_grace_period_seconds": 0, "containers": [{"name": "main", "image": image, "command": ["bash", "-c", command]}]}
    k8s.apps.v1.Deployment(
        "server",
        metadata={"name": "server", **here},
        spec={"selector": {"match_labels": selected}, "template": {"metadata": {"labels": selected}, "spec": pod}},
        opts=pulumi.ResourceOptions(custom_timeouts=pulumi.CustomTimeouts(create=f"{seconds}s", update=f"{seconds}s")),
    )
    k8s.core.v1.Service("server", metadata={"name": "server", **here}, spec={"selector": selected, "ports": [{"port": 80}]})


"""
)


def test_an_image_that_does_not_exist_is_named_within_the_timeout(make_program):
    program = make_program(SERVER + 'server("localhost/not/there:9", "true", 10)\n')

    start = time.monotonic()
    said = program.up(ok=False)

    assert re.search(r"Deployment \S+ is not ready after 10 s: 1 of 1 replicas updated, 0 available", said)
    assert 'localhost/not/there:9"' in said, "the image has to be named"
    assert re.search(r"not waiting longer, as Deployment \S+/server failed", said), "a Service gives up with its pods"
    assert time.monotonic() - start < 60


def test_a_crashing_container_is_quoted(make_program):
    program = make_program(SERVER + 'server(os.environ["IMAGE"], "echo cannot read the settings; exit 7", 12)\n')

    said = program.up(ok=False)

    assert "ended with exit status 7" in said
    assert "cannot read the settings" in said


def test_interrupting_an_update_ends_the_wait_and_the_next_one_goes_on(make_program):
    program = make_program(SERVER + 'server(os.environ["IMAGE"], "sleep 15; exit 1", 200)\n')
    update = program.start("up", "--yes", "--skip-preview", "--non-interactive")
    wait_until(lambda: "server" in program.kubectl("get", "deployments", "-o", "name"), "the deployment is there", AssertionError)

    start = time.monotonic()
    update.send_signal(signal.SIGINT)
    said, _ = update.communicate(timeout=60)

    assert time.monotonic() - start < 20
    assert "when the operation was cancelled" in said
    program.write(SERVER + 'server(os.environ["IMAGE"], "sleep infinity", 60)\n')
    assert "2 updated" in program.up(), "what was waited for is in the state, so it is updated and not created"


def test_an_object_left_by_a_killed_update_is_taken_over(make_program):
    program = make_program(SERVER + 'server(os.environ["IMAGE"], "sleep infinity", 60)\n')
    update = program.start("up", "--yes", "--skip-preview", "--non-interactive")
    wait_until(lambda: "server" in program.kubectl("get", "deployments", "-o", "name"), "the deployment is there", AssertionError)
    update.kill()
    update.communicate()

    program.pulumi("cancel", "--yes")
    program.up()
    program.preview("--expect-no-changes")


# --- Wrong inputs -----------------------------------------------------------------------------------------------------

BROKEN = """
import pathlib
import pulumi
import pulumi_kubernetes as k8s
from pulumi_kubernetes.helm.v4 import Chart

"""


@pytest.fixture(scope="module")
def broken(make_program):
    return make_program("")


def refused(program, text):
    program.write(BROKEN + text)
    said = program.preview(ok=False)
    assert "Traceback" not in said, said
    return said


def test_an_unreachable_cluster_is_named_with_the_remedy(broken, cloud):
    kubeconfig = yaml.safe_load(cloud.kubeconfig.read_text())
    kubeconfig["clusters"][0]["cluster"]["server"] = "https://127.0.0.1:9"
    (broken.directory / "kubeconfig").write_text(yaml.safe_dump(kubeconfig))

    said = refused(
        broken,
        'provider = k8s.Provider("p", kubeconfig="kubeconfig")\nChart("c", chart="./tiny", opts=pulumi.ResourceOptions(provider=provider))',
    )

    assert "the Kubernetes API server https://127.0.0.1:9" in said
    assert "does not answer" in said
    assert "make up" in said


def test_a_context_that_the_kubeconfig_lacks_is_answered_with_those_it_has(broken):
    said = refused(broken, 'k8s.Provider("p", kubeconfig=pathlib.Path(__import__("os").environ["KUBECONFIG"]).read_text(), context="prod")')

    assert "has no context 'prod'; it has feast-eks-sandbox" in said
    assert "client-key-data" not in said, "a kubeconfig holds credentials"


def test_every_wrong_input_of_an_object_is_named(broken):
    said = refused(broken, 'k8s.core.v1.ConfigMap("c", metadata={"name": "Not_A_Name"}, data={"replicas": 3})')

    assert "metadata.name: 'Not_A_Name' is no Kubernetes name" in said
    assert 'data.replicas: must be a text; write "3" in quotes' in said


def test_what_helm_says_about_a_chart_is_shown(broken):
    assert 'helm cannot render the chart ./nowhere: path "./nowhere" not found' in refused(broken, 'Chart("c", chart="./nowhere")')


def test_a_chart_of_unknown_values_is_not_rendered_in_the_preview(broken):
    broken.write(
        BROKEN
        + 'm = k8s.core.v1.ConfigMap("m", metadata={"name": "m"}, data={})\nChart("c", chart="./tiny", values={"greeting": m.metadata.uid})'
    )

    said = broken.preview()

    assert "Some inputs of the chart are only known during the update" in said
    assert "c:" not in said.replace("Diagnostics:", "").replace("Resources:", "")


def test_an_error_of_the_program_shows_the_programs_own_lines(broken):
    broken.write("def cause():\n    raise ValueError('the cause')\n\n\ncause()\n")

    said = broken.preview(ok=False)

    assert "ValueError: the cause" in said
    assert "__main__.py" in said
    assert "providers/program.py" not in said


def test_an_expected_error_is_one_sentence(broken):
    assert "error: schedule: not a cron expression" in refused(broken, "raise pulumi.RunError('schedule: not a cron expression')")


def test_a_mandatory_policy_stops_the_preview_and_names_the_object(broken):
    policies = broken.directory / "policies"
    policies.mkdir()
    (policies / "PulumiPolicy.yaml").write_text(
        yaml.safe_dump({"runtime": {"name": "python", "options": {"toolchain": "pip", "virtualenv": str(PROJECT / ".venv")}}})
    )
    (policies / "__main__.py").write_text("""
from pulumi_policy import EnforcementLevel, PolicyPack, ResourceValidationPolicy


def no_greetings(args, report):
    if args.resource_type == "kubernetes:core/v1:ConfigMap" and "greeting" in args.props["data"]:
        report("greetings are not allowed")


PolicyPack("pack", policies=[ResourceValidationPolicy("no-greetings", "No greetings.", no_greetings, EnforcementLevel.MANDATORY)])
""")
    broken.write(BROKEN + 'Chart("c", chart="./tiny")')

    said = broken.preview("--policy-pack", str(policies), ok=False)

    assert "greetings are not allowed" in said
    assert "c:default/c-config" in said, "policies see the objects of charts"


# --- AWS --------------------------------------------------------------------------------------------------------------

AWS = """
import json
import pulumi
import pulumi_aws as aws

bucket = aws.s3.Bucket("data", force_destroy=True, tags={"team": "features"})
aws.s3.BucketVersioning("versioning", bucket=bucket.id, versioning_configuration={"status": "Enabled"})
aws.s3.BucketServerSideEncryptionConfiguration(
    "encryption",
    bucket=bucket.id,
    rules=[{"apply_server_side_encryption_by_default": {"sse_algorithm": "AES256"}, "bucket_key_enabled": True}],
)
aws.s3.BucketPublicAccessBlock("access", bucket=bucket.id, block_public_acls=True, block_public_policy=True)
aws.s3.BucketOwnershipControls("ownership", bucket=bucket.id, rule={"object_ownership": "BucketOwnerEnforced"})
aws.s3.BucketLifecycleConfiguration(
    "lifecycle",
    bucket=bucket.id,
    rules=[
        {
            "id": "old",
            "status": "Enabled",
            "noncurrent_version_expiration": {"noncurrent_days": 30, "newer_noncurrent_versions": 2},
            "abort_incomplete_multipart_upload": {"days_after_initiation": 7},
        },
        {"id": "tagged", "status": "Enabled", "filter": {"and_": {"prefix": "x/", "tags": {"a": "b"}}}, "expiration": {"days": 9}},
    ],
)


def only_tls(arn):
    deny = {"Effect": "Deny", "Principal": "*", "Action": "s3:*", "Resource": [arn, arn + "/*"]}
    condition = {"Condition": {"Bool": {"aws:SecureTransport": "false"}}}
    return json.dumps({"Version": "2012-10-17", "Statement": [deny | condition]})


aws.s3.BucketPolicy("tls", bucket=bucket.id, policy=bucket.arn.apply(only_tls))
aws.s3.BucketObjectv2("file", bucket=bucket.id, key="file.txt", source=pulumi.FileAsset("file.txt"))
aws.s3.BucketObjectv2("text", bucket=bucket.id, key="text.txt", content="hello", content_type="text/plain")
allow = {"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": {"Service": "pods.eks.amazonaws.com"}}
trust = json.dumps({"Version": "2012-10-17", "Statement": [allow]})
role = aws.iam.Role("role", assume_role_policy=trust, tags={"team": "features"})
aws.iam.RolePolicy("inline", role=role.name, policy=bucket.arn.apply(only_tls))
pulumi.export("bucket", bucket.bucket)
"""


@pytest.fixture(scope="module")
def store(make_program):
    program = make_program(AWS)
    (program.directory / "file.txt").write_text("first")
    program.up()
    return program


@pytest.fixture(scope="module")
def s3(store, cloud):
    return boto3.client(
        "s3",
        endpoint_url=cloud.env["AWS_ENDPOINT_URL"],
        region_name=cloud.env["AWS_REGION"],
        aws_access_key_id="sandbox",
        aws_secret_access_key="sandbox",
    )


def test_the_store_is_stable(store):
    store.preview("--expect-no-changes")

    assert store.drift() == ""


def test_a_policy_with_conditions_does_not_lock_everybody_out(store, s3):
    bucket = store.pulumi("stack", "output", "bucket").strip()

    assert s3.get_object(Bucket=bucket, Key="text.txt")["Body"].read() == b"hello", "moto would deny, as it ignores conditions"


def test_versioning_switched_off_by_hand_is_drift(store, s3):
    bucket = store.pulumi("stack", "output", "bucket").strip()
    s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Suspended"})

    assert '"Enabled" => "Suspended"' in store.drift()

    store.pulumi("up", "--refresh", "--yes", "--skip-preview", "--non-interactive")
    assert s3.get_bucket_versioning(Bucket=bucket)["Status"] == "Enabled"


def test_an_overwritten_object_and_a_foreign_tag_are_drift(store, s3):
    bucket = store.pulumi("stack", "output", "bucket").strip()
    s3.put_object(Bucket=bucket, Key="file.txt", Body=b"something else")
    s3.put_bucket_tagging(Bucket=bucket, Tagging={"TagSet": [{"Key": "team", "Value": "models"}]})

    drift = store.drift()

    assert '"features" => "models"' in drift
    assert "something with the hash" in drift

    store.pulumi("up", "--refresh", "--yes", "--skip-preview", "--non-interactive")
    assert s3.get_object(Bucket=bucket, Key="file.txt")["Body"].read() == b"first"


def test_a_changed_file_is_uploaded(store, s3):
    bucket = store.pulumi("stack", "output", "bucket").strip()
    (store.directory / "file.txt").write_text("second")

    store.up()

    assert s3.get_object(Bucket=bucket, Key="file.txt")["Body"].read() == b"second"
    (store.directory / "file.txt").write_text("first")
    store.up()


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('aws.s3.Bucket("b", bucket="No")', "'No' is no bucket name"),
        ('aws.s3.Bucket("b", acl="public-read")', "is not supported by the sandbox's AWS provider"),
        ('aws.s3.BucketPolicy("b", bucket="b-b", policy="{")', "is not JSON"),
        ('aws.ec2.Vpc("v", cidr_block="10.0.0.0/16")', "the sandbox's AWS provider has no aws:ec2/vpc:Vpc; it has "),
    ],
)
def test_a_wrong_or_unsupported_wish_is_refused_by_name(broken, text, reason):
    assert reason in refused(broken, f"import pulumi_aws as aws\n{text}")


def test_aws_itself_is_never_spoken_to(broken):
    endpoint = broken.cloud.env["AWS_ENDPOINT_URL"]
    try:
        del broken.cloud.env["AWS_ENDPOINT_URL"]
        said = refused(broken, 'import pulumi_aws as aws\naws.s3.Bucket("b")')
    finally:
        broken.cloud.env["AWS_ENDPOINT_URL"] = endpoint

    assert "never to AWS itself" in said
    assert "aws:endpoints" in said
