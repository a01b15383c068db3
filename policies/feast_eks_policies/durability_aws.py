"""What was stored is still there after a mistake: rules of durability on the AWS side."""

from collections.abc import Iterator

from feast_eks_policies.buckets import BUCKETS, buckets, covers_whole_bucket, lifecycle_rules
from feast_eks_policies.rule import Context, Finding, Resource, ResourceRule, Rule, StackRule
from feast_eks_policies.values import UNKNOWN, as_list, get

DATA_BEARING = (
    "random:index/randomPassword:RandomPassword",
    "aws:kms/key:Key",
    "aws:rds/instance:Instance",
    "aws:rds/cluster:Cluster",
    "aws:elasticache/replicationGroup:ReplicationGroup",
    "aws:dynamodb/table:Table",
    "aws:efs/fileSystem:FileSystem",
)


def _versioning(resources: list[Resource], _context: Context) -> Iterator[Finding]:
    for bucket in buckets(resources):
        found = bucket.settings_of("bucketVersioning", "versioning")
        states = [get(settings, "versioningConfiguration", "status") or get(settings, "enabled") for settings in found]
        if not any(state in ("Enabled", True, UNKNOWN) for state in states):
            state = next((state for state in states if isinstance(state, str)), "absent")
            yield bucket.resource, f"versioning of bucket {bucket.name} is {state}, so an overwritten object is gone"


def _lifecycle(resources: list[Resource], _context: Context) -> Iterator[Finding]:
    for bucket in buckets(resources):
        rules = [rule for rule in lifecycle_rules(bucket) if covers_whole_bucket(rule)]
        if UNKNOWN in rules:
            continue
        if not any(get(rule, "noncurrentVersionExpiration") for rule in rules):
            yield bucket.resource, f"no lifecycle rule of bucket {bucket.name} expires noncurrent versions of all objects"
        if not any(get(rule, "abortIncompleteMultipartUpload") or get(rule, "abortIncompleteMultipartUploadDays") for rule in rules):
            yield bucket.resource, f"no lifecycle rule of bucket {bucket.name} aborts incomplete multipart uploads of all objects"


def _logging(resources: list[Resource], _context: Context) -> Iterator[Finding]:
    for bucket in buckets(resources):
        if bucket.takes_logs:
            continue
        parts = bucket.parts("bucketLogging")
        for part in parts:
            if bucket.is_named_by(part, "targetBucket"):
                yield part, f"targetBucket of {part.name} is the bucket it reports on, so every log entry makes another"
        if not parts and not any(get(logging, "targetBucket") for logging in as_list(bucket.resource.props.get("loggings"))):
            yield bucket.resource, f"bucket {bucket.name} has no BucketLogging: nobody can say who read it"


def _not_destroyable(resource: Resource) -> Iterator[str]:
    if get(resource.props, "forceDestroy", default=False) is True:
        yield "forceDestroy is true: removing the resource deletes every object and version"
    if not resource.protect:
        yield "the resource is not protected"


def _protected(resource: Resource) -> Iterator[str]:
    if not resource.protect:
        yield "the resource is not protected"
    if resource.props.get("skipFinalSnapshot") is True:
        yield "skipFinalSnapshot is true: deleting it leaves nothing to restore from"


RULES: tuple[Rule, ...] = (
    StackRule(
        name="s3-versioning",
        description="Every bucket keeps the versions of its objects.",
        harm="durability",
        severity="high",
        controls=("CKV_AWS_21",),
        remedy="attach a BucketVersioning with status Enabled",
        check=_versioning,
    ),
    StackRule(
        name="s3-lifecycle",
        description="Every bucket lets go of old versions and of abandoned uploads.",
        harm="durability",
        severity="medium",
        controls=("CKV2_AWS_61", "CKV_AWS_300"),
        remedy="attach a BucketLifecycleConfiguration whose enabled rule for all objects does both",
        check=_lifecycle,
    ),
    StackRule(
        name="s3-logging",
        description="Every bucket's accesses are recorded in another bucket.",
        harm="durability",
        severity="medium",
        controls=("S3.9", "CKV_AWS_18"),
        remedy="attach a BucketLogging to another bucket (feast-eks:offline_store.log_bucket)",
        check=_logging,
    ),
    ResourceRule(
        name="s3-not-destroyable",
        description="A bucket and its history cannot be removed by a slip.",
        harm="durability",
        severity="high",
        remedy="leave feast-eks:protect_data at true; elsewhere set protect and leave forceDestroy out",
        types=BUCKETS,
        check=_not_destroyable,
    ),
    ResourceRule(
        name="aws-data-protected",
        description="What holds data or the only copy of a secret is protected from removal.",
        harm="durability",
        severity="high",
        remedy="leave feast-eks:protect_data at true; elsewhere set protect in the resource's options",
        types=DATA_BEARING,
        check=_protected,
    ),
)
