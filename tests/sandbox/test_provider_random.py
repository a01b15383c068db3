"""Random values: their shape, and that wrong wishes are refused."""

import string

import pytest

from sandbox.providers import random, wire

PASSWORD = "random:index/randomPassword:RandomPassword"
ID = "random:index/randomId:RandomId"


def reasons(token, **inputs):
    return [failure.property_path for failure in random.problems(token, inputs)]


def test_a_text_has_the_length_asked_for_and_only_enabled_classes():
    text = random.generate_text({"length": 200, "special": False, "upper": False})

    assert len(text) == 200
    assert set(text) <= set(string.ascii_lowercase + string.digits)


def test_minimums_are_kept_even_where_they_fill_the_text():
    text = random.generate_text({"length": 6, "minUpper": 2, "minNumeric": 2, "minSpecial": 2})

    assert sum(letter in string.ascii_uppercase for letter in text) == 2
    assert sum(letter in string.digits for letter in text) == 2


def test_minimums_do_not_stand_in_front():
    firsts = {random.generate_text({"length": 8, "minNumeric": 4})[0] in string.digits for _ in range(60)}

    assert firsts == {True, False}, "the letters a class is owed must be shuffled in"


def test_override_special_replaces_the_special_characters():
    text = random.generate_text({"length": 100, "overrideSpecial": "~", "upper": False, "lower": False, "numeric": False})

    assert set(text) == {"~"}


def test_two_texts_differ():
    assert random.generate_text({"length": 20}) != random.generate_text({"length": 20})


def test_an_id_is_the_same_bytes_in_every_notation():
    resource_id, outputs = random.generate_id({"byteLength": 8, "prefix": "p-"})

    number = int(outputs["dec"].removeprefix("p-"))
    assert f"{number:016x}" == outputs["hex"].removeprefix("p-")
    assert outputs["b64Url"] == f"p-{resource_id}"


@pytest.mark.parametrize(
    ("inputs", "property_path"),
    [
        ({}, "length"),
        ({"length": 0}, "length"),
        ({"length": "ten"}, "length"),
        ({"length": 3, "minUpper": 2, "minLower": 2}, "length"),
        ({"length": 8, "minSpecial": 1, "special": False}, "minSpecial"),
        ({"length": 8, "minUpper": -1}, "minUpper"),
        ({"length": 8, "upper": False, "lower": False, "numeric": False, "special": False}, "special"),
    ],
)
def test_a_wish_that_cannot_be_granted_is_refused_by_name(inputs, property_path):
    assert reasons(PASSWORD, **inputs) == [property_path]


def test_an_unknown_length_is_judged_when_it_is_known():
    assert reasons(PASSWORD, length=wire.UNKNOWN) == []
    assert reasons(ID, byteLength=wire.UNKNOWN) == []


def test_a_good_wish_is_accepted():
    assert reasons(PASSWORD, length=32, special=False, minUpper=1) == []
    assert reasons(ID, byteLength=4) == []
