"""The sandbox's own AWS: EKS clusters that can be connected to, and pod identity associations as boto3 knows them."""

import base64
import contextlib

import pytest
import yaml
from botocore.exceptions import ClientError

from tests.sandbox.local_aws import ACCOUNT, client, local_aws

ROLE = f"arn:aws:iam::{ACCOUNT}:role/apply"
CLUSTER = "feast-dev"


@pytest.fixture(scope="module")
def kubeconfig(tmp_path_factory):
    path = tmp_path_factory.mktemp("kube") / "config"
    authority = base64.b64encode(b"the authority").decode()
    other, ours = (
        {"name": name, "cluster": {"server": f"https://{name}:6443", "certificate-authority-data": authority}} for name in ("other", "ours")
    )
    context = {"name": "mine", "context": {"cluster": "ours", "user": "me"}}
    path.write_text(yaml.safe_dump({"clusters": [other, ours], "contexts": [context], "current-context": "mine"}))
    return path


@pytest.fixture(scope="module")
def server(kubeconfig):
    with local_aws(kubeconfig, CLUSTER) as address:
        yield address


@pytest.fixture(scope="module")
def eks(server):
    return client(server, "eks")


def test_every_cluster_is_the_kubernetes_of_the_current_context(eks):
    eks.create_cluster(name="made-later", roleArn=ROLE, resourcesVpcConfig={"subnetIds": ["subnet-1"]})

    for name in (CLUSTER, "made-later"):
        cluster = eks.describe_cluster(name=name)["cluster"]
        assert cluster["endpoint"] == "https://ours:6443", "the context decides, not the order of the file"
        assert base64.b64decode(cluster["certificateAuthority"]["data"]) == b"the authority"
        assert cluster["status"] == "ACTIVE"


def test_a_cluster_follows_a_kubeconfig_that_changes(eks, kubeconfig):
    before = kubeconfig.read_text()
    kubeconfig.write_text(before.replace("https://ours:6443", "https://moved:6443"))
    try:
        assert eks.describe_cluster(name=CLUSTER)["cluster"]["endpoint"] == "https://moved:6443"
    finally:
        kubeconfig.write_text(before)


def test_each_cluster_has_an_issuer_of_its_own_that_iam_knows(eks, server):
    issuer = eks.describe_cluster(name=CLUSTER)["cluster"]["identity"]["oidc"]["issuer"]
    known = [entry["Arn"] for entry in client(server, "iam").list_open_id_connect_providers()["OpenIDConnectProviderList"]]

    assert f"arn:aws:iam::{ACCOUNT}:oidc-provider/{issuer.removeprefix('https://')}" in known


@pytest.fixture
def association(eks):
    created = eks.create_pod_identity_association(
        clusterName=CLUSTER, namespace="feast", serviceAccount="apply", roleArn=ROLE, tags={"team": "features"}
    )["association"]
    yield created
    with contextlib.suppress(eks.exceptions.ResourceNotFoundException):  # the test may have deleted it
        eks.delete_pod_identity_association(clusterName=CLUSTER, associationId=created["associationId"])


def test_an_association_is_described_as_it_was_created(eks, association):
    where = {"clusterName": CLUSTER, "associationId": association["associationId"]}

    described = eks.describe_pod_identity_association(**where)["association"]

    assert described == association
    assert described["roleArn"] == ROLE
    assert described["associationArn"] == f"arn:aws:eks:eu-west-1:{ACCOUNT}:podidentityassociation/{CLUSTER}/{association['associationId']}"


def test_associations_are_listed_by_where_they_are(eks, association):
    def listed(**where):
        return [entry["associationId"] for entry in eks.list_pod_identity_associations(clusterName=CLUSTER, **where)["associations"]]

    assert listed() == [association["associationId"]]
    assert listed(namespace="feast", serviceAccount="apply") == [association["associationId"]]
    assert listed(namespace="other") == []


def test_a_list_longer_than_a_page_goes_on(eks):
    names = [f"account-{number}" for number in range(5)]
    for name in names:
        eks.create_pod_identity_association(clusterName="feast-dev", namespace="many", serviceAccount=name, roleArn=ROLE)

    pages = eks.get_paginator("list_pod_identity_associations").paginate(
        clusterName=CLUSTER, namespace="many", PaginationConfig={"PageSize": 2}
    )

    assert [entry["serviceAccount"] for page in pages for entry in page["associations"]] == names


def test_a_service_account_has_one_association(eks, association):
    with pytest.raises(eks.exceptions.ResourceInUseException, match=association["associationId"]):
        eks.create_pod_identity_association(clusterName=CLUSTER, namespace="feast", serviceAccount="apply", roleArn=ROLE)


def test_the_same_request_twice_is_one_association(eks):
    request = {"clusterName": CLUSTER, "namespace": "twice", "serviceAccount": "a", "roleArn": ROLE, "clientRequestToken": "token"}

    first, second = (eks.create_pod_identity_association(**request)["association"]["associationId"] for _ in range(2))

    assert first == second, "the token makes a request idempotent"


def test_the_role_of_an_association_can_be_changed(eks, association):
    where = {"clusterName": CLUSTER, "associationId": association["associationId"]}

    changed = eks.update_pod_identity_association(**where, roleArn=f"{ROLE}-2", disableSessionTags=True)["association"]

    assert changed["roleArn"] == f"{ROLE}-2"
    assert changed["disableSessionTags"] is True


def test_an_association_can_be_tagged_by_its_arn(eks, association):
    arn = association["associationArn"]
    eks.tag_resource(resourceArn=arn, tags={"owner": "me"})
    eks.untag_resource(resourceArn=arn, tagKeys=["team"])

    assert eks.list_tags_for_resource(resourceArn=arn)["tags"] == {"owner": "me"}


def test_a_deleted_association_is_not_found(eks, association):
    where = {"clusterName": CLUSTER, "associationId": association["associationId"]}
    eks.delete_pod_identity_association(**where)

    with pytest.raises(eks.exceptions.ResourceNotFoundException, match=association["associationId"]):
        eks.describe_pod_identity_association(**where)


@pytest.mark.parametrize(
    ("changed", "error"),
    [
        ({"clusterName": "nowhere"}, "ResourceNotFoundException"),
        ({"roleArn": "apply"}, "InvalidParameterException"),
    ],
)
def test_a_wrong_association_is_refused_with_the_error_of_aws(eks, changed, error):
    good = {"clusterName": CLUSTER, "namespace": "wrong", "serviceAccount": "a", "roleArn": ROLE}

    with pytest.raises(ClientError) as refused:
        eks.create_pod_identity_association(**good | changed)

    assert refused.value.response["Error"]["Code"] == error
