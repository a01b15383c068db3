"""What counts as drift: the inputs a live object speaks for."""

import base64
import copy

import pytest

from sandbox.providers import live, wire
from sandbox.providers.wire import Secret

DEPLOYMENT = {
    "apiVersion": "apps/v1",
    "kind": "Deployment",
    "metadata": {"name": "server", "namespace": "feast", "labels": {"app": "server"}},
    "spec": {
        "selector": {"matchLabels": {"app": "server"}},
        "template": {
            "metadata": {"labels": {"app": "server"}},
            "spec": {
                "hostNetwork": False,
                "securityContext": {},
                "containers": [
                    {
                        "name": "server",
                        "image": "server:1",
                        "env": [{"name": "EMPTY", "value": ""}, {"name": "CPU", "value": "1000m"}],
                        "ports": [{"containerPort": 6566}],
                        "resources": {"requests": {"cpu": "1000m", "memory": "0.5Gi"}, "limits": {"cpu": 2}},
                    }
                ],
            },
        },
    },
}


def as_stored(inputs):
    """What the API server makes of the deployment above."""
    stored = copy.deepcopy(inputs)
    stored["metadata"] |= {"uid": "u", "resourceVersion": "1", "generation": 1, "managedFields": []}
    stored["spec"] |= {"replicas": 1, "progressDeadlineSeconds": 600}
    pod = stored["spec"]["template"]["spec"]
    del pod["hostNetwork"]
    pod["restartPolicy"] = "Always"
    container = pod["containers"][0]
    del container["env"][0]["value"]
    container["ports"][0]["protocol"] = "TCP"
    container["resources"] = {"requests": {"cpu": "1", "memory": "512Mi"}, "limits": {"cpu": "2"}}
    stored["status"] = {"replicas": 1}
    return stored


@pytest.fixture
def stored():
    return as_stored(DEPLOYMENT)


def hand(manager, fields, *, subresource=""):
    return {"manager": manager, "operation": "Update", "subresource": subresource, "fieldsType": "FieldsV1", "fieldsV1": fields}


def test_what_the_server_fills_in_and_rewrites_is_no_drift(stored):
    assert live.inputs_now(DEPLOYMENT, stored) == DEPLOYMENT


def test_a_changed_field_is_drift(stored):
    stored["spec"]["template"]["spec"]["containers"][0]["image"] = "server:2"

    now = live.inputs_now(DEPLOYMENT, stored)

    assert now["spec"]["template"]["spec"]["containers"][0]["image"] == "server:2"


def test_a_quantity_elsewhere_is_a_text_like_any_other(stored):
    stored["spec"]["template"]["spec"]["containers"][0]["env"][1]["value"] = "1"

    assert live.inputs_now(DEPLOYMENT, stored) != DEPLOYMENT, "an environment variable is not rewritten by the server"


def test_a_removed_field_is_drift(stored):
    del stored["metadata"]["labels"]["app"]

    assert live.inputs_now(DEPLOYMENT, stored)["metadata"]["labels"] == {}


def test_containers_are_told_apart_by_name(stored):
    sidecar = {"name": "sidecar", "image": "sidecar:1"}
    stored["spec"]["template"]["spec"]["containers"].insert(0, sidecar)

    assert live.inputs_now(DEPLOYMENT, stored) == DEPLOYMENT, "an injected container nobody claims is the cluster's business"


def test_scaling_by_hand_is_drift_where_the_program_leaves_it_to_the_autoscaler(stored):
    stored["spec"]["replicas"] = 5
    stored["metadata"]["managedFields"] = [hand("kubectl", {"f:spec": {"f:replicas": {}}}, subresource="scale")]

    assert live.inputs_now(DEPLOYMENT, stored)["spec"]["replicas"] == 5


def test_the_autoscalers_own_scaling_is_not(stored):
    stored["spec"]["replicas"] = 5
    controller = hand("kube-controller-manager", {"f:spec": {"f:replicas": {}}}, subresource="scale")
    stored["metadata"]["managedFields"] = [controller]

    assert live.inputs_now(DEPLOYMENT, stored) == DEPLOYMENT


@pytest.mark.parametrize("manager", ["kubelet", "kube-scheduler", "kube-apiserver", "rancher.io-provisioner"])
def test_what_the_control_plane_writes_is_not(stored, manager):
    stored["metadata"]["annotations"] = {"written": "by the cluster"}
    stored["metadata"]["managedFields"] = [hand(manager, {"f:metadata": {"f:annotations": {".": {}, "f:written": {}}}})]

    assert live.inputs_now(DEPLOYMENT, stored) == DEPLOYMENT


def test_a_null_leaves_the_choice_to_the_server(stored):
    inputs = copy.deepcopy(DEPLOYMENT)
    inputs["spec"]["replicas"] = None

    assert live.inputs_now(inputs, stored) == inputs


def test_a_status_written_by_anybody_is_not(stored):
    stored["metadata"]["managedFields"] = [hand("some-operator", {"f:status": {"f:replicas": {}}}, subresource="status")]

    assert live.inputs_now(DEPLOYMENT, stored) == DEPLOYMENT


def test_a_container_and_a_label_added_by_hand_are_drift(stored):
    stored["metadata"]["labels"]["by"] = "hand"
    stored["spec"]["template"]["spec"]["containers"].append({"name": "debug", "image": "debug:1", "resources": {}})
    containers = {'k:{"name":"debug"}': {".": {}, "f:name": {}, "f:image": {}}}
    stored["metadata"]["managedFields"] = [
        hand(
            "kubectl-edit",
            {"f:metadata": {"f:labels": {"f:by": {}}}, "f:spec": {"f:template": {"f:spec": {"f:containers": containers}}}},
        )
    ]

    now = live.inputs_now(DEPLOYMENT, stored)

    assert now["metadata"]["labels"] == {"app": "server", "by": "hand"}
    assert now["spec"]["template"]["spec"]["containers"][1] == {"name": "debug", "image": "debug:1"}


def test_the_next_update_removes_what_somebody_added_by_hand(stored):
    test_a_container_and_a_label_added_by_hand_are_drift(stored)
    now = live.inputs_now(DEPLOYMENT, stored)

    assert live.left_behind(now, DEPLOYMENT, stored) == [
        {"op": "remove", "path": "/spec/template/spec/containers/1"},
        {"op": "remove", "path": "/metadata/labels/by"},
    ]


def test_an_update_overwrites_what_somebody_changed_instead_of_removing_it(stored):
    stored["metadata"]["labels"]["app"] = "server"
    stored["metadata"]["managedFields"] = [hand("kubectl-edit", {"f:metadata": {"f:labels": {"f:app": {}}}})]
    edited = copy.deepcopy(DEPLOYMENT)
    edited["metadata"]["labels"]["app"] = "edited"

    assert live.left_behind(edited, DEPLOYMENT, stored) == []


def test_an_update_leaves_alone_what_the_control_plane_owns(stored):
    old = copy.deepcopy(DEPLOYMENT)
    old["spec"]["replicas"] = 2
    stored["metadata"]["managedFields"] = [hand("kube-controller-manager", {"f:spec": {"f:replicas": {}}}, subresource="scale")]

    assert live.left_behind(old, DEPLOYMENT, stored) == [], "handing replicas to the autoscaler must not scale to one"


def test_what_the_server_says_it_would_store_is_no_drift(stored):
    inputs = copy.deepcopy(DEPLOYMENT)
    inputs["spec"]["progressDeadlineSeconds"] = 0  # a server that turns zero into a default

    assert live.inputs_now(inputs, stored) != inputs
    assert live.inputs_now(inputs, stored, normal=copy.deepcopy(stored)) == inputs


SECRET = {
    "apiVersion": "v1",
    "kind": "Secret",
    "metadata": {"name": "auth", "namespace": "feast"},
    "stringData": Secret({"password": "correct-horse"}),
}


def stored_secret(**texts):
    data = {key: base64.b64encode(text.encode()).decode() for key, text in texts.items()}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "auth", "namespace": "feast"}, "data": data, "type": "Opaque"}


def test_a_secrets_texts_are_sent_as_data():
    body = live.body(SECRET)

    assert "stringData" not in body
    assert body["data"] == {"password": base64.b64encode(b"correct-horse").decode()}


def test_a_secret_nobody_touched_has_not_drifted():
    assert live.inputs_now(SECRET, stored_secret(password="correct-horse")) == SECRET


def test_a_changed_secret_has_drifted_and_stays_secret():
    now = live.inputs_now(SECRET, stored_secret(password="battery-staple"))

    assert now["stringData"] == Secret({"password": "battery-staple"})


@pytest.mark.parametrize("field", ["data", "stringData"])
def test_a_secrets_content_is_secret_even_where_the_program_forgot_to_say_so(field):
    marked = live.mark_secret_data({"kind": "Secret", field: {"a": "b"}})

    assert marked[field] == Secret({"a": "b"})


def test_the_state_of_a_secret_holds_nothing_in_the_clear():
    state = live.state(stored_secret(password="correct-horse"), SECRET)

    assert isinstance(state["data"], Secret)
    assert "correct-horse" not in repr(state)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("1000m", "1", True),
        ("0.5", "500m", True),
        (0.5, "500m", True),
        ("1Gi", "1024Mi", True),
        ("1G", "1Gi", False),
        ("1e3", "1k", True),
        ("100m", "100M", False),
        ("abc", "abc", False),
        (True, "1", False),
    ],
)
def test_quantities_are_compared_by_amount(one, other, same):
    assert live.same_quantity(one, other) is same


def test_nulls_and_status_are_not_sent():
    item = {"kind": "X", "spec": {"a": None, "b": [{"c": None}]}, "status": {"x": 1}}

    assert live.body(item) == {"kind": "X", "spec": {"b": [{}]}}


def test_a_preview_does_not_claim_to_know_what_is_assigned_later():
    service = {"kind": "Service", "metadata": {"name": "s", "uid": "dry"}, "spec": {"clusterIP": "10.96.3.4"}, "status": {}}

    previewed = live.without_assigned(service, {"spec": {}})

    assert previewed["metadata"]["uid"] == wire.UNKNOWN
    assert previewed["spec"]["clusterIP"] == wire.UNKNOWN
    assert "status" not in previewed
