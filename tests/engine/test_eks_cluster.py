"""A program on EKS, as far as there can be one here: the cluster is found in AWS, logged in to with `aws eks get-token`, and used."""

import json
import re

import boto3
import pytest

CLUSTER = "feast-dev"
OLDER_PROVIDER = r"warning: resource plugin kubernetes is expected to have version .*| 1 warning\b"
"""The engine says so itself: the provider that the sandbox builds is older than the SDK."""

PREAMBLE = """
import json
import os

import pulumi
import pulumi_aws as aws
import pulumi_kubernetes as k8s
from pulumi_kubernetes.apiextensions import CustomResource
from pulumi_kubernetes.helm.v4 import Chart

amazon = aws.Provider(
    "aws",
    region="eu-west-1",
    allowed_account_ids=["123456789012"],
    access_key=pulumi.Output.secret("AKIASANDBOXSANDBOX"),
    secret_key=pulumi.Output.secret("never-in-the-clear"),
    default_tags={"tags": {"environment": "test"}},
)
on_aws = pulumi.InvokeOptions(provider=amazon)
cluster = aws.eks.get_cluster(name="feast-dev", opts=on_aws)
login = {
    "apiVersion": "client.authentication.k8s.io/v1beta1",
    "command": "aws",
    "args": ["eks", "get-token", "--cluster-name", cluster.name, "--region", "eu-west-1", "--output", "json"],
    "interactiveMode": "Never",
}
here = {"server": cluster.endpoint, "certificate-authority-data": cluster.certificate_authorities[0].data}
kubeconfig = {
    "apiVersion": "v1",
    "kind": "Config",
    "clusters": [{"name": cluster.arn, "cluster": here}],
    "users": [{"name": cluster.arn, "user": {"exec": login}}],
    "contexts": [{"name": cluster.arn, "context": {"cluster": cluster.arn, "user": cluster.arn}}],
    "current-context": cluster.arn,
}
kubernetes = k8s.Provider("kubernetes", kubeconfig=json.dumps(kubeconfig), cluster_identifier=cluster.arn)
on_cluster = pulumi.ResourceOptions(provider=kubernetes)
"""

PROGRAM = (
    PREAMBLE
    + """
namespace = k8s.core.v1.Namespace("namespace", metadata={"name": os.environ["NAMESPACE"]}, opts=on_cluster)
chart = Chart("tiny", chart="./tiny", namespace=os.environ["NAMESPACE"], opts=on_cluster.merge(pulumi.ResourceOptions(depends_on=[namespace])))
on_amazon = pulumi.ResourceOptions(provider=amazon)
key = aws.kms.Key("key", enable_key_rotation=True, deletion_window_in_days=30, opts=on_amazon)
aws.kms.Alias("alias", name=f"alias/{os.environ['NAMESPACE']}", target_key_id=key.key_id, opts=on_amazon)
allow = {"Effect": "Allow", "Action": ["sts:AssumeRole", "sts:TagSession"], "Principal": {"Service": "pods.eks.amazonaws.com"}}
role = aws.iam.Role("role", assume_role_policy=json.dumps({"Version": "2012-10-17", "Statement": [allow]}), opts=on_amazon)
association = aws.eks.PodIdentityAssociation(
    "association",
    cluster_name=cluster.name,
    namespace=namespace.metadata.name,
    service_account="apply",
    role_arn=role.arn,
    opts=on_amazon,
)
pulumi.export("role", role.arn)
"""
)

MONITOR = """
CustomResource(
    "monitor",
    api_version="monitoring.coreos.com/v1",
    kind="ServiceMonitor",
    metadata={"name": "monitor", "namespace": namespace.metadata.name, "labels": {"release": "prometheus"}},
    spec={"selector": {"matchLabels": {"app": "server"}}, "endpoints": [{"port": "metrics", "interval": "30s"}]},
    opts=on_cluster,
)
"""

NOT_THE_SANDBOXS_KUBECONFIG = {"KUBECONFIG": "/nonexistent"}


@pytest.fixture(scope="module")
def program(make_program, aws_login, monitoring_crds):
    program = make_program(PROGRAM + MONITOR, **aws_login, **NOT_THE_SANDBOXS_KUBECONFIG)
    previewed = program.preview()
    for resource in ("aws:eks:PodIdentityAssociation association", "monitoring.coreos.com/v1:ServiceMonitor monitor", "ConfigMap tiny:"):
        assert resource in previewed, "the first preview shows everything"
    assert "warning" not in re.sub(OLDER_PROVIDER, "", previewed), previewed
    program.up()
    return program


@pytest.fixture
def untouched(program):
    """The deployed program, put back afterwards."""
    yield program
    program.write(PROGRAM + MONITOR)
    program.pulumi("up", "--refresh", "--yes", "--skip-preview", "--non-interactive")


@pytest.fixture
def kubectl(program, cloud):
    """kubectl with the sandbox's own kubeconfig."""

    def run(*arguments):
        return cloud.output("kubectl", "-n", program.namespace, *arguments)

    return run


@pytest.fixture
def eks(cloud):
    address = cloud.env["AWS_ENDPOINT_URL"]
    return boto3.client("eks", endpoint_url=address, region_name="eu-west-1", aws_access_key_id="a", aws_secret_access_key="b")


def test_the_program_is_stable(program):
    program.preview("--expect-no-changes")

    assert program.drift() == ""


def test_the_objects_are_in_the_cluster_that_aws_named(program, kubectl):
    assert kubectl("get", "configmap", "tiny-config", "--output=jsonpath={.data.greeting}") == "hello"


def test_the_service_account_has_its_role(program, eks):
    role = program.pulumi("stack", "output", "role").strip()
    where = {"clusterName": CLUSTER, "namespace": program.namespace}
    [found] = eks.list_pod_identity_associations(**where)["associations"]
    live = eks.describe_pod_identity_association(clusterName=CLUSTER, associationId=found["associationId"])["association"]

    assert live["roleArn"] == role
    assert live["tags"] == {"environment": "test"}, "the provider's default tags"


def test_neither_login_nor_keys_are_in_the_state(program):
    state = program.pulumi("stack", "export")

    for secret in ("never-in-the-clear", "AKIASANDBOXSANDBOX", "PRIVATE KEY", "client-key-data"):
        assert secret not in state


def test_an_association_deleted_by_hand_is_drift(untouched, eks):
    where = {"clusterName": CLUSTER, "namespace": untouched.namespace}
    [found] = eks.list_pod_identity_associations(**where)["associations"]
    eks.delete_pod_identity_association(clusterName=CLUSTER, associationId=found["associationId"])

    assert "- aws:eks/podIdentityAssociation:PodIdentityAssociation: (delete)" in untouched.drift()


def test_an_association_that_is_there_already_is_not_taken_over(untouched):
    second = """
aws.eks.PodIdentityAssociation(
    "second",
    cluster_name=cluster.name,
    namespace=namespace.metadata.name,
    service_account="apply",
    role_arn=role.arn,
    opts=pulumi.ResourceOptions(provider=amazon, depends_on=[association]),
)
"""
    untouched.write(PROGRAM + MONITOR + second)

    assert "ResourceInUseException: Association already exists: a-" in untouched.up(ok=False)


def test_another_account_is_refused(untouched):
    untouched.write((PROGRAM + MONITOR).replace('["123456789012"]', '["210987654321"]'))

    assert "AWS account ID not allowed: 123456789012" in untouched.preview(ok=False)


def test_a_cluster_that_is_not_there_is_named(untouched):
    untouched.write((PROGRAM + MONITOR).replace('name="feast-dev"', 'name="feast-nowhere"'))

    assert "reading EKS Cluster (feast-nowhere): couldn't find resource" in untouched.preview(ok=False)


def test_a_login_command_that_is_missing_is_named(untouched):
    untouched.write((PROGRAM + MONITOR).replace('"command": "aws"', '"command": "aws-of-nobody"'))

    said = untouched.preview(ok=False)

    assert "executable aws-of-nobody not found" in said
    assert "Traceback" not in said


def test_a_login_that_fails_is_named(untouched):
    untouched.write((PROGRAM + MONITOR).replace('"get-token"', '"get-nothing"'))

    assert "executable aws failed with exit code" in untouched.preview(ok=False)


# --- Kinds that the cluster has to be taught --------------------------------------------------------------------------


def test_a_custom_resource_changes_in_place(untouched, kubectl):
    untouched.write((PROGRAM + MONITOR).replace('"30s"', '"15s"'))

    said = untouched.up()

    assert "1 updated" in said
    assert json.loads(kubectl("get", "servicemonitor", "monitor", "--output=json"))["spec"]["endpoints"][0]["interval"] == "15s"


def test_a_hand_edited_custom_resource_is_drift_and_the_next_update_undoes_it(untouched, kubectl):
    kubectl("patch", "servicemonitor", "monitor", "--type=merge", '--patch={"spec": {"selector": {"matchLabels": {"app": "other"}}}}')

    assert '"server" => "other"' in untouched.drift()

    untouched.pulumi("up", "--refresh", "--yes", "--skip-preview", "--non-interactive")
    assert json.loads(kubectl("get", "servicemonitor", "monitor", "--output=json"))["spec"]["selector"] == {
        "matchLabels": {"app": "server"}
    }


def test_a_custom_resource_is_removed(untouched, kubectl):
    untouched.write(PROGRAM)

    assert "1 deleted" in untouched.up()
    assert kubectl("get", "servicemonitors", "--output=name") == ""


def test_a_kind_that_the_cluster_does_not_know_is_named(untouched):
    unknown = MONITOR.replace('"monitor"', '"unknown"').replace("ServiceMonitor", "ServiceMonitour")
    untouched.write(PROGRAM + MONITOR + unknown)

    untouched.preview()  # this very update might install it
    said = untouched.up(ok=False)
    assert 'no matches for kind "ServiceMonitour"' in said
    assert "Traceback" not in said
