"""Providers under the real engine: Kubernetes by the official one, against a real API server and node; AWS by the stand-in, over S3 and IAM."""

import json
import signal

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

SERVER = """
def server(ready="true"):
    selected = {"app": "server"}
    container = {
        "name": "server",
        "image": os.environ["IMAGE"],
        "command": ["sleep", "infinity"],
        "readiness_probe": {"exec_": {"command": [ready]}, "period_seconds": 1},
    }
    k8s.apps.v1.Deployment(
        "server",
        metadata={"name": "server", **here},
        spec={
            "replicas": 1,
            "selector": {"match_labels": selected},
            "template": {"metadata": {"labels": selected}, "spec": {"termination_grace_period_seconds": 0, "containers": [container]}},
        },
    )
    k8s.core.v1.Service("server", metadata={"name": "server", **here}, spec={"selector": selected, "ports": [{"port": 80}]})


"""

PROGRAM = (
    PREAMBLE
    + SERVER
    + """
import pulumi_random as random
from pulumi_kubernetes.helm.v4 import Chart

password = random.RandomPassword("password", length=20, special=False)
k8s.core.v1.Secret("auth", metadata={"name": "auth", **here}, string_data={"password": password.result, "plain": "given-in-the-clear"})
server()
Chart("tiny", chart="./tiny", namespace=os.environ["NAMESPACE"], opts=pulumi.ResourceOptions(depends_on=[namespace]))
"""
)


@pytest.fixture(scope="module")
def program(make_program):
    return make_program(PROGRAM)


@pytest.fixture(scope="module")
def first_preview(program):
    return program.preview()


@pytest.fixture(scope="module")
def deployed(program, first_preview):
    program.up()
    return program


def test_the_first_preview_is_complete(first_preview):
    assert "incomplete" not in first_preview
    for resource in ("Namespace namespace", "Secret auth", "Deployment server", "Service server", "ConfigMap tiny:", "Secret tiny:"):
        assert resource in first_preview, "the objects of a chart are seen too, in a namespace that is not there yet"


def test_the_second_time_there_is_nothing_to_do(deployed):
    deployed.preview("--expect-no-changes")

    assert deployed.drift() == ""


def test_the_state_holds_no_secret_in_the_clear(deployed):
    live = deployed.live("secret", "auth")
    state = deployed.pulumi("stack", "export")

    for secret in ("given-in-the-clear", "the-charts-own-password", *live["data"].values()):
        assert secret not in state, "a Secret's content is secret whether the program says so or not"


JOB = (
    PREAMBLE
    + """
container = {
    "name": "main",
    "image": os.environ["IMAGE"],
    "command": ["bash", "-c", "COMMAND"],
    "termination_message_policy": "FallbackToLogsOnError",
}
k8s.batch.v1.Job(
    "job",
    metadata={"name": "job", "annotations": {"pulumi.com/replaceUnready": "true"}, **here},
    spec={"backoff_limit": 0, "template": {"spec": {"restart_policy": "Never", "containers": [container]}}},
)
"""
)


def test_a_failed_job_says_why_and_runs_again_with_the_next_update(make_program):
    program = make_program(JOB.replace("COMMAND", "echo cannot read the settings; exit 3"))

    said = program.up(ok=False)

    assert "cannot read the settings" in said, "what a container said last explains a failure"
    failed = program.live("job", "job")["metadata"]["uid"]
    program.up(ok=False)  # the same program again
    assert program.live("job", "job")["metadata"]["uid"] != failed
    program.write(JOB.replace("COMMAND", "true"))
    program.up()
    program.preview("--expect-no-changes")


def test_an_interrupted_update_ends_and_the_next_one_goes_on(make_program):
    program = make_program(PREAMBLE + SERVER + 'server(ready="false")\n')
    update = program.start("up", "--yes", "--skip-preview", "--non-interactive")
    wait_until(lambda: "server" in program.kubectl("get", "deployments", "-o", "name"), "the deployment is there", AssertionError)

    update.send_signal(signal.SIGINT)
    update.communicate(timeout=60)  # it would have waited for ten minutes

    kept = json.loads(program.pulumi("stack", "export"))["deployment"]["resources"]
    assert "kubernetes:apps/v1:Deployment" in {resource["type"] for resource in kept}, "what was waited for is in the state"
    program.write(PREAMBLE + SERVER + "server()\n")
    program.up()
    program.preview("--expect-no-changes")


# --- Errors and policies ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def broken(make_program):
    return make_program("")


def refused(program, text):
    program.write(f"import pulumi\n{text}")
    said = program.preview(ok=False)
    assert "Traceback" not in said, said
    return said


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
    broken.write('from pulumi_kubernetes.helm.v4 import Chart\nChart("c", chart="./tiny")')

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
