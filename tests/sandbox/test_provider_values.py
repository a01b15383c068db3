"""The values that providers exchange with the engine: secrets, unknowns, assets, differences."""

import pytest

from sandbox.providers import diff, wire
from sandbox.providers.plugin import InvalidInput, check_response
from sandbox.providers.wire import Asset, Secret


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
    }

    assert round_trip(values) == values


def test_a_whole_number_comes_back_as_one():
    assert type(round_trip({"days": 2})["days"]) is int, "every number travels as a double; AWS wants integers"


def test_a_secret_does_not_show_its_value():
    assert "hunter2" not in repr(Secret("hunter2"))


def test_what_is_secret_in_the_inputs_is_secret_in_the_outputs():
    inputs = {"rule": {"tags": [{"key": "A", "value": Secret("s3cret!")}, {"key": "B", "value": "b"}]}}
    outputs = {"rule": {"tags": [{"key": "A", "value": "s3cret!"}, {"key": "B", "value": "b"}]}, "arn": "x"}

    concealed = wire.conceal(outputs, inputs)

    assert concealed["rule"]["tags"] == [{"key": "A", "value": Secret("s3cret!")}, {"key": "B", "value": "b"}]
    assert concealed["arn"] == "x"


def test_a_list_of_another_length_is_secret_as_a_whole():
    concealed = wire.conceal({"values": ["added", "s3cret!"]}, {"values": [Secret("s3cret!")]})

    assert concealed == {"values": Secret(["added", "s3cret!"])}, "no telling which of them is the secret one"


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
    old = {"bucket": "b", "rules": [{"days": 1}], "gone": 1, "null": None}
    new = {"bucket": "b", "rules": [{"days": 2}, {"days": 3}], "come": 2}

    assert dict(diff.changes(old, new)) == {
        ("rules", 0, "days"): "UPDATE",
        ("rules", 1): "ADD",
        ("gone",): "DELETE",
        ("come",): "ADD",
    }


def test_paths_are_written_as_the_engine_reads_them():
    path = ("rule", "tags", "feast.dev/team", 0, 'qu"ote')

    assert diff.render(path) == 'rule.tags["feast.dev/team"][0]["qu\\"ote"]'


def test_only_replacing_paths_replace():
    response = diff.response({("bucket",): "UPDATE", ("tags", "team"): "ADD"}, lambda path: path[0] == "bucket")

    assert list(response.replaces) == ["bucket"]
    assert response.detailedDiff["bucket"].kind == response.detailedDiff["bucket"].UPDATE_REPLACE
    assert response.detailedDiff["tags.team"].kind == response.detailedDiff["tags.team"].ADD


def test_a_failure_names_its_property_and_never_lets_the_engine_print_credentials():
    inputs = {"bucket": "", "secretKey": "credentials", "tags": {}}
    failures = [InvalidInput("bucket", "is missing"), InvalidInput("secretKey", "no"), InvalidInput("tags.team", "bad")]

    answer = [(failure.property, failure.reason) for failure in check_response(inputs, failures).failures]

    assert answer == [("bucket", "is missing"), ("", "secretKey: no"), ("", "tags.team: bad")]
