"""What AWS identities may do and who may take them on: rules of least privilege."""

import re
from collections.abc import Iterator
from fnmatch import fnmatchcase
from typing import Any

from feast_eks_policies import iam
from feast_eks_policies.rule import Resource, ResourceRule, Rule
from feast_eks_policies.values import UNKNOWN, as_list, get

GRANTS = (
    "aws:iam/policy:Policy",
    "aws:iam/rolePolicy:RolePolicy",
    "aws:iam/userPolicy:UserPolicy",
    "aws:iam/groupPolicy:GroupPolicy",
    "aws:iam/role:Role",
)
ATTACHMENTS = (
    "aws:iam/rolePolicyAttachment:RolePolicyAttachment",
    "aws:iam/userPolicyAttachment:UserPolicyAttachment",
    "aws:iam/groupPolicyAttachment:GroupPolicyAttachment",
    "aws:iam/policyAttachment:PolicyAttachment",
    "aws:iam/rolePolicyAttachmentsExclusive:RolePolicyAttachmentsExclusive",
)
READ_WILDCARD = r"[a-z0-9-]+:(Get|List|Describe|BatchGet|Head)[A-Za-z]*\*"
WRITES_TO_S3 = r"s3:(Put|Delete|Create|Restore|Replicate|Abort|Bypass|Update|Write).*|s3:\*|\*"
BROAD_MANAGED_POLICY = re.compile(r"policy/(job-function/)?(AdministratorAccess|PowerUserAccess|IAMFullAccess|\w*FullAccess)$")


def _documents(resource: Resource) -> Iterator[tuple[str, Any]]:
    """(field, document) of every policy that the resource carries."""
    if resource.is_a("aws:iam/role:Role"):
        for index, policy in enumerate(as_list(resource.props.get("inlinePolicies"))):
            yield f"inlinePolicies[{index}].policy", get(policy, "policy")
    else:
        yield "policy", resource.props.get("policy")


def _no_wildcard(resource: Resource) -> Iterator[str]:
    for key in ("policyArn", "policyArns", "managedPolicyArns"):
        for arn in as_list(resource.props.get(key)):
            if isinstance(arn, str) and BROAD_MANAGED_POLICY.search(arn):
                yield f"{key} attaches {arn.rpartition('/')[2]}, which allows everything of its service or of all"
    for field, document in _documents(resource):
        if document not in (None, "", UNKNOWN) and not iam.is_document(document):
            yield f"{field} is not a JSON document, so nobody can tell what it allows"
        for statement in iam.statements(document):
            if statement.allows:
                yield from _wildcards(f"{field} {statement.where}", statement, resource.settings["any_resource_actions"])


def _wildcards(where: str, statement: iam.Statement, any_resource_actions: list[str]) -> Iterator[str]:
    for inverted in statement.inverted:
        yield f"{where} allows all but some ({inverted})"
    for action in statement.actions:
        if "*" in action and not re.fullmatch(READ_WILDCARD, action, re.IGNORECASE):
            yield f"{where} allows Action {action}"
    exempt = statement.known and all(action in any_resource_actions for action in statement.actions)
    for resource in statement.resources:
        if not exempt and _names_all(resource):
            yield f"{where} allows Resource {resource}"


def _names_all(resource: str) -> bool:
    """Whether an ARN stands for everything of a service or of one of its kinds."""
    if resource == "*" or not resource.startswith("arn:"):
        return resource.startswith("*")
    service, name = resource.split(":")[2], resource.split(":", 5)[-1]
    return name.startswith("*") or (service != "s3" and re.fullmatch(r"[a-z-]+[/:]\*", name) is not None)


def _s3_scoped(resource: Resource) -> Iterator[str]:
    names = [resource.name, *(role for role in [resource.props.get("role")] if isinstance(role, str))]
    writer = any(fnmatchcase(name, pattern) for name in names for pattern in resource.settings["writers"])
    for field, document in _documents(resource):
        for statement in iam.statements(document):
            if not statement.allows:
                continue
            for action in statement.acts(WRITES_TO_S3):
                if not writer:
                    yield f"{field} {statement.where} allows {action}, and this identity is not among the writers"
            prefixes = statement.asks("String(Like|Equals)(IfExists)?", "s3:prefix")
            if statement.acts(r"s3:List(Bucket|BucketVersions|\*)|s3:\*|\*") and (not prefixes or "*" in prefixes):
                yield f"{field} {statement.where} lists the whole bucket: no condition on s3:prefix"


def _trust_scoped(resource: Resource) -> Iterator[str]:
    document = resource.props.get("assumeRolePolicy")
    if document is UNKNOWN:
        return
    if not iam.is_document(document):
        yield "assumeRolePolicy is not a JSON document, so nobody can tell who may take on the role"
    for statement in iam.statements(document):
        if statement.allows:
            for problem in _trust_problems(statement):
                yield f"assumeRolePolicy {statement.where} {problem}"


def _trust_problems(statement: iam.Statement) -> Iterator[str]:
    for inverted in statement.inverted:
        yield f"trusts all but some ({inverted})"
    for action in statement.actions:
        if "*" in action:
            yield f"allows Action {action}"
    for kind, principal in statement.principals:
        if "*" in principal:
            yield "trusts everybody (Principal with *)"
        elif kind == "AWS" and (principal.endswith(":root") or iam.ACCOUNT.fullmatch(principal)) and not statement.condition:
            yield "trusts a whole account without a condition"
        elif kind == "Federated" and "saml-provider" not in principal:
            yield from _web_identity_problems(statement)
        elif principal == "pods.eks.amazonaws.com":
            yield from _pod_identity_problems(statement)


def _web_identity_problems(statement: iam.Statement) -> Iterator[str]:
    for claim in ("sub", "aud"):
        exact = statement.asks("(ForAnyValue:)?StringEquals", f".+:{claim}")
        if not exact:
            yield f"does not fix the token's {claim} with StringEquals"
        elif any(isinstance(value, str) and "*" in value for value in exact):
            yield f"compares the token's {claim} with a literal *, which no token has"
    if any(value != iam.UNKNOWN_VALUE for value in statement.asks("(ForAnyValue:)?StringLike(IfExists)?", ".+:sub")):
        yield "compares the token's sub with StringLike"


def _pod_identity_problems(statement: iam.Statement) -> Iterator[str]:
    if statement.known and {action.lower() for action in statement.actions} != {"sts:assumerole", "sts:tagsession"}:
        yield "must allow EKS Pod Identity exactly sts:AssumeRole and sts:TagSession"
    account = statement.asks("StringEquals", "aws:SourceAccount")
    cluster = statement.asks("(Arn|String)(Equals|Like)", "aws:SourceArn")
    if not account and not any(":cluster/*" not in str(arn) and arn != "*" for arn in cluster):
        yield "trusts Pod Identity of every account: no condition on aws:SourceAccount or on the cluster in aws:SourceArn"
    for tag in ("namespace", "service-account"):
        if not statement.asks("StringEquals", key := f"aws:RequestTag/kubernetes-{tag}"):
            yield f"does not fix the pod's {tag} with StringEquals on {key}"


def _permissions_boundary(resource: Resource) -> Iterator[str]:
    expected, found = resource.settings["boundary_arn"], resource.props.get("permissionsBoundary")
    if not found:
        yield "permissionsBoundary is not set"
    elif expected and found not in (expected, UNKNOWN):
        yield f"permissionsBoundary is not {expected}"


RULES: tuple[Rule, ...] = (
    ResourceRule(
        name="iam-no-wildcard",
        description="A policy names what it allows and on what.",
        harm="identity",
        severity="critical",
        controls=("CKV_AWS_62", "CKV_AWS_63", "CKV_AWS_355"),
        remedy="list the actions and the ARNs; an action that knows no resource is added to the option any_resource_actions",
        types=(*GRANTS, *ATTACHMENTS),
        options={"any_resource_actions": ("ecr:GetAuthorizationToken", "sts:GetCallerIdentity")},
        check=_no_wildcard,
    ),
    ResourceRule(
        name="iam-s3-scoped",
        description="An identity reads the part of a bucket that it needs, and writes only if it is a writer.",
        harm="identity",
        severity="high",
        remedy="remove the write, or name the role in the option writers; give s3:ListBucket a condition on s3:prefix",
        types=GRANTS,
        options={"writers": ()},
        check=_s3_scoped,
    ),
    ResourceRule(
        name="iam-trust-scoped",
        description="A role is taken on by exactly those that it is for.",
        harm="identity",
        severity="critical",
        controls=("CKV_AWS_60", "CKV_AWS_61", "CKV_AWS_358"),
        remedy="StringEquals on sub and aud of web identities; for EKS Pod Identity on the pod's session tags and aws:SourceAccount",
        types=("aws:iam/role:Role",),
        check=_trust_scoped,
    ),
    ResourceRule(
        name="iam-permissions-boundary",
        description="A role can never do more than the organization's boundary allows.",
        harm="identity",
        severity="medium",
        remedy="set feast-eks:aws.permissions_boundary_arn; elsewhere permissionsBoundary of the role",
        types=("aws:iam/role:Role",),
        options={"boundary_arn": ""},
        check=_permissions_boundary,
    ),
)
