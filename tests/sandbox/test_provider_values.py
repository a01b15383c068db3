"""The values that providers exchange with the engine: secrets, unknowns, assets, differences."""

import pytest

from sandbox.providers import diff, wire
from sandbox.providers.plugin import InvalidInput, check_response
from sandbox.providers.wire import Asset, ResourceReference, Secret


def round_trip(values):
    return wire.read(wire.write(values))


def test_values_survive_the_way_to_the_engine_and_back():
    values = {
        "text": "a",
        "whole": 3,
        "half": 0.5,
        "yes": True,
        "nothing": None,
        "list": [1, {"deep": Secret({"key": Asset(text="value")})}],
        "file": Asset(path="x.parquet", sha256="abc"),
        "other": ResourceReference("urn:x", "id"),
    }

    assert round_trip(values) == values


def test_a_whole_number_comes_back_as_one():
    assert type(round_trip({"replicas": 2})["replicas"]) is int, "every number travels as a double; Kubernetes wants integers"


def test_a_secret_does_not_show_its_value():
    assert "hunter2" not in repr(Secret("hunter2"))


def test_what_is_secret_in_the_inputs_is_secret_in_the_outputs():
    inputs = {"spec": {"env": [{"name": "A", "value": Secret("s3cret!")}, {"name": "B", "value": "b"}]}}
    outputs = {"spec": {"env": [{"name": "A", "value": "s3cret!"}, {"name": "B", "value": "b"}]}, "status": "x"}

    concealed = wire.conceal(outputs, inputs)

    assert concealed["spec"]["env"] == [{"name": "A", "value": Secret("s3cret!")}, {"name": "B", "value": "b"}]
    assert concealed["status"] == "x"


def test_a_list_of_another_length_is_secret_as_a_whole():
    concealed = wire.conceal({"env": ["added", "s3cret!"]}, {"env": [Secret("s3cret!")]})

    assert concealed == {"env": Secret(["added", "s3cret!"])}, "no telling which of them is the secret one"


@pytest.mark.parametrize("shown", ["pa55word-1", "cGE1NXdvcmQtMQ=="])
def test_no_message_repeats_a_secret(shown):
    wire.reveal(Secret({"password": "pa55word-1"}))

    assert wire.redact(f"invalid: {shown}!") == "invalid: [secret]!"


def test_a_secret_given_as_base64_is_redacted_in_the_clear_too():
    wire.reveal(Secret("bXktdG9rZW4tMTIz"))

    assert "my-token-123" not in wire.redact("denied: my-token-123")


def test_short_secrets_do_not_blacken_ordinary_words():
    wire.reveal(Secret("admin"))

    assert wire.redact("role admin") == "role admin"


UNKNOWN_BOOLEAN = "1c4a061d-8072-4f0a-a4cb-0ff528b18fe7"


@pytest.mark.parametrize(
    "value", [wire.UNKNOWN, UNKNOWN_BOOLEAN, [{"a": wire.UNKNOWN}], Secret(wire.UNKNOWN), {"a": {"b": [wire.UNKNOWN]}}]
)
def test_an_unknown_is_found_at_any_depth(value):
    assert wire.has_unknown(value)


def test_assets_are_equal_by_content_wherever_the_file_lies():
    assert Asset(path="/one/x", sha256="a") == Asset(path="/two/x", sha256="a")
    assert Asset(path="x", sha256="a") != Asset(path="x", sha256="b")


def test_differences_are_named_by_their_innermost_path():
    old = {"spec": {"replicas": 1, "containers": [{"image": "a"}]}, "gone": 1, "null": None}
    new = {"spec": {"replicas": 1, "containers": [{"image": "b"}, {"image": "c"}]}, "come": 2}

    assert dict(diff.changes(old, new)) == {
        ("spec", "containers", 0, "image"): "UPDATE",
        ("spec", "containers", 1): "ADD",
        ("gone",): "DELETE",
        ("come",): "ADD",
    }


def test_paths_are_written_as_the_engine_reads_them():
    path = ("metadata", "labels", "app.kubernetes.io/name", 0, 'qu"ote')

    assert diff.render(path) == 'metadata.labels["app.kubernetes.io/name"][0]["qu\\"ote"]'


def test_only_replacing_paths_replace():
    response = diff.response({("data", "a"): "UPDATE", ("metadata", "labels"): "ADD"}, lambda path: path[0] == "data")

    assert list(response.replaces) == ["data"]
    assert response.detailedDiff["data.a"].kind == response.detailedDiff["data.a"].UPDATE_REPLACE
    assert response.detailedDiff["metadata.labels"].kind == response.detailedDiff["metadata.labels"].ADD


def test_a_failure_names_its_property_and_never_lets_the_engine_print_credentials():
    inputs = {"chart": "", "kubeconfig": "credentials", "metadata": {}}
    failures = [InvalidInput("chart", "is missing"), InvalidInput("kubeconfig", "no"), InvalidInput("metadata.name", "bad")]

    answer = [(failure.property, failure.reason) for failure in check_response(inputs, failures).failures]

    assert answer == [("chart", "is missing"), ("", "kubeconfig: no"), ("", "metadata.name: bad")]
