"""Objects beside the program's, in the namespaces that it made: which of them run, open or allow something.

An owner is not believed for its name: a pod is compared with the template of its ReplicaSet, StatefulSet or Job, and a Job
with the Jobs and CronJobs of the program.
"""

import copy
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from delivery.by_hand.additions import contained
from delivery.by_hand.findings import Finding, compare, title, writers
from delivery.by_hand.state import Key, Kind, Made, Object, key_of

UNKNOWN = "the program did not make it"
CONTROLLERS = frozenset({"ReplicaSet", "StatefulSet", "Job", "DaemonSet", "ReplicationController"})
"""Whose pods are what their templates say."""
CONTAINERS = ("containers", "initContainers")
COMPARED = ("image", "command", "args")
"""Of a pod's containers: what runs. The image can be changed in a running pod."""
CHOSEN_BY = ("app.kubernetes.io/", "feast")
"""How labels begin by which the program's and the charts' network policies choose pods."""
SLICES = ("endpointslice-controller.k8s.io", "endpointslicemirroring-controller.k8s.io")
TOKEN = "kubernetes.io/service-account-token"
LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, kw_only=True)
class Surroundings:
    """What is there beside an object. `unseen`: kinds that could not be listed. `changed`: when the program last changed a Job."""

    by_uid: Mapping[str, Object]
    runs: tuple[Object, ...] = ()
    """The program's Jobs and CronJobs, as Jobs of which only the pods are told."""
    changed: datetime = LONG_AGO
    unseen: frozenset[str] = frozenset()

    def controller(self, thing: Object, kinds: Iterable[str]) -> Object | None:
        """The object that made this one, if it is there."""
        reference = _controller_reference(thing)
        owner = self.by_uid.get(str(reference.get("uid")))
        return owner if owner and owner["kind"] == reference.get("kind") and owner["kind"] in kinds else None


Said = tuple[str, bool]
"""What is wrong with an object, and whether it matters for safety."""
Judge = Callable[[Object, Surroundings], Iterator[Said]]


def strangers(live: Iterable[Object], owned: frozenset[Key], around: Surroundings) -> Iterator[Finding]:
    """Objects that the program did not make, each with the reason why it should not be there."""
    for thing in live:
        judge = WATCHED.get(_of_any_version(thing))
        if judge is None or key_of(thing) in owned or thing["metadata"].get("deletionTimestamp"):
            continue
        for what, matters in judge(thing, around):
            yield Finding(thing=title(thing), what=what, who=writers(thing), matters=matters)


def surroundings(live: Iterable[Object], made: Iterable[Made], unseen: Iterable[str] = ()) -> Surroundings:
    """What judges look at, made of everything that was found."""
    made = [thing for thing in made if thing.kind.name in ("Job", "CronJob")]
    return Surroundings(
        by_uid={str(thing["metadata"].get("uid")): thing for thing in live},
        runs=tuple(_run({**thing.inputs, "kind": thing.kind.name}) for thing in made),
        changed=max((_moment(thing.modified) for thing in made), default=LONG_AGO),
        unseen=frozenset(unseen),
    )


def _run(thing: Object) -> Object:
    """The pods of a Job or CronJob, but for sizes, arguments and values of variables: by these the runbook loads a wider window."""
    template = copy.deepcopy(_pod_template(thing))
    for container in (container for name in CONTAINERS for container in template["spec"].get(name) or []):
        for part in ("args", "resources"):
            container.pop(part, None)
        for variable in container.get("env") or []:
            variable.pop("value", None)
    return {"kind": "Job", "spec": {"template": template}}


def _unknown(_thing: Object, _around: Surroundings) -> Iterator[Said]:
    yield UNKNOWN, True


def _pod(pod: Object, around: Surroundings) -> Iterator[Said]:
    owner = around.controller(pod, CONTROLLERS)
    if owner is not None:
        yield from ((what, True) for what in _unlike(pod, owner))
    elif _controller_reference(pod).get("kind") not in around.unseen:
        yield f"{UNKNOWN}, and no controller that is there", True


def _unlike(pod: Object, owner: Object) -> Iterator[str]:
    """In what a pod is not what its owner makes. What the cluster adds to every pod (volumes, variables, tolerations) is not compared."""
    template, owned_by = _pod_template(owner), f"is not that of its {owner['kind']}"
    labels = (template.get("metadata") or {}).get("labels") or {}
    for label, value in (pod["metadata"].get("labels") or {}).items():
        if label.startswith(CHOSEN_BY) and labels.get(label) != value:
            yield f"metadata.labels[{label}] {owned_by}"
    for container in pod["spec"].get("ephemeralContainers") or []:
        yield f"spec.ephemeralContainers[{container.get('name')}]"
    for name in CONTAINERS:
        expected = {container.get("name"): container for container in template["spec"].get(name) or []}
        for container in pod["spec"].get(name) or []:
            place = f"spec.{name}[{container.get('name')}]"
            if container.get("name") not in expected:
                yield place
            else:
                like = expected[container["name"]]
                yield from (f"{place}.{part} {owned_by}" for part in COMPARED if container.get(part) != like.get(part))


def _replica_set(replica_set: Object, around: Surroundings) -> Iterator[Said]:
    if around.controller(replica_set, ["Deployment"]) is None and "Deployment" not in around.unseen:
        yield UNKNOWN, True


def _job(job: Object, around: Surroundings) -> Iterator[Said]:
    run = _run(job)
    if any(contained(known, run) and not any(found.matters for found in compare(known, run)) for known in around.runs):
        return
    ended = any(
        c.get("type") in ("Complete", "Failed") and c.get("status") == "True" for c in (job.get("status") or {}).get("conditions") or []
    )
    if ended and _moment(str(job["metadata"].get("creationTimestamp"))) < around.changed:
        return  # of an older version of the program
    yield f"{UNKNOWN}, and its pods are those of no Job or CronJob of it", True


def _service_account(account: Object, _around: Surroundings) -> Iterator[Said]:
    """Every namespace has one called `default`; the cluster makes it empty."""
    if account["metadata"].get("name") != "default":
        yield UNKNOWN, True
        return
    empty = {**account, "metadata": {part: account["metadata"][part] for part in ("name", "namespace")}}
    for finding in compare({part: empty[part] for part in ("apiVersion", "kind", "metadata")}, account):
        yield finding.what, finding.matters


def _network_policy(policy: Object, _around: Surroundings) -> Iterator[Said]:
    """Policies add up: one with a rule allows what the others deny, one without denies only."""
    spec = policy.get("spec") or {}
    allows = bool(spec.get("ingress") or spec.get("egress"))
    yield f"{UNKNOWN}, and it allows connections" if allows else f"{UNKNOWN}; it allows nothing", allows


def _endpoint_slice(slice_: Object, _around: Surroundings) -> Iterator[Said]:
    """The controllers keep theirs right; another one sends a Service's clients where it likes."""
    if ((slice_["metadata"].get("labels") or {}).get("endpointslice.kubernetes.io/managed-by")) not in SLICES:
        yield UNKNOWN, True


def _role_binding(binding: Object, _around: Surroundings) -> Iterator[Said]:
    """Rights of pods and of everybody matter. Who of the people may do what is the cluster's administration, and said."""
    for subject in binding.get("subjects") or []:
        name = str(subject.get("name"))
        matters = subject.get("kind") == "ServiceAccount" or name.startswith("system:")
        yield f"{UNKNOWN}; it gives rights to {subject.get('kind')} {name}", matters


def _secret(secret: Object, _around: Surroundings) -> Iterator[Said]:
    if secret.get("type") == TOKEN:
        yield f"{UNKNOWN}, and it is a token of a service account", True


WATCHED: dict[Kind, Judge] = {
    # Pods first: an owner that is listed later than its pod is there.
    Kind("", "v1", "Pod"): _pod,
    Kind("apps", "v1", "ReplicaSet"): _replica_set,
    Kind("batch", "v1", "Job"): _job,
    Kind("apps", "v1", "Deployment"): _unknown,
    Kind("apps", "v1", "StatefulSet"): _unknown,
    Kind("apps", "v1", "DaemonSet"): _unknown,
    Kind("", "v1", "ReplicationController"): _unknown,
    Kind("batch", "v1", "CronJob"): _unknown,
    Kind("", "v1", "Service"): _unknown,
    Kind("discovery.k8s.io", "v1", "EndpointSlice"): _endpoint_slice,
    Kind("networking.k8s.io", "v1", "Ingress"): _unknown,
    Kind("networking.k8s.io", "v1", "NetworkPolicy"): _network_policy,
    Kind("", "v1", "ServiceAccount"): _service_account,
    Kind("rbac.authorization.k8s.io", "v1", "RoleBinding"): _role_binding,
    Kind("", "v1", "Secret"): _secret,
}


def _of_any_version(thing: Object) -> Kind:
    kind = Kind.of(thing)
    return next((known for known in WATCHED if (known.group, known.name) == (kind.group, kind.name)), kind)


def _controller_reference(thing: Object) -> Object:
    references = thing["metadata"].get("ownerReferences") or []
    return next((reference for reference in references if reference.get("controller")), {})


def _pod_template(thing: Object) -> Object:
    spec: Any = thing.get("spec") or {}
    spec = ((spec.get("jobTemplate") or {}).get("spec") or {}) if thing.get("kind") == "CronJob" else spec
    template: Object = spec.get("template") or {}
    return template


def _moment(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return LONG_AGO
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
