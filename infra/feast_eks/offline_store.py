"""The offline store: the bucket that holds the history of every feature, as Parquet."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pulumi
import pulumi_aws as aws

from feast_eks import aws_policies
from feast_eks.identities import OFFLINE_STORE_SECRET, Identity, from_secret, has_aws_role
from feast_eks.settings import OfflineStoreSettings, Settings
from feast_eks.wires import computed
from feast_eks.workload import Object

ABORT_UPLOAD_DAYS = 7
KEY_DELETION_DAYS = 30
"""The longest that AWS offers: without the key the whole history is noise."""


@dataclass(frozen=True, kw_only=True)
class OfflineStoreArgs:
    """`project_directory`: what `sample_data` is relative to."""

    settings: OfflineStoreSettings
    region: str
    protect: bool
    project_directory: Path


class OfflineStore(pulumi.ComponentResource):
    """An S3 bucket that is private, encrypted, versioned, reached over TLS only, and cleans up after itself."""

    bucket_name: pulumi.Output[str]
    uri: pulumi.Output[str]
    key_arn: pulumi.Output[str] | None
    """The KMS key that its objects are encrypted with; None where S3 has its own."""

    def __init__(self, name: str, args: OfflineStoreArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("feast-eks:index:OfflineStore", name, {}, opts)
        child = pulumi.ResourceOptions(parent=self)
        # A protected resource must not be replaced by accident either: renaming the bucket replaces it.
        kept = pulumi.ResourceOptions(parent=self, protect=args.protect)
        bucket = aws.s3.Bucket(f"{name}-bucket", bucket=args.settings.bucket_name, force_destroy=not args.protect, opts=kept)
        # Not its id: the name is known before the bucket is made, and a preview shows what follows from it.
        self.bucket_name = bucket.bucket
        self.key_arn = self._key(name, args.settings, kept) if args.settings.encryption == "kms" else None
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
            rules=[{"apply_server_side_encryption_by_default": self._encryption(), "bucket_key_enabled": True}],
            opts=child,
        )
        if args.settings.log_bucket:
            aws.s3.BucketLogging(
                f"{name}-logging",
                bucket=bucket.id,
                target_bucket=args.settings.log_bucket,
                target_prefix=pulumi.Output.format("{0}/", self.bucket_name),
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
            policy=computed(aws_policies.tls_only, bucket=self.bucket_name, region=args.region),
            # S3 refuses concurrent changes of a bucket's policy and its public access block.
            opts=pulumi.ResourceOptions(parent=self, depends_on=[public_access]),
        )
        for suffix, key, path in sample_objects(args.project_directory, args.settings.sample_data):
            aws.s3.BucketObjectv2(
                f"{name}-sample-data{suffix}",
                bucket=bucket.id,
                key=key,
                source=pulumi.FileAsset(str(path)),
                # What is written before the bucket is private, versioned and encrypted would not be.
                opts=pulumi.ResourceOptions(parent=self, depends_on=[ownership, versioning, encryption]),
            )
        self.uri = pulumi.Output.format("s3://{0}", self.bucket_name)
        self.register_outputs({"bucket_name": self.bucket_name, "uri": self.uri})

    def _key(self, name: str, settings: OfflineStoreSettings, kept: pulumi.ResourceOptions) -> pulumi.Output[str]:
        if settings.kms_key_arn:
            return pulumi.Output.from_input(settings.kms_key_arn)
        key = aws.kms.Key(
            f"{name}-key",
            description="Feature store: the history of every feature",
            enable_key_rotation=True,
            deletion_window_in_days=KEY_DELETION_DAYS,
            opts=kept,
        )
        aws.kms.Alias(
            f"{name}-key-alias",
            name=computed(key_alias, bucket=self.bucket_name),
            target_key_id=key.key_id,
            opts=pulumi.ResourceOptions(parent=self),
        )
        return key.arn

    def _encryption(self) -> dict[str, pulumi.Input[str]]:
        if self.key_arn is None:
            return {"sse_algorithm": "AES256"}
        return {"sse_algorithm": "aws:kms", "kms_master_key_id": self.key_arn}


def sample_objects(project_directory: Path, sample: str | None) -> list[tuple[str, str, Path]]:
    """The made-up data to upload: (end of the logical name, key, file).

    A file goes by its own name, the Parquet files of a folder by their paths in it, without a first folder `data/`: so do the
    relative paths of sources, which mean these keys.
    """
    if sample is None:
        return []
    path = project_directory / sample
    if path.is_file():
        return [("", path.name, path)]
    keys = {file.relative_to(path).as_posix().removeprefix("data/"): file for file in sorted(path.rglob("*.parquet"))}
    return [(f"-{key.replace('/', '__')}", key, file) for key, file in keys.items()]


def key_alias(bucket: str) -> str:
    """What the key is called: after its bucket, whose name nobody else has."""
    return f"alias/feast-eks/{bucket.replace('.', '-')}"


def sources_environment(settings: Settings, bucket_name: pulumi.Input[str]) -> list[Object]:
    """Environment variables that the feature definitions read: where their sources are. They give no right to read them."""
    variables: list[Object] = [{"name": "OFFLINE_STORE_BUCKET", "value": bucket_name}]
    if endpoint_url := settings.offline_store.endpoint_url:
        variables.append({"name": "OFFLINE_STORE_ENDPOINT_URL", "value": endpoint_url})
    return variables


def offline_store_environment(
    identity: Identity, settings: Settings, bucket_name: pulumi.Input[str], *, sources: Sequence[str]
) -> list[Object]:
    """Environment variables by which a pod finds the bucket, and knows that it is to have an AWS role; elsewhere its access key."""
    if not identity.offline_store:
        return []
    variables: list[Object] = [
        *sources_environment(settings, bucket_name),
        # Two names for it: each AWS library of the pods reads only one, and asks in another region without.
        {"name": "AWS_REGION", "value": settings.aws.region},
        {"name": "AWS_DEFAULT_REGION", "value": settings.aws.region},
    ]
    if has_aws_role(identity, settings, sources):
        # EKS gives it when it admits the pod, or never: one that came too early ends at once, for another to get it.
        variables.append({"name": "AWS_WORKLOAD_IDENTITY", "value": settings.workload_identity})
    if endpoint_url := settings.offline_store.endpoint_url:
        variables += [
            {"name": "AWS_ENDPOINT_URL", "value": endpoint_url},
            from_secret("AWS_ACCESS_KEY_ID", OFFLINE_STORE_SECRET, "access-key-id"),
            from_secret("AWS_SECRET_ACCESS_KEY", OFFLINE_STORE_SECRET, "secret-access-key"),
        ]
    return variables
