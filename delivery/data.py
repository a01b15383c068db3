"""Which resources hold data or keys to it, and what is lost when one is replaced or deleted."""

import re

from delivery.preview import Change

LOSSES = (
    (r"aws:s3/bucket(V2)?:.*", "the bucket and every object in it"),
    (r"aws:kms/key:.*", "everything encrypted with it becomes unreadable"),
    (r"aws:(rds|docdb|neptune)/.*", "a database"),
    (r"aws:(elasticache|memorydb)/.*", "what is cached"),
    (r"aws:dynamodb/table:.*", "a table"),
    (r"aws:(ebs/volume|ebs/snapshot|efs/fileSystem|fsx)[:/].*", "a volume"),
    (r"aws:(eks|ecr)/(cluster|repository):.*", "what runs or lies in it"),
    (r"kubernetes:core/v1:Namespace", "everything in it, volumes too"),
    (r"kubernetes:core/v1:PersistentVolume(Claim)?", "a volume"),
    (r"kubernetes:apps/v1[a-z0-9]*:StatefulSet", "its pods stop and start elsewhere; their volumes follow their claims"),
    (r"kubernetes:helm\.sh/v[0-9]+:(Chart|Release)", "everything that the chart made"),
    (r"kubernetes:apiextensions\.k8s\.io/.*:CustomResourceDefinition", "every object of its kind"),
    (r"random:index/random(Password|Bytes|String):.*", "a new password: whoever has the old one is locked out until told"),
)


def loss(change: Change) -> str:
    """What goes with the resource, empty if it holds nothing."""
    return next((words for pattern, words in LOSSES if re.fullmatch(pattern, change.type)), "")


def is_at_risk(change: Change) -> bool:
    """Whether data goes, or could go because its protection does."""
    return bool(loss(change)) and (change.operation in ("replace", "delete") or change.unprotected)
