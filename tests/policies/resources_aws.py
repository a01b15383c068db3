"""A stack of AWS resources that breaks no rule, from which tests break one thing at a time."""

import copy
import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from feast_eks_policies import RULES, deployment, durability_aws, encryption, exposure_aws, identity
from feast_eks_policies.rule import Provider, Resource
from tests.policies.recording import Recording

AWS_RULES = tuple(
    rule for module in (exposure_aws, encryption, identity, durability_aws, deployment) for rule in module.RULES if rule in RULES
)
ABSENT = object()
ACCOUNT = "123456789012"
CLUSTER = f"arn:aws:eks:eu-west-1:{ACCOUNT}:cluster/feast"
BUCKET_ARN = "arn:aws:s3:::feast-history"
KEY_ARN = f"arn:aws:kms:eu-west-1:{ACCOUNT}:key/0a1b"
TAGS = {"environment": "dev", "owner": "ml", "cost-center": "ml", "service": "feature-store", "data-classification": "confidential"}
ENVIRONMENT = {"env-config-matches-stack": {"environment": "dev"}}


def document(*statements: Mapping[str, Any]) -> dict[str, Any]:
    """An IAM document; providers take it as an object or as JSON text."""
    return {"Version": "2012-10-17", "Statement": list(statements)}


TLS_ONLY = {
    "Effect": "Deny",
    "Principal": "*",
    "Action": "s3:*",
    "Resource": [BUCKET_ARN, f"{BUCKET_ARN}/*"],
    "Condition": {"Bool": {"aws:SecureTransport": "false"}},
}
OWN_ROLE = {
    "Effect": "Allow",
    "Principal": {"AWS": f"arn:aws:iam::{ACCOUNT}:role/loader"},
    "Action": "s3:PutObject",
    "Resource": f"{BUCKET_ARN}/*",
}
READ_OBJECTS = {"Effect": "Allow", "Action": ["s3:GetObject"], "Resource": [f"{BUCKET_ARN}/*"]}
LIST_PREFIX = {
    "Effect": "Allow",
    "Action": "s3:ListBucket",
    "Resource": BUCKET_ARN,
    "Condition": {"StringLike": {"s3:prefix": ["history/*"]}},
}
POD_IDENTITY_TRUST = {
    "Effect": "Allow",
    "Principal": {"Service": "pods.eks.amazonaws.com"},
    "Action": ["sts:AssumeRole", "sts:TagSession"],
    "Condition": {
        "StringEquals": {
            "aws:SourceAccount": ACCOUNT,
            "aws:RequestTag/kubernetes-namespace": "feast",
            "aws:RequestTag/kubernetes-service-account": "materialize",
        },
        "ArnEquals": {"aws:SourceArn": CLUSTER},
    },
}
WEB_IDENTITY_TRUST = {
    "Effect": "Allow",
    "Principal": {"Federated": f"arn:aws:iam::{ACCOUNT}:oidc-provider/oidc.eks.eu-west-1.amazonaws.com/id/ABC"},
    "Action": "sts:AssumeRoleWithWebIdentity",
    "Condition": {
        "StringEquals": {
            "oidc.eks.eu-west-1.amazonaws.com/id/ABC:sub": "system:serviceaccount:feast:materialize",
            "oidc.eks.eu-west-1.amazonaws.com/id/ABC:aud": "sts.amazonaws.com",
        }
    },
}

AWS = Provider(
    type="pulumi:providers:aws",
    name="aws",
    props={"region": "eu-west-1", "allowedAccountIds": json.dumps([ACCOUNT]), "defaultTags": json.dumps({"tags": TAGS})},
)
KUBERNETES = Provider(type="pulumi:providers:kubernetes", name="cluster", props={"context": "feast-dev"})
EXEC_KUBECONFIG = {
    "kind": "Config",
    "users": [{"name": "aws", "user": {"exec": {"command": "aws", "args": ["eks", "get-token", "--cluster-name", "feast"]}}}],
}


def resource(type_: str, name: str, props: Mapping[str, Any], **more: Any) -> Resource:
    """A resource of the stack dev, through the explicit provider of its package."""
    provider = {"aws": AWS, "kubernetes": KUBERNETES}.get(type_.partition(":")[0])
    return Resource(type=type_, name=name, urn=urn(type_, name), props=dict(props), **{"provider": provider, **more})


def urn(type_: str, name: str) -> str:
    return f"urn:pulumi:dev::feast-eks::{type_}::{name}"


BUCKET_URN = urn("aws:s3/bucket:Bucket", "history")


def part(kind: str, props: Mapping[str, Any]) -> Resource:
    """A part of the bucket, which it names by reference."""
    token = f"aws:s3/{kind}:{kind[0].upper()}{kind[1:]}"
    return resource(token, kind, {"bucket": "feast-history", **props}, property_dependencies={"bucket": (BUCKET_URN,)})


GOOD = (
    resource("pulumi:pulumi:Stack", "feast-eks-dev", {"namespace": "feast", "registry_secret": "feast-postgresql-auth"}),
    resource("pulumi:providers:aws", "aws", AWS.props),
    resource("pulumi:providers:kubernetes", "cluster", {"kubeconfig": json.dumps(EXEC_KUBECONFIG), "clusterIdentifier": "feast-dev"}),
    resource("aws:s3/bucket:Bucket", "history", {"bucket": "feast-history", "forceDestroy": False}, protect=True),
    part("bucketOwnershipControls", {"rule": {"objectOwnership": "BucketOwnerEnforced"}}),
    part(
        "bucketPublicAccessBlock",
        {"blockPublicAcls": True, "blockPublicPolicy": True, "ignorePublicAcls": True, "restrictPublicBuckets": True},
    ),
    part("bucketPolicy", {"policy": document(TLS_ONLY, OWN_ROLE)}),
    part("bucketVersioning", {"versioningConfiguration": {"status": "Enabled"}}),
    part(
        "bucketServerSideEncryptionConfiguration",
        {
            "rules": [
                {"applyServerSideEncryptionByDefault": {"sseAlgorithm": "aws:kms", "kmsMasterKeyId": KEY_ARN}, "bucketKeyEnabled": True}
            ]
        },
    ),
    part(
        "bucketLifecycleConfiguration",
        {
            "rules": [
                {
                    "id": "old",
                    "status": "Enabled",
                    "filter": {"prefix": ""},
                    "noncurrentVersionExpiration": {"noncurrentDays": 90},
                    "abortIncompleteMultipartUpload": {"daysAfterInitiation": 7},
                }
            ]
        },
    ),
    part("bucketLogging", {"targetBucket": "company-access-logs", "targetPrefix": "feast/"}),
    resource("aws:s3/bucketObjectv2:BucketObjectv2", "sample", {"bucket": "feast-history", "key": "a.parquet"}),
    resource("aws:kms/key:Key", "key", {"enableKeyRotation": True, "deletionWindowInDays": 30}, protect=True),
    resource(
        "aws:iam/role:Role",
        "materialize-role",
        {"assumeRolePolicy": document(POD_IDENTITY_TRUST), "permissionsBoundary": f"arn:aws:iam::{ACCOUNT}:policy/boundary"},
    ),
    resource(
        "aws:iam/role:Role",
        "web-identity-role",
        {"assumeRolePolicy": document(WEB_IDENTITY_TRUST), "permissionsBoundary": f"arn:aws:iam::{ACCOUNT}:policy/boundary"},
    ),
    resource("aws:iam/rolePolicy:RolePolicy", "materialize-reads", {"role": "materialize", "policy": document(READ_OBJECTS, LIST_PREFIX)}),
    resource(
        "aws:iam/rolePolicyAttachment:RolePolicyAttachment",
        "attached",
        {"role": "materialize", "policyArn": f"arn:aws:iam::{ACCOUNT}:policy/read-history"},
    ),
    resource("random:index/randomPassword:RandomPassword", "password", {"length": 32}, protect=True),
    resource("kubernetes:core/v1:ConfigMap", "definitions", {"data": {"a": "b"}}, ignore_changes=("metadata.annotations",)),
)


def good() -> dict[str, Resource]:
    """The stack by logical name; a copy, to be damaged."""
    return {r.name: replace(r, props=copy.deepcopy(dict(r.props))) for r in GOOD}


Path = tuple[str | int, ...]


def steps(path: str | Path) -> Path:
    """A path as its keys; text separates them by dots."""
    return tuple(int(key) if key.isdigit() else key for key in path.split(".")) if isinstance(path, str) else path


def changed(resources: dict[str, Resource], name: str, path: str | Path, value: Any) -> dict[str, Resource]:
    """The stack with one property of one resource replaced (or removed); a path starting with @ is a field of the resource itself."""
    if isinstance(path, str) and path.startswith("@"):
        return resources | {name: replace(resources[name], **{path[1:]: value})}
    props = copy.deepcopy(dict(resources[name].props))
    place, keys = props, steps(path)
    for key in keys[:-1]:
        place = place[key]
    if value is ABSENT:
        del place[keys[-1]]
    else:
        place[keys[-1]] = value
    return resources | {name: replace(resources[name], props=props)}


def as_recording(resources: dict[str, Resource]) -> Recording:
    """Resources as both kinds of rules see them."""
    return Recording(list(resources.values()), list(resources.values()))


def paths_of(value: Any, prefix: Path = ()) -> list[Path]:
    """The paths of every value inside, inner ones included."""
    found = []
    for key, below in value.items() if isinstance(value, Mapping) else enumerate(value) if isinstance(value, list) else ():
        found += [(*prefix, key), *paths_of(below, (*prefix, key))]
    return found
