"""The AWS stand-in speaks of nothing that the official provider does not have: its names are those of the provider's SDK."""

import importlib
import inspect
import re
from importlib import metadata

import pytest
import yaml

from sandbox.providers import aws
from tests.sandbox.local_aws import ACCOUNT, local_aws
from tests.sandbox.test_provider_aws import Driver


def camel(name):
    return re.sub(r"_([a-z0-9])", lambda found: found[1].upper(), name)


def sdk(token):
    """The class or function of the SDK for `aws:s3/bucket:Bucket`, `aws:eks/getCluster:getCluster`."""
    _, module, name = token.split(":")
    package = module.partition("/")[0]
    home = importlib.import_module("pulumi_aws" if package == "index" else f"pulumi_aws.{package}")
    return getattr(home, name if name[0].isupper() else re.sub(r"([A-Z])", lambda found: f"_{found[1].lower()}", name))


@pytest.mark.parametrize("token", sorted(aws.KINDS))
def test_every_input_is_one_of_the_sdk(token):
    kind = aws.KINDS[token]
    known = {camel(name) for name in inspect.signature(sdk(token)._internal_init).parameters}

    assert {*kind.required, *kind.optional} <= known, "else a program would work here and fail on AWS"
    assert {*kind.force_new, *kind.readable, *kind.documents, *kind.may_be_empty, *kind.defaults} <= {*kind.required, *kind.optional}
    assert not kind.name or kind.name in kind.optional


@pytest.mark.parametrize("token", sorted(aws.KINDS))
def test_every_type_belongs_to_the_installed_sdk(token):
    assert sdk(token).pulumi_type == token


@pytest.mark.parametrize("token", sorted(aws.FUNCTIONS))
def test_every_function_is_one_of_the_sdk(token):
    assert callable(sdk(token))


@pytest.fixture(scope="module")
def driver(tmp_path_factory):
    path = tmp_path_factory.mktemp("kube") / "config"
    cluster = {"name": "here", "cluster": {"server": "https://10.0.0.1:6443", "certificate-authority-data": "Q0E="}}
    context = {"name": "here", "context": {"cluster": "here", "user": "me"}}
    path.write_text(yaml.safe_dump({"clusters": [cluster], "contexts": [context], "current-context": "here"}))
    with local_aws(path, "feast-dev") as address:
        yield Driver(address).configure()


def test_what_is_found_out_about_a_cluster_has_the_sdks_names(driver):
    found = driver.invoke("aws:eks/getCluster:getCluster", name="feast-dev")
    outputs = importlib.import_module("pulumi_aws.eks.outputs")

    for value, result in (
        (found, importlib.import_module("pulumi_aws.eks.get_cluster").GetClusterResult),
        (found["identities"][0], outputs.GetClusterIdentityResult),
        (found["identities"][0]["oidcs"][0], outputs.GetClusterIdentityOidcResult),
        (found["certificateAuthorities"][0], outputs.GetClusterCertificateAuthorityResult),
        (found["vpcConfig"], outputs.GetClusterVpcConfigResult),
        (found["kubernetesNetworkConfigs"][0], outputs.GetClusterKubernetesNetworkConfigResult),
    ):
        assert value.keys() <= {camel(name) for name in inspect.signature(result.__init__).parameters}


def test_what_resources_hold_has_the_sdks_names(driver):
    role = f"arn:aws:iam::{ACCOUNT}:role/apply"
    made = [
        driver.create("aws:kms/key:Key", description="x"),
        driver.create(
            "aws:eks/podIdentityAssociation:PodIdentityAssociation",
            clusterName="feast-dev",
            namespace="feast",
            serviceAccount="apply",
            roleArn=role,
        ),
    ]
    made.append(driver.create("aws:kms/alias:Alias", name="alias/x", targetKeyId=made[0].id))

    for resource in made:
        properties = {camel(name) for name, value in vars(sdk(resource.kind)).items() if isinstance(value, property)}
        held = {name for name in resource.state if not name.startswith("__")}
        assert held <= properties, f"{resource.kind} holds {held - properties}"


def test_the_version_is_that_of_the_sdk():
    assert aws.Aws().version == metadata.version("pulumi-aws")
