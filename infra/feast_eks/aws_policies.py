"""AWS policy documents: who may become a role, and what it may do then. As JSON.

Pure. The actions are the fewest that reading the sources takes; https://docs.aws.amazon.com/service-authorization/ lists them.
"""

import json
from collections.abc import Sequence

from feast_eks.workload import Object

POD_IDENTITY_SERVICE = "pods.eks.amazonaws.com"


def partition(region: str) -> str:
    """The part of AWS that a region is in, as ARNs name it."""
    return {"cn": "aws-cn", "us-gov": "aws-us-gov"}.get(region.rsplit("-", 2)[0], "aws")


def bucket_arn(bucket: str, region: str) -> str:
    """The ARN of a bucket."""
    return f"arn:{partition(region)}:s3:::{bucket}"


def pod_identity_trust(*, cluster_arn: str, namespace: str, service_account: str) -> str:
    """Lets EKS Pod Identity hand the role to the pods of one service account of this cluster.

    By the session tags that it sends: whoever may associate roles in the cluster cannot give this one to other pods.
    https://docs.aws.amazon.com/eks/latest/userguide/pod-id-role.html
    """
    account = cluster_arn.split(":")[4]
    return _document(
        {
            "Sid": "PodIdentity",
            "Effect": "Allow",
            "Principal": {"Service": POD_IDENTITY_SERVICE},
            "Action": ["sts:AssumeRole", "sts:TagSession"],
            "Condition": {
                "StringEquals": {
                    "aws:SourceAccount": account,
                    "aws:RequestTag/kubernetes-namespace": namespace,
                    "aws:RequestTag/kubernetes-service-account": service_account,
                },
                "ArnEquals": {"aws:SourceArn": cluster_arn},
            },
        }
    )


def irsa_trust(*, cluster_arn: str, issuer: str, namespace: str, service_account: str) -> str:
    """Lets one service account of this cluster become the role, by a token that the cluster signed."""
    _, partition_name, _, _, account, _ = cluster_arn.split(":", 5)
    provider = issuer.removeprefix("https://")
    return _document(
        {
            "Sid": "ServiceAccount",
            "Effect": "Allow",
            "Principal": {"Federated": f"arn:{partition_name}:iam::{account}:oidc-provider/{provider}"},
            "Action": "sts:AssumeRoleWithWebIdentity",
            "Condition": {
                "StringEquals": {
                    f"{provider}:sub": f"system:serviceaccount:{namespace}:{service_account}",
                    f"{provider}:aud": "sts.amazonaws.com",
                }
            },
        }
    )


def read_sources(*, bucket: str, sources: Sequence[str], region: str) -> str:
    """Reading the sources of the feature views, each a file or a folder of files, and nothing else in the bucket."""
    bucket_name = bucket_arn(bucket, region)
    return _document(
        {
            "Sid": "ReadSources",
            "Effect": "Allow",
            "Action": "s3:GetObject",
            "Resource": [f"{bucket_name}/{key}" for source in sources for key in (source, f"{source}/*")],
        },
        {
            "Sid": "ListSources",
            "Effect": "Allow",
            "Action": "s3:ListBucket",
            "Resource": bucket_name,
            # IfExists: a question about one key has no prefix. If it is denied, S3 says of a missing key that it is forbidden,
            # on which readers give up a folder. So names in the bucket can be listed; what is in other objects cannot be read.
            "Condition": {"StringLikeIfExists": {"s3:prefix": [prefix for source in sources for prefix in (source, f"{source}/*")]}},
        },
    )


def decrypt(*, key_arn: str, region: str) -> str:
    """Decrypting what S3 stored under the key."""
    suffix = "amazonaws.com.cn" if partition(region) == "aws-cn" else "amazonaws.com"
    return _document(
        {
            "Sid": "DecryptSources",
            "Effect": "Allow",
            "Action": "kms:Decrypt",
            "Resource": key_arn,
            "Condition": {"StringEquals": {"kms:ViaService": f"s3.{region}.{suffix}"}},
        }
    )


def tls_only(*, bucket: str, region: str) -> str:
    """The bucket policy that denies every request without TLS."""
    arn = bucket_arn(bucket, region)
    return _document(
        {
            "Sid": "DenyWithoutTls",
            "Effect": "Deny",
            "Principal": "*",
            "Action": "s3:*",
            "Resource": [arn, f"{arn}/*"],
            "Condition": {"Bool": {"aws:SecureTransport": "false"}},
        }
    )


def _document(*statements: Object) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": list(statements)})
