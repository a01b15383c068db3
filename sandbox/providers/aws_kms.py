"""Keys of KMS and their names."""

# ruff: noqa: D101, D102, ARG002 - each class is one AWS resource; what its methods do is said at Kind

import re
from collections.abc import Iterator, Mapping
from typing import Any

from sandbox.providers import wire
from sandbox.providers.aws_cloud import Cloud, Gone, Inputs, Kind, gone_if, own_tags, tags_of
from sandbox.providers.plugin import InvalidInput

_MISSING = "NotFoundException"
_POLICY = "default"  # the only name a key's policy can have
_DELETION_WINDOW_DAYS = 30
_ALIAS = re.compile(r"alias/[A-Za-z0-9/_-]{1,250}")


class Key(Kind):
    optional = (
        "description",
        "enableKeyRotation",
        "rotationPeriodInDays",
        "deletionWindowInDays",
        "policy",
        "isEnabled",
        "keyUsage",
        "customerMasterKeySpec",
        "multiRegion",
        "bypassPolicyLockoutSafetyCheck",
        "tags",
    )
    force_new = ("keyUsage", "customerMasterKeySpec", "multiRegion")
    readable = ("description", "enableKeyRotation", "policy", "isEnabled", "tags")
    documents = ("policy",)
    defaults: Mapping[str, Any] = {"isEnabled": True}
    taggable = True

    def problems(self, inputs: Inputs) -> Iterator[InvalidInput]:
        for name, least, most in (("deletionWindowInDays", 7, 30), ("rotationPeriodInDays", 90, 2560)):
            days = inputs.get(name)
            if days is not None and not wire.is_unknown(days) and not (isinstance(days, int) and least <= days <= most):
                yield InvalidInput(name, f"must be a number of days from {least} to {most}, not {days!r}")
        if inputs.get("rotationPeriodInDays") and inputs.get("enableKeyRotation") in (None, False):
            yield InvalidInput("rotationPeriodInDays", "needs enableKeyRotation")

    def create(self, cloud: Cloud, inputs: Inputs) -> str:
        request = {
            "Description": inputs.get("description") or "",
            "KeyUsage": inputs.get("keyUsage") or "ENCRYPT_DECRYPT",
            "KeySpec": inputs.get("customerMasterKeySpec") or "SYMMETRIC_DEFAULT",
            "MultiRegion": bool(inputs.get("multiRegion")),
        }
        if inputs.get("policy"):
            request["Policy"] = inputs["policy"]
        key = cloud.client("kms").create_key(**request)["KeyMetadata"]["KeyId"]
        self.update(cloud, key, inputs)
        return str(key)

    def update(self, cloud: Cloud, resource_id: str, inputs: Inputs) -> None:
        client, key = cloud.client("kms"), {"KeyId": resource_id}
        client.enable_key(**key)  # a disabled one takes no changes
        client.update_key_description(**key, Description=inputs.get("description") or "")
        if inputs.get("policy"):
            client.put_key_policy(**key, PolicyName=_POLICY, Policy=inputs["policy"])
        if inputs.get("enableKeyRotation"):
            period = {"RotationPeriodInDays": inputs["rotationPeriodInDays"]} if inputs.get("rotationPeriodInDays") else {}
            client.enable_key_rotation(**key, **period)
        elif client.get_key_rotation_status(**key)["KeyRotationEnabled"]:
            client.disable_key_rotation(**key)
        wanted = tags_of(cloud, inputs)
        surplus = sorted({tag["TagKey"] for tag in client.list_resource_tags(**key)["Tags"]} - wanted.keys())
        if surplus:
            client.untag_resource(**key, TagKeys=surplus)
        if wanted:
            client.tag_resource(**key, Tags=[{"TagKey": name, "TagValue": value} for name, value in sorted(wanted.items())])
        if inputs.get("isEnabled") is False:
            client.disable_key(**key)

    def read(self, cloud: Cloud, resource_id: str, inputs: Inputs) -> Inputs:
        client, key = cloud.client("kms"), {"KeyId": resource_id}
        live = self._get(cloud, resource_id)
        found: Inputs = {"isEnabled": live["Enabled"]}
        if live.get("Description"):
            found["description"] = live["Description"]
        if client.get_key_rotation_status(**key)["KeyRotationEnabled"]:
            found["enableKeyRotation"] = True
        if inputs.get("policy"):  # else it has the one that AWS writes
            found["policy"] = client.get_key_policy(**key, PolicyName=_POLICY)["Policy"]
        tags = [{"Key": tag["TagKey"], "Value": tag["TagValue"]} for tag in client.list_resource_tags(**key)["Tags"]]
        if own := own_tags(cloud, tags, inputs):
            found["tags"] = own
        return found

    def delete(self, cloud: Cloud, resource_id: str, inputs: Inputs) -> None:
        days = inputs.get("deletionWindowInDays") or _DELETION_WINDOW_DAYS
        self._get(cloud, resource_id)  # one on its way out is gone
        cloud.client("kms").schedule_key_deletion(KeyId=resource_id, PendingWindowInDays=days)

    def outputs(self, cloud: Cloud, resource_id: str, inputs: Inputs) -> Inputs:
        live = self._get(cloud, resource_id)
        policy = cloud.client("kms").get_key_policy(KeyId=resource_id, PolicyName=_POLICY)["Policy"]
        return {
            "arn": live["Arn"],
            "keyId": resource_id,
            "policy": policy,
            "description": live.get("Description", ""),
            "keyUsage": live["KeyUsage"],
            "customerMasterKeySpec": live.get("KeySpec") or live.get("CustomerMasterKeySpec", ""),
            "multiRegion": bool(live.get("MultiRegion")),
            "region": cloud.region,
        }

    def _get(self, cloud: Cloud, resource_id: str) -> Mapping[str, Any]:
        with gone_if(_MISSING):
            live: Mapping[str, Any] = cloud.client("kms").describe_key(KeyId=resource_id)["KeyMetadata"]
        if live["KeyState"] == "PendingDeletion":
            raise Gone
        return live


class Alias(Kind):
    required = ("targetKeyId",)
    optional = ("name",)
    force_new = ("name",)
    readable = ("name", "targetKeyId")
    name = "name"
    name_start = "alias/"
    longest_name = 256

    def problems(self, inputs: Inputs) -> Iterator[InvalidInput]:
        name = inputs.get("name")
        if not isinstance(name, str) or wire.is_unknown(name):
            return
        if not _ALIAS.fullmatch(name):
            yield InvalidInput("name", f"{name!r} is no name of a key: 'alias/' and letters, digits, '/', '_' and '-'")
        elif name.startswith("alias/aws/"):
            yield InvalidInput("name", f"{name!r} is not to be had: 'alias/aws/' belongs to AWS")

    def create(self, cloud: Cloud, inputs: Inputs) -> str:
        cloud.client("kms").create_alias(AliasName=inputs["name"], TargetKeyId=inputs["targetKeyId"])
        return str(inputs["name"])

    def update(self, cloud: Cloud, resource_id: str, inputs: Inputs) -> None:
        cloud.client("kms").update_alias(AliasName=resource_id, TargetKeyId=inputs["targetKeyId"])

    def read(self, cloud: Cloud, resource_id: str, inputs: Inputs) -> Inputs:
        live = self._get(cloud, resource_id)
        wanted = str(inputs.get("targetKeyId") or "")
        same = wanted.rpartition("/")[2] == live["TargetKeyId"]  # a key may be given by its id or by its ARN
        return {"name": resource_id, "targetKeyId": wanted if same else live["TargetKeyId"]}

    def delete(self, cloud: Cloud, resource_id: str, inputs: Inputs) -> None:
        with gone_if(_MISSING):
            cloud.client("kms").delete_alias(AliasName=resource_id)

    def outputs(self, cloud: Cloud, resource_id: str, inputs: Inputs) -> Inputs:
        live = self._get(cloud, resource_id)
        target = live["AliasArn"].partition(":alias/")[0] + f":key/{live['TargetKeyId']}"
        return {"arn": live["AliasArn"], "targetKeyArn": target, "region": cloud.region}

    def _get(self, cloud: Cloud, name: str) -> Mapping[str, Any]:
        for page in cloud.client("kms").get_paginator("list_aliases").paginate():
            for alias in page["Aliases"]:
                if alias["AliasName"] == name and alias.get("TargetKeyId"):
                    found: Mapping[str, Any] = alias
                    return found
        raise Gone


KINDS: dict[str, Kind] = {"aws:kms/key:Key": Key(), "aws:kms/alias:Alias": Alias()}
