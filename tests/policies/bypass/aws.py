"""A program that goes round every component: plain AWS resources, of which each breaks one rule. `table.py` says which.

Runs under the recording engine, and under the real one: there `bypass:endpoints` names an AWS that is none.
"""

import json
from typing import Any

import pulumi
import pulumi_aws as aws
import pulumi_random as random

ACCOUNT = "123456789012"
HISTORY = "arn:aws:s3:::history/features/*"
TAGS = {"environment": "dev", "owner": "ml", "cost-center": "ml", "service": "feature-store", "data-classification": "confidential"}
WHEREVER = {
    "region": "eu-west-1",
    "endpoints": pulumi.Config("bypass").get_object("endpoints"),
    "s3_use_path_style": True,
    "skip_credentials_validation": True,
}

protected = pulumi.ResourceOptions(
    provider=aws.Provider("aws", allowed_account_ids=[ACCOUNT], default_tags={"tags": TAGS}, **WHEREVER), protect=True
)
untagged = pulumi.ResourceOptions(provider=aws.Provider("aws-untagged", allowed_account_ids=[ACCOUNT], **WHEREVER), protect=True)
aws.Provider("aws-of-any-account", default_tags={"tags": TAGS}, **WHEREVER)


def document(*statements: dict[str, Any]) -> str:
    """An IAM document as JSON."""
    return json.dumps({"Version": "2012-10-17", "Statement": list(statements)})


def tls_only(arn: str) -> dict[str, Any]:
    """The statement without which a bucket answers over plain HTTP."""
    condition = {"Bool": {"aws:SecureTransport": "false"}}
    return {"Effect": "Deny", "Principal": "*", "Action": "s3:*", "Resource": [arn, f"{arn}/*"], "Condition": condition}


def bucket(
    name: str,
    opts: pulumi.ResourceOptions = protected,
    *,
    blocks: bool = True,
    policy: tuple[dict[str, Any], ...] | None = None,
    owner: str = "BucketOwnerEnforced",
    encryption: dict[str, Any] | None = None,
    versions: bool = True,
    lifecycle: bool = True,
    logging: bool = True,
    ignore_policy: bool = False,
    force_destroy: bool = False,
) -> None:
    """A bucket with everything that it needs, but for what the caller leaves out."""
    it = aws.s3.Bucket(name, bucket=name, force_destroy=force_destroy, opts=opts)
    plain = pulumi.ResourceOptions(provider=opts.provider)
    aws.s3.BucketOwnershipControls(f"{name}-ownership", bucket=it.id, rule={"object_ownership": owner}, opts=plain)
    aws.s3.BucketPublicAccessBlock(
        f"{name}-public-access",
        bucket=it.id,
        block_public_acls=True,
        block_public_policy=True,
        ignore_public_acls=blocks,
        restrict_public_buckets=True,
        opts=plain,
    )
    statements = policy if policy is not None else (tls_only(f"arn:aws:s3:::{name}"),)
    ignoring = pulumi.ResourceOptions(provider=opts.provider, ignore_changes=["policy"] if ignore_policy else [])
    aws.s3.BucketPolicy(f"{name}-policy", bucket=it.id, policy=document(*statements), opts=ignoring)
    aws.s3.BucketServerSideEncryptionConfiguration(
        f"{name}-encryption",
        bucket=it.id,
        rules=[
            {
                "apply_server_side_encryption_by_default": encryption
                or {"sse_algorithm": "aws:kms", "kms_master_key_id": f"arn:aws:kms:eu-west-1:{ACCOUNT}:key/0a1b"},
                "bucket_key_enabled": True,
            }
        ],
        opts=plain,
    )
    if versions:
        aws.s3.BucketVersioning(f"{name}-versioning", bucket=it.id, versioning_configuration={"status": "Enabled"}, opts=plain)
    if lifecycle:
        aws.s3.BucketLifecycleConfiguration(
            f"{name}-lifecycle",
            bucket=it.id,
            rules=[
                {
                    "id": "old",
                    "status": "Enabled",
                    "filter": {"prefix": ""},
                    "noncurrent_version_expiration": {"noncurrent_days": 30},
                    "abort_incomplete_multipart_upload": {"days_after_initiation": 7},
                }
            ],
            opts=plain,
        )
    if logging:
        aws.s3.BucketLogging(f"{name}-logging", bucket=it.id, target_bucket="company-logs", target_prefix=name, opts=plain)


POD_IDENTITY = {
    "Effect": "Allow",
    "Principal": {"Service": "pods.eks.amazonaws.com"},
    "Action": ["sts:AssumeRole", "sts:TagSession"],
    "Condition": {
        "StringEquals": {
            "aws:SourceAccount": ACCOUNT,
            "aws:RequestTag/kubernetes-namespace": "feast",
            "aws:RequestTag/kubernetes-service-account": "anybody",
        }
    },
}
BOUNDARY = f"arn:aws:iam::{ACCOUNT}:policy/boundary"

bucket("nothing-wrong")
bucket("open", blocks=False)
bucket("over-http", policy=(tls_only("arn:aws:s3:::another"),))
bucket("with-acls", owner="ObjectWriter")
foreign = {"Effect": "Allow", "Principal": {"AWS": "999999999999"}, "Action": "s3:GetObject", "Resource": "arn:aws:s3:::shared/*"}
bucket("shared", policy=(tls_only("arn:aws:s3:::shared"), foreign))
bucket("with-amazons-key", encryption={"sse_algorithm": "AES256"})
bucket("overwritten", versions=False)
bucket("ever-growing", lifecycle=False)
bucket("unwatched", logging=False)
bucket("thrown-away", force_destroy=True)
bucket("not-told-apart", untagged)
bucket("drifting", ignore_policy=True)

aws.kms.Key("never-rotated", deletion_window_in_days=30, opts=protected)
random.RandomPassword("unprotected", length=32)

role = aws.iam.Role("role", assume_role_policy=document(POD_IDENTITY), permissions_boundary=BOUNDARY, opts=protected)
aws.iam.Role("anyones", assume_role_policy=document(POD_IDENTITY | {"Condition": {}}), permissions_boundary=BOUNDARY, opts=protected)
aws.iam.Role("unbounded", assume_role_policy=document(POD_IDENTITY), opts=protected)
aws.iam.RolePolicy("everything", role=role.id, policy=document({"Effect": "Allow", "Action": "kms:*", "Resource": "*"}), opts=protected)
aws.iam.RolePolicy(
    "writer", role=role.id, policy=document({"Effect": "Allow", "Action": "s3:PutObject", "Resource": HISTORY}), opts=protected
)

pulumi.export("redis_password", "canary")
