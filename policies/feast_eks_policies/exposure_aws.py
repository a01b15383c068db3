"""Who may reach what lies in S3, and what a stack tells the world: rules against exposure on the AWS side."""

import re
from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase
from typing import Any

from feast_eks_policies import iam
from feast_eks_policies.buckets import BUCKETS, Bucket, buckets, part_types
from feast_eks_policies.rule import Context, Finding, Resource, ResourceRule, Rule, StackRule
from feast_eks_policies.values import UNKNOWN, as_list, get, items, leaves, mapping, parsed

FOUR_BLOCKS = ("blockPublicAcls", "blockPublicPolicy", "ignorePublicAcls", "restrictPublicBuckets")


def _public_access_blocked(resources: list[Resource], _context: Context) -> Iterator[Finding]:
    for bucket in buckets(resources):
        blocks = bucket.parts("bucketPublicAccessBlock")
        if not blocks:
            yield bucket.resource, f"bucket {bucket.name} has no BucketPublicAccessBlock"
        for block in blocks:
            for key in FOUR_BLOCKS:
                if get(block.props, key, default=False) not in (True, UNKNOWN):
                    yield block, f"{key} of {block.name} is not true, so bucket {bucket.name} can be opened to the public"


def _documents(bucket: Bucket) -> list[Any]:
    return [
        settings if isinstance(settings, str) or settings is UNKNOWN else get(settings, "policy")
        for settings in bucket.settings_of("bucketPolicy", "policy")
    ]


def _tls_only(resources: list[Resource], _context: Context) -> Iterator[Finding]:
    for bucket in buckets(resources):
        documents = _documents(bucket)
        if UNKNOWN in documents:
            continue  # written from the bucket's ARN, which the first preview does not know
        denials = [statement for document in documents for statement in iam.statements(document) if _may_deny_plain_http(statement)]
        if not all(statement.known for statement in denials):
            continue
        denied = {arn for statement in denials for arn in statement.resources}
        if missing := _not_covered(denied, bucket):
            yield bucket.resource, f"the policy of bucket {bucket.name} does not deny requests without TLS on {missing}"


def _may_deny_plain_http(statement: iam.Statement) -> bool:
    """Whether it denies everybody every request without TLS, or may once all of it is known."""
    known = statement.known
    condition_known = not any(leaf is UNKNOWN for _, leaf in leaves(statement.condition))
    conditions = [key for keys in mapping(statement.condition).values() for key in mapping(keys)]
    return bool(
        not statement.allows
        and not statement.inverted
        and (statement.for_anyone or (not known and not statement.principals))
        and (statement.acts(r"\*|s3:\*") or (not known and not statement.actions))
        # Every further condition lets somebody through.
        and (not condition_known or (len(conditions) == 1 and statement.asks("Bool(IfExists)?", "aws:SecureTransport") == ["false"]))
    )


def _not_covered(denied: set[str], bucket: Bucket) -> str:
    """Which of the bucket and its objects no statement denies."""
    if "*" in denied:
        return ""
    names = {name.rpartition(":")[2] for name in bucket.physical_names}
    arns = {arn for arn in denied if not names or arn.rpartition(":")[2].partition("/")[0] in names}
    objects = {arn.removesuffix("/*") for arn in arns if arn.endswith("/*")}
    itself = {arn for arn in arns if "/" not in arn}
    if objects & itself:
        return ""
    return "its objects (bucket/*)" if itself else "the bucket itself" if objects else "the bucket and its objects"


def _acl_disabled(resources: list[Resource], _context: Context) -> Iterator[Finding]:
    for bucket in buckets(resources):
        controls = bucket.parts("bucketOwnershipControls")
        if not controls:
            yield bucket.resource, f"bucket {bucket.name} has no BucketOwnershipControls with BucketOwnerEnforced"
        for control in controls:
            for rule in as_list(control.props.get("rule")):
                if get(rule, "objectOwnership") not in ("BucketOwnerEnforced", UNKNOWN):
                    yield control, f"rule.objectOwnership of {control.name} is not BucketOwnerEnforced, so ACLs count"
    for resource in resources:
        acl = resource.props.get("acl")
        if resource.is_a(*BUCKETS, "aws:s3/bucketObject*:BucketObject*", "aws:s3/objectCopy:ObjectCopy") and _opens(acl):
            yield resource, f"acl of {resource.name} is {acl!r}"
        if resource.is_a(*part_types("bucketAcl")) and (_opens(acl) or resource.props.get("accessControlPolicy")):
            yield resource, f"{resource.name} grants access by an ACL"


def _opens(acl: Any) -> bool:
    return acl not in (None, "", "private", "bucket-owner-full-control", UNKNOWN)


def _no_foreign_principal(resource: Resource) -> Iterator[str]:
    own = {str(account) for account in resource.settings["trusted_accounts"]}
    if resource.provider:
        own.update(str(account) for account in items(parsed(resource.provider.props.get("allowedAccountIds"))))
    for statement in iam.statements(resource.props.get("policy")):
        if not statement.allows:
            if statement.for_anyone and not statement.condition and statement.acts(r"\*|s3:\*|s3:PutBucketPolicy"):
                yield f"policy {statement.where} denies everybody, so that only the root user can repair the bucket"
            continue
        if "NotPrincipal" in statement.inverted:
            yield f"policy {statement.where} allows everybody but some (NotPrincipal)"
        for kind, principal in statement.principals:
            account = iam.account_of(principal)
            if principal == "*":
                yield f"policy {statement.where} allows everybody (Principal *)"
            elif kind in ("Federated", "CanonicalUser"):
                yield f"policy {statement.where} allows a {kind} principal, whose account cannot be told"
            elif kind == "AWS" and account not in own:
                yield f"policy {statement.where} allows a principal of account {account or 'unknown'}, which is not trusted"


_NAMES_A_SECRET = re.compile(
    r"passw(or)?d|passphrase|secret|token|private_?key|api_?key|access_?key|credential|(^|_)dsn($|_)", re.IGNORECASE
)
_LOOKS_SECRET = {
    "an address with a password": re.compile(r"[a-z][a-z0-9+.-]*://[^\s/:@]*:(?!\$\{)[^\s/@]+@", re.IGNORECASE),
    "a libpq or Redis connection string with a password": re.compile(r"(?:^|[\s,;])password=(?!\$\{)[^\s,;]+", re.IGNORECASE),
    "an AWS access key": re.compile(r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b"),
    "a private key": re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----"),
    "a signed token": re.compile(r"\beyJ[\w-]{8,}\.eyJ[\w-]{8,}\."),
}


def _no_secret_outputs(resources: list[Resource], context: Context) -> Iterator[Finding]:
    for stack in (resource for resource in resources if resource.type == "pulumi:pulumi:Stack"):
        for output, value in stack.props.items():
            allowed = any(fnmatchcase(output, pattern) for pattern in context.settings["allowed"])
            if not allowed:
                yield stack, f"output {output} is not among the outputs that applications are promised"
            for path, leaf in leaves(value, output):
                if not allowed and _NAMES_A_SECRET.search(path):
                    yield stack, f"output {path} is named like a secret"
                if shape := _shape_of_secret(leaf):
                    yield stack, f"output {path} holds {shape}"


def _shape_of_secret(value: Any) -> str:
    if isinstance(value, Mapping) or not isinstance(value, str):
        return ""
    return next((shape for shape, pattern in _LOOKS_SECRET.items() if pattern.search(value)), "")


PROMISED_OUTPUTS = (
    "client_feature_store_yaml",
    "feature_server_url",
    "grpc_address",
    "feature_services",
    "image",
    "namespace",
    "offline_store_uri",
    "online_store_secret",
    "registry_secret",
    "revision",
)

RULES: tuple[Rule, ...] = (
    StackRule(
        name="s3-public-access-blocked",
        description="Every bucket blocks public access in all four ways.",
        harm="exposure",
        severity="critical",
        controls=("S3.8", "CKV_AWS_53", "CKV_AWS_54", "CKV_AWS_55", "CKV_AWS_56", "CKV2_AWS_6"),
        remedy="attach an aws.s3.BucketPublicAccessBlock to the bucket, with all four settings true",
        check=_public_access_blocked,
    ),
    StackRule(
        name="s3-tls-only",
        description="Every bucket refuses requests without TLS.",
        harm="exposure",
        severity="high",
        controls=("S3.5", "CKV_AWS_379"),
        remedy="attach a BucketPolicy that denies s3:* to * on the bucket and bucket/* when aws:SecureTransport is false",
        check=_tls_only,
    ),
    StackRule(
        name="s3-acl-disabled",
        description="No access to a bucket or an object is granted by an ACL.",
        harm="exposure",
        severity="high",
        controls=("CKV_AWS_20", "CKV_AWS_57", "CKV2_AWS_65"),
        remedy="attach BucketOwnershipControls with BucketOwnerEnforced and remove every acl",
        check=_acl_disabled,
    ),
    ResourceRule(
        name="s3-policy-no-foreign-principal",
        description="A bucket's policy lets in neither everybody nor another account, and locks nobody out for ever.",
        harm="exposure",
        severity="critical",
        controls=("CKV_AWS_70", "CKV_AWS_93"),
        remedy="allow named roles of this account; another account is trusted by its id in the option trusted_accounts",
        types=(*part_types("bucketPolicy"), *BUCKETS),
        options={"trusted_accounts": ()},
        check=_no_foreign_principal,
    ),
    StackRule(
        name="no-secret-outputs",
        description="Stack outputs are those that applications are promised, and none holds a secret.",
        harm="exposure",
        severity="critical",
        remedy="export the name of the Secret instead; a further harmless output is added to the option allowed",
        options={"allowed": PROMISED_OUTPUTS},
        check=_no_secret_outputs,
    ),
)
