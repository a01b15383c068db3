"""The IAM resources the program uses: roles, and what they may do."""

# ruff: noqa: D101, D102, ARG002 - each class is one AWS resource; what its methods do is said at Kind

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import unquote

from sandbox.providers import wire
from sandbox.providers.aws_cloud import Cloud, Inputs, Kind, as_tag_list, gone_if, own_tags, tags_of
from sandbox.providers.plugin import InvalidInput

_MISSING = "NoSuchEntity"
_POLICY_ARN = re.compile(r"arn:aws[a-z-]*:iam::(\d{12}|aws):policy/\S+")
_SHORTEST_SESSION = 3600  # also what a role has that says nothing
_LONGEST_SESSION = 43200


class Role(Kind):
    required = ("assumeRolePolicy",)
    optional = ("name", "description", "path", "maxSessionDuration", "permissionsBoundary", "tags")
    force_new = ("name", "path")
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
        request = {
            "RoleName": inputs["name"],
            "AssumeRolePolicyDocument": inputs["assumeRolePolicy"],
            "Tags": as_tag_list(tags_of(cloud, inputs)),
        }
        for name, parameter in (
            ("description", "Description"),
            ("path", "Path"),
            ("maxSessionDuration", "MaxSessionDuration"),
            ("permissionsBoundary", "PermissionsBoundary"),
        ):
            if inputs.get(name):
                request[parameter] = inputs[name]
        cloud.client("iam").create_role(**request)
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
        with gone_if(_MISSING):
            cloud.client("iam").delete_role(RoleName=resource_id)

    def outputs(self, cloud: Cloud, resource_id: str, inputs: Inputs) -> Inputs:
        role = self._get(cloud, resource_id)
        return {"arn": role["Arn"], "uniqueId": role["RoleId"], "createDate": role["CreateDate"].isoformat()}

    def _get(self, cloud: Cloud, name: str) -> Any:
        with gone_if(_MISSING):
            return cloud.client("iam").get_role(RoleName=name)["Role"]


class RolePolicy(Kind):
    required = ("role", "policy")
    optional = ("name",)
    force_new = ("role", "name")
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
        with gone_if(_MISSING):
            answer = cloud.client("iam").get_role_policy(RoleName=role, PolicyName=name)
        return {"policy": _text(answer["PolicyDocument"])}

    def delete(self, cloud: Cloud, resource_id: str, inputs: Inputs) -> None:
        role, _, name = resource_id.partition(":")
        with gone_if(_MISSING):
            cloud.client("iam").delete_role_policy(RoleName=role, PolicyName=name)


KINDS: dict[str, Kind] = {"aws:iam/role:Role": Role(), "aws:iam/rolePolicy:RolePolicy": RolePolicy()}


def _text(document: Any) -> str:
    """boto3 decodes policy documents, except where it does not."""
    return unquote(document) if isinstance(document, str) else json.dumps(document)


def _boundary(role: Mapping[str, Any]) -> str:
    return str((role.get("PermissionsBoundary") or {}).get("PermissionsBoundaryArn") or "")
