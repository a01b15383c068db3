"""When a Kubernetes object is ready, what it waits for, and why it never will be."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from sandbox.providers.api_server import ApiServer, Object


@dataclass(frozen=True)
class Readiness:
    """`failed` means that waiting longer is pointless."""

    ready: bool
    message: str
    failed: bool = False


READY = Readiness(True, "ready")


@dataclass(frozen=True)
class Problem:
    """What keeps one container (or a whole pod) from working; `log` names the container whose output may say why."""

    text: str
    reason: str = ""
    container: str = ""
    previous: bool = False


def assess(live: Object, api: ApiServer) -> Readiness:
    """Judges one live object; kinds that nobody waits for are ready as soon as they exist."""
    group = str(live["apiVersion"]).rpartition("/")[0]
    judge = _JUDGES.get((group, str(live["kind"])))
    return judge(live, api) if judge else READY


def is_awaited(item: Mapping[str, Any]) -> bool:
    """Whether anybody would wait for an object of this kind."""
    group = str(item.get("apiVersion", "")).rpartition("/")[0]
    return (group, str(item.get("kind"))) in _JUDGES


def pod_problems(pod: Object) -> list[Problem]:
    """What is wrong with a pod, container by container; empty for one that works or is only starting."""
    status = pod.get("status") or {}
    found = [
        Problem(f"cannot be scheduled: {condition.get('message', '')}", "Unschedulable")
        for condition in status.get("conditions") or []
        if condition["type"] == "PodScheduled" and condition["status"] == "False"
    ]
    for field in ("initContainerStatuses", "containerStatuses"):
        for container in status.get(field) or []:
            found += _container_problems(container)
    if status.get("phase") == "Failed" and not found:
        reason = status.get("reason") or "Failed"
        found.append(Problem(f"failed: {reason}: {status.get('message', '')}".rstrip(": "), reason))
    return found


def pods_path(live: Object) -> tuple[str, dict[str, str]] | None:
    """Where the pods behind a workload are listed: a path and its query."""
    metadata = live["metadata"]
    path = f"/api/v1/namespaces/{metadata.get('namespace')}/pods"
    kind = live["kind"]
    if kind == "Pod":
        return path, {"fieldSelector": f"metadata.name={metadata['name']}"}
    if kind == "Job":
        return path, {"labelSelector": f"batch.kubernetes.io/job-name={metadata['name']}"}
    selector = (live.get("spec") or {}).get("selector") or {}
    labels = selector if kind == "Service" else selector.get("matchLabels")
    if kind not in ("Deployment", "StatefulSet", "DaemonSet", "ReplicaSet", "Service") or not labels:
        return None
    return path, {"labelSelector": ",".join(f"{key}={value}" for key, value in sorted(labels.items()))}


def revision(live: Object, api: ApiServer) -> tuple[str, str] | None:
    """The label and its value that mark the pods of a workload's newest version."""
    if live["kind"] == "StatefulSet":
        newest = (live.get("status") or {}).get("updateRevision")
        return ("controller-revision-hash", newest) if newest else None
    if live["kind"] != "Deployment":
        return None
    metadata = live["metadata"]
    labels = (live["spec"].get("selector") or {}).get("matchLabels") or {}
    sets = api.items(
        f"/apis/apps/v1/namespaces/{metadata['namespace']}/replicasets",
        labelSelector=",".join(f"{key}={value}" for key, value in sorted(labels.items())),
    )
    own = [item for item in sets if any(owner.get("uid") == metadata["uid"] for owner in item["metadata"].get("ownerReferences") or [])]
    if not own:
        return None
    numbered = "deployment.kubernetes.io/revision"
    newest_set = max(own, key=lambda item: int((item["metadata"].get("annotations") or {}).get(numbered, 0)))
    return "pod-template-hash", newest_set["metadata"]["labels"]["pod-template-hash"]


# --- Kinds ------------------------------------------------------------------------------------------------------------


def _deployment(live: Object, _api: ApiServer) -> Readiness:
    spec, status = live["spec"], live.get("status") or {}
    wanted = spec.get("replicas", 1)
    conditions = _conditions(live)
    progressing = conditions.get("Progressing", {})
    available = status.get("availableReplicas", 0)
    updated = status.get("updatedReplicas", 0)
    message = f"{updated} of {wanted} replicas updated, {available} available"
    if status.get("replicas", 0) > updated:
        message += f", {status['replicas'] - updated} of the older version still there"
    if not _observed(live):
        return Readiness(False, "waiting for the controller to see the change")
    if progressing.get("reason") == "ProgressDeadlineExceeded":
        return Readiness(False, f"{message}; {progressing.get('message', 'progress deadline exceeded')}", failed=True)
    current = updated == wanted == status.get("replicas", 0)
    return READY if current and available >= wanted else Readiness(False, message)


def _stateful_set(live: Object, _api: ApiServer) -> Readiness:
    spec, status = live["spec"], live.get("status") or {}
    wanted = spec.get("replicas", 1)
    message = f"{status.get('readyReplicas', 0)} of {wanted} replicas ready, {status.get('updatedReplicas', 0)} updated"
    if not _observed(live):
        return Readiness(False, "waiting for the controller to see the change")
    if status.get("readyReplicas", 0) != wanted:
        return Readiness(False, message)
    strategy = spec.get("updateStrategy") or {}
    partition = (strategy.get("rollingUpdate") or {}).get("partition") or 0
    if strategy.get("type") == "OnDelete" or partition:
        return READY
    rolled = status.get("currentRevision") == status.get("updateRevision") or wanted == 0
    return READY if rolled else Readiness(False, message)


def _daemon_set(live: Object, _api: ApiServer) -> Readiness:
    status = live.get("status") or {}
    wanted = status.get("desiredNumberScheduled", 0)
    message = f"{status.get('numberReady', 0)} of {wanted} pods ready"
    if not _observed(live):
        return Readiness(False, "waiting for the controller to see the change")
    done = status.get("numberReady", 0) >= wanted and status.get("updatedNumberScheduled", 0) >= wanted
    return READY if done else Readiness(False, message)


def _job(live: Object, _api: ApiServer) -> Readiness:
    spec, status = live.get("spec") or {}, live.get("status") or {}
    conditions = _conditions(live)
    # FailureTarget comes before Failed, while the last pods are still being stopped.
    for name in ("Failed", "FailureTarget"):
        if conditions.get(name, {}).get("status") == "True":
            failure = conditions[name]
            return Readiness(False, f"failed: {failure.get('reason')}: {failure.get('message')}", failed=True)
    if conditions.get("Complete", {}).get("status") == "True" or spec.get("suspend"):
        return READY
    wanted = spec.get("completions") or 1
    message = f"{status.get('succeeded', 0)} of {wanted} pods succeeded"
    counts = [f"{status[name]} {name}" for name in ("active", "failed") if status.get(name)]
    return Readiness(False, ", ".join([message, *counts]))


def _pod(live: Object, _api: ApiServer) -> Readiness:
    phase = (live.get("status") or {}).get("phase")
    if phase == "Succeeded" or _conditions(live).get("Ready", {}).get("status") == "True":
        return READY
    return Readiness(False, f"is {phase}", failed=phase == "Failed")


def _service(live: Object, api: ApiServer) -> Readiness:
    spec, metadata = live["spec"], live["metadata"]
    kind = spec.get("type", "ClusterIP")
    if kind == "LoadBalancer" and not ((live.get("status") or {}).get("loadBalancer") or {}).get("ingress"):
        return Readiness(False, "waiting for an address from the load balancer")
    if kind == "ExternalName" or not spec.get("selector") or spec.get("clusterIP") == "None":
        return READY
    path = f"/apis/discovery.k8s.io/v1/namespaces/{metadata['namespace']}/endpointslices"
    slices = api.items(path, labelSelector=f"kubernetes.io/service-name={metadata['name']}")
    for endpoints in slices:
        for endpoint in endpoints.get("endpoints") or []:
            if (endpoint.get("conditions") or {}).get("ready") is not False:
                return READY
    selector = ", ".join(f"{key}={value}" for key, value in sorted(spec["selector"].items()))
    return Readiness(False, f"no ready pod matches its selector {selector}")


def _claim(live: Object, api: ApiServer) -> Readiness:
    phase = (live.get("status") or {}).get("phase")
    if phase == "Bound":
        return READY
    storage_class = live["spec"].get("storageClassName")
    if storage_class:
        found = api.get_path(f"/apis/storage.k8s.io/v1/storageclasses/{storage_class}")
        if found and found.get("volumeBindingMode") == "WaitForFirstConsumer":
            return READY  # bound when the first pod uses it
    return Readiness(False, f"is {phase}, waiting for a volume", failed=phase == "Lost")


def _volume(live: Object, _api: ApiServer) -> Readiness:
    phase = (live.get("status") or {}).get("phase")
    return READY if phase in ("Available", "Bound") else Readiness(False, f"is {phase}", failed=phase == "Failed")


def _namespace(live: Object, _api: ApiServer) -> Readiness:
    phase = (live.get("status") or {}).get("phase")
    return READY if phase == "Active" else Readiness(False, f"is {phase}")


def _definition(live: Object, _api: ApiServer) -> Readiness:
    established = _conditions(live).get("Established", {}).get("status") == "True"
    return READY if established else Readiness(False, "is not established yet")


_JUDGES = {
    ("apps", "Deployment"): _deployment,
    ("apps", "StatefulSet"): _stateful_set,
    ("apps", "DaemonSet"): _daemon_set,
    ("batch", "Job"): _job,
    ("", "Pod"): _pod,
    ("", "Service"): _service,
    ("", "PersistentVolumeClaim"): _claim,
    ("", "PersistentVolume"): _volume,
    ("", "Namespace"): _namespace,
    ("apiextensions.k8s.io", "CustomResourceDefinition"): _definition,
}


# --- Reading statuses -------------------------------------------------------------------------------------------------


def _container_problems(container: Mapping[str, Any]) -> Iterator[Problem]:
    name = container["name"]
    now = container.get("state") or {}
    before = (container.get("lastState") or {}).get("terminated")
    if waiting := now.get("waiting"):
        reason = waiting.get("reason", "")
        if reason in ("", "ContainerCreating", "PodInitializing"):
            return
        text = f"container {name}: {reason}"
        if before:
            yield Problem(f"{text}, {_ending(before)}", reason, name, previous=True)
        else:
            yield Problem(f"{text}: {waiting.get('message', '')}".rstrip(": "), reason)
    elif ended := now.get("terminated"):
        if ended.get("exitCode"):
            yield Problem(f"container {name} {_ending(ended)}", ended.get("reason", ""), name)
    elif "running" in now and before and before.get("exitCode"):
        restarts = container.get("restartCount", 0)
        yield Problem(f"container {name} restarted {restarts}x, {_ending(before)}", "Restarted", name, previous=True)
    elif "running" in now and container.get("ready") is False and container.get("started") is not None:
        yield Problem(f"container {name} runs but is not ready", "NotReady", name)


def _ending(ended: Mapping[str, Any]) -> str:
    reason = ended.get("reason", "")
    text = f"ended with exit status {ended.get('exitCode')}"
    return f"{text} ({reason})" if reason and reason != "Error" else text


def _conditions(live: Object) -> dict[str, dict[str, Any]]:
    return {condition["type"]: condition for condition in (live.get("status") or {}).get("conditions") or []}


def _observed(live: Object) -> bool:
    seen = int((live.get("status") or {}).get("observedGeneration", 0))
    return seen >= int(live["metadata"].get("generation", 0))
