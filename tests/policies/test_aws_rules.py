"""Each AWS rule, from a stack that breaks none: one thing is broken, and that rule alone must say so."""

import json

import pytest

from feast_eks_policies.rule import Provider
from feast_eks_policies.values import UNKNOWN
from tests.policies.resources_aws import (
    ABSENT,
    ACCOUNT,
    AWS_RULES,
    BUCKET_ARN,
    BUCKET_URN,
    CLUSTER,
    ENVIRONMENT,
    LIST_PREFIX,
    OWN_ROLE,
    POD_IDENTITY_TRUST,
    READ_OBJECTS,
    TLS_ONLY,
    WEB_IDENTITY_TRUST,
    as_recording,
    changed,
    document,
    good,
    part,
    paths_of,
    resource,
    steps,
)

OIDC = "oidc.eks.eu-west-1.amazonaws.com/id/ABC"
FOREIGN = {**OWN_ROLE, "Principal": {"AWS": "arn:aws:iam::999999999999:root"}}
ENCRYPTION = "bucketServerSideEncryptionConfiguration"
SIGNED_TOKEN = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2ln"
WITH_TOKEN = {"users": [{"name": "a", "user": {"token": "canary-token"}}]}
DEFAULT_KUBERNETES = Provider(type="pulumi:providers:kubernetes", name="default_4_32_0")
UNTAGGED_AWS = Provider(type="pulumi:providers:aws", name="aws")


POD = {"aws:RequestTag/kubernetes-namespace": "feast", "aws:RequestTag/kubernetes-service-account": "materialize"}


def trust(**changes):
    return document({**POD_IDENTITY_TRUST, **changes})


def web_trust(operator, **claims):
    return document({**WEB_IDENTITY_TRUST, "Condition": {operator: {f"{OIDC}:{claim}": value for claim, value in claims.items()}}})


DAMAGES = [
    # rule, resource, property, new value, what the message must name
    ("s3-public-access-blocked", "bucketPublicAccessBlock", "ignorePublicAcls", False, "ignorePublicAcls"),
    ("s3-public-access-blocked", "bucketPublicAccessBlock", "restrictPublicBuckets", ABSENT, "restrictPublicBuckets"),
    ("s3-public-access-blocked", "bucketPublicAccessBlock", None, ABSENT, "no BucketPublicAccessBlock"),
    ("s3-tls-only", "bucketPolicy", None, ABSENT, "the bucket and its objects"),
    ("s3-tls-only", "bucketPolicy", "policy", document({**TLS_ONLY, "Resource": f"{BUCKET_ARN}/*"}), "the bucket itself"),
    ("s3-tls-only", "bucketPolicy", "policy", document({**TLS_ONLY, "Resource": BUCKET_ARN}), "its objects"),
    ("s3-tls-only", "bucketPolicy", "policy.Statement.0.Action", "s3:GetObject", "does not deny"),
    ("s3-tls-only", "bucketPolicy", "policy.Statement.0.Condition.Bool", {"aws:SecureTransport": "true"}, "does not deny"),
    ("s3-tls-only", "bucketPolicy", "policy.Statement.0.Condition.IpAddress", {"aws:SourceIp": "10.0.0.0/8"}, "does not deny"),
    ("s3-tls-only", "bucketPolicy", "policy", document({**TLS_ONLY, "Resource": ["arn:aws:s3:::x", "arn:aws:s3:::x/*"]}), "does not deny"),
    ("s3-acl-disabled", "bucketOwnershipControls", "rule.objectOwnership", "ObjectWriter", "objectOwnership"),
    ("s3-acl-disabled", "bucketOwnershipControls", None, ABSENT, "BucketOwnershipControls"),
    ("s3-acl-disabled", "history", "acl", "public-read", "public-read"),
    ("s3-acl-disabled", "sample", "acl", "authenticated-read", "authenticated-read"),
    ("s3-policy-no-foreign-principal", "bucketPolicy", "policy.Statement.1.Principal", "*", "everybody"),
    ("s3-policy-no-foreign-principal", "bucketPolicy", "policy.Statement.1.Principal", {"AWS": ["*"]}, "everybody"),
    ("s3-policy-no-foreign-principal", "bucketPolicy", "policy", document(TLS_ONLY, FOREIGN), "999999999999"),
    ("s3-policy-no-foreign-principal", "bucketPolicy", "policy", json.dumps(document(TLS_ONLY, FOREIGN)), "999999999999"),
    ("s3-policy-no-foreign-principal", "bucketPolicy", "policy.Statement.1.Principal", {"CanonicalUser": "79a5"}, "CanonicalUser"),
    (
        "s3-policy-no-foreign-principal",
        "bucketPolicy",
        "policy",
        document(TLS_ONLY, {"Effect": "Deny", "Principal": "*", "Action": "s3:*", "Resource": "*"}),
        "root user",
    ),
    ("no-secret-outputs", "feast-eks-dev", "redis_password", "x", "redis_password"),
    ("no-secret-outputs", "feast-eks-dev", "debug", "x", "not among the outputs"),
    ("no-secret-outputs", "feast-eks-dev", "namespace", "postgresql://feast:canary-x@db/feast", "address with a password"),
    ("no-secret-outputs", "feast-eks-dev", "client_feature_store_yaml", "a: redis:6379,password=canary-x", "connection string"),
    ("no-secret-outputs", "feast-eks-dev", "image", "AKIAIOSFODNN7EXAMPLE", "AWS access key"),
    ("no-secret-outputs", "feast-eks-dev", "feature_services", {"a": {"b": [SIGNED_TOKEN]}}, "feature_services.a.b[0]"),
    ("s3-encryption-kms", ENCRYPTION, "rules.0.applyServerSideEncryptionByDefault", {"sseAlgorithm": "AES256"}, "AES256"),
    ("s3-encryption-kms", ENCRYPTION, "rules.0.applyServerSideEncryptionByDefault.kmsMasterKeyId", ABSENT, "kmsMasterKeyId"),
    ("s3-encryption-kms", ENCRYPTION, "rules.0.applyServerSideEncryptionByDefault.kmsMasterKeyId", "alias/aws/s3", "kmsMasterKeyId"),
    ("s3-encryption-kms", ENCRYPTION, "rules.0.bucketKeyEnabled", False, "bucketKeyEnabled"),
    ("s3-encryption-kms", ENCRYPTION, None, ABSENT, "no default encryption"),
    ("kms-key-guarded", "key", "enableKeyRotation", ABSENT, "enableKeyRotation"),
    ("kms-key-guarded", "key", "deletionWindowInDays", 7, "deletionWindowInDays is 7"),
    ("kms-key-guarded", "key", "isEnabled", False, "isEnabled"),
    ("kms-key-guarded", "key", "policy", document({"Effect": "Allow", "Principal": "*", "Action": "kms:*", "Resource": "*"}), "everybody"),
    ("s3-versioning", "bucketVersioning", "versioningConfiguration.status", "Suspended", "Suspended"),
    ("s3-versioning", "bucketVersioning", None, ABSENT, "absent"),
    ("s3-lifecycle", "bucketLifecycleConfiguration", None, ABSENT, "noncurrent"),
    ("s3-lifecycle", "bucketLifecycleConfiguration", "rules.0.status", "Disabled", "noncurrent"),
    ("s3-lifecycle", "bucketLifecycleConfiguration", "rules.0.filter.prefix", "tmp/", "noncurrent"),
    ("s3-lifecycle", "bucketLifecycleConfiguration", "rules.0.noncurrentVersionExpiration", ABSENT, "noncurrent"),
    ("s3-lifecycle", "bucketLifecycleConfiguration", "rules.0.abortIncompleteMultipartUpload", ABSENT, "multipart"),
    ("s3-logging", "bucketLogging", None, ABSENT, "BucketLogging"),
    ("s3-logging", "bucketLogging", "targetBucket", "feast-history", "targetBucket"),
    ("s3-not-destroyable", "history", "forceDestroy", True, "forceDestroy"),
    ("s3-not-destroyable", "history", "@protect", False, "protected"),
    ("aws-data-protected", "password", "@protect", False, "protected"),
    ("aws-data-protected", "key", "@protect", False, "protected"),
    ("iam-no-wildcard", "materialize-reads", "policy.Statement.0.Resource", "*", "Resource *"),
    ("iam-no-wildcard", "materialize-reads", "policy.Statement.0.Resource", "arn:aws:s3:::*/*", "Resource arn:aws:s3:::*/*"),
    ("iam-no-wildcard", "materialize-reads", "policy.Statement.0.Action", ["kms:*"], "Action kms:*"),
    ("iam-no-wildcard", "materialize-reads", "policy.Statement.0.Action", "kms:Dec*", "kms:Dec*"),
    (
        "iam-no-wildcard",
        "materialize-reads",
        "policy",
        document({"Effect": "Allow", "NotAction": "iam:*", "Resource": BUCKET_ARN}),
        "NotAction",
    ),
    (
        "iam-no-wildcard",
        "materialize-reads",
        "policy",
        document({"Effect": "Allow", "Action": "kms:Decrypt", "Resource": f"arn:aws:kms:eu-west-1:{ACCOUNT}:key/*"}),
        "key/*",
    ),
    ("iam-no-wildcard", "materialize-reads", "policy", "not JSON", "not a JSON document"),
    ("iam-no-wildcard", "attached", "policyArn", "arn:aws:iam::aws:policy/AmazonS3FullAccess", "AmazonS3FullAccess"),
    ("iam-no-wildcard", "materialize-role", "managedPolicyArns", ["arn:aws:iam::aws:policy/AdministratorAccess"], "AdministratorAccess"),
    ("iam-s3-scoped", "materialize-reads", "policy.Statement.0.Action", ["s3:GetObject", "s3:PutObject"], "s3:PutObject"),
    ("iam-s3-scoped", "materialize-reads", "policy.Statement.0.Action", "s3:DeleteObjectVersion", "s3:DeleteObjectVersion"),
    ("iam-s3-scoped", "materialize-reads", "policy.Statement.1.Condition", ABSENT, "s3:prefix"),
    ("iam-s3-scoped", "materialize-reads", "policy.Statement.1.Condition.StringLike", {"s3:prefix": "*"}, "s3:prefix"),
    (
        "iam-s3-scoped",
        "materialize-role",
        "inlinePolicies",
        [{"name": "w", "policy": json.dumps(document({**OWN_ROLE, "Principal": None}))}],
        "inlinePolicies[0].policy",
    ),
    ("iam-trust-scoped", "materialize-role", "assumeRolePolicy", trust(Principal="*"), "everybody"),
    ("iam-trust-scoped", "materialize-role", "assumeRolePolicy", json.dumps(trust(Principal={"AWS": "*"})), "everybody"),
    ("iam-trust-scoped", "materialize-role", "assumeRolePolicy", trust(Condition={}), "aws:SourceAccount"),
    (
        "iam-trust-scoped",
        "materialize-role",
        "assumeRolePolicy",
        trust(Condition={"StringEquals": POD, "ArnLike": {"aws:SourceArn": CLUSTER.replace("cluster/feast", "cluster/*")}}),
        "aws:SourceAccount",
    ),
    ("iam-trust-scoped", "materialize-role", "assumeRolePolicy", trust(Action="sts:AssumeRole"), "sts:TagSession"),
    *(
        (
            "iam-trust-scoped",
            "materialize-role",
            "assumeRolePolicy",
            trust(Condition={"StringEquals": {"aws:SourceAccount": ACCOUNT, tag: POD[tag]}}),
            f"does not fix the pod's {missing} with StringEquals on aws:RequestTag/kubernetes-{missing}",
        )
        for tag, missing in zip(POD, ("service-account", "namespace"), strict=True)
    ),
    ("iam-trust-scoped", "materialize-role", "assumeRolePolicy", trust(Action=["sts:*"]), "sts:*"),
    (
        "iam-trust-scoped",
        "materialize-role",
        "assumeRolePolicy",
        trust(Principal={"AWS": f"arn:aws:iam::{ACCOUNT}:root"}, Condition={}),
        "whole account",
    ),
    (
        "iam-trust-scoped",
        "web-identity-role",
        "assumeRolePolicy",
        web_trust("StringLike", sub="system:*", aud="sts.amazonaws.com"),
        "StringLike",
    ),
    ("iam-trust-scoped", "web-identity-role", "assumeRolePolicy", web_trust("StringEquals", sub="system:serviceaccount:feast:m"), "aud"),
    ("iam-trust-scoped", "web-identity-role", "assumeRolePolicy", web_trust("StringEquals", aud="sts.amazonaws.com"), "sub"),
    ("iam-permissions-boundary", "materialize-role", "permissionsBoundary", ABSENT, "permissionsBoundary"),
    ("required-tags", "history", "@provider", UNTAGGED_AWS, "tags lack environment, owner, cost-center"),
    ("required-tags", "history", "tags", {"owner": ""}, "tags lack owner"),
    ("account-region-pinned", "aws", "allowedAccountIds", ABSENT, "allowedAccountIds"),
    ("account-region-pinned", "aws", "allowedAccountIds", "[]", "allowedAccountIds"),
    ("account-region-pinned", "aws", "region", ABSENT, "region"),
    ("account-region-pinned", "aws", "skipRequestingAccountId", "true", "skipRequestingAccountId"),
    ("no-cluster-context-drift", "definitions", "@provider", DEFAULT_KUBERNETES, "default provider"),
    ("no-cluster-context-drift", "cluster", "kubeconfig", ABSENT, "neither kubeconfig nor context"),
    ("no-cluster-context-drift", "cluster", "kubeconfig", json.dumps(WITH_TOKEN), "literal token"),
    ("no-cluster-context-drift", "cluster", "kubeconfig", "users: [{user: {client-key-data: canary-key}}]", "literal client-key-data"),
    ("no-ignore-security", "definitions", "@ignore_changes", ("spec",), "spec"),
    ("no-ignore-security", "definitions", "@ignore_changes", ("spec.template.spec.containers[0].image",), "image"),
    (
        "no-ignore-security",
        "definitions",
        "@ignore_changes",
        ("spec.replicas", 'spec.template.spec["securityContext"].runAsUser'),
        "runAsUser",
    ),
    ("no-ignore-security", "bucketPolicy", "@ignore_changes", ("policy",), "policy"),
    ("no-ignore-security", "materialize-role", "@ignore_changes", ("*",), "*"),
    ("env-config-matches-stack", "feast-eks-dev", "@urn", "urn:pulumi:prod::feast-eks::pulumi:pulumi:Stack::feast-eks-prod", "prod.json"),
]

CHANGES_THAT_HARM_NOBODY = [
    ("bucketPolicy", "policy", json.dumps(document(TLS_ONLY))),
    ("bucketPolicy", "policy", document({**TLS_ONLY, "Resource": f"{BUCKET_ARN}/*"}, {**TLS_ONLY, "Resource": BUCKET_ARN})),
    ("bucketPolicy", "policy", UNKNOWN),
    ("bucketLifecycleConfiguration", "rules.0.filter", {}),
    ("materialize-reads", "policy.Statement.0.Action", ["s3:Get*", "s3:ListMultipartUploadParts"]),
    ("materialize-reads", "policy", document({"Effect": "Allow", "Action": "sts:GetCallerIdentity", "Resource": "*"})),
    ("materialize-reads", "policy", document({"Effect": "Deny", "Action": "*", "Resource": "*"})),
    ("materialize-role", "assumeRolePolicy", trust(Condition={"StringEquals": {"aws:SourceAccount": ACCOUNT, **POD}})),
    ("materialize-role", "assumeRolePolicy", trust(Condition={"StringEquals": POD, "ArnLike": {"AWS:sourceARN": CLUSTER}})),
    (
        "materialize-role",
        "assumeRolePolicy",
        document({"Effect": "Allow", "Principal": {"Service": "ec2.amazonaws.com"}, "Action": "sts:AssumeRole"}),
    ),
    ("definitions", "@ignore_changes", ("spec.replicas",)),
    ("feast-eks-dev", "client_feature_store_yaml", "redis:6379,password=${ONLINE_STORE_PASSWORD}"),
    ("feast-eks-dev", "offline_store_uri", "s3://feast-history"),
    ("history", "tags", {"environment": "prod"}),
    (
        "key",
        "policy",
        document({"Effect": "Allow", "Principal": {"AWS": f"arn:aws:iam::{ACCOUNT}:root"}, "Action": "kms:*", "Resource": "*"}),
    ),
]


def violations(resources, config=ENVIRONMENT):
    return as_recording(resources).violations(config, AWS_RULES)


def damaged(name, path, value):
    resources = good()
    if path is None:
        del resources[name]
        return resources
    return changed(resources, name, path, value)


def identifier(case):
    return "-".join(str(part) for part in case[:3])


def test_the_stack_that_the_tests_damage_breaks_no_rule():
    assert [str(v) for v in violations(good())] == []


@pytest.mark.parametrize("case", DAMAGES, ids=identifier)
def test_one_damage_is_one_rules_finding(case):
    rule, name, path, value, named = case
    found = violations(damaged(name, path, value))
    assert {v.rule for v in found} == {rule}, [str(v) for v in found]
    assert any(named in v.message for v in found), f"the message does not name {named!r}: {[v.message for v in found]}"


def test_every_rule_has_a_damage_that_it_finds():
    assert {case[0] for case in DAMAGES} == {rule.name for rule in AWS_RULES}


@pytest.mark.parametrize("case", CHANGES_THAT_HARM_NOBODY, ids=lambda case: f"{case[0]}-{case[1]}")
def test_what_harms_nobody_is_no_finding(case):
    assert [str(v) for v in violations(damaged(*case))] == []


LEAVES = [(name, path) for name, good_resource in good().items() for path in paths_of(good_resource.props)]


@pytest.mark.parametrize(("name", "path"), LEAVES, ids=str)
def test_an_unknown_value_is_neither_a_crash_nor_a_finding(name, path):
    assert [str(v) for v in violations(changed(good(), name, path, UNKNOWN))] == []


@pytest.mark.parametrize("case", [case for case in DAMAGES if case[2] and not case[2].startswith("@")], ids=identifier)
def test_an_unknown_value_elsewhere_hides_no_finding(case):
    rule, name, path, value, _ = case
    bad, at = damaged(name, path, value), steps(path)
    for other in paths_of(bad[name].props):
        statement = at.index("Statement") + 2 if "Statement" in at else len(at) - 1
        decides_together = other[:statement] == at[:statement] or at[: len(other)] == other or other[:-1] == at[: statement - 1]
        if not decides_together:
            assert rule in {v.rule for v in violations(changed(bad, name, other, UNKNOWN))}, f"{other} being unknown hides it"


def test_every_kind_of_part_is_found_by_reference_when_names_are_unknown():
    resources = good()
    for name, each in resources.items():
        if "bucket" in each.props:
            resources = changed(resources, name, "bucket", UNKNOWN)
    assert [str(v) for v in violations(resources)] == []
    resources["history2"] = resource("aws:s3/bucket:Bucket", "history2", {"bucket": UNKNOWN}, protect=True)
    found = violations(resources)
    assert {v.resource for v in found} == {"history2"}, "the parts of one bucket do not stand for another"
    assert {v.rule for v in found} >= {"s3-public-access-blocked", "s3-tls-only", "s3-versioning", "s3-encryption-kms"}


def test_a_bucket_that_takes_access_logs_needs_none_itself_and_may_use_keys_of_s3():
    resources = good()
    logs = {name: each for name, each in good().items() if name.startswith("bucket") and name != "bucketLogging"}
    for name, each in logs.items():
        props = {**each.props, "bucket": "logs"}
        resources[f"logs-{name}"] = resource(each.type, f"logs-{name}", props)
    resources["logs"] = resource("aws:s3/bucket:Bucket", "logs", {"bucket": "logs"}, protect=True)
    only_logs = {**TLS_ONLY, "Resource": ["arn:aws:s3:::logs", "arn:aws:s3:::logs/*"]}
    resources = changed(resources, "logs-bucketPolicy", "policy", document(only_logs))
    resources = changed(resources, f"logs-{ENCRYPTION}", "rules.0.applyServerSideEncryptionByDefault", {"sseAlgorithm": "AES256"})
    assert {v.rule for v in violations(resources)} == {"s3-logging", "s3-encryption-kms"}, "so far nobody sends logs there"
    assert [str(v) for v in violations(changed(resources, "bucketLogging", "targetBucket", "logs"))] == []


def test_earlier_provider_versions_are_seen_too():
    resources = good()
    resources["old"] = resource("aws:s3/bucketV2:BucketV2", "old", {"bucket": "old"})
    block = part("bucketPublicAccessBlock", {"bucket": "old"})
    resources["old-block"] = resource(block.type, "old-block", {"bucket": "old", "blockPublicAcls": True})
    rules = {v.rule for v in violations(resources)}
    assert {"s3-public-access-blocked", "s3-versioning", "s3-not-destroyable"} <= rules


def test_what_a_bucket_says_inline_counts_where_nothing_is_attached():
    resources = {name: each for name, each in good().items() if name != "bucketVersioning"}
    resources = changed(resources, "history", "versioning", {"enabled": True})
    assert [str(v) for v in violations(resources)] == []
    assert {v.rule for v in violations(changed(resources, "history", "versioning", {"enabled": False}))} == {"s3-versioning"}


def test_options_relax_a_rule_by_name():
    bad = damaged("materialize-reads", "policy.Statement.0.Action", "s3:PutObject")
    allowed = ENVIRONMENT | {"iam-s3-scoped": {"writers": ["materialize*"]}}
    assert [str(v) for v in violations(bad, allowed)] == []
    bad = damaged("bucketPolicy", "policy", document(TLS_ONLY, FOREIGN))
    assert violations(bad, ENVIRONMENT | {"s3-policy-no-foreign-principal": {"trusted_accounts": ["999999999999"]}}) == []
    boundary = ENVIRONMENT | {"iam-permissions-boundary": {"boundary_arn": "arn:aws:iam::1:policy/other"}}
    assert {v.rule for v in violations(good(), boundary)} == {"iam-permissions-boundary"}


@pytest.mark.parametrize("case", DAMAGES, ids=identifier)
def test_no_message_quotes_a_secret(case):
    for violation in violations(damaged(*case[1:4])):
        for secret in ("canary", "AKIAIOSFODNN7EXAMPLE", SIGNED_TOKEN):
            assert secret not in violation.message, f"{violation.rule} prints a secret"


def test_a_bucket_is_matched_by_reference_before_by_name():
    resources = changed(good(), "bucketVersioning", "@property_dependencies", {"bucket": (BUCKET_URN,)})
    assert violations(changed(resources, "bucketVersioning", "bucket", "another-name-in-state")) == []
    assert READ_OBJECTS["Action"] == ["s3:GetObject"]
    assert LIST_PREFIX["Resource"] == BUCKET_ARN
