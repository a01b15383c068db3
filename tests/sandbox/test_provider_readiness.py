"""When an object is ready, and what is said about one that is not."""

import pytest

from sandbox.providers import readiness


def deployment(*, generation=1, replicas=2, **status):
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "d", "namespace": "n", "generation": generation},
        "spec": {"replicas": replicas},
        "status": {"observedGeneration": 1, **status},
    }


def job(*conditions, **status):
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": "j", "namespace": "n"},
        "spec": {},
        "status": {"conditions": [{"status": "True", **condition} for condition in conditions], **status},
    }


def assess(item):
    return readiness.assess(item, api=None)


def test_a_deployment_is_ready_when_only_available_replicas_of_the_new_version_are_there():
    item = deployment(updatedReplicas=2, availableReplicas=2)
    item["status"]["replicas"] = 3
    assert not assess(item).ready

    item["status"]["replicas"] = 2
    assert assess(item).ready


def test_a_deployment_whose_change_nobody_has_seen_yet_is_not_ready():
    seen = deployment(generation=2, updatedReplicas=2, availableReplicas=2)
    seen["status"]["replicas"] = 2

    assert not assess(seen).ready, "the status still speaks of the version before"


def test_a_deployment_still_running_old_pods_says_so():
    rolling = deployment(updatedReplicas=1, availableReplicas=2)
    rolling["status"]["replicas"] = 3

    assert assess(rolling).message == "1 of 2 replicas updated, 2 available, 2 of the older version still there"


def test_a_deployment_past_its_deadline_has_failed():
    stuck = deployment()
    stuck["status"]["conditions"] = [{"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded"}]

    assert assess(stuck).failed


def test_a_job_is_ready_when_complete_and_failed_at_once_when_failed():
    assert assess(job({"type": "Complete"})).ready
    failed = assess(job({"type": "Failed", "reason": "BackoffLimitExceeded", "message": "too often"}))
    assert failed.failed
    assert "BackoffLimitExceeded: too often" in failed.message
    assert not assess(job(active=1)).ready


def test_a_stateful_set_in_the_middle_of_a_rollout_is_not_ready():
    item = {
        "apiVersion": "apps/v1",
        "kind": "StatefulSet",
        "metadata": {"name": "s", "namespace": "n", "generation": 1},
        "spec": {"replicas": 1},
        "status": {"observedGeneration": 1, "readyReplicas": 1, "currentRevision": "a", "updateRevision": "b"},
    }

    assert not assess(item).ready
    item["status"]["currentRevision"] = "b"
    assert assess(item).ready


@pytest.mark.parametrize("spec", [{"type": "ExternalName"}, {"clusterIP": "None", "selector": {"a": "b"}}, {"clusterIP": "10.96.0.9"}])
def test_services_that_have_no_endpoints_of_their_own_are_not_waited_for(spec):
    item = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s", "namespace": "n"}, "spec": spec}

    assert assess(item).ready


def test_a_kind_nobody_waits_for_is_ready():
    assert assess({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}}).ready


def pod(**status):
    return {"metadata": {"name": "p"}, "status": status}


def container(name="main", **fields):
    return {"name": name, "ready": False, **fields}


def problems(**status):
    return [(problem.text, problem.container, problem.previous) for problem in readiness.pod_problems(pod(**status))]


def test_a_pod_that_is_starting_has_no_problem():
    assert problems(containerStatuses=[container(state={"waiting": {"reason": "ContainerCreating"}})]) == []


def test_an_image_that_cannot_be_pulled_is_named_with_the_reason():
    waiting = {"reason": "ImagePullBackOff", "message": 'Back-off pulling image "x:9"'}

    assert problems(containerStatuses=[container(state={"waiting": waiting})]) == [
        ('container main: ImagePullBackOff: Back-off pulling image "x:9"', "", False)
    ]


def test_a_crash_loop_asks_for_the_output_of_the_run_before():
    crashed = container(
        state={"waiting": {"reason": "CrashLoopBackOff"}}, lastState={"terminated": {"exitCode": 137, "reason": "OOMKilled"}}
    )

    assert problems(containerStatuses=[crashed]) == [
        ("container main: CrashLoopBackOff, ended with exit status 137 (OOMKilled)", "main", True)
    ]


def test_a_failed_init_container_is_found():
    failed = container("prepare", state={"terminated": {"exitCode": 9, "reason": "Error"}})

    assert problems(initContainerStatuses=[failed]) == [("container prepare ended with exit status 9", "prepare", False)]


def test_a_pod_without_a_node_says_what_the_scheduler_says():
    condition = {"type": "PodScheduled", "status": "False", "message": "0/1 nodes: Insufficient cpu."}

    assert problems(conditions=[condition]) == [("cannot be scheduled: 0/1 nodes: Insufficient cpu.", "", False)]


def test_an_evicted_pod_says_why():
    assert problems(phase="Failed", reason="Evicted", message="low on memory") == [("failed: Evicted: low on memory", "", False)]
