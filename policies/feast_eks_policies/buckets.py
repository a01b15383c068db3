"""A bucket and what is attached to it, found by reference where names are not known yet."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from feast_eks_policies.rule import Resource
from feast_eks_policies.values import UNKNOWN, as_list, get, items, mapping

BUCKETS = ("aws:s3/bucket:Bucket", "aws:s3/bucketV2:BucketV2")


def part_types(kind: str) -> tuple[str, str]:
    """The type tokens of a part of a bucket, as in `bucketVersioning`; earlier provider versions end them in V2."""
    token = kind[0].upper() + kind[1:]
    return f"aws:s3/{kind}:{token}", f"aws:s3/{kind}V2:{token}V2"


@dataclass(frozen=True)
class Bucket:
    """A bucket among the resources of its stack."""

    resource: Resource
    stack: list[Resource]

    @property
    def name(self) -> str:
        """How messages call it: its logical name, which is known in every preview."""
        return self.resource.name

    @property
    def physical_names(self) -> set[str]:
        """The names by which others may refer to it, as far as they are known."""
        return {value for key in ("id", "bucket", "arn") if isinstance(value := self.resource.props.get(key), str)}

    def parts(self, kind: str) -> list[Resource]:
        """The resources of a kind, as in `bucketVersioning`, that are attached to this bucket."""
        return [part for part in self.stack if part.is_a(*part_types(kind)) and self.is_named_by(part, "bucket")]

    def settings_of(self, kind: str, inline: str) -> list[Any]:
        """What the parts of a kind say (their `props`), else what the bucket itself says under `inline`; `UNKNOWN` for unknown."""
        if parts := self.parts(kind):
            return [part.props for part in parts]
        return as_list(self.resource.props.get(inline))

    @property
    def takes_logs(self) -> bool:
        """Whether another bucket of the stack sends its access logs here."""
        return any(
            self.is_named_by(part, "targetBucket")
            for part in self.stack
            if part.is_a(*part_types("bucketLogging")) and not self.is_named_by(part, "bucket")
        )

    def is_named_by(self, part: Resource, key: str) -> bool:
        """Whether a property of another resource stands for this bucket."""
        # References first: in the first preview of a generated name they are all there is.
        if self.resource.urn in part.property_dependencies.get(key, ()):
            return True
        value = part.props.get(key)
        if value is UNKNOWN:
            return not part.property_dependencies.get(key) and self.resource.urn in part.dependencies
        return isinstance(value, str) and value in self.physical_names


def buckets(resources: list[Resource]) -> Iterator[Bucket]:
    """Every bucket of the stack."""
    for resource in resources:
        if resource.is_a(*BUCKETS):
            yield Bucket(resource, resources)


def default_encryption(bucket: Bucket) -> list[tuple[Any, Any]]:
    """(default encryption, bucketKeyEnabled) of each rule of the bucket; `UNKNOWN` for what is not known."""
    found: list[tuple[Any, Any]] = []
    for settings in bucket.settings_of("bucketServerSideEncryptionConfiguration", "serverSideEncryptionConfiguration"):
        if settings is UNKNOWN or get(settings, "rules") is UNKNOWN or get(settings, "rule") is UNKNOWN:
            found.append((UNKNOWN, UNKNOWN))
            continue
        rules = items(get(settings, "rules")) or as_list(get(settings, "rule"))
        found += [(get(rule, "applyServerSideEncryptionByDefault"), get(rule, "bucketKeyEnabled", default=False)) for rule in rules]
    return found


def lifecycle_rules(bucket: Bucket) -> list[Any]:
    """The lifecycle rules of the bucket; `UNKNOWN` among them where they are not known."""
    if parts := bucket.parts("bucketLifecycleConfiguration"):
        return [rule for part in parts for rule in as_list(part.props.get("rules"))]
    return as_list(bucket.resource.props.get("lifecycleRules"))


def covers_whole_bucket(rule: Any) -> bool:
    """Whether a lifecycle rule is switched on and not narrowed to some of the objects."""
    if rule is UNKNOWN:
        return True
    switched_on = get(rule, "status") in ("Enabled", UNKNOWN) or get(rule, "enabled") in (True, UNKNOWN)
    narrowing = {key: value for key, value in mapping(get(rule, "filter")).items() if value not in (None, "", {}, UNKNOWN)}
    return bool(switched_on and not narrowing and not get(rule, "prefix"))
