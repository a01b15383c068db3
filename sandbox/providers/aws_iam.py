"""The IAM resources the program uses, and the function that writes policy documents."""

# ruff: noqa: D101, D102, ARG002 - each class is one AWS resource; what its methods do is said at Kind

import json
import re
import zlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any
from urllib.parse import unquote

from botocore.exceptions import ClientError

from sandbox.providers import wire
from sandbox.providers.aws_cloud import Cloud, Gone, Inputs, Kind, as_tag_list, code, own_tags, tags_of
from sandbox.providers.plugin import InvalidInput, ProviderError

_MISSING = "NoSuchEntity"
_TAKEN = "EntityAlreadyExists"
_OLDEST_LANGUAGE_STILL_WRITTEN = "2012-10-17"
_POLICY_ARN = re.compile(r"arn:aws[a-z-]*:iam::(\d{12}|aws):policy/\S+")
_SHORTEST_SESSION = 3600  # also what a role has that says nothing
_LONGEST_SESSION = 43200


class Role(Kind):
    required = ("assumeRolePolicy",)
    optional = (
        "name",
        "namePrefix",
        "description",
        "path",
        "maxSessionDuration",
        "forceDetachPolicies",
        "permissionsBoundary",
        "tags",
    )
    force_new = ("name", "namePrefix", "path")
    readable = ("assumeRolePolicy", "name", "description", "path", "maxSessionDuration", "permissionsBoundary", "tags")
    documents = ("assumeRolePolicy",)
    name = "name"
    taggable = True

    def problems(self, inputs: Inputs) -> Iterator[InvalidInput]:
        boundary = inputs.get("permissionsBoundary")
        if isinstance(boundary, str) and boundary and not wire.is_unknown(boundary) and not _POLICY_ARN.fullmatch(boundary):
            yield InvalidInput("permissionsBoundary", f"{boundary!r} is no ARN of a policy")
        hours = inputs.get("maxSessionDuration")
        if isinstance(hours, int) and not _SHORTEST_SESSION <= hours <= _LONGEST_SESSION:
            yield InvalidInput("maxSessionDuration", f"must be {_SHORTEST_SESSION} to {_LONGEST_SESSION} seconds, not {hours}")

    def create(self, cloud: Cloud, inputs: Inputs) -> str:
        request = {"RoleName": inputs["name"], "AssumeRolePolicyDocument": inputs["assumeRolePolicy"]}
        for name, parameter in (
            ("description", "Description"),
            ("path", "Path"),
            ("maxSessionDuration", "MaxSessionDuration"),
            ("permissionsBoundary", "PermissionsBoundary"),
        ):
            if inputs.get(name):
                request[parameter] = inputs[name]
        try:
            cloud.client("iam").create_role(**request)
        except ClientError as error:
            if code(error) != _TAKEN:
                raise
        self.update(cloud, inputs["name"], inputs)
        return str(inputs["name"])

    def update(self, cloud: Cloud, resource_id: str, inputs: Inputs) -> None:
        client = cloud.client("iam")
        client.update_assume_role_policy(RoleName=resource_id, PolicyDocument=inputs["assumeRolePolicy"])
        client.update_role(
            RoleName=resource_id,
            Description=inputs.get("description") or "",
            MaxSessionDuration=inputs.get("maxSessionDuration") or _SHORTEST_SESSION,
        )
        if inputs.get("permissionsBoundary"):
            client.put_role_permissions_boundary(RoleName=resource_id, PermissionsBoundary=inputs["permissionsBoundary"])
        elif _boundary(self._get(cloud, resource_id)):
            client.delete_role_permissions_boundary(RoleName=resource_id)
        wanted = tags_of(cloud, inputs)
        present = {tag["Key"] for tag in client.list_role_tags(RoleName=resource_id)["Tags"]}
        if surplus := sorted(present - wanted.keys()):
            client.untag_role(RoleName=resource_id, TagKeys=surplus)
        if wanted:
            client.tag_role(RoleName=resource_id, Tags=as_tag_list(wanted))

    def read(self, cloud: Cloud, resource_id: str, inputs: Inputs) -> Inputs:
        role = self._get(cloud, resource_id)
        found: Inputs = {"name": resource_id, "assumeRolePolicy": _text(role["AssumeRolePolicyDocument"])}
        if role.get("Description"):
            found["description"] = role["Description"]
        for name, value, default in (
            ("path", role["Path"], "/"),
            ("maxSessionDuration", role.get("MaxSessionDuration"), _SHORTEST_SESSION),
            ("permissionsBoundary", _boundary(role), ""),
        ):
            if value != default or (value and inputs.get(name)):
                found[name] = value
        if tags := own_tags(cloud, cloud.client("iam").list_role_tags(RoleName=resource_id)["Tags"], inputs):
            found["tags"] = tags
        return found

    def delete(self, cloud: Cloud, resource_id: str, inputs: Inputs) -> None:
        client = cloud.client("iam")
        try:
            if inputs.get("forceDetachPolicies"):
                for policy in client.list_attached_role_policies(RoleName=resource_id)["AttachedPolicies"]:
                    client.detach_role_policy(RoleName=resource_id, PolicyArn=policy["PolicyArn"])
                for name in client.list_role_policies(RoleName=resource_id)["PolicyNames"]:
                    client.delete_role_policy(RoleName=resource_id, PolicyName=name)
            client.delete_role(RoleName=resource_id)
        except ClientError as error:
            if code(error) != _MISSING:
                raise

    def outputs(self, cloud: Cloud, resource_id: str, inputs: Inputs) -> Inputs:
        role = self._get(cloud, resource_id)
        return {"arn": role["Arn"], "uniqueId": role["RoleId"], "createDate": role["CreateDate"].isoformat()}

    def _get(self, cloud: Cloud, name: str) -> Any:
        try:
            return cloud.client("iam").get_role(RoleName=name)["Role"]
        except ClientError as error:
            if code(error) == _MISSING:
                raise Gone from None
            raise


class Policy(Kind):
    required = ("policy",)
    optional = ("name", "namePrefix", "description", "path", "tags")
    force_new = ("name", "namePrefix", "path", "description")
    readable = ("policy", "name", "tags")
    documents = ("policy",)
    name = "name"
    longest_name = 128
    taggable = True

    def create(self, cloud: Cloud, inputs: Inputs) -> str:
        client = cloud.client("iam")
        request = {"PolicyName": inputs["name"], "PolicyDocument": inputs["policy"], "Path": inputs.get("path") or "/"}
        if inputs.get("description"):
            request["Description"] = inputs["description"]
        try:
            arn = str(client.create_policy(**request)["Policy"]["Arn"])
            self._tag(cloud, arn, inputs)
        except ClientError as error:
            if code(error) != _TAKEN:
                raise
            arn = f"arn:aws:iam::{cloud.account()}:policy{request['Path']}{inputs['name']}"
            self.update(cloud, arn, inputs)
        return arn

    def update(self, cloud: Cloud, resource_id: str, inputs: Inputs) -> None:
        client = cloud.client("iam")
        versions = client.list_policy_versions(PolicyArn=resource_id)["Versions"]
        # A policy keeps five versions at most; only the default one is ever used here.
        for version in versions:
            if not version["IsDefaultVersion"]:
                client.delete_policy_version(PolicyArn=resource_id, VersionId=version["VersionId"])
        client.create_policy_version(PolicyArn=resource_id, PolicyDocument=inputs["policy"], SetAsDefault=True)
        self._tag(cloud, resource_id, inputs)

    def read(self, cloud: Cloud, resource_id: str, inputs: Inputs) -> Inputs:
        client = cloud.client("iam")
        try:
            policy = client.get_policy(PolicyArn=resource_id)["Policy"]
        except ClientError as error:
            if code(error) == _MISSING:
                raise Gone from None
            raise
        version = client.get_policy_version(PolicyArn=resource_id, VersionId=policy["DefaultVersionId"])["PolicyVersion"]
        found: Inputs = {"name": policy["PolicyName"], "policy": _text(version["Document"])}
        if tags := own_tags(cloud, policy.get("Tags") or [], inputs):
            found["tags"] = tags
        return found

    def delete(self, cloud: Cloud, resource_id: str, inputs: Inputs) -> None:
        client = cloud.client("iam")
        try:
            for version in client.list_policy_versions(PolicyArn=resource_id)["Versions"]:
                if not version["IsDefaultVersion"]:
                    client.delete_policy_version(PolicyArn=resource_id, VersionId=version["VersionId"])
            client.delete_policy(PolicyArn=resource_id)
        except ClientError as error:
            if code(error) != _MISSING:
                raise

    def outputs(self, cloud: Cloud, resource_id: str, inputs: Inputs) -> Inputs:
        policy = cloud.client("iam").get_policy(PolicyArn=resource_id)["Policy"]
        return {"arn": resource_id, "policyId": policy["PolicyId"], "path": policy["Path"]}

    def _tag(self, cloud: Cloud, arn: str, inputs: Inputs) -> None:
        client = cloud.client("iam")
        wanted = tags_of(cloud, inputs)
        present = {tag["Key"] for tag in client.list_policy_tags(PolicyArn=arn)["Tags"]}
        if surplus := sorted(present - wanted.keys()):
            client.untag_policy(PolicyArn=arn, TagKeys=surplus)
        if wanted:
            client.tag_policy(PolicyArn=arn, Tags=as_tag_list(wanted))


class RolePolicy(Kind):
    required = ("role", "policy")
    optional = ("name", "namePrefix")
    force_new = ("role", "name", "namePrefix")
    readable = ("policy",)
    documents = ("policy",)
    name = "name"
    longest_name = 128

    def create(self, cloud: Cloud, inputs: Inputs) -> str:
        self.update(cloud, "", inputs)
        return f"{inputs['role']}:{inputs['name']}"

    def update(self, cloud: Cloud, resource_id: str, inputs: Inputs) -> None:
        cloud.client("iam").put_role_policy(RoleName=inputs["role"], PolicyName=inputs["name"], PolicyDocument=inputs["policy"])

    def read(self, cloud: Cloud, resource_id: str, inputs: Inputs) -> Inputs:
        role, _, name = resource_id.partition(":")
        try:
            answer = cloud.client("iam").get_role_policy(RoleName=role, PolicyName=name)
        except ClientError as error:
            if code(error) == _MISSING:
                raise Gone from None
            raise
        return {"policy": _text(answer["PolicyDocument"])}

    def delete(self, cloud: Cloud, resource_id: str, inputs: Inputs) -> None:
        role, _, name = resource_id.partition(":")
        try:
            cloud.client("iam").delete_role_policy(RoleName=role, PolicyName=name)
        except ClientError as error:
            if code(error) != _MISSING:
                raise


class RolePolicyAttachment(Kind):
    required = ("role", "policyArn")
    force_new = ("role", "policyArn")

    def create(self, cloud: Cloud, inputs: Inputs) -> str:
        cloud.client("iam").attach_role_policy(RoleName=inputs["role"], PolicyArn=inputs["policyArn"])
        return f"{inputs['role']}/{inputs['policyArn']}"

    def update(self, cloud: Cloud, resource_id: str, inputs: Inputs) -> None:
        self.create(cloud, inputs)

    def read(self, cloud: Cloud, resource_id: str, inputs: Inputs) -> Inputs:
        role, _, arn = resource_id.partition("/")
        try:
            attached = cloud.client("iam").list_attached_role_policies(RoleName=role)["AttachedPolicies"]
        except ClientError as error:
            if code(error) == _MISSING:
                raise Gone from None
            raise
        if not any(policy["PolicyArn"] == arn for policy in attached):
            raise Gone
        return {}

    def delete(self, cloud: Cloud, resource_id: str, inputs: Inputs) -> None:
        role, _, arn = resource_id.partition("/")
        try:
            cloud.client("iam").detach_role_policy(RoleName=role, PolicyArn=arn)
        except ClientError as error:
            if code(error) != _MISSING:
                raise


KINDS: dict[str, Kind] = {
    "aws:iam/role:Role": Role(),
    "aws:iam/policy:Policy": Policy(),
    "aws:iam/rolePolicy:RolePolicy": RolePolicy(),
    "aws:iam/rolePolicyAttachment:RolePolicyAttachment": RolePolicyAttachment(),
}


def _identity_provider(cloud: Cloud, arguments: Mapping[str, Any]) -> Inputs:
    """`getOpenIdConnectProvider`: the one that trusts a cluster's service accounts, by ARN or by the issuer's URL."""
    client = cloud.client("iam")
    wanted = str(arguments.get("url") or "").removeprefix("https://")
    for listed in client.list_open_id_connect_providers()["OpenIDConnectProviderList"]:
        arn = listed["Arn"]
        if arn == arguments.get("arn") or (wanted and arn.partition(":oidc-provider/")[2] == wanted):
            live = client.get_open_id_connect_provider(OpenIDConnectProviderArn=arn)
            return {
                "id": arn,
                "arn": arn,
                "url": live["Url"].removeprefix("https://"),
                "clientIdLists": live.get("ClientIDList") or [],
                "thumbprintLists": live.get("ThumbprintList") or [],
                "tags": {tag["Key"]: tag["Value"] for tag in live.get("Tags") or []},
            }
    if not wanted and not arguments.get("arn"):
        raise InvalidInput("url", "is missing, and so is arn: which identity provider?")
    raise ProviderError(f"finding IAM OIDC Provider ({arguments.get('url') or arguments['arn']}): not found")


def policy_document(_cloud: Cloud, arguments: Mapping[str, Any]) -> Inputs:
    """`getPolicyDocument`: statements as IAM's JSON, lists of one written as their element."""
    document: dict[str, Any] = {"Version": arguments.get("version") or _OLDEST_LANGUAGE_STILL_WRITTEN}
    if arguments.get("policyId"):
        document["Id"] = arguments["policyId"]
    statements: list[dict[str, Any]] = []
    sources = [*(arguments.get("sourcePolicyDocuments") or []), arguments.get("sourceJson")]
    overrides = [*(arguments.get("overridePolicyDocuments") or []), arguments.get("overrideJson")]
    for text in filter(None, sources):
        statements += _statements(text)
    statements += [_statement(given) for given in arguments.get("statements") or []]
    for text in filter(None, overrides):
        for statement in _statements(text):
            statements = [kept for kept in statements if not kept.get("Sid") or kept.get("Sid") != statement.get("Sid")]
            statements.append(statement)
    document["Statement"] = statements
    text = json.dumps(document, indent=2)
    return {**arguments, "id": str(zlib.crc32(text.encode())), "json": text, "minifiedJson": json.dumps(document, separators=(",", ":"))}


def _statement(given: Mapping[str, Any]) -> dict[str, Any]:
    statement: dict[str, Any] = {"Sid": given["sid"]} if given.get("sid") else {}
    statement["Effect"] = given.get("effect") or "Allow"
    for name, key in (
        ("actions", "Action"),
        ("notActions", "NotAction"),
        ("resources", "Resource"),
        ("notResources", "NotResource"),
    ):
        if given.get(name):
            statement[key] = _single(given[name])
    for name, key in (("principals", "Principal"), ("notPrincipals", "NotPrincipal")):
        if given.get(name):
            statement[key] = _principals(given[name])
    conditions: dict[str, dict[str, list[str]]] = {}
    for condition in given.get("conditions") or []:
        conditions.setdefault(condition["test"], {}).setdefault(condition["variable"], []).extend(condition["values"])
    if conditions:
        statement["Condition"] = {
            test: {variable: _single(values) for variable, values in variables.items()} for test, variables in conditions.items()
        }
    return statement


def _principals(given: list[Mapping[str, Any]]) -> Any:
    if any(principal["type"] == "*" for principal in given):
        return "*"
    merged: dict[str, list[str]] = {}
    for principal in given:
        merged.setdefault(principal["type"], []).extend(principal["identifiers"])
    return {kind: _single(identifiers) for kind, identifiers in merged.items()}


def _statements(text: str) -> list[dict[str, Any]]:
    found = json.loads(text).get("Statement") or []
    return list(found) if isinstance(found, list) else [found]


def _single(values: list[Any]) -> Any:
    return values[0] if len(values) == 1 else values


def _text(document: Any) -> str:
    """boto3 decodes policy documents, except where it does not."""
    return unquote(document) if isinstance(document, str) else json.dumps(document)


def _boundary(role: Mapping[str, Any]) -> str:
    return str((role.get("PermissionsBoundary") or {}).get("PermissionsBoundaryArn") or "")


FUNCTIONS: dict[str, Callable[[Cloud, Mapping[str, Any]], Inputs]] = {
    "aws:iam/getOpenIdConnectProvider:getOpenIdConnectProvider": _identity_provider,
    "aws:iam/getPolicyDocument:getPolicyDocument": policy_document,
}
