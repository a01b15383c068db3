"""What is said about an addition: the object, what was added, and who the API server names as its writer."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from delivery.by_hand.additions import additions, as_stored
from delivery.by_hand.defaults import is_of_the_cluster
from delivery.by_hand.state import Object
from delivery.markdown import UNREADABLE
from delivery.values import Path, look_up, show_path

MATTERS = (
    ("Namespace", "labels", "pod-security.kubernetes.io/"),  # what its pods may do
    ("Namespace", "labels", "feast.dev/"),  # whether they may reach the feature server
    ("ServiceAccount", "annotations", "eks.amazonaws.com/"),  # a role in AWS
    ("Service", "annotations", "service.beta.kubernetes.io/"),  # how a load balancer opens it
    ("Service", "annotations", "external-dns.alpha.kubernetes.io/"),  # a name in the world
)
"""Labels and annotations that grant or open something, by kind and the beginning of their name."""

OF_THE_CLUSTER = (
    "deployment.kubernetes.io/",
    "kubectl.kubernetes.io/last-applied-configuration",
    "kubernetes.io/metadata.name",
    "pulumi.com/",
)
RESTARTED_AT = "kubectl.kubernetes.io/restartedAt"
"""What `kubectl rollout restart` leaves in a pod template; the runbook asks for it."""
OF_A_JOB = ("controller-uid", "job-name", "batch.kubernetes.io/")
OF_THE_API_SERVER = frozenset(
    {
        "uid",
        "resourceVersion",
        "generation",
        "creationTimestamp",
        "managedFields",
        "selfLink",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
    }
)


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One addition. What does not matter for safety is said and no failure."""

    thing: str
    what: str
    who: str = ""
    matters: bool = True

    def __str__(self) -> str:
        # No colon: after a name like `robot-token` it would make a secret of what follows, and that would be hidden.
        return UNREADABLE.sub("", f"{self.thing} - {self.what}" + (f" ({self.who})" if self.who else ""))


def title(live: Object) -> str:
    """`Deployment feast/feature-server`."""
    metadata = live.get("metadata") or {}
    place = f"{metadata['namespace']}/" if metadata.get("namespace") else ""
    return f"{live.get('kind')} {place}{metadata.get('name')}"


def compare(inputs: Object, live: Object) -> Iterator[Finding]:
    """What the live object has more than the inputs, but for what the cluster writes."""
    kind = str(live.get("kind"))
    for path in additions(as_stored(inputs), live):
        if path[0] == "status":
            continue
        for part in _parts(path, live):
            matters = _matters(kind, part, live)
            if matters is not None:
                yield Finding(thing=title(live), what=show_path(part, live), who=writers(live, part), matters=matters)


def writers(live: Object, path: Path = ()) -> str:
    """Who wrote the field and when, as the API server recorded it: names that the writers chose."""
    entries = (live.get("metadata") or {}).get("managedFields") or []
    found = [entry for entry in entries if not entry.get("subresource") and _wrote(entry.get("fieldsV1"), live, path)]
    return ", ".join(f"{entry.get('manager')} {entry.get('time', '')}".strip() for entry in found)


def _parts(path: Path, live: Object) -> Iterator[Path]:
    """Labels and annotations one by one, though a whole map of them was added; anything else as it is."""
    value = look_up(live, path)
    if path[-1] in ("metadata", "labels", "annotations") and isinstance(value, dict):
        for key in value:
            yield from _parts((*path, key), live)
    else:
        yield path


def _matters(kind: str, path: Path, live: Object) -> bool | None:
    """Whether an addition matters for safety; None if it is none."""
    if "metadata" in path:
        return _metadata_matters(kind, path)
    beside = look_up(live, path[:-1])
    written = is_of_the_cluster(kind, path, look_up(live, path), beside if isinstance(beside, dict) else {})
    return None if written else True


def _metadata_matters(kind: str, path: Path) -> bool | None:
    at = path.index("metadata")
    section, name = (str(step) for step in (*path[at + 1 :], "", "")[:2])
    if name.startswith(OF_THE_CLUSTER) or section in OF_THE_API_SERVER:
        return None
    if at == 0:
        return any(kind == of and section == where and name.startswith(prefix) for of, where, prefix in MATTERS)
    if kind == "Job" and section == "labels" and name.startswith(OF_A_JOB):
        return None
    # Network policies choose pods by the labels of their template, and webhooks by both what they add to them.
    return name != RESTARTED_AT


def _wrote(fields: Any, value: Any, path: Path) -> bool:
    """Whether a manager's fields hold the path; `{}` holds all that is below."""
    if not path or fields == {}:
        return True
    if not isinstance(fields, dict):
        return False
    step, *below = path
    if isinstance(step, int):
        item = value[step]
        found = next((owned for name, owned in fields.items() if _names(name, item)), None)
    else:
        item = value.get(step)
        found = fields.get(f"f:{step}")
    return found is not None and _wrote(found, item, tuple(below))


def _names(field: str, item: Any) -> bool:
    """Whether `k:{"name":"server"}` or `v:"ALL"` is this item of a list."""
    mark, _, text = field.partition(":")
    try:
        known = json.loads(text)
    except ValueError:
        return False
    if mark == "k" and isinstance(item, dict) and isinstance(known, dict):
        return all(item.get(name) == value for name, value in known.items())
    return bool(mark == "v" and known == item)
