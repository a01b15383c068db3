"""AWS policy documents: who may become a role, and what it may do then. As JSON.

Pure. The actions are the fewest that reading the sources takes; https://docs.aws.amazon.com/service-authorization/ lists them.
"""

import json
import re
from collections.abc import Iterable, Sequence

from feast_eks.workload import Object

POD_IDENTITY_SERVICE = "pods.eks.amazonaws.com"
WILDCARD = re.compile(r"\*\*/?|\*|\?|\[[^]]+]")
"""What readers take for a pattern in a key; `**/` is any folders, or none."""


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
    """Reading the sources of the feature views, and nothing else in the bucket: each a file, a folder of files, or a pattern of such."""
    bucket_name = bucket_arn(bucket, region)
    return _document(
        {
            "Sid": "ReadSources",
            "Effect": "Allow",
            "Action": "s3:GetObject",
            "Resource": [f"{bucket_name}/{key}" for key in _unique(key for source in sources for key in _readable(source))],
        },
        {
            "Sid": "ListSources",
            "Effect": "Allow",
            "Action": "s3:ListBucket",
            "Resource": bucket_name,
            # IfExists: a question about one key has no prefix. If it is denied, S3 says of a missing key that it is forbidden,
            # on which readers give up a folder. So names in the bucket can be listed; what is in other objects cannot be read.
            "Condition": {"StringLikeIfExists": {"s3:prefix": _unique(key for source in sources for key in _listed(source))}},
        },
    )


def _readable(source: str) -> list[str]:
    """The keys that a source stands for: its own, what lies below it, and what it matches as a pattern."""
    keys = [_literal(source)]
    if WILDCARD.search(source):
        literals = [_literal(text) for text in WILDCARD.split(source)]
        wildcards = ["*" if found[0].startswith("*") else "?" for found in WILDCARD.finditer(source)]
        keys.append("".join(part for pair in zip(literals, [*wildcards, ""], strict=True) for part in pair))
    return [key for own in keys for key in (own, f"{own}/*")]


def _listed(source: str) -> list[str]:
    """What is listed to find the files of a source: the folder that it is, or that its pattern begins with."""
    own = _literal(source)
    found = WILDCARD.search(source)
    folder = _literal(source[: found.start()]).rpartition("/")[0] if found else ""
    return [own, f"{own}/*", *([f"{folder}/*" if folder else "*"] if found else [])]


def _literal(text: str) -> str:
    """Text in which policies see no wildcards and no variables.

    https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_variables.html
    """
    return re.sub(r"[$*?]", r"${\g<0>}", text)


def _unique(texts: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(texts))


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
