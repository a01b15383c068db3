"""What lies on disks can be read only with a key of ours: rules of encryption on the AWS side."""

from collections.abc import Iterator

from feast_eks_policies import iam
from feast_eks_policies.buckets import buckets, default_encryption
from feast_eks_policies.rule import Context, Finding, Resource, ResourceRule, Rule, StackRule
from feast_eks_policies.values import UNKNOWN, get

AWS_MANAGED_KEY = "alias/aws/s3"


def _encryption_kms(resources: list[Resource], context: Context) -> Iterator[Finding]:
    algorithms = context.settings["algorithms"]
    for bucket in buckets(resources):
        encryptions = default_encryption(bucket)
        if not encryptions:
            yield bucket.resource, f"bucket {bucket.name} has no default encryption configured"
        for encryption, bucket_key in encryptions:
            algorithm = get(encryption, "sseAlgorithm")
            if algorithm is UNKNOWN:
                continue
            # S3 delivers access logs only to buckets with its own encryption.
            if algorithm not in algorithms and not (bucket.takes_logs and algorithm == "AES256"):
                yield bucket.resource, f"sseAlgorithm of bucket {bucket.name} is {algorithm!r}, expected one of {', '.join(algorithms)}"
            if str(algorithm).startswith("aws:kms"):
                key = get(encryption, "kmsMasterKeyId")
                if not key or (isinstance(key, str) and key.endswith(AWS_MANAGED_KEY)):
                    yield bucket.resource, f"bucket {bucket.name} has no kmsMasterKeyId of its own, so the key's policy is not ours"
            if algorithm == "aws:kms" and bucket_key not in (True, UNKNOWN):
                yield bucket.resource, f"bucketKeyEnabled of bucket {bucket.name} is not true: every object costs a call to KMS"


def _key_guarded(resource: Resource) -> Iterator[str]:
    props = resource.props
    symmetric = get(props, "customerMasterKeySpec", default="SYMMETRIC_DEFAULT") == "SYMMETRIC_DEFAULT"
    if symmetric and get(props, "enableKeyRotation", default=False) not in (True, UNKNOWN):
        yield "enableKeyRotation is not true"
    if get(props, "isEnabled", default=True) is False:
        yield "isEnabled is false: what it encrypted cannot be read"
    window = get(props, "deletionWindowInDays", default=30)
    if isinstance(window, int) and window < resource.settings["deletion_window_days"]:
        yield f"deletionWindowInDays is {window}: a deleted key is lost for ever after that"
    for statement in iam.statements(props.get("policy")):
        if statement.allows and statement.for_anyone and not statement.asks(".*Equals", "aws:PrincipalOrgID|kms:CallerAccount"):
            yield f"policy {statement.where} allows everybody (Principal *) to use the key"


RULES: tuple[Rule, ...] = (
    StackRule(
        name="s3-encryption-kms",
        description="Every bucket encrypts with a KMS key of its owner.",
        harm="encryption",
        severity="high",
        controls=("CKV_AWS_145", "CKV_AWS_19"),
        remedy="attach a BucketServerSideEncryptionConfiguration with sseAlgorithm aws:kms, kmsMasterKeyId and bucketKeyEnabled true",
        options={"algorithms": ("aws:kms", "aws:kms:dsse")},
        check=_encryption_kms,
    ),
    ResourceRule(
        name="kms-key-guarded",
        description="A KMS key rotates, cannot be lost by a slip, and is nobody else's to use.",
        harm="encryption",
        severity="high",
        controls=("CKV_AWS_7", "CKV_AWS_33", "CKV_AWS_227"),
        remedy="set enableKeyRotation true and deletionWindowInDays 30, and name principals in the key's policy",
        types=("aws:kms/key:Key", "aws:kms/externalKey:ExternalKey"),
        options={"deletion_window_days": 30},
        check=_key_guarded,
    ),
)
