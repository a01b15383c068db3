"""The offline store: the bucket that holds the history of every feature, as Parquet."""

import json
from dataclasses import dataclass
from pathlib import Path

import pulumi
import pulumi_aws as aws

from feast_eks.identities import OFFLINE_STORE_SECRET, from_secret
from feast_eks.settings import OfflineStoreSettings
from feast_eks.workload import Object

SAMPLE_DATA_KEY = "employee_attrition.parquet"
"""Where the example's data source looks."""

ABORT_UPLOAD_DAYS = 7


@dataclass(frozen=True, kw_only=True)
class OfflineStoreArgs:
    """`project_directory`: what `sample_data` is relative to."""

    settings: OfflineStoreSettings
    protect: bool
    project_directory: Path


class OfflineStore(pulumi.ComponentResource):
    """An S3 bucket that is private, encrypted, versioned, reached over TLS only, and cleans up after itself."""

    bucket_name: pulumi.Output[str]
    uri: pulumi.Output[str]

    def __init__(self, name: str, args: OfflineStoreArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("feast-eks:index:OfflineStore", name, {}, opts)
        child = pulumi.ResourceOptions(parent=self)
        bucket = aws.s3.Bucket(
            f"{name}-bucket",
            bucket=args.settings.bucket_name,
            force_destroy=not args.protect,
            # A protected resource must not be replaced by accident either: renaming the bucket replaces it.
            opts=pulumi.ResourceOptions(parent=self, protect=args.protect),
        )
        ownership = aws.s3.BucketOwnershipControls(
            f"{name}-ownership", bucket=bucket.id, rule={"object_ownership": "BucketOwnerEnforced"}, opts=child
        )
        public_access = aws.s3.BucketPublicAccessBlock(
            f"{name}-public-access",
            bucket=bucket.id,
            block_public_acls=True,
            block_public_policy=True,
            ignore_public_acls=True,
            restrict_public_buckets=True,
            opts=child,
        )
        versioning = aws.s3.BucketVersioning(
            f"{name}-versioning", bucket=bucket.id, versioning_configuration={"status": "Enabled"}, opts=child
        )
        encryption = aws.s3.BucketServerSideEncryptionConfiguration(
            f"{name}-encryption",
            bucket=bucket.id,
            rules=[{"apply_server_side_encryption_by_default": {"sse_algorithm": "AES256"}, "bucket_key_enabled": True}],
            opts=child,
        )
        aws.s3.BucketLifecycleConfiguration(
            f"{name}-lifecycle",
            bucket=bucket.id,
            rules=[
                {
                    "id": "expire-overwritten",
                    "status": "Enabled",
                    "filter": {"prefix": ""},
                    "noncurrent_version_expiration": {"noncurrent_days": args.settings.noncurrent_days},
                    "abort_incomplete_multipart_upload": {"days_after_initiation": ABORT_UPLOAD_DAYS},
                }
            ],
            # S3 refuses rules for noncurrent versions of a bucket without versions.
            opts=pulumi.ResourceOptions(parent=self, depends_on=[versioning]),
        )
        aws.s3.BucketPolicy(
            f"{name}-policy",
            bucket=bucket.id,
            policy=bucket.arn.apply(tls_only_policy),
            # S3 refuses concurrent changes of a bucket's policy and its public access block.
            opts=pulumi.ResourceOptions(parent=self, depends_on=[public_access]),
        )
        if args.settings.sample_data:
            aws.s3.BucketObjectv2(
                f"{name}-sample-data",
                bucket=bucket.id,
                key=SAMPLE_DATA_KEY,
                source=pulumi.FileAsset(str(args.project_directory / args.settings.sample_data)),
                # What is written before the bucket is private, versioned and encrypted would not be.
                opts=pulumi.ResourceOptions(parent=self, depends_on=[ownership, versioning, encryption]),
            )
        self.bucket_name = bucket.id
        self.uri = pulumi.Output.format("s3://{0}", bucket.id)
        self.register_outputs({"bucket_name": self.bucket_name, "uri": self.uri})


def tls_only_policy(bucket_arn: str) -> str:
    """The bucket policy that denies every request without TLS, as JSON."""
    return json.dumps(
        {
            "Version": "2012-10-17",
            "Statement": [
                {
                    "Sid": "DenyWithoutTls",
                    "Effect": "Deny",
                    "Principal": "*",
                    "Action": "s3:*",
                    "Resource": [bucket_arn, f"{bucket_arn}/*"],
                    "Condition": {"Bool": {"aws:SecureTransport": "false"}},
                }
            ],
        }
    )


def offline_store_environment(settings: OfflineStoreSettings, bucket_name: pulumi.Input[str]) -> list[Object]:
    """Environment variables by which a pod finds the bucket, and its access key where there is no AWS role."""
    variables: list[Object] = [
        {"name": "OFFLINE_STORE_BUCKET", "value": bucket_name},
        {"name": "AWS_REGION", "value": settings.region},
    ]
    if settings.endpoint_url:
        variables += [
            {"name": "OFFLINE_STORE_ENDPOINT_URL", "value": settings.endpoint_url},
            {"name": "AWS_ENDPOINT_URL", "value": settings.endpoint_url},
            from_secret("AWS_ACCESS_KEY_ID", OFFLINE_STORE_SECRET, "access-key-id"),
            from_secret("AWS_SECRET_ACCESS_KEY", OFFLINE_STORE_SECRET, "secret-access-key"),
        ]
    return variables
