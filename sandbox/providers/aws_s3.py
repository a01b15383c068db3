"""The S3 resources the program uses: the bucket, what is configured on it, and an object."""

# ruff: noqa: D101, D102, ARG002 - each class is one AWS resource; what its methods do is said at Kind

import contextlib
import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from botocore.exceptions import ClientError

from sandbox.providers import wire
from sandbox.providers.aws_cloud import Cloud, Gone, Inputs, Kind, as_tag_list, code, gone_if, own_tags, tags_of
from sandbox.providers.plugin import InvalidInput, ProviderError

_BUCKET_NAME = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_MISSING = (
    "404",
    "NoSuchBucket",
    "NoSuchBucketPolicy",
    "NoSuchKey",
    "NoSuchLifecycleConfiguration",
    "NoSuchPublicAccessBlockConfiguration",
    "OwnershipControlsNotFoundError",
    "ServerSideEncryptionConfigurationNotFoundError",
)
_NOT_ENFORCED = "s3:NotEnforcedInTheSandbox"
_ALGORITHMS = ("AES256", "aws:kms", "aws:kms:dsse")
_HOME_REGION = "us-east-1"  # the one region S3 does not want to be told


class Bucket(Kind):
    optional = ("bucket", "forceDestroy", "tags")
    force_new = ("bucket",)
    readable = ("bucket", "tags")
    name = "bucket"
    longest_name = 63
    taggable = True

    def problems(self, inputs: Inputs) -> Iterator[InvalidInput]:
        name = inputs.get("bucket")
        if isinstance(name, str) and not wire.is_unknown(name) and not _BUCKET_NAME.fullmatch(name):
            yield InvalidInput("bucket", f"{name!r} is no bucket name: 3 to 63 small letters, digits, '-' and '.'")

    def create(self, cloud: Cloud, inputs: Inputs) -> str:
        client, name = cloud.client("s3"), str(inputs["bucket"])
        if cloud.region == _HOME_REGION:
            # There S3 makes once more, without a word, what one has; the official provider asks first.
            with contextlib.suppress(Gone), gone_if(*_MISSING):
                client.head_bucket(Bucket=name)
                raise ProviderError(f"CreateBucket: BucketAlreadyExists: {name}")
            client.create_bucket(Bucket=name)
        else:
            client.create_bucket(Bucket=name, CreateBucketConfiguration={"LocationConstraint": cloud.region})
        self.update(cloud, name, inputs)
        return name

    def update(self, cloud: Cloud, resource_id: str, inputs: Inputs) -> None:
        tags = tags_of(cloud, inputs)
        if tags:
            cloud.client("s3").put_bucket_tagging(Bucket=resource_id, Tagging={"TagSet": as_tag_list(tags)})
        else:
            cloud.client("s3").delete_bucket_tagging(Bucket=resource_id)

    def read(self, cloud: Cloud, resource_id: str, inputs: Inputs) -> Inputs:
        client = cloud.client("s3")
        with gone_if(*_MISSING):
            client.head_bucket(Bucket=resource_id)
        found: Inputs = {"bucket": resource_id}
        try:
            live = client.get_bucket_tagging(Bucket=resource_id)["TagSet"]
        except ClientError as error:
            if code(error) != "NoSuchTagSet":
                raise
            live = []
        if tags := own_tags(cloud, live, inputs):
            found["tags"] = tags
        return found

    def delete(self, cloud: Cloud, resource_id: str, inputs: Inputs) -> None:
        client = cloud.client("s3")
        with gone_if(*_MISSING):
            if inputs.get("forceDestroy"):
                _empty(client, resource_id, "")
            client.delete_bucket(Bucket=resource_id)

    def outputs(self, cloud: Cloud, resource_id: str, inputs: Inputs) -> Inputs:
        return {
            "arn": f"arn:aws:s3:::{resource_id}",
            "bucketDomainName": f"{resource_id}.s3.amazonaws.com",
            "bucketRegionalDomainName": f"{resource_id}.s3.{cloud.region}.amazonaws.com",
            "bucketRegion": cloud.region,
            "region": cloud.region,
        }


class _OnBucket(Kind):
    """Something configured on a bucket, identified by the bucket's name."""

    required: tuple[str, ...] = ("bucket",)
    force_new = ("bucket",)

    def put(self, client: Any, bucket: str, inputs: Inputs) -> None:
        raise NotImplementedError

    def get(self, client: Any, bucket: str) -> Inputs:
        """The live inputs besides the bucket. A ClientError about something missing means Gone."""
        raise NotImplementedError

    def remove(self, client: Any, bucket: str) -> None:
        raise NotImplementedError

    def create(self, cloud: Cloud, inputs: Inputs) -> str:
        self.put(cloud.client("s3"), inputs["bucket"], inputs)
        return str(inputs["bucket"])

    def update(self, cloud: Cloud, resource_id: str, inputs: Inputs) -> None:
        self.put(cloud.client("s3"), resource_id, inputs)

    def read(self, cloud: Cloud, resource_id: str, inputs: Inputs) -> Inputs:
        with gone_if(*_MISSING):
            return {"bucket": resource_id, **self.get(cloud.client("s3"), resource_id)}

    def delete(self, cloud: Cloud, resource_id: str, inputs: Inputs) -> None:
        with gone_if(*_MISSING):
            self.remove(cloud.client("s3"), resource_id)

    def outputs(self, cloud: Cloud, resource_id: str, inputs: Inputs) -> Inputs:
        return {"region": cloud.region}


class Versioning(_OnBucket):
    required = ("bucket", "versioningConfiguration")
    readable = ("versioningConfiguration",)

    def problems(self, inputs: Inputs) -> Iterator[InvalidInput]:
        yield from _one_of(inputs, ("versioningConfiguration", "status"), ("Enabled", "Suspended", "Disabled"))

    def put(self, client: Any, bucket: str, inputs: Inputs) -> None:
        status = inputs["versioningConfiguration"]["status"]
        if status != "Disabled":
            client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": status})

    def get(self, client: Any, bucket: str) -> Inputs:
        status = client.get_bucket_versioning(Bucket=bucket).get("Status", "Disabled")
        return {"versioningConfiguration": {"status": status}}

    def remove(self, client: Any, bucket: str) -> None:
        if client.get_bucket_versioning(Bucket=bucket).get("Status") == "Enabled":
            client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Suspended"})


class ServerSideEncryption(_OnBucket):
    required = ("bucket", "rules")
    readable = ("rules",)

    def problems(self, inputs: Inputs) -> Iterator[InvalidInput]:
        rules = inputs.get("rules")
        for number, rule in enumerate(rules if isinstance(rules, list) else []):
            default = rule.get("applyServerSideEncryptionByDefault") if isinstance(rule, Mapping) else None
            if not isinstance(default, Mapping):
                continue
            path, algorithm = f"rules[{number}].applyServerSideEncryptionByDefault", default.get("sseAlgorithm")
            if not wire.is_unknown(algorithm) and algorithm not in _ALGORITHMS:
                yield InvalidInput(f"{path}.sseAlgorithm", f"must be one of {', '.join(_ALGORITHMS)}, not {algorithm!r}")
            elif default.get("kmsMasterKeyId") and algorithm == "AES256":
                yield InvalidInput(f"{path}.kmsMasterKeyId", "needs aws:kms as the algorithm")

    def put(self, client: Any, bucket: str, inputs: Inputs) -> None:
        rules = [
            {**_pascal(rule), **({"ApplyServerSideEncryptionByDefault": self._default(rule)} if self._default(rule) else {})}
            for rule in inputs["rules"]
        ]
        client.put_bucket_encryption(Bucket=bucket, ServerSideEncryptionConfiguration={"Rules": rules})

    def get(self, client: Any, bucket: str) -> Inputs:
        answer = client.get_bucket_encryption(Bucket=bucket)["ServerSideEncryptionConfiguration"]["Rules"]
        rules = []
        for rule in answer:
            found = _camel(rule)
            default = found.get("applyServerSideEncryptionByDefault") or {}
            renamed = {"SSEAlgorithm": "sseAlgorithm", "sSEAlgorithm": "sseAlgorithm", "kMSMasterKeyID": "kmsMasterKeyId"}
            found["applyServerSideEncryptionByDefault"] = {renamed.get(key, key): value for key, value in default.items()}
            rules.append(found)
        return {"rules": rules}

    def remove(self, client: Any, bucket: str) -> None:
        client.delete_bucket_encryption(Bucket=bucket)

    @staticmethod
    def _default(rule: Mapping[str, Any]) -> dict[str, Any]:
        given = rule.get("applyServerSideEncryptionByDefault") or {}
        names = {"sseAlgorithm": "SSEAlgorithm", "kmsMasterKeyId": "KMSMasterKeyID"}
        return {names[key]: value for key, value in given.items() if key in names and value is not None}


class PublicAccessBlock(_OnBucket):
    optional = ("blockPublicAcls", "blockPublicPolicy", "ignorePublicAcls", "restrictPublicBuckets", "skipDestroy")
    readable = optional[:4]

    def put(self, client: Any, bucket: str, inputs: Inputs) -> None:
        settings = {_pascal_name(name): bool(inputs.get(name)) for name in self.readable}
        client.put_public_access_block(Bucket=bucket, PublicAccessBlockConfiguration=settings)

    def get(self, client: Any, bucket: str) -> Inputs:
        settings = client.get_public_access_block(Bucket=bucket)["PublicAccessBlockConfiguration"]
        return {name: settings.get(_pascal_name(name), False) for name in self.readable}

    def remove(self, client: Any, bucket: str) -> None:
        client.delete_public_access_block(Bucket=bucket)


class OwnershipControls(_OnBucket):
    required = ("bucket", "rule")
    readable = ("rule",)

    def problems(self, inputs: Inputs) -> Iterator[InvalidInput]:
        allowed = ("BucketOwnerEnforced", "BucketOwnerPreferred", "ObjectWriter")
        yield from _one_of(inputs, ("rule", "objectOwnership"), allowed)

    def put(self, client: Any, bucket: str, inputs: Inputs) -> None:
        rules = {"Rules": [{"ObjectOwnership": inputs["rule"]["objectOwnership"]}]}
        client.put_bucket_ownership_controls(Bucket=bucket, OwnershipControls=rules)

    def get(self, client: Any, bucket: str) -> Inputs:
        rules = client.get_bucket_ownership_controls(Bucket=bucket)["OwnershipControls"]["Rules"]
        return {"rule": {"objectOwnership": rules[0]["ObjectOwnership"]}}

    def remove(self, client: Any, bucket: str) -> None:
        client.delete_bucket_ownership_controls(Bucket=bucket)


class Lifecycle(_OnBucket):
    required = ("bucket", "rules")
    readable = ("rules",)

    def problems(self, inputs: Inputs) -> Iterator[InvalidInput]:
        rules = inputs.get("rules")
        for number, rule in enumerate(rules if isinstance(rules, list) else []):
            if isinstance(rule, Mapping) and not wire.has_unknown(rule):
                for name in ("id", "status"):
                    if not rule.get(name):
                        yield InvalidInput(f"rules[{number}].{name}", "is missing")
                if rule.get("status") not in (None, "Enabled", "Disabled"):
                    yield InvalidInput(f"rules[{number}].status", f"must be Enabled or Disabled, not {rule['status']!r}")

    def put(self, client: Any, bucket: str, inputs: Inputs) -> None:
        rules = []
        for rule in inputs["rules"]:
            sent = _pascal(rule)
            sent["ID"] = sent.pop("Id")
            if "Filter" not in sent and "Prefix" not in sent:
                sent["Filter"] = {"Prefix": ""}
            if tags := (sent.get("Filter") or {}).get("And", {}).get("Tags"):
                sent["Filter"]["And"]["Tags"] = as_tag_list(tags)
            rules.append(sent)
        client.put_bucket_lifecycle_configuration(Bucket=bucket, LifecycleConfiguration={"Rules": rules})

    def get(self, client: Any, bucket: str) -> Inputs:
        rules = []
        for rule in client.get_bucket_lifecycle_configuration(Bucket=bucket)["Rules"]:
            found = _camel(rule)
            found["id"] = found.pop("iD", "")
            if tags := (found.get("filter") or {}).get("and", {}).get("tags"):
                found["filter"]["and"]["tags"] = {tag["key"]: tag["value"] for tag in tags}
            rules.append(found)
        return {"rules": rules}

    def remove(self, client: Any, bucket: str) -> None:
        client.delete_bucket_lifecycle(Bucket=bucket)


class Logging(_OnBucket):
    required = ("bucket", "targetBucket", "targetPrefix")
    readable = ("targetBucket", "targetPrefix")
    may_be_empty = ("targetPrefix",)

    def put(self, client: Any, bucket: str, inputs: Inputs) -> None:
        target = {"TargetBucket": inputs["targetBucket"], "TargetPrefix": inputs["targetPrefix"]}
        client.put_bucket_logging(Bucket=bucket, BucketLoggingStatus={"LoggingEnabled": target})

    def get(self, client: Any, bucket: str) -> Inputs:
        target = client.get_bucket_logging(Bucket=bucket).get("LoggingEnabled")
        if not target:
            raise Gone
        return {"targetBucket": target["TargetBucket"], "targetPrefix": target.get("TargetPrefix") or ""}

    def remove(self, client: Any, bucket: str) -> None:
        client.put_bucket_logging(Bucket=bucket, BucketLoggingStatus={})


class Policy(_OnBucket):
    """A bucket policy, without what moto would misunderstand.

    moto decides by the statements but ignores their conditions: "deny what does not come over TLS" would deny everything.
    Statements with a condition are kept there under an action that nobody performs.
    """

    required = ("bucket", "policy")
    readable = ("policy",)
    documents = ("policy",)

    def put(self, client: Any, bucket: str, inputs: Inputs) -> None:
        document = json.loads(inputs["policy"])
        statements = document.get("Statement") or []
        document["Statement"] = [
            {**statement, "Action": _NOT_ENFORCED} if statement.get("Condition") else statement
            for statement in (statements if isinstance(statements, list) else [statements])
        ]
        client.put_bucket_policy(Bucket=bucket, Policy=json.dumps(document))

    def get(self, client: Any, bucket: str) -> Inputs:
        return {"policy": client.get_bucket_policy(Bucket=bucket)["Policy"]}

    def remove(self, client: Any, bucket: str) -> None:
        client.delete_bucket_policy(Bucket=bucket)


class Object(Kind):
    required = ("bucket",)
    optional = ("key", "source", "content", "contentType", "tags")
    force_new = ("bucket", "key")
    readable = ("contentType", "source", "content", "tags")
    name = "key"
    longest_name = 1024
    taggable = True

    def problems(self, inputs: Inputs) -> Iterator[InvalidInput]:
        if inputs.get("source") is not None and inputs.get("content") is not None:
            yield InvalidInput("content", "cannot be given together with source")
        source = inputs.get("source")
        if isinstance(source, wire.Asset):
            try:
                source.read()
            except (OSError, ValueError) as error:
                yield InvalidInput("source", str(error))

    def create(self, cloud: Cloud, inputs: Inputs) -> str:
        self.update(cloud, "", inputs)
        return f"{inputs['bucket']}/{inputs['key']}"

    def update(self, cloud: Cloud, resource_id: str, inputs: Inputs) -> None:
        source = inputs.get("source")
        body = source.read() if isinstance(source, wire.Asset) else str(inputs.get("content") or "").encode()
        content_type = {"ContentType": inputs["contentType"]} if inputs.get("contentType") else {}
        cloud.client("s3").put_object(Bucket=inputs["bucket"], Key=inputs["key"], Body=body, **content_type)
        if tags := tags_of(cloud, inputs):
            cloud.client("s3").put_object_tagging(Bucket=inputs["bucket"], Key=inputs["key"], Tagging={"TagSet": as_tag_list(tags)})

    def read(self, cloud: Cloud, resource_id: str, inputs: Inputs) -> Inputs:
        client = cloud.client("s3")
        where = {"Bucket": inputs["bucket"], "Key": inputs["key"]}
        with gone_if(*_MISSING):
            head = client.head_object(**where)
        found: Inputs = {}
        if inputs.get("contentType"):
            found["contentType"] = head.get("ContentType")
        for name in ("source", "content"):
            # Whatever has replaced the content is told apart by its hash; it has no path here.
            if inputs.get(name) is not None:
                found[name] = f"something with the hash {_etag(head)}"
        if tags := own_tags(cloud, client.get_object_tagging(**where).get("TagSet", []), inputs):
            found["tags"] = tags
        return found

    def delete(self, cloud: Cloud, resource_id: str, inputs: Inputs) -> None:
        with gone_if(*_MISSING):
            _empty(cloud.client("s3"), inputs["bucket"], inputs["key"], exactly=True)

    def outputs(self, cloud: Cloud, resource_id: str, inputs: Inputs) -> Inputs:
        head = cloud.client("s3").head_object(Bucket=inputs["bucket"], Key=inputs["key"])
        return {
            "arn": f"arn:aws:s3:::{inputs['bucket']}/{inputs['key']}",
            "etag": _etag(head),
            "contentType": head.get("ContentType", ""),
            "versionId": head.get("VersionId", ""),
            "region": cloud.region,
        }


KINDS: dict[str, Kind] = {
    "aws:s3/bucket:Bucket": Bucket(),
    "aws:s3/bucketVersioning:BucketVersioning": Versioning(),
    "aws:s3/bucketServerSideEncryptionConfiguration:BucketServerSideEncryptionConfiguration": ServerSideEncryption(),
    "aws:s3/bucketPublicAccessBlock:BucketPublicAccessBlock": PublicAccessBlock(),
    "aws:s3/bucketOwnershipControls:BucketOwnershipControls": OwnershipControls(),
    "aws:s3/bucketLifecycleConfiguration:BucketLifecycleConfiguration": Lifecycle(),
    "aws:s3/bucketLogging:BucketLogging": Logging(),
    "aws:s3/bucketPolicy:BucketPolicy": Policy(),
    "aws:s3/bucketObjectv2:BucketObjectv2": Object(),
}


def _etag(head: Mapping[str, Any]) -> str:
    return str(head["ETag"]).strip('"')


def _empty(client: Any, bucket: str, prefix: str, *, exactly: bool = False) -> None:
    """Removes objects with all their versions; `exactly` takes the prefix for one whole key."""
    for page in client.get_paginator("list_object_versions").paginate(Bucket=bucket, Prefix=prefix):
        versions = [*(page.get("Versions") or []), *(page.get("DeleteMarkers") or [])]
        doomed = [
            {"Key": version["Key"], "VersionId": version["VersionId"]} for version in versions if not exactly or version["Key"] == prefix
        ]
        if doomed:
            client.delete_objects(Bucket=bucket, Delete={"Objects": doomed, "Quiet": True})


def _one_of(inputs: Inputs, path: tuple[str, str], allowed: tuple[str, ...]) -> Iterator[InvalidInput]:
    section = inputs.get(path[0])
    value = section.get(path[1]) if isinstance(section, Mapping) else None
    if isinstance(section, Mapping) and not wire.has_unknown(section) and value not in allowed:
        yield InvalidInput(".".join(path), f"must be one of {', '.join(allowed)}, not {value!r}")


def _pascal_name(name: str) -> str:
    return name[:1].upper() + name[1:]


def _pascal(value: Any) -> Any:
    """Pulumi's camelCase as the API's PascalCase, nulls left out."""
    if isinstance(value, Mapping):
        return {_pascal_name(key): item if key == "tags" else _pascal(item) for key, item in value.items() if item is not None}
    return [_pascal(item) for item in value] if isinstance(value, list) else value


def _camel(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key[:1].lower() + key[1:]: _camel(item) for key, item in value.items()}
    return [_camel(item) for item in value] if isinstance(value, list) else value
